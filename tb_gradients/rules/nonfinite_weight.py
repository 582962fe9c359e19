"""NaN or Inf in a weight."""

from __future__ import annotations

from tb_gradients.flags import Evidence, Severity
from tb_gradients.judging.base import Basis, Detection, Finding, Rule
from tb_gradients.judging.before_nan import (
    NONFINITE_COMES_OF,
    NONFINITE_NEEDS,
    is_huge,
    nonfinite_causes,
    nonfinite_comes_of,
    nonfinite_fixes,
)
from tb_gradients.judging.causes import likeliest
from tb_gradients.judging.optimizer_faults import breaks_weights_cause, breaks_weights_fix
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import names, plural


class NonfiniteWeight(Rule):
    """A weight is NaN or Inf: from this step on the model is lost.

    Why it matters: every prediction that uses the weight is NaN, and so is every further gradient.
    More training changes nothing.

    Definition: at least one element of a variable is NaN or Inf after a step (an exact count). The
    finding names the variables of the first frame in which it was seen, the one nearest the loss
    first. The monitor records a frame at the step at which a gradient becomes non-finite.

    Try:
    * Go back to a checkpoint from before this step.
    * Then follow the advice of nonfinite_gradient: data, learning rate, unsafe operations.
    * `keras.callbacks.TerminateOnNaN()` or `stop_on="critical"` saves the computing time.

    Silent when: all weights are finite.
    """

    id = "nonfinite_weight"
    title = "NaN or Inf in a weight"
    severity = Severity.CRITICAL
    signs = ("weight_nonfinite_count",)
    needs = (*NONFINITE_NEEDS, "weight_nonfinite_count", "nonfinite_age")
    picture = Picture(statistic="weight_rms", chart=("weight_norm", "update_norm"))
    healthy = (Healthy("weight_nonfinite_count", below=0.0),)
    # A weight stays NaN when gradients are finite again, so its cause has not ended then.
    comes_of = ("nonfinite_gradient", "nonfinite_loss", *NONFINITE_COMES_OF)
    about_onset = True

    basis = Basis(sees=("weight_nonfinite_count",))

    def detect(self, window: Window) -> Detection:
        bad = window.statistic("weight_nonfinite_count")[-1] > 0
        return Detection.of(bad, window.step, self.severity, together=True)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        nearest = rows[::-1]
        row = int(nearest[0])
        count = float(window.statistic("weight_nonfinite_count")[-1][row])
        total = int(window.rows.elements[row])
        others = f", and of {plural(len(rows) - 1, 'more variable')}" if len(rows) > 1 else ""
        causes = nonfinite_causes(window, since)
        optimizer = None
        # An explosion that leaves the range of the numbers, and bad data, have causes of their own.
        if likeliest(causes) in ("", "numeric_overflow", "low_precision"):
            coarse = likeliest(causes) == "low_precision"
            optimizer = breaks_weights_cause(window, rows, known_only=coarse or is_huge(window))
        if optimizer is None:
            fixes = nonfinite_fixes(window, causes)
        else:
            causes = (optimizer,)
            fixes = (breaks_weights_fix(window, rows),)
        if since > 0:
            fixes += (
                f"Go back to a checkpoint from before step {since}: a NaN weight does not recover.",
            )
        return Finding(
            summary=f"{count:.0f} of {total} weights of {names(window.table, [row])} were NaN or "
            f"Inf after step {since}{others}.",
            evidence=(
                Evidence("weight_nonfinite_count", count, 0),
                Evidence("variables_affected", len(rows)),
            ),
            causes=causes,
            fixes=fixes,
            comes_of=("nonfinite_gradient", "nonfinite_loss", *nonfinite_comes_of(causes)),
            rows=tuple(int(r) for r in nearest),
        )
