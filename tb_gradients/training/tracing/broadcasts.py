"""Find in a training step's graph a loss that compares every prediction with every target.

In:  the gradients of a step, while it is traced.
Out: the shapes of the two, where one is a column and the other a vector.
Does not know about losses: a difference is found by its operation, wherever it was written.

TensorFlow broadcasts a column [n, 1] minus a vector [n] to [n, n] differences. Their mean is
smallest if all predictions are one constant, so the model learns that. (The losses of Keras give
both sides the same rank first.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.tracing.graph_reading import ancestors

Tensor = Any

_DIFFERENCES = ("Sub", "SquaredDifference")
_READS = ("ReadVariableOp", "ResourceGather")


def broadcast_difference(gradients: Sequence[Any]) -> tuple[str, str] | None:
    """Shapes of the predictions and of the targets, such as ("(32, 1)", "(32,)"); None: none found.

    Only a difference counts that the gradients depend on, and of which exactly one side depends on
    a variable: a ranking loss compares pairs of predictions (or of targets) on purpose.
    """
    tensors = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    tensors = [tensor for tensor in tensors if tensor is not None]
    if not tensors or not tf.is_symbolic_tensor(tensors[0]):
        return None
    candidates = [
        operation
        for operation in tensors[0].graph.get_operations()
        if operation.type in _DIFFERENCES and _column_and_vector(*operation.inputs)
    ]
    if not candidates:
        return None
    behind = ancestors(tensor.op for tensor in tensors)
    for operation in candidates:
        learnt = [_reads_variable(side) for side in operation.inputs]
        if operation in behind and learnt in ([True, False], [False, True]):
            predictions, targets = operation.inputs if learnt[0] else reversed(operation.inputs)
            return _text(predictions), _text(targets)
    return None


def _column_and_vector(one: Tensor, other: Tensor) -> bool:
    """Whether these are of shapes [n, 1] and [n], in either order; n may be unknown, but not 1."""
    if one.shape.rank == 1:
        one, other = other, one
    if one.shape.rank != 2 or other.shape.rank != 1:
        return False
    (rows, columns), (length,) = one.shape.as_list(), other.shape.as_list()
    return bool(columns == 1 and rows == length and rows != 1)


def _reads_variable(tensor: Tensor) -> bool:
    return any(operation.type in _READS for operation in ancestors([tensor.op]))


def _text(tensor: Tensor) -> str:
    sizes = ["n" if size is None else str(size) for size in tensor.shape.as_list()]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
