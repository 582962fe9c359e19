"""Which variables the losses that layers add are computed from.

In:  a model and the gradients of a step, while it is traced.
Out: the keys of variables that ``model.losses`` depends on.
Does not know whether the training step adds these losses: a gradient of None shows that not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.variables import key_of
from tb_gradients.training.tracing.graph_reading import ancestors, by_handle, graph_of, outermost


def in_added_losses(models: Sequence[Any], gradients: Sequence[Any], variables: Any) -> set[Any]:
    """Keys of those of the variables that an added loss is computed from; none of an eager step."""
    graph = graph_of(gradients)
    if graph is None:
        return set()
    added = [
        tensor.op
        for tensor in losses_of(models)
        if tf.is_symbolic_tensor(tensor) and tensor.graph is graph
    ]
    if not added:
        return set()
    keys = by_handle(variables, map(key_of, variables))
    read = {
        keys.get(outermost(tensor))
        for operation in ancestors(added)
        for tensor in operation.inputs
        if tensor.dtype == tf.resource
    }
    return read - {None}


def losses_of(models: Sequence[Any]) -> list[Any]:
    """What layers added with ``add_loss`` in this step.

    Not ``model.losses``: that computes the penalties of all weights anew, in the user's graph.
    """
    found: list[Any] = []
    for model in models:
        layers = getattr(model, "_flatten_layers", None)
        for layer in layers() if callable(layers) else ():
            own = getattr(layer, "_get_own_losses", None)
            found += own() if callable(own) else []
    return found
