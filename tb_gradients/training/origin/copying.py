"""Make the forward pass of a traced step again, in another graph, with its gradients.

In:  a ``TracedStep``, and what stands in for its inputs.
Out: ``Copy``: for every operation its copy, and the gradient of the loss at every tensor.
Does not know what the copy is for, and runs nothing.

Functions that the step calls are copied in place of their calls, so that what they do is seen. Of a
branch (``tf.cond``) the side that was taken is copied; all sides, where nothing is to be run. Loops
are copied as one operation each.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.origin.traced import body_of, sides_of
from tb_gradients.training.tracing.graph_reading import ancestors, outermost

Tensor = Any
Operation = Any

SIDE_EFFECTS = frozenset(
    {
        "PyFunc",
        "EagerPyFunc",
        "IteratorGetNext",
        "OptionalGetValue",
        "QueueDequeueV2",
        "ReaderReadV2",
        "CollectiveReduceV2",
        "CollectiveReduceV3",
        "NcclAllReduce",
        "XlaLaunch",
    }
)
"""Operations that cannot be repeated without a trace in the training: they are cut out."""

_CHECKS = ("CheckNumerics", "CheckNumericsV2", "DebugIdentityV2", "DebugIdentityV3")
"""Operations that pass a value on, and may end the program for it."""

_OPTIONALS = ("OptionalFromValue", "OptionalNone")

_OUTPUT_ONLY = ("_class", "_XlaMustCompile", "_xla_compile_id", "_tb_gradients_twin")


class CannotCopyError(Exception):
    """An operation has no place in a copy; the message says which, as the end of a sentence."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"it needs {operation.type} ({operation.name!r})")
        self.operation = operation


@dataclasses.dataclass(eq=False)
class Copied:
    """One operation of the forward pass, and its copy.

    Attributes:
        source: the operation as the step has it.
        copy: the same in the other graph.
        within: the calls that it was made in, the outermost first.
        arriving: per output the gradient that comes back to it; None: none does.
        leaving: per input the gradient that goes on from it; None: none does.
        opaque: its gradient could not be made.
        tensors: of the graph that it is from -> their copies.
    """

    source: Operation
    copy: Operation
    within: tuple[Operation, ...] = ()
    arriving: tuple[Tensor | None, ...] = ()
    leaving: tuple[Tensor | None, ...] = ()
    opaque: bool = False
    tensors: Mapping[Any, Tensor] = dataclasses.field(default_factory=dict)


Branch = tuple[Operation, tuple[Operation, ...]]
"""A branch of the step, and the calls that it was made in."""

Bind = Callable[[Tensor], Tensor]
"""An input of the step's graph, or what it gets from outside -> what stands in for it."""


class Copy:
    """The forward pass up to some tensors, made again in the default graph.

    Attributes:
        operations: in the order of their making, each behind what feeds it.
        undecided: branches of which the side that was taken is not known, and the copy of what
            chooses. Each is copied as one operation.

    Args:
        targets: of one graph.
        bind: for the inputs of that graph, and for what cannot be repeated.
        taken: branch -> number of the side that was taken, where the copy is to be run; then
            operations with side effects are left out, and their outputs are bound, too. None: it
            is only read, and has all sides of each branch.
    """

    def __init__(
        self,
        targets: Iterable[Tensor],
        bind: Bind,
        *,
        taken: Mapping[Branch, int] | None = None,
    ) -> None:
        self.operations: list[Copied] = []
        self.undecided: list[tuple[Branch, Tensor]] = []
        self._bind, self._taken = bind, taken
        self._graph = tf.compat.v1.get_default_graph()
        self._copies: dict[Any, Tensor] = {}
        targets = list(targets)
        self._copy(targets, self._copies, (), {})

    def of(self, tensor: Tensor) -> Tensor:
        """The copy of one of the targets, or of what they are computed from."""
        return self._copies[tensor.ref()]

    def _copy(
        self,
        targets: Iterable[Tensor],
        copies: dict[Any, Tensor],
        within: tuple[Operation, ...],
        given: Mapping[Any, Tensor],
    ) -> None:
        """Copy what targets of one graph are computed from.

        Args:
            copies: to fill: tensors of that graph -> their copies.
            given: what stands for the inputs of the graph, where it is the body of a call.
        """
        targets = list(targets)
        if not targets:
            return
        graph = targets[0].graph
        for name, function in graph._functions.items():
            if not self._graph._is_function(name):
                self._graph._add_function_recursive(function)
        copies.update(given)
        ends = SIDE_EFFECTS if self._taken is not None else frozenset()
        for operation in _in_order((tensor.op for tensor in targets), ends):
            if all(tensor.ref() in copies for tensor in operation.outputs) and operation.outputs:
                continue
            if operation.type == "Placeholder":
                copies[operation.outputs[0].ref()] = self._bind(operation.outputs[0])
                continue
            if self._taken is not None and operation.type in SIDE_EFFECTS:
                for tensor in operation.outputs:
                    copies[tensor.ref()] = self._bind(tensor)
                continue
            inputs = [copies[tensor.ref()] for tensor in operation.inputs]
            body = body_of(operation)
            if body is not None and len(body.inputs) == len(inputs):
                results = self._opened(operation, body, inputs, within)
                copies.update(zip((t.ref() for t in operation.outputs), results, strict=False))
                continue
            sides = self._sides(operation, inputs, within)
            if sides:
                every = [self._opened(operation, side, inputs[1:], within) for side in sides]
                for tensor, *results in zip(operation.outputs, *every, strict=False):
                    copies[tensor.ref()] = self._merged(operation, results, within, copies)
                continue
            for tensor, copied in zip(
                operation.outputs, self._again(operation, inputs, within, copies), strict=True
            ):
                copies[tensor.ref()] = copied

    def _opened(
        self,
        operation: Operation,
        body: Any,
        inputs: Sequence[Tensor],
        within: tuple[Operation, ...],
    ) -> list[Tensor]:
        """Copy a function in place of its call; gives what it returns.

        A tape may have given it further outputs, behind its own: what a branch keeps for its
        gradient, which is read there only, is left out.
        """
        inner: dict[Any, Tensor] = {}
        known = {t.ref(): c for t, c in zip(body.inputs, inputs, strict=True)}
        outputs = [t for t in body.outputs if t.op.type not in _OPTIONALS]
        self._copy(outputs, inner, (*within, operation), known)
        own = itertools.takewhile(lambda tensor: tensor.ref() in inner, outputs)
        return [inner[output.ref()] for output in own]

    def _sides(
        self, operation: Operation, inputs: Sequence[Tensor], within: tuple[Operation, ...]
    ) -> list[Any]:
        """The graphs to copy in place of a branch; []: it is none, or it is not decided."""
        sides = sides_of(operation)
        if not sides or self._taken is None:
            return sides
        if (operation, within) not in self._taken:
            self.undecided.append(((operation, within), inputs[0]))
            return []
        return [sides[self._taken[operation, within]]]

    def _merged(
        self,
        operation: Operation,
        results: Sequence[Tensor],
        within: tuple[Operation, ...],
        copies: Mapping[Any, Tensor],
    ) -> Tensor:
        """One of the results of several sides; its gradient goes to all of them."""
        if len(results) == 1:
            return results[0]
        made = tf.raw_ops.Merge(inputs=results).output.op
        self.operations.append(Copied(operation, made, within, tensors=copies))
        return made.outputs[0]

    def _again(
        self,
        operation: Operation,
        inputs: list[Tensor],
        within: tuple[Operation, ...],
        copies: Mapping[Any, Tensor],
    ) -> list[Tensor]:
        if operation.type in _CHECKS:
            made = tf.identity(inputs[0]).op
        else:
            attributes = {
                name: value
                for name, value in operation.node_def.attr.items()
                if name not in _OUTPUT_ONLY
            }
            made = self._graph.create_op(
                operation.type,
                inputs,
                [tensor.dtype for tensor in operation.outputs],
                attrs=attributes,
                name=operation.name.rpartition("/")[2],
            )
        self.operations.append(Copied(operation, made, within, tensors=copies))
        return list(made.outputs)

    # --- backward ---------------------------------------------------------------------------

    def differentiate(self, loss: Tensor, from_: Iterable[Tensor] | None = None) -> None:
        """Make the gradient of a target at all that it is computed from.

        Args:
            loss: of the step.
            from_: variables: only what depends on them has a gradient; None: on anything.
        """
        from tensorflow.python.framework import ops

        end = self.of(loss)
        within = None if from_ is None else self._behind(from_)
        arrived: dict[Any, list[Any]] = {end.ref(): [tf.ones_like(end)]}
        for copied in reversed(list(self.operations)):
            operation = copied.copy
            sums = [_sum(arrived.get(tensor.ref(), [])) for tensor in operation.outputs]
            copied.arriving = tuple(sums)
            count = len(operation.inputs)
            copied.leaving = (None,) * count
            if not any(gradient is not None for gradient in sums):
                continue
            try:
                function = ops.get_gradient_function(operation)
            except LookupError:
                function = None
            if function is None:
                continue
            try:
                if _has_own_gradient(copied.source):
                    leaving = self._own_gradient(copied, function, sums)
                else:
                    leaving = function(operation, *_filled(operation, sums))
            except Exception:
                copied.opaque = True
                continue
            leaving = list(leaving) if isinstance(leaving, (list, tuple)) else [leaving]
            if len(leaving) != count and operation.type != "While":
                copied.opaque = True
                continue
            leaving = [
                _usable(g, t) if within is None or _key(t) in within else None
                for g, t in zip(leaving, operation.inputs, strict=False)
            ]
            copied.leaving = tuple(leaving)
            for tensor, gradient in zip(operation.inputs, leaving, strict=False):
                if gradient is not None:
                    arrived.setdefault(tensor.ref(), []).append(gradient)

    def _own_gradient(
        self, copied: Copied, function: Callable[..., Any], arriving: list[Any]
    ) -> list[Any]:
        """The gradient that the program itself gives (``tf.custom_gradient``).

        Its function refers to tensors of the step's graph: it is called there once more, and what
        it makes is copied. (The function that the training runs was compiled from that graph
        before, and does not change.)
        """
        source = copied.source
        with source.graph.as_default():
            given = [tf.compat.v1.placeholder(t.dtype, t.shape) for t in source.outputs]
            leaving = list(function(source, *given))
        tensors = dict(copied.tensors)
        for place, gradient, output in zip(given, arriving, copied.copy.outputs, strict=True):
            known = tf.zeros_like(output) if gradient is None else tf.convert_to_tensor(gradient)
            tensors[place.ref()] = known
        operations, self.operations = self.operations, []
        try:
            self._copy([g for g in leaving if g is not None], tensors, copied.within, {})
        finally:
            self.operations = operations
        return [None if gradient is None else tensors[gradient.ref()] for gradient in leaving]

    def _behind(self, variables: Iterable[Tensor]) -> set[Any]:
        """What depends on some variables, and themselves."""
        found = {_key(variable) for variable in variables}
        for copied in self.operations:
            if any(_key(tensor) in found for tensor in copied.copy.inputs):
                found.update(_key(tensor) for tensor in copied.copy.outputs)
        return found


def _in_order(operations: Iterable[Operation], ends: frozenset[str]) -> list[Operation]:
    """The operations and all that they depend on, each behind what feeds it.

    (The order of their making is not enough: the gradient of a loop gives the loop new inputs.)

    Args:
        ends: types of operations of which the inputs are not needed.
    """
    needed = ancestors(operations, ends)
    found: list[Operation] = []
    done: set[Operation] = set()
    for first in next(iter(needed)).graph.get_operations():
        waiting = [first] if first in needed else []
        while waiting:
            operation = waiting[-1]
            missing = [t.op for t in operation.inputs if t.op in needed and t.op not in done]
            if operation in done or not missing:
                waiting.pop()
                if operation not in done:
                    done.add(operation)
                    found.append(operation)
            else:
                waiting += missing
    return found


def _has_own_gradient(operation: Operation) -> bool:
    """Whether ``tf.custom_gradient`` made it."""
    kind = operation.node_def.attr.get("_gradient_op_type")
    return kind is not None and kind.s.startswith(b"CustomGradient")


def _key(tensor: Tensor) -> int:
    """What distinguishes a tensor from others; of what was captured that from outside."""
    return outermost(tensor) if tensor.dtype == tf.resource else id(tensor)


def _usable(gradient: Any, tensor: Tensor) -> Any:
    """A gradient; None where there is none, or the tensor cannot have one."""
    if gradient is None or not (
        tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype in _CARRIERS
    ):
        return None
    return gradient


_CARRIERS = (tf.resource, tf.variant)


def _filled(operation: Operation, gradients: list[Any]) -> list[Any]:
    """Zeros for the outputs that no gradient comes back to, as gradient functions expect them."""
    filled = []
    for tensor, gradient in zip(operation.outputs, gradients, strict=True):
        floating = tensor.dtype.is_floating or tensor.dtype.is_complex
        if gradient is None and floating and operation.type != "IdentityN":
            gradient = tf.zeros_like(tensor)
        filled.append(gradient)
    return filled


def _sum(gradients: list[Any]) -> Any:
    """Of all that comes back to one tensor; None: nothing does."""
    if not gradients:
        return None
    if len(gradients) == 1:
        return gradients[0]
    if gradients[0].dtype in _CARRIERS:  # of a variable or a list: the parts are looked at alone
        return gradients[0]
    return tf.add_n([tf.convert_to_tensor(gradient) for gradient in gradients])
