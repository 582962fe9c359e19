"""Collect the dense lane of one probe: the rows of its steps, in blocks.

In:  a row per step, as the device has kept it.
Out: ``Lane``s: each block once, in order.
Does not know about TensorFlow, schedules, files or rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tb_gradients.host.sampling import Layout
from tb_gradients.host.window import APPLIED, HEADER, LAYOUT, LOSS, UNKNOWN
from tb_gradients.lane import LOSSES, NONE, UNSEEN, Lane, codes_of, in_blocks, joined


def lane_of(
    first: int, rows: npt.NDArray[np.float32], layouts: Mapping[int, Layout], variables: int
) -> Lane:
    """The lane of consecutive steps, each made by one of the traced updates.

    Args:
        first: number of the first step.
        rows: float32 [steps, ...], as the device has kept them.
        layouts: by number.
        variables: how many the table has.
    """
    numbers = rows[:, LAYOUT].astype(int)
    changes = np.flatnonzero(np.diff(numbers)) + 1
    parts = []
    for begin, end in zip([0, *changes], [*changes, len(rows)], strict=True):
        some, number = rows[begin:end], int(numbers[begin])
        codes = np.full((end - begin, variables), UNSEEN, np.uint16)
        if number == UNKNOWN:
            parts.append(Lane.of_steps(first + begin, codes, seen=False))
            continue
        layout = layouts[number]
        order = list(layout.order)
        codes[:, order] = codes_of(some[:, HEADER : HEADER + len(order)])
        codes[:, list(layout.none_rows)] = NONE
        losses = some[:, LOSS] if layout.has_loss else None
        parts.append(Lane.of_steps(first + begin, codes, some[:, APPLIED], losses))
    return joined(parts)


class LaneBuffer:
    """Steps that were not taken yet; those of a long run as blocks, so that memory stays bounded.

    Args:
        variables: how many the table has.
        origin: number of the run's first step.
    """

    def __init__(self, variables: int, origin: int) -> None:
        self._empty = Lane.empty(variables)
        self._origin = origin
        self._parts: list[Lane] = []

    def add(self, lane: Lane) -> None:
        """Append the next steps."""
        self._parts.append(lane)
        if len(self._parts) > 8:
            self._parts = [self._all()]

    def take(self, step: int | None = None) -> Lane:
        """The blocks that are complete at a step; without a step all, the last one incomplete."""
        lane = self._all() if self._parts else self._empty
        count = len(lane) if step is None else int(np.searchsorted(lane.due, step, side="right"))
        self._parts = [lane[count:]] if count < len(lane) else []
        return lane[:count]

    def _all(self) -> Lane:
        return in_blocks(joined(self._parts), self._origin)


def combined(lanes: Sequence[Lane]) -> Lane:
    """One lane from those of several probes, each of which has seen some of the variables.

    Blocks that only some probes have seen are those of the probe that has seen most.
    """
    whole = max(lanes, key=len)
    low, high, marks = whole.low.copy(), whole.high.copy(), whole.marks.copy()
    counts, losses = whole.counts.copy(), whole.losses.copy()
    for lane in lanes:
        if lane is whole or not len(lane):
            continue
        at = np.minimum(np.searchsorted(whole.first, lane.first), len(whole) - 1)
        same = (whole.first[at] == lane.first) & (whole.spans[at] == lane.spans)
        at, other = at[same], np.flatnonzero(same)
        seen = (lane.high[other] != UNSEEN) | (lane.marks[other] & ~np.uint8(1 << UNSEEN) > 0)
        for mine, theirs in ((low, lane.low), (high, lane.high), (marks, lane.marks)):
            mine[at] = np.where(seen, theirs[other], mine[at])
        lacks = np.isnan(losses[at]).all(axis=1)
        losses[at[lacks]] = lane.losses[other[lacks]]
        counts[at[lacks], LOSSES:] = lane.counts[other[lacks], LOSSES:]
    return Lane(whole.first, whole.spans, whole.due, low, high, marks, counts, losses)
