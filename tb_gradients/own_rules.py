"""The rules in a Python file of the user's: ``tb-gradients check --rules FILE.py``.

In:  the path of the file, which is run.
Out: the classes of rules that it defines.
Does not know what they look for.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys

from tb_gradients.judging.base import Rule
from tb_gradients.judging.registry import check_rule


def rules_in(path: str) -> list[type[Rule]]:
    """The rules that a file defines, in its order; what it imports is none of them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it cannot be run, or has no rule that can be used.
    """
    pathlib.Path(path).read_bytes()  # an OSError here is about the file, not about what it does
    name = f"tb_gradients_rules_{pathlib.Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path!r} cannot be run ({type(error).__name__}: {error})") from error
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Rule) and item.__module__ == name
    ]
    if not found:
        raise ValueError(f"{path!r} defines no class that inherits from tb_gradients.judging.Rule")
    for rule in found:
        check_rule(rule)
    return found
