"""What the optimizer itself does to weights: NaN of finite gradients, a start that is thrown away,
averages that are written back.

In:  a window, or the table of a run.
Out: causes with the observation that speaks for each, and fixes.
Does not know which rule asks.

``docs/guide/optimizers.md`` shows what each optimizer of Keras does, as measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.flags import Cause
from tb_gradients.frames import VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning_rates import (
    USUAL_LEARNING_RATE,
    optimizer_code,
    optimizer_name,
    settings_of,
    usual_learning_rate,
)
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import names

ADAM = "`keras.optimizers.Adam(learning_rate=0.001)`"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why an optimizer gives NaN although all gradients are finite.

    Attributes:
        dtypes: of the variables; empty: of any.
        reason: what is computed.
        change: setting that trains, or None.
    """

    dtypes: frozenset[str]
    reason: str
    change: tuple[str, float] | None = None


_BFLOAT16 = frozenset({"bfloat16"})
_CORRECTION = "beta_2 is 1 in bfloat16, so that `1 - beta_2 ** t`, by which it divides, is 0"
_EPSILON = "epsilon is 0 in float16, and a gradient of 0 gives 0 / 0"

FAULTS: dict[str, tuple[Fault, ...]] = {
    "Adafactor": (
        Fault(
            frozenset({"float16"}),
            "where a row and a column of a gradient are zero it divides 0 by 0, as epsilon_1 is "
            "0 in float16",
            ("epsilon_1", 1e-4),
        ),
        Fault(
            frozenset(),
            "where a row and a column of a gradient are zero (a pixel that is always black, a unit "
            "that is off) it divides 0 by 0, as the square of epsilon_1 is 0 in float32",
            ("epsilon_1", 1e-15),
        ),
    ),
    "Nadam": (Fault(_BFLOAT16, _CORRECTION, ("beta_2", 0.9)),),
    "ScheduleFreeAdamW": (
        Fault(_BFLOAT16, _CORRECTION, ("beta_2", 0.9)),
        Fault(frozenset({"float16"}), _EPSILON, ("epsilon", 1e-4)),
    ),
    "Lamb": (Fault(_BFLOAT16, f"{_CORRECTION}, and a gradient of 0 gives 0 / 0"),),
    "Adamax": (Fault(frozenset({"float16"}), _EPSILON, ("epsilon", 1e-4)),),
}
"""Of Keras' optimizers, by name; see ``docs/guide/optimizers.md``."""


def _fault(table: VariableTable, rows: Iterable[int]) -> Fault | None:
    dtypes = {table.variables[int(row)].dtype for row in rows}
    for fault in FAULTS.get(table.run.optimizer, ()):
        if not fault.dtypes or fault.dtypes & dtypes:
            return fault
    return None


def breaks_weights_cause(
    window: Window, rows: IntArray, *, known_only: bool = False
) -> Cause | None:
    """optimizer_breaks_weights, if the weights have become NaN at the last frame while every
    gradient since the frame before was finite, and the loss, too.

    Args:
        known_only: only of an optimizer that is known to do so.
    """
    known = window.statistic("nonfinite_age")[-1]
    if not (known == -1).any() or (known >= 0).any():
        return None
    if float(window.context("loss_nonfinite_age")[-1]) >= 0:
        return None
    table = window.table
    fault = _fault(table, rows)
    text = (
        f"every gradient up to step {window.step} was finite, and the weights of "
        f"{names(table, rows[:1])} were not after it: {optimizer_name(table)} has made them so"
    )
    if fault is None and known_only:
        return None
    if fault is None:
        return cause("optimizer_breaks_weights", 0.8, f"{text}, out of its own state.")
    return cause("optimizer_breaks_weights", 0.97, f"{text}: {fault.reason}.")


def breaks_weights_fix(window: Window, rows: Iterable[int]) -> str:
    """What to do about an optimizer that gives NaN."""
    table = window.table
    fault = _fault(table, rows)
    if fault is None or not table.run.optimizer:
        return f"Use another optimizer, such as {ADAM}, or look at the state that it keeps."
    ways = []
    if fault.change is not None:
        code = optimizer_code(table, **dict([fault.change]))
        ways.append(f"Change one setting: `{code}`.")
    if fault.dtypes:
        [dtype] = fault.dtypes
        ways.append(
            "Keep the variables in float32: "
            f'`keras.mixed_precision.set_global_policy("mixed_{dtype}")`.'
        )
    else:
        ways.append(f"Or use another optimizer: {ADAM}.")
    return " ".join(ways)


# --- a first step that replaces the weights -------------------------------------------------

DISCARDS = {
    "ScheduleFreeAdamW": (
        "it is built while the first step is traced, so that its copy of the initial weights is "
        "still zero, and its first step starts from there"
    ),
    "Ftrl": (
        "it does not start from the weights, but computes them from the gradients so far, as if "
        "they had started at zero; with more than one layer no gradient comes back from there"
    ),
}


def replaced_cause(window: Window, kept: float) -> Cause:
    """Why the first update leaves only the share ``kept`` of the weights."""
    table = window.table
    optimizer = optimizer_name(table)
    decay = settings_of(table).get("weight_decay", 0.0) * window.latest("learning_rate")
    if decay >= 0.5:
        text = f"learning rate times weight decay is {decay:.2g}: a step takes that share of them"
        return cause("strong_regularization", 0.9, f"{text}.")
    text = f"the first step of {optimizer} left {kept:.1%} of the weights' norm"
    why = DISCARDS.get(table.run.optimizer)
    sure = 0.97 if why else 0.7
    return cause("optimizer_replaces_weights", sure, f"{text}: {why}." if why else f"{text}.")


def replaced_fix(table: VariableTable, reason: Cause) -> str:
    if reason.id == "strong_regularization":
        return f"Lower the weight decay: `{optimizer_code(table, weight_decay=1e-4)}`."
    if table.run.optimizer == "ScheduleFreeAdamW":
        return (
            "Build the optimizer before the training: `optimizer.build(model.trainable_variables)`."
        )
    if table.run.optimizer == "Ftrl":
        return f"Ftrl is for linear models. For a deep one use another optimizer: {ADAM}."
    return f"Look at what the first update of the optimizer does, or use another one: {ADAM}."


# --- averages -------------------------------------------------------------------------------

HALF = 0.5


def averaged_cause(table: VariableTable) -> Cause | None:
    """averaged_weights, if moving averages replace the weights so often that most of each step is
    lost: between two replacements the averages have followed by less than half."""
    settings = settings_of(table)
    every = settings.get("ema_overwrite_frequency", 0.0)
    if table.run.optimizer_config.get("use_ema") != "True" or not every >= 1:
        return None
    momentum = settings.get("ema_momentum", 0.99)
    left = 1 - momentum**every
    if not 0 <= left < HALF:
        return None
    steps = "every step" if every == 1 else f"every {every:.0f} steps"
    return cause(
        "averaged_weights",
        0.95,
        f"with ema_overwrite_frequency={every:.0f} and ema_momentum={momentum:g} "
        f"{optimizer_name(table)} replaces the weights by their moving average after {steps}: "
        f"{left:.2g} of what was learnt since is kept.",
    )


def averaged_fix(table: VariableTable) -> str:
    code = optimizer_code(table, ema_overwrite_frequency=None)
    return f"Let the averages be taken over at the end of the training, not in between: `{code}`."


# --- bias correction in 16 bits -------------------------------------------------------------

_BELOW_ONE = {"bfloat16": 2.0**-9, "float16": 2.0**-12}
"""Half the distance of 1 to the next smaller number: what is nearer to 1 is 1."""

CORRECTED = frozenset({"Adam", "AdamW", "Lamb"})
"""Optimizers whose step is multiplied by ``sqrt(1 - beta_2 ** t)``."""


def no_correction_cause(window: Window, rows: Iterable[int]) -> Cause | None:
    """low_precision, if beta_2 is 1 in the variables' dtype, so that every step is exactly 0."""
    table = window.table
    dtypes = {table.variables[int(row)].dtype for row in rows}
    beta = settings_of(table).get("beta_2", math.nan)
    if table.run.optimizer not in CORRECTED or len(dtypes) != 1:
        return None
    [dtype] = dtypes
    if not 1 - beta < _BELOW_ONE.get(dtype, 0.0):
        return None
    return cause(
        "low_precision",
        0.97,
        f"the beta_2 of {optimizer_name(table)}, {beta:g}, is 1 in {dtype}, so that its "
        "correction `1 - beta_2 ** t` is 0, and so is every step, at any learning rate.",
    )


def no_correction_fix(window: Window, rows: Iterable[int]) -> str:
    table = window.table
    dtype = table.variables[int(next(iter(rows)))].dtype
    text = (
        f'Keep the variables in float32: `keras.mixed_precision.set_global_policy("mixed_{dtype}")`'
    )
    if not window.latest("learning_rate") >= 0.1 * usual_learning_rate(table):
        return f"{text}."  # such steps are smaller than the spacing of the numbers besides
    return f"{text}; or `{optimizer_code(table, beta_2=0.9)}`."


# --- a loss that was not scaled -------------------------------------------------------------

USUAL_STEP = (1e-5, 1.0)
"""Relative steps of healthy kernels, and of rough ones."""


def not_scaled_cause(window: Window, ratio: float) -> Cause | None:
    """loss_not_scaled, if the steps are as small as the loss scale is large.

    Keras divides the gradients by the scale, whether the loss was multiplied by it or not. `fit`
    does; a loop must call ``scale_loss``.

    Args:
        ratio: relative step of a typical kernel.
    """
    scale = window.latest("loss_scale")
    if window.latest("learning_rate") < 0.1 * usual_learning_rate(window.table):
        return None
    if not scale > 1 or not USUAL_STEP[0] <= ratio * scale <= USUAL_STEP[1]:
        return None
    text = (
        f"the optimizer divides the gradients by its loss scale of {scale:g}; times that, a step "
        f"would change a kernel by {ratio * scale:.1e} of its size, which is usual"
    )
    return cause("loss_not_scaled", 0.85, f"{text}.")


SCALE_THE_LOSS = (
    "Differentiate the scaled loss: `loss = optimizer.scale_loss(loss)` inside of the "
    "`tf.GradientTape`; `fit` does it by itself."
)


# --- noise ----------------------------------------------------------------------------------

MANY_ELEMENTS = 50
"""The RMS of so many random numbers is known to 10 %."""

NOISE_DEVIATIONS = 4.0
"""Two sizes of the same noise differ by more in one frame of 15,000."""

NOISY_FRAMES = 10

NOISE_NEEDS = ("update_norm", "gradient_norm")


def gradient_noise_cause(window: Window) -> Cause | None:
    """gradient_noise, if the elements of the updates are of one size in all variables, as random
    numbers are, and those of the gradients are not.

    Of Keras' own optimizers none adds noise. Where signs take the place of gradients, all
    elements are equal, without the scatter of random numbers.
    """
    if window.table.run.optimizer in USUAL_LEARNING_RATE or not window.table.run.optimizer:
        return None
    rows = window.rows.judged & (window.rows.elements >= MANY_ELEMENTS)
    if rows.sum() < 2:
        return None
    count = window.rows.elements[rows]
    update, given = (window.statistic(name)[:, rows] / np.sqrt(count) for name in NOISE_NEEDS)
    known = np.isfinite(update).all(axis=1) & np.isfinite(given).all(axis=1)
    known &= (update > 0).all(axis=1) & (given > 0).all(axis=1)
    if known.sum() < NOISY_FRAMES:
        return None
    update, given = update[known], given[known]
    scatter = NOISE_DEVIATIONS * np.sqrt(0.5 / count)

    def even(sizes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """bool [frames]: whether all sizes may be one."""
        usual = np.exp(np.average(np.log(sizes), axis=1, weights=count))
        return np.asarray((np.abs(np.log(sizes / usual[:, np.newaxis])) <= scatter).all(axis=1))

    exact = np.ptp(update / update[:, :1], axis=1) < EXACT
    if (even(update) & ~exact).mean() < 0.9 or even(given).mean() > 0.5:
        return None
    text = (
        f"the elements of an update of {optimizer_name(window.table)} are around "
        f"{float(np.median(update)):.2g} in every variable, whatever the gradients are "
        f"({float(np.median(given, axis=0).min()):.2g} to "
        f"{float(np.median(given, axis=0).max()):.2g}): it adds noise"
    )
    return cause("gradient_noise", 0.97, f"{text}.")


EXACT = 1e-5
"""Sizes that differ by rounding alone."""

LESS_NOISE = (
    "Make the noise smaller against the gradient: larger batches, a lower noise multiplier, fewer "
    "parameters, or a limit of the norm closer to that of single samples."
)
