"""Numbers that 16 bits cannot hold: gradients below float16, an optimizer's averages.

In:  a window.
Out: causes with the observation that supports each, and fixes.
Does not know which rule asks.
"""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning_rates import ADAPTIVE
from tb_gradients.judging.window import BoolArray, Window

COARSE = 1e-4
"""Half the spacing of float16 (5e-4) and bfloat16 (4e-3) is above this, of float32 far below."""

MIXED = (
    "Keep variables and optimizer in float32: "
    '`keras.mixed_precision.set_global_policy("mixed_float16")` still computes in float16.'
)


def coarse_moments_cause(window: Window) -> Cause | None:
    """low_precision, if an adaptive optimizer keeps its averages in float16."""
    halves = [v for v in window.table.variables if v.dtype == "float16"]
    if not halves or window.table.run.optimizer not in ADAPTIVE:
        return None
    return cause(
        "low_precision",
        0.85,
        f"{window.table.run.optimizer} keeps its averages in float16, like the variables "
        f"({halves[0].path}): squares of gradients below 2e-4 become zero, and the step is then "
        "divided by epsilon, which is nearly zero too.",
    )


WIDER = (
    "Scale the loss: wrap the optimizer in `keras.optimizers.LossScaleOptimizer`, or use "
    '`keras.mixed_precision.set_global_policy("mixed_bfloat16")`.'
)


def underflow_cause(window: Window) -> Cause | None:
    """low_precision, if the remaining gradients are below the range of float16."""
    share = window.statistic("gradient_subnormal_share")[-1]
    narrow = np.array(
        [v.facts.get("compute_dtype", v.dtype) == "float16" for v in window.table.variables], bool
    )
    if not narrow.any() or window.latest("loss_scale") > 1:
        return None
    low = narrow & window.rows.judged & (share > 0.5)
    if not low.any():
        return _all_underflown(window, narrow)
    row = int(np.flatnonzero(low)[-1])
    return cause(
        "low_precision",
        0.85,
        f"{share[row]:.0%} of the gradient of {window.table.paths[row]} is below 6e-5, the normal "
        "range of float16, without a loss scale: still smaller values become zero.",
    )


FLOAT16_SMALLEST = 2.0**-24
"""The smallest positive float16: 6e-8."""


def _all_underflown(window: Window, narrow: BoolArray) -> Cause | None:
    """The same, if float16 layers get only zeros and float32 layers less than float16 can hold."""
    size = window.statistic("gradient_norm")[-1] / np.sqrt(window.rows.elements)
    left = window.rows.judged & (size > 0)
    if not left.any() or (left & narrow).any() or size[left].max() >= FLOAT16_SMALLEST:
        return None
    row = int(np.flatnonzero(left)[-1])
    return cause(
        "low_precision",
        0.85,
        f"elements of the gradient of {window.table.paths[row]} are around {size[row]:.1e}; "
        "float16 has nothing below 6e-8, and there is no loss scale.",
    )


ROOM = 256.0
"""The square of a larger number is beyond 65504, where float16 ends."""

HALF_NEEDS = ("inputs_max_abs", "targets_max_abs", "loss_max")

LARGER_CONSTANT = (
    "In a float16 layer use an epsilon of 1e-4 or more, or let this layer compute in float32: "
    '`dtype="float32"`.'
)


def vanished_constant_cause(window: Window) -> Cause | None:
    """numeric_underflow, if a layer computes in float16 and all that was seen is far from its
    largest number."""
    variables = window.table.variables
    if not any(v.facts.get("compute_dtype", v.dtype) == "float16" for v in variables):
        return None
    if not window.was_seen("inputs_max_abs"):
        return None
    seen = np.concatenate([window.context(name) for name in HALF_NEEDS])
    extreme = float(np.abs(seen[np.isfinite(seen)]).max(initial=0.0))
    if extreme > ROOM:
        return None
    return cause(
        "numeric_underflow",
        0.7,
        f"nothing that was seen is larger than {extreme:.3g}, and float16 ends at 65504; but it "
        "has nothing below 6e-8: a constant such as an epsilon of 1e-12 is 0 in a float16 layer, "
        "and 0 / 0 or log(0) follows.",
    )


def uses_loss_scale(window: Window) -> bool:
    """Whether the loss is scaled, or steps are skipped because of their gradients."""
    return bool(window.of_each_frame(_scaled).any())


def _scaled(window: Window, frames: slice) -> BoolArray:
    """bool [frames]: where its loss is scaled, or steps up to it were skipped."""
    scale, skips = window.context("loss_scale")[frames], window.context("skipped_steps")[frames]
    scaled: BoolArray = (np.isfinite(scale) & (scale != 1)) | (skips > 0)
    return scaled


def scale_ends(scale: float) -> str:
    """What a falling scale ends in, as a sentence; "" while it is far from it.

    float32 ends at 2 ** -149: half of that is 0, and Keras halves without a lower limit.
    """
    if scale == 0:
        return " At a scale of 0 every gradient is divided by 0: the weights become Inf or NaN."
    if not 0 < scale < 1:
        return ""
    left = int(math.log2(scale)) + 150
    return (
        f" Keras halves it without a lower limit: after {left} more skipped steps it is 0, and the "
        "first step that is not skipped then makes every weight Inf or NaN."
    )
