"""Rounding removes the update."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.optimizer_faults import no_correction_cause, no_correction_fix
from tb_gradients.judging.precision import COARSE
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import NO_UPDATE_LOOKED_AT, layer, names


class UpdateLost(Rule):
    """The steps are smaller than the spacing of the weights' numbers, and are rounded away.

    Why it matters: the next number after 1 is 1.008 in bfloat16 and 1.001 in float16. A step of
    less than half of that leaves the weight exactly as it is, every time. Such steps never add up.

    Definition: more than half of the elements with a non-zero gradient have not changed, at every
    frame of at least 20 applied updates, in a weight of float16 or bfloat16. (In float32 a step
    that small is too small anyway: update_too_small.) The elements are compared bit by bit.

    Try:
    * Keep the variables in float32 and compute in 16 bits:
      `keras.mixed_precision.set_global_policy("mixed_bfloat16")`.
    * If memory does not allow that: stochastic rounding, or Kahan summation.

    Silent when: steps of gradient accumulation apply nothing; the policy is mixed, whose variables
    are float32. Only `info` if less than nine in ten elements are lost and the run learns.
    """

    id = "update_lost"
    title = "Rounding removes the update"
    severity = Severity.CRITICAL
    signs = ("lost_share",)
    needs = (
        "lost_share",
        "update_norm",
        "update_ratio",
        "gradient_norm",
        "applied_steps",
        "learning_rate",
    )
    every = 4

    share = Threshold(
        0.5, "most of the weights; below that, mainly large weights lose their updates"
    )
    healthy = (Healthy("lost_share", below=share),)
    nearly_all = Threshold(0.9, "one weight in ten moves: the variable does not train")
    steps = Threshold(20, "rounding needs no statistics; so many steps rule out an accident")
    frames = Threshold(3, "the same, if only every tenth step is recorded")

    basis = Basis(sees=("lost_share",), updates=steps, frames=frames)
    unjudged = NO_UPDATE_LOOKED_AT

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        return "" if self._judged(window).any() else "no weight is float16 or bfloat16"

    @staticmethod
    def _judged(window: Window) -> BoolArray:
        rows = window.rows
        judged: BoolArray = rows.judged & ~rows.minor & (rows.rounding > COARSE)
        return judged

    def detect(self, window: Window) -> Detection | None:
        lost = window.statistic("lost_share")
        candidates = self._judged(window) & (lost[-1] > self.share)
        if not candidates.any():
            return HEALTHY
        applied = np.nan_to_num(window.context("applied_steps"), nan=1.0)
        # If rounding removes every update, no weight moves: only the optimizer knows of it.
        own = window.own_step_applied() | (applied >= window.spans)
        if window.latest("learning_rate") == 0 or not own[-1]:
            return None
        reach = window.last_frames(self.steps, self.frames, np.where(own, applied, 0))
        if reach is None:
            return None
        known = own[:, np.newaxis] & np.isfinite(lost)
        bad = known & (lost > self.share)
        faulty = candidates & ~(known & ~bad)[reach].any(axis=0)
        faulty &= known[reach].sum(axis=0) >= self.frames
        learning = window.learning
        mild = Severity.INFO if learning.learning else Severity.WARNING
        severe = Severity.CRITICAL if learning.stuck else Severity.WARNING
        severity = np.where(lost[-1] > self.nearly_all, int(severe), int(mild))
        return Detection.of(faulty, lambda: window.onset(bad, known, per_step=True), severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        lost = window.statistic("lost_share")[-1][rows]
        value = float(np.nanmax(lost))
        variable = window.table.variables[int(rows[0])]
        spacing = 2 * float(window.rows.rounding[int(rows[0])])
        always = no_correction_cause(window, rows)
        if always is not None:
            return Finding(
                summary=f"No weight of {names(window.table, rows)} was changed by any step from "
                f"step {since} on, although {value:.0%} of them had a gradient.",
                evidence=(Evidence("lost_share", value, self.share),),
                causes=(always,),
                fixes=(no_correction_fix(window, rows),),
            )
        fix = (
            f"Keep the variables of {layer(variable)} in float32: "
            f'`dtype="mixed_{variable.dtype}"` for the layer, or '
            f'`keras.mixed_precision.set_global_policy("mixed_{variable.dtype}")`.'
        )
        return Finding(
            summary=f"From step {since} on, {value:.0%} of the weights of "
            f"{names(window.table, rows)} with a gradient did not change: the steps were below "
            f"half the spacing of {variable.dtype} numbers.",
            evidence=(
                Evidence("lost_share", value, self.share),
                Evidence("relative_spacing", spacing),
            ),
            causes=(
                cause(
                    "low_precision",
                    0.95 if value > self.nearly_all else 0.8,
                    f"the variables are {variable.dtype}, with a spacing of {spacing:.1e} "
                    "relative to the number.",
                ),
            ),
            fixes=(fix,),
        )
