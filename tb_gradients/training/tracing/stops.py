"""Find `stop_gradient` between the inputs and the predictions of a step that is being traced.

In:  the predictions, as the loss gets them, and the watched variables.
Out: the keys of variables that the predictions depend on through `stop_gradient` alone.
Does not know what is made of them. A penalty, such as a divergence, may give such variables a
gradient, so that no rule about gradients sees that the error of the predictions never arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.variables import key_of
from tb_gradients.training.tracing.graph_reading import ancestors, by_handle, outermost

Tensor = Any

_STOPS = ("StopGradient", "PreventGradient")
_HOLDERS = (tf.resource, tf.variant)
"""Variables, and lists of tensors, as loops and recurrent layers pass them on."""

_LOOKUPS = ("ResourceGather", "ResourceGatherNd", "GatherV2", "GatherNd")
"""Here integers of the data choose rows."""


def stopped_before(predictions: Tensor, variables: Sequence[Any]) -> set[Any]:
    """Keys of the variables that are cut off; none if something else sees the inputs, too."""
    if not tf.is_symbolic_tensor(predictions):
        return set()
    passing = _with_gradient(predictions.op, _STOPS)
    captured = {id(inner) for _, inner in getattr(predictions.graph, "captures", ())}
    if any(_sees_data(operation, captured) for operation in passing):
        return set()
    keys = by_handle(variables, map(key_of, variables))
    return _read(ancestors([predictions.op]), keys) - _read(passing, keys)


def behind_a_sign(predictions: Tensor, variables: Sequence[Any]) -> set[Any]:
    """Keys of the variables that the predictions depend on through the sign of something alone: its
    slope is zero everywhere, and the gradient is zero and not None."""
    if not tf.is_symbolic_tensor(predictions):
        return set()
    keys = by_handle(variables, map(key_of, variables))
    passing = _with_gradient(predictions.op, (*_STOPS, "Sign"))
    return _read(_with_gradient(predictions.op, _STOPS), keys) - _read(passing, keys)


def _with_gradient(operation: Any, stops: Sequence[str]) -> set[Any]:
    """The operation, and all that a gradient may go back to from it."""
    found: set[Any] = set()
    waiting = [operation]
    while waiting:
        one = waiting.pop()
        if one in found or one.type in stops:
            continue
        found.add(one)
        waiting += [
            tensor.op
            for tensor in one.inputs
            if tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype in _HOLDERS
        ]
    return found


def _sees_data(operation: Any, captured: set[int]) -> bool:
    """Whether it gives data of the step, or looks something up by them."""
    if operation.type in _LOOKUPS or operation.type.startswith("IteratorGetNext"):
        return True
    if operation.type != "Placeholder":
        return False
    [output] = operation.outputs
    return output.dtype.is_floating and id(output) not in captured


def _read(operations: set[Any], keys: Any) -> set[Any]:
    """Keys of the variables that some operations read."""
    read = {
        keys.get(outermost(tensor))
        for operation in operations
        for tensor in operation.inputs
        if tensor.dtype == tf.resource
    }
    return read - {None}
