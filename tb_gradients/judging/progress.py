"""Whether the run learns, judged as often as it may have changed.

In:  rows of a run: the loss of each, and what the targets of its batch look like.
Out: ``Learning``.
Does not know about rules or other columns.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator

from tb_gradients.frames import VariableTable
from tb_gradients.judging.learning import Learning, LossTrace, Targets, has_loss
from tb_gradients.lane import Lane

Row = tuple[float, int, float, Iterable[float], Lane | None]
"""Mean loss, steps, own loss, the numbers of ``Targets``, and the lane."""


class Progress:
    """The loss of a run, and what it was last judged to be.

    Rows wait until somebody wants to know: most rules need it only where they find something.
    """

    WAITING = 256
    """With more rows than that, those that count already are taken in, to save memory."""

    def __init__(self) -> None:
        self._losses = LossTrace()
        self._waiting: deque[Row] = deque()
        self._counted = 0
        """How many of them count for ``learning``."""
        self._table: VariableTable | None = None
        """Its table, where it is not computed yet."""
        self._judged_at = 0
        self._learning = Learning("unseen")

    def add(
        self, loss: float, steps: int, own_loss: float, targets: Iterable[float], lane: Lane | None
    ) -> None:
        """Add a row; see ``LossTrace``. The lane replaces the mean loss where it has losses."""
        self._waiting.append((loss, steps, own_loss, targets, lane))
        if len(self._waiting) > self.WAITING:
            self._take(self._counted)

    def judge(self, table: VariableTable) -> None:
        """Judge it by all rows so far."""
        self._counted, self._table = len(self._waiting), table

    @property
    def learning(self) -> Learning:
        """As of the last row at which it was judged."""
        if self._table is not None:
            self._take(self._counted)
            if self._judged_at != self._losses.count:
                self._learning = self._losses.judge(self._table)
                self._judged_at = self._losses.count
            self._table = None
        return self._learning

    def _take(self, rows: int) -> None:
        for _ in range(rows):
            loss, steps, own_loss, targets, lane = self._waiting.popleft()
            if lane is not None and (self._losses.dense or has_loss(lane)):
                self._losses.add_lane(lane, Targets(*targets), own_loss)
            else:
                self._losses.add(loss, steps, Targets(*targets), own_loss)
        self._counted = max(self._counted - rows, 0)

    @contextlib.contextmanager
    def up_to_date(self, table: VariableTable) -> Iterator[None]:
        """Meanwhile ``learning`` is that of the last row, and not one of a few rows before.

        For texts only: what rules detect must not depend on how often a text is read.
        """
        before = self.learning, self._judged_at
        self.judge(table)
        try:
            yield
        finally:
            self._table, self._counted = None, 0
            self._learning, self._judged_at = before
