"""Gradients below the range of the dtype they are computed in."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning_rates import optimizer_code
from tb_gradients.judging.precision import underflow_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import names


class GradientUnderflow(Rule):
    """Most of the gradient lies below the smallest normal number of the compute dtype.

    Why it matters: such numbers have fewer and fewer bits, down to none: float16 has nothing below
    6e-8, and XLA and GPUs flush subnormal numbers to zero.

    Definition: more than half of the non-zero elements are subnormal in the layer's compute dtype
    (below 6e-5 in float16, 1.2e-38 in float32 and bfloat16), the loss scale included, at every
    frame of the last 20 steps. In float16 half of the values below that threshold would be zero
    without loss scaling (Micikevicius et al. 2018, figure 3).

    Try:
    * `keras.optimizers.LossScaleOptimizer`, or the policy "mixed_bfloat16".
    * In float32: find out why the gradients are so small (vanishing_gradient).

    Silent when: the loss scale lifts the gradient into the range; the gradient is exactly zero
    (zero_gradient). Only `info` if the run learns.
    """

    id = "gradient_underflow"
    title = "The gradient underflows"
    severity = Severity.WARNING
    signs = ("gradient_subnormal_share",)
    needs = ("gradient_subnormal_share", "gradient_norm", "loss_scale")
    every = 4
    follows = ("loss_scale_collapse", "vanishing_gradient")

    share = Threshold(0.5, "most of it")
    healthy = (Healthy("gradient_subnormal_share", below=share),)
    steps = Threshold(20, "a loss scale that was just lowered recovers")
    frames = Threshold(3, "one or two frames may be chance")

    basis = Basis(sees=("gradient_subnormal_share",), steps=steps, frames=frames)

    def detect(self, window: Window) -> Detection | None:
        share = window.statistic("gradient_subnormal_share")
        candidates = window.rows.judged & ~window.rows.minor & (share[-1] > self.share)
        if not candidates.any():
            return HEALTHY
        reach = window.last_frames(self.steps, self.frames)
        if reach is None:
            return None
        known = np.isfinite(share)
        low = known & (share > self.share)
        faulty = candidates & ~(known & ~low)[reach].any(axis=0)
        faulty &= known[reach].sum(axis=0) >= self.frames
        learning = window.learning
        severity = Severity.INFO if learning.learning or learning.converged else Severity.WARNING
        return Detection.of(faulty, lambda: window.onset(low, known, per_step=True), severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        value = float(np.nanmax(window.statistic("gradient_subnormal_share")[-1][rows]))
        precision = window.table.run.precision or "float32"
        scale = window.latest("loss_scale")
        fix = (
            "Scale the loss: `keras.optimizers.LossScaleOptimizer("
            f"{optimizer_code(window.table)})`, or use "
            '`keras.mixed_precision.set_global_policy("mixed_bfloat16")`.'
        )
        return Finding(
            summary=f"From step {since} on, {value:.0%} of the gradient of "
            f"{names(window.table, rows)} was below the normal range of its compute dtype "
            f"(policy {precision}).",
            evidence=(
                Evidence("gradient_subnormal_share", value, self.share),
                Evidence("loss_scale", scale),
            ),
            causes=self._causes(window, value),
            fixes=(fix,),
        )

    @staticmethod
    def _causes(window: Window, value: float) -> tuple[Cause, ...]:
        text = f"{value:.0%} of the elements are subnormal"
        low = underflow_cause(window)
        if low is None:
            return (cause("numeric_underflow", 0.85, f"{text}."),)
        return (low, cause("numeric_underflow", 0.6, f"{text}."))
