"""NaN or Inf in a gradient."""

from __future__ import annotations

import dataclasses

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.before_nan import (
    NONFINITE_COMES_OF,
    NONFINITE_NEEDS,
    nonfinite_causes,
    nonfinite_comes_of,
    nonfinite_fixes,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import scale_ends, uses_loss_scale
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import names, plural


class NonfiniteGradient(Rule):
    """A gradient holds NaN or Inf.

    Why it matters: one step with a NaN gradient makes the weight NaN. At the next step every weight
    before and behind it becomes NaN too. Training cannot recover.

    Definition: at least one element of a trainable variable's gradient is NaN or Inf, at any step:
    the monitor counts every step, recorded or not, and keeps the exact first one. The finding names
    the variable of the earliest step. Among several of one step it names the one nearest the loss,
    because back-propagation carries NaN from there to all others (TensorFlow's check_numerics uses
    the same convention: first in execution order).

    Try:
    * Look at the batch of that step: missing values are the most common source.
    * Lower the learning rate if the loss or the norms had grown before.
    * Guard `log`, division, `sqrt` and `exp`. Use losses with `from_logits=True`.

    Silent when: a loss-scaling optimizer skips the step, as it does in the first steps while it
    searches for its scale, unless it keeps skipping.
    """

    id = "nonfinite_gradient"
    title = "NaN or Inf in the gradient"
    severity = Severity.CRITICAL
    signs = ("nonfinite_age", "gradient_nan_count", "gradient_inf_count")
    needs = (
        *NONFINITE_NEEDS,
        "nonfinite_age",
        "skipped_steps",
        "loss_scale",
    )
    picture = Picture(statistic="gradient_rms", chart=("gradient_norm", "loss"))
    healthy = (Healthy("gradient_nonfinite_count", below=0.0),)
    follows = ("loss_scale_collapse", "nonfinite_weight", "nonfinite_loss")
    comes_of = NONFINITE_COMES_OF
    about_onset = True

    skipped_in_a_row = Threshold(
        30,
        "from 2^15 a loss scale halves 15 times to 1, and about 15 times more until "
        "float16 gradients vanish; longer skipping is no search for a scale, the data are "
        "bad",
    )

    basis = Basis(sees=("nonfinite_age",))

    def needed(self, window: Window) -> Needed:
        needed = super().needed(window)
        if not uses_loss_scale(window):
            return needed
        return dataclasses.replace(needed, steps=self.skipped_in_a_row)

    def detect(self, window: Window) -> Detection | None:
        age = window.statistic("nonfinite_age")[-1]
        bad = (
            (age >= 0)
            | (window.statistic("gradient_nan_count")[-1] > 0)
            | (window.statistic("gradient_inf_count")[-1] > 0)
        )
        if not bad.any():
            return HEALTHY
        if self._skipped(window):
            return None
        since = window.step - np.where(age >= 0, age, 0).astype(np.int64)
        return Detection.of(bad, since, self.severity, together=True)

    def _skipped(self, window: Window) -> bool:
        """Whether the optimizer skipped the bad steps, and has not done so for too long."""
        skipped = np.nan_to_num(window.context("skipped_steps"))
        if skipped[-1] == 0:
            return False
        every = skipped >= window.spans
        run = len(every) if every.all() else int(np.argmax(~every[::-1]))
        return int(window.spans[len(every) - run :].sum()) < self.skipped_in_a_row

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        age = np.nan_to_num(window.statistic("nonfinite_age")[-1][rows], nan=-1.0)
        first = rows[age >= age.max()][::-1]  # the last in network order is nearest the loss
        row = int(first[0])
        nan = window.statistic("gradient_nan_count")[-1][row]
        inf = window.statistic("gradient_inf_count")[-1][row]
        count = float(np.nan_to_num(nan) + np.nan_to_num(inf))
        total = int(window.rows.elements[row])
        kind = "Inf" if inf > nan else "NaN"
        when = "" if window.step == since else f" at step {window.step}"
        counted = f" ({count:.0f} of {total} elements{when})" if count else ""
        others = (
            f", and {plural(len(rows) - 1, 'more variable')} by step {window.step}"
            if len(rows) > 1
            else ""
        )
        causes = nonfinite_causes(window, since)
        return Finding(
            summary=f"The gradient of {names(window.table, [row])} was {kind} at step {since}"
            f"{counted}{others}.{self._until_zero(window)}",
            evidence=(
                Evidence("gradient_nonfinite_count", count, 0),
                Evidence("variables_affected", len(rows)),
            ),
            causes=causes,
            fixes=nonfinite_fixes(window, causes),
            comes_of=nonfinite_comes_of(causes),
            rows=tuple(int(r) for r in first),
        )

    @staticmethod
    def _until_zero(window: Window) -> str:
        """What a loss scale ends in that is lowered at each of these steps."""
        skipped = window.context("skipped_steps")[-1] > 0
        return scale_ends(window.latest("loss_scale")) if skipped else ""
