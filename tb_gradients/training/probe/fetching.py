"""Fetch what the steps of one probe have left, on the host.

In:  measurements and rows of steps, on the device or received from it.
Out: frames, and the dense lane.
Does not know how a step is measured, or when a frame is due.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from tb_gradients.host.making import Drained, FrameMaker, Measured, Taken
from tb_gradients.host.window import HEADER
from tb_gradients.lane import Lane
from tb_gradients.training.probe.compiled import CompiledSteps
from tb_gradients.training.probe.device_state import DeviceState
from tb_gradients.training.probe.ring import RING_STEPS
from tb_gradients.training.probe.update_kinds import UpdateKinds


class Fetcher:
    """The host's side of one probe.

    Args:
        device: of the probe.
        kinds: of its updates.
        compiled: measures the steps that cannot call the host.
        maker: makes the frames.
        slots: frames that may be taken between two fetches.
        on_wait: called on the host in the middle of a training step that is a frame (not under
            XLA): for how many steps a frame has been waiting.
        on_full: called there before more wait than ``slots``, and before rows of steps are
            overwritten, if the step is in a loop inside of one call: fetches them.

    Attributes:
        in_loop: whether updates are made in a loop inside of one call.
    """

    def __init__(
        self,
        device: DeviceState,
        kinds: UpdateKinds,
        compiled: CompiledSteps,
        maker: FrameMaker,
        slots: int,
        on_wait: Callable[[int], None] | None,
        on_full: Callable[[], None] | None,
    ) -> None:
        self._device, self._ring = device, device.ring
        self._kinds, self._compiled, self._maker = kinds, compiled, maker
        self._slots, self._on_wait, self._on_full = slots, on_wait, on_full
        self._fetched = 0  # frames; not all of them need be made yet
        self._received: list[Measured] = []
        self.in_loop = False

    # --- in the middle of a step --------------------------------------------------------

    def receive(self, measured: Measured) -> None:
        """The measurements of a step; where too many wait, over the last of them.

        (Not over those of a gradient that is not finite: they say where that began.)
        """
        behind = measured.step - self._ring.counted
        full = len(self._received) >= self._slots or behind >= RING_STEPS // 2
        if full and self.in_loop and self._on_full is not None:
            self._on_full()
        if len(self._received) < self._slots:
            self._received.append(measured)
        elif not _is_broken(self._received[-1]):
            self._received[-1] = measured
        if self._on_wait is not None:
            self._on_wait(measured.step - self._received[0].step)

    @contextlib.contextmanager
    def nothing_received(self) -> Iterator[None]:
        """What comes within the context is dropped."""
        received, self._received = self._received, []
        try:
            yield
        finally:
            self._received = received

    # --- after a step -------------------------------------------------------------------

    @property
    def counted(self) -> int:
        """Number of the next step, by the device's own count when it was last read."""
        return self._ring.counted

    def next_step(self) -> int:
        """Number of the next step, by the device's own count."""
        return self._ring.next_step()

    def follow(self, steps: int) -> None:
        """So many steps were made: read the device's ring before it is overwritten."""
        if self._ring.follow(steps):
            self._read_ring()

    def status(self) -> tuple[bool, bool]:
        """Whether frames wait, and whether one is wanted of the next step.

        A compiled step that hands nothing over cannot force the frame of a non-finite gradient.
        """
        if not self._kinds.compiled:
            return bool(self._received), False
        self._read_ring()
        waits = bool(self._received) or self._compiled.handed() is not None
        return waits, self._device.alarmed and not waits

    def fetch(self) -> list[Taken]:
        """What the device has left for the waiting frames, oldest first.

        ``frame`` makes frames of them: each once, in order, on any thread.
        """
        received, self._received = self._received, []
        ring = self._ring
        if ring.waited == 1 and ring.one_by_one:
            kind = self._compiled.surely_handed()
            measured = None if kind is None else self._compiled.measured(kind)
            if measured is not None and measured.step >= ring.counted:  # a step was made
                received.append(measured)
        if ring.waited and ring.one_by_one:
            steps = list(range(ring.counted, ring.counted + ring.waited))
            if [measured.step for measured in received] == steps:
                # They bring the only rows that there are to read.
                ring.receive(np.stack([m.noted for m in received]))
        if ring.waited or not received or received[-1].step >= ring.counted:
            self._read_ring()
        kind = self._compiled.handed()
        if kind is not None:
            received.append(self._compiled.measured(kind))
        self._fetched += len(received)
        return [self._taken(measured) for measured in received]

    def _taken(self, measured: Measured) -> Taken:
        broken = _is_broken(measured)
        self._device.armed &= not broken
        self._ring.alarm = False
        return Taken(measured, self._ring.take_until(measured.step + 1), broken)

    def frame(self, taken: Taken) -> Drained:
        """The frame of what was fetched."""
        return self._maker.frame(taken)

    def rest(self) -> Drained | None:
        """A frame of the steps since the last one, once all frames are made; None: there are none.

        It holds what their rows say: of the last ``RING_STEPS`` of them.
        """
        self._read_ring()
        rows = self._ring.take_until(self._ring.counted)
        return self._maker.rest(self._ring.counted - 1, rows) if rows else None

    def ends_nonfinite(self) -> bool:
        """Whether a gradient since the last frame was not finite, and no frame shows it.

        After a compiled step, which cannot force a frame, the next step would have been one.
        """
        self._read_ring()
        return self._device.armed and (self._ring.alarm or self._ring.holds_nonfinite())

    def lane(self, step: int | None) -> Lane:
        """See ``FrameMaker.lane``; without a step also what is on the device still."""
        if step is None:
            self._read_ring()
            for rows in self._ring.take_until(self._ring.counted):
                self._maker.add(*rows)
        return self._maker.lane(step)

    def _read_ring(self) -> None:
        """Take over the rows of the steps since the last time."""
        ring = self._ring
        ring.read()
        if len(ring.unread) > 8 and not self._received and self._maker.made == self._fetched:
            for some in ring.take_until(ring.unread[-1][0]):
                self._maker.add(*some)


def _is_broken(measured: Measured) -> bool:
    """Whether some gradient of the step is not finite."""
    return not np.isfinite(measured.noted[HEADER:]).all()
