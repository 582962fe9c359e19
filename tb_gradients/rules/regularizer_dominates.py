"""The penalty on the weights outweighs the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning import GUESS_BAND
from tb_gradients.judging.learning_rates import optimizer_code, settings_of
from tb_gradients.judging.networks import strength
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import layers_of, names

RECENT = 9
"""Frames whose median is what a loss is now."""

DIVIDE_ADDED = (
    "If the loss of the data is a mean over samples and what layers add is a sum over weights, "
    "divide it by the number of samples: `self.add_loss(kl / len(x_train))`. Otherwise multiply it "
    "by a weight that grows from 0 during the first epochs."
)


def normalised(table: VariableTable, _: Rows) -> BoolArray:
    """Kernels whose scale does not matter because a normalisation follows."""
    return np.array(
        [v.facts.get("followed_by", "").endswith("Normalization") for v in table.variables], bool
    )


def penalised(table: VariableTable, rows: Rows) -> bool:
    """Whether a penalty or weight decay pulls at any weight."""
    penalties = any(strength(v, kind) > 0 for v in table.variables for kind in ("l1", "l2"))
    return penalties or settings_of(table).get("weight_decay", 0.0) > 0


class RegularizerDominates(Rule):
    """A penalty, on the weights or added by layers, outweighs the data.

    Why it matters: the optimum of such a loss is that of the penalty, for example all weights zero.
    The model predicts the same for every input.

    Definition: a kernel has an L1 or L2 penalty (gradient l1 * sqrt(n) and 2 * l2 * ‖weights‖) or
    decoupled weight decay, and its norm has fallen below half of its norm at the start. The
    penalty's gradient was at least 0.9 of the whole gradient when the run began: at 0.9 the data's
    gradient is less than half of the penalty's. And the run does not learn. Or layers add most of
    the loss with `add_loss`, and after 200 steps and 3 epochs the rest of the loss is no better
    than that of a constant prediction.

    Try:
    * Divide the penalty by ten until the training loss falls. 1e-4 is common for L2.
    * Divide a penalty that is a sum over weights, such as the KL term of a Bayesian layer, by the
      number of samples.

    Silent when: the run learns. A loss above that of a constant prediction that falls only as the
    penalty falls is not learning; near the optimum the two gradients balance, whatever their size.
    Only `info` if no loss is seen, and before it can be judged. If the loss of a constant
    prediction is not known, a kernel must have fallen to a twentieth.
    """

    id = "regularizer_dominates"
    title = "The penalty outweighs the data"
    severity = Severity.CRITICAL
    needs = ("weight_norm", "gradient_norm", "learning_rate", "update_norm", "loss", "added_loss")
    picture = Picture(statistic="weight_rms", chart=("weight_norm", "gradient_norm"))
    every = 4
    follows = (
        "exploding_gradient",
        "nonfinite_weight",
        "nonfinite_gradient",
        # After a layer that is always zero, the only gradient of a kernel is that of its penalty.
        "zero_gradient:zero_initialization",
    )
    provisional = True

    shrunk = Threshold(0.5, "healthy kernels grow, or lose a few per cent to a usual penalty")
    collapsed = Threshold(
        0.05, "a twentieth of what keeps a signal's size, if it is not known whether the run learns"
    )
    outweighs = Threshold(
        0.9,
        "penalty over total gradient; if the data's gradient is orthogonal to the "
        "weights, it is 0.44 of the total (0.9² + 0.44² = 1)",
    )
    steps = Threshold(20, "the first steps settle scales")

    outweighs_data = Threshold(0.5, "share of the loss that layers have added: most of it")
    patience = Threshold(200, "half of the plateau at the start of small hard tasks")
    epochs = Threshold(3, "everything in the data was seen three times")

    basis = Basis(sees=("weight_norm",), steps=steps)

    def nothing_to_judge(self, window: Window) -> str:
        if window.rows.once(penalised):
            return ""
        if window.was_seen("added_loss"):
            return ""
        return "there is no penalty on the weights, and no weight decay"

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        shrunk = self._shrunk(window, window.statistic("weight_norm")[frames])
        added: BoolArray = window.lately(window.context("added_loss") > 0)[frames]
        return added | shrunk.any(axis=1)

    def detect(self, window: Window) -> Detection | None:
        if self._added(window) is not None:
            return Detection.of_run(window.first_step, Severity.CRITICAL)
        if window.last_frames(self.steps) is None:
            return None
        rows = window.rows
        norm = window.statistic("weight_norm")[-1]
        shrunk = self._shrunk(window, norm)
        learning = window.learning
        if not shrunk.any():
            return HEALTHY
        # If a constant prediction's loss is not known, it may be the penalty that falls.
        blind = learning.learning and not learning.guess > 0
        if blind:
            shrunk &= norm < self.collapsed * rows.initial_norm
            shrunk &= ~rows.once(normalised)
        if (learning.succeeds and not blind) or not shrunk.any():
            return HEALTHY
        faulty = shrunk & (self._weight(window) >= self.outweighs)
        if not faulty.any():
            return HEALTHY
        severity = Severity.WARNING if blind else Severity.INFO
        if learning.failing:
            severity = Severity.CRITICAL if learning.guessing else Severity.WARNING
        return Detection.of(faulty, window.first_step, severity, together=True)

    def _shrunk(self, window: Window, norm: FloatArray) -> BoolArray:
        """Kernels whose norm, [..., variables], is far below that of the start."""
        rows = window.rows
        shrunk: BoolArray = norm < self.shrunk * rows.initial_norm
        return shrunk & rows.judged & rows.kernel & (rows.initial_rms > 0)

    def _weight(self, window: Window) -> npt.NDArray[np.float64]:
        """Per variable: the gradient of the penalty over the whole one, at the start and now.

        Decoupled decay is not part of the gradient: what it takes from the weights is
        compared with the rest of the step.
        """
        rows, variables = window.rows, window.table.variables
        l1 = np.array([strength(v, "l1") for v in variables])
        l2 = np.array([strength(v, "l2") for v in variables])
        first, now = window.statistic("weight_norm")[0], window.statistic("weight_norm")[-1]
        gradients = window.statistic("gradient_norm")
        result = np.zeros(len(variables))
        for norm, gradient in (
            (rows.initial_norm, window.at_start("gradient_norm")),
            (first, gradients[0]),
            (now, gradients[-1]),
        ):
            pull = l1 * np.sqrt(rows.elements) + 2 * l2 * norm
            result = np.fmax(result, np.nan_to_num(pull / gradient, posinf=np.inf))
        decay = settings_of(window.table).get("weight_decay", 0.0)
        rate = window.latest("learning_rate")
        if decay > 0 and rate > 0:
            taken = rate * decay * window.statistic("weight_norm")
            share = np.nanmedian(taken / window.statistic("update_norm"), axis=0)
            result = np.fmax(result, np.nan_to_num(share, posinf=0.0))
        return result

    def _added(self, window: Window) -> tuple[float, float] | None:
        """The loss of the data and what layers add to it, if they add so much that the data are
        only guessed; None otherwise."""
        added = window.context("added_loss")
        if not (added[-RECENT:] > 0).any():  # cheap, and nearly always so
            return None
        learning, epoch = window.learning, window.table.run.steps_per_epoch
        if not learning.guess > 0 or learning.steps < max(self.patience, self.epochs * epoch):
            return None
        data = window.context("loss") - added
        known = np.isfinite(data)
        if known.sum() < RECENT:
            return None
        now, penalty = (float(np.median(values[known][-RECENT:])) for values in (data, added))
        start = window.context_at_start("added_loss") / window.context_at_start("loss")
        share = np.fmax(start, penalty / (now + penalty))
        if not (now >= GUESS_BAND * learning.guess and share >= self.outweighs_data):
            return None
        return now, penalty

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        table = window.table
        added = self._added(window)
        if added is not None:
            return self._explain_added(window, *added)
        if not len(rows):  # it is over by now
            return Finding("What layers add to the loss outweighed the loss of the data.")
        norm = window.statistic("weight_norm")[-1]
        left = norm[rows] / window.rows.initial_norm[rows]
        worst = int(rows[int(np.argmin(left))])
        weight = float(min(self._weight(window)[worst], 1e6))
        text = self._penalty(window, worst)
        return Finding(
            summary=f"The weights of {names(table, rows)} had shrunk to {float(left.min()):.2g} "
            f"of their norm at the start by step {window.step}, {text}.",
            with_loss=True,
            evidence=(
                Evidence("weight_norm_left", float(left.min()), self.shrunk),
                Evidence("penalty_over_gradient", weight, self.outweighs),
            ),
            causes=(self._cause(text, weight),),
            fixes=(self._fix(window, worst, layers_of([table.variables[int(r)] for r in rows])),),
        )

    @staticmethod
    def _explain_added(window: Window, data: float, added: float) -> Finding:
        guess = window.learning.guess
        text = (
            f"layers add {added:.3g} to the loss with `add_loss`; the loss of the data is "
            f"{data:.3g}, and that of a constant prediction {guess:.3g}"
        )
        return Finding(
            summary=f"After {window.learning.steps} steps the data were only guessed: {text}.",
            evidence=(Evidence("data_loss", data, guess), Evidence("added_loss", added, data)),
            causes=(cause("strong_regularization", 0.9, f"{text}."),),
            fixes=(DIVIDE_ADDED,),
        )

    @staticmethod
    def _penalty(window: Window, row: int) -> str:
        variable = window.table.variables[row]
        parts = [
            f"{kind}={strength(variable, kind):g}"
            for kind in ("l1", "l2")
            if strength(variable, kind) > 0
        ]
        decay = settings_of(window.table).get("weight_decay", 0.0)
        if decay > 0:
            parts.append(f"weight_decay={decay:g}")
        return f"with {', '.join(parts)}"

    @staticmethod
    def _cause(text: str, weight: float) -> Cause:
        return cause(
            "strong_regularization",
            0.9,
            f"{text}, its gradient is up to {weight:.3g} times the whole gradient.",
        )

    @staticmethod
    def _fix(window: Window, row: int, name: str) -> str:
        variable = window.table.variables[row]
        for kind in ("l2", "l1"):
            value = strength(variable, kind)
            if value > 0:
                weaker = min(1e-4, value / 100)
                return (
                    f"In {name} use a weaker penalty: "
                    f"`kernel_regularizer=keras.regularizers.{kind.upper()}({weaker:g})`."
                )
        return f"Use a weaker decay: `{optimizer_code(window.table, weight_decay=1e-4)}`."
