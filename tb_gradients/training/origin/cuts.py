"""Where a gradient ends that is None, read from the graph of the step.

In:  a traced step, and a variable without a gradient.
Out: ``Cut``: the operation that has no gradient, or that nothing of the variable reaches the loss.
Does not run anything.

From the loss back goes what has a gradient, and from the variable forward what is computed from it.
Between them stand the operations that something of the variable goes through, and no gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tb_gradients.training.origin.copying import Copied, Copy
from tb_gradients.training.origin.traced import BRANCHES, CALLS, TracedStep
from tb_gradients.training.tracing.graph_reading import outermost, with_bodies

Tensor = Any
Operation = Any

NEVER_READ, DROPPED, CUT = "never_read", "dropped", "cut"

_LOOPS = ("While", "StatelessWhile")

_OF_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations whose outputs do not depend on the values of their inputs."""

_SIDE_VALUES = frozenset(
    {
        "Less",
        "LessEqual",
        "Greater",
        "GreaterEqual",
        "Equal",
        "NotEqual",
        "IsNan",
        "IsInf",
        "IsFinite",
        "LogicalAnd",
        "LogicalOr",
        "LogicalNot",
        "Assert",
    }
)
"""Operations that often stand beside the way to the loss: masks, checks."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a variable is cut off from the loss.

    Attributes:
        kind: "never_read", "dropped" (read, but nothing of it reaches the loss), or "cut".
        operation: without a gradient, as the step has it; of what is dropped that which reads the
            variable; None: there is none.
        within: the calls in which it is, the outermost first.
        others: further operations that cut, on other ways.
    """

    kind: str
    operation: Operation | None = None
    within: tuple[Operation, ...] = ()
    others: int = 0


class Cuts:
    """Answers for all variables of one traced step.

    Attributes:
        loss: of the step; None: not known.
    """

    def __init__(self, step: TracedStep) -> None:
        self._step = step
        self._copy: Copy | None = None
        self.loss: Tensor | None = None
        self._scratch = tf.Graph()
        with self._scratch.as_default(), tf.device(None):
            for loss in step.losses:
                copy = Copy([loss], _placeholder)
                copy.differentiate(loss)
                if self._is_the_loss(copy):
                    self._copy, self.loss = copy, loss
                    break

    def _is_the_loss(self, copy: Copy) -> bool:
        """Whether its gradient reaches the variables that had one in the step, and no others."""
        reached = {path for path, _ in _arrivals(copy, self._step)}
        step = self._step
        return bool(reached) and reached == set(step.paths) - step.without_gradient

    def of(self, path: str) -> Cut | None:
        """How the variable is cut off; None: not known."""
        if self._copy is None:
            return None
        reads = [
            operation
            for operation in self._everything()
            if any(t.dtype == tf.resource and self._of(t) == path for t in operation.inputs)
        ]
        if not reads:
            return Cut(NEVER_READ)
        with self._scratch.as_default(), tf.device(None):
            found = self._between(path)
        if found is None:
            return None
        # Rather the reading itself than a call of a function that reads.
        reads.sort(key=lambda operation: operation.type in (*CALLS, *BRANCHES, *_LOOPS))
        return self._chosen(found) if found else Cut(DROPPED, reads[0])

    def _everything(self) -> Iterable[Operation]:
        """The operations of the forward pass, and of the functions that are called in it."""
        return with_bodies(self._step.forward)

    def _of(self, tensor: Tensor) -> str:
        return self._step.variable_of(tensor)

    def _between(self, path: str) -> list[Copied] | None:
        """The first operation without a gradient on each way from the variable to the loss.

        None: not known, as the gradient of something on the way could not be made.
        """
        assert self._copy is not None
        # Tensors that are computed from the variable.
        touched: set[Any] = set()
        used = {t.ref() for copied in self._copy.operations for t in copied.copy.inputs}
        first: list[Copied] = []
        for copied in self._copy.operations:
            inputs = [
                tensor
                for tensor in copied.copy.inputs
                if tensor.ref() in touched or _path_of(tensor, self._step) == path
            ]
            if not inputs or copied.copy.type in _OF_SHAPES:
                continue
            if copied.opaque:
                return None
            passes = any(
                gradient is not None
                for tensor, gradient in zip(copied.copy.inputs, copied.leaving, strict=False)
                if any(tensor is one for one in inputs)
            )
            if passes:  # a gradient comes through: it must end before, and it does not
                return None
            if _blocks(copied.copy, inputs):
                first.append(copied)
                continue
            # One output may have a gradient, and another one, as the indices of top_k, none.
            outputs = copied.copy.outputs
            if any(tensor.ref() in used and not _can_have_gradient(tensor) for tensor in outputs):
                first.append(copied)
            touched.update(tensor.ref() for tensor in outputs if _can_have_gradient(tensor))
        return first

    @staticmethod
    def _chosen(first: list[Copied]) -> Cut:
        named = [c for c in first if c.copy.type not in _SIDE_VALUES] or first
        chosen = named[0]
        lines = {(c.source, c.copy.type) for c in named}
        return Cut(CUT, chosen.source, chosen.within, len(lines) - 1)


def _can_have_gradient(tensor: Tensor) -> bool:
    dtype = tensor.dtype
    return bool(dtype.is_floating or dtype.is_complex or dtype in (tf.variant, tf.resource))


def _blocks(operation: Operation, inputs: list[Tensor]) -> bool:
    """Whether an operation has no gradient with respect to some of its inputs.

    Asked of the operation alone: whether a gradient arrives at it does not matter.
    """
    from tensorflow.python.framework import ops

    try:
        function = ops.get_gradient_function(operation)
    except LookupError:
        return True
    if function is None:
        return True
    arriving = [
        tf.zeros_like(t) if t.dtype.is_floating or t.dtype.is_complex else None
        for t in operation.outputs
    ]
    if not any(map(_can_have_gradient, operation.outputs)):
        return True
    try:
        leaving = function(operation, *arriving)
    except Exception:
        return False
    leaving = list(leaving) if isinstance(leaving, (list, tuple)) else [leaving]
    return all(
        gradient is None
        for tensor, gradient in zip(operation.inputs, leaving, strict=False)
        if any(tensor is one for one in inputs)
    )


def _arrivals(copy: Copy, step: TracedStep) -> Iterable[tuple[str, Any]]:
    """Paths of variables, and the gradients that arrive at them."""
    for copied in copy.operations:
        for tensor, gradient in zip(copied.copy.inputs, copied.leaving, strict=False):
            if tensor.dtype == tf.resource and gradient is not None:
                path = _path_of(tensor, step)
                if path:
                    yield path, gradient
        if copied.copy.type == "ReadVariableOp" and copied.arriving[0] is not None:
            path = _path_of(copied.copy.inputs[0], step)
            if path:
                yield path, copied.arriving[0]


def _placeholder(tensor: Tensor) -> Tensor:
    """Something of the same type and shape, which knows what it stands for."""
    made = tf.compat.v1.placeholder(tensor.dtype, tensor.shape)
    if tensor.dtype == tf.resource:
        from tensorflow.python.ops import handle_data_util

        handle_data_util.copy_handle_data(tensor, made)
        made._tb_gradients_of = tensor
    return made


def _path_of(tensor: Tensor, step: TracedStep) -> str:
    source = getattr(tensor, "_tb_gradients_of", None)
    return "" if source is None else step.handles.get(outermost(source), "")
