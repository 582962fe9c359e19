"""Find frozen layers that hold the values they were initialized with.

In:  a Keras model before its first step.
Out: facts of the run: which layers these are.
Does not know whether the run learns in spite of it.

No initializer can be recognised from its values alone, but offsets, scales and moving averages
start at exactly 0 or 1 and have left that after any training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tb_gradients.judging.freezing import NEVER_TRAINED
from tb_gradients.training.model.layers import flat_layers
from tb_gradients.training.optimizers import replicas

STARTS = {"bias": 0.0, "beta": 0.0, "moving_mean": 0.0, "gamma": 1.0, "moving_variance": 1.0}
"""Where the vectors of a layer start, if it is made without an initializer for them."""

MANY = 32
"""So many of them are looked at: those nearest the inputs."""


def frozen_facts(model: Any) -> dict[str, str]:
    """The outermost frozen layers, if there are such vectors and all are as they started."""
    frozen = [layer for layer in flat_layers(model) if _is_frozen(layer)]
    vectors = [vector for layer in frozen for vector in _vectors(layer)][:MANY]
    if not vectors or not all(_is_at_start(*vector) for vector in vectors):
        return {}
    inner = {id(one) for layer in frozen for one in flat_layers(layer)[1:]}
    outermost = [layer.name for layer in frozen if id(layer) not in inner]
    return {NEVER_TRAINED: ",".join(outermost)}


def _is_frozen(layer: Any) -> bool:
    return getattr(layer, "trainable", True) is False and bool(getattr(layer, "weights", ()))


def _vectors(layer: Any) -> Iterator[tuple[Any, float]]:
    """Its own vectors with a known start; none of the layers inside it."""
    own = [
        variable
        for kind in ("_trainable_variables", "_non_trainable_variables")
        for variable in getattr(layer, kind, ())
    ]
    for variable in own:
        name = getattr(variable, "name", "").rpartition("/")[2].partition(":")[0]
        if name in STARTS and len(variable.shape) == 1:
            yield variable, STARTS[name]


def _is_at_start(variable: Any, start: float) -> bool:
    value = getattr(variable, "value", variable)
    values = np.asarray(replicas.local(variable if callable(value) else value))
    return bool((values == start).all())
