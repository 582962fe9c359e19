"""Steps too small to move the weights."""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest
from tb_gradients.judging.freezing import train_the_base, untrained_base_cause
from tb_gradients.judging.learning import LOW_SHARE
from tb_gradients.judging.learning_rates import (
    ADAPTIVE,
    OWN_OPTIMIZER,
    SLOWER_DECAY,
    decayed_from,
    optimizer_code,
    optimizer_of,
    optimizers,
    rate_of,
    rates,
    settings_of,
    usual_learning_rate,
    usual_rates,
    warms_up,
)
from tb_gradients.judging.optimizer_faults import (
    SCALE_THE_LOSS,
    averaged_cause,
    averaged_fix,
    no_correction_cause,
    no_correction_fix,
    not_scaled_cause,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import NO_UPDATE_LOOKED_AT, names


class UpdateTooSmall(Rule):
    """The steps are so small that the weights stay where they started.

    Why it matters: at a relative step of 1e-6 a weight needs a million steps in the same direction
    to change by its own size.

    Definition: the median of ‖update‖ / ‖weights‖ of a kernel over at least 40 updates is below
    1e-6 (‖weights‖ is floored at its value at the start), and the loss does not fall. Healthy runs
    are around 1e-3 (CS231n). Or, before the loss can be judged: the relative step has been below
    1e-6 for 20 updates and since the start, because of the step size and not because of a small
    gradient. Below half the spacing of the dtype's numbers (6e-8 for float32) this is critical,
    whatever the loss: such steps are rounded away. Or a schedule has lowered the rate to almost
    nothing, the loss is still above half of that of a constant prediction, and the model has stood
    still for twice as many steps as it was trained before.

    Try:
    * Raise the learning rate to the optimizer's default.
    * If a schedule lowered it, let it decay later or to a higher floor.

    Silent when: the variable is a bias or a scale (they start at zero, which makes the ratio
    meaningless); steps only accumulate gradients, or a loss scale skips them; the learning rate is
    still rising; the loss fell or is low: the run has converged, or is at the end of its schedule.
    """

    id = "update_too_small"
    title = "The steps are too small"
    severity = Severity.CRITICAL
    needs = (
        "update_ratio",
        "update_norm",
        "gradient_norm",
        "applied_steps",
        "learning_rate",
        "lost_share",
        "loss_scale",
    )
    picture = Picture(statistic="update_ratio", chart=("update_ratio", "loss"))
    every = 4
    follows = (
        "disconnected_gradient",
        "dead_units",
        "zero_gradient",
        "frozen_weight",
        "update_lost",
        "clipping_dominates",
        "regularizer_dominates",
        "vanishing_gradient",
        "saturated_units",
        "loss_scale_collapse",
        "bad_data",
        "poor_initialization",
    )
    comes_of = ("weights_replaced", "update_too_large")
    provisional = True

    ratio = Threshold(
        1e-6, "a thousandth of the usual 1e-3: an epoch of 1000 steps moves a weight by 0.1 %"
    )
    healthy = (Healthy("update_ratio", above=ratio, kernels_only=True),)
    updates = Threshold(40, "as many as the loss needs to be judged")
    updates_when_absurd = Threshold(
        20, "a step size that never moved anything needs no statistics; this rules out an accident"
    )
    frames = Threshold(3, "a median of fewer says nothing, if only every tenth step is recorded")
    kernels = Threshold(
        0.5,
        "the share of the model's kernels that must be slow, as the step size concerns all of them",
    )
    little_learnt = Threshold(
        0.8, "of the loss of a constant prediction: four fifths are still to be learnt"
    )
    absurd_step = Threshold(
        1e-6,
        "‖update‖ / ‖gradient‖ that no published recipe uses, for any optimizer (SGD: 1e-4 up)",
    )

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        return "" if (window.rows.judged & window.rows.kernel).any() else "there is no kernel"

    basis = Basis(sees=("update_ratio",), updates=updates, frames=frames)
    unjudged = NO_UPDATE_LOOKED_AT

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        rows = window.rows
        judged = rows.judged & rows.kernel
        small = judged & (window.statistic("update_ratio")[frames] < self.ratio)
        small &= window.statistic("gradient_norm")[frames] > 0
        rounded = window.largest_by_then("update_ratio")[frames] < rows.rounding
        found: BoolArray = np.asarray((small & rounded).any(axis=1))
        for own in (rows.judged, *rows.once(optimizers)):
            slow = (small & own).sum(axis=1)
            found |= (slow > 0) & (slow >= self.kernels * (judged & own).sum())
        return found

    def detect(self, window: Window) -> Detection | None:
        rows = window.rows
        ratio, gradient = window.statistic("update_ratio"), window.statistic("gradient_norm")
        judged = rows.judged & rows.kernel
        rate = window.context("learning_rate")
        own = window.own_step_applied() | (rate == 0)
        if not own[-1] or not judged.any():
            return None
        small = judged & (ratio[-1] < self.ratio) & (gradient[-1] > 0)
        if not small.any() or warms_up(window):
            return HEALTHY
        applied = np.nan_to_num(window.context("applied_steps"), nan=1.0)
        updates = np.where(rate == 0, window.spans, np.where(own, applied, 0))
        known = own[:, np.newaxis] & window.of_each_frame(_measured)
        slower = known & (ratio < self.ratio)

        faulty = np.zeros_like(small)
        severity = np.full(small.shape, int(Severity.INFO))
        reach = window.last_frames(self.updates, self.frames, updates)
        tiny = self._step_is_tiny(window)
        learning = window.learning
        # A small drop before the steps became tiny does not mean that the run has learnt.
        little = learning.learning and learning.now > self.little_learnt * learning.guess
        if reach is not None and (little or not learning.learning):
            # Slow kernels among others that move have another problem: a vanishing gradient,
            # or a weight that is not updated.
            slow = small & _mostly(slower, known, reach)
            slow &= (ratio[-1] > 0) | tiny
            faulty |= self._of_whole_optimizers(window, slow, judged)
            if learning.stuck or little:
                severity[:] = int(Severity.WARNING)
        if self._ended(window) and small.sum() >= self.kernels * judged.sum():
            faulty |= small
            severity[small] = int(Severity.WARNING)
        reach = window.last_frames(self.updates_when_absurd, self.frames, updates)
        if reach is not None:
            largest = window.largest("update_ratio")
            never = small & tiny & (largest < self.ratio)
            never &= _mostly(slower, known, reach)
            if learning.state in ("unseen", "early"):
                whole = self._of_whole_optimizers(window, never, judged)
                faulty |= whole
                severity[whole] = int(Severity.WARNING)
            absurd = never & (largest < rows.rounding)
            if absurd.any():
                absurd &= _mostly((ratio < rows.rounding) & known, known, reach)
            faulty |= absurd
            severity[absurd] = int(Severity.CRITICAL)

        def since() -> IntArray:
            return window.onset(slower, known, per_step=True)

        if window.learning.stuck and faulty.any() and faulty[judged].all():
            severity[:] = int(Severity.CRITICAL)
        return Detection.of(faulty, since, severity, together=True)

    def _of_whole_optimizers(self, window: Window, slow: BoolArray, judged: BoolArray) -> BoolArray:
        """Those of the slow kernels that are most of what their optimizer trains."""
        found = np.zeros_like(slow)
        for own in window.rows.once(optimizers):
            if (slow & own).sum() >= self.kernels * (judged & own).sum():
                found |= slow & own
        return found

    def _ended(self, window: Window) -> bool:
        """Whether a schedule lowered the rate to almost nothing too early: most is not learnt yet,
        and the model has stood still for twice as long as it was trained before."""
        learning, rate = window.learning, window.context("learning_rate")
        if learning.state == "early" or not learning.now > LOW_SHARE * learning.guess:
            return False
        low = rate <= 1e-3 * usual_learning_rate(window.table)
        if not low[-1] or not window.context_at_start("learning_rate") > rate[-1]:
            return False
        first = 0 if low.all() else len(low) - int(np.argmax(~low[::-1]))
        since = int(window.steps[first])
        return window.step - since >= max(2 * (since - window.first_step), self.updates)

    def _step_is_tiny(self, window: Window) -> BoolArray:
        """Whether the reason is the step size rather than a small gradient."""
        rate = rates(window)
        step = window.statistic("update_norm")[-1] / window.statistic("gradient_norm")[-1]
        moved = step > 0
        tiny: BoolArray = moved & (step < self.absurd_step)
        tiny &= ~window.rows.once(_adaptive)  # whose steps do not depend on the norm
        # A step of exactly zero was rounded away or not applied. The learning rate decides which;
        # in a hand-written loop, the variables that did move.
        tiny |= rate <= 1e-3 * window.rows.once(usual_rates)
        if np.isnan(rate).all() and moved.any():
            tiny |= float(step[moved].max()) < self.absurd_step
        return tiny

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        ratio = float(np.nanmedian(window.statistic("update_ratio")[-1][rows]))
        who = names(window.table, rows)
        text = f"a step changed the weights of {who} by {ratio:.1e} times their norm"
        if ratio == 0:
            text = f"no step changed the weights of {who}"
        causes = self._causes(window, rows)
        fix = self._faster(window, rows)
        started = decayed_from(window)
        kind = likeliest(causes)
        if kind == "averaged_weights":
            fix = averaged_fix(window.table)
        elif kind == "loss_not_scaled":
            fix = SCALE_THE_LOSS
        elif kind == "low_precision" and no_correction_cause(window, rows) is not None:
            fix = no_correction_fix(window, rows)
        elif kind == "untrained_base":
            fix = train_the_base(window.table)
        elif started is not None:
            fix = SLOWER_DECAY.format(rate=started)
        elif any(c.id == "tiny_loss" for c in causes):
            size = self._size(window, rows)
            code = optimizer_code(window.table, epsilon=float(f"{size / 100:.0e}"))
            fix = (
                "Make the loss larger: look for a small factor, small sample weights, or a mean "
                f"over too many elements. Or lower epsilon: `{code}`."
            )
        elif not any(c.id == "learning_rate_too_small" for c in causes):
            fix = "The gradient is small, not the learning rate: see the other findings."
            if window.table.run.optimizer not in ADAPTIVE:
                fix = (
                    f"{fix[:-1]}, or use an optimizer that normalises it: "
                    "`keras.optimizers.Adam(learning_rate=0.001)`."
                )
        return Finding(
            summary=f"From step {since} on, {text}.",
            with_loss=True,
            evidence=(
                Evidence("update_ratio", ratio, self.ratio),
                Evidence("learning_rate", rate_of(window, rows), None),
            ),
            causes=causes,
            fixes=(fix,),
            follows=self._follows(window, rows, kind),
        )

    def _follows(self, window: Window, rows: IntArray, kind: str) -> tuple[str, ...]:
        """The rules that would explain it. Neither data nor initial weights are why one of several
        optimizers has a tiny rate."""
        own = OWN_OPTIMIZER in window.table.variables[int(rows[0])].facts
        if not own or kind != "learning_rate_too_small":
            return self.follows
        return tuple(r for r in self.follows if r not in ("bad_data", "poor_initialization"))

    @staticmethod
    def _faster(window: Window, rows: IntArray) -> str:
        table = window.table
        first = table.variables[int(rows[0])]
        usual = float(window.rows.once(usual_rates)[rows[0]])
        if OWN_OPTIMIZER in first.facts:  # one of several, whose settings are not those of the run
            better = "ten times as much" if math.isnan(usual) else f"{usual:g}"
            return f"Raise the learning rate of {first.optimizer}: try {better}."
        if not table.run.optimizer:  # an update by hand: a step along the gradient, mostly
            return "Raise the learning rate: try 0.001."
        if math.isnan(usual):
            return "Raise the learning rate: try ten times as much."
        return f"Raise the learning rate: `{optimizer_code(table, learning_rate=usual)}`."

    @staticmethod
    def _size(window: Window, rows: IntArray) -> float:
        """The RMS of an element of these gradients."""
        size = window.statistic("gradient_norm")[-1] / np.sqrt(window.rows.elements)
        return float(np.nanmedian(size[rows]))

    def _causes(self, window: Window, rows: IntArray) -> tuple[Cause, ...]:
        found: list[Cause] = []
        averaged = averaged_cause(window.table)
        if averaged is not None:
            return (averaged,)
        ratio = float(np.nanmedian(window.statistic("update_ratio")[-1][rows]))
        unscaled = not_scaled_cause(window, ratio)
        if unscaled is not None:
            return (unscaled,)
        always = no_correction_cause(window, rows)
        if always is not None:
            return (always,)
        rate = rate_of(window, rows)
        usual = float(window.rows.once(usual_rates)[rows[0]])
        optimizer = optimizer_of(window.table.variables[int(rows[0])], window.table)
        optimizer = optimizer or "the optimizer"
        update, gradient = (
            window.statistic("update_norm")[-1],
            window.statistic("gradient_norm"),
        )
        step = float(np.nanmedian(update[rows] / gradient[-1][rows]))
        if rate <= 0.01 * usual:
            started = decayed_from(window)
            lowered = "" if started is None else f", lowered by its schedule from {started:.3g}"
            found.append(
                cause(
                    "learning_rate_too_small",
                    0.95 if rate <= 1e-4 * usual else 0.8,
                    f"the learning rate is {rate:.3g}{lowered}; {usual:g} is usual for "
                    f"{optimizer}.",
                )
            )
        elif math.isnan(rate * usual) and step < self.absurd_step:
            found.append(
                cause(
                    "learning_rate_too_small",
                    0.9,
                    f"a step is only {step:.1e} times the gradient.",
                )
            )
        size = self._size(window, rows)
        epsilon = settings_of(window.table).get("epsilon", 0.0)
        untrained = untrained_base_cause(window.table, 0.85)
        if not found and untrained is not None:
            found.append(untrained)
        elif not found and 0 < size < epsilon and optimizer in ADAPTIVE:
            found.append(
                cause(
                    "tiny_loss",
                    0.85,
                    f"the elements of these gradients are around {size:.1e}, below the epsilon of "
                    f"{epsilon:g} of {optimizer}: its steps shrink with the gradients.",
                )
            )
        dtypes = {window.table.variables[int(row)].dtype for row in rows}
        lost = float(np.nanmax(np.append(window.statistic("lost_share")[-1][rows], 0)))
        coarse = sorted(dtypes & {"float16", "bfloat16"})
        if coarse and lost > 0.5:
            found.append(
                cause(
                    "low_precision",
                    0.8,
                    f"{lost:.0%} of the elements with a gradient did not change: the variables "
                    f"are {coarse[0]}.",
                )
            )
        return tuple(found)


def _adaptive(table: VariableTable, _: Rows) -> BoolArray:
    return np.array([optimizer_of(v, table) in ADAPTIVE for v in table.variables], bool)


def _measured(window: Window, frames: slice) -> BoolArray:
    """bool [frames, variables]: whether the ratio is known, and there was a gradient."""
    ratio, gradient = window.statistic("update_ratio"), window.statistic("gradient_norm")
    measured: BoolArray = ~np.isnan(ratio[frames]) & (gradient[frames] > 0)
    return measured


def _mostly(small: BoolArray, known: BoolArray, reach: slice) -> BoolArray:
    """Whether the median of the known frames in reach is small."""
    count = known[reach].sum(axis=0)
    result: BoolArray = 2 * small[reach].sum(axis=0) > count
    return result
