"""The steps between two frames, as rows that rules read like frames.

In:  a frame, and the dense lane of the steps up to it.
Out: frames: one for each cell of steps that has none of its own, with the columns that the lane
     has, and the frame itself.
Does not know about rules, or when frames are taken.

Which steps become frames depends on what frames cost, and so on how busy the machine is. What a
rule reads here does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import FloatArray, Frame, VariableTable
from tb_gradients.judging import cells
from tb_gradients.lane import (
    APPLIED,
    FINITE_LOSSES,
    HIGH,
    LOSSES,
    LOW,
    MEAN,
    NONE,
    SEEN,
    SKIPPED,
    UNSEEN,
    ZERO,
    Lane,
)

STEP_COLUMNS = ("gradient_norm",)
WINDOW_COLUMNS = ("gradient_norm_max", "nonfinite_age", "zero_step_share", "none_step_share")
STEP_CONTEXT = ("loss", "global_norm")
WINDOW_CONTEXT = (
    "window_steps",
    "applied_steps",
    "skipped_steps",
    "loss_mean",
    "loss_min",
    "loss_max",
    "loss_nonfinite_age",
)
KNOWN = frozenset((*STEP_COLUMNS, *WINDOW_COLUMNS, *STEP_CONTEXT, *WINDOW_CONTEXT))
"""Columns of every row. The other ones are measured at frames only."""

_NEVER = np.iinfo(np.int64).max


def rows(frame: Frame, table: VariableTable, last: int) -> Iterator[Frame]:
    """The rows since the last one, the frame itself as the last of them.

    The columns of windows cover the steps since the row before. Of a block of several steps the
    lane does not say how many of them were zero: it counts as zero if all of them were, and its
    largest norm stands for that of its last step.

    Args:
        frame: with the lane of the steps since the frame before.
        table: rows and columns of the frame.
        last: step of the row before; -1: there is none.
    """
    lane = frame.lane
    if lane is None or last >= frame.step:  # training went back: its steps are others
        yield frame
        return
    lane = lane[int(np.searchsorted(lane.first + lane.spans - 1, last, side="right")) :]
    ends = np.minimum(cells.ends(lane.first + lane.spans - 1), frame.step)
    begins = np.flatnonzero(np.diff(ends, prepend=-1))
    if not len(begins) or ends[0] == frame.step:  # nearly always so
        yield frame
        return
    columns, context = _columns(lane, begins, ends[begins])
    stops = [*begins[1:].tolist(), len(lane)]
    unseen = 0.0
    for i, (begin, stop) in enumerate(zip(begins.tolist(), stops, strict=True)):
        mine = {name: values[i] for name, values in context.items()}
        mine["window_steps"] += unseen
        unseen = 0.0
        part = {name: values[i] for name, values in columns.items()}
        if ends[begin] == frame.step:
            yield _with(frame, table, part, mine, lane[begin:stop])
            return
        if not lane.counts[begin:stop, SEEN].any():
            unseen = mine["window_steps"]
            continue
        yield _row(int(ends[begin]), frame, table, part, mine, lane[begin:stop])
    # The block of the frame's own step is not complete yet, or was not seen.
    yield dataclasses.replace(frame, lane=Lane.empty(lane.low.shape[1]))


def _row(
    step: int,
    frame: Frame,
    table: VariableTable,
    columns: Mapping[str, FloatArray],
    context: Mapping[str, float],
    lane: Lane,
) -> Frame:
    """A row between frames: everything that is not in the lane is NaN."""
    values = np.full((len(table.variables), len(table.statistics)), np.nan, np.float32)
    vector = np.full(len(table.context), np.nan, np.float32)
    row = Frame(step, frame.wall_time, values, vector, lane=lane)
    _fill(row, table, columns, context)
    return row


def _with(
    frame: Frame,
    table: VariableTable,
    columns: Mapping[str, FloatArray],
    context: Mapping[str, float],
    lane: Lane,
) -> Frame:
    """The frame, with a window that begins behind the row before."""
    row = dataclasses.replace(
        frame, values=frame.values.copy(), context=frame.context.copy(), lane=lane
    )
    columns = {name: columns[name] for name in WINDOW_COLUMNS}
    context = {name: context[name] for name in WINDOW_CONTEXT}
    _fill(row, table, columns, context)
    return row


def _fill(
    row: Frame, table: VariableTable, columns: Mapping[str, FloatArray], context: Mapping[str, Any]
) -> None:
    for name, values in columns.items():
        if name in table.statistics:
            row.values[:, table.statistics.index(name)] = values
    for name, value in context.items():
        if name in table.context:
            row.context[table.context.index(name)] = value


def _columns(
    lane: Lane, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Statistics, each [rows, variables], and context columns, each [rows]."""
    last = np.append(begins[1:], len(lane)) - 1
    spans = lane.spans[:, np.newaxis]

    def steps_of(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.add.reduceat(np.where(chosen, spans, 0), begins).astype(np.float64)

    nonfinite, finite = lane.nonfinite, lane.high != UNSEEN
    none = steps_of(~finite & ~nonfinite & lane.marked(NONE))
    measured = steps_of(finite | nonfinite)
    first_broken = np.minimum.reduceat(
        np.where(nonfinite, lane.first[:, np.newaxis], _NEVER), begins
    )
    age = np.where(first_broken < _NEVER, ends[:, np.newaxis] - first_broken, -1)
    largest = lane.largest_norms
    own = largest[last]
    largest = np.fmax.reduceat(largest, begins)
    counts = np.add.reduceat(lane.counts, begins).astype(np.float64)
    known, ends_alone = counts[:, FINITE_LOSSES], (lane.spans == 1)[last]
    lost = lane.loss_nonfinite
    loss_broken = np.minimum.reduceat(np.where(lost, lane.first, _NEVER), begins)
    sums = np.where(lane.counts[:, FINITE_LOSSES] > 0, lane.losses[:, MEAN], 0).astype(np.float64)
    sums = np.add.reduceat(sums * lane.counts[:, FINITE_LOSSES], begins)
    with np.errstate(all="ignore"):  # 0 / 0 is how "not measured" comes about
        columns = {
            "gradient_norm": own,
            "gradient_norm_max": largest,
            "nonfinite_age": np.where(measured > 0, age, np.nan),
            "zero_step_share": steps_of(lane.high == ZERO) / measured,
            "none_step_share": none / (none + measured),
        }
        context = {
            "window_steps": np.add.reduceat(lane.spans, begins).astype(np.float64),
            "applied_steps": counts[:, APPLIED],
            "skipped_steps": counts[:, SKIPPED],
            "loss": np.where(ends_alone, lane.losses[last, MEAN], np.nan),
            "loss_mean": sums / known,
            "loss_min": np.fmin.reduceat(lane.losses[:, LOW], begins),
            "loss_max": np.fmax.reduceat(lane.losses[:, HIGH], begins),
            "loss_nonfinite_age": np.where(
                counts[:, LOSSES] == 0,
                np.nan,
                np.where(loss_broken < _NEVER, ends - loss_broken, -1),
            ),
            "global_norm": _together(own),
        }
    return columns, context


def _together(norms: FloatArray) -> npt.NDArray[np.float64]:
    """[rows]: the norm of all gradients of a row taken together; NaN where none was measured."""
    whole = np.sqrt(np.nansum(np.square(norms, dtype=np.float64), axis=1))
    result: npt.NDArray[np.float64] = np.where(np.isnan(norms).all(axis=1), np.nan, whole)
    return result
