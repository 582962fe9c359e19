"""Whether the run learns, judged as often as it may have changed.

In:  rows of a run: the loss of each, and what the targets of its batch look like.
Out: ``Learning``.
Does not know about rules or other columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tb_gradients.frames import VariableTable
from tb_gradients.judging.learning import Learning, LossTrace, Targets, has_loss
from tb_gradients.lane import Lane


class Progress:
    """The loss of a run, and what it was last judged to be."""

    def __init__(self) -> None:
        self._losses = LossTrace()
        self._judged_at = 0
        self.learning = Learning("unseen")
        """As of the last row at which it was judged."""

    def add(
        self, loss: float, steps: int, targets: Targets, own_loss: float, lane: Lane | None
    ) -> None:
        """Add a row; see ``LossTrace``. The lane replaces the mean loss where it has losses."""
        if lane is not None and (self._losses.dense or has_loss(lane)):
            self._losses.add_lane(lane, targets, own_loss)
        else:
            self._losses.add(loss, steps, targets, own_loss)

    def judge(self, table: VariableTable) -> None:
        """Judge it by all rows so far."""
        if self._judged_at != self._losses.count:
            self.learning = self._losses.judge(table)
            self._judged_at = self._losses.count

    @contextlib.contextmanager
    def up_to_date(self, table: VariableTable) -> Iterator[None]:
        """Meanwhile ``learning`` is that of the last row, and not one of a few rows before.

        For texts only: what rules detect must not depend on how often a text is read.
        """
        before = self._judged_at, self.learning
        self.judge(table)
        try:
            yield
        finally:
            self._judged_at, self.learning = before
