"""Helpers to add operations to a step's graph without changing its results or slowing it down.

In:  gradients and conditions, while a step is traced.
Out: tensors and branches that TensorFlow executes efficiently.
Does not know about statistics, frames or optimizers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

Tensor = Any


def in_xla() -> bool:
    """Whether the function being traced is compiled by XLA (``jit_compile=True``)."""
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops import control_flow_util

        graph = tf.compat.v1.get_default_graph()
        return bool(control_flow_util.GraphOrParentsInXlaContext(graph))
    except (
        Exception
    ):  # not public: without it the XLA form is used everywhere, which is correct but slower
        return True


def in_loop() -> bool:
    """Whether the function being traced is the body of a loop: one call may make many updates."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        if type(graph).__name__ == "WhileBodyFuncGraph":
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def symbolic(gradient: Any) -> Any:
    """A gradient that was computed outside of the function being traced, as a tensor of its graph.

    (A constant, or the result of another function: it has no operation that could be looked at.)
    """
    if gradient is None or tf.executing_eagerly():
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        values, indices = symbolic(gradient.values), symbolic(gradient.indices)
        return tf.IndexedSlices(values, indices, gradient.dense_shape)
    return gradient if tf.is_symbolic_tensor(gradient) else tf.identity(gradient)


_CHAINED = ("Mul", "Add", "AddV2", "AddN", "Sub", "RealDiv", "Neg")
"""Operations that TensorFlow's graph optimizer regroups if nothing reads their intermediate
value."""


def twin(gradient: Any) -> Any:
    """The same value from a copy of its operations, if reading the original would change bits.

    The graph optimizer turns (a * b) * learning_rate into a * (b * learning_rate) if only the
    update reads the product, but not if the monitor reads it too: the weights would get other
    bits. So the monitor reads a copy of such a chain of element-wise operations, with an
    attribute that prevents merging with the original. Gradients of kernels come from matrix
    products and are read as they are.
    """
    if tf.executing_eagerly() or isinstance(gradient, tf.IndexedSlices) or in_xla():
        return gradient
    graph = tf.compat.v1.get_default_graph()

    def copy(tensor: Tensor, depth: int) -> Tensor:
        operation = tensor.op
        if operation.type not in _CHAINED or operation.graph is not graph or depth == 0:
            return tensor
        attributes = dict(operation.node_def.attr)
        attributes["_tb_gradients_twin"] = tf.compat.v1.AttrValue(b=True)
        twin = graph.create_op(
            operation.type,
            [copy(part, depth - 1) for part in operation.inputs],
            [tensor.dtype],
            attrs=attributes,
        )
        return twin.outputs[0]

    return copy(gradient, 8)


def branch(predicate: Tensor, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """``tf.cond`` in a graph, kept as one operation where there is one device.

    Otherwise TensorFlow expands it so that its parts can run on several devices, and a slower
    executor runs graphs with expanded branches (half of the monitor's cost for a small dense
    network). Inside of a branch that is kept, an expanded one computes both sides, which
    multiplies time and memory. XLA has native branches.
    """
    result = tf.cond(predicate, then, otherwise)
    if not tf.executing_eagerly() and len(tf.config.list_logical_devices()) == 1:
        operation = tf.nest.flatten(result)[0].op
        while operation.type == "Identity":
            operation = operation.inputs[0].op
        # Not public: without it the branch is expanded, which is correct but slower.
        set_attribute = getattr(operation, "_set_attr", None)
        if operation.type in ("If", "StatelessIf") and set_attribute is not None:
            set_attribute("_lower_using_switch_merge", tf.compat.v1.AttrValue(b=False))
    return result


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Operations that TensorFlow's debuggers do not see (``tf.debugging.enable_check_numerics``).

    NaN means "not measured" in our operations; a debugger would take it for a fault and end the
    training.
    """
    try:
        from tensorflow.python.eager import context

        observers = context.context().op_callbacks
    except Exception:  # not public: without it only the debugger is affected
        observers = []
    kept, observers[:] = list(observers), []
    try:
        yield
    finally:
        observers[:] = kept
