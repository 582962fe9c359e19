"""Units on the flat part of their activation."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray, Variable, VariableTable
from tb_gradients.judging.advice import usual_advice
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest, likeliest_first
from tb_gradients.judging.data_scales import (
    FAR_TARGETS_NEEDS,
    INPUT_NEEDS,
    far_targets_cause,
    large_inputs_cause,
)
from tb_gradients.judging.initial_values import scale_gain
from tb_gradients.judging.learning import MINIMUM_STEPS
from tb_gradients.judging.learning_rates import large_rate_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import activation, how_to_give, in_fit, layer, names

STEEPEST = {
    "sigmoid": 0.25,
    "hard_sigmoid": 1 / 6,
    "tanh": 1.0,
    "hard_tanh": 1.0,
    "softsign": 1.0,
}
"""The largest slope of activations with two flat sides."""


NEAR = 1.0
"""Sums up to this size are on the steep part: the slope of tanh is still 0.42 there."""

COMES_OF = {
    "learning_rate_too_large": ("update_too_large",),
    "initialization_scale": ("poor_initialization",),
}
"""For causes that another rule reports: that rule."""


class SaturatedUnits(Rule):
    """The units of a layer are stuck on the flat part of their activation.

    Why it matters: the slope there is nearly zero. Hardly any gradient passes the layer, and its
    own weights do not move either.

    Definition: with `activations=True`, more than half of a layer's units have a slope below 1e-3
    of the activation's largest slope for more than half of the batch, at every frame of 20 steps.
    Without it, the mean slope of a dense layer is estimated from the bias gradients of the layer
    (db) and of the next one (db_next, W_next): slope = |db| / (|db_next| * rms(W_next) *
    sqrt(units)). It counts if it stays below 0.1 of the largest possible slope (that of a tanh
    whose inputs have a standard deviation of 8) over 20 steps. It is a warning only if the run does
    not learn, or if the inputs are unscaled and the loss is still above half of that of a constant
    prediction (Glorot and Bengio 2010).

    Try:
    * Scale the inputs. Start with smaller weights (glorot_uniform).
    * Use BatchNormalization before the activation, or relu with he_normal.

    Silent when: the layer is the last one or a gate of a recurrent layer, which saturate by design;
    the weights follow a sigmoid or tanh and are too small for sums above 1; the run learns (`info`
    if activations are observed).
    """

    id = "saturated_units"
    title = "Saturated units"
    severity = Severity.CRITICAL
    needs = (
        "activation_saturated_share",
        "gradient_norm",
        "weight_norm",
        "update_ratio",
        "learning_rate",
        *INPUT_NEEDS,
        *FAR_TARGETS_NEEDS,
    )
    every = 4
    follows = ("zero_gradient", "symmetric_units", "exploding_gradient", "unbounded_loss")
    provisional = True

    share = Threshold(0.5, "the layer's majority; single saturated units are how features look")
    healthy = (Healthy("activation_saturated_share", below=share),)
    slope = Threshold(0.1, "mean slope of tanh for inputs of standard deviation 8: 0.8 / 8")
    steps = Threshold(20, "the first steps settle scales")
    frames = Threshold(3, "one or two frames may be chance")

    basis = Basis(sees=(), steps=steps, frames=frames, loss_steps=MINIMUM_STEPS)

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        rows, _ = window.rows.once(flat_on_both_sides)
        return "" if rows.size else "no hidden layer has an activation with two flat sides"

    def not_seen(self, window: Window) -> str:
        if window.was_seen("activation_saturated_share"):
            return ""
        rows, _ = window.rows.once(flat_on_both_sides)
        if not np.isin(rows, window.rows.chain.row).any():  # their slope cannot be estimated
            return how_to_give(["activation_saturated_share"])
        missing = [] if window.was_seen("loss_mean") else ["loss_mean"]
        return how_to_give(missing, in_fit(window.table))

    def detect(self, window: Window) -> Detection | None:
        reach = window.last_frames(self.steps, self.frames)
        if reach is None:
            return None
        learning = window.learning
        share = window.statistic("activation_saturated_share")
        fails = learning.failing or self._hurts(window)
        if not fails and not np.isfinite(share[-1]).any():  # cheap, and the usual case
            return HEALTHY
        rows, _ = window.rows.once(flat_on_both_sides)
        if not rows.size:
            return HEALTHY
        measured = np.isfinite(share[reach][:, rows]).any(axis=0)
        seen = share[reach][:, rows]
        flat: BoolArray = measured & np.all((seen > self.share) | np.isnan(seen), axis=0)
        if fails and not measured.all():
            flat |= ~measured & (self._slopes(window, reach, rows) < self.slope)
            flat &= measured | ~_out_of_reach(window)[rows]
        faulty = np.zeros(len(window.rows.judged), bool)
        faulty[rows[flat]] = True
        if not flat.any():
            return HEALTHY
        severity = Severity.INFO
        if fails:
            severity = Severity.CRITICAL if learning.guessing else Severity.WARNING
        known = np.isfinite(share)
        since = window.onset(share > self.share, known, per_step=True)
        since = np.where(known.any(axis=0), since, window.first_step)
        return Detection.of(faulty, since, severity, together=True)

    @staticmethod
    def _hurts(window: Window) -> bool:
        """Whether unscaled inputs explain it, and the run has not converged."""
        learning = window.learning
        unscaled = large_inputs_cause(window, 0.5) is not None
        return unscaled and learning.learning and not learning.converged

    @staticmethod
    def _slopes(window: Window, reach: slice, rows: IntArray) -> FloatArray:
        """Estimated mean slope over the largest one, per row; Inf if unknown."""
        chain = window.rows.chain
        gradient, weight = window.statistic("gradient_norm"), window.statistic("weight_norm")
        back = gradient[reach][:, chain.bias] / np.sqrt(chain.units)
        error = gradient[reach][:, chain.bias_behind] / np.sqrt(chain.units_behind)
        size = weight[reach][:, chain.behind] / np.sqrt(chain.units)
        ratio = back / (error * size)
        known = np.isfinite(ratio)
        ordered = np.sort(np.where(known, ratio, np.inf), axis=0)
        count = known.sum(axis=0)
        slopes = np.full(len(window.rows.judged), np.inf, np.float32)
        if chain.row.size:
            middle = ordered[np.maximum(count - 1, 0) // 2, np.arange(len(count))]
            slopes[chain.row] = np.where(count >= 3, middle, np.inf)
        known_rows, steepest = window.rows.once(flat_on_both_sides)
        steep = steepest[np.searchsorted(known_rows, rows)]
        result: FloatArray = (slopes[rows] / steep).astype(np.float32)
        return result

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        share = window.statistic("activation_saturated_share")[-1][rows]
        reach = window.last_frames(self.steps, self.frames) or slice(0, len(window))
        causes = self._causes(window, rows)
        who = names(window.table, rows)
        if np.isfinite(share).any():
            value = float(np.nanmax(share))
            text = f"{value:.0%} of the units of {who} were on the flat part of their activation"
            evidence = Evidence("activation_saturated_share", value, self.share)
        else:
            value = float(self._slopes(window, reach, rows).min())
            text = f"The activation of {who} had about {value:.1e} of its largest slope"
            evidence = Evidence("relative_slope", value, self.slope)
        return Finding(
            summary=f"{text} from step {since} on.",
            with_loss=True,
            evidence=(evidence, Evidence("layers_affected", len(rows))),
            causes=causes,
            fixes=tuple(self._fix(window, rows, reason) for reason in likeliest_first(causes)),
            comes_of=COMES_OF.get(likeliest(causes), ()),
        )

    @staticmethod
    def _causes(window: Window, rows: IntArray) -> tuple[Cause, ...]:
        variables = [window.table.variables[int(row)] for row in rows]
        found: list[Cause] = []
        data = large_inputs_cause(window, 0.9)
        if data is not None:
            found.append(data)
        targets = far_targets_cause(window)
        if targets is not None:  # an output that tries to reach them saturates
            found.append(targets)
        large = [v for v in variables if scale_gain(v) > 10]
        if large:
            found.append(
                cause(
                    "initialization_scale",
                    0.85,
                    f"{layer(large[0])} starts at an RMS of {large[0].initial_rms:.3g}, "
                    f"{scale_gain(large[0]):.3g} times what keeps the size of a signal.",
                )
            )
        ratio = float(np.nanmax(np.append(window.largest("update_ratio")[rows], 0.0)))
        if ratio > 0.3:
            text = f"a step moved {layer(variables[0])} by {ratio:.2g} of its size"
            found.append(large_rate_cause(window, text, 0.6))
        found.append(
            cause(
                "saturating_activation",
                0.4 if found else 0.7,
                f"{layer(variables[0])} has activation {variables[0].activation}, which is flat on "
                "both sides.",
            )
        )
        return tuple(found)

    @staticmethod
    def _fix(window: Window, rows: IntArray, reason: Cause) -> str:
        first = layer(window.table.variables[int(rows[0])])
        if reason.id == "initialization_scale":
            return f'In {first} use `kernel_initializer="glorot_uniform"`.'
        return usual_advice(window, reason) or (
            f'In {first} use `activation="relu", kernel_initializer="he_normal"`, or put '
            "`keras.layers.BatchNormalization()` before the activation."
        )


def _out_of_reach(window: Window) -> BoolArray:
    """bool [variables]: kernels whose sums cannot reach the flat part of any activation, because
    their inputs are outputs of such an activation, and so between -1 and 1."""
    chain, result = window.rows.chain, np.zeros(len(window.rows.judged), bool)
    norm = window.statistic("weight_norm")[-1]
    bounded = [activation(window.table.variables[row]) in STEEPEST for row in chain.row]
    weights = norm[chain.behind] * np.sqrt(window.rows.fan_in[chain.behind])
    largest = (weights + norm[chain.bias_behind]) / np.sqrt(chain.units_behind)
    result[chain.behind] = np.array(bounded, bool) & (largest < NEAR)
    return result


def flat_on_both_sides(table: VariableTable, rows: Rows) -> tuple[IntArray, FloatArray]:
    """Kernels of hidden layers with such an activation, and its largest slope."""
    kernels = np.flatnonzero(rows.judged & rows.kernel)
    chosen = [
        int(row)
        for row in kernels[:-1]
        if activation(table.variables[row]) in STEEPEST
        and table.variables[row].role == "kernel"
        and not is_recurrent(table.variables[row])
    ]
    steepest = [STEEPEST[activation(table.variables[row])] for row in chosen]
    return np.array(chosen, np.int64), np.array(steepest, np.float32)


def is_recurrent(variable: Variable) -> bool:
    """Whether the variable belongs to a recurrent layer, whose gates saturate by design."""
    return any(word in variable.layer_class for word in ("LSTM", "GRU", "RNN"))
