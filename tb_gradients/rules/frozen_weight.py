"""A gradient, but never an update."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray, Variable, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.freezing import COMPILE_AGAIN, REASON, frozen_when_traced
from tb_gradients.judging.initial_values import plain, starts_random
from tb_gradients.judging.learning_rates import (
    ADAPTIVE_EPSILON,
    optimizer_name,
    optimizer_of,
    rates,
)
from tb_gradients.judging.optimizer_faults import no_correction_cause, no_correction_fix
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import COARSE, MIXED
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import NO_UPDATE_LOOKED_AT, names, plural

EVERYTHING = (
    "Build {optimizer} for these variables too, once the model is built: "
    "`optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)`."
)

NONE_LEFT_OUT = (
    "If they are left out because their gradient is None, the loss does not depend on them: look "
    "for `.numpy()`, `argmax` or `stop_gradient` between them and the loss."
)

APPLY = (
    "Call `optimizer.apply(tape.gradient(loss, model.trainable_variables), "
    "model.trainable_variables)` in every train step."
)


class FrozenWeight(Rule):
    """The variable has a gradient, but no step changes it.

    Why it matters: the gradient is computed and thrown away. The variable does not learn.

    Definition: over at least 10 applied updates the weights stay bit-identical, although the
    gradient is not zero and the step that the learning rate gives after clipping is too large to be
    rounded away (smaller steps: update_too_small). Or no update at all was applied for 30 steps, or
    for four rounds of gradient accumulation (for two epochs, if a round is longer than four
    epochs). Or a variable of the model, or all of them, was passed to the optimizer at none of 30
    steps, and nothing else changed it (at 3 frames, if `trainable` was set after the step was
    traced).

    Try:
    * In a custom train_step, call `optimizer.apply(gradients, variables)`.
    * Build the optimizer for the variables of this model, not for those of another one.
    * Compile the model again after changing `trainable`.

    Silent when: trainable=False; between two updates of gradient accumulation; a loss-scaling
    optimizer skips the steps; the learning rate is zero in a warm-up; another optimizer changes the
    variables, as in a GAN; a constraint such as `non_neg` holds the weight at its bound. Only
    `info` if the run has learnt most of what can be learnt without them, and for pretrained or
    target networks that are left out on purpose (they do not start at zero, or are copies of
    trained variables).
    """

    id = "frozen_weight"
    title = "A gradient, but no update"
    severity = Severity.CRITICAL
    needs = (
        "update_norm",
        "gradient_norm",
        "applied_norm",
        "weight_norm",
        "none_step_share",
        "applied_steps",
        "skipped_steps",
        "learning_rate",
    )
    picture = Picture(statistic="update_norm", chart=("gradient_norm", "update_norm"))
    follows = ("update_lost", "loss_scale_collapse")

    updates = Threshold(
        10, "exact equality needs no statistics; ten updates rule out a coincidence"
    )
    frames = Threshold(3, "the same, if only every tenth step is recorded")
    visible = Threshold(
        100.0,
        "how far above rounding the step must be; a step that is not applied is off by thousands",
    )
    steps_without_update = Threshold(30, "no known schedule of updates skips so many steps")

    basis = Basis(sees=("update_norm",), steps=steps_without_update, updates=updates, frames=frames)
    unjudged = NO_UPDATE_LOOKED_AT

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        left_out = np.isnan(window.statistic("none_step_share")[frames])
        still = window.statistic("update_norm")[frames] == 0
        still &= window.statistic("gradient_norm")[frames] > 0
        found: BoolArray = (window.rows.judged & (left_out | still)).any(axis=1)
        return found

    def detect(self, window: Window) -> Detection | None:
        left_out = self._left_out(window)
        if left_out is not None and left_out.any():
            everything = bool(left_out[window.rows.judged & _of_the_model(window.table)].all())
            severity = Severity.CRITICAL if everything else Severity.WARNING
            if window.learning.converged:
                severity = Severity.INFO
            each = np.full(left_out.shape, int(severity))
            if not everything:
                on_purpose = kept_on_purpose(window.table, left_out)
                each[on_purpose & ~frozen_when_traced(window.table)] = int(Severity.INFO)
            return Detection.of(left_out, window.first_step, each)
        rows = window.rows
        update, gradient = window.statistic("update_norm"), window.statistic("gradient_norm")
        candidates = rows.judged & (update[-1] == 0) & (gradient[-1] > 0)
        if not candidates.any():
            return HEALTHY
        still = (update == 0) & (gradient > 0)
        known = ~np.isnan(update)
        own = window.own_step_applied()
        reach = window.last_frames(self.updates, self.frames, window.updates())
        if reach is not None and own[-1]:
            seen = known & own[:, np.newaxis]
            faulty = candidates & ~(seen & ~still)[reach].any(axis=0)
            faulty &= (seen & still)[reach].sum(axis=0) >= self.frames
        elif reach is None:
            seen = known
            if not self._never_applied(window):
                return None
            faulty = candidates & still.all(axis=0)
        else:
            return None  # this step applied nothing (accumulation): wait for the next ones
        if faulty.any():
            faulty &= ~self._rounded_away(window, update, gradient)
            if (update[known] > 0).any():  # the optimizer works: it is the constraint that holds it
                faulty &= ~constrained(window.table)

        def since() -> IntArray:
            return window.onset(still & seen, seen, per_step=True)

        return Detection.of(faulty, since, self.severity)

    def _left_out(self, window: Window) -> BoolArray | None:
        """Variables that were in no update, and whose weights nothing else changes."""
        seen = window.statistic("none_step_share")
        unseen = np.isnan(seen[-1])
        out: BoolArray = window.rows.judged & unseen
        if not out.any():
            return None
        if unseen.all() and not (window.context("applied_steps") == 0).all():
            return None  # updates are made, but the monitor does not see them
        weight = window.statistic("weight_norm")
        out &= np.isnan(seen).all(axis=0) & ~np.isnan(weight).any(axis=0)
        out &= (weight == weight[0]).all(axis=0)
        if len(window) < self.frames:
            return out & False
        long = bool(window.spans.sum() >= self.steps_without_update)
        out &= long | frozen_when_traced(window.table)
        return out

    def _never_applied(self, window: Window) -> bool:
        applied = window.context("applied_steps")
        run = window.table.run
        rounds = 4 * run.accumulation_steps
        if 0 < 4 * run.steps_per_epoch < run.accumulation_steps:  # certainly not intended
            rounds = 2 * run.steps_per_epoch
        patience = max(self.steps_without_update, rounds)
        rate = window.latest("learning_rate")
        return bool(
            (applied == 0).all()
            and not np.nansum(window.context("skipped_steps")) > 0
            and window.spans.sum() >= patience
            and rate != 0
        )

    def _rounded_away(self, window: Window, update: FloatArray, gradient: FloatArray) -> BoolArray:
        """Whether the step would be too small to change a weight of the variable's size."""
        rate = rates(window).astype(np.float64)
        if (rate == 0).all():
            return np.ones(gradient.shape[1], bool)
        weight = window.statistic("weight_norm")[-1] / np.sqrt(window.rows.elements)
        # No element is larger than the norm; clipping makes both smaller by the same factor.
        applied = window.statistic("applied_norm")[-1]
        largest = np.where(np.isfinite(applied), applied, gradient[-1]).astype(np.float64)
        unknown = np.isnan(rate)
        if unknown.all():
            # A hand-written update: what moved shows the rate.
            moved = (update > 0) & (gradient > 0)
            if not moved.any():
                return np.zeros(gradient.shape[1], bool)
            rate[:] = float((update[moved] / gradient[moved]).max())
        else:
            scaled = largest / (largest + ADAPTIVE_EPSILON)
            largest = np.where(window.rows.once(_scales_gradients), scaled, largest)
        # A variable that moved before and whose gradient has become small has converged.
        faded = gradient[-1] < 1e-3 * window.largest("gradient_norm")
        faded &= window.largest("update_norm") > 0
        result: BoolArray = faded | (rate * largest < self.visible * window.rows.rounding * weight)
        return result

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        if np.isnan(window.statistic("none_step_share")[-1][rows]).all():
            return self._explain_left_out(window, rows)
        gradient = float(np.nanmedian(window.statistic("gradient_norm")[-1][rows]))
        moving = window.rows.judged & (window.statistic("update_norm") > 0).any(axis=0)
        everything = not moving.any()
        optimizer = optimizer_name(window.table)
        if everything:
            text = "no variable of the model was changed by any of these steps."
            fix = "Call `optimizer.apply(gradients, variables)` in every train step."
        else:
            text = f"the same steps change {int(moving.sum())} other variables of the model."
            fix = EVERYTHING.format(optimizer=optimizer)
        causes: tuple[Cause, ...] = (
            cause("update_not_applied", 0.95 if everything else 0.9, text),
        )
        fixes: tuple[str, ...] = (fix,)
        rounded = self._rounding_cause(window, rows)
        if rounded is not None:
            causes = (rounded, cause("update_not_applied", 0.4, text))
            wider = MIXED
            if no_correction_cause(window, rows) is not None:
                wider = no_correction_fix(window, rows)
            fixes = (wider, fix)
        return Finding(
            summary=f"{names(window.table, rows)} had a gradient (norm {gradient:.3g}), but from "
            f"step {since} on no step changed {'it' if len(rows) == 1 else 'them'}.",
            evidence=(
                Evidence("update_norm", 0.0, 0.0),
                Evidence("gradient_norm", gradient, 0.0),
            ),
            causes=causes,
            fixes=fixes,
        )

    @staticmethod
    def _rounding_cause(window: Window, rows: IntArray) -> Cause | None:
        """low_precision, if the optimizer has applied its steps and all of these are coarse."""
        applied = bool((window.context("applied_steps") > 0).any())
        if not applied or not (window.rows.rounding[rows] > COARSE).all():
            return None
        always = no_correction_cause(window, rows)
        if always is not None:
            return always
        first = window.table.variables[int(rows[0])]
        return cause(
            "low_precision",
            0.7,
            f"{first.path} is {first.dtype}, and its optimizer computes in that dtype: small steps "
            "are rounded away.",
        )

    @staticmethod
    def _explain_left_out(window: Window, rows: IntArray) -> Finding:
        given = int((~np.isnan(window.statistic("none_step_share")[-1])).sum())
        if not given:
            return FrozenWeight._explain_no_update(window, rows)
        text = (
            f"{optimizer_name(window.table)} gets {plural(given, 'other variable')} of the model "
            "at every step but never these, and nothing else changes them"
        )
        confidence = 0.85
        fixes: tuple[str, ...] = (
            EVERYTHING.format(optimizer=optimizer_name(window.table)),
            NONE_LEFT_OUT,
            "If they should not be trained, set `layer.trainable = False`.",
        )
        if frozen_when_traced(window.table)[rows].all():
            text, confidence, fixes = REASON, 0.95, (COMPILE_AGAIN,)
        return Finding(
            summary=f"{names(window.table, rows)} {'was' if len(rows) == 1 else 'were'} in no "
            f"update from step {window.first_step} on: {text}.",
            evidence=(
                Evidence("variables_left_out", len(rows)),
                Evidence("variables_in_updates", given),
            ),
            causes=(cause("update_not_applied", confidence, f"{text}."),),
            fixes=fixes,
        )

    @staticmethod
    def _explain_no_update(window: Window, rows: IntArray) -> Finding:
        text = (
            f"no update was made in {plural(int(window.spans.sum()), 'step')}: "
            f"{optimizer_name(window.table)} was not called, or for other variables"
        )
        return Finding(
            summary=f"{names(window.table, rows)} {'was' if len(rows) == 1 else 'were'} in no "
            f"update from step {window.first_step} on, and no weight of the model changed: "
            f"{text}.",
            evidence=(
                Evidence("variables_left_out", len(rows)),
                Evidence("variables_in_updates", 0),
            ),
            causes=(cause("update_not_applied", 0.9, f"{text}."),),
            fixes=(APPLY,),
        )


def _scales_gradients(table: VariableTable, _: Rows) -> BoolArray:
    """bool [variables]: whose optimizer divides a gradient by its size, as far as is known."""
    kinds = [optimizer_of(variable, table) for variable in table.variables]
    return np.array([kind not in ("", "SGD") for kind in kinds], bool)


def constrained(table: VariableTable) -> BoolArray:
    """bool [variables]: a constraint, such as `non_neg`, may hold it at its bound."""
    return np.array([bool(v.constraint) for v in table.variables], bool)


def kept_on_purpose(table: VariableTable, left_out: BoolArray) -> BoolArray:
    """The left-out variables that belong to a pretrained part, or to a copy of another part.

    A part is a model or a layer of the top level. A part without a variable that shows it (a
    convolution without bias) counts like the others.
    """
    parts: dict[str, list[Variable]] = {}
    drawn = set[tuple[object, float]]()
    for variable, out in zip(table.variables, left_out, strict=True):
        if out:
            parts.setdefault(_part(variable), []).append(variable)
        elif _drawn(variable):
            drawn.add((variable.shape, variable.initial_rms))
    known, silent = set[str](), set[str]()
    for part, members in parts.items():
        trained = {_came_trained(v) for v in members} - {None}
        copies = {(v.shape, v.initial_rms) in drawn for v in members if _drawn(v)}
        if True in trained or copies == {True}:
            known.add(part)
        elif not trained:
            silent.add(part)
    if known:
        known |= silent
    result: BoolArray = left_out & np.array([_part(v) in known for v in table.variables], bool)
    return result


def _part(variable: Variable) -> str:
    return variable.path.partition("/")[0]


def _drawn(variable: Variable) -> bool:
    """Whether it started at random numbers; no two draws have the same norm."""
    return starts_random(variable) and plain(variable.initializer) not in ("orthogonal", "identity")


def _came_trained(variable: Variable) -> bool | None:
    """Whether it differs from what its initializer makes; known for zeros and ones only."""
    usual = {"zeros": 0.0, "ones": 1.0}.get(plain(variable.initializer))
    if usual is None or "LSTM" in variable.layer_class:  # whose forget gate starts at one
        return None
    return abs(variable.initial_rms - usual) > 1e-6


def _of_the_model(table: VariableTable) -> BoolArray:
    """bool [variables]: those of a layer; all, if nothing is known of layers.

    (What an optimizer trains besides the model is watched, too, and belongs to none of its layers.)
    """
    known = np.array([bool(variable.layer_class) for variable in table.variables], bool)
    return known if known.any() else ~known
