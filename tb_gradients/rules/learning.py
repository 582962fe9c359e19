"""Is the run learning? The question that keeps statistical rules from accusing healthy runs.

In:  the mean loss of each frame's window.
Out: ``Learning``: the state, and the numbers it was read from.
Does not know about gradients or rules.

Gradient symptoms alone accuse healthy runs; predecessors that believed them flagged 30 of
30. So a symptom counts as a warning only where the loss agrees that something is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import VariableTable

State = Literal["unseen", "early", "learning", "stuck"]

TRACE_POINTS = 512
"""Points kept of the loss; twice as many steps per point each time it is full."""

MINIMUM_STEPS = 50
"""Before, a healthy run at a small learning rate looks like one that is stuck."""
HEAD_STEPS = 10
"""The first steps are the start. Not a share of the run: a long one has learnt within it."""
TAIL_SHARE = 0.3
"""The last three tenths are the present (AUTOTRAINER waits for as much before it judges)."""
MIDDLE = (0.1, 0.4)
"""The part of the run that the present is held against, to see whether it still falls."""
SMALL_DROP = 0.01
"""A smaller relative drop of the loss is no progress: batches differ by as much."""
CLEAR_DROP = 0.25
"""Such a drop is progress, even where the loss is flat by now: it has converged. Coming down
from a bad start to guessing is less: from 0.8 to ln 2 for a typical binary classifier."""
NOISE_MULTIPLE = 2.0
"""A drop must exceed this many standard errors of the medians it is the difference of."""
GUESS_BAND = 0.97
"""Above this share of the loss of a constant prediction the model still guesses. The drop
from a bad start down to guessing is learnt by the last bias alone, and is no progress."""
LOW_SHARE = 0.5
"""Below this share of the loss of guessing the model knows something, moving or not."""

LITTLE_LEFT = 0.05
"""The same where the level of guessing is not known: coming down from a bad start to guessing
may well halve the loss, or divide it by ten."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """How the loss has moved.

    Attributes:
        state: "unseen" without a loss, "early" before it can be told.
        steps: how many steps were seen.
        start: median loss of the first steps.
        now: median loss of the last steps.
        guess: loss of the best constant prediction; NaN if unknown.
    """

    state: State
    steps: int = 0
    start: float = math.nan
    now: float = math.nan
    guess: float = math.nan

    @property
    def stuck(self) -> bool:
        """The loss was seen, and it does not fall."""
        return self.state == "stuck"

    @property
    def learning(self) -> bool:
        """The loss was seen, and it falls or is low."""
        return self.state == "learning"

    @property
    def guessing(self) -> bool:
        """The loss is known to be no better than that of a constant prediction."""
        return self.now >= GUESS_BAND * self.guess

    @property
    def converged(self) -> bool:
        """The run has learnt most of what there is: small gradients are then as they should be."""
        if self.state not in ("learning", "early"):
            return False
        if math.isfinite(self.guess):
            return self.now <= LOW_SHARE * self.guess
        return self.now <= LITTLE_LEFT * self.start

    def sentence(self) -> str:
        """The state in words, with its numbers."""
        if self.state == "unseen":
            return "the loss was not seen"
        if self.state == "early":
            return "it is too early to tell from the loss"
        if self.learning:
            return f"the loss went from {self.start:.3g} to {self.now:.3g}"
        level = ""
        if self.guessing:
            level = f", the level of guessing is {self.guess:.3g}"
        return f"the loss does not fall ({self.start:.3g} at the start, {self.now:.3g} now{level})"


class LossTrace:
    """The loss of a run of any length in bounded memory."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []
        self._pending: list[tuple[float, int]] = []
        self._merge = 1
        self._head: list[tuple[float, int]] = []
        self._targets = np.zeros(3)
        self.count = 0

    def add(self, loss: float, steps: int, targets_mean: float, targets_std: float) -> None:
        """Add the mean loss of ``steps`` steps; NaN (not measured, or not finite) is skipped."""
        self.count += 1
        if math.isfinite(targets_mean) and math.isfinite(targets_std):
            self._targets += (1.0, targets_mean, targets_std)
        if not math.isfinite(loss):
            return
        if sum(point[1] for point in self._head) < HEAD_STEPS or len(self._head) < 3:
            self._head.append((loss, steps))
        self._pending.append((loss, steps))
        if len(self._pending) == self._merge:
            self._points.append(_mean(self._pending))
            self._pending = []
        if len(self._points) == TRACE_POINTS:
            self._points = [_mean(self._points[i : i + 2]) for i in range(0, len(self._points), 2)]
            self._merge *= 2

    def judge(self, table: VariableTable) -> Learning:
        """Whether the run learns, as far as its loss tells."""
        points = self._points + ([_mean(self._pending)] if self._pending else [])
        if not points:
            return Learning("unseen")
        loss = np.array([point[0] for point in points])
        seen = np.cumsum([point[1] for point in points])
        total = int(seen[-1])
        share = seen / total
        head = np.array([point[0] for point in self._head])
        tail = loss[share > 1 - TAIL_SHARE]
        start, now = float(np.median(head)), float(np.median(tail))
        guess = self._guess(table)
        if total < MINIMUM_STEPS or len(loss) < 4:
            return Learning("early", total, start, now, guess)
        middle = loss[(share > MIDDLE[0]) & (share <= MIDDLE[1])]
        still_falls = len(middle) > 0 and _fell(middle, tail, SMALL_DROP)
        if now >= GUESS_BAND * guess:  # never so when the level of guessing is not known
            # Close above it, a loss that falls is on its way to guessing.
            learns = still_falls and now > (2 - GUESS_BAND) * guess
        elif now < LOW_SHARE * guess or _fell(head, tail, CLEAR_DROP):
            learns = True
        else:
            learns = _fell(head, tail, SMALL_DROP) and (still_falls or not math.isnan(guess))
        return Learning("learning" if learns else "stuck", total, start, now, guess)

    def _guess(self, table: VariableTable) -> float:
        """The loss of the best constant prediction, where the loss and the targets tell it."""
        try:
            return float(table.run.facts["loss_at_guess"])
        except (KeyError, ValueError):
            pass
        name = table.run.loss.lower().replace("_", "").replace(" ", "")
        seen, mean_sum, std_sum = self._targets
        mean, std = (mean_sum / seen, std_sum / seen) if seen else (math.nan, math.nan)
        if name.startswith(("meansquarederror", "mse")):
            return std**2 or math.nan
        if name.startswith(("meanabsoluteerror", "mae")):
            return 0.8 * std or math.nan  # sqrt(2 / pi) of a normal distribution
        if name.startswith("binarycrossentropy") and 0 < mean < 1:
            return -mean * math.log(mean) - (1 - mean) * math.log(1 - mean)
        if name.startswith(("categoricalcrossentropy", "sparsecategoricalcrossentropy")):
            classes = [v.units for v in table.variables if v.role == "kernel" and v.units > 1]
            return math.log(classes[-1]) if classes else math.nan
        return math.nan


def _mean(points: list[tuple[float, int]]) -> tuple[float, int]:
    steps = sum(point[1] for point in points)
    return sum(point[0] * point[1] for point in points) / steps, steps


def _fell(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], share: float) -> bool:
    """Whether the median fell by that share, and by more than its noise."""
    old, new = np.median(before), np.median(after)
    deviation = 1.4826 * float(np.median(np.abs(after - new)))  # of a normal distribution
    noise = 1.2533 * deviation * math.sqrt(1 / len(before) + 1 / len(after))
    return bool(old - new > max(share * abs(old), NOISE_MULTIPLE * noise))
