"""Names of variables and layers, and counts, as words of a sentence.

In:  a variable table and rows of it.
Out: phrases.
Does not know any rule.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from tb_gradients.frames import Variable, VariableTable


def names(table: VariableTable, rows: Sequence[int] | Iterable[int], limit: int = 3) -> str:
    """Paths as words: ``a, b, c and 4 more``."""
    paths = [table.paths[int(row)] for row in rows]
    if len(paths) <= limit:
        return _listed(paths)
    return f"{', '.join(paths[:limit])} and {len(paths) - limit} more"


def layer(variable: Variable) -> str:
    """The layer of a variable, in the words of its path."""
    return variable.path.rpartition("/")[0] or variable.path


def layers_of(variables: Sequence[Variable], limit: int = 3) -> str:
    """Their layers as words: ``a, b and c``, or ``a to f`` where there are more."""
    found = list(dict.fromkeys(layer(v) for v in variables))
    if len(found) > limit:
        return f"{found[0]} to {found[-1]}"
    return _listed(found)


def plural(count: int, noun: str) -> str:
    """``1 variable``, ``2 variables``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's', 'x')) else 's'}"


NO_UPDATE_LOOKED_AT = (
    "too few frames fall on steps that change weights: choose an `every` that is not a multiple of "
    "the accumulation steps"
)
"""Why rules that compare weights before and after a step could not judge."""


LOOP, FIT = "loop", "fit"
"""Fact of a run that a callback of ``fit`` watches, and its value."""


def in_fit(table: VariableTable) -> bool:
    """Whether ``fit`` trains; otherwise a loop does, or nobody knows."""
    return table.run.facts.get(LOOP) == FIT


def how_to_give(columns: Iterable[str], fit: bool = False) -> str:
    """What is not measured, and how to get it measured; "" for no columns.

    Args:
        fit: whether ``fit`` trains, so that there is no ``monitor.step``.
    """
    return _how_to_give(tuple(columns), fit)


@functools.lru_cache(maxsize=256)
def _how_to_give(columns: tuple[str, ...], fit: bool) -> str:
    kinds = dict.fromkeys(_kind(column) for column in columns)
    passed = [kind for kind in kinds if kind in PASSED_IN]
    text = []
    if passed:
        arguments = ", ".join(f"`{kind}=`" for kind in passed)
        ways = [] if fit else [f"pass {arguments} to `monitor.step()`"]
        ways.append("in a custom `train_step`, call `self.compute_loss(x, y, y_pred)`")
        text.append(f"needs the {_listed(passed)}: {'; '.join(ways)}")
    text += [f"needs {_WANTED[kind]}" for kind in kinds if kind in _WANTED]
    return "; ".join(text)


PASSED_IN = ("loss", "inputs", "targets", "predictions")
"""What a custom training loop passes to ``monitor.step()``."""

ADDED_LOSS = "added_loss"
"""Fact of a variable: a loss that a layer adds with `add_loss` is computed from it."""

_WANTED = {
    "loss_scale": "the loss scale",
    "activation": "the outputs of the layers: pass `activations=True` when you attach the monitor",
    "update": "the weights before and after a step",
    "weight": "the weights",
    "gradient": "a gradient that is neither None nor zero",
}
"""What the other columns are measured of."""


def _kind(column: str) -> str:
    """What a column is measured of: one of ``PASSED_IN`` or ``_WANTED``."""
    if column.startswith(("applied", "lost")):
        return "update"
    known = ("loss_scale", *PASSED_IN, "activation", "update", "weight")
    return next((kind for kind in known if column.startswith(kind)), "gradient")


def _listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def activation(variable: Variable) -> str:
    """The activation of its layer, in lower case."""
    return variable.activation.lower()
