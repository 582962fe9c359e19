"""The whole gradient is exactly zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray, Variable
from tb_gradients.judging.advice import usual_advice
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest, likeliest_first
from tb_gradients.judging.data_scales import (
    INPUT_NEEDS,
    before_any_update,
    large_inputs_cause,
)
from tb_gradients.judging.initial_values import (
    initialization_cause,
    initializer_for,
    signal_gains,
    start_at_random,
)
from tb_gradients.judging.learning_rates import large_rate_cause
from tb_gradients.judging.networks import (
    BATCH_NEEDS,
    LARGER_BATCHES,
    PAST_THE_SIGN,
    RELU,
    SATURATING,
    TURN,
    axis_of_one_cause,
    nothing_comes_back,
    sign_cause,
    single_value_cause,
    taking_turns,
    without_axis_of_one,
    zero_by_nature,
)
from tb_gradients.judging.outputs import clipped_output_cause, inside_the_domain
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import WIDER, underflow_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import activation, layer, names


class ZeroGradient(Rule):
    """Every element of the gradient is exactly zero, step after step.

    Why it matters: the variable receives no information from the data. It does not learn.

    Definition: all elements are zero in at least 90 % of the steps of a window of at least 10 steps
    (every step is counted, recorded or not). For branches that are used in turn, or gradients that
    came back earlier, 100 steps in a row are needed. Of embeddings only the rows in use count.
    Small numbers alone do not give exact zeros: something multiplies by zero.

    Try:
    * If it is every variable: the loss is constant. Look for a factor of zero, a loss that is
      computed from something else than the model's output, or a last layer whose outputs lie where
      the loss clips them (binary cross-entropy of probabilities, KL divergence, MSLE).
    * If it is everything up to some layer: that layer is dead or starts at zero.

    Silent when: the gradient is zero by construction (a bias before normalisation); the variable
    had a gradient and the run has converged: a loss that reached zero has no gradient. Only `info`
    if only offsets and scales are affected, and for the recurrent kernel over one time step, and
    query and key of an attention over one position.
    """

    id = "zero_gradient"
    title = "The gradient is exactly zero"
    severity = Severity.CRITICAL
    dense = True
    signs = ("zero_step_share",)
    needs = (
        "zero_step_share",
        "none_step_share",
        "gradient_norm",
        "gradient_subnormal_share",
        "loss_scale",
        "loss_mean",
        "predictions_min",
        "predictions_max",
        *BATCH_NEEDS,
        *INPUT_NEEDS,
        "update_ratio",
        "learning_rate",
    )
    picture = Picture(statistic="zero_step_share", chart=("gradient_norm", "loss"))
    comes_of = ("weights_replaced",)
    follows = (
        "nonfinite_weight",  # a fused ReLU makes 0 of NaN, and passes 0 back
        "nonfinite_gradient",
        "loss_scale_collapse",  # a scale near 0 rounds every gradient to 0
        "disconnected_gradient",
        "dead_units",
        "symmetric_units",
        "bad_data",
        "model_mismatch",
        "exploding_gradient",
        "update_too_large",
        "poor_initialization",
        "gradient_underflow",
        "regularizer_dominates",
    )

    share = Threshold(
        0.9, "some batches may reach a variable by chance; at one in ten it is still dead"
    )
    healthy = (Healthy("zero_step_share", below=share),)
    steps = Threshold(
        10, "zero-initialised heads, residual scales and LoRA factors pass nothing on for one step"
    )
    thrown = Threshold(0.3, "as in update_too_large: such a step may end on a flat part")
    small = Threshold(0.05, "as in poor_initialization: a twentieth of the signal per layer")

    turn = Threshold(
        TURN, "of twelve tasks drawn at random, one is left out for so long in one run of 500"
    )

    basis = Basis(sees=("zero_step_share",), steps=steps)

    def needed(self, window: Window) -> Needed:
        needed = super().needed(window)
        return dataclasses.replace(needed, steps=self.turn) if self._waits(window) else needed

    def detect(self, window: Window) -> Detection | None:
        frames = window.last_frames(self.steps)
        zero = window.statistic("zero_step_share")
        if frames is None:
            return self._provisional(window, zero)
        candidates = window.rows.judged & (zero[-1] > 0)
        if not candidates.any():
            return HEALTHY
        weight = window.spans[frames, np.newaxis]
        steps = (np.nan_to_num(zero[frames]) * weight).sum(axis=0) / weight.sum()
        faulty = candidates & (steps >= self.share)
        if faulty.any():
            waits = _came_back(zero) | taking_turns(window).any()
            if (faulty & waits).any():
                frames = window.last_frames(self.turn)
                long = np.zeros_like(faulty) if frames is None else (zero[frames] >= 1).all(axis=0)
                faulty &= ~waits | long
                if frames is None and not faulty.any():
                    return None
        if window.learning.converged:
            faulty &= ~(window.largest("gradient_norm") > 0)

        def since() -> IntArray:
            onset = window.onset(zero >= self.share, ~np.isnan(zero), per_step=False)
            return np.where(
                zero[-1] >= 1, np.minimum(onset, window.at_every_step_since(zero)), onset
            )

        severity = np.full(faulty.shape, int(Severity.CRITICAL))
        if window.learning.succeeds:
            severity[:] = int(Severity.WARNING)  # a branch: the rest learns in spite of it
        if faulty.any() and not (faulty & ~window.rows.minor).any():
            severity[:] = int(Severity.INFO)
        severity[faulty] = np.where(
            zero_by_nature(window.table, np.flatnonzero(faulty)),
            int(Severity.INFO),
            severity[faulty],
        )
        return Detection.of(faulty, since, severity)

    @staticmethod
    def _provisional(window: Window, zero: FloatArray) -> Detection | None:
        """Too few steps to be sure, but no variable had a gradient at any of them."""
        rows = window.rows.judged & ~np.isnan(zero).all(axis=0)
        if not rows.any() or (zero[:, rows] < 1).any():
            return None
        info = np.full(rows.shape, int(Severity.INFO))
        since = window.first_step
        return Detection(rows, lambda: since, info, together=True, provisional=True)

    @staticmethod
    def _waits(window: Window) -> bool:
        """Whether a gradient has come back before, or branches take turns."""
        back = _came_back(window.statistic("zero_step_share")) & window.rows.judged
        return bool(back.any() or taking_turns(window).any())

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        zero = window.statistic("zero_step_share")
        alive = window.rows.judged & ~(zero[-1] >= self.share)
        everything = not alive.any()
        causes = self._causes(window, rows, alive)
        who = "every variable" if everything else names(window.table, rows)
        value = float(zero[-1][rows].min())
        share = "every step" if value == 1 else f"{value:.0%} of the steps"
        return Finding(
            summary=f"The gradient of {who} was exactly zero in {share} from step {since} on.",
            evidence=(
                Evidence("zero_step_share", value, self.share),
                Evidence("variables_with_gradient", int(alive.sum())),
            ),
            causes=causes,
            fixes=tuple(self._fix(window, rows, c) for c in likeliest_first(causes)),
            follows=self._follows(window, likeliest(causes), since),
        )

    def _follows(self, window: Window, kind: str, since: int) -> tuple[str, ...]:
        """The rules that would explain it, given its likeliest cause."""
        rules: tuple[str, ...] = self.follows
        if since <= window.first_step:
            rules = before_any_update(rules)
        # Zeros that no step ever changes are the fault of the steps, not of the start.
        return (*rules, "update_lost", "frozen_weight") if kind == "zero_initialization" else rules

    def _causes(self, window: Window, rows: IntArray, alive: BoolArray) -> tuple[Cause, ...]:
        table = window.table
        flat = sign_cause(table.variables[int(row)] for row in rows)
        single = axis_of_one_cause(table, rows) or flat
        if single is not None:
            return (single,)
        if (window.largest("gradient_norm")[rows] > 0).all():
            ended = self._what_ended_it(window, rows)
            if ended or alive.any():
                return ended
        if not alive.any():
            losses = window.context("loss_mean")
            losses = losses[np.isfinite(losses)]
            constant = losses.size > 1 and np.ptp(losses) == 0
            text = "all variables, the last layer's too, have a gradient of exactly zero"
            if constant:
                text += f", and the loss is {losses[-1]:.3g} at every step"
            ignored = cause("loss_ignores_parameters", 0.98 if constant else 0.9, f"{text}.")
            other = self._products_of_zeros(window, rows) or clipped_output_cause(window)
            if other is not None and other.confidence > ignored.confidence - 0.05:
                ignored = dataclasses.replace(ignored, confidence=0.5)
            return (other, ignored) if other is not None else (ignored,)
        low = underflow_cause(window)
        found: list[Cause] = [low] if low is not None else []
        # The cause is at the border: in the last layer without a gradient, or in the next one.
        near = alive & window.paths.around(rows)
        border = [int(rows[-1]), *np.flatnonzero(near & (np.arange(len(alive)) > rows[-1]))[:2]]
        # A single variable is in no product with zeros of its own: its start at zero takes a
        # gradient from others, not from itself. (A ReLU behind it may be off at zero.)
        only = table.variables[int(rows[0])]
        alone = len(rows) == 1 and activation(only) not in RELU
        start = initialization_cause(table, border[1:] if alone else [*rows, *border])
        if start is not None:
            found.append(start)
        tiny = self._tiny_start(window)
        found += [tiny] if tiny is not None and not found else []
        # Zeros at the start explain everything; other causes count only without them.
        one = single_value_cause(window, [table.variables[int(row)] for row in rows])
        if one is not None:
            return (*found, one)
        silent = np.zeros_like(alive)
        silent[rows] = True
        if start is None and nothing_comes_back(window, silent):
            text = (
                f"{table.paths[int(rows[-1])]} has no gradient although nothing in its layer "
                "stops it: the loss does not depend on the layer's output (a weight or mask of "
                "zero, a branch that is never chosen)"
            )
            return (*found, cause("loss_ignores_parameters", 0.85, f"{text}."))
        fed = self._fed_with_zeros(window, rows, alive)
        if start is None and fed is not None and not alone:
            return (*found, fed)
        if start is None:
            found += self._flat(window, rows, 0.3 if found else 0.7)
        before = near & window.rows.kernel & (np.arange(len(alive)) < rows[0])
        if before.any() and not any(c.id == "dying_relu" or c is start for c in found):
            text = (
                f"{table.paths[int(np.flatnonzero(before)[-1])]} before it does receive one, along "
                "another path: the loss does not depend on the output of this part"
            )
            ignored = cause("loss_ignores_parameters", 0.8, f"{text}.")
            found = [ignored, *(c for c in found if c.id != "saturating_activation")]
        if not found and alone:
            text = (
                f"the loss reads {table.paths[int(rows[0])]}, but its gradient is exactly zero: an "
                "operation behind it stops the gradient, as stop_gradient or round does, or its "
                "share of the loss is multiplied by zero"
            )
            found.append(cause("non_differentiable_operation", 0.6, f"{text}."))
        after = np.flatnonzero(alive)
        if not found and after.size and int(rows[-1]) < int(after[0]):
            found.append(
                cause(
                    "non_differentiable_operation",
                    0.7,
                    f"nothing before {table.paths[int(after[0])]} receives a gradient, "
                    "everything from there on does.",
                )
            )
        return tuple(found)

    @staticmethod
    def _products_of_zeros(window: Window, rows: IntArray) -> Cause | None:
        """zero_initialization, if all factors of a product start at zero: then neither of two
        factors has a gradient, because each is the gradient of the other."""
        factors = rows[~window.rows.minor[rows]]
        if len(factors) < 2 or (window.rows.initial_rms[factors] > 0).any():
            return None
        text = f"{names(window.table, factors)} all start at zero: where they are multiplied, "
        return cause("zero_initialization", 0.99, f"{text}each is the gradient of the other.")

    def _what_ended_it(self, window: Window, rows: IntArray) -> tuple[Cause, ...]:
        """Why variables that had a gradient have none now: not because of the model's structure."""
        low = underflow_cause(window)
        found: list[Cause] = [low] if low is not None else []
        ratios = window.largest("update_ratio")[window.rows.judged & window.rows.kernel]
        ratio = float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else 0.0
        if ratio > self.thrown:
            observed = f"single steps changed a typical kernel by up to {ratio:.2g} of its size"
            found.append(large_rate_cause(window, observed, 0.6))
        return (*found, *self._flat(window, rows, 0.3 if low is not None else 0.7))

    @staticmethod
    def _fed_with_zeros(window: Window, rows: IntArray, alive: BoolArray) -> Cause | None:
        """Kernels without a gradient whose layer's biases have one: the units are not dead."""
        table = window.table
        kernels = [table.variables[row] for row in rows if window.rows.kernel[row]]
        biases = {table.variables[row].module for row in np.flatnonzero(alive)}
        if not kernels or not all(kernel.module in biases for kernel in kernels):
            return None
        text = (
            f"the other variables of {layer(kernels[-1])} do receive a gradient, so its units are "
            "alive: the layer's inputs are exactly zero, or the gradient is set to zero before "
            "the optimizer gets it"
        )
        return cause("loss_ignores_parameters", 0.7, f"{text}.")

    @staticmethod
    def _flat(window: Window, rows: IntArray, confidence: float) -> list[Cause]:
        """Activations of these layers whose slope may be zero."""
        found: list[Cause] = []
        kernels = [window.table.variables[row] for row in rows if window.rows.kernel[row]]
        for kind, family, text in (
            ("dying_relu", RELU, "units that are off for every input pass nothing on"),
            ("saturating_activation", SATURATING, "on its flat part its slope rounds to zero"),
        ):
            which = [variable for variable in kernels if activation(variable) in family]
            if which:
                text = f"{layer(which[-1])} has activation {which[-1].activation}: {text}."
                found.append(cause(kind, confidence if not found else 0.3, text))
        saturating = any(c.id == "saturating_activation" for c in found)
        data = large_inputs_cause(window, 0.85) if saturating and confidence > 0.5 else None
        return [data, *found] if data is not None else found

    def _tiny_start(self, window: Window) -> Cause | None:
        """initialization_scale, if most kernels start so small that products of them vanish."""
        kernels = window.rows.judged & window.rows.kernel & (window.rows.initial_rms > 0)
        gains = signal_gains(window)[kernels]
        if gains.size < 2 or np.median(gains) >= self.small or np.prod(gains) >= self.small:
            return None
        text = (
            f"a typical kernel starts at {float(np.median(gains)):.2g} of the scale that keeps a "
            f"signal's size; {gains.size} layers give {float(np.prod(gains)):.1e}"
        )
        return cause("initialization_scale", 0.85, f"{text}.")

    def _fix(self, window: Window, rows: IntArray, reason: Cause) -> str:
        variables = [window.table.variables[int(row)] for row in rows]
        last = variables[-1]

        def last_with(family: Collection[str]) -> Variable:
            """The layer that the cause names: the last with such an activation."""
            return [v for v in variables if activation(v) in family][-1]

        if reason.id == "low_precision":
            return WIDER
        if reason.id == "axis_of_length_one":
            return without_axis_of_one(window.table, rows)
        if reason.id == "non_differentiable_operation" and sign_cause(variables) is not None:
            return PAST_THE_SIGN
        if reason.id == "batch_of_one":
            return LARGER_BATCHES
        if reason.id == "loss_output_mismatch":
            return inside_the_domain(window.table)
        if reason.id == "loss_ignores_parameters":
            return (
                "Look at what is differentiated: a factor or mask of zero, a constant, "
                "or targets compared with themselves instead of with model(x)."
            )
        if reason.id in ("zero_initialization", "constant_initialization"):
            return start_at_random(variables)
        if reason.id == "initialization_scale":
            return f'In {layer(last)} use `kernel_initializer="{initializer_for(last)}"`.'
        if reason.id == "dying_relu":
            return (
                f'In {layer(last_with(RELU))} use `activation="leaky_relu", '
                'kernel_initializer="he_normal"`, and lower the learning rate.'
            )
        if reason.id == "saturating_activation":
            return (
                f'In {layer(last_with(SATURATING))} use `activation="relu", '
                'kernel_initializer="he_normal"`, or put `keras.layers.BatchNormalization()` '
                "before the activation; scale the inputs."
            )
        return usual_advice(window, reason) or (
            f"Between {layer(last)} and the loss, remove `tf.stop_gradient`, or replace the "
            "operation whose derivative is zero (sign, floor, comparison) by a smooth one."
        )


def _came_back(zero: FloatArray) -> BoolArray:
    """bool [variables]: those that had no gradient before, and have had one since. For them,
    batches without a gradient are normal, such as a single sample of zeros."""
    was, alive = zero > 0, zero < 1
    last = len(zero) - 1 - alive[::-1].argmax(axis=0)
    result: BoolArray = was.any(axis=0) & alive.any(axis=0) & (was.argmax(axis=0) < last)
    return result
