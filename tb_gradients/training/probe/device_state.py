"""The state of one probe on the device: what its steps share with each other and with the host.

In:  inside a step, its number and what was seen; on the host, when the next frame is due.
Out: whether a step is due; the rows of the last steps; for how long units had no gradient.
Does not know what a frame is made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.optimizers import replicas
from tb_gradients.training.probe.graphs import in_loop
from tb_gradients.training.probe.ring import RING_STEPS, Ring

Tensor = Any

NEVER = 2**62
"""A step that does not come."""


class DeviceState:
    """A few small variables: at every step each one counts.

    Args:
        first_step: number of the next step.
        width: numbers in the row of a step.
        units: whose gradients are watched for being zero.

    Attributes:
        step: number of the next step, on the device.
        ring: rows of the last steps.
        unit_age: float32 [units], steps since each one last had a gradient.
        next_due, next_interval: what was scheduled last, as the host knows it.
        armed: whether a non-finite gradient may force a frame, as the host knows it.
    """

    def __init__(self, first_step: int, width: int, units: int) -> None:
        with tf.init_scope():

            def state(value: Any, dtype: Any, name: str) -> Any:
                return replicas.make_variable(tf.constant(value, dtype), name)

            self.step = state(first_step, tf.int64, "step")
            self._due = state(NEVER, tf.int64, "due")
            self._interval = state(NEVER, tf.int64, "interval")
            self._armed = state(True, tf.bool, "armed")
            self.ring = Ring(self.step, first_step, width)
            # float32 because XLA has no fast path for int64 on some devices; steps are counted
            # from the start of this probe, exactly up to 2**24, and then stay "long ago".
            self.unit_age = state(np.zeros(units), tf.float32, "unit_age")
        self.next_due = self.next_interval = NEVER
        self.armed = True

    # --- in the training step ---------------------------------------------------------

    def is_due(self, step: Tensor) -> Tensor:
        """Whether a step is scheduled to be a frame.

        In a loop inside of one call the host cannot announce the next one: there is a frame, and
        with it the host reads the rows of the steps, before half of them are overwritten.
        """
        due = step >= self._due.value()
        return due | tf.equal(step % (RING_STEPS // 2), 0) if in_loop() else due

    def is_forced(self, finite: Tensor) -> Tensor:
        """Whether a step becomes a frame because a gradient is not finite."""
        return self._armed.value() & ~finite

    def frame_taken(self, step: Tensor, foreseen: Tensor) -> None:
        """This step was a frame: the next one is due as scheduled."""
        interval = self._interval.value()
        following = (step // interval + 1) * interval
        # One that a non-finite gradient has forced does not stand for the one that is foreseen.
        self._due.assign(tf.where(foreseen, following, self._due.value()))

    def disarm_unless(self, finite: Tensor) -> None:
        """No further frame is forced after one of a non-finite gradient."""
        self._armed.assign(self._armed.value() & finite)

    def age_units(self, largest: Tensor) -> None:
        """One step more for all units whose gradient is zero.

        Args:
            largest: float32 [units], of the magnitudes of each unit's gradient.
        """
        # Not a selection: between a scalar and a vector that takes four times as long as all this.
        idle = tf.cast(tf.equal(largest, 0.0), tf.float32)
        self.unit_age.assign((self.unit_age.value() + 1.0) * idle)

    # --- from the host -----------------------------------------------------------------

    def schedule(self, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``."""
        self._due.assign(due)
        if interval != self.next_interval:
            self._interval.assign(interval)
        self.next_due, self.next_interval = due, interval

    def rearm(self) -> None:
        """Let the next non-finite gradient force a frame again, after one that has done so."""
        self.ring.alarm = False
        if not self.armed:
            self._armed.assign(True)
            self.armed = True

    @property
    def alarmed(self) -> bool:
        """Whether a row that was read asks for a frame: a number in it is not finite."""
        return self.armed and self.ring.alarm
