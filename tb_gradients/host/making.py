"""Assemble the frames of one probe from what its steps have left on the host.

In:  what was fetched for a frame: measurements of its own step, and the rows of all steps since
     the frame before.
Out: the numbers of the frame.
Does not know about TensorFlow, schedules, files or rules.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tb_gradients import schema
from tb_gradients.frames import VariableTable
from tb_gradients.host import statistics
from tb_gradients.host.lane_buffer import LaneBuffer, lane_of
from tb_gradients.host.parts import Parts
from tb_gradients.host.sampling import Layout
from tb_gradients.host.window import Window
from tb_gradients.lane import Lane

_STAT = {name: i for i, name in enumerate(schema.statistic_names())}
_CONTEXT = schema.context_names()

Drained = tuple[int, Any, Any, Callable[[], Any]]
"""step, values [variables, statistics], context, and what makes histograms [variables, bins]."""


@dataclasses.dataclass
class Contents:
    """What the measurements of one traced update hold; known once it is traced.

    Attributes:
        layout: of the samples.
        columns, activations: names of the context columns and of statistics of layers' outputs.
    """

    layout: Layout
    columns: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()


@dataclasses.dataclass
class Measured:
    """The measurements of one step: arrays.

    Attributes:
        noted: the row of the step; see ``window``.
        pack, numbers: see ``statistics.rows_of``.
        unit_age: steps since each unit last had a gradient, after this one.
        context: the values of ``contents.columns``.
        activations: [statistics, variables], of ``contents.activations``.
        sparse: finished rows, one after the other, and samples of the gradients.
    """

    contents: Contents
    step: int
    noted: Any
    pack: Any
    numbers: Any
    unit_age: Any
    context: Any
    activations: Any
    sparse: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Taken:
    """What was fetched for one frame.

    Attributes:
        rows: of the steps since the frame before, with the step of the first of each.
        broken: whether a sum of squares is not finite at the frame's own step.
    """

    measured: Measured
    rows: Sequence[tuple[int, Any]]
    broken: bool


class FrameMaker:
    """Makes the frames of one probe, in order, on any thread.

    Args:
        table: rows of the frames.
        layouts: of the traced updates, by number; may grow.
        first_step: number of the first step.
        unit_window: horizon, in steps, of the dead-unit statistic.
        parts: where it is noted what fails, and is left out.

    Attributes:
        unit_sources: row with units -> row whose gradient shows which of them live.
        units: number of all units of these rows, one after the other.
        made: number of frames so far.
        left_out: rows of which nothing is measured, as that has failed.
    """

    def __init__(
        self,
        table: VariableTable,
        layouts: Mapping[int, Layout],
        first_step: int,
        unit_window: int,
        parts: Parts | None = None,
    ) -> None:
        self._parts = Parts() if parts is None else parts
        self.left_out: set[int] = set()
        self._table = table
        self._layouts = layouts
        self._window = Window(len(table.variables), layouts)
        self._lane = LaneBuffer(len(table.variables), first_step)
        self._first_step = first_step
        self._unit_window = unit_window
        self.unit_sources = _unit_sources(table)
        owners = [[row] * table.variables[row].units for row in self.unit_sources]
        self._unit_owner = np.array([row for rows in owners for row in rows], np.int64)
        self.units = self._unit_owner.size
        self.made = 0

    def add(self, first: int, rows: Any) -> None:
        """Take over the rows of steps before the next frame, from step ``first`` on."""
        self._window.add(first, rows)
        self._lane.add(lane_of(first, rows, self._layouts, len(self._table.variables)))

    def lane(self, step: int | None = None) -> Lane:
        """The dense lane up to a step, each block once; without a step all there is."""
        return self._lane.take(step)

    @np.errstate(all="ignore")  # 0 / 0 is how "not measured" comes about
    def frame(self, taken: Taken) -> Drained:
        """The frame of what was fetched."""
        measured = taken.measured
        contents, step = measured.contents, measured.step
        layout, count = contents.layout, len(self._table.variables)
        context = dict(zip(contents.columns, map(float, measured.context), strict=True))
        scale = context.get("loss_scale", 1.0)
        matrix = np.full((count, len(_STAT)), np.nan)  # float64, so that no square leaves the range
        run = self._parts.run
        if layout.samples:
            arrays = measured.pack, measured.numbers, scale, self._parts
            columns = run("the statistics", statistics.rows_of, layout, *arrays) or {}
            for name, values in columns.items():
                matrix[layout.rows, _STAT[name]] = values
        for number, row in enumerate(layout.sparse):
            try:
                matrix[row] = np.reshape(measured.sparse[2 * number], -1)
            except Exception as error:
                name = self._table.paths[row]
                self._parts.leave_out("the statistics of sparse gradients", error, name)
        nonfinite = matrix[:, _STAT["gradient_nan_count"]] + matrix[:, _STAT["gradient_inf_count"]]
        for rows in taken.rows:
            self.add(*rows)
        window, of_steps = self._window.take(step, nonfinite)
        self.made += 1
        unknown = np.full(count, np.nan)
        share = run("the share of dead units", self._dead_unit_share, step, measured.unit_age)
        window["dead_unit_share"] = unknown if share is None else share
        age = run("the age of dead units", self._dead_unit_age, measured.unit_age)
        seen = ~np.isnan(window["zero_step_share"])
        window["dead_unit_age"] = np.where(seen, unknown if age is None else age, np.nan)
        for name, values in window.items():
            matrix[:, _STAT[name]] = values
        matrix[sorted(self.left_out)] = np.nan
        for name, values in zip(contents.activations, measured.activations, strict=True):
            matrix[:, _STAT[name]] = values
        global_norm = _global_norm(matrix[:, _STAT["gradient_norm"]])
        applied = run("applied norms", _applied_norms, matrix, layout.clipping)
        matrix[:, _STAT["applied_norm"]] = np.nan if applied is None else applied
        vector = {
            "table_id": float(self._table.table_id),
            "unit_window": float(self._unit_window),
            "global_norm": global_norm,
            "loss_scale": 1.0,
            **of_steps,
            **context,
        }
        known = np.array([vector.get(name, np.nan) for name in _CONTEXT])
        histograms = functools.partial(self._histograms, measured, scale)
        return step, statistics.bounded(matrix), statistics.bounded(known), histograms

    @np.errstate(all="ignore")
    def rest(self, step: int, rows: Sequence[tuple[int, Any]]) -> Drained:
        """A frame of steps up to ``step`` of which only their rows are known.

        Args:
            step: the last of them.
            rows: of the steps since the frame before, with the step of the first of each.
        """
        for one in rows:
            self.add(*one)
        count = len(self._table.variables)
        matrix = np.full((count, len(_STAT)), np.nan)
        window, of_steps = self._window.take(step, np.ones(count))
        if (window["nonfinite_age"] >= 0).any():  # zeros are then what a NaN has left
            window["zero_step_share"] = np.full(count, np.nan)
        for name, values in window.items():
            matrix[:, _STAT[name]] = values
        vector = {"table_id": float(self._table.table_id), **of_steps}
        known = np.array([vector.get(name, np.nan) for name in _CONTEXT])

        def histograms() -> Any:
            return np.zeros((count, schema.HISTOGRAM_BINS), np.int32)

        return step, statistics.bounded(matrix), statistics.bounded(known), histograms

    def _dead_unit_share(self, step: int, unit_age: Any) -> Any:
        count = len(self._table.variables)
        if step - self._first_step + 1 < self._unit_window or not self.unit_sources:
            return np.full(count, np.nan)
        units = np.bincount(self._unit_owner, minlength=count)
        dead = np.bincount(self._unit_owner, unit_age >= self._unit_window, count)
        return np.where(units > 0, dead / np.maximum(units, 1), np.nan)

    def _dead_unit_age(self, unit_age: Any) -> Any:
        """For how many steps more than half of the units of each variable have been dead."""
        count = len(self._table.variables)
        units = np.bincount(self._unit_owner, minlength=count)
        idle = np.bincount(self._unit_owner, np.asarray(unit_age) > 0, count)
        result = np.where(units > 0, 0.0, np.nan)
        for row in np.flatnonzero(2 * idle > units):  # hardly any, of most models
            ages = np.asarray(unit_age)[self._unit_owner == row]
            result[row] = np.partition(ages, -(len(ages) // 2) - 1)[-(len(ages) // 2) - 1]
        return result

    def _histograms(self, measured: Measured, scale: float) -> Any:
        layout = measured.contents.layout
        counts = np.zeros((len(self._table.variables), schema.HISTOGRAM_BINS), np.int32)
        if layout.samples:
            counts[layout.rows] = statistics.histograms(layout, measured.pack[0], scale)
        for number, row in enumerate(layout.sparse):
            bins = statistics.bins_of(np.reshape(measured.sparse[2 * number + 1], -1))
            counts[row] = np.bincount(bins, minlength=schema.HISTOGRAM_BINS)
        return counts


def _unit_sources(table: VariableTable) -> dict[int, int]:
    """Row with units -> row whose gradient shows which of them live.

    A Dense or convolutional unit whose bias receives a non-zero gradient is alive, and the
    bias is hundreds of times smaller than the kernel: where a layer has one, it is asked.
    (A bias before normalisation has a zero gradient and can show nothing.)
    """
    biases = {
        (v.module, v.units): row
        for row, v in enumerate(table.variables)
        if v.role == "bias" and len(v.shape) == 1 and v.units and not v.analytically_zero
    }
    return {
        row: biases.get((v.module, v.units), row)
        for row, v in enumerate(table.variables)
        if v.role in ("kernel", "recurrent_kernel") and v.units > 1
    }


def _factor(limit: float, norms: Any) -> Any:
    """What a clip to ``limit`` multiplies gradients of these norms by; NaN: unknown."""
    with np.errstate(divide="ignore"):
        return np.where(np.isnan(norms), np.nan, np.minimum(1.0, limit / norms))


def _global_norm(norms: Any) -> float:
    """Norm of all measured gradients together."""
    known = norms[~np.isnan(norms)]
    return float(np.linalg.norm(known)) if known.size else float(np.nan)


def _applied_norms(matrix: Any, clipping: Mapping[str, float]) -> Any:
    """What Keras' clipping makes of the measured norms.

    Keras clips the rows of a sparse gradient as they are listed, and adds up repeated rows later.
    So the factor follows from the norm of the listed rows, which ``matrix`` has as the applied norm
    of a sparse gradient. (``findings/repeated_rows_clipping.sh`` shows it.)
    """
    norms, listed = matrix[:, _STAT["gradient_norm"]], matrix[:, _STAT["applied_norm"]]
    sparse = ~np.isnan(listed)
    clipped = np.where(sparse, listed, norms)
    if "clipnorm" in clipping:
        return norms * _factor(clipping["clipnorm"], clipped)
    if "global_clipnorm" in clipping:
        return norms * _factor(clipping["global_clipnorm"], np.array(_global_norm(clipped)))
    if "clipvalue" in clipping:  # the norm of clipped elements follows from no norm
        low, high = matrix[:, _STAT["gradient_min"]], matrix[:, _STAT["gradient_max"]]
        unclipped = (np.maximum(-low, high) <= clipping["clipvalue"]) & ~sparse
        return np.where(unclipped, norms, np.nan)
    if "per_replica" in clipping:  # each replica clips its own share, before they are summed
        return np.full(len(norms), np.nan)
    return norms
