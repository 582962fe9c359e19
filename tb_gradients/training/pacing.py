"""Announce to the probes which step becomes the next frame.

In:  the schedule, the steps so far, and what steps and frames have cost.
Out: calls of ``Probes.schedule``, and of ``Probes.select`` where XLA compiles the step.
Does not know what is in a frame, or what happens to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tb_gradients.host.schedule import AutoSchedule, Clock, Schedule
from tb_gradients.training.probe.probes import Probes
from tb_gradients.training.probe.ring import RING_STEPS
from tb_gradients.training.step_count import StepCount

BURST = 8
"""Frames in a row once a learning rate has changed: its effect is often over after a few steps."""

MOST_BURSTS = AutoSchedule.FREE_FRAMES // BURST

OTHER_RATE = 2.0
"""The factor from which on a rate counts as another one: rules tell rates apart by orders of
magnitude, and a smooth schedule then takes a burst per halving."""


class Pacing:
    """Which step is due next.

    Args:
        schedule: decides, after each frame.
        steps: of the training.

    Attributes:
        clock: what steps and frames have cost.
        interval: steps between frames where it is fixed, otherwise 0.
    """

    def __init__(self, schedule: Schedule, steps: StepCount) -> None:
        self.clock = Clock()
        self.interval = schedule.interval
        self._schedule, self._steps = schedule, steps
        self._due = 0
        self._begun = 0
        self._last: int | None = None
        self._sampling = True
        self._rates: dict[int, float] = {}
        self._bursts = self._burst = 0

    @property
    def is_due(self) -> bool:
        """Whether the step that was due has been made."""
        return self._steps.next > self._due

    def arm(self, probes: Probes, due: int) -> None:
        """The next frame is the one of step ``due``."""
        now = self._steps.next
        self._due = due
        if self.interval:
            self._due = -(-due // self.interval) * self.interval
            probes.schedule(now, self._due, self.interval)
        elif not self._steps.calls and self._steps.per_call == 1:
            # If step() is never called, the device still calls the host before the ring is full.
            probes.schedule(now, due, RING_STEPS)
        else:
            probes.schedule(now, due)

    def take_next(self) -> None:
        """A non-finite gradient asks for a frame: the next step is due."""
        self._due = self._steps.next

    def after_frame(self, probes: Probes, background: float) -> None:
        """A frame was fetched: announce the next one.

        Args:
            background: seconds that other threads have spent on frames.
        """
        following = self._steps.next - 1
        if self.interval:  # the device knows it
            self._due = self._schedule.next_due(following, 0.0, 0.0)
            return
        if self._burst:
            self._burst -= 1
            self.arm(probes, self._steps.next)
            return
        clock = self.clock
        spent = clock.spent(background)
        following = self._schedule.next_due(following, clock.elapsed, spent, clock.counted)
        following = max(following, self._steps.next)
        if self._last is not None and self._steps.next <= self._last:
            following = min(following, self._last)
        self.arm(probes, following)

    def select(self, probes: Probes) -> None:
        """Let a step that XLA compiles keep its gradients if a frame is due in it."""
        sampling = self._due < self._steps.next + self._steps.per_call
        if sampling != self._sampling:
            self._sampling = sampling
            probes.select(sampling)

    def follow_rates(self, rates: Sequence[float], probes: Probes | None) -> None:
        """If a learning rate is another one than before, the next steps become frames.

        Whatever they cost: which frames there are must not depend on how busy the machine is just
        where the training changes. Their number per run is bounded, and later ones wait for them.

        Args:
            rates: of the optimizers, in their order.
        """
        changed = False
        for optimizer, rate in enumerate(rates):
            before = self._rates.setdefault(optimizer, rate)
            if max(rate, before) > OTHER_RATE * min(rate, before) and math.isfinite(rate):
                self._rates[optimizer] = rate
                changed = True
        if changed and probes is not None and not self.interval and self._bursts < MOST_BURSTS:
            self._bursts += 1
            self._burst = BURST - 1
            self.arm(probes, self._steps.next)
            self.select(probes)

    def begin(self) -> None:
        """A further ``fit`` begins."""
        self._begun = self._steps.next

    def resume(self, probes: Probes) -> None:
        """Take frames again, after ``close``."""
        # Only when a frame is due: an agent may call `fit` after every few steps.
        self.arm(probes, max(self._due, self._steps.next))

    def end_at(self, last: int, probes: Probes | None) -> None:
        """With ``every="auto"`` the last step becomes a frame.

        (Not in a further ``fit`` that adds little to the run: otherwise each of a thousand short
        ones would write a frame and an event file.)
        """
        if last + 1 - self._begun < AutoSchedule.GROWTH * (last + 1):
            return
        self._last = last
        early = not self.interval and self._steps.next <= last < self._due
        if early and probes is not None:
            self.arm(probes, last)
            self.select(probes)
