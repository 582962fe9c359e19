"""What the list of runs says of a run's settings, so that runs can be distinguished.

In:  the variable table as it is stored, the context vectors.
Out: short texts by name, in the order in which they matter; the last loss.
Does not know about rules or HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tb_gradients.frames import FloatArray
from tb_gradients.proto import gradient_health_pb2 as pb

_MOST_SETTINGS = 40
_SOME_FRAMES = 20


def settings_of(
    table: pb.VariableTable, contexts: Sequence[FloatArray | object] = ()
) -> dict[str, str]:
    """Optimizer, learning rate, batch size, depth, size and all else that a program sets."""
    run = table.run
    config = dict(run.optimizer_config)
    shapes = [tuple(variable.shape) for variable in table.variables]
    settings = {
        "optimizer": run.optimizer,
        "learning_rate": config.pop("learning_rate", ""),
        "batch_size": _batch_size(table.context, contexts),
        "layers": str(sum(len(shape) >= 2 for shape in shapes)),
        "parameters": str(sum(math.prod(shape) for shape in shapes)),
        "loss": run.loss,
        "precision": run.precision,
        "steps_per_epoch": str(run.steps_per_epoch or ""),
        "accumulation_steps": str(run.accumulation_steps or ""),
        "replicas": str(run.replicas) if run.replicas > 1 else "",
        **{name: value for name, value in sorted(config.items()) if name != "name"},
    }
    known = {name: value for name, value in settings.items() if value not in ("", "None")}
    return dict(list(known.items())[:_MOST_SETTINGS])


def _batch_size(columns: Sequence[str], contexts: Sequence[FloatArray | object]) -> str:
    """The largest batch of the last frames: the last one of an epoch may be smaller."""
    names = list(columns)
    if "samples" not in names:
        return ""
    column = names.index("samples")
    sizes = [values[column] for values in _in_memory(contexts[-_SOME_FRAMES:], len(names))]
    known = [size for size in sizes if not np.isnan(size)]
    return f"{max(known):.0f}" if known else ""


def _in_memory(contexts: Sequence[FloatArray | object], size: int) -> Iterator[FloatArray]:
    """What still lies in a file is not read for a list of runs."""
    for values in contexts:
        if isinstance(values, np.ndarray) and values.size >= size:
            yield values


def last_loss(columns: Sequence[str], contexts: Sequence[FloatArray | object]) -> float:
    """The last loss that was measured, of context vectors in step order.

    Infinity: it was NaN or Inf; NaN: none was measured.
    """
    names = list(columns)
    if "loss" not in names:
        return math.nan
    column = names.index("loss")
    age = names.index("loss_nonfinite_age") if "loss_nonfinite_age" in names else None
    for values in _in_memory(contexts[::-1], len(names)):
        if age is not None and values[age] >= 0:
            return math.inf
        if not np.isnan(values[column]):
            return float(values[column])
    return math.nan
