"""Mixed precision finds no usable loss scale."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.precision import (
    HALF_NEEDS,
    LARGER_CONSTANT,
    scale_ends,
    uses_loss_scale,
    vanished_constant_cause,
)
from tb_gradients.judging.window import BoolArray, IntArray, Window

OTHER_RANGE = (
    'Use `keras.mixed_precision.set_global_policy("mixed_bfloat16")`, or lower the magnitude of '
    "the loss (a mean instead of a sum)."
)


class LossScaleCollapse(Rule):
    """The loss scale of mixed precision keeps falling, or most steps are skipped.

    Why it matters: a skipped step changes nothing. At a scale near 1, the small gradients that loss
    scaling is meant to save are lost in float16.

    Definition: a step was skipped at a scale of 1 or below, after the scale had been at least 256
    times as high; or at least half of the last 50 steps were skipped. Keras starts at 2^15, halves
    the scale at each non-finite gradient and doubles it after 2000 good steps: a healthy run skips
    at most a dozen steps at its start (Micikevicius et al. 2018).

    Try:
    * `keras.mixed_precision.set_global_policy("mixed_bfloat16")`: its range needs no scale.
    * Look for what overflows: a loss that sums over many elements, attention masks of -1e9,
      exponentials.

    Silent when: the optimizer is still searching for its scale in the first steps; no loss scale is
    used; the batch itself holds NaN (nonfinite_gradient reports that).
    """

    id = "loss_scale_collapse"
    title = "The loss scale collapses"
    severity = Severity.CRITICAL
    needs = (
        "loss_scale",
        "skipped_steps",
        "inputs_nonfinite",
        "targets_nonfinite",
        "gradient_inf_count",
        "gradient_nan_count",
        *HALF_NEEDS,
        "loss_nonfinite_age",
        "loss",
        "applied_steps",
        "update_norm",
    )

    lowest = Threshold(1.0, "below 1, scaling makes the underflow worse that it should prevent")
    fallen = Threshold(256.0, "eight halvings: a fixed scale of 1 has not fallen")
    skipped = Threshold(0.5, "Keras skips one step in 2000 once it has found its scale")
    steps = Threshold(50, "from 2^15 down to 1 takes 15 skipped steps; this is a multiple")

    basis = Basis(sees=("loss_scale",), steps=steps)

    def nothing_to_judge(self, window: Window) -> str:
        return "" if uses_loss_scale(window) else "no loss scale is used"

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        return window.lately(window.context("skipped_steps") > 0)[frames]

    def detect(self, window: Window) -> Detection | None:
        skips = window.context("skipped_steps")
        if not (skips > 0).any():  # cheap, and the usual case
            return HEALTHY
        skips = np.nan_to_num(skips)
        scale = window.context("loss_scale")
        if np.isnan(scale).all():
            return HEALTHY
        for name in ("inputs_nonfinite", "targets_nonfinite"):
            if (window.context(name) > 0).any():
                return HEALTHY
        # A low scale alone may be fixed, or about to grow. It has collapsed if steps fail at it.
        failing = (scale <= self.lowest) & (skips > 0)
        collapsed = failing.any() and self._highest(window) >= self.fallen * scale[-1]
        skipping = False
        reach = window.last_frames(self.steps)
        if reach is not None:
            skipping = bool(skips[reach].sum() >= self.skipped * window.spans[reach].sum())
        if not collapsed and not skipping:
            return HEALTHY
        first = int(np.argmax(skips > 0))
        return Detection.of_run(int(window.steps[first]), self.severity)

    @staticmethod
    def _highest(window: Window) -> float:
        """The highest scale that was seen in the window, or at the start of the run."""
        scale = np.append(window.context("loss_scale"), window.context_at_start("loss_scale"))
        return float(np.nanmax(scale)) if np.isfinite(scale).any() else 0.0

    def _finite_losses_at_most_one(self, window: Window) -> bool:
        """Whether a step was skipped at a scale of 1 or below although its loss was finite."""
        failed = ~window.own_step_applied() & (window.context("skipped_steps") > 0)
        low = window.context("loss_scale") <= self.lowest
        return bool((failed & low & np.isfinite(window.context("loss"))).any())

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        scale, highest = window.latest("loss_scale"), self._highest(window)
        skipped = float(np.nansum(window.context("skipped_steps")))
        share = skipped / max(float(window.spans.sum()), 1.0)
        infinite = window.statistic("gradient_inf_count")[-1] > 0
        where = ""
        if infinite.any():
            where = f"; the first Inf is in {window.table.paths[int(np.flatnonzero(infinite)[-1])]}"
        text = f"gradients overflow float16 (65504) at any scale down to {scale:g}{where}"
        if self._finite_losses_at_most_one(window):
            text = (
                "the loss is finite, and its gradients are not, even at a scale of 1 and below: "
                "the derivative of an operation leaves the range of float16 (65504), as that of "
                "the approximate GELU does from 256 on"
            )
        elif (window.context("loss_nonfinite_age")[-2:] >= 0).all():
            text = (
                "the loss itself is NaN or Inf, so no scale helps: the forward pass leaves the "
                "range of float16 (65504), e.g. by a mask of -1e9 or exp"
            )
        # 0 / 0 gives NaN; what overflows is Inf first.
        undefined = (window.statistic("gradient_nan_count")[-1] > 0).any() and not infinite.any()
        small = vanished_constant_cause(window) if undefined else None
        large = cause("numeric_overflow", 0.5 if small else 0.8, f"{text}.")
        return Finding(
            summary=f"The loss scale fell from {highest:g} to {scale:g}; {share:.0%} of the last "
            f"{int(window.spans.sum())} steps (up to step {window.step}) were skipped."
            f"{scale_ends(scale)}",
            evidence=(
                Evidence("loss_scale", scale, self.lowest),
                Evidence("skipped_share", share, self.skipped),
            ),
            causes=(large,) if small is None else (small, large),
            fixes=(OTHER_RANGE,) if small is None else (LARGER_CONSTANT, OTHER_RANGE),
        )
