"""The last layer does not fit the loss."""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.frames import VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.networks import RELU
from tb_gradients.judging.outputs import (
    ALIKE,
    beyond_range,
    constant_output,
    constrained,
    head_rows,
    output_mismatch,
    range_is_known,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window


def mismatch(table: VariableTable, _: Rows) -> tuple[str, str, bool] | None:
    """What in the model does not fit its loss."""
    return output_mismatch(table)


class ModelMismatch(Rule):
    """The activation of the last layer, or the shape of its output, does not fit the loss.

    Why it matters: the loss interprets the output as something that it is not. The loss may fall
    while the predictions stay useless.

    Definition: found in the model and the loss: softmax on a single unit (always 1); softmax
    applied twice; an activation before a loss from logits; no activation, or one with the wrong
    range, before a cross-entropy of probabilities; an output that may be negative before a Poisson
    loss. Or found in the graph of the step: predictions [n, 1] minus targets [n] (or the other way
    round), which broadcasts to [n, n]. Or found in the targets of a custom training loop: the only
    output has a limited range, and the targets of most batches lie beyond it by half of that range.
    It is `info` by itself. It is a warning if the run does not learn, if the loss is negative, if a
    ReLU has switched outputs off for every batch, or if the fault always hurts: softmax on one
    unit, softmax twice, and that broadcast. For some of these faults Keras computes the gradient
    from cached logits: the loss falls although the predictions are useless. So for softmax on one
    unit the predictions decide, not the loss.

    Try:
    * One unit: sigmoid with BinaryCrossentropy. Several classes: softmax with
      CategoricalCrossentropy. No activation: the same losses with from_logits=True.
    * Give predictions and targets the same shape in a custom loss. The losses of Keras do so.

    Silent when: the loss is not a cross-entropy of Keras; the model has several outputs. The
    broadcast is not reported if both sides are learnt or neither is (pairs are compared on
    purpose), nor in eager steps, which have no graph.
    """

    id = "model_mismatch"
    title = "The output does not fit the loss"
    severity = Severity.CRITICAL
    needs = (
        "predictions_spread",
        "predictions_min",
        "predictions_max",
        "targets_min",
        "targets_max",
        "dead_unit_share",
        "loss_mean",
    )
    picture = Picture(
        chart=("predictions_min", "predictions_max", "targets_min", "targets_max"),
    )
    every = 4

    steps = Threshold(10, "the predictions of the first steps say little")
    spread = Threshold(ALIKE, "of predictions in [0, 1]: only rounding")

    basis = Basis(sees=(), steps=steps)

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        run = window.table.run
        if window.rows.once(mismatch) is None and run.loss and not constrained(run.loss):
            return "the loss accepts any output, or is not a loss of Keras"
        return ""

    def not_seen(self, window: Window) -> str:
        run = window.table.run
        known = run.loss or window.was_seen("targets_max")
        if window.rows.once(mismatch) is not None or (known and run.facts.get("head_activation")):
            return ""
        return (
            "needs the model's last layer and its loss: compile the model with a loss of Keras, "
            "and attach with `GradientHealth` or `watch(..., model=model)`"
        )

    def may_find(self, window: Window, frames: slice) -> BoolArray | None:
        if window.rows.once(mismatch) is not None or range_is_known(window.table):
            return None
        return np.zeros(len(window), bool)[frames]

    def detect(self, window: Window) -> Detection | None:
        wrong = self._wrong(window)
        if wrong is None:
            return HEALTHY
        if window.last_frames(self.steps) is None:
            return None
        if constant_output(window, self.spread):
            severity = Severity.CRITICAL
        elif wrong[2] or window.learning.failing or self._dead(window) or self._negative(window):
            severity = Severity.WARNING
        else:
            severity = Severity.INFO
        rows = head_rows(window)
        if not rows.any():
            return Detection.of_run(window.first_step, severity)
        return Detection.of(rows, window.first_step, severity, together=True)

    @staticmethod
    def _wrong(window: Window) -> tuple[str, str, bool] | None:
        beyond = beyond_range(window)
        return window.rows.once(mismatch) or (beyond and (*beyond, False))

    @staticmethod
    def _negative(window: Window) -> bool:
        """Whether the loss is one that a limited output cannot have for targets in its range."""
        return beyond_range(window) is not None and window.latest("loss_mean") < 0

    @staticmethod
    def _dead(window: Window) -> bool:
        """Whether a class is never predicted any more, because its output is always zero."""
        cut = window.table.run.facts.get("head_activation", "") in RELU
        return cut and bool((window.statistic("dead_unit_share")[-1][head_rows(window)] > 0).any())

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        loss = window.table.run.loss
        text, fix, certain = self._wrong(window) or ("", "", False)
        spread, learning = window.latest("predictions_spread"), window.learning
        seen = ""
        if spread <= self.spread:
            seen = f"; the predictions were {window.latest('predictions_max'):.3g} for every sample"
        observed = (
            Evidence("predictions_spread", spread, self.spread),
            Evidence("predictions_max", window.latest("predictions_max")),
            Evidence("loss_median", learning.now, learning.guess),
        )
        return Finding(
            summary=f"{text[:1].upper()}{text[1:]}{seen}.",
            with_loss=True,
            evidence=tuple(one for one in observed if not math.isnan(one.value)),
            causes=(
                cause(
                    "loss_output_mismatch",
                    0.95 if certain else 0.8,
                    f"{text} ({loss})." if loss else f"{text}.",
                ),
            ),
            fixes=(self._for_regression(window) or fix,),
        )

    @staticmethod
    def _for_regression(window: Window) -> str:
        """The layer for targets that neither softmax nor sigmoid can reach; "" for others."""
        facts, loss = window.table.run.facts, window.table.run.loss.lower()
        if facts.get("head_activation") != "softmax" or "crossentropy" in loss.replace("_", ""):
            return ""
        low, high = window.context("targets_min"), window.context("targets_max")
        if not ((low < 0) | (high > 1)).any():
            return ""
        head, units = facts.get("head", ""), facts.get("head_units", "units")
        named = f', name="{head}"' if head else ""
        code = f"`keras.layers.Dense({units}{named})`"
        return f"{code}, without an activation: the targets are numbers, not classes."
