"""One run as the tab sees it: one step axis, one list of variables, one list of columns.

In:  ``RunData``, whose recordings may have different variables and columns.
Out: float32 arrays in one layout; NaN where a recording has no such row or column,
     which is what NaN always means in a frame: not measured.
Does not know about HTTP, TensorBoard or flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.frames import FloatArray, FormatError, Recording, RunContext, Variable
from tb_gradients.lane import Lane
from tb_gradients.plugin import dense
from tb_gradients.reading.source import HistogramFrame, RunData

NONFINITE, NAN, INF = 1, 2, 4
"""Bits of a mark: something was not finite; elements of the gradient are NaN; some are Inf."""

_MARKS = (
    ("gradient_nan_count", 1, NONFINITE | NAN),
    ("gradient_inf_count", 1, NONFINITE | INF),
    ("weight_nonfinite_count", 1, NONFINITE),
    ("nonfinite_age", 0, NONFINITE),
)
"""Statistics that mark a variable as non-finite, the smallest value that does, and the mark."""


class UnknownNameError(LookupError):
    """A variable or statistic that the run does not have; the message says so."""


class RunView:
    """Arrays of a run in the layout that ``run`` announces to the tab."""

    def __init__(self, data: RunData) -> None:
        self.data = data
        self.steps = data.steps
        latest: dict[str, Variable] = {}
        for recording in reversed(data.recordings):
            for variable in recording.table.variables:
                latest.setdefault(variable.path, variable)
        self.variables = tuple(latest.values())
        tables = [recording.table for recording in data.recordings]
        self.statistics = _columns(
            schema.STATISTICS, (name for t in tables for name in t.statistics)
        ) + tuple(schema.DERIVED)
        self.context_columns = _columns(
            schema.CONTEXT, (name for t in tables for name in t.context)
        ) + tuple(map(schema.named_loss, data.named_losses))

    @property
    def run_context(self) -> RunContext:
        """What the writer knew about the run, from the last table."""
        return self.data.recordings[-1].table.run if self.data.recordings else RunContext()

    @property
    def nbytes(self) -> int:
        frames = sum(r.values.nbytes + r.context.nbytes for r in self.data.recordings)
        return frames + sum(r.lane.nbytes for r in self.data.recordings if r.lane is not None)

    def matrix(self, statistic: str) -> FloatArray:
        """float32 [steps, variables]; ``UnknownNameError`` if there is no such statistic."""
        if all(column.name != statistic for column in self.statistics):
            raise UnknownNameError(f"There is no statistic {statistic!r}; the run lists them all.")
        paths = [variable.path for variable in self.variables]
        parts = []
        for recording in self.data.recordings:
            values = _statistic(recording, statistic)
            if recording.table.paths != tuple(paths):
                rows = {path: row for row, path in enumerate(recording.table.paths)}
                spread = np.full((len(recording), len(paths)), np.nan, np.float32)
                shared = [i for i, path in enumerate(paths) if path in rows]
                spread[:, shared] = values[:, [rows[paths[i]] for i in shared]]
                values = spread
            parts.append(values)
        return _stacked(parts, len(paths))

    def unit(self, statistic: str) -> str:
        """Unit of a statistic; empty if there is no such one."""
        return next((c.unit for c in self.statistics if c.name == statistic), "")

    def marks(self) -> npt.NDArray[np.uint8]:
        """[steps, variables]: bits that say what was not finite, see ``NONFINITE``.

        At that frame or, if NaN and Inf are not distinguished, since the one before it.
        """
        found = np.zeros((len(self.steps), len(self.variables)), np.uint8)
        known = {column.name for column in self.statistics}
        for name, least, mark in _MARKS:
            if name in known:
                found |= np.where(self.matrix(name) >= least, np.uint8(mark), np.uint8(0))
        return found

    def series(self, path: str) -> FloatArray:
        """float32 [steps, statistics] of one variable; ``UnknownNameError`` if there is none."""
        self._require_variable(path)
        parts = []
        for recording in self.data.recordings:
            part = np.full((len(recording), len(self.statistics)), np.nan, np.float32)
            if path in recording.table.paths:
                alone = _one_variable(recording, recording.row(path))
                for i, column in enumerate(self.statistics):
                    part[:, i] = _statistic(alone, column.name)[:, 0]
            parts.append(part)
        return _stacked(parts, len(self.statistics))

    def lane(self, path: str | None) -> Lane:
        """The dense lane of one variable, [blocks, 1]; of none: norms are "not seen".

        Raises:
            UnknownNameError: there is no such variable.
        """
        if path is not None:
            self._require_variable(path)
        return dense.lane_of(self.data.recordings, path)

    def context(self) -> FloatArray:
        """float32 [steps, context columns]."""
        names = [column.name for column in self.context_columns]
        parts = []
        for recording in self.data.recordings:
            part = np.full((len(recording), len(self.context_columns)), np.nan, np.float32)
            for i, column in enumerate(self.context_columns):
                if column.name in recording.table.context:
                    part[:, i] = recording.context_value(column.name)
            for name, values in recording.named_losses.items():
                part[:, names.index(schema.named_loss(name).name)] = values
            parts.append(part)
        return _stacked(parts, len(self.context_columns))

    def usable_histograms(self, frames: Iterable[HistogramFrame]) -> list[HistogramFrame]:
        """Those of this timeline.

        Histograms are written with some frames only. After training went back, one of
        the abandoned timeline may survive between two new ones; it shows by its time
        not being that of the frame at its step.
        """
        times = dict(zip(self.steps.tolist(), self.data.wall_times.tolist(), strict=True))
        return [h for h in frames if times.get(h.step, h.wall_time) == h.wall_time]

    def histogram(self, path: str, frames: Sequence[HistogramFrame]) -> FloatArray:
        """float32 [frames, bins] of one variable; a row of NaN where it has none.

        Raises:
            UnknownNameError: there is no such variable.
        """
        self._require_variable(path)
        rows = {
            recording.table.table_id: recording.row(path)
            for recording in self.data.recordings
            if path in recording.table.paths
        }
        counts = np.full((len(frames), schema.HISTOGRAM_BINS), np.nan, np.float32)
        for i, frame in enumerate(frames):
            try:
                table_id, all_counts = frame.unpack()
            except FormatError:  # a gap in the picture
                continue
            row = rows.get(table_id)
            if row is not None and row < len(all_counts):
                counts[i] = all_counts[row]
        return counts

    def _require_variable(self, path: str) -> None:
        if all(variable.path != path for variable in self.variables):
            raise UnknownNameError(f"There is no variable {path!r}; the run lists them all.")


def _columns(
    declared: tuple[schema.Column, ...], written: Iterable[str]
) -> tuple[schema.Column, ...]:
    """The declared columns, then those which a newer writer added."""
    known = {column.name for column in declared}
    added = dict.fromkeys(name for name in written if name not in known)
    return declared + tuple(schema.Column(name, "", "step", "linear", "") for name in added)


def _statistic(recording: Recording, name: str) -> FloatArray:
    try:
        return recording.statistic(name)
    except KeyError:  # a column that only another recording of the run has
        return np.full(recording.values.shape[:2], np.nan, np.float32)


def _one_variable(recording: Recording, row: int) -> Recording:
    # Derived statistics of one variable out of a thousand: not worth deriving all.
    table = dataclasses.replace(recording.table, variables=(recording.table.variables[row],))
    return dataclasses.replace(recording, table=table, values=recording.values[:, row : row + 1])


def _stacked(parts: Sequence[FloatArray], columns: int) -> FloatArray:
    if not parts:
        return np.zeros((0, columns), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
