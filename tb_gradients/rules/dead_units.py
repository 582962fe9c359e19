"""Units that receive no gradient from any batch."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest
from tb_gradients.judging.data_scales import (
    INPUT_NEEDS,
    before_any_update,
    large_inputs_cause,
    scale_inputs,
    tiny_inputs_cause,
)
from tb_gradients.judging.initial_values import initialization_cause, starts_constant
from tb_gradients.judging.learning_rates import slower, unusual_rate_cause
from tb_gradients.judging.networks import (
    BATCH_NEEDS,
    LARGER_BATCHES,
    MORE_VALUES,
    PAST_THE_SIGN,
    RELU,
    SATURATING,
    SHORTCUTS,
    TURN,
    deep_narrow_cause,
    nothing_comes_back,
    sign_cause,
    single_value_cause,
    taking_turns,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import WIDER, underflow_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import activation, layer, layers_of


def constant_starts(table: VariableTable, _: Rows) -> BoolArray:
    """Variables that are known to have started at one value; symmetric_units reports them."""
    return np.array([starts_constant(v) for v in table.variables], bool)


class DeadUnits(Rule):
    """Units of a layer received no gradient from any of the last batches.

    Why it matters: a dead ReLU outputs zero for every input and cannot recover. The layer is only
    as wide as its living units. If all units are dead, no layer before it learns.

    Definition: more than half of a layer's output units had a gradient column of exactly zero in
    every one of the last 20 or more steps (about 50 % zeros in any one batch are normal for ReLU;
    20 steps rule out chance batches and dropout masks). The finding names the layer whose own units
    are dead, not the layers before it that receive no gradient because of it.

    Try:
    * Lower the learning rate: one large step pushed the units below zero.
    * Use `leaky_relu`, `elu` or `gelu`, He initialisation, and biases that start at zero.
    * Scale the inputs to about [-1, 1].

    Silent when: branches are used in turn, e.g. tasks, until one has had no gradient for 100 steps;
    the variable is an embedding or has no units; all samples have the same prediction and no whole
    layer is dead (then the inputs are all alike); the gradient of the whole model is zero
    (zero_gradient reports that). Only `info` if the run has converged, or if the number of dead
    units is what inputs of one sign give by chance.
    """

    id = "dead_units"
    title = "Dead units"
    severity = Severity.CRITICAL
    signs = ("dead_unit_share",)
    needs = (
        "dead_unit_share",
        "dead_unit_age",
        "zero_step_share",
        "gradient_norm",
        "gradient_subnormal_share",
        "loss_scale",
        "weight_norm",
        "learning_rate",
        "unit_window",
        "predictions_spread",
        *BATCH_NEEDS,
        *INPUT_NEEDS,
    )
    picture = Picture(statistic="dead_unit_share", chart=("dead_unit_share", "gradient_zero_share"))
    follows = (
        "disconnected_gradient",
        "nonfinite_gradient",
        "nonfinite_weight",
        "symmetric_units",
        "bad_data",
        "model_mismatch",
        "regularizer_dominates",
        "gradient_underflow",
        "poor_initialization",
    )
    comes_of = ("exploding_gradient", "update_too_large", "poor_initialization", "weights_replaced")

    share = Threshold(0.5, "none of 45 small healthy programs has a layer with more dead units")
    healthy = (Healthy("dead_unit_share", below=share),)
    deviations = Threshold(
        3.0,
        "Standard deviations above the half that inputs of one sign leave dead from the "
        "start (chance: 1 layer in 700)",
    )
    early_steps = Threshold(
        20, "units that are dead by then were dead from the start, or nearly so"
    )
    nearly_all = Threshold(0.9, "fewer than one unit in ten is left: the layer is a bottleneck")
    frames = Threshold(10, "so many batches do not have equal predictions by chance")
    far_below = Threshold(
        3.0,
        "Standard deviations of what inputs of unit size give: a bias that starts so far from zero "
        "decides by itself whether a ReLU is on",
    )

    basis = Basis(sees=("zero_step_share",))
    unjudged = "needs to know which units had a gradient, which was not measured"

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        return "" if self._judged(window).any() else "no kernel has several units"

    def needed(self, window: Window) -> Needed:
        horizon = window.latest("unit_window")
        steps = int(horizon) if math.isfinite(horizon) else 1
        steps = max(steps, TURN) if taking_turns(window).any() else steps
        return dataclasses.replace(super().needed(window), steps=steps)

    @staticmethod
    def _judged(window: Window) -> BoolArray:
        judged: BoolArray = window.rows.judged & window.rows.kernel & (window.rows.units > 1)
        return judged

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        dead = window.statistic("dead_unit_share")[frames] > self.share
        return np.asarray((self._judged(window) & dead).any(axis=1))

    def detect(self, window: Window) -> Detection | None:
        dead = window.statistic("dead_unit_share")[-1]
        rows = window.rows
        judged = self._judged(window) & ~np.isnan(dead)
        if not judged.any():
            return None
        faulty = judged & (dead > self.share)
        if not faulty.any():
            return HEALTHY
        table = window.table
        silent = window.statistic("zero_step_share")[-1] >= 1
        if not (rows.judged & ~silent).any():
            return HEALTHY
        turns = taking_turns(window)
        if (faulty & turns).any():
            reach = window.last_frames(TURN)
            if reach is None:
                return None
            waiting = (window.statistic("zero_step_share")[reach] < 1).any(axis=0)
            faulty &= ~(turns & waiting)
            if not faulty.any():
                return HEALTHY
        if self._one_input(window) and not (rows.judged & rows.kernel & silent).any():
            return HEALTHY  # with one input, each unit is either on or off
        # A layer before a dead layer has no gradient either. The dead one is the last layer
        # without a gradient that can die; symmetric_units reports those that start equal.
        full = np.flatnonzero(faulty & (dead >= 1))
        guilty = [row for row in full if activation(table.variables[row]) in RELU]
        if not guilty and not (rows.judged & rows.kernel & ~silent)[: full.max(initial=0)].any():
            # If a layer before it had a gradient, this one would be a branch that the loss ignores.
            guilty = [row for row in full if activation(table.variables[row]) in SATURATING]
        if full.size and nothing_comes_back(window, silent):
            guilty = []
        faulty[full] = False
        faulty[self._at_fault(window, [int(row) for row in guilty])] = True
        faulty &= ~rows.once(constant_starts)

        def since() -> IntArray:
            history = window.statistic("dead_unit_share")
            onset = window.onset(history > self.share, ~np.isnan(history), per_step=True)
            horizon = window.latest("unit_window")
            if math.isfinite(horizon):  # no gradient in any of the steps of the horizon
                onset = np.maximum(onset - int(horizon) + 1, window.first_step)
            if self.share == 0.5:  # every step shows since when it is more than half
                age = window.statistic("dead_unit_age")[-1]
                onset = np.where(age > 0, window.step - np.nan_to_num(age) + 1, onset)
            # If all units are dead, the whole gradient is zero, which every step shows.
            exact = window.at_every_step_since(window.statistic("zero_step_share"))
            onset = np.where(dead >= 1, np.minimum(onset, exact), onset)
            return onset.astype(np.int64)

        learns, converged = window.learning.learning, window.learning.converged
        little = Severity.INFO if learns else Severity.WARNING
        severe = Severity.INFO if converged else Severity.WARNING if learns else Severity.CRITICAL
        # If a whole layer is dead, a run can only learn through a path around it. What never
        # had a gradient is how the model was built, and not what training made of it.
        never = (dead >= 1) & ~(window.largest("gradient_norm") > 0)
        round_it = Severity.WARNING if window.learning.succeeds else Severity.CRITICAL
        all_of_it = np.where(never, int(Severity.CRITICAL), int(round_it))
        if converged:
            all_of_it[:] = int(Severity.INFO)
        severity = np.where(
            dead >= 1, all_of_it, np.where(dead >= self.nearly_all, int(severe), int(little))
        )
        chance = 0.5 + self.deviations * np.sqrt(0.25 / np.maximum(rows.units, 1))
        severity = np.where((dead < 1) & (dead <= chance), int(Severity.INFO), severity)
        return Detection.of(faulty, since, severity)

    def _at_fault(self, window: Window, dead: list[int]) -> list[int]:
        """Of layers that are dead as a whole: those that their bias switched off from the start,
        and the one nearest the loss.

        The nearest is left out if one of the others explains it. A layer that gets zeros, and whose
        bias starts at zero, lies exactly at the kink of its ReLU. It has no gradient either, and
        lives as soon as the layers before it do.
        """
        rows = window.rows
        lived = window.largest("gradient_norm") > 0

        def by_bias(row: int) -> bool:
            reach = self.far_below * rows.scale_gain[row]
            return bool(not lived[row] and self._bias_start(window, row) > reach)

        found = [row for row in dead if by_bias(row)]
        if not found or dead[-1] in found:
            return found or dead[-1:]
        at_the_kink = not lived[dead[-1]] and self._bias_start(window, dead[-1]) == 0
        explained = at_the_kink and window.paths.around(dead[-1:])[found].any()
        return found if explained else [*found, dead[-1]]

    @staticmethod
    def _bias_start(window: Window, row: int) -> float:
        """The RMS at which the bias of a kernel's layer starts; 0 if it has none."""
        bias = int(window.rows.bias_of[row])
        return float(window.rows.initial_rms[bias]) if bias >= 0 else 0.0

    def _one_input(self, window: Window) -> bool:
        """Whether all samples of all batches had the same prediction."""
        spread = window.context("predictions_spread")
        known = spread[np.isfinite(spread)]
        return len(known) >= self.frames and bool((known == 0).all())

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        dead = window.statistic("dead_unit_share")[-1][rows]
        worst = int(
            rows[::-1][np.nanargmax(dead[::-1])]
        )  # nearest the loss: it takes the gradient from the others
        value = float(np.nanmax(dead))
        variable = window.table.variables[worst]
        others = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        horizon = window.latest("unit_window")
        over = f"{horizon:.0f}" if math.isfinite(horizon) else "last"
        from_start = since <= window.first_step + 1
        early = since <= window.first_step + self.early_steps
        causes = self._causes(window, worst, from_start, early)
        return Finding(
            summary=f"{round(value * variable.units)} of {variable.units} units of "
            f"{variable.path}{others} received no gradient from about step {since} on (of the "
            f"{over} batches up to step {window.step} none gave them one).",
            evidence=(
                Evidence("dead_unit_share", value, self.share),
                Evidence("units", variable.units),
            ),
            causes=causes,
            fixes=self._fixes(window, rows, worst, causes, from_start),
            follows=self._follows(variable, from_start and value >= 1),
            comes_of=self._comes_of(window, causes, since),
        )

    def _follows(self, variable: Variable, never_lived: bool) -> tuple[str, ...]:
        """The rules that would explain it.

        Args:
            never_lived: no unit had a gradient, not even at the first step, before any update.
        """
        rules = before_any_update(self.follows) if never_lived else self.follows
        # A tanh does not die: its input is so large that its slope rounds to zero.
        return (*rules, "saturated_units") if activation(variable) in SATURATING else rules

    def _comes_of(self, window: Window, causes: tuple[Cause, ...], since: int) -> tuple[str, ...]:
        """The rules it may come of: none, if dead from the start or for another reason."""
        if likeliest(causes) in ("low_precision", "deep_narrow_network"):
            return ()
        return ("poor_initialization",) if since <= window.first_step else self.comes_of

    def _causes(self, window: Window, row: int, from_start: bool, early: bool) -> tuple[Cause, ...]:
        variable = window.table.variables[row]
        found: list[Cause] = []
        low = underflow_cause(window)
        if low is not None:
            found.append(low)
        name = activation(variable)
        silent = np.flatnonzero(window.statistic("zero_step_share")[-1] >= 1)
        without = [window.table.variables[int(at)] for at in silent]
        one = sign_cause(without) or single_value_cause(window, [variable, *without])
        found += [one] if one else []
        if name in RELU:
            text = (
                f"{layer(variable)} has activation {variable.activation}, whose slope is zero for "
                "negative inputs"
            )
            bias = self._bias_start(window, row)
            if from_start and bias > 0:
                text += f"; its bias starts at an RMS of {bias:.3g}"
            # Of many narrow layers one is likely to be dead at the start (Lu et al. 2019).
            narrow = deep_narrow_cause(window, 0.85) if early else None
            likely = 0.3 if one else 0.5 if low else 0.7 if narrow else 0.9
            found.append(cause("dying_relu", likely, f"{text}."))
            found += [narrow] if narrow else []
        # Inputs of that size push a tanh onto its flat part. They switch off a ReLU for one sign
        # only.
        data = large_inputs_cause(window, 0.85 if name in SATURATING else 0.5)
        if name in SATURATING:
            found.append(
                cause(
                    "saturating_activation",
                    0.3 if one else 0.6 if data else 0.7,
                    f"{layer(variable)} has activation {variable.activation}; its slope rounds to "
                    "zero far from the middle.",
                )
            )
        # If units lived with such a rate at first, a step at that rate can have killed them later.
        killed = not from_start and unusual_rate_cause(window, 0.95, 100)
        unusual = killed or unusual_rate_cause(window, 0.6, 10)
        if unusual is not None:
            found.append(unusual)
        data = data or tiny_inputs_cause(window, 0.92)
        if data is not None:
            found.append(data)
        start = initialization_cause(window.table, [row])
        return (*found, start) if start else tuple(found)

    @staticmethod
    def _fixes(
        window: Window, rows: IntArray, worst: int, causes: tuple[Cause, ...], from_start: bool
    ) -> tuple[str, ...]:
        variable = window.table.variables[worst]
        if any(c.id == "batch_of_one" for c in causes):
            return (LARGER_BATCHES,)
        if any(c.id == "non_differentiable_operation" for c in causes):
            return (PAST_THE_SIGN,)
        if any(c.id == "axis_of_length_one" for c in causes):
            return (MORE_VALUES,)
        flat = activation(variable) in SATURATING
        named = [reason.id for reason in causes]
        fixes = [SHORTCUTS] if "deep_narrow_network" in named else []
        if named[:1] == ["low_precision"]:
            fixes.append(WIDER)
        elif "learning_rate_too_large" in named or not (from_start or flat):
            fixes.append(slower(window))  # no rate changes what was so before the first step
        if "unscaled_inputs" in named:
            fixes.insert(
                0 if likeliest(causes) == "unscaled_inputs" else len(fixes),
                scale_inputs(window.table),
            )
        if flat:
            change = 'activation="relu", kernel_initializer="he_normal"'
            other = ", or put `keras.layers.BatchNormalization()` before the activation"
        else:
            change = (
                'activation="leaky_relu", kernel_initializer="he_normal", bias_initializer="zeros"'
            )
            other = ""
        # The causes are those of the worst one: others of its kind need the same change.
        like = [window.table.variables[row] for row in rows]
        like = [v for v in like if (activation(v) in SATURATING) == flat]
        return (*fixes, f"In {layers_of(like)} use `{change}`{other}.")
