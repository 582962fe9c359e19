"""Run a step once more, outside of the training, to see which operation broke its numbers.

In:  a traced step, its batch, and the weights it began with.
Out: ``Broken``: the first operation whose inputs are finite and whose outputs are not.
Does not change anything of the training: every variable that the step reads has a stand-in here.

The forward pass is copied with its gradients, and every tensor of both has one numeric summary. A
gradient is looked at only where a variable lies before it, as the training's own tape does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.origin.copying import Branch, CannotCopyError, Copied, Copy
from tb_gradients.training.origin.traced import BRANCHES, TracedStep, body_of, kind_of, side_taken
from tb_gradients.training.tracing.graph_reading import ancestors, captured, outermost

Tensor = Any
Operation = Any

MAX_XLA_TENSORS = 1500
"""Tensors of a step that is compiled with a summary of each: XLA takes seconds for so many."""

_BEARS_INFINITY = frozenset(
    {"Softmax", "LogSoftmax", "SoftmaxCrossEntropyWithLogits", "Elu", "Cos", "Sin", "Tan"}
    | {"SparseSoftmaxCrossEntropyWithLogits", "FloorMod", "Mod"}
)
"""Operations whose NaN is their own, also where an input is infinite: a mask is so on purpose."""

GIVEN = frozenset(
    {"Const", "Placeholder", "ReadVariableOp", "Fill", "BroadcastTo", "Cast", "ResourceGather"}
    | {"Identity", "Select", "SelectV2", "ExpandDims", "Reshape", "Tile", "MatrixBandPart", "Pack"}
)
"""Operations that only hand an infinite value on: nothing was computed wrongly in them."""


class CannotRepeatError(Exception):
    """The step cannot be run again; the message says why, as the end of a sentence."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a step is repeated from.

    Attributes:
        step: as it was traced.
        batch: arrays, one per tensor of ``step.sources``.
        weights: id of what is captured of a variable -> its value before the step.
        exact: whether the weights are those of this very step, and not of one shortly before.
    """

    step: TracedStep
    batch: Sequence[Any]
    weights: Mapping[int, Any]
    exact: bool


@dataclasses.dataclass(frozen=True)
class Broken:
    """The operation in which the numbers broke.

    Attributes:
        operation: as the step has it.
        within: the calls that it was made in.
        phase: "forward" or "backward".
        inputs: of the operation (backward: and the gradient that came to it).
        outputs: of the operation (backward: the gradients that it gave).
        only_xla: whether it breaks only where XLA compiles the step.
    """

    operation: Operation
    within: tuple[Operation, ...]
    phase: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    only_xla: bool = False


def repeat(kept: Kept, loss: Tensor, limit: int) -> Broken | None:
    """The operation in which a step broke; None: it does not break outside of the training.

    Args:
        loss: of the step.
        limit: bytes that batch and weights may take.

    Raises:
        CannotRepeatError: an operation cannot be repeated, or it would take too much memory.
    """
    repeated = Repetition(kept, loss, limit)
    return repeated.broken(xla=False) or (repeated.broken(xla=True) if kept.step.xla else None)


def where_it_ends(kept: Kept, loss: Tensor, path: str, limit: int) -> Broken | None:
    """The operation at which the gradient on its way to a variable becomes exactly zero.

    None: it does not in this step, or several operations share in it.

    Args:
        path: of the variable.

    Raises:
        CannotRepeatError: as ``repeat``.
    """
    return Repetition(kept, loss, limit, path).ending()


def sizes(kept: Kept, loss: Tensor, limit: int, *, xla: bool = False) -> Mapping[str, float]:
    """Path of each variable with a gradient -> its largest magnitude; NaN if it is not finite.

    Raises:
        CannotRepeatError: as ``repeat``.
    """
    return Repetition(kept, loss, limit).sizes(xla)


class Repetition:
    """One step, to be run as often as needed, with the same stand-ins.

    Args:
        kept: what it is repeated from.
        loss: of the step.
        limit: bytes that batch and weights may take.
        path: only the gradient of this variable is made; "": that of all.
    """

    def __init__(self, kept: Kept, loss: Tensor, limit: int, path: str = "") -> None:
        self._kept, self._loss, self._path = kept, loss, path
        self._stand_ins: dict[int, Any] = {}
        self._paths: dict[int, str] = {}
        self._left = limit - sum(_bytes_of(array) for array in kept.batch)
        self._sources = {t.ref(): i for i, t in enumerate(kept.step.sources)}
        self._taken: dict[Branch, int] = {}
        if _has_branches(ancestors([loss.op])):
            self._decide()

    def broken(self, xla: bool) -> Broken | None:
        made: list[_Made] = []

        def measure(*batch: Tensor) -> Tensor:
            made[:] = [_Made(self.copied(batch))]
            tensors = made[0].tensors
            if xla and len(tensors) > MAX_XLA_TENSORS:
                raise CannotRepeatError(f"XLA would take too long for {len(tensors)} tensors")
            return tf.stack([_summary(tensor, xla) for tensor in tensors])

        numbers = self.run(measure, xla)
        if not made or not made[0].tensors:
            return None
        health = made[0].health(numbers)
        found = health.origin(self._loss)
        if found is None:
            return None
        copied, phase = found
        inputs, outputs = self._values(copied, phase, xla)
        return Broken(copied.source, copied.within, phase, inputs, outputs, xla)

    def ending(self) -> Broken | None:
        sizes: list[tuple[Copied, list[Tensor], list[Tensor]]] = []

        def measure(*batch: Tensor) -> Tensor:
            sizes[:] = [
                (copied, _readable(copied.arriving), _readable(copied.leaving))
                for copied in self.copied(batch).operations
            ]
            largest = [(_largest(before), _largest(after)) for _, before, after in sizes]
            return tf.stack([tf.stack(pair) for pair in largest])

        numbers = self.run(measure, xla=False)
        found = [
            copied
            for (copied, _, after), (before, left) in zip(sizes, numbers, strict=True)
            if after and before > 0 and left == 0
        ]
        places = {(copied.source.name, copied.within) for copied in found}
        if len(places) != 1:
            return None
        inputs, outputs = self._values(found[0], "backward", False)
        return Broken(found[0].source, found[0].within, "backward", inputs, outputs)

    def sizes(self, xla: bool) -> Mapping[str, float]:
        found: dict[str, list[Tensor]] = {}

        def measure(*batch: Tensor) -> list[Tensor]:
            found.clear()
            for copied in self.copied(batch).operations:
                for tensor, gradient in zip(copied.copy.inputs, copied.leaving, strict=False):
                    path = self.path_of(tensor)
                    if path and gradient is not None:
                        found.setdefault(path, []).append(gradient_values(gradient))
            return [_finite_size(tensors) for tensors in found.values()]

        numbers = self.run(measure, xla)
        order = [path for path in self._kept.step.paths if path in found]
        known = dict(zip(found, numbers, strict=True))
        return {path: float(known[path]) for path in order}

    def path_of(self, tensor: Tensor) -> str:
        """Path of the variable that a resource of the copy stands for; "": of none."""
        return self._paths.get(outermost(tensor), "") if tensor.dtype == tf.resource else ""

    def copied(self, batch: Sequence[Tensor]) -> Copy:
        """The forward pass and its gradients, in the function being traced.

        Args:
            batch: what ``run`` calls the function with.
        """
        copy, roots = self._forward(batch)
        copy.differentiate(self._loss, from_=roots)
        return copy

    def _decide(self) -> None:
        """Find which side of each branch the step takes: that one is looked into.

        What chooses within a side is only there once the branch around it is decided.
        """
        branches: list[Branch] = []

        def chosen(*batch: Tensor) -> list[Tensor]:
            undecided = self._forward(batch)[0].undecided
            branches[:] = [branch for branch, _ in undecided]
            return [chooses for _, chooses in undecided]

        while True:
            values = self.run(chosen, xla=False)
            if not branches:
                return
            for branch, value in zip(branches, values, strict=True):
                self._taken[branch] = side_taken(branch[0], value)

    def _forward(self, batch: Sequence[Tensor]) -> tuple[Copy, list[Tensor]]:
        """The forward pass, and what stands in for the variables whose gradient is wanted."""
        roots: set[Any] = set()
        step = self._kept.step

        def bind(tensor: Tensor) -> Tensor:
            if tensor.ref() in self._sources:
                return batch[self._sources[tensor.ref()]]
            if tensor.op.type != "Placeholder":
                raise CannotCopyError(tensor.op)
            outside = captured(tensor)
            if getattr(outside, "graph", None) is not None:  # of a function around the step
                raise CannotCopyError(tensor.op)
            if tensor.dtype == tf.resource:
                stand_in = self._stand_in(outside)
                if stand_in is not None:
                    known = step.variable_of(tensor)
                    self._paths[id(stand_in.handle)] = known
                    if known and self._path in ("", known):
                        roots.add(id(stand_in))
                    return tf.convert_to_tensor(stand_in.handle)
            return tf.identity(outside) if tensor.dtype != tf.resource else outside

        copy = Copy([self._loss], bind, taken=self._taken)
        return copy, [one.handle for one in self._stand_ins.values() if id(one) in roots]

    def _stand_in(self, handle: Any) -> Any:
        """A variable with the value before the step; None: it is no variable."""
        if id(handle) not in self._stand_ins:
            kind = kind_of(handle)
            if kind is None:
                return None
            with tf.init_scope():
                value = self._kept.weights.get(id(handle))
                if value is None:
                    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=kind)
                self._left -= _bytes_of(value)
                if self._left < 0:
                    raise CannotRepeatError("batch and weights are larger than `explain_bytes`")
                value = tf.convert_to_tensor(value)
                self._stand_ins[id(handle)] = tf.Variable(
                    value, trainable=False, shape=tf.TensorShape(None), dtype=kind
                )
                self._stand_ins[id(handle)].handle._handle_data = handle._handle_data
        return self._stand_ins[id(handle)]

    def run(self, function: Callable[..., Any], xla: bool) -> Any:
        """Trace a function of the batch, run it; gives its result as arrays."""
        batch = [tf.convert_to_tensor(array) for array in self._kept.batch]
        specs = [
            tf.TensorSpec(source.shape, source.dtype) if not xla else tf.TensorSpec.from_tensor(t)
            for source, t in zip(self._kept.step.sources, batch, strict=True)
        ]
        with tf.device(None):
            made = tf.function(
                function, autograph=False, jit_compile=xla or None
            ).get_concrete_function(*specs)
            return tf.nest.map_structure(lambda t: t.numpy(), made(*batch))

    def _values(
        self, found: Copied, phase: str, xla: bool
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """The values at an operation, inputs and outputs."""

        def fetch(*batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            copy = self.copied(batch)
            (one,) = (
                c for c in copy.operations if c.source is found.source and c.within == found.within
            )
            if phase == "forward":
                return _readable(one.copy.inputs), _readable(one.copy.outputs)
            return _readable([*one.copy.inputs, *one.arriving]), _readable(one.leaving)

        inputs, outputs = self.run(fetch, xla)
        return tuple(inputs), tuple(outputs)


class _Made:
    """The tensors of a copy that can be finite or not, each once."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.places: dict[Any, int] = {}
        self.tensors: list[Tensor] = []
        for copied in copy.operations:
            ends = (*copied.copy.inputs, *copied.copy.outputs)
            for tensor in (*ends, *copied.arriving, *copied.leaving):
                tensor = gradient_values(tensor)
                if tensor is None or not tensor.dtype.is_floating:
                    continue
                if tensor.ref() not in self.places:
                    self.places[tensor.ref()] = len(self.tensors)
                    self.tensors.append(tensor)

    def health(self, numbers: np.ndarray) -> _Health:
        return _Health(self, np.asarray(numbers)[:, -3:])


class _Health:
    """What is known of the tensors of a copy after it has run."""

    def __init__(self, made: _Made, numbers: np.ndarray) -> None:
        self._made, self._numbers = made, numbers
        self._made_by = {
            tensor.ref(): copied
            for copied in made.copy.operations
            for tensor in copied.copy.outputs
        }
        self._order = {id(copied): i for i, copied in enumerate(made.copy.operations)}

    def nan(self, tensor: Any) -> bool:
        """Whether a tensor holds NaN."""
        row = self._row(tensor)
        return row is not None and bool(row[2] > 0)

    def infinite(self, tensor: Any) -> bool:
        """Whether a tensor holds an infinite value."""
        row = self._row(tensor)
        return row is not None and bool(row[0] > 0 or row[1] > 0)

    def broken(self, tensor: Any) -> bool:
        return self.nan(tensor) or self.infinite(tensor)

    def _row(self, tensor: Any) -> Any:
        tensor = gradient_values(tensor)
        place = None if tensor is None else self._made.places.get(tensor.ref())
        return None if place is None else self._numbers[place]

    def origin(self, loss: Tensor) -> tuple[Copied, str] | None:
        """The operation in which the loss, or else its gradient, broke first, and the phase."""
        end = self._made.copy.of(loss)
        if self.broken(end):
            found = self._forward(end)
            return None if found is None else (found, "forward")
        for copied in reversed(self._made.copy.operations):
            if any(map(self.broken, copied.arriving)) or not any(map(self.broken, copied.leaving)):
                continue
            return copied, "backward"
        return None

    def _forward(self, end: Tensor) -> Copied | None:
        """The first operation that broke what a value is computed from."""
        found: list[Copied] = []
        seen: set[Any] = set()
        waiting = [end]
        while waiting:
            tensor = waiting.pop()
            copied = self._made_by.get(tensor.ref())
            if tensor.ref() in seen:
                continue
            seen.add(tensor.ref())
            if copied is None:  # the batch itself, or a weight
                return None
            inputs = list(copied.copy.inputs)
            if any(map(self.nan, copied.copy.outputs)):
                before = [t for t in inputs if self.nan(t)]
                if not before and copied.copy.type not in _BEARS_INFINITY:
                    before = self._made_infinite([t for t in inputs if self.infinite(t)])
            else:
                before = [t for t in inputs if self.broken(t)]
            if before:
                waiting += before
            else:
                found.append(self._filler(copied))
        return min(found, key=lambda c: self._order[id(c)], default=None)

    def _filler(self, copied: Copied) -> Copied:
        """Of an operation that only reads a list, the loop that has filled it: lists are not
        looked into."""
        kept = copied
        while copied.copy.type.startswith("TensorList"):
            lists = [t for t in copied.copy.inputs if t.dtype == tf.variant]
            maker = self._made_by.get(lists[0].ref()) if lists else None
            if maker is None:
                return kept
            copied = maker
        return copied

    def _made_infinite(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Those of infinite tensors that were computed to be so: a mask of -inf is a constant."""
        return [tensor for tensor in tensors if self._is_computed(tensor)]

    def _is_computed(self, tensor: Tensor) -> bool:
        for _ in range(64):
            copied = self._made_by.get(tensor.ref())
            if copied is None:
                return False
            before = [t for t in copied.copy.inputs if self.broken(t)]
            if not before:
                return copied.copy.type not in GIVEN
            tensor = before[0]
        return False


def _has_branches(operations: Iterable[Operation]) -> bool:
    """Whether some of the operations, or what they call, is a branch."""
    for operation in operations:
        body = body_of(operation)
        if operation.type in BRANCHES or (body and _has_branches(body.get_operations())):
            return True
    return False


def gradient_values(gradient: Any) -> Any:
    """The tensor that holds a gradient's numbers."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _largest(tensors: Sequence[Tensor]) -> Tensor:
    """float32 scalar: the largest magnitude in any of them; 0 of none."""
    found = [
        tf.cast(tf.reduce_max(tf.abs(tensor)), tf.float32)
        for tensor in tensors
        if tensor.dtype.is_floating
    ]
    return tf.reduce_max(tf.stack([*found, tf.zeros([])]))


def _finite_size(tensors: Sequence[Tensor]) -> Tensor:
    """float32 scalar: the largest magnitude in any of them; NaN if something is not finite."""
    finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors]
    return tf.where(tf.reduce_all(tf.stack(finite)), _largest(tensors), np.float32("nan"))


def _readable(tensors: Sequence[Any]) -> list[Tensor]:
    values = [gradient_values(tensor) for tensor in tensors if tensor is not None]
    return [t for t in values if t.dtype not in (tf.resource, tf.variant)]


def _summary(tensor: Tensor, xla: bool) -> Tensor:
    """float32 [3 at the end]: how many values are -inf, +inf and NaN."""
    if not xla:
        return tf.raw_ops.DebugNumericSummaryV2(
            input=tensor, output_dtype=tf.float32, tensor_debug_mode=3, tensor_id=0
        )
    infinite = tf.math.is_inf(tensor)
    counts = [infinite & (tensor < 0), infinite & (tensor > 0), tf.math.is_nan(tensor)]
    return tf.stack([tf.reduce_sum(tf.cast(which, tf.float32)) for which in counts])


def _bytes_of(value: Any) -> int:
    return int(getattr(value, "nbytes", 0) or np.asarray(value).nbytes)
