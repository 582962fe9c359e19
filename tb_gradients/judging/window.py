"""What rules see of a run: its last frames, and a few facts about its whole length.

In:  frames, one by one.
Out: ``History`` (bounded memory) and ``Window`` (a rule's read-only view of it).
Does not know about any rule, about files or about flags.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.frames import FloatArray, Frame, VariableTable, derived_statistic
from tb_gradients.judging import between
from tb_gradients.judging.learning import Learning, Targets
from tb_gradients.judging.paths import Paths
from tb_gradients.judging.progress import Progress

T = TypeVar("T")
Array = TypeVar("Array", bound=npt.NDArray[Any])
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

CAPACITY = 64
"""Frames a window holds: the longest horizon of a rule is 50 steps, each logged at worst."""

LEARNING_EVERY = 4
"""Once the window is full: a few frames more or less are nothing to the median of a third."""

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

    Columns are stored as one block each, [frames, variables] in step order, in a buffer of
    twice the capacity: the view of the last frames is always contiguous and free.

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
        self._context_starts = np.full(len(_CONTEXT), np.nan, np.float32)
        self._context_seen = np.zeros(len(_CONTEXT), bool)
        self._begun = 0
        self.restarts = 0
        """How often the window began anew."""
        self.first_step: int | None = None
        self.table = table
        self._pushed = 0
        self.set_table(table, like)
        self._context = np.full((len(_CONTEXT), 2 * CAPACITY), np.nan, np.float32)
        self.context: dict[str, FloatArray] = dict(zip(_CONTEXT, self._context, strict=True))

    def set_table(self, table: VariableTable, like: History | None = None) -> None:
        """Start a new window; running facts of variables that stay are kept."""
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
        self._blocks = np.full((len(names), 2 * CAPACITY, count), np.nan, np.float32)
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
        self.steps: IntArray = np.zeros(2 * CAPACITY, np.int64)
        self._spans = np.ones(2 * CAPACITY, np.int64)
        self._stop = 0
        self.seen = Seen()
        self._none = np.array([-0.5 if name.endswith("_age") else 0 for name in names], np.float32)
        self._showing: BoolArray | None = None
        self._known: set[str] = set()
        self.restarts += 1
        self._look()

    def push(self, frame: Frame) -> None:
        """Add the next frame.

        Raises:
            ValueError: the frame's shape does not fit the table.
        """
        shape = (len(self.table.variables), len(self.table.statistics))
        if frame.values.shape != shape or frame.context.shape != (len(self.table.context),):
            raise ValueError(
                f"frame of step {frame.step} has shape {frame.values.shape} and "
                f"{frame.context.shape}; the variable table says {shape} and "
                f"({len(self.table.context)},); call set_table first"
            )
        if self._stop and frame.step <= self.steps[self._stop - 1]:
            self._stop = 0  # a run that was resumed from an earlier step begins a new window
            self.seen = Seen()
            self.restarts += 1
        if self._stop == 2 * CAPACITY:
            self._wrap()
        at = self._stop
        context = self._context[:, at]
        context[:] = np.nan
        context[self._context_target] = frame.context[self._context_source]
        self.steps[at] = frame.step
        span = self._span(at)
        if self.first_step is None:
            self.first_step = max(frame.step - span + 1, 0)
        self._spans[at] = span
        now = self._blocks[:, at]
        now[:] = self._columns(frame)
        self._showing = None
        peaks = np.fmax(self._peaks, now)
        np.copyto(self._peak_steps, frame.step, where=peaks != self._peaks)  # and where it is NaN
        self._peaks = peaks
        if self._begun < START_STEPS:
            np.fmin(self._starts, now, out=self._starts)
            np.fmin(self._context_starts, context, out=self._context_starts)
        self._begun += span
        self._context_seen |= ~np.isnan(context)
        applied = float(self.context["applied_steps"][at])
        self.seen.steps += span
        self.seen.updates += int(applied) if math.isfinite(applied) else span
        self.seen.frames += 1
        self._stop += 1
        self._pushed += 1
        self._look()
        if self._progress is not None:
            loss_mean, loss, *targets = context[_OF_LOSS].tolist()
            self._progress.add(loss_mean, span, Targets(*targets), loss, frame.lane)
            if self.due(LEARNING_EVERY):
                self._progress.judge(self.table)

    def _look(self) -> None:
        """Cut the last frames out of the buffers, once for all rules."""
        self.bounds = slice(max(0, self._stop - CAPACITY), self._stop)
        self.last_steps: IntArray = self.steps[self.bounds]
        self.spans: IntArray = self._spans[self.bounds]
        self._reach: tuple[IntArray, IntArray] | None = None

    @property
    def pushed(self) -> int:
        """How many frames there were, however long ago."""
        return self._pushed

    def shows(self, name: str) -> bool:
        """Whether a count or a share of the newest frame is above zero for some variable, or an age
        is not -1."""
        if self._showing is None:
            now = self._blocks[:, self._stop - 1]
            self._showing = np.asarray((now > self._none[:, np.newaxis]).any(axis=1))
        return bool(self._showing[self._index[name]])

    @property
    def reach(self) -> tuple[IntArray, IntArray]:
        """How many steps, and how many frames, the last 1, 2, ... frames stand for."""
        if self._reach is None:
            backwards = self.spans[::-1]
            self._reach = np.cumsum(backwards), np.cumsum(backwards > 0)
        return self._reach

    def _columns(self, frame: Frame) -> FloatArray:
        """float32 [columns, variables] of a frame; what NaN and Inf made meaningless is NaN."""
        columns = frame.values.T
        chosen = np.empty((len(self._index), columns.shape[1]), np.float32)
        chosen[: len(self._stored)] = columns[self._stored]
        if self._derived:
            for row, name in enumerate(self._derived, len(self._stored)):
                chosen[row] = derived_statistic(name, self.table, frame.values)
        counts = columns[self._nonfinite_columns]
        if (counts > 0).any():
            nonfinite = (counts > 0).any(axis=0)
            if self._weight_counts and (counts[-1] > 0).any():
                nonfinite[:] = True  # the whole model computes with it, finite or not
            chosen[np.ix_(self._hidden, nonfinite)] = np.nan
        return chosen

    def _wrap(self) -> None:
        self._blocks[:, :CAPACITY] = self._blocks[:, CAPACITY:]
        self._context[:, :CAPACITY] = self._context[:, CAPACITY:]
        self.steps[:CAPACITY] = self.steps[CAPACITY:]
        self._spans[:CAPACITY] = self._spans[CAPACITY:]
        self._stop = CAPACITY

    def _span(self, at: int) -> int:
        """Steps the frame stands for; without the column, those since the previous frame."""
        written = float(self.context["window_steps"][at])
        if math.isfinite(written):
            return max(int(written), 1)
        return int(self.steps[at] - self.steps[at - 1]) if at else 1

    def __len__(self) -> int:
        return len(self.last_steps)

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

    def peak(self, name: str) -> FloatArray:
        peak: FloatArray = self._peaks[self._index[name]]
        return peak

    def peak_step(self, name: str) -> IntArray:
        step: IntArray = self._peak_steps[self._index[name]]
        return step

    def start(self, name: str) -> FloatArray:
        start: FloatArray = self._starts[self._index[name]]
        return start

    def context_start(self, name: str) -> float:
        return float(self._context_starts[_CONTEXT[name]])

    def was_seen(self, name: str) -> bool:
        """Whether a column was ever measured: a context column, or a statistic of a judged row."""
        if name in self._known:
            return True
        if name in self._index:
            if np.isnan(self.peak(name)[self.rows.judged]).all():
                return False
            self._known.add(name)  # a largest value stays
            return True
        return name in _CONTEXT and bool(self._context_seen[_CONTEXT[name]])

    def due(self, every: int) -> bool:
        """Whether something that is not asked at every frame is asked at this one.

        In the first ``CAPACITY`` frames all is; later one in ``every``, unless frames are so
        sparse that each of them stands for more steps than that.
        """
        sparse = bool(self.spans.size and self.spans[-1] > every)
        return self._pushed <= CAPACITY or self._pushed % every == 0 or sparse


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
        return len(self.steps)

    @property
    def step(self) -> int:
        """Step of the newest frame."""
        return int(self.steps[-1])

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
        values, steps = self.statistic(name), self._of(name).last_steps
        if not len(values) or np.array_equal(steps, self.steps):
            return values
        at = np.searchsorted(steps, self.steps, side="right") - 1
        aligned: FloatArray = values[np.maximum(at, 0)]
        return aligned

    def of_each_frame(self, describe: Callable[[Window, slice], Array]) -> Array:
        """[frames, ...]: what a function says of each frame by itself, asked once for each.

        Args:
            describe: a function of the window and of some of its frames, whose numbers follow from
                their own columns and from the table alone.
        """
        restarts, pushed, count = self._history.restarts, self._history.pushed, len(self)
        before, then, known = self._of_frames.get(describe, (-1, 0, None))
        fresh = min(pushed - then, count) if before == restarts else count
        if fresh or known is None:
            new = describe(self, slice(count - fresh, count))
            known = new if fresh == count else np.concatenate([known[fresh - count :], new])
            self._of_frames[describe] = restarts, pushed, known
        return cast(Array, known)

    def shows_none(self, signs: tuple[str, ...]) -> bool:
        """Whether there are signs, and the newest frame shows none of them (``Rule.signs``)."""
        return bool(signs) and not any(self._of(name).shows(name) for name in signs)

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
            seen, many = self._history.reach
        else:
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
