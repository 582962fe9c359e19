"""NaN or Inf as the loss."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule
from tb_gradients.judging.before_nan import (
    NONFINITE_COMES_OF,
    NONFINITE_NEEDS,
    nonfinite_causes,
    nonfinite_comes_of,
    nonfinite_fixes,
)
from tb_gradients.judging.window import IntArray, Window


class NonfiniteLoss(Rule):
    """The loss is NaN or Inf.

    Why it matters: such a loss has no usable gradient. In nearly every case the gradients of this
    step are NaN as well.

    Definition: the loss of at least one step was NaN or Inf. The monitor counts every step,
    recorded or not.

    Try:
    * Check inputs and targets of that step for missing values.
    * Use the loss from logits: softmax or sigmoid followed by log gives log(0).
    * Lower the learning rate if the loss had grown before.

    Silent when: the loss is not seen. Pass it with monitor.step(loss=loss).
    """

    id = "nonfinite_loss"
    title = "The loss is NaN or Inf"
    severity = Severity.CRITICAL
    needs = (*NONFINITE_NEEDS, "loss")
    follows = ("nonfinite_gradient", "nonfinite_weight")
    comes_of = NONFINITE_COMES_OF
    about_onset = True

    basis = Basis(sees=("loss_nonfinite_age",))

    def detect(self, window: Window) -> Detection:
        age = float(window.context("loss_nonfinite_age")[-1])
        if not age >= 0:
            return HEALTHY
        return Detection.of_run(window.step - int(age), self.severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        losses = window.context("loss_mean")
        finite = losses[np.isfinite(losses)]
        before = f"; the last finite mean was {finite[-1]:.3g}" if finite.size else ""
        causes = nonfinite_causes(window, since)
        return Finding(
            summary=f"The loss was NaN or Inf at step {since}{before}.",
            evidence=(
                Evidence("loss_nonfinite_age", float(window.context("loss_nonfinite_age")[-1]), 0),
            ),
            causes=causes,
            fixes=nonfinite_fixes(window, causes),
            comes_of=nonfinite_comes_of(causes),
        )
