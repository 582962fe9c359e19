"""Evidence that several rules share: names, initial values, activations, scales of the data, steps.

In:  a window and rows of it.
Out: causes with the observation that speaks for each, and concrete fixes.
Does not know which rule asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray, Variable, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning import WORSE, named_loss
from tb_gradients.judging.window import BoolArray, Window

SATURATING = frozenset({"sigmoid", "tanh", "softmax", "hard_sigmoid", "hard_tanh", "softsign"})
RELU = frozenset({"relu", "relu6"})
"""Slope exactly zero on one side: units can die. (Leaky and smooth variants cannot.)"""

CONSTANT_INITIALIZERS = frozenset({"zeros", "ones", "constant"})

USUAL_LEARNING_RATE = {
    "SGD": 1e-2,
    "Adam": 1e-3,
    "AdamW": 1e-3,
    "Adamax": 1e-3,
    "Nadam": 1e-3,
    "RMSprop": 1e-3,
    "Adagrad": 1e-2,
    "Adadelta": 1.0,
    "Ftrl": 1e-3,
    "Lion": 1e-4,
    "Lamb": 1e-3,
    "Adafactor": 1e-3,
    "Muon": 1e-3,
}
"""Keras' defaults. Good values lie within a factor of 100 of these for nearly every model.

But for two whose default of 1e-3 in Keras is not what their authors and other frameworks use:
Adadelta's steps have the size of the weights' last ones, times 1.0 (Zeiler 2012); Adagrad's only
shrink, from 1e-2 (Duchi, Hazan, Singer 2011; the default of PyTorch and of TensorFlow 1).
"""

ADAPTIVE = frozenset(
    {"Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lion", "Lamb"}
    | {"Adafactor", "Ftrl"}
)
"""Optimizers whose step does not scale with the gradient: clipping hardly changes theirs."""

ADAPTIVE_EPSILON = 1e-7
"""Keras' epsilon of Adam and its relatives: gradients far below it are no longer normalised."""

UNSCALED_INPUT = 30.0
"""Images in 0..255 and raw columns exceed it; standardised data (six sigmas) do not."""


def optimizer_name(table: VariableTable) -> str:
    """The optimizer for use in a sentence or in code."""
    return table.run.optimizer or "the optimizer"


def usual_learning_rate(table: VariableTable) -> float:
    """The optimizer's default learning rate, 1e-3 for one we do not know."""
    return USUAL_LEARNING_RATE.get(table.run.optimizer, 1e-3)


def names(table: VariableTable, rows: Sequence[int] | Iterable[int], limit: int = 3) -> str:
    """Paths as words: ``a, b, c and 4 more``."""
    paths = [table.paths[int(row)] for row in rows]
    if len(paths) <= limit:
        return " and ".join(part for part in (", ".join(paths[:-1]), *paths[-1:]) if part)
    return f"{', '.join(paths[:limit])} and {len(paths) - limit} more"


def layer(variable: Variable) -> str:
    """The layer of a variable, in the words of its path."""
    return variable.path.rpartition("/")[0] or variable.path


def layers_of(variables: Sequence[Variable], limit: int = 3) -> str:
    """Their layers as words: ``a, b and c``, or ``a to f`` where there are more."""
    found = list(dict.fromkeys(layer(v) for v in variables))
    if len(found) > limit:
        return f"{found[0]} to {found[-1]}"
    return " and ".join(part for part in (", ".join(found[:-1]), *found[-1:]) if part)


def plural(count: int, noun: str) -> str:
    """``1 variable``, ``2 variables``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's', 'x')) else 's'}"


def activation(variable: Variable) -> str:
    return variable.activation.lower()


def plain(initializer: str) -> str:
    """An initializer's class name without case and underscores: zeros, glorotuniform."""
    return initializer.lower().replace("_", "")


EQUAL = 1e-6
"""Spread over RMS of numbers that differ by rounding alone."""


def starts_constant(variable: Variable) -> bool:
    """Whether all elements are known to have started at one value: as measured, or by name."""
    spread = variable.facts.get("initial_spread")
    if spread is not None:  # a constant initializer may hold an array; weights may be assigned
        return float(spread) < EQUAL
    return plain(variable.initializer) in CONSTANT_INITIALIZERS or (
        not variable.initializer and variable.initial_rms == 0
    )


def starts_random(variable: Variable) -> bool:
    """Whether the elements are known to have started at different values."""
    return bool(variable.initializer) and not starts_constant(variable)


def initializer_for(variable: Variable) -> str:
    """The initializer that fits the layer's activation."""
    return "he_normal" if "relu" in activation(variable) else "glorot_uniform"


def is_vector(variable: Variable) -> bool:
    """A vector that no layer is known to hold: by hand a bias or a scale, and no weight."""
    return variable.role == "other" and len(variable.shape) == 1


def initialization_cause(table: VariableTable, rows: Iterable[int]) -> Cause | None:
    """zero_initialization or constant_initialization, if a weight in ``rows`` shows it."""
    suspects = [
        table.variables[int(row)]
        for row in rows
        if table.variables[int(row)].role in ("kernel", "recurrent_kernel", "embedding", "other")
        and table.variables[int(row)].elements > 1
        and not is_vector(table.variables[int(row)])
        and starts_constant(table.variables[int(row)])
    ]
    if not suspects:
        return None
    first = suspects[0]
    told = f"initializer {first.initializer}" if first.initializer else "no initializer is known"
    if first.initial_rms == 0:
        return cause(
            "zero_initialization", 0.95, f"{first.path} starts at zero everywhere ({told})."
        )
    return cause(
        "constant_initialization",
        0.95,
        f"all elements of {first.path} start at {first.initial_rms:.3g} ({told}).",
    )


def start_at_random(variables: Iterable[Variable]) -> str:
    """What to change where weights start at one value: each of the layers with its initializer."""
    suspects = [v for v in variables if v.role != "bias" and starts_constant(v)]
    chosen = {layer(v): initializer_for(v) for v in suspects}
    listed = [
        f'{name} at random: `kernel_initializer="{how}"`' for name, how in list(chosen.items())[:3]
    ]
    return f"Start {', '.join(listed)}." if listed else "Start the weights at random."


# --- Causes that several rules give ---------------------------------------------------------

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


def settings_of(table: VariableTable) -> dict[str, float]:
    """The optimizer's numeric settings that are set."""
    found = {}
    for name, text in table.run.optimizer_config.items():
        try:
            found[name] = float(text)
        except ValueError:
            continue
    return found


BATCH_NEEDS = ("inputs_std", "inputs_constant_share", "targets_mean", "targets_std")


def batch_of_one_cause(window: Window, variables: Iterable[Variable]) -> Cause | None:
    """batch_of_one, if every batch is one sample and a batch normalisation follows."""
    normalised = [
        v
        for v in variables
        if v.layer_class == "Dense" and v.facts.get("followed_by") == "BatchNormalization"
    ]
    if not normalised:
        return None
    # One row has no spread to be measured; and a single target none at all, whatever it is.
    one_row = np.isfinite(window.context("inputs_std"))
    one_row &= np.isnan(window.context("inputs_constant_share"))
    spread, level = window.context("targets_std"), window.context("targets_mean")
    known = np.isfinite(spread)
    one_target = known.any() and not spread[known].any() and np.ptp(level[known]) > 0
    if not one_row.all() and not one_target:
        return None
    told = f"each batch is one sample, and {layer(normalised[-1])} is followed by "
    told += "BatchNormalization"
    return cause("batch_of_one", 0.9, f"{told}: less its own mean that is zero.")


LARGER_BATCHES = (
    "Use batches of more than one sample (`batch_size=32`), or "
    "`keras.layers.LayerNormalization()` instead of BatchNormalization."
)

MANY_UNITS = 16
"""Random units of which all are off at birth: one layer in 65,000."""


def nothing_comes_back(window: Window, silent: BoolArray) -> bool:
    """Whether the last layer without gradient gets none from the loss, whatever its own slope,
    while layers before it get one on another way.

    The gradient of a bias is the error that comes back, times the slope of the layer's own
    activation. So it is zero by no dead unit of the layers before: of a layer without
    activation, or of an output that is not cut off, it means that the loss ignores the layer.
    The same holds for a layer that starts at random and has been silent from the first step on.

    Args:
        silent: bool [variables]; those whose gradient is exactly zero.
    """
    rows, variables = window.rows, window.table.variables
    kernels = np.flatnonzero(rows.judged & rows.kernel & silent)
    if not kernels.size:
        return False
    last = int(kernels[-1])
    bias, variable = int(rows.bias_of[last]), variables[last]
    if bias < 0 or not silent[bias]:
        return False
    if not (rows.judged & rows.kernel & ~silent)[:last].any():
        return False  # what is cut off from the inputs on is cut off by what stands behind it
    name = activation(variable)
    if name not in RELU | SATURATING:
        return variable.layer_class == "Dense"
    if name not in RELU:
        return not variable.facts.get("followed_by")
    never = not window.largest("gradient_norm")[last] > 0
    return (
        never
        and variable.units >= MANY_UNITS
        and starts_random(variable)
        and not rows.initial_rms[bias] > 0
    )


TURN = 100
"""Steps for which nobody waits for its turn, up to a dozen of them."""


def taking_turns(window: Window) -> BoolArray:
    """bool [variables]: kernels of branches behind a trunk that have a gradient in some steps
    each, and not in the same: tasks or experts that are chosen step by step."""
    zero = window.statistic("zero_step_share")
    at_times = (zero > 0).any(axis=0) & (zero < 1).any(axis=0)
    at_times &= window.rows.judged & window.rows.kernel
    rows = np.flatnonzero(at_times)
    trunk = (zero == 0).all(axis=0) & window.rows.judged & window.rows.kernel
    if len(rows) < 2 or not trunk[: rows[0]].any():
        return np.zeros_like(at_times)
    if not (zero[:, rows] != zero[:, rows[:1]]).any():
        return np.zeros_like(at_times)
    return at_times


DECAYED = 10.0
"""A rate that a schedule has lowered by more than that is another one."""


def decayed_from(window: Window) -> float | None:
    """The learning rate of the first steps, if a schedule has lowered it to a tenth or less."""
    start, now = window.context_at_start("learning_rate"), window.latest("learning_rate")
    return start if start > DECAYED * now else None


SLOWER_DECAY = (
    "Let the schedule lower the rate later, and not below a hundredth of {rate:.3g}. "
    "(`decay_steps` counts batches, not epochs.)"
)


def warms_up(window: Window) -> bool:
    """Whether the learning rate has grown by 5 % or more within the window."""
    rate = window.context("learning_rate")
    known = rate[np.isfinite(rate)]
    return bool(known.size > 1 and known[-1] > 1.05 * known[0])


def optimizer_code(table: VariableTable, **settings: float | None) -> str:
    """The call that makes this run's optimizer, with some settings changed (None: left out).

    >>> optimizer_code(table, learning_rate=1e-3)
    'keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)'
    """
    kept = ("momentum", "clipnorm", "clipvalue", "global_clipnorm", "weight_decay")
    known = settings_of(table)
    chosen: dict[str, float | None] = {
        k: known[k] for k in ("learning_rate", *kept) if known.get(k)
    }
    chosen |= settings
    listed = [f"{name}={value:g}" for name, value in chosen.items() if value is not None]
    return f"keras.optimizers.{table.run.optimizer or 'Adam'}({', '.join(listed)})"


def large_rate_cause(window: Window, observed: str, confidence: float) -> Cause:
    """learning_rate_too_large: what was observed, and how far off the usual the rate is."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    told = observed
    if rate < 0:
        return cause("wrong_sign", 0.95, f"{told}; the learning rate is {rate:.3g}, negative.")
    if math.isfinite(rate):
        told += f"; the learning rate is {rate:.3g}"
        if rate >= 10 * usual:
            confidence += 0.2
            told += f", {optimizer_name(window.table)} is usually used around {usual:g}"
        elif rate <= usual:
            confidence -= 0.2
    return cause("learning_rate_too_large", confidence, f"{told}.")


def unusual_rate_cause(window: Window, confidence: float, times: float) -> Cause | None:
    """learning_rate_too_large, if the rate is that many times the usual one."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if not rate >= times * usual:
        return None
    told = f"the learning rate is {rate:.3g}; {optimizer_name(window.table)} is usually used around"
    return cause("learning_rate_too_large", confidence, f"{told} {usual:g}.")


def slower(window: Window) -> str:
    """Lower the learning rate: to the optimizer's default, or by ten if it is there already."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if not math.isfinite(rate):
        return "Lower the step size tenfold."
    if rate < 0:
        code = optimizer_code(window.table, learning_rate=usual)
        return f"Let the learning rate be positive: `{code}`."
    target = usual if rate >= 10 * usual else rate / 10
    return f"Lower the learning rate: `{optimizer_code(window.table, learning_rate=target)}`."


def _scales_itself(table: VariableTable) -> bool:
    """Whether a layer scales the inputs, or they are no numbers but tokens."""
    facts = table.run.facts
    return "input_scaling" in facts or facts.get("first_layer") == "Embedding"


def _around(window: Window) -> str:
    mean, std = window.latest("inputs_mean"), window.latest("inputs_std")
    return f" (mean {mean:.3g}, standard deviation {std:.3g})" if math.isfinite(mean) else ""


def large_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if they are so large that sums, gradients and steps are."""
    extreme = window.latest("inputs_max_abs")
    if not extreme > UNSCALED_INPUT or _scales_itself(window.table):
        return None
    told = f"the inputs reach magnitudes of {extreme:.3g}{_around(window)}"
    return cause("unscaled_inputs", confidence, f"{told}, and no layer scales them.")


MANY_FEATURES = 100
"""Inputs of the first kernel from which on they are no columns of a table, but pixels or words:
of so many some are next to never there, and none matters much."""


def uneven_inputs_cause(window: Window, confidence: float) -> Cause | None:
    """unscaled_inputs, if single features are so small beside the others that they are lost."""
    ratio = window.latest("inputs_scale_ratio")
    if not ratio > UNEVEN_INPUTS or _scales_itself(window.table):
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

MANY_LAYERS, NARROW = 8, 8
"""Layers in a row, and their median units, from which on a network counts as deep and narrow."""


def deep_narrow_cause(
    window: Window, confidence: float, variables: Sequence[Variable] | None = None
) -> Cause | None:
    """deep_narrow_network, if the kernels are many and of few units; of all layers, or of some."""
    if variables is None:
        kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
        variables = [window.table.variables[int(row)] for row in kernels]
    if len(variables) < MANY_LAYERS:
        return None
    width = float(np.median([v.units for v in variables]))
    if not 0 < width <= NARROW:
        return None
    told = f"{len(variables)} layers in a row with a median of {width:.0f} units"
    return cause("deep_narrow_network", confidence, f"{told}.")


SHORTCUTS = (
    "Use fewer and wider layers, or a shortcut round every two of them "
    "(`x = keras.layers.add([x, block(x)])`)."
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


CLIP_INPUTS = (
    "Clip the inputs per feature: `low, high = np.percentile(x, (1, 99), axis=0); "
    "x = np.clip(x, low, high)`, or use sklearn.preprocessing.RobustScaler."
)

SCALE_INPUTS = (
    "Scale the inputs: `scaler = keras.layers.Normalization(); scaler.adapt(x)` as the first "
    "layer, or `x = (x - x.mean(0)) / (x.std(0) + 1e-7)`; for images "
    "`keras.layers.Rescaling(1 / 255)`."
)


COARSE = 1e-4
"""Half spacing of float16 (5e-4) and bfloat16 (4e-3) numbers lies above, of float32 far below."""

MIXED = (
    "Keep variables and optimizer in float32: "
    '`keras.mixed_precision.set_global_policy("mixed_float16")` computes in float16 all the same.'
)


def coarse_moments_cause(window: Window) -> Cause | None:
    """low_precision, if an adaptive optimizer keeps its averages in float16."""
    halves = [v for v in window.table.variables if v.dtype == "float16"]
    if not halves or window.table.run.optimizer not in ADAPTIVE:
        return None
    return cause(
        "low_precision",
        0.85,
        f"{window.table.run.optimizer} keeps its averages in float16 as the variables are "
        f"({halves[0].path}): squares of gradients below 2e-4 become zero there, and so nearly "
        "does epsilon, by which the step is divided then.",
    )


WIDER = (
    "Scale the loss: wrap the optimizer in `keras.optimizers.LossScaleOptimizer`, or use "
    '`keras.mixed_precision.set_global_policy("mixed_bfloat16")`.'
)


def underflow_cause(window: Window) -> Cause | None:
    """low_precision, if what still has a gradient has one below the range of float16."""
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
        "range of float16, and no loss scale lifts it: what is smaller still becomes zero.",
    )


FLOAT16_SMALLEST = 2.0**-24
"""The smallest positive float16: 6e-8."""


def _all_underflown(window: Window, narrow: BoolArray) -> Cause | None:
    """The same, if nothing is left in float16, and what float32 layers get is below its range."""
    size = window.statistic("gradient_norm")[-1] / np.sqrt(window.rows.elements)
    left = window.rows.judged & (size > 0)
    if not left.any() or (left & narrow).any() or size[left].max() >= FLOAT16_SMALLEST:
        return None
    row = int(np.flatnonzero(left)[-1])
    return cause(
        "low_precision",
        0.85,
        f"elements of the gradient of {window.table.paths[row]} are around {size[row]:.1e}; "
        "float16 has nothing below 6e-8, and no loss scale lifts them.",
    )


def scale_gain(variable: Variable) -> float:
    """Initial scale relative to Glorot's and He's band: 1 keeps the size of a signal.

    The standard deviation times the root of the fan-in; He's is 1.4, Glorot's of a square
    kernel and LeCun's are 1.
    """
    fan_in = variable.elements / variable.units if variable.units else variable.elements
    return float(variable.initial_rms * math.sqrt(max(fan_in, 1)))


def signal_gains(window: Window) -> FloatArray:
    """``scale_gain``, that of the first kernel times the size of inputs that are large: of inputs
    in the thousands a kernel that starts at a hundredth makes a large signal all the same."""
    gains: FloatArray = window.rows.scale_gain.copy()
    kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
    size = np.hypot(window.context("inputs_mean"), window.context("inputs_std"))
    size = size[np.isfinite(size)]
    if kernels.size and size.size and not _scales_itself(window.table):
        gains[kernels[0]] *= max(float(np.median(size)), 1.0)
    return gains


def strength(variable: Variable, kind: str) -> float:
    """The strength of the variable's "l1" or "l2" penalty; 0 for none."""
    try:
        return float(variable.facts.get(kind, 0.0))
    except ValueError:
        return 0.0
