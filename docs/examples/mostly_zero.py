"""A rule of your own: nearly all of a kernel's gradient is exactly zero.

tbg.GradientHealth("logs/run1", rules=[MostlyZero])       # while a model trains
tbg.load("logs", rules=[MostlyZero])                      # for recorded runs
tb-gradients check logs --rules mostly_zero.py            # in the terminal
"""

from __future__ import annotations

import numpy as np

from tb_gradients.judging import (
    Basis,
    Detection,
    Evidence,
    Finding,
    IntArray,
    Rule,
    Severity,
    Threshold,
    Window,
)


class MostlyZero(Rule):
    """Nearly all elements of a kernel's gradient were exactly zero.

    Why it matters: at any step only a few weights of the layer learn.

    Definition: at least 99 % zeros at every frame of the last 20 steps.

    Try:
    * Look at what enters the layer: are most of its inputs always zero?

    Silent when: the variable is an embedding, which works like that.
    """

    id = "mostly_zero"
    title = "Nearly all of a gradient is zero"
    severity = Severity.WARNING
    needs = ("gradient_zero_share",)  # it sees these columns and no others

    share = Threshold(0.99, "one-hot inputs of 50 classes give 0.98, and learn")
    steps = Threshold(20, "a few batches without a feature are chance")
    basis = Basis(steps=steps)  # until then its silence means nothing

    def detect(self, window: Window) -> Detection | None:
        """Which variables are affected at the newest frame; a few vector operations."""
        reach = window.last_frames(self.steps)
        if reach is None:  # too early to tell
            return None
        share = window.statistic("gradient_zero_share")  # [frames, variables]; NaN: not measured
        zero, known = share >= self.share, ~np.isnan(share)
        affected = window.rows.judged & window.rows.kernel & zero[reach].all(axis=0)
        return Detection.of(affected, window.onset(zero, known, per_step=True), self.severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        """What to say about them: one sentence with the number that decided."""
        worst = float(window.statistic("gradient_zero_share")[-1][rows].max())
        return Finding(
            summary=f"{worst:.1%} of the gradient was exactly zero since step {since}.",
            evidence=(Evidence("gradient_zero_share", worst, self.share),),
        )
