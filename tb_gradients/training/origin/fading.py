"""Measure a gradient on its way from the loss to a variable, operation by operation.

In:  a step to repeat, and a variable.
Out: ``Way``; and the operation that leaves a part of the variable's units without a gradient.
Does not know what a change of size is due to.

Where a gradient arrives on several ways, as beside a shortcut, the larger part is followed, from
the variable on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.origin.copying import Copied
from tb_gradients.training.origin.repeating import Kept, Repetition, gradient_values
from tb_gradients.training.origin.way import MOVES, Passage, Way

Tensor = Any

UNIT_RATIO = 1e-3
"""A unit gets no gradient through an operation that leaves less than this of it."""

UNIT_SHARE = 0.3
"""Share of units without gradient behind an operation that makes it the origin."""

NEAR = 12
"""Operations behind the variable in which what switches its units off is looked for."""


def way_to(kept: Kept, loss: Tensor, path: str, limit: int) -> Way | None:
    """The way of a variable's gradient; None: it has none, or is not finite.

    Args:
        loss: of the step.
        path: of the variable.
        limit: bytes that batch and weights may take.

    Raises:
        CannotRepeatError: as ``repeat``.
    """
    return _Measured(Repetition(kept, loss, limit, path), loss, path).way()


@dataclasses.dataclass(frozen=True)
class Switched:
    """An operation behind which a part of the units gets no gradient.

    Attributes:
        passage: the operation.
        share: of the units.
        units: how many there are.
    """

    passage: Passage
    share: float
    units: int


def switched_units(kept: Kept, loss: Tensor, way: Way, limit: int) -> Switched | None:
    """The operation that leaves most units of a variable without a gradient; None: none does."""
    near = [p for p in way.outer[-NEAR:] if p.operation.type not in MOVES]
    shares = _Measured(Repetition(kept, loss, limit, way.path), loss, way.path).units(near)
    found = [Switched(p, *shares[i]) for i, p in enumerate(near) if i in shares]
    best = max(found, key=lambda one: one.share, default=None)
    return best if best is not None and best.share >= UNIT_SHARE else None


class _Measured:
    def __init__(self, repetition: Repetition, loss: Tensor, path: str) -> None:
        self._repetition, self._loss, self._path = repetition, loss, path

    def way(self) -> Way | None:
        found: list[Copied] = []
        index: dict[Any, int] = {}
        end: list[Any] = []

        def measure(*batch: Tensor) -> Tensor:
            copy = self._repetition.copied(batch)
            found[:], end[:] = copy.operations, [copy.of(self._loss).ref()]
            index.clear()
            sizes: list[Tensor] = []
            for copied in copy.operations:
                for gradient in (*copied.arriving, *copied.leaving):
                    values = _measurable(gradient)
                    if values is not None and id(gradient) not in index:
                        index[id(gradient)] = len(sizes)
                        sizes.append(_size(values))
            return tf.stack(sizes) if sizes else tf.zeros([0], tf.float64)

        numbers = self._repetition.run(measure, xla=False)
        if not np.isfinite(numbers).all():
            return None

        def size(gradient: Any) -> float:
            return float(numbers[index[id(gradient)]]) if id(gradient) in index else -1.0

        passages = self._followed(found, size, end[0]) if end else []
        return Way(self._path, tuple(reversed(passages))) if passages else None

    def _followed(
        self, operations: Sequence[Copied], size: Callable[[Any], float], end: Any
    ) -> list[Passage]:
        """From the variable on, always to the operation that most of the gradient comes from."""
        readers: dict[Any, list[tuple[Copied, int]]] = collections.defaultdict(list)
        starts: list[tuple[Copied, int]] = []
        for copied in operations:
            for i, (tensor, gradient) in enumerate(
                zip(copied.copy.inputs, copied.leaving, strict=False)
            ):
                if gradient is None or size(gradient) < 0:
                    continue
                if self._repetition.path_of(tensor) == self._path:
                    starts.append((copied, i))
                else:
                    readers[tensor.ref()].append((copied, i))
        passages: list[Passage] = []
        waiting = starts
        while waiting:
            copied, i = max(
                waiting,
                key=lambda one: (size(one[0].leaving[one[1]]), max(map(size, one[0].arriving))),
            )
            sizes = [size(gradient) for gradient in copied.arriving]
            if not sizes or max(sizes) < 0:
                break
            output = copied.copy.outputs[int(np.argmax(sizes))]
            behind = size(copied.leaving[i])
            others = [t for j, t in enumerate(copied.copy.inputs) if j != i]
            weighted = any(t.dtype == tf.resource or _is_read(t) for t in others)
            passages.append(Passage(copied.source, copied.within, max(sizes), behind, weighted))
            waiting = [] if output.ref() == end else readers[output.ref()]
        return passages

    def units(self, passages: Sequence[Passage]) -> dict[int, tuple[float, int]]:
        """Of those that keep the shape: share of units without a gradient, number of units."""
        places: list[int] = []

        def measure(*batch: Tensor) -> list[Tensor]:
            places.clear()
            measured = []
            copies = {(c.source, c.within): c for c in self._repetition.copied(batch).operations}
            for place, passage in enumerate(passages):
                copied = copies[passage.operation, passage.within]
                before = next(filter(_is_dense, copied.arriving), None)
                behind = next(filter(_is_dense, copied.leaving), None)
                if before is None or behind is None or not _has_same_units(before, behind):
                    continue
                places.append(place)
                measured.append(_units_without(before, behind))
            return measured

        numbers = self._repetition.run(measure, xla=False)
        return {
            place: (float(share), int(count))
            for place, (share, count) in zip(places, numbers, strict=True)
        }


def _units_without(before: Tensor, behind: Tensor) -> Tensor:
    """float64 [2]: share of units, slices of the last axis, without a gradient behind; units."""
    axes = list(range(before.shape.rank - 1))
    sizes = [
        tf.sqrt(tf.reduce_mean(tf.square(tf.cast(t, tf.float64)), axes)) for t in (before, behind)
    ]
    lost = (sizes[0] > 0) & (sizes[1] <= UNIT_RATIO * sizes[0])
    share = tf.reduce_mean(tf.cast(lost, tf.float64))
    return tf.stack([share, tf.cast(tf.size(lost), tf.float64)])


def _has_same_units(before: Tensor, behind: Tensor) -> bool:
    """Whether the last axes of two gradients are known to be the same units."""
    if not before.shape.rank or before.shape.rank != behind.shape.rank:
        return False
    return before.shape[-1] is not None and before.shape[-1] == behind.shape[-1]


def _is_read(tensor: Tensor) -> bool:
    """Whether a tensor is the value of a variable, or a cast of it."""
    operation = tensor.op
    while operation.type in ("Identity", "Cast") and operation.inputs:
        operation = operation.inputs[0].op
    return bool(operation.type in ("ReadVariableOp", "ResourceGather"))


def _is_dense(gradient: Any) -> bool:
    return (
        gradient is not None
        and not isinstance(gradient, tf.IndexedSlices)
        and bool(gradient.dtype.is_floating)
    )


def _measurable(gradient: Any) -> Any:
    """The values of a gradient; None: there are none that have a size."""
    values = None if gradient is None else gradient_values(gradient)
    return None if values is None or not values.dtype.is_floating else values


def _size(values: Tensor) -> Tensor:
    """float64 scalar: root mean square. (Squares of small float32 numbers would be 0.)"""
    values = tf.cast(values, tf.float64)
    count = tf.maximum(tf.size(values, tf.int64), 1)
    return tf.sqrt(2.0 * tf.nn.l2_loss(values) / tf.cast(count, tf.float64))
