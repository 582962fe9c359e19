"""The loss falls below zero without a bound."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.learning import MINIMUM_STEPS
from tb_gradients.judging.outputs import BINARY_TARGETS, beyond_binary
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import in_fit

RIGHT_SIGN = (
    "Check the sign: the loss must be something to minimise, such as `-log_prob(y)`, the negative "
    "of a reward or of a lower bound, and the squared error itself."
)


class UnboundedLoss(Rule):
    """The loss falls below zero, ever faster, and the gradients grow: it has no lower bound.

    Why it matters: there is no optimum. The weights grow until they overflow, and the falling loss
    says nothing about the model. Mostly the sign is wrong, and a likelihood is minimised.

    Definition: the loss is negative, its magnitude has grown 1000-fold since the first 10 steps,
    the last third of the steps lowered it more than the third before, and the norm of all
    gradients has grown tenfold. `info` from 100-fold on, critical from a million-fold on.

    Try:
    * Check the sign of the loss: `-log_prob(y)`, not `log_prob(y)`.
    * Binary cross-entropy: all targets must lie between 0 and 1.
    * A loss that is maximised by design needs a bound: clip it, or penalise the weights (the critic
      of a Wasserstein GAN needs its gradient penalty).

    Silent when: the loss falls slower and slower, as log-likelihoods, returns and energies do on
    their way to an optimum, however far below zero; the gradients do not grow.
    """

    id = "unbounded_loss"
    title = "The loss falls without bound"
    severity = Severity.CRITICAL
    needs = (
        "loss_mean",
        "global_norm",
        "targets_min",
        "targets_max",
        "targets_std",
    )
    picture = Picture(statistic="gradient_rms", chart=("loss_mean", "global_norm"))
    dense = True
    follows = ("bad_data:loss_output_mismatch",)

    grown = Threshold(
        100.0, "returns of control tasks grow 50-fold from the first episodes to the best ones"
    )
    far = Threshold(1000.0, "a healthy loss that starts near zero may grow a hundredfold")
    hopeless = Threshold(1e6, "no unit of a loss explains it")
    gradients = Threshold(
        10.0, "towards an optimum gradients shrink; of a linear loss they are constant"
    )
    pace = Threshold(1.2, "a parabola has 1.8, a straight line 1, a logarithm 0.57")

    basis = Basis(sees=("loss_mean", "global_norm"), loss_steps=MINIMUM_STEPS)

    def detect(self, window: Window) -> Detection | None:
        growth = self._growth(window)
        if not growth >= self.grown:  # cheap, and nearly always so
            return HEALTHY
        gradients = self._gradients(window)
        if not (window.learning.pace >= self.pace and gradients >= self.gradients):
            return HEALTHY
        severity = Severity.INFO
        if growth >= self.far:
            severity = Severity.CRITICAL if growth >= self.hopeless else Severity.WARNING
        return Detection.of_run(window.first_step, severity)

    @staticmethod
    def _gradients(window: Window) -> float:
        """How often the norm of all gradients of the first steps goes into that of now."""
        start = window.context_at_start("global_norm")
        return _recent(window, "global_norm") / start if start > 0 else float("nan")

    @staticmethod
    def _growth(window: Window) -> float:
        """How often the magnitude of the loss at the start goes into that of now; 0 above zero."""
        learning = window.learning
        if not learning.now < 0:  # cheap, and nearly always so
            return 0.0
        lowest = np.fmin(learning.now, _recent(window, "loss_mean"))
        return max(-float(lowest), 0.0) / max(abs(learning.start), 1e-12)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        learning = window.learning
        growth, gradients = self._growth(window), self._gradients(window)
        causes = self._causes(window)
        now = -growth * abs(learning.start)
        return Finding(
            summary=f"The loss fell from {learning.start:.3g} to {now:.3g} in "
            f"{learning.steps} steps, ever faster, while the gradients grew {gradients:.3g}-fold: "
            "it has no lower bound.",
            evidence=(
                Evidence("loss_growth", growth, self.far),
                Evidence("gradient_growth", gradients, self.gradients),
                Evidence("pace", learning.pace, self.pace),
            ),
            causes=causes,
            fixes=tuple(
                BINARY_TARGETS if reason.id == "loss_output_mismatch" else RIGHT_SIGN
                for reason in likeliest_first(causes)
            ),
        )

    @staticmethod
    def _causes(window: Window) -> tuple[Cause, ...]:
        wrong = beyond_binary(window)
        if wrong is not None:
            return (cause("loss_output_mismatch", 0.9, f"{wrong}."),)
        what = f"{window.table.run.loss} " if in_fit(window.table) and window.table.run.loss else ""
        text = f"the loss {what}is negative and falls faster the lower it is"
        return (cause("wrong_sign", 0.8, f"{text}: its minimum is minus infinity."),)


RECENT = 9
"""The median of so many frames is what a loss or a norm is now, whatever single batches do."""


def _recent(window: Window, name: str) -> float:
    values = window.context(name)[-RECENT:]
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
