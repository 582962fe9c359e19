"""The rows of the last steps: a ring buffer on the device, which the host reads now and then.

In:  one row per step, written inside the training step.
Out: the rows since the last reading, on the host, each once and in order.
Does not know what a row holds, except that numbers behind its header may be non-finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.host.window import HEADER, UNKNOWN
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.probe.graphs import in_loop

Tensor = Any

RING_STEPS = 256
"""Steps whose rows the device keeps; the host reads them before they are overwritten."""


class Ring:
    """Rows on the device, and those that the host has read but not taken yet.

    Args:
        step: the device's variable with the number of the next step.
        first_step: its value now.
        width: numbers per row.

    Attributes:
        counted: number of the next step, by the device's own count when it was last read.
        waited: steps that the loop has reported since then.
        unread: (first step, rows) that were read and not taken yet, in order.
        one_by_one: at the last reading, each reported step was one update.
        alarm: a row with a non-finite number was read. The owner resets it.
    """

    def __init__(self, step: Any, first_step: int, width: int) -> None:
        self.width = width
        self.counted = first_step
        self.waited = 0
        self.unread: list[tuple[int, Any]] = []
        self.one_by_one = self.alarm = False
        self._step = step
        self._patience = RING_STEPS // 4
        rows = tf.constant(np.zeros((RING_STEPS, width)), tf.float32)
        self._rows = replicas.make_variable(rows, "ring")
        since = tf.constant(np.full(width - HEADER, -1), tf.int64)
        self._broken_since = replicas.make_variable(since, "broken_since")

    # --- in the training step ---------------------------------------------------------

    def put(self, step: Tensor, row: Tensor, order: Sequence[int], xla: bool) -> None:
        """Keep the row of a step.

        Args:
            order: the variable of each sum of squares in it.
        """
        if xla and in_loop() and order:
            self._keep_first_broken(step, row[HEADER : HEADER + len(order)], order)
        place = tf.cast(step, tf.int32) % RING_STEPS
        if xla:
            self._rows.assign(tf.tensor_scatter_nd_update(self._rows.value(), [[place]], row[None]))
        else:
            handle = self._rows.handle
            tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=place, updates=row)

    def _keep_first_broken(self, step: Tensor, squares: Tensor, order: Sequence[int]) -> None:
        """Keep when each variable's gradient was first not finite.

        The host cannot read the rows of a loop that XLA compiles before they are overwritten.
        """
        broken = tf.cast(~tf.math.is_finite(squares), tf.int32)
        places = np.array(order, np.int32)[:, np.newaxis]
        before = self._broken_since.value()
        new = tf.scatter_nd(places, broken, before.shape) > 0
        self._broken_since.assign(tf.where(new & (before < 0), step, before))

    def row(self, step: Tensor) -> Tensor:
        """The row of one of the last steps."""
        return self._rows.value()[tf.cast(step, tf.int32) % RING_STEPS]

    # --- from the host -----------------------------------------------------------------

    def next_step(self) -> int:
        """Number of the next step, by the device's own count."""
        return int(read(self._step))

    def follow(self, steps: int) -> bool:
        """Count the steps that the loop reports; whether it is time to read."""
        self.waited += steps
        return self.waited >= self._patience

    def read(self) -> None:
        """Take over the rows of the steps since the last reading."""
        step = self.next_step()
        made = step - self.counted
        if made > 0:
            # What was overwritten before it was read is lost, and only counted.
            first = max(self.counted, step - RING_STEPS)
            rows = read(self._rows)[np.arange(first, step) % RING_STEPS]
            if first > self.counted:
                self.unread.append((self.counted, self._lost(self.counted, first)))
            self.unread.append((first, rows))
            self.alarm |= not np.isfinite(rows[:, HEADER:]).all()
            # An optimizer may be applied several times per step of the training.
            self.one_by_one = made == self.waited
            rate = made / max(self.waited, 1)
            self._patience = max(int(RING_STEPS / 2 / max(rate, 1)), 1)
            self.counted = step
        self.waited = 0

    def _lost(self, first: int, last: int) -> Any:
        """Rows of steps that were overwritten: all that is known is what broke first."""
        rows = np.full((last - first, self.width), UNKNOWN, np.float32)
        since = read(self._broken_since)
        (broken,) = np.nonzero((since >= first) & (since < last))
        rows[since[broken] - first, HEADER + broken] = np.nan
        return rows

    def holds_nonfinite(self) -> bool:
        """Whether some unread row has a non-finite number."""
        return any(not np.isfinite(rows[:, HEADER:]).all() for _, rows in self.unread)

    def receive(self, rows: Any) -> None:
        """The rows of all reported steps came another way: they need not be read."""
        self.unread.append((self.counted, rows))
        self.counted, self.waited = self.counted + self.waited, 0

    def take_until(self, step: int) -> list[tuple[int, Any]]:
        """The unread rows of the steps before ``step``; later ones stay unread."""
        unread, self.unread = self.unread, []
        rows = []
        for first, some in unread:
            split = min(max(step - first, 0), len(some))
            if split:
                rows.append((first, some[:split]))
            if split < len(some):
                self.unread.append((first + split, some[split:]))
        return rows


def read(variable: Any) -> Any:
    """The value of one of our variables on the host; five times faster than its ``numpy()``."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype).numpy()
