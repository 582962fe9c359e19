"""What the layers of a network do to a gradient: activations, depth, branches, normalisation.

In:  a window and rows of it.
Out: causes with the observation that speaks for each, and fixes.
Does not know which rule asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.initial_values import starts_random
from tb_gradients.judging.window import BoolArray, Window
from tb_gradients.judging.words import activation, layer

SATURATING = frozenset({"sigmoid", "tanh", "softmax", "hard_sigmoid", "hard_tanh", "softsign"})

RELU = frozenset({"relu", "relu6"})
"""Slope exactly zero on one side: units can die. (Leaky and smooth variants cannot.)"""


def strength(variable: Variable, kind: str) -> float:
    """The strength of the variable's "l1" or "l2" penalty; 0 for none."""
    try:
        return float(variable.facts.get(kind, 0.0))
    except ValueError:
        return 0.0


GATES = {"LSTM": 4, "LSTMCell": 4, "ConvLSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""Gates of recurrent layers, whose weights lie side by side along the unit axis."""


def gates(variable: Variable) -> int:
    """How many groups of units a variable holds, of which only those of one are alike."""
    count = GATES.get(variable.layer_class, 1)
    last = variable.unit_axis == len(variable.shape) - 1
    return count if last and variable.units % count == 0 and variable.units > count else 1


BATCH_NEEDS = ("inputs_std", "inputs_constant_share", "targets_mean", "targets_std", "samples")

NORMALIZED = "normalized_values"
"""Fact of a variable in a normalisation, or before one: of how many values of a sample that takes
the mean."""


def _normalizes(variable: Variable) -> str:
    """The class of the normalisation that a variable belongs to or stands before; "" for none."""
    kinds = (variable.layer_class, variable.facts.get("followed_by", ""))
    return next((kind for kind in kinds if kind.endswith("Normalization")), "")


def single_value_cause(window: Window, variables: Iterable[Variable]) -> Cause | None:
    """batch_of_one or axis_of_length_one, if a normalisation gets a single number: less its own
    mean, or over its own size, that is the same whatever it was."""
    for variable in reversed(list(variables)):
        kind, count = _normalizes(variable), variable.facts.get(NORMALIZED)
        where = f"{kind} in or behind {layer(variable)}"
        if kind == "BatchNormalization":
            alone = count == "1" or (count is None and variable.layer_class == "Dense")
            if alone and _single_samples(window):
                text = f"each batch is one sample, and {where} normalises it"
                return cause("batch_of_one", 0.9, f"{text}: less its own mean that is zero.")
        elif kind and count == "1":
            text = f"{where} normalises over a single value"
            return cause("axis_of_length_one", 0.95, f"{text}, which gives a constant.")
    return None


def _single_samples(window: Window) -> bool:
    """Whether every batch is one sample."""
    samples = window.context("samples")
    if np.isfinite(samples).any():
        return bool(np.nanmax(samples) == 1)
    # One row has no spread to be measured; and a single target none at all, whatever it is.
    one_row = np.isfinite(window.context("inputs_std"))
    one_row &= np.isnan(window.context("inputs_constant_share"))
    spread, level = window.context("targets_std"), window.context("targets_mean")
    known = np.isfinite(spread)
    one_target = known.any() and not spread[known].any() and np.ptp(level[known]) > 0
    return bool(one_row.all() or one_target)


FEW_VALUES = 4
"""Of so few values a mean and a spread are noise: two of them give -1 and 1, whatever they are."""


def few_samples_cause(window: Window) -> Cause | None:
    """few_samples, if a batch normalisation takes mean and spread of two to four values."""
    samples = window.context("samples")
    if not np.isfinite(samples).any():
        return None
    usual = int(np.nanmedian(samples))
    for variable in window.table.variables:
        count = variable.facts.get(NORMALIZED)
        if _normalizes(variable) != "BatchNormalization" or count is None:
            continue
        if 2 <= int(count) * usual <= FEW_VALUES:
            text = (
                f"a batch has {usual} samples, and BatchNormalization in or behind "
                f"{layer(variable)} takes the mean and the spread of {int(count) * usual} values"
            )
            return cause("few_samples", 0.8, f"{text}.")
    return None


def zero_by_nature(table: VariableTable, rows: Iterable[int]) -> BoolArray:
    """bool [rows]: no gradient comes here, and none is missed, as an axis has length 1.

    That is the recurrent kernel of a layer over one time step, which multiplies an initial state of
    zeros, and what decides where an attention over a single position looks.
    """
    chosen = [table.variables[int(row)] for row in rows]
    return np.array([bool(_single_step(v) or _single_position(v)) for v in chosen], bool)


def _single_step(variable: Variable) -> bool:
    return variable.role == "recurrent_kernel" and variable.facts.get("time_steps") == "1"


def _single_position(variable: Variable) -> bool:
    return variable.facts.get("softmax_of_one") == "attention"


def axis_of_one_cause(table: VariableTable, rows: Iterable[int]) -> Cause | None:
    """axis_of_length_one, if it is why all of these have no gradient."""
    chosen = [table.variables[int(row)] for row in rows]
    if all(_single_step(v) for v in chosen):
        text = (
            f"{layer(chosen[0])} runs over one time step, so this kernel multiplies nothing but "
            "the initial state, which is zero (mostly the inputs were reshaped to "
            "`(n, 1, features)`)"
        )
    elif all(_single_position(v) for v in chosen):
        text = "this attention sees a single position: its softmax is 1, whatever query and key are"
    elif all("softmax_of_one" in v.facts for v in chosen):
        text = (
            f"what comes from {layer(chosen[-1])} goes through a softmax over an axis of length 1, "
            "which is 1 whatever it gets"
        )
    else:
        return None
    return cause("axis_of_length_one", 0.97, f"{text}.")


def without_axis_of_one(table: VariableTable, rows: Iterable[int]) -> str:
    """What to change where an axis has length 1."""
    chosen = [table.variables[int(row)] for row in rows]
    if all(_single_step(v) for v in chosen):
        return (
            f"Nothing is lost. To use the recurrence, give {layer(chosen[0])} several time "
            "steps, as `x.reshape(n, steps, features)` does; without a sequence, use a Dense layer."
        )
    if all(_single_position(v) for v in chosen):
        return (
            "Nothing is lost. To use the attention, give it several positions; for a single one, "
            "use a Dense layer."
        )
    if any(_normalizes(v) and v.facts.get(NORMALIZED) == "1" for v in chosen):
        return MORE_VALUES
    return (
        "Take the softmax over the axis of the alternatives (the positions, or the classes), not "
        "over the one of length 1: change `axis` between `-1` and `1`."
    )


LARGER_BATCHES = (
    "Use batches of more than one sample (`batch_size=32`), or "
    "`keras.layers.LayerNormalization()` instead of BatchNormalization."
)

MORE_VALUES = (
    "Normalise over an axis of several values (the features, fewer groups), or remove the "
    "normalisation."
)

STOPPED = "stopped"
"""Fact of a variable of which the predictions depend through `stop_gradient` alone, where nothing
that sees the inputs reaches them otherwise."""


SIGN = "behind_a_sign"
"""Fact of a variable of which the predictions depend through the sign of something alone."""


def sign_cause(variables: Iterable[Variable]) -> Cause | None:
    """non_differentiable_operation, if what one of these gives counts by its sign alone."""
    found = [v for v in variables if SIGN in v.facts]
    if not found:
        return None
    text = f"of what {layer(found[-1])} gives only the sign goes on, whose slope is zero everywhere"
    return cause("non_differentiable_operation", 0.97, f"{text}.")


PAST_THE_SIGN = (
    "Use `tf.tanh(steepness * x)` in place of the sign, or let the gradient pass: "
    "`x + tf.stop_gradient(tf.sign(x) - x)`."
)


def stopped_cause(table: VariableTable) -> Cause | None:
    """non_differentiable_operation, if stop_gradient keeps the error of the predictions from all
    that sees the inputs. (A penalty may give it a gradient all the same.)"""
    found = [v.path for v in table.variables if STOPPED in v.facts and v.trainable]
    if not found:
        return None
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    text = (
        f"what {found[-1]}{more} give passes through `stop_gradient` on its way to the "
        "predictions: nothing that sees the inputs learns from their error"
    )
    return cause("non_differentiable_operation", 0.95, f"{text}.")


def without_stop(table: VariableTable) -> str:
    """What to change there."""
    found = [layer(v) for v in table.variables if STOPPED in v.facts]
    return f"Remove `tf.stop_gradient` between {found[-1] if found else 'the inputs'} and the loss."


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
    text = f"{len(variables)} layers in a row with a median of {width:.0f} units"
    return cause("deep_narrow_network", confidence, f"{text}.")


SHORTCUTS = (
    "Use fewer and wider layers, or a shortcut round every two of them "
    "(`x = keras.layers.add([x, block(x)])`)."
)
