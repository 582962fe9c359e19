"""When to take the next frame.

In:  the step just taken, and the times at which steps ended.
Out: what frames and steps have cost, and the number of the step at which the next frame is due.
Does not know about TensorFlow, files or what is in a frame. Time is passed in.
"""

from __future__ import annotations

import math
import numbers
import statistics
from collections import deque
from typing import Literal, Protocol

Every = int | Literal["auto"]


class Schedule(Protocol):
    """Decides, after each frame, which step is next."""

    interval: int
    """Steps between frames where it is fixed; 0 where it is not."""

    def next_due(self, step: int, elapsed: float, spent: float) -> int:
        """The next step to sample after ``step``.

        Args:
            step: the step of the last frame.
            elapsed: seconds since the first step.
            spent: how many of them the frames cost.
        """
        ...


class FixedSchedule:
    """Every multiple of ``interval``, exactly."""

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def next_due(self, step: int, elapsed: float, spent: float) -> int:
        return (step // self.interval + 1) * self.interval


class AutoSchedule:
    """Dense at the start, then every 2 % of the run so far, within a time budget.

    * Of the first ``DENSE_STEPS`` steps four in five are taken: what is broken from the start
      shows there.
    * Afterwards the next frame comes when the run has grown by ``GROWTH``. A run of n steps
      has at most 120 + ln(n / 100) / ln(1.02) frames: 350 after 10,000 steps, 580
      after a million, 1,200 after 10**11. Whatever happens shows within 2 % of the run.
    * Once the frames have cost more than ``ALLOWANCE`` seconds plus ``BUDGET`` of the time, the
      next one waits until the time has earned what it cost, but not longer than until the
      run has grown by ``LONGEST``: a run whose frames are dear is still looked at.
    """

    GROWTH = 0.02
    DENSE_STEPS = round(2 / GROWTH)
    BUDGET = 0.01
    ALLOWANCE = 0.5
    LONGEST = 0.5

    def __init__(self) -> None:
        self.interval = 0
        self._first: int | None = None

    def next_due(self, step: int, elapsed: float, spent: float) -> int:
        gap = max(1, int(step * self.GROWTH))
        if gap == 1 and step % 10 == 2:
            gap = 3  # two plain steps now and then: without them no frame's cost is known
        if self._first is None:
            self._first = step
        steps = step - self._first
        debt = spent - self.ALLOWANCE - self.BUDGET * elapsed
        if debt > 0 and steps > 0 and elapsed > 0:
            wait = math.ceil(debt / self.BUDGET / (elapsed / steps))
            gap = max(gap, min(wait, int(steps * self.LONGEST)))
        return step + gap


def make_schedule(every: Every) -> Schedule:
    """The schedule of the public argument ``every``.

    Raises:
        ValueError: neither "auto" nor a positive integer.
    """
    if every == "auto":
        return AutoSchedule()
    if isinstance(every, numbers.Integral) and not isinstance(every, bool) and every >= 1:
        return FixedSchedule(int(every))
    raise ValueError(f'every must be "auto" or a positive number of steps, not {every!r}')


class Clock:
    """What steps and frames cost, from the times between calls of ``step``."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._last: float | None = None
        self._plain: deque[float] = deque(maxlen=16)
        self._frames = 0
        self.spent = 0.0

    @property
    def elapsed(self) -> float:
        if self._start is None or self._last is None:
            return 0.0
        return self._last - self._start

    def step(self, now: float, sampled: bool) -> None:
        """A step ended now; ``sampled`` tells whether it took a frame."""
        if self._last is None:
            self._start = now  # the first step compiles: no measure of anything
        else:
            duration = now - self._last
            if not sampled:
                self._plain.append(duration)
            elif self._plain:
                self.spent += max(0.0, duration - statistics.median(self._plain))
        self._last = now

    def frame(self, seconds: float) -> None:
        """Fetching, judging and handing over a frame took so long on the host."""
        self._frames += 1
        if self._frames > 1:  # the first one traces and opens files: once, not a frame's cost
            self.spent += seconds
        if self._last is not None:
            self._last += seconds
