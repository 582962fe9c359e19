"""NaN or Inf as the loss."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule
from tb_gradients.judging.before_nan import (
    NONFINITE_COMES_OF,
    NONFINITE_NEEDS,
    locate,
    nonfinite_causes,
    nonfinite_comes_of,
    nonfinite_fixes,
)
from tb_gradients.judging.causes import cause, likeliest
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Window


class NonfiniteLoss(Rule):
    """The loss is NaN or Inf.

    Why it matters: such a loss has no usable gradient. In nearly every case the gradients of this
    step are NaN as well.

    Definition: the loss of at least one step was NaN or Inf. The monitor counts every step,
    recorded or not. It is a warning if every gradient of these steps was finite: then the model
    trains, but metrics and callbacks that read the loss do not work.

    Try:
    * Check inputs and targets of that step for missing values.
    * Use the loss from logits: softmax or sigmoid followed by log gives log(0).
    * Lower the learning rate if the loss had grown before.

    Silent when: the loss is not seen. Pass it with monitor.step(loss=loss).
    """

    id = "nonfinite_loss"
    title = "The loss is NaN or Inf"
    severity = Severity.CRITICAL
    needs = (*NONFINITE_NEEDS, "loss", "nonfinite_age", "weight_nonfinite_count")
    picture = Picture(statistic="gradient_rms", chart=("loss", "global_norm"))
    follows = ("nonfinite_gradient", "nonfinite_weight")
    comes_of = NONFINITE_COMES_OF
    about_onset = True

    basis = Basis(sees=("loss_nonfinite_age",))

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        found: BoolArray = window.context("loss_nonfinite_age")[frames] >= 0
        return found

    def detect(self, window: Window) -> Detection:
        age = float(window.context("loss_nonfinite_age")[-1])
        if not age >= 0:
            return HEALTHY
        alone = self._alone(window)
        return Detection.of_run(
            window.step - int(age), Severity.WARNING if alone else self.severity
        )

    @staticmethod
    def _alone(window: Window) -> bool:
        """Whether every gradient of these steps was finite, and the weights are."""
        gradients = window.statistic("nonfinite_age")[-1]
        known = ~np.isnan(gradients)
        broken = (gradients >= 0) | (window.statistic("weight_nonfinite_count")[-1] > 0)
        return bool(known.any() and not broken.any())

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        losses = window.context("loss_mean")
        finite = losses[np.isfinite(losses)]
        before = f"; the last finite mean was {finite[-1]:.3g}" if finite.size else ""
        causes = nonfinite_causes(window, since)
        if self._alone(window) and likeliest(causes) in ("", "numeric_overflow"):
            return self._explain_alone(window, since, before)
        return Finding(
            summary=f"The loss was NaN or Inf at step {since}{before}.",
            evidence=(
                Evidence("loss_nonfinite_age", float(window.context("loss_nonfinite_age")[-1]), 0),
            ),
            causes=causes,
            fixes=nonfinite_fixes(window, causes),
            comes_of=nonfinite_comes_of(causes),
        )

    @staticmethod
    def _explain_alone(window: Window, since: int, before: str) -> Finding:
        text = (
            "every gradient of that step was finite: a term of the loss is 0 * inf, or the "
            "logarithm of 0, where its gradient is cut off (masked classes or samples)"
        )
        return Finding(
            summary=f"The loss was NaN or Inf at step {since}{before}, although every gradient was "
            "finite. The model trains; what reads the loss (metrics, EarlyStopping, "
            "ReduceLROnPlateau, TerminateOnNaN) does not work.",
            evidence=(
                Evidence("loss_nonfinite_age", float(window.context("loss_nonfinite_age")[-1]), 0),
                Evidence("gradient_nonfinite_count", 0.0, 0),
            ),
            causes=(cause("numeric_overflow", 0.85, f"{text}."),),
            fixes=(
                (
                    "Leave masked terms out of the sum instead of multiplying them by 0: "
                    "`tf.math.multiply_no_nan(term, mask)` or `tf.where(mask > 0, term, 0.0)`. "
                    f"{locate(window)}"
                ),
            ),
            comes_of=(),
        )
