"""The scale of inputs and targets: too large, too small, uneven, with outliers.

In:  a window.
Out: causes with the observation that supports each, and fixes.
Does not know which rule asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning import WORSE, named_loss
from tb_gradients.judging.learning_rates import ADAPTIVE
from tb_gradients.judging.window import Window

UNSCALED_INPUT = 30.0
"""Images in 0..255 and raw columns exceed it; standardised data (six sigmas) do not."""

SCALING = "input_scaling"
"""Fact of a run whose first layer scales the inputs: the class of that."""

NEGATIVE = "scaling_variance"
"""Fact of a run whose Normalization holds a variance below zero: the smallest one."""

DATA_OUT_OF_RANGE = (
    "bad_data:unscaled_inputs",
    "bad_data:input_outliers",
    "bad_data:loss_output_mismatch",
)
"""What rules on the size of gradients and steps follow if the data are the reason; the last
entry is for targets that the output cannot reach."""

OF_ALL_SAMPLES = (
    "constant_inputs",
    "constant_targets",
    "loss_output_mismatch",
    "nonfinite_inputs",
    "nonfinite_targets",
    "unscaled_inputs",
)
"""What may be wrong with the data but single extreme samples."""

INPUT_NEEDS = (
    "inputs_max_abs",
    "inputs_mean",
    "inputs_std",
    "inputs_scale_ratio",
    "inputs_scaled_max_abs",
    "inputs_scaled_nonfinite",
    "inputs_nonfinite",
)

FAR_OUT = 100.0
"""Interquartile ranges: twice the extreme of 100,000 log-normal values (sigma 1)."""

UNEVEN_INPUTS = 1e3
"""If scales of features differ by more, the small ones are lost in sums with the large ones.
Standardised features differ by 3 within a batch, counts and ratios by a few hundred."""


def before_any_update(follows: Iterable[str]) -> tuple[str, ...]:
    """The rules that explain units without a gradient, where they had none at the first step: then
    no sample gave them one, and a few extreme ones are not the reason."""
    other = [rule for rule in follows if rule != "bad_data"]
    return (*other, *(f"bad_data:{kind}" for kind in OF_ALL_SAMPLES))


def scales_itself(table: VariableTable) -> bool:
    """Whether a layer scales the inputs, or they are tokens."""
    facts = table.run.facts
    return SCALING in facts or facts.get("first_layer") == "Embedding"


def _around(window: Window) -> str:
    mean, std = window.latest("inputs_mean"), window.latest("inputs_std")
    return f" (mean {mean:.3g}, standard deviation {std:.3g})" if math.isfinite(mean) else ""


def large_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if they are so large that sums, gradients and steps become large."""
    extreme = window.latest("inputs_max_abs")
    if scales_itself(window.table):
        return scaled_badly_cause(window, confidence)
    if not extreme > UNSCALED_INPUT:
        return None
    text = f"the inputs reach magnitudes of {extreme:.3g}{_around(window)}"
    return cause("unscaled_inputs", confidence, f"{text}, and no layer scales them.")


LOOK_BEHIND_SCALING = (
    "Look at what leaves the first layer: `print(np.abs(model.layers[0](x)).max(axis=0))`. Adapt "
    "it to the data of the training, and drop columns that are constant there: their variance is 0."
)


SCALED_INPUT = 1000.0
"""Standard deviations from the mean of a million numbers that one of them can have at most: a
Normalization that has seen the data gives less."""


def scaled_badly_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if what leaves the layer that scales the inputs is far from 1, or NaN."""
    facts = window.table.run.facts
    layer = facts.get(SCALING, "")
    if NEGATIVE in facts:
        text = f"the variance that {layer} holds is {facts[NEGATIVE]} in a column: negative"
        return cause("unscaled_inputs", 0.97, f"{text}.")
    count = float(np.nanmax(np.append(window.context("inputs_scaled_nonfinite"), 0.0)))
    before = float(np.nanmax(np.append(window.context("inputs_nonfinite"), 0.0)))
    if count > before:
        text = f"the first layer ({layer}) makes {count:.0f} elements of finite inputs NaN or Inf"
        return cause("unscaled_inputs", 0.95, f"{text}.")
    extreme = window.latest("inputs_scaled_max_abs")
    limit = UNSCALED_INPUT if layer == "Rescaling" else SCALED_INPUT
    if not extreme > limit:
        return None
    text = f"what leaves the first layer ({layer}) reaches magnitudes of {extreme:.3g}"
    if layer == "Normalization":
        text += ": its statistics are not those of this data, or a column was constant there"
    return cause("unscaled_inputs", max(confidence, 0.9), f"{text}.")


def bad_scaling_cause(window: Window) -> Cause | None:
    """unscaled_inputs, if a layer scales the inputs and the loss is absurd all the same."""
    layer = window.table.run.facts.get(SCALING)
    if layer is None or window.was_seen("inputs_scaled_max_abs"):
        return None
    text = (
        f"the first layer ({layer}) scales the inputs, and what leaves it may be far from 1: a "
        "column that was constant when its statistics were taken is divided by 1e-7"
    )
    return cause("unscaled_inputs", 0.6, f"{text}.")


MANY_FEATURES = 100
"""From so many inputs of the first kernel on they are pixels or words rather than columns of a
table: some occur almost never, and none matters much."""


def uneven_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if features are so small compared with others that they are lost."""
    ratio = window.latest("inputs_scale_ratio")
    if not ratio > UNEVEN_INPUTS or scales_itself(window.table):
        return None
    kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
    if kernels.size and window.rows.fan_in[kernels[0]] >= MANY_FEATURES:
        return None
    text = f"the scales of the input features differ by {ratio:.3g}{_around(window)}"
    return cause("unscaled_inputs", confidence, f"{text}, and no layer scales them.")


TINY_INPUT = 0.01
"""A hundredth of the usual scale: pixels that were divided by 255 twice reach 0.004."""

ADAPTED = 400
"""Steps in which optimizers whose steps do not scale with the gradient compensate for it."""


def tiny_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if they are so small that the biases decide what every unit does.

    With plain SGD the gradient and the step of the first kernel are as small. Adam and similar
    optimizers move it anyway, only later.
    """
    if SCALING in window.table.run.facts:
        return None
    if window.table.run.optimizer in ADAPTIVE and window.learning.steps < ADAPTED:
        return None
    extreme, std = window.latest("inputs_max_abs"), window.latest("inputs_std")
    if not (0 < extreme < TINY_INPUT and std > 0):
        return None
    text = f"no input is larger than {extreme:.2g} (standard deviation {std:.2g})"
    return cause("unscaled_inputs", confidence, f"{text}, and no layer scales them.")


def input_scale_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if the inputs are too large, too uneven or too small."""
    return (
        large_inputs_cause(window, confidence)
        or uneven_inputs_cause(window, confidence)
        or tiny_inputs_cause(window, confidence)
    )


UNSCALED_TARGET = 30.0
"""As for inputs: standardised targets do not reach it."""

FAR_TARGETS_NEEDS = ("targets_max_abs", "targets_mean", "predictions_min", "predictions_max")

FAR_TARGETS = {"squared": 10.0, "absolute": 3.0}
"""Loss over that of a constant prediction, if targets are three standard deviations away."""

NOT_REACHED = 0.1
"""Largest prediction over the mean target: a tenth of the way, in as many steps as a loss needs
to be judged."""


def far_targets_cause(window: Window) -> Cause | None:
    """unscaled_targets, if the predictions are far from targets that are far from zero."""
    learning, extreme = window.learning, window.latest("targets_max_abs")
    times = FAR_TARGETS.get(named_loss(window.table), math.inf)
    if not extreme > UNSCALED_TARGET:
        return None
    reached = max(abs(window.latest("predictions_min")), abs(window.latest("predictions_max")))
    mean = window.context("targets_mean")
    mean = mean[np.isfinite(mean)]
    # The predictions are still near zero, where they started; a constant would be far better.
    waited = learning.steps >= ADAPTED and not learning.hopeful and math.isfinite(times)
    if waited and mean.size and reached < NOT_REACHED * abs(float(np.median(mean))):
        times = WORSE
    if not learning.now > times * learning.guess:
        return None
    return cause(
        "unscaled_targets",
        0.8,
        f"the targets reach magnitudes of {extreme:.3g}; the loss is {learning.now:.3g}, and "
        f"{learning.guess:.3g} for a constant prediction.",
    )


def unscaled_targets_cause(window: Window) -> Cause | None:
    """unscaled_targets, if large targets make gradient and step as large."""
    if window.table.run.optimizer in ADAPTIVE or named_loss(window.table) != "squared":
        return None
    extreme = window.latest("targets_max_abs")
    if not extreme > UNSCALED_TARGET:
        return None
    confidence = min(0.5 + 0.1 * math.log10(extreme / UNSCALED_TARGET), 0.85)
    text = f"the targets reach magnitudes of {extreme:.3g}, and the gradient of "
    text += f"{window.table.run.loss} grows with them"
    return cause("unscaled_targets", confidence, f"{text}.")


SCALE_TARGETS = (
    "Scale the targets: `mean, std = y.mean(), y.std(); y = (y - mean) / std`, and predict with "
    "`model.predict(x) * std + mean`."
)

SINGLE_INPUT = 4.0
"""Times the RMS of a batch: at most one value in 16 can be as large, for any data. (A single one
of 32 values reaches 5.7; the many bright pixels of handwriting reach 3.)"""


def outlying(window: Window) -> FloatArray:
    """``inputs_outlier`` of each frame; 0 if the largest input is not unusual.

    A pixel that a drawing rarely uses may be hundreds of interquartile ranges from its median
    without being larger than other pixels. A value that is no larger than standardised data, or
    than many others of its batch, does not dominate sums and gradients, unless a layer normalises
    the inputs feature by feature.
    """
    distance = window.context("inputs_outlier")
    if window.table.run.facts.get(SCALING, "").endswith("Normalization"):
        return distance
    extreme = window.context("inputs_max_abs")
    size = np.hypot(window.context("inputs_mean"), window.context("inputs_std"))
    usual = (extreme <= UNSCALED_INPUT) | (extreme <= SINGLE_INPUT * size)
    return np.where(usual, 0.0, distance)


def outliers_cause(window: Window, confidence: float, frames: slice = slice(None)) -> Cause | None:
    """input_outliers, if a batch held values far outside the range of their feature."""
    distance = outlying(window)[frames]
    far = distance[distance > FAR_OUT]
    if not far.size:
        return None
    text = f"single inputs are up to {far.max():.3g} interquartile ranges from the median"
    return cause("input_outliers", confidence, f"{text} of their feature.")


KEEP_FINITE = (
    "keep = np.isfinite({data}).reshape(len({data}), -1).all(axis=1); x, y = x[keep], y[keep]"
)

CLIP_INPUTS = (
    "Clip the inputs per feature: `low, high = np.percentile(x, (1, 99), axis=0); "
    "x = np.clip(x, low, high)`, or use sklearn.preprocessing.RobustScaler."
)


def scale_inputs(table: VariableTable) -> str:
    """What to change where the inputs are not scaled, or a layer scales them badly."""
    return LOOK_BEHIND_SCALING if scales_itself(table) else SCALE_INPUTS


SCALE_INPUTS = (
    "Scale the inputs: `scaler = keras.layers.Normalization(); scaler.adapt(x)` as the first "
    "layer, or `x = (x - x.mean(0)) / (x.std(0) + 1e-7)`; for images "
    "`keras.layers.Rescaling(1 / 255)`."
)
