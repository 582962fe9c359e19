"""Compute the statistics of a frame from what the device has measured, with NumPy.

In:  the elements of each variable's sample, and numbers of all elements of large variables.
Out: one row of statistics per variable.
Does not know about TensorFlow, schedules, files or rules.

Nothing here is traced or compiled, and all variables are reduced together: a frame costs some
sixty passes over the samples, however many variables there are. Sums are made in float64, in which
no square of a float32 leaves the range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.host.parts import Parts
from tb_gradients.host.sampling import NUMBERS, IntArray, Layout

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

SMALLEST_NORMAL = {"float16": 2.0**-14, "float64": 2.0**-1022}
"""Smallest normal number of a dtype; of all others, bfloat16 among them, it is float32's."""

_INFINITY = np.float32(np.inf).view(np.int32)
_LARGEST = float(np.finfo(np.float32).max)
_NUMBER = {name: i for i, name in enumerate(NUMBERS)}


def rows_of(
    layout: Layout, pack: Array, numbers: Array, scale: float, parts: Parts
) -> dict[str, Floats]:
    """Statistic -> one number per sample of the layout; NaN, or absent, is not measured.

    Args:
        pack: [3, elements of all samples]: gradients with the loss scale in them, weights after
            the step, and updates (all NaN: not known).
        numbers: [large samples, NUMBERS].
        scale: the loss scale; 1 without one.
        parts: where it is noted what fails, and is left out.
    """
    with np.errstate(all="ignore"):  # 0 / 0 is how "not measured" comes about
        gradient, weight, update = pack
        gradients = _Gradients(layout, gradient)
        kinds: dict[str, Callable[[], dict[str, Floats]]] = {
            "the statistics of gradients": lambda: _gradient_columns(gradients),
            "the spread over units": lambda: _spread_column(gradients),
            "the share of subnormal gradients": lambda: _subnormal_column(gradients),
            "the statistics of weights": lambda: _weight_columns(layout, weight),
            "the statistics of updates": lambda: _update_columns(
                layout, weight, update, gradients.driven
            ),
        }
        columns: dict[str, Floats] = {}
        for part, measure in kinds.items():
            columns.update(parts.run(part, measure) or {})
        if layout.large:
            _put_numbers(layout, columns, np.asarray(numbers, np.float64))
        for name in ("gradient_norm", "gradient_mean", "gradient_min", "gradient_max"):
            if name in columns:
                columns[name] = columns[name] / scale
        if "gradient_zero_share" in columns:
            zero_share = columns["gradient_zero_share"]
            all_zero = (zero_share == 1) & (columns["gradient_norm"] == 0)
            # One element that the sample has missed keeps a gradient from being all zero.
            below_one = np.minimum(zero_share, 1 - 1 / layout.elements)
            columns["gradient_zero_share"] = np.where(all_zero, 1.0, below_one)
    return columns


def bounded(values: Array) -> npt.NDArray[np.float32]:
    """float32, clipped to its range: Inf in a frame would read as an infinite element."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


class _Gradients:
    """The elements of all samples' gradients, and what several statistics are made of."""

    def __init__(self, layout: Layout, given: Array) -> None:
        self.layout, self.given = layout, given
        self.magnitude, self.infinity = _magnitude(given)

    @functools.cached_property
    def finite(self) -> Array:
        finite: Array = self.magnitude < self.infinity
        return finite

    @functools.cached_property
    def driven(self) -> Array:
        """Which elements are finite and not zero."""
        return (self.magnitude > 0) & self.finite

    @functools.cached_property
    def alive(self) -> Floats:
        return _count(self.driven, self.layout.starts)

    @functools.cached_property
    def _scaled(self) -> tuple[Any, Floats]:
        clean = self.given if self.finite.all() else np.where(self.finite, self.given, 0)
        return _in_units(clean, self.layout)

    @property
    def unit(self) -> Any:
        """Of each sample, in which its ``values`` are."""
        return self._scaled[0]

    @property
    def values(self) -> Floats:
        """The finite elements; 0 for the others."""
        return self._scaled[1]

    @functools.cached_property
    def square(self) -> Floats:
        """Sum of squares, per sample."""
        squares: Floats = np.add.reduceat(np.square(self.values), self.layout.starts)
        return squares

    @functools.cached_property
    def row_sums(self) -> Floats:
        """Of the rows of all samples."""
        sums: Floats = np.add.reduceat(self.values, self.layout.unit_rows[0])
        return sums


def _gradient_columns(gradients: _Gradients) -> dict[str, Floats]:
    starts, sizes = gradients.layout.starts, gradients.layout.sizes
    finite, low = gradients.finite, gradients.given
    broken = nans = np.zeros(len(sizes))
    high = low
    if not finite.all():
        broken = _count(~finite, starts)
        exact = low.dtype == np.float32
        nans = _count(gradients.magnitude > gradients.infinity if exact else np.isnan(low), starts)
        low, high = np.where(finite, low, np.inf), np.where(finite, low, -np.inf)
    known = sizes - broken
    total = np.add.reduceat(gradients.row_sums, gradients.layout.unit_rows[2])
    return {
        "gradient_norm": gradients.unit * np.sqrt(gradients.square),
        "gradient_mean": gradients.unit * total / known,
        "gradient_min": np.where(known == 0, np.nan, np.minimum.reduceat(low, starts)),
        "gradient_max": np.where(known == 0, np.nan, np.maximum.reduceat(high, starts)),
        "gradient_zero_share": (known - gradients.alive) / sizes,
        "gradient_nan_count": nans,
        "gradient_inf_count": broken - nans,
    }


def _spread_column(gradients: _Gradients) -> dict[str, Floats]:
    _, lengths, first_rows = gradients.layout.unit_rows
    # sum over units of (g - mean)**2 is sum of g**2 less units * mean**2
    common = np.add.reduceat(np.square(gradients.row_sums) / lengths, first_rows)
    spread = np.sqrt(np.maximum(gradients.square - common, 0) / gradients.square)
    return {"unit_spread": np.where(gradients.layout.has_units, spread, np.nan)}


def _magnitude(values: Array) -> tuple[Array, Any]:
    """Something that orders magnitudes, and what it is for infinity.

    Of float32 the bits: the processor may be set to take subnormal numbers for zero.
    """
    if values.dtype == np.float32:
        return values.view(np.int32) & np.int32(0x7FFFFFFF), _INFINITY
    return np.abs(values), np.inf


def _subnormal_column(gradients: _Gradients) -> dict[str, Floats]:
    """How many of the driven elements are below the smallest normal number of the compute dtype."""
    layout, magnitude = gradients.layout, gradients.magnitude
    smallest = [SMALLEST_NORMAL.get(dtype, 2.0**-126) for dtype in layout.compute_dtypes]
    bound: Array = np.array(smallest)
    if magnitude.dtype == np.int32:
        bound = bound.astype(np.float32).view(np.int32)
    each = bound[0] if (bound == bound[0]).all() else np.repeat(bound, layout.sizes)
    small = gradients.driven & (magnitude < each)
    count = _count(small, layout.starts) if small.any() else np.zeros(len(bound))
    return {"gradient_subnormal_share": count / gradients.alive}


def _in_units(values: Array, layout: Layout) -> tuple[Any, Floats]:
    """float64 values in units whose squares stay in its range, and the unit of each sample."""
    if values.dtype == np.float32:
        return 1.0, values.astype(np.float64)
    peak = np.maximum.reduceat(np.abs(values), layout.starts)
    unit = np.where(peak > 0, peak, 1.0)
    return unit, values / np.repeat(unit, layout.sizes)


def _norms(values: Array, layout: Layout) -> Floats:
    unit, scaled = _in_units(values, layout)
    norms: Floats = unit * np.sqrt(np.add.reduceat(np.square(scaled), layout.starts))
    return norms


def _weight_columns(layout: Layout, weight: Array) -> dict[str, Floats]:
    finite = np.isfinite(weight)
    broken = np.zeros(len(layout.sizes))
    if not finite.all():
        broken = _count(~finite, layout.starts)
        weight = np.where(finite, weight, 0)
    return {"weight_norm": _norms(weight, layout), "weight_nonfinite_count": broken}


def _update_columns(
    layout: Layout, weight: Array, update: Array, driven: Array
) -> dict[str, Floats]:
    finite = np.isfinite(update)
    if not finite.any():  # not known
        unknown = np.full(len(layout.sizes), np.nan)
        return dict.fromkeys(("update_norm", "unchanged_share", "lost_share"), unknown)
    known: Array = layout.sizes
    moved = update
    if not finite.all():
        # Inf that stayed Inf: not a number by subtraction, but unchanged.
        still = np.isnan(update) & np.isinf(weight)
        update, finite = np.where(still, 0, update), finite | still
        moved, known = np.where(finite, update, 0), _count(finite, layout.starts)
    norm = _norms(moved, layout)
    # Of a sample: the norm of all, if they are like the sample's finite ones.
    norm = np.where(layout.is_large, norm * np.sqrt(layout.elements / known), norm)
    unchanged = update == 0
    lost = _count(unchanged & driven, layout.starts)
    return {
        "update_norm": norm,
        "unchanged_share": _count(unchanged, layout.starts) / layout.sizes,
        "lost_share": lost / _count(driven, layout.starts),  # 0 / 0: nothing drives
    }


def _put_numbers(layout: Layout, columns: dict[str, Floats], numbers: Floats) -> None:
    """Of large variables, what is known of all elements."""
    large = layout.is_large

    def number(name: str) -> Floats:
        values: Floats = numbers[:, _NUMBER[name]]
        return values

    nans, infinities = number("gradient_nans"), number("gradient_infinities")
    finite = layout.elements[large] - nans - infinities
    none = finite == 0
    exact = {
        "gradient_norm": number("gradient_norm"),
        "gradient_mean": number("gradient_sum") / finite,
        "gradient_min": np.where(none, np.nan, number("gradient_min")),
        "gradient_max": np.where(none, np.nan, number("gradient_max")),
        "gradient_nan_count": nans,
        "gradient_inf_count": infinities,
        "weight_norm": number("weight_norm"),
        "weight_nonfinite_count": number("weight_nonfinite"),
    }
    for name, values in exact.items():
        if name in columns:
            columns[name] = columns[name].astype(np.float64)
            columns[name][large] = values
    if "update_norm" in columns:
        update, norms = number("update_norm"), columns["update_norm"].copy()
        norms[large] = np.where(np.isfinite(update), update, norms[large])
        columns["update_norm"] = norms


def _count(condition: Array, starts: IntArray) -> Floats:
    counts: Floats = np.add.reduceat(condition, starts, dtype=np.int64).astype(np.float64)
    return counts


def histograms(layout: Layout, gradient: Array, scale: float) -> npt.NDArray[np.int32]:
    """int32 [samples, bins] counts of the samples' gradients, without the loss scale."""
    with np.errstate(all="ignore"):
        values = gradient if scale == 1 else gradient / gradient.dtype.type(scale)
        if values.dtype != np.float32:  # beyond float32 is large, not infinite
            values = np.where(np.isfinite(values), bounded(values), values).astype(np.float32)
    index = layout.owners * schema.HISTOGRAM_BINS + bins_of(values)
    counts = np.bincount(index, minlength=len(layout.samples) * schema.HISTOGRAM_BINS)
    return counts.reshape(-1, schema.HISTOGRAM_BINS).astype(np.int32)


_MANTISSA_BITS = 23
_LOWEST = (127 + schema.HISTOGRAM_LOWEST_EXPONENT) << _MANTISSA_BITS


def bins_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """The histogram bin of every element.

    The exponent field of a float32 *is* floor(log2 |x|) + 127, so the bin is read off the bits.
    """
    bits = np.ascontiguousarray(values).view(np.int32)
    magnitude = bits & np.int32(0x7FFFFFFF)
    negative = bits < 0
    octave = (magnitude - np.int32(_LOWEST)) >> np.int32(_MANTISSA_BITS)
    np.clip(octave, 0, schema.HISTOGRAM_OCTAVES - 1, out=octave)
    first = np.where(negative, np.int32(schema.BIN_NEGATIVE), np.int32(schema.BIN_POSITIVE))
    index: npt.NDArray[np.int32] = octave + first
    index[magnitude == 0] = schema.BIN_ZERO
    beyond = magnitude >= _INFINITY
    if beyond.any():
        index[beyond] = np.where(
            magnitude[beyond] > _INFINITY,
            schema.BIN_NAN,
            np.where(negative[beyond], schema.BIN_NEGATIVE_INF, schema.BIN_POSITIVE_INF),
        )
    return index
