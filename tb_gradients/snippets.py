"""The code of an advice that can be pasted as it is.

In:  a sentence with `code` in it.
Out: its complete statements and calls.
Does not know who gives the advice, or who shows it.
"""

from __future__ import annotations

import ast
import re

_CODE = re.compile(r"`([^`]+)`")
_ARGUMENT = re.compile(r"\w+=[^=\s]")
"""How an argument begins; a statement has spaces around its sign."""

LONGEST = 1000
"""Characters of a statement. Advice is read from files, too, and their content is not trusted."""


def snippets(fix: str) -> list[str]:
    """The complete statements and calls of an advice, in order.

    Names of operations, arguments of a call, and calls that leave something open are left out.

    >>> snippets("Use `argmax`, `units=3`, or `keras.layers.Dense(3)`.")
    ['keras.layers.Dense(3)']
    """
    return [code for code in _CODE.findall(fix) if _is_complete(code)]


def _is_complete(code: str) -> bool:
    if len(code) > LONGEST or _ARGUMENT.match(code):
        return False
    try:
        tree = ast.parse(code)
        open_ends = any(
            isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(tree)
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(tree.body) and not open_ends and all(map(_is_statement, tree.body))


def _is_statement(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Expr):
        return True
    call = node.value
    return isinstance(call, ast.Call) and (
        isinstance(call.func, ast.Attribute) or bool(call.args or call.keywords)
    )
