"""Names of variables and layers, and counts, as words of a sentence.

In:  a variable table and rows of it.
Out: phrases.
Does not know any rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tb_gradients.frames import Variable, VariableTable


def names(table: VariableTable, rows: Sequence[int] | Iterable[int], limit: int = 3) -> str:
    """Paths as words: ``a, b, c and 4 more``."""
    paths = [table.paths[int(row)] for row in rows]
    if len(paths) <= limit:
        return " and ".join(part for part in (", ".join(paths[:-1]), *paths[-1:]) if part)
    return f"{', '.join(paths[:limit])} and {len(paths) - limit} more"


def layer(variable: Variable) -> str:
    """The layer of a variable, in the words of its path."""
    return variable.path.rpartition("/")[0] or variable.path


def layers_of(variables: Sequence[Variable], limit: int = 3) -> str:
    """Their layers as words: ``a, b and c``, or ``a to f`` where there are more."""
    found = list(dict.fromkeys(layer(v) for v in variables))
    if len(found) > limit:
        return f"{found[0]} to {found[-1]}"
    return " and ".join(part for part in (", ".join(found[:-1]), *found[-1:]) if part)


def plural(count: int, noun: str) -> str:
    """``1 variable``, ``2 variables``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's', 'x')) else 's'}"


NO_UPDATE_LOOKED_AT = (
    "too few frames are of steps that change weights: choose another `every`, no multiple of the "
    "accumulation steps"
)
"""Why rules that hold weights before and after a step against each other could not judge."""


def how_to_give(columns: Iterable[str]) -> str:
    """What is not measured, and how to have it measured; "" for no columns."""
    found = dict.fromkeys(_source(column) for column in columns)
    return "; ".join(f"needs {what}: {how}" if how else f"needs {what}" for what, how in found)


def _source(column: str) -> tuple[str, str]:
    """What a column is measured of, and how to give it."""
    if column.startswith("loss_scale"):
        return "the loss scale", ""
    by_hand = "; in a `train_step` of your own call `self.compute_loss(x, y, y_pred)`"
    if column.startswith("loss"):
        return "the loss", f"pass it with `monitor.step(loss=loss)`{by_hand}"
    for side in ("inputs", "targets", "predictions"):
        if column.startswith(side):
            return f"the {side}", f"pass them with `monitor.step({side}={side})`{by_hand}"
    if column.startswith("activation"):
        return "the outputs of the layers", "pass `activations=True` when you attach the monitor"
    if column.startswith(("update", "applied", "lost")):
        return "the weights before and after a step", ""
    if column.startswith("weight"):
        return "the weights", ""
    return "a gradient that is not None", ""


def activation(variable: Variable) -> str:
    """The activation of its layer, in lower case."""
    return variable.activation.lower()
