"""The statistics of one gradient, computed slowly and plainly: what the device must agree with.

In:  one variable's gradient, and its weights before and after the step, as NumPy arrays.
Out: ``reference_row``: every step-scoped statistic of ``schema.STATISTICS`` by name.
Does not know about TensorFlow, tables, frames or rules.

Everything is float64 and written as the schema says it; nothing is shared with the package.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

NAN = math.nan


def reference_row(
    gradient: npt.ArrayLike | None,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    unit_axis: int = -1,
    applied: npt.ArrayLike | None = None,
    smallest_normal: float = 2.0**-126,
    scale: float = 1.0,
) -> dict[str, float]:
    """One row of a frame: all statistics that speak of the frame's own step.

    Args:
        gradient: unscaled and before clipping; None where the loss does not depend on it.
        before, after: the weights around the step.
        unit_axis: the axis of output units; -1 for none.
        applied: the gradient that reached the update rule; by default the gradient itself.
        smallest_normal: of the dtype in which the layer computes.
        scale: the loss scale that the gradient had on the way back.
    """
    before, after = np.asarray(before), np.asarray(after)
    row = dict.fromkeys(_NAMES, NAN)
    row["weight_norm"] = norm(after)
    row["weight_nonfinite_count"] = float((~np.isfinite(np.float64(after))).sum())
    with np.errstate(invalid="ignore"):  # Inf - Inf is NaN, and no part of a norm
        row["update_norm"] = norm(np.float64(after) - np.float64(before))
    row["unchanged_share"] = float(np.mean(after == before))
    if gradient is None:
        return row
    gradient = np.asarray(gradient)
    finite = gradient[np.isfinite(gradient)].astype(np.float64)
    row["gradient_norm"] = norm(gradient)
    row["applied_norm"] = norm(gradient if applied is None else np.asarray(applied))
    if finite.size:
        row["gradient_mean"] = float(finite.mean())
        row["gradient_min"] = float(finite.min())
        row["gradient_max"] = float(finite.max())
    row["gradient_zero_share"] = float(np.mean(gradient == 0))
    row["gradient_nan_count"] = float(np.isnan(gradient).sum())
    row["gradient_inf_count"] = float(np.isinf(gradient).sum())
    driven = np.isfinite(gradient) & (gradient != 0)
    if driven.any():
        row["lost_share"] = float(np.mean((after == before)[driven]))
        magnitudes = np.abs(np.float64(gradient[driven])) * scale
        row["gradient_subnormal_share"] = float(np.mean(magnitudes < smallest_normal))
    if unit_axis >= 0 and gradient.shape[unit_axis] > 1:
        row["unit_spread"] = unit_spread(gradient, unit_axis)
    return row


_NAMES = (
    "gradient_norm",
    "gradient_mean",
    "gradient_min",
    "gradient_max",
    "gradient_zero_share",
    "gradient_nan_count",
    "gradient_inf_count",
    "applied_norm",
    "weight_norm",
    "weight_nonfinite_count",
    "update_norm",
    "unchanged_share",
    "lost_share",
    "unit_spread",
    "gradient_subnormal_share",
)


def norm(array: npt.ArrayLike) -> float:
    """L2 norm over the finite elements."""
    values = np.asarray(array, np.float64)
    return float(np.sqrt(np.sum(np.square(values[np.isfinite(values)]))))


def unit_spread(gradient: npt.NDArray[np.floating], unit_axis: int) -> float:
    """Deviation from the mean over units, relative to the norm; NaN for a gradient of zero."""
    gradient = gradient.astype(np.float64)
    values = np.where(np.isfinite(gradient), gradient, 0)
    whole = norm(values)
    if whole == 0:
        return NAN
    return norm(values - values.mean(axis=unit_axis, keepdims=True)) / whole


def dead_units(gradient: npt.NDArray[np.float64], unit_axis: int) -> npt.NDArray[np.bool_]:
    """Per output unit: whether its whole gradient is zero in this step."""
    others = tuple(axis for axis in range(gradient.ndim) if axis != unit_axis)
    return np.asarray((gradient == 0).all(axis=others))
