"""The causes of a NaN or Inf: what the rules of non-finite values share.

In:  a window, and the step at which something became NaN or Inf.
Out: causes, and the changes that may help.
Does not know which of gradient, weight and loss became so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray
from tb_gradients.judging.causes import cause, likeliest, likeliest_first
from tb_gradients.judging.data_scales import (
    CLIP_INPUTS,
    DATA_OUT_OF_RANGE,
    INPUT_NEEDS,
    KEEP_FINITE,
    SCALE_TARGETS,
    large_inputs_cause,
    outliers_cause,
    scale_inputs,
    unscaled_targets_cause,
)
from tb_gradients.judging.learning_rates import (
    ADAPTIVE,
    clipped,
    known_rate,
    lower_rate,
    slower,
    unusual_rate_cause,
    usual_learning_rate,
)
from tb_gradients.judging.outputs import head_mismatch
from tb_gradients.judging.precision import LARGER_CONSTANT, WIDER, vanished_constant_cause
from tb_gradients.judging.recurrences import bounded_recurrence, unbounded_recurrence_cause
from tb_gradients.judging.window import BoolArray, Window
from tb_gradients.judging.words import in_fit, plural

NONFINITE_NEEDS = (
    *INPUT_NEEDS,
    "global_norm",
    "loss_mean",
    "loss_max",
    "inputs_nonfinite",
    "inputs_nonfinite_age",
    "targets_nonfinite",
    "inputs_outlier",
    "targets_max_abs",
    "learning_rate",
    "loss_scale",
    "gradient_inf_count",
    "gradient_nan_count",
    "loss_nonfinite_age",
)

FIRST_STEPS = 20
"""A wrong scale of the data shows within so many steps."""

GROWTH = 10.0
"""Growth of a loss or norm before a NaN that counts: single batches vary less."""
HUGE = 1e15
"""Squares of such numbers are near the end of float32's range (3.4e38), with sums beyond."""


def nonfinite_causes(window: Window, since: int) -> tuple[Cause, ...]:
    """Why something became NaN or Inf at step ``since``."""
    found: list[Cause] = []
    until = window.steps <= max(since, int(window.steps[0]))
    first = int(np.argmax(window.steps >= since))
    until[first] = True
    for side, kind in (("inputs", "nonfinite_inputs"), ("targets", "nonfinite_targets")):
        count = _last_maximum(window.context(f"{side}_nonfinite")[until])
        if count > 0:
            found.append(
                cause(
                    kind,
                    0.97,
                    f"{plural(int(count), 'element')} of the {side} of that batch "
                    f"{'is' if count == 1 else 'are'} NaN or Inf.",
                )
            )
    age = float(window.context("inputs_nonfinite_age")[first])
    if not found and age >= 0 and int(window.steps[first]) - age <= since:
        text = f"an input of the batch of step {int(window.steps[first] - age)} is NaN or Inf."
        found.append(cause("nonfinite_inputs", 0.97, text))
    growth, what = _growth(window, first)
    outliers = None
    if growth >= GROWTH and not found:
        outliers = outliers_cause(window, 0.85, slice(0, first + 1))
        found += [outliers] if outliers else []
    recurrent = unbounded_recurrence_cause(window) if not found else None
    if recurrent is not None:
        found.append(recurrent)
    rate = window.latest("learning_rate")
    usual = usual_learning_rate(window.table)
    if growth >= GROWTH:
        confidence = 0.5 + 0.1 * min(math.log10(growth), 3) + 0.1 * (rate > 10 * usual)
        text = "" if math.isnan(rate) else f"; the learning rate is {rate:.3g}"
        found.append(
            cause(
                "learning_rate_too_large",
                confidence if not found else 0.5 if outliers or recurrent else 0.2,
                f"the {what} had grown {growth:.3g}-fold before that step{text}.",
            )
        )
    elif not found and (unusual := unusual_rate_cause(window, 0.6, 100)) is not None:
        found.append(unusual)
    infinities = float(np.nansum(window.statistic("gradient_inf_count")[first]))
    extreme = _extreme(window, until)
    data_seen = bool(np.isfinite(window.context("inputs_nonfinite")[until]).any())
    if since <= window.first_step + FIRST_STEPS and not any(c.id in OF_DATA for c in found):
        scales = (large_inputs_cause(window, 0.55), unscaled_targets_cause(window))
        found += [reason for reason in scales if reason is not None]
    wrong = head_mismatch(window.table)
    if not found and wrong is not None:
        found.append(cause("loss_output_mismatch", 0.7, f"{wrong[0]}."))
    if not found and _only_first_kernel(window, first, since):
        text = "in the first layer the gradient of the kernel is NaN and that of the bias is not: "
        found.append(
            cause("numeric_overflow", 0.75, f"{text}{BEFORE_THE_FIRST}.")
            if data_seen
            else cause("nonfinite_inputs", 0.8, f"{text}the kernel is multiplied by the input.")
        )
    precision = window.table.run.precision
    scale = window.latest("loss_scale")
    small = None if found or infinities > 0 or scale == 1 else vanished_constant_cause(window)
    if small is not None:
        found.append(small)
    if "float16" in precision and "bfloat16" not in precision and not scale > 1:
        found.append(
            cause(
                "low_precision",
                0.6 if not found else 0.3,
                f"the policy is {precision} without loss scaling; its largest number is 65504.",
            )
        )
    elif extreme > HUGE:
        found.append(
            cause(
                "numeric_overflow",
                0.6 if not found else 0.5,
                f"magnitudes of {extreme:.3g} occurred just before; their squares overflow.",
            )
        )
    elif not found and _loss_is_finite(window, first, since):
        found.append(cause("numeric_overflow", 0.75, INFINITE_SLOPE))
    elif infinities > 0:
        found.append(
            cause(
                "numeric_overflow",
                0.6 if not found else 0.3,
                f"{infinities:.0f} elements of the gradients were Inf at the first such frame.",
            )
        )
    elif not found and data_seen:
        found.append(
            cause(
                "numeric_overflow",
                0.5,
                "the batch was finite and nothing had grown before: probably log(0), 0/0, sqrt(0) "
                "or exp of a large number in the model or the loss.",
            )
        )
    elif not found:
        unseen = "nothing had grown before, and the batch was not seen"
        where = "" if in_fit(window.table) else f" ({GIVE_BATCH})"
        found += [
            cause(
                "numeric_overflow",
                0.5,
                f"{unseen}: perhaps log(0), 0/0 or exp of a large number in the model or the loss.",
            ),
            cause(
                "nonfinite_inputs",
                0.3,
                f"{unseen}{where}: it may hold NaN.",
            ),
        ]
    return tuple(found)


def _extreme(window: Window, frames: BoolArray | slice) -> float:
    """The largest magnitude that was seen."""
    names = ("inputs_max_abs", "targets_max_abs", "loss_max", "global_norm")
    return max(_last_maximum(window.context(name)[frames]) for name in names)


def is_huge(window: Window) -> bool:
    """Whether squares of what was seen up to the last frame may leave the range of float32."""
    return _extreme(window, slice(None)) > HUGE


GIVE_BATCH = "in a custom training loop `monitor.step(inputs=..., targets=...)` shows it"

OF_DATA = frozenset({"nonfinite_inputs", "nonfinite_targets", "input_outliers"})

BEFORE_THE_FIRST = (
    "an operation on the finite inputs before this layer gives 0/0, log(0) or similar"
)

INFINITE_SLOPE = (
    "the loss of that step is finite, its derivative is not: sqrt or a norm at 0, x ** p at 0, "
    "or NaN in the branch that `tf.where` does not select."
)


def _loss_is_finite(window: Window, first: int, since: int) -> bool:
    """Whether the loss of step ``since``, which is in the window of frame ``first``, was finite."""
    age = float(window.context("loss_nonfinite_age")[first])
    return age < 0 or int(window.steps[first]) - age > since


def _only_first_kernel(window: Window, first: int, since: int) -> bool:
    """Whether only the gradient of the first kernel is not finite, not even that of its bias."""
    if int(window.steps[first]) != since:
        return False  # NaN has spread since
    broken = window.statistic("gradient_nan_count")[first] > 0
    broken |= window.statistic("gradient_inf_count")[first] > 0
    kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
    if not kernels.size or broken.sum() != 1 or not broken[kernels[0]]:
        return False
    return bool(window.rows.bias_of[kernels[0]] >= 0)


NONFINITE_COMES_OF = (
    "exploding_gradient",
    "update_too_large",
    "unbounded_loss",
    *DATA_OUT_OF_RANGE,
)
"""Rules whose findings may end in NaN."""


def nonfinite_comes_of(causes: Sequence[Cause]) -> tuple[str, ...]:
    """Those of them that may have ended in this NaN: none, if the batch already held it."""
    if likeliest(causes) in ("nonfinite_inputs", "nonfinite_targets"):
        return ()
    return NONFINITE_COMES_OF


def nonfinite_fixes(window: Window, causes: Sequence[Cause]) -> tuple[str, ...]:
    """The fixes, likeliest cause first."""
    lower = slower(window)
    if window.table.run.optimizer not in ADAPTIVE:
        rate = {"learning_rate": lower_rate(window)} if known_rate(window) else {}
        lower += f" Or clip the gradients, too: `{clipped(window.table, 1.0, **rate)}`."
    wrong = head_mismatch(window.table)
    known = {
        "loss_output_mismatch": wrong[1] if wrong else "",
        "nonfinite_inputs": "Remove or impute the missing values before training: "
        "`x = np.nan_to_num(x)`, or drop the samples that have some: "
        f"`{KEEP_FINITE.format(data='x')}`.",
        "nonfinite_targets": "Drop the samples whose target is missing: "
        f"`{KEEP_FINITE.format(data='y')}`.",
        "learning_rate_too_large": lower,
        "input_outliers": CLIP_INPUTS,
        "unbounded_recurrence": bounded_recurrence(window.table),
        "unscaled_inputs": scale_inputs(window.table),
        "unscaled_targets": SCALE_TARGETS,
        "low_precision": WIDER,
        "numeric_underflow": LARGER_CONSTANT,
        "numeric_overflow": f"{SAFE_SLOPE} {locate(window)}"
        if any(c.summary == INFINITE_SLOPE for c in causes)
        else "Guard the operation: `tf.math.log(x + 1e-7)`, "
        "`tf.math.divide_no_nan`, `from_logits=True` instead of softmax followed by a logarithm. "
        f"{locate(window)}",
    }
    fixes = [known[c.id] for c in likeliest_first(causes) if c.id in known]
    return tuple(fixes or [locate(window)])


def locate(window: Window) -> str:
    """How to find the operation that gives NaN.

    XLA compiles no checks, and some operations give NaN under XLA alone (``docs/guide/nan.md``).
    """
    return LOCATE_UNDER_XLA if window.table.run.jit_compile else LOCATE


LOCATE = "`tf.debugging.enable_check_numerics()` names the operation."

LOCATE_UNDER_XLA = (
    "Compile the model with `jit_compile=False` once. If there is NaN still, "
    f"{LOCATE} If not, it is an operation that gives NaN under XLA alone: a square root, norm or "
    "division at 0, also in the branch that `tf.where` does not take."
)


def without_search(fixes: Sequence[str]) -> list[str]:
    """The fixes without how to find the operation, where it is known."""
    left = [fix.replace(LOCATE_UNDER_XLA, "").replace(LOCATE, "").strip() for fix in fixes]
    return [fix for fix in left if fix]


SAFE_SLOPE = (
    "Avoid the point of infinite slope: `tf.sqrt(x + 1e-12)`, "
    "`tf.sqrt(tf.reduce_sum(x**2, -1) + 1e-12)` instead of `tf.norm`, `tf.math.divide_no_nan`; "
    "with `tf.where`, make the argument safe, not the result."
)


def _last_maximum(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def _growth(window: Window, first: int) -> tuple[float, str]:
    """By how much the loss or the gradient had grown before frame ``first``, and which.

    Also compared with the run's first steps: once a run has converged, both vary far more than
    tenfold from batch to batch, at values far below the start.
    """
    best, what = 1.0, ""
    for name, label in (("global_norm", "gradient norm"), ("loss_mean", "loss")):
        before = np.abs(window.context(name)[max(0, first - 20) : first])
        before = before[np.isfinite(before) & (before > 0)]
        if name == "loss_mean":  # steps between the last frame and the first bad one
            late = np.abs(window.context("loss_max")[first : first + 1])
            before = np.concatenate([before, late[np.isfinite(late) & (late > 0)]])
        if before.size >= 2:
            start = abs(window.context_at_start(name))
            grown = float(before[-2:].max()) / max(float(before.min()), np.nan_to_num(start))
            if grown > best:
                best, what = grown, label
    return best, what
