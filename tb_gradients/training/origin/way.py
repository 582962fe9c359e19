"""How the size of a gradient changes from the loss to a variable, and where most of it does.

In:  operations with the size of the gradient before and behind each.
Out: rows of places, and the operation at the place that dominates the change, if one does.
Does not know how a size is measured.

Sizes are root mean squares. An operation that only moves, sums or spreads values changes them with
the number of elements, which counts as no change.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tb_gradients.flags import PathRow

Operation = Any

MOST_ROWS = 40
"""Rows of a path; of a longer one those that change the size most are left."""

DECADES = 2.0
"""Change of size on the whole way, as a power of ten, below which no place is at fault."""

DOMINATES = 0.6
"""Share of the whole change at one place that makes it the origin."""

MOVES = frozenset(
    {"Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "Transpose", "Tile"}
    | {"BroadcastTo", "Pack", "Unpack", "ConcatV2", "Split", "SplitV", "Slice", "StridedSlice"}
    | {"GatherV2", "GatherNd", "ResourceGather", "ReadVariableOp", "Pad", "PadV2", "MirrorPad"}
    | {"Mean", "Sum", "AddN", "AddV2", "Add", "Sub", "Neg", "AvgPool", "AvgPool3D", "MaxPool"}
    | {"MaxPool3D", "SpaceToBatchND", "BatchToSpaceND", "ReverseV2", "L2Loss", "Max", "Min"}
)
"""Operations behind which a gradient has other places, or another number of elements, alone."""

PlaceOf = Callable[[Operation, Sequence[Operation]], tuple[str, str, int]]
"""An operation, and the calls that it was made in -> layer, file, line."""


@dataclasses.dataclass(frozen=True)
class Passage:
    """One operation on the way.

    Attributes:
        operation, within: as those of ``Copied``.
        before: root mean square of the gradient that comes back to it; 0 if it is exactly zero.
        behind: of what goes on from it to the variable.
        weighted: it reads a variable besides what comes from the flagged one.
    """

    operation: Operation
    within: tuple[Operation, ...]
    before: float
    behind: float
    weighted: bool

    @property
    def change(self) -> float:
        """Decimal logarithm of the factor; -inf where the gradient ends."""
        if self.operation.type in MOVES or not self.before:
            return 0.0
        return math.log10(self.behind / self.before) if self.behind else -math.inf


@dataclasses.dataclass(frozen=True)
class Way:
    """The operations from the loss to a variable.

    Attributes:
        path: of the variable.
        passages: from the loss on; at least one.
    """

    path: str
    passages: tuple[Passage, ...]

    @property
    def outer(self) -> tuple[Passage, ...]:
        """Up to the operation that uses the variable itself: how large its gradient is depends on
        the inputs, too."""
        uses = [i for i, p in enumerate(self.passages) if p.operation.type not in MOVES]
        return self.passages[: uses[-1]] if uses else ()

    @property
    def hidden(self) -> tuple[Passage, ...]:
        """Of these, from the last layer on: what is before it is the same for all variables."""
        first = next((i for i, p in enumerate(self.outer) if p.weighted), 0)
        return self.outer[first:]

    def changes(self, *, grows: bool) -> bool:
        """Whether the size changes much on the whole way.

        Of growth only what grows counts: the mean over a batch hides it otherwise.
        """
        if grows:
            return sum(max(passage.change, 0.0) for passage in self.outer) >= DECADES
        return -sum(passage.change for passage in self.hidden) >= DECADES

    def rows(self, place: PlaceOf) -> tuple[PathRow, ...]:
        """The way as rows, the operations of one place together."""
        rows: list[tuple[float, PathRow]] = []
        for passage in self.passages:
            layer, file, line = place(passage.operation, passage.within)
            change = abs(passage.change)
            row = PathRow(layer, passage.operation.type, file, line, _log(passage.behind))
            most, last = rows[-1] if rows else (0.0, row)
            if rows and (last.layer, last.file, last.line) == (layer, file, line):
                kept = last.operation if most >= change else row.operation
                rows[-1] = max(most, change), dataclasses.replace(row, operation=kept)
            else:
                rows.append((change, row))
        if len(rows) > MOST_ROWS:
            changes = [abs(_difference(a[1], b[1])) for a, b in itertools.pairwise(rows)]
            order = sorted(range(1, len(rows) - 1), key=lambda i: -changes[i - 1])
            left = sorted([0, *order[: MOST_ROWS - 2], len(rows) - 1])
            rows = [rows[i] for i in left]
        return tuple(row for _, row in rows)

    def dominant(self, place: PlaceOf, *, grows: bool) -> Passage | None:
        """The operation at the place where most of the change of size is; None: at none.

        Args:
            grows: whether growth is looked for.
        """
        passages = self.outer if grows else self.hidden
        for passage in passages:
            if passage.change == -math.inf:
                return None if grows else passage
        sign = 1.0 if grows else -1.0
        changes: dict[Any, float] = collections.defaultdict(float)
        most: dict[Any, Passage] = {}
        for passage in passages:
            layer, file, line = place(passage.operation, passage.within)
            if not layer and not file:
                continue
            key = (file, line) if file else layer
            change = sign * passage.change
            changes[key] += change
            if key not in most or change > sign * most[key].change:
                most[key] = passage
        whole = sum(change for p in passages if (change := sign * p.change) > 0)
        if not changes or not self.changes(grows=grows):
            return None
        best = max(changes, key=lambda key: changes[key])
        return most[best] if changes[best] >= DOMINATES * whole else None


def _log(size: float) -> float:
    return math.log10(size) if size > 0 else -math.inf


def _difference(first: PathRow, second: PathRow) -> float:
    if math.isinf(first.log10_size) or math.isinf(second.log10_size):
        return 0.0 if first.log10_size == second.log10_size else math.inf
    return second.log10_size - first.log10_size
