"""The first step throws the initial weights away."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.optimizer_faults import replaced_cause, replaced_fix
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import names


def free_kernels(table: VariableTable, rows: Rows) -> BoolArray:
    """Kernels whose values no constraint sets."""
    free = np.array([not variable.constraint for variable in table.variables], bool)
    judged: BoolArray = rows.judged & rows.kernel & free
    return judged


class WeightsReplaced(Rule):
    """The first step replaces the weights instead of changing them.

    Why it matters: what the weights were initialized to, or restored to, is lost. A deep network
    that starts near zero instead learns slowly or not at all.

    Definition: after the first update, the norm of at least half of the kernels is a tenth of the
    norm of that update or less: the update has taken away nine tenths of the weights. If the first
    update is not a frame, the norm at the first frame, within ten updates, is compared with the
    norm at the start.

    Try:
    * ScheduleFreeAdamW: build it before the training: `optimizer.build(model.trainable_variables)`.
    * Ftrl: use it for linear models only.
    * Look at the learning rate times the weight decay: above 0.5, a step removes half of a weight.

    Silent when: there is only one kernel (a linear model needs no random start), or a constraint
    limits the weights.
    """

    id = "weights_replaced"
    title = "The first step replaces the weights"
    severity = Severity.WARNING
    needs = ("update_norm", "weight_norm", "applied_steps", "learning_rate")
    picture = Picture(statistic="weight_rms", chart=("weight_norm", "update_norm"))
    about_onset = True

    kept = Threshold(0.1, "the largest steps of healthy runs leave a third of a kernel and more")
    kernels = Threshold(0.5, "share of the model's kernels: an optimizer treats all alike")
    updates = Threshold(10, "weight decay of usual size removes less than 10 % in so many steps")

    basis = Basis(sees=("weight_norm",), updates=1)

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        return "" if self._judged(window).sum() >= 2 else "there are fewer than two kernels"

    @staticmethod
    def _judged(window: Window) -> BoolArray:
        return window.rows.once(free_kernels)

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        updates, seen = window.seen_by_then(frames)
        first: BoolArray = (seen == 1) | (updates == 1)
        return first

    def detect(self, window: Window) -> Detection:
        first = window.seen.frames == 1 and 0 < window.seen.updates <= self.updates
        if not first and not self._first(window):
            return HEALTHY
        kernels = self._judged(window)
        if kernels.sum() < 2:
            return HEALTHY
        faulty = kernels & (self._kept(window) <= self.kept)
        if faulty.sum() < self.kernels * kernels.sum():
            return HEALTHY
        return Detection.of(faulty, self._since(window), self.severity, together=True)

    @staticmethod
    def _first(window: Window) -> bool:
        """Whether the last frame is that of the first update."""
        return window.seen.updates == 1 and bool(window.own_step_applied()[-1])

    def _since(self, window: Window) -> int:
        return window.step if self._first(window) else window.first_step

    def _kept(self, window: Window) -> FloatArray:
        """float [variables]: what is left of the weights; NaN if unknown."""
        weight = window.statistic("weight_norm")[-1]
        before = window.rows.initial_norm.astype(np.float32)
        if self._first(window):
            # At least so large were they, if nothing is left of them.
            update = window.statistic("update_norm")[-1]
            before = np.where(np.isfinite(update), update, before)
        elif not (window.rows.initial_rms > 0).any():
            before = np.full_like(before, np.nan)
        kept: FloatArray = weight / np.where(before > 0, before, np.nan)
        return kept

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        kept = float(np.nanmedian(self._kept(window)[rows]))
        reason = replaced_cause(window, kept)
        return Finding(
            summary=f"The first update, at step {since}, replaced the weights of "
            f"{names(window.table, rows)}: about {kept:.1%} of their norm was left.",
            evidence=(Evidence("weight_norm_kept", kept, self.kept),),
            causes=(reason,),
            fixes=(replaced_fix(window.table, reason),),
        )
