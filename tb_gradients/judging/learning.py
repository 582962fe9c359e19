"""Judge whether the run learns, so that statistical rules do not flag healthy runs.

In:  the mean loss of each frame's window, and what the targets of the batch look like.
Out: ``Learning``: the state, and the numbers it was read from.
Does not know about gradients or rules.

Gradient symptoms alone accuse healthy runs; predecessors that believed them flagged 30 of
30. So a symptom is a warning only if the loss confirms that something is wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import VariableTable
from tb_gradients.judging import cells
from tb_gradients.judging.medians import median
from tb_gradients.lane import FINITE_LOSSES, LOSSES, Lane

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
State = Literal["unseen", "early", "learning", "stuck"]

Pair = tuple[float, float, float]
"""Loss, and the targets' mean and standard deviation, of the same batch."""

TRACE_POINTS = 512
"""Points kept of the loss; twice as many steps per point each time it is full."""

MINIMUM_STEPS = 40
"""Before, a healthy run at a small learning rate looks like one that is stuck: the parts that
are held against each other, of 10 to 12 steps, do not overlap from here on."""
HEAD_STEPS = 10
"""The first steps are the start. Not a share of the run: a long one has learnt within it."""
TAIL_SHARE = 0.3
"""The last three tenths are the present (AUTOTRAINER waits for as much before it judges)."""
MIDDLE = (0.1, 0.4)
"""The part of the run that the present is held against, to see whether it still falls."""
_PARTS = np.array([*MIDDLE, 1 - TAIL_SHARE])
SMALL_DROP = 0.01
"""A smaller relative drop of the loss is not progress: batches differ by as much."""
CLEAR_DROP = 0.25
"""Such a drop is progress, even where the loss is flat by now: it has converged. Coming down
from a bad start to guessing is less: from 0.8 to ln 2 for a typical binary classifier."""
NOISE_MULTIPLE = 2.0
"""A drop must exceed this many standard errors of the medians it is the difference of."""
HOPE_DEVIATIONS = 1.5
"""Such a trend is no proof, and yet a reason to wait; one flat run in 15 has it by chance."""
TREND_DEVIATIONS = 3.0
"""One flat run in 700 has such a trend by chance."""
GUESS_BAND = 0.97
"""Above this share of the loss of a constant prediction the model still guesses. The drop
from a bad start down to guessing is learnt by the last bias alone, and is no progress."""
SUCCESS = 0.9
"""Below this share of it the model is better than a constant, despite the noise of the loss."""
LOW_SHARE = 0.5
"""Below this share of the loss of a constant prediction the model has learnt something."""

WEIGHTED = "weighted_loss"
"""Fact of a run with weighted samples or classes: a constant prediction's loss is unknown."""

LOSS_WEIGHT = "loss_weight"
"""Fact of a run whose only output has a loss weight: its value."""

SUMMED = "summed_loss"
"""Fact of a run whose loss is a sum over the batch and no mean: its level depends on the batch."""

SMOOTHING = "label_smoothing"
"""Fact of a run whose loss smooths the labels: by which share."""

RARE_CLASS = 0.1
"""From here on most batches of a binary classifier hold next to none of the rarer class: the
median batch says nothing, and the mean depends on how many of them it met. So the loss is held
against that of a constant prediction on the same batches."""
NO_PAIR = (math.nan, math.nan, math.nan)
MANY_BATCHES = 20
"""From so many on the mean of their losses, and its error, can be estimated."""
FEW_BATCHES = 3
"""With fewer batches that hold the rare class, its share is chance."""
CLEAR_MAJORITY = 0.7
"""A batch of 32 of ten equal classes has a majority of 0.2 by chance, of two 0.6."""
TWO_VALUED = 0.1
"""No numbers in [0, 1] vary more than zeros and ones of the same mean do: those that come so near
are zeros and ones. (Evenly spread ones have a third of that variance.)"""
WORSE = 1.5
"""Above this multiple of both its start and the level of guessing a loss has been made worse:
single batches differ by less than half from the median."""

LITTLE_LEFT = 0.05
"""The same where the level of guessing is not known: coming down from a bad start to guessing
may well halve the loss, or divide it by ten."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """How the loss has moved.

    Attributes:
        state: "unseen" without a loss, "early" before it can be judged.
        steps: how many steps were seen.
        start: median loss of the first steps.
        now: median loss of the last steps.
        guess: loss of the best constant prediction; NaN if unknown.
        majority: share of the most frequent class; NaN if unknown, or no classes.
        hope: gives ``hopeful``, which few ask for.
        band: above this share of the loss of guessing it is guessing.
        floor: loss of the best prediction there is, where targets between two classes leave one.
        pace: of a loss below zero: how far the last third of the run has lowered it, over how far
            the third before has; NaN of another loss.
    """

    state: State
    steps: int = 0
    start: float = math.nan
    now: float = math.nan
    guess: float = math.nan
    majority: float = math.nan
    hope: Callable[[], bool] = dataclasses.field(default=lambda: False, compare=False, repr=False)
    band: float = GUESS_BAND
    floor: float = 0.0
    pace: float = math.nan

    def level(self, share: float) -> float:
        """The loss at which this share of what can be learnt is not learnt yet."""
        return self.floor + share * (self.guess - self.floor)

    @property
    def kind(self) -> tuple[object, ...]:
        """What rules ask of it, apart from numbers."""
        return self.state, self.hopeful, self.succeeds, self.guessing, self.worse, self.converged

    @functools.cached_property
    def hopeful(self) -> bool:
        """The last part seems to fall, though it may be chance."""
        return self.hope()

    @property
    def stuck(self) -> bool:
        """The loss was seen, and it does not fall."""
        return self.state == "stuck"

    @property
    def learning(self) -> bool:
        """The loss was seen, and it falls or is low."""
        return self.state == "learning"

    @property
    def succeeds(self) -> bool:
        """It clearly learns: well below the loss of a constant prediction, if that is known."""
        return self.learning and not self.now > self.level(SUCCESS)

    @property
    def failing(self) -> bool:
        """The loss was seen, and it does not fall or is still about that of a constant
        prediction."""
        return self.stuck or (self.learning and self.now > self.level(SUCCESS))

    @property
    def guessing(self) -> bool:
        """The loss is known to be no better than that of a constant prediction."""
        return self.now >= self.level(self.band)

    @property
    def worse(self) -> bool:
        """The loss is clearly above its start, and above that of a constant prediction (if
        known)."""
        level = max(self.start, self.guess) if math.isfinite(self.guess) else self.start
        return self.state != "unseen" and self.now > level + (WORSE - 1) * abs(level)

    @property
    def converged(self) -> bool:
        """The run has learnt most of what it can: small gradients are then normal."""
        if self.state not in ("learning", "early"):
            return False
        if math.isfinite(self.guess):
            return self.now <= self.level(LOW_SHARE)
        return self.now <= LITTLE_LEFT * self.start

    def sentence(self) -> str:
        """The state in words, with its numbers."""
        if self.state == "unseen":
            return "the loss was not seen"
        if self.state == "early":
            return "it is too early to tell from the loss"
        level = ""
        if self.guessing:
            level = f"; a constant prediction has {self.guess:.3g}"
        if self.learning:
            return f"the loss went from {self.start:.3g} to {self.now:.3g}{level}"
        return f"the loss does not fall ({self.start:.3g} at the start, {self.now:.3g} now{level})"


class Targets(NamedTuple):
    """What is known of a batch's targets; NaN for what is not."""

    mean: float = math.nan
    std: float = math.nan
    majority: float = math.nan


UNKNOWN_TARGETS = Targets()


class _Point(NamedTuple):
    """The loss of some consecutive steps; ``pair``: loss, and the targets' mean and standard
    deviation, of the same batches."""

    loss: float
    steps: int
    pair: Pair | None = None


@dataclasses.dataclass
class _Cell:
    """Steps that become one point: sum of their finite losses, and how many."""

    end: int = -1
    total: float = 0.0
    count: int = 0
    steps: int = 0
    pairs: list[Pair] = dataclasses.field(default_factory=list)

    def add(self, total: float, count: int, steps: int) -> None:
        self.total += total
        self.count += count
        self.steps += steps


def has_loss(lane: Lane) -> bool:
    """Whether it holds any loss."""
    return bool(lane.counts[:, LOSSES].any())


class LossTrace:
    """The loss of a run of any length in bounded memory."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._pending: list[_Point] = []
        self._merge = 1
        self._columns = np.zeros((3, TRACE_POINTS + 1))
        """Loss and steps of the points, and steps so far; one place for those that are pending."""
        self._head: list[_Point] = []
        self._head_steps = 0
        self._start = _Sample(np.zeros(0))
        self._targets = [[0, 0.0], [0, 0.0], [0, 0.0]]
        """How many, and their sum: of the targets' mean, deviation and majority share."""
        self._means = 0, (math.nan, math.nan, math.nan)
        self._mean_squares = 0.0
        self._cell = _Cell()
        self._table: VariableTable | None = None
        self._units = 0
        self._origin = 0
        self.dense = False
        """Whether the losses are those of the dense lane."""
        self.count = 0

    def add(
        self,
        loss: float,
        steps: int,
        targets: Targets = UNKNOWN_TARGETS,
        own_loss: float = math.nan,
    ) -> None:
        """Add a frame. Where the loss is NaN (not measured, or not finite) it is skipped.

        Args:
            loss: mean over the steps that the frame stands for,
            steps: which are so many.
            targets: of the frame's own step,
            own_loss: as is this loss.
        """
        pair = self._see(targets, own_loss)
        if math.isfinite(loss):
            self._extend(_Point(loss, steps, pair))

    def add_lane(self, lane: Lane, targets: Targets, own_loss: float = math.nan) -> None:
        """Add a frame, with the loss of each step up to it.

        The points are means over the same steps, whichever of them are frames: at first single
        steps, later 32 to each doubling of the run.

        Args:
            lane: of the steps since the frame before.
            targets: of the frame's own step,
            own_loss: as is this loss.
        """
        pair = self._see(targets, own_loss)
        if not self.dense:
            self.dense, self._origin = True, int(lane.first[0])
        known = lane.counts[:, FINITE_LOSSES]
        sums = np.where(known > 0, lane.loss * known, 0.0)
        last = lane.first + lane.spans - 1 - self._origin
        for end, step, total, count, steps in zip(
            cells.ends(last).tolist(),
            last.tolist(),
            sums.tolist(),
            known.tolist(),
            lane.spans.tolist(),
            strict=True,
        ):
            if end != self._cell.end:
                self._close_cell()
                self._cell.end = end
            self._cell.add(total, count, steps)
            if step == end:
                if pair is not None and step == last[-1]:
                    self._cell.pairs.append(pair)
                    pair = None
                self._close_cell()
        if pair is not None:
            self._cell.pairs.append(pair)

    def _close_cell(self) -> None:
        cell, self._cell = self._cell, _Cell()
        if cell.count:
            self._extend(_Point(cell.total / cell.count, cell.steps, _mean_pair(cell.pairs)))

    def _see(self, targets: Targets, own_loss: float) -> Pair | None:
        """Take the targets of a frame in; its own loss and they, where both are known."""
        self.count += 1
        for sums, value in zip(self._targets, targets, strict=True):
            if math.isfinite(value):
                sums[0] += 1
                sums[1] += value
        if math.isfinite(targets.mean):
            self._mean_squares += targets.mean**2
        paired = math.isfinite(own_loss) and math.isfinite(targets.mean)
        return (own_loss, targets.mean, targets.std) if paired else None

    def _extend(self, point: _Point) -> None:
        if self._head_steps < HEAD_STEPS or len(self._head) < 3:
            self._head.append(point)
            self._head_steps += point.steps
        self._pending.append(point)
        if len(self._pending) < self._merge:
            return
        point = point if self._merge == 1 else _mean(self._pending)
        self._put(len(self._points), point)
        self._points.append(point)
        self._pending = []
        if len(self._points) == TRACE_POINTS:
            self._points = [_mean(self._points[i : i + 2]) for i in range(0, len(self._points), 2)]
            for at, mean in enumerate(self._points):
                self._put(at, mean)
            self._merge *= 2

    def _put(self, at: int, point: _Point) -> None:
        before = self._columns[2, at - 1] if at else 0.0
        self._columns[:, at] = point.loss, point.steps, before + point.steps

    def judge(self, table: VariableTable) -> Learning:
        """Whether the run learns, by its loss."""
        count, pending = len(self._points), self._pending
        if pending:
            last = _mean(pending)
            self._put(count, last)
            count += 1
        if not count:
            return Learning("unseen")
        loss, steps, seen = self._columns[:, :count]
        total = int(seen[-1])
        share = seen / total
        if len(self._start) != len(self._head):
            self._start = _Sample(np.array([point.loss for point in self._head]))
        head = self._start
        # The first points of the middle, of the recent part, and of the last one.
        first, second, third = share.searchsorted(_PARTS, side="right").tolist()
        tail = _Sample(loss[third:])
        start, now = head.median, tail.median
        times = _weight_of(table)
        guess, majority = times * self._guess(table), self._majority(table)
        if head.losses[0] < start and start > WORSE * guess:  # the first steps have made it worse
            start = max(float(head.losses[0]), guess)
        if WEIGHTED in table.run.facts and majority >= 1 - RARE_CLASS:
            return Learning("unseen")  # a batch's loss depends on how many of the rare class it has
        rare, band = None, GUESS_BAND
        kind, better = _loss_kind(table), False
        if kind in ("binary", "squared") and now > LOW_SHARE * guess:
            late = share > 1 - TAIL_SHARE
            pairs = [point.pair or NO_PAIR for point in self._points]
            known_pairs = np.array([*pairs, last.pair or NO_PAIR] if pending else pairs).T
            smooth = _smoothing_of(table)
            rare = self._rare(known_pairs, times, smooth) if kind == "binary" else None
            better = self._better(kind, loss, steps, late, known_pairs, times, smooth)
        if rare is not None:  # more or fewer of the rare class are no progress
            here, known, band = rare[1], late & np.isfinite(rare).all(axis=0), SUCCESS
            met = known_pairs[1] > 0 if self._mean_targets()[0] < 0.5 else known_pairs[1] < 1
            if (known & met).sum() >= FEW_BATCHES:
                now, guess = (float(values[known].mean()) for values in rare)
                loss = np.where(np.isfinite(here), rare[0] - here + np.nanmean(here), loss)
                tail = _Sample(loss[late])
            else:  # sparse frames: their windows hold more of the rare class than their own steps
                now = float(np.average(tail.losses, weights=steps[late]))
                band = 1.0  # neither number is sure: in doubt it does better than guessing
        if total < MINIMUM_STEPS or len(loss) < 4:
            return Learning("early", total, start, now, guess, majority)
        # Copies: whether it is hopeful may be asked when there are more points.
        recent = loss[second:].copy()
        trend = _Trend(recent, steps[second:].copy())
        middle = _Sample(loss[first:second])

        def drops() -> bool:
            # Of few points each is the mean of many steps: not judged by their noise.
            before = recent[: third - second]
            return not len(before) or _dropped(median(before), tail.median)

        def still_falls() -> bool:
            falls = len(middle) > 0 and _fell(middle, tail, SMALL_DROP)
            falls = falls or trend.is_clear
            # Of few positives even half a run is noise: is it falling *still*?
            return falls and (rare is None or drops())

        floor = self._soft_share() * guess if kind == "binary" and rare is None else 0.0
        floor = max(floor, times * self._smoothed_floor(kind, table))
        guesses = now >= floor + band * (guess - floor)  # never so when that level is not known
        if guesses and not better:
            # Close above it, a loss that falls is on its way to guessing; and one that comes
            # down to where it was has not learnt.
            learns = now > (2 - GUESS_BAND) * guess and now < WORSE * start and still_falls()
        elif better or now < LOW_SHARE * guess or _fell(head, tail, CLEAR_DROP):
            learns = True
        else:
            learns = _fell(head, tail, SMALL_DROP) and (not math.isnan(guess) or still_falls())
        state: State = "learning" if learns else "stuck"
        pace = _pace(loss, share) if now < 0 else math.nan

        def hopeful() -> bool:
            if math.isnan(trend.deviations):  # too few points for one
                return drops()
            return not trend.deviations >= -HOPE_DEVIATIONS

        return Learning(state, total, start, now, guess, majority, hopeful, band, floor, pace)

    def _mean_targets(self) -> tuple[float, float, float]:
        """Mean, standard deviation and majority share of the targets so far."""
        if self._means[0] != self.count:
            means = [total / count if count else math.nan for count, total in self._targets]
            self._means = self.count, (means[0], means[1], means[2])
        return self._means[1]

    def _soft_share(self) -> float:
        """How much of the loss of guessing no prediction can avoid, as the targets of a binary
        cross-entropy are shares (ratings, grey values), and not 0 and 1.

        Classes have the variance mean * (1 - mean), the largest there is; equal targets have none,
        and guessing is all that can be done. In between it is about linear: of uniform targets 0.67
        this way, and 0.72 by their entropy.
        """
        mean = self._mean_targets()[0]
        if not 0 < mean < 1:
            return 0.0
        return float(np.clip(1 - self._variance() / (mean * (1 - mean)), 0.0, 1.0))

    def _smoothed_floor(self, kind: str, table: VariableTable) -> float:
        """The loss of predicting smoothed labels exactly."""
        share = _smoothing_of(table)
        classes = 2 if kind == "binary" else self._classes(table)
        if not share or kind not in ("binary", "categorical") or classes < 2:
            return 0.0
        other = share / classes
        right = 1 - (classes - 1) * other
        return -right * math.log(right) - (classes - 1) * other * math.log(other)

    def _variance_between(self) -> float:
        """Of the means of the targets of batches."""
        mean = self._mean_targets()[0]
        return float(np.maximum(self._mean_squares / max(self._targets[0][0], 1) - mean**2, 0.0))

    def _variance(self) -> float:
        """Of all targets so far: within the batches and between them."""
        return self._mean_targets()[1] ** 2 + self._variance_between()

    def _of_two(self) -> bool:
        """Whether the targets are zeros and ones, by their mean and variance."""
        mean = self._mean_targets()[0]
        return 0 < mean < 1 and abs(self._variance() / (mean * (1 - mean)) - 1) < TWO_VALUED

    def _better(
        self,
        kind: str,
        loss: FloatArray,
        steps: FloatArray,
        late: BoolArray,
        pairs: FloatArray,
        times: float,
        smoothing: float,
    ) -> bool:
        """Whether the loss is beyond doubt below that of a constant prediction: where the signal
        is weak, that may be by one per cent only.

        Held against guessing on the same batches, or, where frames are sparse, the mean of all
        steps of the last part against that of guessing on all batches that were looked at.
        """
        own, here, std = pairs
        mean = self._mean_targets()[0]
        if kind == "squared":
            level = std**2 + (here - mean) ** 2
        elif 0 < mean < 1:
            level = _entropy(here, mean, smoothing)
        else:
            return False
        level = times * level
        known = np.isfinite(level)
        if known.sum() < MANY_BATCHES:
            return False
        usual, spread = float(level[known].mean()), float(level[known].std())
        gain = (level - own)[late & known]
        rarer = here[late & known] > 0 if mean < 0.5 else here[late & known] < 1
        if len(gain) >= MANY_BATCHES and (kind == "squared" or rarer.sum() >= MANY_BATCHES):
            better, error = float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))
        else:
            single = loss[steps == 1]
            if len(single) < MANY_BATCHES:
                return False
            noise = float(np.median(np.abs(np.diff(single)))) * 1.4826 / math.sqrt(2)
            better = usual - float(np.average(loss[late], weights=steps[late]))
            error = math.hypot(
                spread / math.sqrt(known.sum()),
                max(noise, spread) / math.sqrt(float(steps[late].sum())),
            )
        return better > max(TREND_DEVIATIONS * error, SMALL_DROP / 2 * usual)

    def _rare(self, pairs: FloatArray, times: float, smoothing: float) -> FloatArray | None:
        """Where one class is rare: the loss of each point, and of guessing on the same batches."""
        mean = self._mean_targets()[0]
        if not (0 < mean <= RARE_CLASS or 1 - RARE_CLASS <= mean < 1):
            return None
        loss, here, _ = pairs
        if not np.isfinite(here).any():
            return None
        return np.array([loss, times * _entropy(here, mean, smoothing)])

    def _majority(self, table: VariableTable) -> float:
        mean, std, majority = self._mean_targets()
        if majority == 1 and std == 0 < self._variance_between():
            # Batches of a single label are all of one class, whatever there is in the others.
            return max(mean, 1 - mean) if self._of_two() else math.nan
        if math.isnan(majority) and named_loss(table) == "binary" and 0 <= mean <= 1:
            return max(mean, 1 - mean)
        return majority

    def _classes(self, table: VariableTable) -> int:
        """Units of the last kernel that has several; 0 without one. Asked of each table once."""
        if table is not self._table:
            heads = [v.units for v in table.variables if v.role == "kernel" and v.units > 1]
            self._table, self._units = table, heads[-1] if heads else 0
        return self._units

    def _guess(self, table: VariableTable) -> float:
        """The loss of the best constant prediction, if loss and targets determine it."""
        if "loss_at_guess" in table.run.facts:
            with contextlib.suppress(ValueError):
                return float(table.run.facts["loss_at_guess"])
        kind = _loss_kind(table)
        mean, _, majority = self._mean_targets()
        variance = self._variance()
        if kind == "squared":
            return variance or math.nan
        if kind == "absolute":
            if self._of_two():
                return min(mean, 1 - mean)  # always the more frequent of the two
            return 0.8 * math.sqrt(variance) or math.nan  # sqrt(2 / pi) of a normal distribution
        share = _smoothing_of(table)
        if kind == "binary" and 0 < mean < 1:
            return float(_entropy(np.float64(mean), mean, share))
        if kind == "categorical":
            classes = self._classes(table)
            if classes > 1 and CLEAR_MAJORITY <= majority < 1:
                majority = (1 - share) * majority + share / classes
                # The others share the rest evenly at best: an upper bound of the entropy.
                rest = 1 - majority
                return -majority * math.log(majority) - rest * math.log(rest / (classes - 1))
            return math.log(classes) if classes else math.nan
        return math.nan


def _loss_kind(table: VariableTable) -> str:
    """Which of the losses whose level of guessing is known; "" for another one."""
    facts = table.run.facts
    return "" if WEIGHTED in facts or SUMMED in facts else named_loss(table)


def _smoothing_of(table: VariableTable) -> float:
    """By which share the loss moves labels towards equal shares of all classes."""
    try:
        return min(max(float(table.run.facts.get(SMOOTHING, 0.0)), 0.0), 1.0)
    except ValueError:
        return 0.0


def _entropy(here: Any, mean: float, smoothing: float) -> Any:
    """The binary cross-entropy of always predicting a mean, where the targets have another one.

    Args:
        here: the mean of the targets.
        mean: what is predicted, before the labels are smoothed.
        smoothing: the share of it.
    """
    here, mean = ((1 - smoothing) * value + smoothing / 2 for value in (here, mean))
    return -here * math.log(mean) - (1 - here) * math.log(1 - mean)


def unknown_level(table: VariableTable) -> str:
    """Why the loss of a constant prediction does not follow from loss and targets; "" if it may."""
    facts = table.run.facts
    if WEIGHTED in facts:
        return "samples or classes are weighted"
    if SUMMED in facts:
        return "the loss is a sum over the batch"
    return "there are several losses" if ", " in table.run.loss else ""


def _weight_of(table: VariableTable) -> float:
    """By what the loss of the only output is multiplied."""
    try:
        return float(table.run.facts.get(LOSS_WEIGHT, 1.0))
    except ValueError:
        return math.nan


def named_loss(table: VariableTable) -> str:
    """Which of the losses whose form is known: "squared", "binary", ...; "" for another one."""
    return _kind_of(table.run.loss)


@functools.lru_cache(maxsize=64)
def _kind_of(loss: str) -> str:
    name = loss.lower().replace("_", "").replace(" ", "")
    for kind, beginnings in (
        ("squared", ("meansquarederror", "mse")),
        ("absolute", ("meanabsoluteerror", "mae")),
        ("binary", ("binarycrossentropy",)),
        ("categorical", ("categoricalcrossentropy", "sparsecategoricalcrossentropy")),
    ):
        if name.startswith(beginnings) and "," not in name:
            return kind
    return ""


def _mean(points: list[_Point]) -> _Point:
    steps = sum(point.steps for point in points)
    pair = _mean_pair([point.pair for point in points if point.pair is not None])
    return _Point(sum(point.loss * point.steps for point in points) / steps, steps, pair)


def _mean_pair(pairs: Sequence[Pair]) -> Pair | None:
    if not pairs:
        return None
    loss, mean, std = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return loss, mean, std


def _comparable(loss: FloatArray, steps: FloatArray) -> FloatArray:
    """Consecutive points as means, none of which stands for less than half as many steps as the
    longest point: where frames have just become sparse, a trend of the many points before would
    not see how far the loss has come in the few long ones since."""
    least = float(steps.max(initial=0.0)) / 2
    if not (steps < least).any():
        return loss
    means, total, seen = [], 0.0, 0.0
    for value, weight in zip(loss.tolist(), steps.tolist(), strict=True):
        total, seen = total + value * weight, seen + weight
        if seen >= least:
            means.append(total / seen)
            total = seen = 0.0
    return np.array(means)


class _Trend:
    """Spearman's rank correlation of losses with the step."""

    def __init__(self, loss: FloatArray, steps: FloatArray) -> None:
        self._loss, self._steps = loss, steps

    @functools.cached_property
    def _comparable(self) -> FloatArray:
        return _comparable(self._loss, self._steps)

    @functools.cached_property
    def deviations(self) -> float:
        """In standard deviations; NaN for too few points."""
        loss = self._comparable
        if len(loss) < 10:
            return math.nan
        return rank_correlation(loss) * math.sqrt(len(loss) - 1) if np.ptp(loss) else 0.0

    @property
    def is_clear(self) -> bool:
        """Whether the loss falls beyond doubt, and by as much as matters."""
        if not self.deviations < -TREND_DEVIATIONS:
            return False
        third = len(self._comparable) // 3
        old, new = median(self._comparable[:third]), median(self._comparable[-third:])
        return old - new > SMALL_DROP / 2 * abs(old)


class _Sample:
    """Some losses, with their median and their deviation from it, each computed once."""

    def __init__(self, losses: FloatArray) -> None:
        self.losses = losses

    def __len__(self) -> int:
        return len(self.losses)

    @functools.cached_property
    def median(self) -> float:
        return median(self.losses)

    @functools.cached_property
    def deviation(self) -> float:
        return 1.4826 * median(np.abs(self.losses - self.median))  # of a normal distribution


def _fell(before: _Sample, after: _Sample, share: float) -> bool:
    """Whether the median fell by that share, and by more than its noise."""
    old, new = before.median, after.median
    noise = 1.2533 * after.deviation * math.sqrt(1 / len(before) + 1 / len(after))
    if new < 0 and after.losses.max() < before.losses.min():  # falling ever faster is no noise
        noise = 0.0
    return bool(old - new > max(share * abs(old), NOISE_MULTIPLE * noise))


def _pace(loss: FloatArray, share: FloatArray) -> float:
    """The fall over the last third of the steps, over that of the third before."""
    ends = [loss[np.abs(share - at) <= 0.05] for at in (0.28, 0.61, 0.95)]
    if any(not len(part) for part in ends):
        return math.nan
    first, second, last = map(median, ends)
    return (second - last) / (first - second) if first > second else math.nan


def _dropped(old: float, new: float) -> bool:
    return old - new > SMALL_DROP * abs(old)


def rank_correlation(values: npt.NDArray[Any]) -> float:
    """Spearman's correlation of values with their position; ties count by position."""
    count = len(values)
    away = (np.argsort(values, kind="stable") - np.arange(count)).astype(np.float64)
    return float(1 - 6 * np.dot(away, away) / (count * (count * count - 1)))
