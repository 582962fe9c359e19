"""When to take the next frame.

In:  the step just taken, and the times at which steps ended.
Out: what frames and steps have cost, and the number of the step at which the next frame is due.
Does not know about TensorFlow, files or what is in a frame. Time is passed in.
"""

from __future__ import annotations

import math
import numbers
from collections import deque
from collections.abc import Iterable
from typing import Literal, Protocol

from tb_gradients.judging import cells

Every = int | Literal["auto"]


class Schedule(Protocol):
    """Decides, after each frame, which step is next."""

    interval: int
    """Steps between frames where it is fixed; 0 where it is not."""

    def next_due(self, step: int, elapsed: float, spent: float, frames: int = 0) -> int:
        """The next step to sample after ``step``.

        Args:
            step: the step of the last frame.
            elapsed: seconds since the first step.
            spent: how many of them the frames cost.
            frames: which are so many; 0: not known.
        """
        ...


class FixedSchedule:
    """Every multiple of ``interval``, exactly."""

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def next_due(self, step: int, elapsed: float, spent: float, frames: int = 0) -> int:
        return (step // self.interval + 1) * self.interval


class AutoSchedule:
    """Steps of a fixed grid: which of them are frames depends on the steps first, on time second.

    * The finest level has three in four of the first 64 steps, then the last step of every cell
      (``judging.cells``), 32 of each octave: a frame whenever the run has grown by 1.6 to 3.1 %.
      A run of n steps has at most 48 + 32 log2(n / 64) frames: 285 after 10,000 steps, 495 after
      a million.
    * Each coarser level leaves out every other step. The coarsest has two steps of each octave, and
      they are taken whatever they cost: all repeats of a training have them in common.
    * While the frames have cost more than an allowance plus ``BUDGET`` of the time, the next one
      comes on the finest level that leaves the time to earn what they cost. The allowance is
      ``FREE_FRAMES`` frames, but 0.5 s at least and 1 s at most (``ALLOWANCE``).

    So where a frame costs less than 8 ms, the first frames are those of every repeat of the
    training, however busy the machine is.
    """

    DENSE_STEPS = 64
    LEVELS = 4
    GROWTH = 0.02
    """A further ``fit`` that adds less than this share to the run has no last frame of its own."""
    BUDGET = 0.01
    ALLOWANCE = (0.5, 1.0)
    FREE_FRAMES = 128
    """Of a run of 360 steps. A busy machine makes a frame cost two to four times as much."""

    def __init__(self) -> None:
        self.interval = 0
        self._first: int | None = None

    def next_due(self, step: int, elapsed: float, spent: float, frames: int = 0) -> int:
        if self._first is None:
            self._first = step
        steps = step - self._first
        least, most = self.ALLOWANCE
        free = self.FREE_FRAMES * spent / frames if frames else 0.0
        debt = spent - min(max(least, free), most) - self.BUDGET * elapsed
        wait = 0
        if debt > 0 and steps > 0 and elapsed > 0:
            wait = math.ceil(debt / self.BUDGET / (elapsed / steps))
        for level in range(self.LEVELS):
            if (due := self._after(step, level)) - step >= wait:
                return due
        return self._after(step, self.LEVELS)

    def _after(self, step: int, level: int) -> int:
        """The next step of a level of the grid."""
        step += 1
        spacing = self._spacing(step, level)
        due = -(-step // spacing) * spacing
        # Two plain steps now and then: what a frame costs is measured against them.
        early = due < self.DENSE_STEPS and due % 8 in ((5, 7) if due < 8 else (5, 6))
        return self._after(due, level) if early else due

    def _spacing(self, step: int, level: int) -> int:
        return cells.size(step, cells.PER_OCTAVE / 2**level)


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
    """What steps and frames cost, from the times between calls of ``step``.

    A busy machine interrupts frames as it interrupts plain steps. So a frame's cost is that of the
    undisturbed ones: the fastest quarter of the last 32.
    """

    RECENT = 32

    def __init__(self) -> None:
        self._start: float | None = None
        self._last: float | None = None
        self._plain: deque[float] = deque(maxlen=self.RECENT)
        self._sampled: deque[float] = deque(maxlen=self.RECENT)
        self._host: deque[float] = deque(maxlen=self.RECENT)
        self._frames = 0

    @property
    def counted(self) -> int:
        """Frames that ``spent`` is about: all but the first one, which traces and opens files."""
        return max(self._frames - 1, 0)

    @property
    def elapsed(self) -> float:
        if self._start is None or self._last is None:
            return 0.0
        return self._last - self._start

    def spent(self, background: float = 0.0) -> float:
        """Seconds that the frames have cost so far.

        Args:
            background: seconds that other threads have spent on them.
        """
        count = self.counted
        if not count:
            return 0.0
        cost = _undisturbed(self._host) + background / count
        if self._plain and self._sampled:
            cost += max(0.0, _undisturbed(self._sampled) - _undisturbed(self._plain))
        return count * cost

    def step(self, now: float, sampled: bool) -> None:
        """A step ended now; ``sampled``: whether it took a frame."""
        if self._last is None:
            self._start = now  # the first step compiles: no measure of anything
        else:
            (self._sampled if sampled else self._plain).append(now - self._last)
        self._last = now

    def frame(self, seconds: float) -> None:
        """Fetching, judging and handing over a frame took so long on the host."""
        self._frames += 1
        if self._frames > 1:  # the first one traces and opens files: once, not a frame's cost
            self._host.append(seconds)
        if self._last is not None:
            self._last += seconds


def _undisturbed(durations: Iterable[float]) -> float:
    """What the fastest quarter of them took at most."""
    ordered = sorted(durations)
    return ordered[len(ordered) // 4] if ordered else 0.0
