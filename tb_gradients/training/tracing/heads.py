"""Find the last layer (the head) of a model in a step's graph: its variable and activations.

In:  the predictions, as the loss gets them, while a step is traced.
Out: the variable of the last layer, and the activations between it and the loss.
Does not know about layers: only the graph shows what the ``call`` of a custom model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tb_gradients.training.tracing.graph_reading import SAME, by_handle, outermost

Tensor = Any

_ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Exp": "exponential",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
"""Operations that are an activation, and the names that Keras gives them."""

_SUMS = ("BiasAdd", "Add", "AddV2")
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D", "_FusedConv2D")
_LONGEST = 32
"""The most operations that are followed."""


class Head(NamedTuple):
    """The end of a model.

    Attributes:
        row: of the variable (the bias, where the last layer has one) among those that were given.
        activations: from the layer to the loss.
    """

    row: int
    activations: tuple[str, ...]


def head_of(predictions: Tensor, variables: Sequence[Any]) -> Head | None:
    """The end of the model that made these predictions; None if it cannot be found.

    That is so for eager tensors, and if something else than an activation or a layer's product
    and bias comes last.
    """
    if not tf.is_symbolic_tensor(predictions):
        return None
    handles = by_handle(variables, range(len(variables)))
    activations: list[str] = []
    tensor = predictions
    for _ in range(_LONGEST):
        operation = tensor.op
        if operation.type in _SUMS + _PRODUCTS:
            rows = [handles.get(_handle_read_by(part)) for part in operation.inputs]
            known = [row for row in rows if row is not None]
            return Head(known[0], tuple(reversed(activations))) if len(known) == 1 else None
        if operation.type in _ACTIVATIONS:
            activations.append(_ACTIVATIONS[operation.type])
        elif operation.type not in SAME:
            return None
        tensor = operation.inputs[0]
    return None


def _handle_read_by(tensor: Tensor) -> int:
    """id of the handle of the variable that a tensor is the value of; 0: of none."""
    for _ in range(_LONGEST):
        operation = tensor.op
        if operation.type == "ReadVariableOp":
            return outermost(operation.inputs[0])
        if operation.type not in SAME:
            return 0
        tensor = operation.inputs[0]
    return 0
