"""The dense lane of one variable, as small as the chart that is drawn of it.

In:  the lanes of a run's recordings, a range of steps, a number of columns.
Out: bytes: smallest and largest norm and loss of each column, of each loss with a name, too, and
     whether anything was not finite.
Does not know about HTTP. See ``docs/http_api.md`` for the layout.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import Recording
from tb_gradients.lane import APPLIED, HIGH, LOW, SEEN, Lane, joined, spread

HEADER = struct.Struct("<2I")
"""Number of columns, and of named losses."""

GRADIENT, LOSS = 1, 2
"""Bits of a mark: a gradient, or the loss, was NaN or Inf. Those of a named loss are 0 and 1."""


def lane_of(recordings: Sequence[Recording], path: str | None) -> Lane:
    """The lane of one variable, or of none (losses only): [blocks, 1]."""
    parts = []
    for recording in recordings:
        lane = recording.lane
        if lane is None or not len(lane):
            continue
        known = path is not None and path in recording.table.paths
        row = recording.row(path) if known and path is not None else 0
        alone = slice(row, row + 1 if known else row)
        parts.append(
            spread(
                dataclasses.replace(
                    lane,
                    low=lane.low[:, alone],
                    high=lane.high[:, alone],
                    marks=lane.marks[:, alone],
                ),
                [0] if known else [],
                1,
            )
        )
    return joined(parts) if parts else Lane.empty(1)


def columns(lane: Lane, most: int, steps: tuple[float, float]) -> bytes:
    """The steps from one to another, both included, in so many columns at most.

    A column holds consecutive blocks of the lane that begin in the same share of the range.
    """
    first, last = steps
    ends = lane.first + lane.spans - 1
    shown = lane[
        int(np.searchsorted(ends, first)) : int(np.searchsorted(lane.first, last, "right"))
    ]
    count = len(shown)
    begins = np.arange(count)
    if count > most:
        start = int(shown.first[0])
        share = (shown.first - start) / (shown.last_step + 1 - start)
        begins = np.flatnonzero(np.diff((share * most).astype(np.int64), prepend=-1))
    if not count:
        return HEADER.pack(0, 0)
    stops = np.append(begins[1:], count) - 1
    counts = np.add.reduceat(shown.counts, begins)
    with np.errstate(all="ignore"):
        moved = np.where(counts[:, SEEN] > 0, counts[:, APPLIED] / counts[:, SEEN], np.nan)
    numbers = (
        np.fmin.reduceat(shown.smallest_norms[:, 0], begins),
        np.fmax.reduceat(shown.largest_norms[:, 0], begins),
        np.fmin.reduceat(shown.losses[:, LOW], begins),
        np.fmax.reduceat(shown.losses[:, HIGH], begins),
        moved,
    )
    marks = _any(shown.nonfinite[:, 0], begins) * GRADIENT
    marks |= _any(shown.loss_nonfinite, begins) * LOSS
    last_steps = (shown.first + shown.spans - 1)[stops]
    named = [
        np.fmin.reduceat(one.losses[:, LOW], begins).astype("<f4").tobytes()
        + np.fmax.reduceat(one.losses[:, HIGH], begins).astype("<f4").tobytes()
        + _any(one.nonfinite, begins).astype(np.uint8).tobytes()
        for one in shown.named
    ]
    return b"".join(
        (
            HEADER.pack(len(begins), len(named)),
            shown.first[begins].astype("<f8").tobytes(),
            last_steps.astype("<f8").tobytes(),
            np.array(numbers, "<f4").tobytes(),
            marks.astype(np.uint8).tobytes(),
            *named,
            json.dumps([one.name for one in shown.named]).encode() if named else b"",
        )
    )


def _any(found: npt.NDArray[np.bool_], begins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    any_of: npt.NDArray[np.int64] = np.bitwise_or.reduceat(found.astype(np.int64), begins)
    return any_of
