"""The dense lane: of every step the gradient norms, the losses, and whether weights moved.

In:  sums of squares and losses of consecutive steps.
Out: ``Lane``.
Does not know about TensorFlow, TensorBoard, files or rules.

A frame holds many numbers of one step; the lane holds few numbers of every step, so what is read
from it does not depend on which steps became frames. A norm is a 16-bit *code*: its logarithm in
steps of 1/440 octave, or a mark for zero, None, NaN, Inf and "not seen". Codes rise with the norm.

Once a run is long, consecutive steps share a *block*: smallest and largest norm, and which marks
were met. Blocks begin at multiples of their size since the start of the run, and their size is a
function of the step alone, so the same training always has the same blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
CodeArray = npt.NDArray[np.uint16]
MarkArray = npt.NDArray[np.uint8]
StepArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNSEEN, NONE, NAN, INFINITE, ZERO = range(5)
"""Codes that are no norm: the step was not read, the gradient was None, its sum of squares was NaN
or Inf, all its elements were zero."""
SMALLEST = 5
"""Code of the smallest norm, ``2 ** LOWEST_EXPONENT``."""
LOWEST_EXPONENT = -80
CODES_PER_OCTAVE = 440
RELATIVE_ERROR = 2.0 ** (0.51 / CODES_PER_OCTAVE) - 1
"""Of a norm that was coded: 0.08 %. (The 0.01 is for the rounding of float32.)"""

SEEN, APPLIED, SKIPPED, LOSSES, FINITE_LOSSES = range(5)
"""Columns of ``Lane.counts``: steps that were read, that changed weights, that a loss-scaling
optimizer skipped, whose loss is known, and whose loss is finite."""
COUNTS = 5
LOW, HIGH, MEAN = range(3)
"""Columns of ``Lane.losses``."""

MOST_LOSSES = 16
"""Named losses that one run may have. Each takes at most 4 bytes of a single step, as a variable
does."""

DENSE_BYTES = 16 << 20
"""At most so much is spent on single steps, before compression; see ``block_size``."""
BLOCK_STEPS = 32
"""Steps of the first blocks of several steps."""
EQUAL_DOUBLINGS = 8
"""So many doublings of the run cost the same: at most 1.6 MB each. Later ones cost half as much as
the one before, so that a run of any length stays below 32 MB."""


def _norm_of_code() -> FloatArray:
    codes = np.arange(1 << 16)
    norms = np.exp2((codes - SMALLEST) / CODES_PER_OCTAVE + LOWEST_EXPONENT)
    norms[:SMALLEST] = np.nan
    norms[INFINITE], norms[ZERO] = np.inf, 0
    return norms.astype(np.float32)


_NORMS = _norm_of_code()


def dense_steps(variables: int) -> int:
    """How many steps of a run have a block each: a power of two."""
    return 1 << max((DENSE_BYTES // (2 * variables + 9)).bit_length() - 1, 0)


def block_size(since_start: int, variables: int) -> int:
    """Steps of the block that a step belongs to: 1, or a power of two that grows with the run.

    Args:
        since_start: how many steps the run had before this one.
    """
    doublings = (since_start // dense_steps(variables)).bit_length()
    if not doublings:
        return 1
    return BLOCK_STEPS << (doublings - 1 + max(doublings - EQUAL_DOUBLINGS, 0))


def codes_of(squares: npt.ArrayLike) -> CodeArray:
    """Codes of norms, given as sums of squares in float32; NaN and Inf are marks of their own."""
    squares = np.asarray(squares, np.float32)
    with np.errstate(all="ignore"):
        octaves = np.log2(squares) * np.float32(0.5) - np.float32(LOWEST_EXPONENT)
        codes = np.rint(octaves * np.float32(CODES_PER_OCTAVE)) + np.float32(SMALLEST)
    usual = codes > 0  # false for zero (-inf), NaN; Inf is above the range
    rounded = np.where(usual, np.minimum(codes, np.float32(0xFFFF)), np.float32(NAN))
    result: CodeArray = rounded.astype(np.uint16)
    special = ~usual | np.isinf(squares)
    if special.any():
        result[squares == 0] = ZERO
        result[np.isposinf(squares)] = INFINITE
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class NamedLoss:
    """One of several losses of a step, in the blocks of a lane.

    Attributes:
        name: as the loop passed it.
        counts: int64 [blocks, 2], steps of which it is known, and of which it is finite.
        losses: float32 [blocks, 3], smallest, largest and mean finite value; NaN without one.
    """

    name: str
    counts: StepArray
    losses: FloatArray

    @classmethod
    def unknown(cls, name: str, blocks: int) -> NamedLoss:
        """Not known at any step."""
        losses = np.full((blocks, 3), np.nan, np.float32)
        return cls(name, np.zeros((blocks, 2), np.int64), losses)

    def __getitem__(self, blocks: slice) -> NamedLoss:
        return NamedLoss(self.name, self.counts[blocks], self.losses[blocks])

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        return self.counts.nbytes + self.losses.nbytes

    @property
    def loss(self) -> FloatArray:
        """float32 [blocks]: mean of the finite values; NaN where it is not known or not finite."""
        return self.losses[:, MEAN]

    @property
    def nonfinite(self) -> BoolArray:
        """bool [blocks]: whether some value was NaN or Inf."""
        result: BoolArray = self.counts[:, 0] > self.counts[:, 1]
        return result


@dataclasses.dataclass(frozen=True)
class Lane:
    """Consecutive steps of one variable table, in blocks of one or more steps.

    Attributes:
        first: int64 [blocks], the first step of each; they rise strictly.
        spans: int64 [blocks], how many steps each holds.
        due: int64 [blocks], the step with which the block was complete: rules see it from the next
            frame at this step or later on. Behind the last step where it was cut short.
        low, high: uint16 [blocks, variables], codes of the smallest and largest finite norm;
            ``UNSEEN`` where there was none.
        marks: uint8 [blocks, variables], bit ``1 << code`` for each of the five codes that are no
            norm, if some step had it.
        counts: int64 [blocks, 5], see ``SEEN``.
        losses: float32 [blocks, 3], smallest, largest and mean finite loss; NaN without one.
        named: the losses that have names, in the order in which they first came.
    """

    first: StepArray
    spans: StepArray
    due: StepArray
    low: CodeArray
    high: CodeArray
    marks: MarkArray
    counts: StepArray
    losses: FloatArray
    named: tuple[NamedLoss, ...] = ()

    @classmethod
    def empty(cls, variables: int) -> Lane:
        """No steps."""
        return cls.of_steps(0, np.zeros((0, variables), np.uint16))

    @classmethod
    def of_steps(
        cls,
        first: int,
        codes: CodeArray,
        applied: npt.ArrayLike = (),
        losses: npt.ArrayLike | None = None,
        seen: bool = True,
    ) -> Lane:
        """Single steps from ``first`` on.

        Args:
            codes: uint16 [steps, variables].
            applied: [steps], above 0 where weights were changed, below 0 where a loss-scaling
                optimizer skipped the step.
            losses: [steps], NaN and Inf as they were; None: not known.
            seen: whether the steps were read at all.
        """
        count = len(codes)
        steps = np.arange(first, first + count, dtype=np.int64)
        counts = np.zeros((count, COUNTS), np.int64)
        lowest = np.full((count, 3), np.nan, np.float32)
        if seen:
            applied = np.asarray(applied)
            counts[:, SEEN] = 1
            counts[:, APPLIED], counts[:, SKIPPED] = applied > 0, applied < 0
        if losses is not None:
            known = np.asarray(losses, np.float32)
            finite = np.isfinite(known)
            counts[:, LOSSES], counts[:, FINITE_LOSSES] = 1, finite
            lowest[finite] = known[finite, np.newaxis]
        unusual = codes < ZERO
        marks = np.zeros(codes.shape, np.uint8)
        np.left_shift(1, codes, out=marks, where=codes < SMALLEST, casting="unsafe")
        values = np.where(unusual, np.uint16(UNSEEN), codes) if unusual.any() else codes
        return cls(steps, np.ones(count, np.int64), steps, values, values, marks, counts, lowest)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def last_step(self) -> int:
        """The last step; -1 of an empty lane."""
        return int(self.first[-1] + self.spans[-1] - 1) if len(self) else -1

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        arrays = (getattr(self, name) for name in _ARRAYS)
        return sum(part.nbytes for part in (*arrays, *self.named))

    # --- What users read -----------------------------------------------------------------

    @property
    def steps(self) -> StepArray:
        """int64 [blocks]: the first step of each block."""
        return self.first

    @property
    def norms(self) -> FloatArray:
        """float32 [blocks, variables]: the gradient norm, the largest finite one of a block.

        Inf where a gradient had a NaN or an Inf (see ``nonfinite``), NaN where it was
        None or was not seen.
        """
        norms = _NORMS[self.high]
        norms[self.nonfinite] = np.inf
        return norms

    @property
    def smallest_norms(self) -> FloatArray:
        """float32 [blocks, variables]: the smallest finite norm of a block; NaN without one."""
        return _NORMS[self.low]

    @property
    def largest_norms(self) -> FloatArray:
        """float32 [blocks, variables]: the largest finite norm of a block; NaN without one."""
        return _NORMS[self.high]

    @property
    def loss(self) -> FloatArray:
        """float32 [blocks]: mean of the finite losses; NaN where it is not known or not finite."""
        return self.losses[:, MEAN]

    @property
    def loss_nonfinite(self) -> BoolArray:
        """bool [blocks]: whether some loss was NaN or Inf."""
        result: BoolArray = self.counts[:, LOSSES] > self.counts[:, FINITE_LOSSES]
        return result

    @property
    def named_losses(self) -> dict[str, FloatArray]:
        """Name -> float32 [blocks], like ``loss``: those that ``step(losses=...)`` was given."""
        return {one.name: one.loss for one in self.named}

    def named_losses_at(self, steps: npt.ArrayLike) -> dict[str, FloatArray]:
        """Name -> float32 [steps]: at a step, or the mean of its block; NaN where not known."""
        wanted = np.asarray(steps, np.int64)
        block, inside = self._blocks_of(wanted)
        found = {one.name: np.full(len(wanted), np.nan, np.float32) for one in self.named}
        for one in self.named:
            found[one.name][inside] = one.loss[block[inside]]
        return found

    def _blocks_of(self, steps: StepArray) -> tuple[StepArray, BoolArray]:
        """The block of each step, and whether it has one."""
        block = np.searchsorted(self.first, steps, side="right") - 1
        inside = block >= 0
        inside[inside] = steps[inside] < (self.first + self.spans)[block[inside]]
        return block, inside

    @property
    def moved(self) -> FloatArray:
        """float32 [blocks]: share of the steps that changed weights; NaN where none was seen."""
        seen = self.counts[:, SEEN]
        with np.errstate(all="ignore"):
            return np.where(seen > 0, self.counts[:, APPLIED] / seen, np.nan).astype(np.float32)

    @property
    def nonfinite(self) -> BoolArray:
        """bool [blocks, variables]: whether some gradient had a NaN or an Inf."""
        return self.marked(NAN) | self.marked(INFINITE)

    def marked(self, code: int) -> BoolArray:
        """bool [blocks, variables]: whether some step had this code, for example ``NONE``."""
        result: BoolArray = (self.marks & (1 << code)) > 0
        return result

    # --- Cutting and joining --------------------------------------------------------------

    def __getitem__(self, blocks: slice) -> Lane:
        arrays = {name: getattr(self, name)[blocks] for name in _ARRAYS}
        return Lane(**arrays, named=tuple(one[blocks] for one in self.named))

    def shifted(self, steps: int) -> Lane:
        """The same with other numbers of its steps."""
        return dataclasses.replace(self, first=self.first + steps, due=self.due + steps)

    def before(self, step: int) -> Lane:
        """The blocks that end before a step."""
        return self[: int(np.searchsorted(self.first + self.spans, step, side="right"))]

    def with_losses(self, steps: npt.ArrayLike, losses: npt.ArrayLike) -> Lane:
        """The same with losses from another place; a loss that is known already stays.

        Args:
            steps: of the losses, rising; those of other steps are left out.
        """
        steps, values = np.asarray(steps, np.int64), np.asarray(losses, np.float32)
        block, here = self._blocks_of(steps)
        here[here] = self.counts[block[here], LOSSES] == 0
        if not here.any():
            return self
        counts, summary = self.counts.copy(), self.losses.copy()
        _add_losses(counts[:, LOSSES:], summary, block[here], values[here])
        return dataclasses.replace(self, counts=counts, losses=summary)

    def with_named_losses(self, given: Mapping[str, Sequence[tuple[int, float]]]) -> Lane:
        """The same with named losses, which it does not have yet.

        Args:
            given: steps and values of each; those of other steps are left out.
        """
        named = []
        for name, pairs in given.items():
            one = NamedLoss.unknown(name, len(self))
            steps = np.array([step for step, _ in pairs], np.int64)
            block, here = self._blocks_of(steps)
            values = np.array([value for _, value in pairs], np.float32)
            _add_losses(one.counts, one.losses, block[here], values[here])
            named.append(one)
        return dataclasses.replace(self, named=(*self.named, *named))

    def with_names(self, names: Iterable[str]) -> Lane:
        """The same with these named losses, in this order; what it lacks is not known."""
        own = {one.name: one for one in self.named}
        named = tuple(own.get(name) or NamedLoss.unknown(name, len(self)) for name in names)
        return dataclasses.replace(self, named=named)


_ARRAYS = tuple(field.name for field in dataclasses.fields(Lane) if field.name != "named")
"""Attributes of a lane that are arrays [blocks, ...]."""


def _add_losses(counts: StepArray, summary: FloatArray, block: StepArray, values: Any) -> None:
    """Add losses to blocks that have none yet.

    Args:
        counts: int64 [blocks, 2], known and finite ones; changed.
        summary: float32 [blocks, 3], smallest, largest and mean finite one; changed.
        block: of each loss.
    """
    np.add.at(counts[:, 0], block, 1)
    finite = np.isfinite(values)
    block, values = block[finite], values[finite]
    np.add.at(counts[:, 1], block, 1)
    np.fmin.at(summary[:, LOW], block, values)
    np.fmax.at(summary[:, HIGH], block, values)
    sums = np.bincount(block, values, len(summary))
    met = np.unique(block)
    summary[met, MEAN] = sums[met] / counts[met, 1]


def joined(parts: Sequence[Lane]) -> Lane:
    """Consecutive lanes of one table as one; at least one of them."""
    if len(parts) == 1:
        return parts[0]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    names = tuple(dict.fromkeys(one.name for part in parts for one in part.named))
    columns = zip(*(part.with_names(names).named for part in parts), strict=True)
    return Lane(**arrays, named=tuple(map(_joined_losses, columns)))


def _joined_losses(parts: Sequence[NamedLoss]) -> NamedLoss:
    counts = np.concatenate([part.counts for part in parts])
    return NamedLoss(parts[0].name, counts, np.concatenate([part.losses for part in parts]))


def spread(lane: Lane, columns: Sequence[int], variables: int) -> Lane:
    """The lane as one of more variables.

    Args:
        columns: where each of its variables goes, among
        variables: so many; the others are not seen.
    """
    if list(columns) == list(range(variables)):
        return lane
    low, high = np.full((2, len(lane), variables), UNSEEN, np.uint16)
    marks = np.full((len(lane), variables), 1 << UNSEEN, np.uint8)
    low[:, columns], high[:, columns], marks[:, columns] = lane.low, lane.high, lane.marks
    return dataclasses.replace(lane, low=low, high=high, marks=marks)


def without_gaps(lane: Lane) -> list[Lane]:
    """Lanes in which each block begins where the one before it ends."""
    gaps = np.flatnonzero(lane.first[1:] != (lane.first + lane.spans)[:-1]) + 1
    ends = [*gaps.tolist(), len(lane)]
    return [lane[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def in_blocks(lane: Lane, origin: int) -> Lane:
    """Blocks, or parts of blocks, put together to blocks of the size that is due at their step.

    Args:
        origin: first step of the run.
    """
    if not len(lane) or block_size(lane.last_step - origin, lane.low.shape[1]) == 1:
        return lane
    variables = lane.low.shape[1]
    first = lane.first - origin
    changes = _changes(int(first[-1]), variables)
    sizes = np.array([block_size(step, variables) for step in changes])
    size = sizes[np.searchsorted(changes, first, side="right") - 1]
    block = first // size
    begins = np.flatnonzero(np.diff(block, prepend=-1) | np.diff(size, prepend=0))
    due = origin + (block[begins] + 1) * size[begins] - 1
    low = np.where(lane.low == UNSEEN, 0xFFFF, lane.low)
    high = np.maximum.reduceat(lane.high, begins)
    return Lane(
        lane.first[begins],
        np.add.reduceat(lane.spans, begins),
        due,
        np.where(high == UNSEEN, UNSEEN, np.minimum.reduceat(low, begins)).astype(np.uint16),
        high,
        np.bitwise_or.reduceat(lane.marks, begins),
        np.add.reduceat(lane.counts, begins),
        _reduced(lane.losses, lane.counts[:, FINITE_LOSSES], begins),
        tuple(
            NamedLoss(
                one.name,
                np.add.reduceat(one.counts, begins),
                _reduced(one.losses, one.counts[:, 1], begins),
            )
            for one in lane.named
        ),
    )


def _changes(last: int, variables: int) -> list[int]:
    """The steps since the start at which the size of blocks changes, up to ``last``."""
    dense = dense_steps(variables)
    return [0, *(dense << i for i in range((last // dense).bit_length()))]


def _reduced(losses: FloatArray, finite: StepArray, begins: StepArray) -> FloatArray:
    """float32 [blocks, 3]: smallest, largest and mean loss of larger blocks.

    Args:
        finite: int64 [blocks], how many losses each mean is of.
    """
    sums = np.nan_to_num(losses[:, MEAN].astype(np.float64)) * finite
    with np.errstate(all="ignore"):
        means = np.add.reduceat(sums, begins) / np.add.reduceat(finite, begins)
    low = np.fmin.reduceat(losses[:, LOW], begins)
    high = np.fmax.reduceat(losses[:, HIGH], begins)
    return np.stack([low, high, means.astype(np.float32)], axis=1)
