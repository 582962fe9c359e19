"""Clipping decides the size of the steps."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning_rates import (
    ADAPTIVE,
    ADAPTIVE_EPSILON,
    LIMITS,
    optimizer_code,
    settings_of,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import IntArray, Rows, Window
from tb_gradients.judging.words import NO_UPDATE_LOOKED_AT, names

NEAR_EPSILON = 10.0
"""At this multiple of epsilon, Adam divides a gradient by 1.1 times its own size."""


def limits(table: VariableTable, _: Rows) -> dict[str, float]:
    """The limits of the gradient that are set in the optimizer."""
    settings = settings_of(table)
    return {name: settings[name] for name in LIMITS if name in settings}


class ClippingDominates(Rule):
    """Nearly every gradient is cut down to a small part of itself.

    Why it matters: the limit, not the data, decides the size of the steps. With plain SGD, a limit
    far below the usual norm acts like a learning rate that is too small by the same factor.

    Definition: the optimizer has a limit, and in more than half of the last 20 or more steps that
    changed weights, less than a tenth of the gradient's norm was left after clipping. It is a
    warning if the run does not learn (for Adam and similar optimizers only if clipping brings the
    gradient near epsilon). It is also a warning if the steps scale with the gradient (SGD), less
    than a hundredth is left, and a step changes the median kernel by less than 1e-4.

    Try:
    * Raise the limit to a few times the usual norm (Pascanu, Mikolov, Bengio 2013 take up to ten
      times the average norm).
    * Or raise the learning rate by the factor that clipping takes away.

    Silent when: clipping only catches spikes. Only `info` while the run learns: language models
    clip by design, and the steps of Adam do not depend on the gradient's scale.
    """

    id = "clipping_dominates"
    title = "Clipping decides the steps"
    severity = Severity.WARNING
    needs = ("applied_norm", "gradient_norm", "update_ratio", "update_norm", "applied_steps")
    picture = Picture(statistic="applied_norm", chart=("gradient_norm", "applied_norm"))
    every = 4
    provisional = False

    left = Threshold(0.1, "limits for spikes are near the usual norm and leave more than a tenth")
    share = Threshold(0.5, "more often than not")
    steps = Threshold(20, "the norms of the first steps are larger than later ones")
    frames = Threshold(3, "one or two frames may be spikes")
    hardly_any = Threshold(0.01, "as if the learning rate were a hundred times smaller")
    slow = Threshold(1e-4, "a tenth of the usual relative step")

    basis = Basis(sees=("gradient_norm",), steps=steps, frames=frames)
    unjudged = NO_UPDATE_LOOKED_AT

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        return "" if self._limits(window) else "the optimizer does not clip"

    def detect(self, window: Window) -> Detection | None:
        judged = window.rows.judged
        if not self._limits(window):
            return HEALTHY
        reach = window.last_frames(self.steps, self.frames)
        if reach is None:
            return None
        left = self._left(window)
        known = np.isfinite(left[reach]) & window.own_step_applied()[reach]
        cut = known & (left[reach] < self.left)
        if known.sum() < self.frames:
            return None
        if cut.sum() <= self.share * known.sum():
            return HEALTHY
        typical = float(np.median(left[reach][known]))
        severity = Severity.INFO
        applied = self._applied(window)[-1] / np.sqrt(window.rows.elements)
        # Steps that do not scale with the gradient do not scale with its limit either, except
        # near epsilon.
        harmless = window.table.run.optimizer in ADAPTIVE and bool(
            np.nanmedian(applied[judged]) > NEAR_EPSILON * ADAPTIVE_EPSILON
        )
        if window.learning.stuck:
            severity = Severity.INFO if harmless else Severity.WARNING
        elif (
            typical < self.hardly_any
            and window.table.run.optimizer not in ADAPTIVE
            and not window.learning.converged
        ):
            ratio = window.statistic("update_ratio")[reach][:, judged & window.rows.kernel]
            if np.isfinite(ratio).any() and np.nanmedian(ratio) < self.slow:
                severity = Severity.WARNING
        own = self._applied(window)[-1] / window.statistic("gradient_norm")[-1]
        faulty = judged & (own < self.left)
        faulty = faulty if faulty.any() else judged & (window.statistic("gradient_norm")[-1] > 0)
        first = int(np.argmax(cut))
        return Detection.of(faulty, int(window.steps[reach][first]), severity, together=True)

    @staticmethod
    def _limits(window: Window) -> dict[str, float]:
        return window.rows.once(limits)

    @classmethod
    def _applied(cls, window: Window) -> FloatArray:
        """[frames, variables]: the norm after clipping; if not measured, its upper bound."""
        applied = window.statistic("applied_norm")
        limit = cls._limits(window).get("clipvalue")
        if limit is None or not np.isnan(applied[-1]).all():
            return applied
        most = limit * np.sqrt(window.rows.elements)
        bound: FloatArray = np.minimum(window.statistic("gradient_norm"), most).astype(np.float32)
        return bound

    @classmethod
    def _left(cls, window: Window) -> FloatArray:
        """float [frames]: the share of the norm of all gradients that is left after clipping."""
        applied = cls._applied(window)
        before, after = (
            np.sqrt(np.nansum(np.square(norms, dtype=np.float64), axis=1))
            for norms in (window.statistic("gradient_norm"), applied)
        )
        measured = np.isfinite(applied).any(axis=1)
        return np.where(measured & (before > 0), after / before, np.nan).astype(np.float32)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        left = self._left(window)
        typical = float(np.nanmedian(left))
        norm = np.sqrt(np.nansum(np.square(window.statistic("gradient_norm")), axis=1))
        usual = float(np.median(norm))
        name, limit = next(iter(self._limits(window).items()))
        better = 3 * usual if name != "clipvalue" else limit / max(typical, 1e-6)
        code = optimizer_code(window.table, **{name: float(f"{better:.2g}")})
        return Finding(
            summary=f"Clipping ({name}={limit:g}) left {typical:.2g} of the gradient in most steps "
            f"from step {since} on ({names(window.table, rows)}); the usual norm was {usual:.3g}.",
            with_loss=True,
            evidence=(
                Evidence("gradient_left", typical, self.left),
                Evidence(name, limit),
                Evidence("gradient_norm", usual),
            ),
            causes=(
                cause(
                    "clipping_too_tight",
                    0.9 if typical < self.hardly_any else 0.7,
                    f"{name} is {limit:g}, the usual norm of the gradient {usual:.3g}.",
                ),
            ),
            fixes=(f"Raise the limit: `{code}`.",),
        )
