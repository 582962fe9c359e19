"""The scale of inputs and targets: too large, too small, uneven, single ones far out.

In:  a window.
Out: causes with the observation that speaks for each, and fixes.
Does not know which rule asks.
"""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning import WORSE, named_loss
from tb_gradients.judging.learning_rates import ADAPTIVE
from tb_gradients.judging.window import Window

UNSCALED_INPUT = 30.0
"""Images in 0..255 and raw columns exceed it; standardised data (six sigmas) do not."""

DATA_OUT_OF_RANGE = (
    "bad_data:unscaled_inputs",
    "bad_data:input_outliers",
    "bad_data:loss_output_mismatch",
)
"""What the data may have done to the size of gradients and steps, as what a rule follows; the
last are targets that the output cannot reach."""

INPUT_NEEDS = ("inputs_max_abs", "inputs_mean", "inputs_std", "inputs_scale_ratio")

FAR_OUT = 100.0
"""Interquartile ranges: twice the extreme of 100,000 log-normal values (sigma 1)."""

UNEVEN_INPUTS = 1e3
"""Features whose scales differ so much: the small ones are lost in the sums of the large ones.
Standardised features differ by 3 within a batch, counts beside ratios by a few hundred."""


def scales_itself(table: VariableTable) -> bool:
    """Whether a layer scales the inputs, or they are no numbers but tokens."""
    facts = table.run.facts
    return "input_scaling" in facts or facts.get("first_layer") == "Embedding"


def _around(window: Window) -> str:
    mean, std = window.latest("inputs_mean"), window.latest("inputs_std")
    return f" (mean {mean:.3g}, standard deviation {std:.3g})" if math.isfinite(mean) else ""


def large_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if they are so large that sums, gradients and steps are."""
    extreme = window.latest("inputs_max_abs")
    if not extreme > UNSCALED_INPUT or scales_itself(window.table):
        return None
    told = f"the inputs reach magnitudes of {extreme:.3g}{_around(window)}"
    return cause("unscaled_inputs", confidence, f"{told}, and no layer scales them.")


MANY_FEATURES = 100
"""Inputs of the first kernel from which on they are no columns of a table, but pixels or words:
of so many some are next to never there, and none matters much."""


def uneven_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if single features are so small beside the others that they are lost."""
    ratio = window.latest("inputs_scale_ratio")
    if not ratio > UNEVEN_INPUTS or scales_itself(window.table):
        return None
    kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
    if kernels.size and window.rows.fan_in[kernels[0]] >= MANY_FEATURES:
        return None
    told = f"the scales of the input features differ by {ratio:.3g}{_around(window)}"
    return cause("unscaled_inputs", confidence, f"{told}, and no layer scales them.")


TINY_INPUT = 0.01
"""A hundredth of what is usual: pixels that were divided by 255 twice reach 0.004."""

ADAPTED = 400
"""Steps in which an optimizer whose step does not scale with the gradient makes up for it."""


def tiny_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if they are so small that the biases decide what every unit does.

    With plain SGD the gradient of the first kernel, and so its step, are as small; Adam and its
    kin move it all the same, and get there later.
    """
    if "input_scaling" in window.table.run.facts:
        return None
    if window.table.run.optimizer in ADAPTIVE and window.learning.steps < ADAPTED:
        return None
    extreme, std = window.latest("inputs_max_abs"), window.latest("inputs_std")
    if not (0 < extreme < TINY_INPUT and std > 0):
        return None
    told = f"no input is larger than {extreme:.2g} (standard deviation {std:.2g})"
    return cause("unscaled_inputs", confidence, f"{told}, and no layer scales them.")


def input_scale_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if the inputs are too large, too uneven or too small."""
    return (
        large_inputs_cause(window, confidence)
        or uneven_inputs_cause(window, confidence)
        or tiny_inputs_cause(window, confidence)
    )


UNSCALED_TARGET = 30.0
"""As of inputs: standardised targets do not reach it."""

FAR_TARGETS_NEEDS = ("targets_max_abs", "targets_mean", "predictions_min", "predictions_max")

FAR_TARGETS = {"squared": 10.0, "absolute": 3.0}
"""Loss over that of guessing, where the targets are three of their deviations away."""

NOT_REACHED = 0.1
"""Largest prediction over the targets' mean: a tenth of the way, in as many steps as it takes to
say that the loss stands still."""


def far_targets_cause(window: Window) -> Cause | None:
    """unscaled_targets, if the predictions are far from targets that are far from zero."""
    learning, extreme = window.learning, window.latest("targets_max_abs")
    times = FAR_TARGETS.get(named_loss(window.table), math.inf)
    if not extreme > UNSCALED_TARGET:
        return None
    reached = max(abs(window.latest("predictions_min")), abs(window.latest("predictions_max")))
    mean = window.context("targets_mean")
    mean = mean[np.isfinite(mean)]
    # They are still where they started, near zero, and a constant would be better by far.
    waited = learning.steps >= ADAPTED and not learning.hopeful and math.isfinite(times)
    if waited and mean.size and reached < NOT_REACHED * abs(float(np.median(mean))):
        times = WORSE
    if not learning.now > times * learning.guess:
        return None
    return cause(
        "unscaled_targets",
        0.8,
        f"the targets reach magnitudes of {extreme:.3g}; the loss is {learning.now:.3g}, that of "
        f"predicting their mean would be {learning.guess:.3g}.",
    )


def unscaled_targets_cause(window: Window) -> Cause | None:
    """unscaled_targets, if large targets make the gradient, and the step, as large."""
    if window.table.run.optimizer in ADAPTIVE or named_loss(window.table) != "squared":
        return None
    extreme = window.latest("targets_max_abs")
    if not extreme > UNSCALED_TARGET:
        return None
    confidence = min(0.5 + 0.1 * math.log10(extreme / UNSCALED_TARGET), 0.85)
    told = f"the targets reach magnitudes of {extreme:.3g}, and the gradient of "
    told += f"{window.table.run.loss} grows with them"
    return cause("unscaled_targets", confidence, f"{told}.")


SCALE_TARGETS = (
    "Scale the targets: `mean, std = y.mean(), y.std(); y = (y - mean) / std`, and predict with "
    "`model.predict(x) * std + mean`."
)

SINGLE_INPUT = 4.0
"""Times the RMS of a batch: at most one value in 16 can be as large, whatever the data. (One of 32
values reaches 5.7; the brightest pixels of handwriting, of which there are many, 3.)"""


def outlying(window: Window) -> FloatArray:
    """``inputs_outlier`` of each frame; 0 where the largest input is nothing special.

    Pixels of a drawing are a few hundred interquartile ranges from the median of theirs, where the
    pen hardly ever comes, and no larger than others. What is not larger than standardised data, or
    than many of its batch, cannot drive sums and gradients; only a layer that normalises the
    inputs feature by feature would make it so.
    """
    distance = window.context("inputs_outlier")
    if window.table.run.facts.get("input_scaling", "").endswith("Normalization"):
        return distance
    extreme = window.context("inputs_max_abs")
    size = np.hypot(window.context("inputs_mean"), window.context("inputs_std"))
    usual = (extreme <= UNSCALED_INPUT) | (extreme <= SINGLE_INPUT * size)
    return np.where(usual, 0.0, distance)


def outliers_cause(window: Window, confidence: float, frames: slice = slice(None)) -> Cause | None:
    """input_outliers, if a batch held values far outside of their feature's range."""
    distance = outlying(window)[frames]
    far = distance[distance > FAR_OUT]
    if not far.size:
        return None
    told = f"single inputs are up to {far.max():.3g} interquartile ranges from the median"
    return cause("input_outliers", confidence, f"{told} of their feature.")


KEEP_FINITE = (
    "keep = np.isfinite({data}).reshape(len({data}), -1).all(axis=1); x, y = x[keep], y[keep]"
)

CLIP_INPUTS = (
    "Clip the inputs per feature: `low, high = np.percentile(x, (1, 99), axis=0); "
    "x = np.clip(x, low, high)`, or use sklearn.preprocessing.RobustScaler."
)

SCALE_INPUTS = (
    "Scale the inputs: `scaler = keras.layers.Normalization(); scaler.adapt(x)` as the first "
    "layer, or `x = (x - x.mean(0)) / (x.std(0) + 1e-7)`; for images "
    "`keras.layers.Rescaling(1 / 255)`."
)
