"""What rules see of a run: its last frames, and a few facts about its whole length.

In:  frames, one by one.
Out: ``History`` (bounded memory) and ``Window`` (a rule's read-only view of it).
Does not know about any rule, about files or about flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.frames import FloatArray, Frame, VariableTable, derived_statistic
from tb_gradients.judging import between
from tb_gradients.judging.learning import Learning
from tb_gradients.judging.paths import Paths
from tb_gradients.judging.progress import Progress

T = TypeVar("T")
Array = TypeVar("Array", bound=npt.NDArray[Any])
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

CAPACITY = 64
"""Frames a window holds: the longest horizon of a rule is 50 steps, each logged at worst."""

BLOCK = 64
"""Frames that are judged together where so many are there already: arrays over more of them need
more memory, and are hardly cheaper for each frame."""

LEARNING_EVERY = 4
"""Once the window is full: a few frames more or less are nothing to the median of a third."""

LAST = slice(-1, None)
"""The newest frame."""

START_STEPS = 10
"""The first steps, with which later values of a run are compared."""

FACTS_OF_NONFINITE = frozenset(
    {
        "gradient_nan_count",
        "gradient_inf_count",
        "gradient_nonfinite_count",
        "weight_nonfinite_count",
        "nonfinite_age",
        "none_step_share",
        "gradient_norm_max",
    }
)
"""Statistics that still mean something when a tensor holds NaN or Inf (the last one is of the
finite steps before). The others are those of the finite remainder, down to the norm of
nothing, and would accuse wrongly."""

_CONTEXT = {name: row for row, name in enumerate(schema.context_names())}
"""Row of each context column in the history."""

_OF_LOSS = [
    _CONTEXT[name]
    for name in ("loss_mean", "loss", "targets_mean", "targets_std", "targets_majority_share")
]
_WINDOW_STEPS, _APPLIED_STEPS = _CONTEXT["window_steps"], _CONTEXT["applied_steps"]

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class Rows:
    """The variable table as arrays over the rows."""

    def __init__(self, table: VariableTable) -> None:
        variables = table.variables
        roles = np.array([v.role for v in variables], dtype=object)
        self.kernel: BoolArray = (roles == "kernel") | (roles == "recurrent_kernel")
        """Weights that multiply a signal: the rows that step-size rules judge."""
        self.embedding: BoolArray = roles == "embedding"
        self.minor: BoolArray = (roles == "bias") | (roles == "scale")
        """Offsets and scales: small, often zero at the start, rarely the reason for anything."""
        self.judged: BoolArray = np.array(
            [v.trainable and v.elements > 0 and not v.analytically_zero for v in variables], bool
        )
        """Rows that should have a gradient."""
        self.units: IntArray = np.array([v.units for v in variables], np.int64)
        self.elements: IntArray = np.array([v.elements for v in variables], np.int64)
        self.initial_rms: npt.NDArray[np.float64] = np.array(
            [v.initial_rms for v in variables], np.float64
        )
        fan_in = self.elements / np.maximum(self.units, 1)
        start = np.where(
            self.initial_rms > 0, self.initial_rms, np.sqrt(2.0 / np.maximum(fan_in, 1))
        )
        self.initial_norm: npt.NDArray[np.float64] = start * np.sqrt(self.elements)
        """Norm at the start; for what starts at zero, that of a He-initialised weight."""
        self.bias_of: IntArray = np.full(len(variables), -1, np.int64)
        """Row of the judged bias that a kernel's layer adds; -1 where there is none."""
        bias = {
            v.path.rpartition("/")[0]: row
            for row, v in enumerate(variables)
            if v.role == "bias" and len(v.shape) == 1 and self.judged[row]
        }
        for row, v in enumerate(variables):
            if v.role == "kernel":
                self.bias_of[row] = bias.get(v.path.rpartition("/")[0], -1)
        self.fan_in: npt.NDArray[np.float64] = fan_in
        self.scale_gain: npt.NDArray[np.float64] = self.initial_rms * np.sqrt(np.maximum(fan_in, 1))
        """Factor by which a kernel scales a signal at the start; Glorot's is 1, He's 1.4."""
        self.chain = Chain(table, self)
        self._table = table
        self._described: dict[Callable[..., object], object] = {}
        self.rounding: npt.NDArray[np.float64] = np.array(
            [_EPSILON.get(v.dtype, _EPSILON["float32"]) / 2 for v in variables], np.float64
        )
        """Half the distance of 1 to the next number: a smaller relative step is rounded away."""

    def once(self, describe: Callable[[VariableTable, Rows], T]) -> T:
        """What a function says of the table: asked once, as the table stays."""
        if describe not in self._described:
            self._described[describe] = describe(self._table, self)
        return cast(T, self._described[describe])


DENSE_OR_ACTIVATION = ("Dense", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax")
"""What may stand behind a dense layer for the next one to get what it gives, and no more."""


class Chain:
    """Where one dense layer feeds the next: its kernel, its bias, and both of the one behind.

    Known from their order and shapes, and from the layer that is known to come next: behind a
    product, a sum or a normalisation stands another layer than that.
    """

    def __init__(self, table: VariableTable, rows: Rows) -> None:
        variables = table.variables
        kernels = [int(row) for row in np.flatnonzero(rows.judged & rows.kernel)]
        links = [
            (row, behind, int(rows.bias_of[row]), int(rows.bias_of[behind]))
            for row, behind in itertools.pairwise(kernels)
            if variables[row].layer_class == variables[behind].layer_class == "Dense"
            and variables[row].facts.get("followed_by", "Dense") in DENSE_OR_ACTIVATION
            and len(variables[behind].shape) == 2
            and variables[behind].shape[0] == variables[row].units
        ]
        links = [link for link in links if min(link) >= 0]
        table_of_links = np.array(links, np.int64).reshape(-1, 4)
        self.row, self.behind, self.bias, self.bias_behind = table_of_links.T
        self.units: IntArray = rows.units[self.row]
        self.units_behind: IntArray = rows.units[self.behind]


@dataclasses.dataclass
class Seen:
    """How much of a run was seen: since its start, since its variables changed, or since training
    went back to an earlier step.

    Attributes:
        steps: all of them, logged or not.
        updates: those of them that changed weights.
        frames: the logged ones.
    """

    steps: int = 0
    updates: int = 0
    frames: int = 0


class History:
    """The last ``CAPACITY`` frames of one table, and running facts of the whole run.

    Columns are stored as one block each, [frames, variables] in step order: a view of frames in a
    row costs nothing. ``extend`` takes frames in, several at once where they are there already;
    ``advance`` makes the next of them the newest one, which is all that rules see.

    Args:
        table: the variables of the run.
        needs: the statistics that are kept; of the context all columns are.
        progress: whether the run learns; each frame is added to it. ``None``: another history of
            the run does so.
        like: another history of the run, which has the same table.
    """

    def __init__(
        self,
        table: VariableTable,
        needs: Iterable[str],
        progress: Progress | None = None,
        like: History | None = None,
    ) -> None:
        self._needs = frozenset(needs)
        self._progress = progress
        self._peaks: FloatArray = np.zeros((0, 0), np.float32)
        self._starts: FloatArray = self._peaks
        self._peak_steps: IntArray = np.zeros((0, 0), np.int64)
        self._previous_index: dict[str, int] = {}
        self._blocks: FloatArray = np.zeros((0, 0, 0), np.float32)
        self._context: FloatArray = np.zeros((len(_CONTEXT), 0), np.float32)
        self._spans: IntArray = np.zeros(0, np.int64)
        self.steps: IntArray = self._spans
        self._so_far: IntArray = np.zeros(1, np.int64)
        self._context_starts = np.full(len(_CONTEXT), np.nan, np.float32)
        self._context_seen = np.zeros(len(_CONTEXT), bool)
        self._begun = 0
        self._stop = self._end = self._block = self._context_up_to = 0
        self.restarts = 0
        """How often the window began anew."""
        self.first_step: int | None = None
        self.table = table
        self.pushed = 0
        """How many frames there were, however long ago."""
        self.set_table(table, like)

    def set_table(self, table: VariableTable, like: History | None = None) -> None:
        """Start a new window; running facts of variables that stay are kept."""
        self._bring_up_to_date()
        before, paths = (self._peaks, self._peak_steps, self._starts), self.table.paths
        self.table = table
        self.rows: Rows = Rows(table) if like is None else like.rows
        self.paths: Paths = Paths(table) if like is None else like.paths
        columns = (*schema.STATISTICS, *schema.DERIVED)
        names = [column.name for column in columns if column.name in self._needs]
        stored = [name for name in names if name in table.statistics]
        derived = [name for name in names if name not in table.statistics]
        self._stored = [table.statistics.index(name) for name in stored]
        self._derived = derived
        self._index = {name: i for i, name in enumerate((*stored, *derived))}
        self._hidden = np.array([name not in FACTS_OF_NONFINITE for name in self._index], bool)
        counted = ("gradient_nan_count", "gradient_inf_count", "weight_nonfinite_count")
        self._nonfinite_columns = [
            table.statistics.index(name) for name in counted if name in table.statistics
        ]
        self._weight_counts = counted[-1] in table.statistics
        known = [(i, _CONTEXT[name]) for i, name in enumerate(table.context) if name in _CONTEXT]
        self._context_source = np.array([i for i, _ in known], np.intp)
        self._context_target = np.array([row for _, row in known], np.intp)
        count = len(table.variables)
        self._peaks = np.full((len(names), count), np.nan, np.float32)
        self._peak_steps = np.zeros((len(names), count), np.int64)
        self._starts = self._peaks.copy()
        new = {path: row for row, path in enumerate(table.paths)}
        pairs = [(old, new[path]) for old, path in enumerate(paths) if path in new]
        if self._previous_index and pairs:
            source, target = np.array(pairs).T
            for name, i in self._index.items():
                j = self._previous_index[name]
                self._peaks[i, target] = before[0][j, source]
                self._peak_steps[i, target] = before[1][j, source]
                self._starts[i, target] = before[2][j, source]
        self._previous_index = self._index
        self._none = np.array([-0.5 if name.endswith("_age") else 0 for name in names], np.float32)
        self._first_seen: dict[str, tuple[float, int]] = {}
        self._stop = self._end = self._begin = self._block = 0
        self._allot(CAPACITY + BLOCK)
        self.restarts += 1
        self._seen = [(0, 0, 0)]
        self._losses: list[tuple[Any, ...]] = []
        self._look()

    def _allot(self, room: int) -> None:
        """Room for so many frames; those that are kept stay."""
        kept = self._stop
        before = self._blocks, self._context, self.steps, self._spans, self._so_far
        names, count = self._peaks.shape
        self._room = room
        self._blocks = np.full((names, room, count), np.nan, np.float32)
        self._context = np.full((len(_CONTEXT), room), np.nan, np.float32)
        self.steps = np.zeros(room, np.int64)
        self._spans = np.ones(room, np.int64)
        self._so_far = np.zeros(room + 1, np.int64)
        if kept:
            self._blocks[:, :kept], self._context[:, :kept] = (
                before[0][:, :kept],
                before[1][:, :kept],
            )
            self.steps[:kept], self._spans[:kept] = before[2][:kept], before[3][:kept]
            self._so_far[: kept + 1] = before[4][: kept + 1]
        self.context: dict[str, FloatArray] = dict(zip(_CONTEXT, self._context, strict=True))
        self._facts_up_to = [kept] * names
        self._context_up_to = kept

    def push(self, frame: Frame) -> None:
        """Add the next frame.

        Raises:
            ValueError: the frame's shape does not fit the table.
        """
        self.extend([frame])
        self.advance()

    def extend(self, frames: Sequence[Frame]) -> None:
        """Take in the next frames; all that came before are advanced to.

        Args:
            frames: in rising order of steps. Only the first one may lie before those that were
                there: a run that was resumed from an earlier step begins a new window.

        Raises:
            ValueError: a frame's shape does not fit the table.
        """
        for frame in frames:
            self._check(frame)
        count = len(frames)
        seen = self._seen[self._stop - self._block]
        if self._stop + count > self._room:
            self._make_room(count)
        first, end = self._stop, self._stop + count
        block = slice(first, end)
        self._context[:, block] = np.nan
        contexts = np.array([frame.context for frame in frames]).T
        self._context[self._context_target, block] = contexts[self._context_source]
        self.steps[block] = [frame.step for frame in frames]
        self._restarts = bool(first > self._begin and self.steps[first] <= self.steps[first - 1])
        begin = first if self._restarts else self._begin
        written = self._context[_WINDOW_STEPS, block].tolist()
        applied = self._context[_APPLIED_STEPS, block].tolist()
        steps = self.steps[max(first - 1, 0) : end].tolist()
        seen = (0, 0, 0) if self._restarts else seen
        self._seen, spans = [seen], []
        for i, (window_steps, updates) in enumerate(zip(written, applied, strict=True)):
            if math.isfinite(window_steps):
                span = max(int(window_steps), 1)
            else:  # those since the previous frame
                at = i + (first > 0)
                span = steps[at] - steps[at - 1] if first + i > begin else 1
            spans.append(span)
            updates = int(updates) if math.isfinite(updates) else span
            seen = seen[0] + span, seen[1] + updates, seen[2] + 1
            self._seen.append(seen)
        self._spans[block] = spans
        np.cumsum(spans, out=self._so_far[first + 1 : end + 1])
        self._so_far[first + 1 : end + 1] += self._so_far[first]
        self._fill(frames, first, end)
        if self._progress is not None:
            losses = self._context[_OF_LOSS, block].T.tolist()
            self._losses = [
                (loss, span, own, targets, frame.lane)
                for (loss, own, *targets), span, frame in zip(losses, spans, frames, strict=True)
            ]
        self._block, self._end = first, end
        self._showing: BoolArray | None = None

    def _check(self, frame: Frame) -> None:
        shape = (len(self.table.variables), len(self.table.statistics))
        if frame.values.shape != shape or frame.context.shape != (len(self.table.context),):
            raise ValueError(
                f"frame of step {frame.step} has shape {frame.values.shape} and "
                f"{frame.context.shape}; the variable table says {shape} and "
                f"({len(self.table.context)},); call set_table first"
            )

    def advance(self) -> None:
        """Make the next frame that was taken in the newest one."""
        at = self._stop
        if self._restarts:
            self._restarts, self._begin = False, at
            self.restarts += 1
        span = int(self._spans[at])
        if self.first_step is None:
            self.first_step = max(int(self.steps[at]) - span + 1, 0)
        if self._begun < START_STEPS:
            np.fmin(self._starts, self._blocks[:, at], out=self._starts)
            np.fmin(self._context_starts, self._context[:, at], out=self._context_starts)
        self._begun += span
        self._stop += 1
        self.pushed += 1
        self._look()
        if self._progress is not None:
            self._progress.add(*self._losses[at - self._block])
            if self.due(LEARNING_EVERY):
                self._progress.judge(self.table)

    def _look(self) -> None:
        """The last frames are those up to the newest one."""
        self._cut(max(self._begin, self._stop - CAPACITY), self._stop)

    def _cut(self, first: int, stop: int) -> None:
        self.bounds = slice(first, stop)

    @property
    def last_steps(self) -> IntArray:
        """int64 [frames]: the steps of the last frames."""
        return self.steps[self.bounds]

    @property
    def spans(self) -> IntArray:
        """int64 [frames]: how many steps each of them stands for."""
        return self._spans[self.bounds]

    @contextlib.contextmanager
    def at_hand(self) -> Iterator[None]:
        """Meanwhile the last frames are all that were taken in, and those before that their windows
        reach back to."""
        before = self.bounds
        self._cut(self._first_at_hand, self._end)
        try:
            yield
        finally:
            self._cut(before.start, before.stop)

    @property
    def _first_at_hand(self) -> int:
        return max(self._begin, self._block - CAPACITY)

    @property
    def place(self) -> slice:
        """Where the last frames are among those at hand."""
        first = self._first_at_hand
        return slice(self.bounds.start - first, self.bounds.stop - first)

    @property
    def has_started(self) -> bool:
        """Whether what is known of the start of the run is final."""
        return self._begun >= START_STEPS

    def seen_at_hand(self) -> IntArray:
        """int64 [frames at hand, 2]: updates, and frames, seen up to each one from the newest one
        on; 0 for those before it."""
        first, begin = self.bounds.start, max(self._block - 1, self.bounds.start)
        seen = np.zeros((self.bounds.stop - first, 2), np.int64)
        before = self._block - 1
        seen[begin - first :] = [
            (updates, frames)
            for _, updates, frames in self._seen[begin - before : self.bounds.stop - before]
        ]
        return seen

    @property
    def taken(self) -> int:
        """How many frames were taken in, however long ago."""
        return self.pushed + self._end - self._stop

    def shown(self) -> BoolArray:
        """bool [columns, frames at hand]: where a count or a share is above zero for some variable,
        or an age is not -1; of frames that nobody looks at any more false."""
        if self._showing is None:
            first = self._first_at_hand
            showing = np.zeros((len(self._blocks), self._end - first), bool)
            looked_at = slice(max(self._block - 1, first), self._end)
            none = self._none[:, np.newaxis, np.newaxis]
            showing[:, looked_at.start - first :] = (self._blocks[:, looked_at] > none).any(axis=2)
            self._showing = showing
        return self._showing

    def position(self, name: str) -> int:
        """Row of a column in ``shown``."""
        return self._index[name]

    def last_frames(self, steps: int, frames: int) -> slice | None:
        """The fewest last frames that stand for enough steps, and are enough."""
        first, stop = self.bounds.start, self.bounds.stop
        enough = self._so_far[stop] - steps
        if stop - first < max(frames, 1) or self._so_far[first] > enough:
            return None
        before = int(self._so_far[first:stop].searchsorted(enough, side="right"))
        return slice(min(before - 1, stop - first - frames), stop - first)

    def _fill(self, frames: Sequence[Frame], first: int, end: int) -> None:
        """The columns of frames; what NaN and Inf made meaningless is NaN."""
        block = self._blocks[:, first:end]
        stored = len(self._stored)
        values = np.array([frame.values for frame in frames])
        columns = values.transpose(2, 0, 1)
        block[:stored] = columns[self._stored]
        for row, name in enumerate(self._derived, stored):
            block[row] = derived_statistic(name, self.table, values)
        counts = columns[self._nonfinite_columns] > 0
        if counts.any():
            nonfinite = counts.any(axis=0)
            if self._weight_counts:  # then the whole model computes with it, finite or not
                nonfinite[counts[-1].any(axis=1)] = True
            block[self._hidden] = np.where(nonfinite, np.float32(np.nan), block[self._hidden])

    def _make_room(self, count: int) -> None:
        """Forget all but the last frames."""
        self._bring_up_to_date()
        kept = slice(max(self._begin, self._stop - CAPACITY), self._stop)
        many = kept.stop - kept.start
        self._blocks[:, :many] = self._blocks[:, kept]
        self._context[:, :many] = self._context[:, kept]
        self.steps[:many] = self.steps[kept]
        self._spans[:many] = self._spans[kept]
        self._so_far[: many + 1] = self._so_far[kept.start : kept.stop + 1]
        self._stop, self._begin = many, 0
        self._facts_up_to = [many] * len(self._facts_up_to)
        self._context_up_to = many
        if many + count > self._room:
            self._allot(many + count)

    def __len__(self) -> int:
        return self.bounds.stop - self.bounds.start

    @property
    def seen(self) -> Seen:
        """What was seen up to the newest frame."""
        return Seen(*self._seen[self._stop - self._block])

    @property
    def unreported(self) -> int:
        """Steps up to the newest frame that nobody reported; 0 for a run that was looked at."""
        steps = float(self.context["unreported_steps"][self._stop - 1]) if self._stop else 0.0
        return int(steps) if steps > 0 else 0

    @property
    def last_step(self) -> int:
        """Step of the newest frame."""
        return int(self.steps[self._stop - 1]) if self._stop else -1

    def block(self, name: str) -> FloatArray:
        return self._blocks[self._index[name], self.bounds]

    def _bring_up_to_date(self) -> None:
        """Take all frames into the running facts, before frames are forgotten."""
        for row in range(len(self._peaks)):
            self._peak(row)
        new = self._context[:, self._context_up_to : self._stop]
        self._context_seen |= ~np.isnan(new).all(axis=1)
        self._context_up_to = self._stop

    def _peak(self, row: int) -> FloatArray:
        """float32 [variables]: the largest value of a column so far."""
        first, stop = self._facts_up_to[row], self._stop
        before: FloatArray = self._peaks[row]
        if first == stop:
            return before
        new = self._blocks[row, first:stop]
        peak = np.fmax(before, np.fmax.reduce(new, axis=0))
        changed = peak != before  # also where it is NaN: its step is the last one
        if changed.any():
            at = np.argmax(new[:, changed] == peak[changed], axis=0)
            at[np.isnan(peak[changed])] = len(new) - 1
            self._peak_steps[row, changed] = self.steps[first + at]
            self._peaks[row] = peak
        self._facts_up_to[row] = stop
        largest: FloatArray = self._peaks[row]
        return largest

    def peak(self, name: str) -> FloatArray:
        return self._peak(self._index[name])

    def peak_step(self, name: str) -> IntArray:
        self.peak(name)
        step: IntArray = self._peak_steps[self._index[name]]
        return step

    def peaks_at_hand(self, name: str) -> FloatArray:
        """float32 [frames at hand, variables]: the largest value up to each frame from the newest
        one on; that of the newest one for those before it."""
        block = self.block(name)
        newest = self._stop - 1 - self.bounds.start
        peaks = np.empty_like(block)
        peaks[: newest + 1] = self.peak(name)
        peaks[newest + 1 :] = block[newest + 1 :]
        np.fmax.accumulate(peaks[newest:], axis=0, out=peaks[newest:])
        return peaks

    def start(self, name: str) -> FloatArray:
        start: FloatArray = self._starts[self._index[name]]
        return start

    def context_start(self, name: str) -> float:
        return float(self._context_starts[_CONTEXT[name]])

    def was_seen(self, name: str) -> bool:
        """Whether a column was ever measured: a context column, or a statistic of a judged row."""
        first, looked_at = self._first_seen.get(name, (math.inf, -1))
        if math.isinf(first) and looked_at != self.taken:
            first = self._look_for(name)
            self._first_seen[name] = first, self.taken
        return first < self.pushed + self.bounds.stop - self._stop

    def _look_for(self, name: str) -> float:
        """The number of the first frame taken in that has a column; less if that was long ago."""
        if name in self._index:
            row, judged = self._index[name], self.rows.judged
            begin = self._facts_up_to[row]
            before = bool((~np.isnan(self._peaks[row][judged])).any())
            has = (~np.isnan(self._blocks[row, begin : self._end][:, judged])).any(axis=1)
        elif name in _CONTEXT:
            row, begin = _CONTEXT[name], self._context_up_to
            before = bool(self._context_seen[row])
            has = ~np.isnan(self._context[row, begin : self._end])
        else:
            return math.inf
        if before:
            return -1
        return self.pushed - self._stop + begin + int(has.argmax()) if has.any() else math.inf

    def due(self, every: int) -> bool:
        """Whether something that is not asked at every frame is asked at this one.

        In the first ``CAPACITY`` frames all is; later one in ``every``, unless frames are so
        sparse that each of them stands for more steps than that.
        """
        if self.pushed <= CAPACITY or self.pushed % every == 0:
            return True
        return bool(self._spans[self._stop - 1] > every)


class Window:
    """What one rule sees: at most ``CAPACITY`` frames, oldest first, the newest last.

    A rule that is asked between frames, too (``Rule.dense``), sees the rows of ``between`` instead,
    and calls them frames. Columns that the lane does not have are those of the frames so far;
    ``at_rows`` puts them beside the rows.

    Args:
        history: of the rows.
        columns: those that the rule may look at.
        progress: whether the run learns.
        frames: history of the frames, if the rows are others.
    """

    def __init__(
        self,
        history: History,
        columns: Iterable[str],
        progress: Progress,
        frames: History | None = None,
    ) -> None:
        self._history = history
        self._frames = history if frames is None else frames
        self._allowed = frozenset(columns)
        self._progress = progress
        self._of_frames: dict[object, tuple[int, int, Any]] = {}

    @property
    def table(self) -> VariableTable:
        return self._history.table

    @property
    def rows(self) -> Rows:
        """The variable table as arrays."""
        return self._history.rows

    @property
    def paths(self) -> Paths:
        """Which variables are before or behind which."""
        return self._history.paths

    @property
    def steps(self) -> IntArray:
        """int64 [frames]: the step of each frame."""
        return self._history.last_steps

    @property
    def spans(self) -> IntArray:
        """int64 [frames]: how many steps each frame stands for."""
        return self._history.spans

    def __len__(self) -> int:
        return len(self._history)

    @property
    def step(self) -> int:
        """Step of the newest frame."""
        return self._history.last_step

    @property
    def first_step(self) -> int:
        """First step of the run that was seen, however long ago."""
        return self._history.first_step or 0

    @property
    def learning(self) -> Learning:
        """Whether the run as a whole learns, by its loss."""
        return self._progress.learning

    def _of(self, name: str) -> History:
        """Where a column is."""
        if name not in self._allowed:
            raise KeyError(f"{name!r} is not among the rule's needs")
        return self._history if name in between.KNOWN else self._frames

    def statistic(self, name: str) -> FloatArray:
        """float32 [frames, variables]; NaN where not measured."""
        return self._of(name).block(name)

    def at_rows(self, name: str) -> FloatArray:
        """float32 [frames, variables]: where there are rows between frames, a statistic of the
        frames as it was at the last frame at or before each row."""
        values, history = self.statistic(name), self._of(name)
        if not len(values) or np.array_equal(history.last_steps, self.steps):
            return values
        aligned: FloatArray = values[self._last_frame_at_rows(history)]
        return aligned

    def _last_frame_at_rows(self, frames: History) -> IntArray:
        """int64 [frames]: the position of the last frame at or before each row."""
        at = np.searchsorted(frames.last_steps, self.steps, side="right") - 1
        return np.maximum(at, 0)

    def of_each_frame(self, describe: Callable[[Window, slice], Array]) -> Array:
        """[frames, ...]: what a function says of each frame by itself, asked once for each.

        Args:
            describe: a function of the window and of some of its frames, whose numbers follow from
                their own columns and from the table alone.
        """
        history = self._history
        restarts, taken = history.restarts, history.taken
        before, then, known = self._of_frames.get(describe, (-1, 0, None))
        if before != restarts or then != taken:
            with self.at_hand():
                count = len(self)
                fresh = min(taken - then, count) if before == restarts else count
                new = describe(self, slice(count - fresh, count))
                known = new if fresh == count else np.concatenate([known[fresh - count :], new])
                self._of_frames[describe] = restarts, taken, known
        return cast(Array, known[history.place])

    @contextlib.contextmanager
    def at_hand(self) -> Iterator[None]:
        """Meanwhile it shows all frames that were taken in, also those behind the newest one."""
        with self._history.at_hand(), self._frames.at_hand():
            yield

    @property
    def newest(self) -> int:
        """Position of the newest frame among those at hand."""
        return int(self._history.place.stop) - 1

    @property
    def pushed(self) -> int:
        """How many frames there were, however long ago."""
        return self._history.pushed

    def shows(self, signs: tuple[str, ...]) -> BoolArray:
        """bool [frames at hand]: whether some variable has one of the signs (``Rule.signs``)."""
        shown = np.zeros(len(self), bool)
        for name in signs:
            history = self._of(name)
            of_frames = history.shown()[history.position(name)]
            if history is not self._history:  # a row has what the last frame before it has
                of_frames = of_frames[self._last_frame_at_rows(history)]
            shown |= of_frames
        return shown

    def lately(self, hits: BoolArray) -> BoolArray:
        """bool [frames]: whether one of the frames that a window that ends there holds is a hit.

        Args:
            hits: bool [frames].
        """
        count = np.concatenate([np.zeros(CAPACITY, np.int64), np.cumsum(hits)])
        result: BoolArray = count[CAPACITY:] > count[:-CAPACITY]
        return result

    def largest_by_then(self, name: str) -> FloatArray:
        """float32 [frames at hand, variables]: ``largest`` as it is at each of the frames."""
        return self._of(name).peaks_at_hand(name)

    @property
    def measured(self) -> bool:
        """Whether the newest row is a frame; otherwise it has the columns of the lane only."""
        return self._frames.last_step == self._history.last_step

    def context(self, name: str) -> FloatArray:
        """float32 [frames]; NaN where not measured."""
        history = self._of(name)
        return history.context[name][history.bounds]

    def largest(self, name: str) -> FloatArray:
        """float32 [variables]: the largest value since the start of the run, not of the window."""
        return self._of(name).peak(name)

    def largest_at(self, name: str) -> IntArray:
        """int64 [variables]: the step of the frame that held the largest value of the run."""
        return self._of(name).peak_step(name)

    def at_start(self, name: str) -> FloatArray:
        """float32 [variables]: the smallest value of the run's first steps; NaN if unmeasured."""
        return self._of(name).start(name)

    def context_at_start(self, name: str) -> float:
        """The smallest value of a context column in the run's first steps; NaN if unmeasured."""
        return self._of(name).context_start(name)

    def seen_by_then(self, frames: slice) -> tuple[IntArray, IntArray]:
        """How many updates, and how many frames, were seen up to each frame, int64 [frames]."""
        updates, seen = self._history.seen_at_hand()[frames].T
        return updates, seen

    @property
    def seen(self) -> Seen:
        """How many steps, updates and frames of these variables were seen, however long ago."""
        return self._history.seen

    def was_seen(self, name: str) -> bool:
        """Whether a column was ever measured: a context column, or a statistic of a judged row."""
        return (self._history if name in between.KNOWN else self._frames).was_seen(name)

    def latest(self, name: str) -> float:
        """The newest measured value of a context column; NaN if there is none."""
        values = self.context(name)
        known = np.flatnonzero(np.isfinite(values))
        return float(values[known[-1]]) if known.size else float("nan")

    def last_frames(
        self, steps: int, frames: int = 1, counted: npt.ArrayLike | None = None
    ) -> slice | None:
        """The fewest last frames that stand for enough steps; ``None`` if too few were seen.

        Args:
            steps: they stand for so many steps at least,
            frames: and are so many at least, however sparse they are.
            counted: replaces the number of steps per frame, for example by the applied ones;
                a frame of none counts for nothing.
        """
        if counted is None:
            return self._history.last_frames(steps, frames)
        backwards = np.nan_to_num(np.asarray(counted))[::-1]
        seen, many = np.cumsum(backwards), np.cumsum(backwards > 0)
        if not len(seen) or seen[-1] < steps or many[-1] < frames:
            return None
        back = int(seen.searchsorted(steps))
        if frames > 1:
            back = max(back, int(many.searchsorted(frames)))
        return slice(len(seen) - 1 - back, len(seen))

    def onset(self, bad: BoolArray, known: BoolArray, *, per_step: bool) -> IntArray:
        """int64 [variables]: since which step it has been bad without a break.

        Args:
            bad: [frames, variables], true where the frame shows the fault.
            known: where it could be judged; unknown frames neither break nor begin a run.
            per_step: the frame speaks of its own step; otherwise of all steps since the
                previous frame, and the onset is the first of those.
        """
        hit, clean = bad & known, known & ~bad
        if clean.any():  # a fault that is older than the window has no clean frame in it
            last_clean = len(self) - 1 - np.argmax(clean[::-1], axis=0)
            last_clean = np.where(clean.any(axis=0), last_clean, -1)
            hit &= np.arange(len(self))[:, np.newaxis] > last_clean
        first = np.argmax(hit, axis=0)
        begins = self.steps if per_step else self.steps - self.spans + 1
        onset: IntArray = np.maximum(begins[first], 0)
        return onset

    def at_every_step_since(self, share: FloatArray) -> IntArray:
        """int64 [variables]: since which step it has been so at every step that is known.

        Args:
            share: [frames, variables], at how many of the frame's steps it was so; NaN where
                unknown. In the last frame that has others, too, those came first.
        """
        others = share < 1
        frames = np.arange(len(self))[:, np.newaxis]
        last = np.where(others, frames, -1).max(axis=0)
        steps = np.take_along_axis(share, np.maximum(last, 0)[np.newaxis], axis=0)[0]
        steps = np.rint(steps * self.spans[last])
        known = np.argmax(~np.isnan(share), axis=0)  # what is unknown before it was not seen so
        always = self.steps[known] - self.spans[known]
        since = np.where(last < 0, always, self.steps[last] - steps) + 1
        onset: IntArray = np.maximum(since, 0).astype(np.int64)
        return onset

    def own_step_applied(self) -> BoolArray:
        """bool [frames]: whether the optimizer changed weights at the frame's own step.

        Under gradient accumulation and loss scaling many steps change nothing, and that
        is no fault: only a window of applied steps, or a weight that moved, proves one.
        """
        applied = self.context("applied_steps")
        moved = self.of_each_frame(_moved)
        result: BoolArray = np.asarray(moved | (applied >= self.spans))
        return result

    def updates(self) -> npt.NDArray[np.float32]:
        """float [frames]: how many steps that changed weights a frame stands for; 0 where its own
        step is none of them, as nothing is known then of how a weight moves."""
        applied = np.nan_to_num(self.context("applied_steps"), nan=1.0)
        return np.where(self.own_step_applied(), applied, 0).astype(np.float32)


def _moved(window: Window, frames: slice) -> BoolArray:
    """bool [frames]: whether the frame's own step has changed a weight."""
    return np.asarray((window.statistic("update_norm")[frames] > 0).any(axis=1))
