"""The loss does not move."""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.advice import usual_advice
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.data_scales import (
    FAR_TARGETS_NEEDS,
    INPUT_NEEDS,
    bad_scaling_cause,
    far_targets_cause,
    input_scale_cause,
    scale_inputs,
)
from tb_gradients.judging.freezing import train_the_base, untrained_base_cause
from tb_gradients.judging.learning import WORSE, unknown_level
from tb_gradients.judging.learning_rates import (
    SLOWER_DECAY,
    decayed_from,
    large_rate_cause,
    optimizer_code,
    optimizer_name,
    usual_learning_rate,
    warms_up,
)
from tb_gradients.judging.networks import (
    LARGER_BATCHES,
    SHORTCUTS,
    deep_narrow_cause,
    few_samples_cause,
    stopped_cause,
    without_stop,
)
from tb_gradients.judging.optimizer_faults import (
    NOISE_NEEDS,
    SCALE_THE_LOSS,
    averaged_cause,
    averaged_fix,
    gradient_noise_cause,
    not_scaled_cause,
)
from tb_gradients.judging.outputs import ALIKE, output_mismatch
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.recurrences import unbounded_recurrence_cause
from tb_gradients.judging.window import IntArray, Window

OVERFIT = (
    "Overfit a few samples first: `model.fit(x[:32], y[:32], epochs=200)`. If the loss stays, "
    "the model or the loss is wrong. If it falls, look at the data."
)


class NotLearning(Rule):
    """The loss stays where it was, although gradients flow and weights move.

    Why it matters: the model predicts about the same for every input. More of the same training
    will not change that.

    Definition: after at least 100 steps, the median loss of the last 30 % of them is less than 1 %
    below that of the part before, or no better than that of the best constant prediction (entropy
    of the classes, variance of the targets). AUTOTRAINER also waits for 30 % of the epochs. It is a
    warning only if the loss of a constant prediction is known. If no cause is found, it is a
    warning after 400 steps. If the steps were too small to move the weights by a fifth of their
    size, it is a warning after 1000 steps and 20 epochs; with a cause in the network, the learning
    rate or the data, after 200 steps or 3 epochs. And if nine in ten targets of two classes are of
    one class, it is a warning after 200 steps and 3 epochs that predictions of the rare class lie
    less than half a standard deviation above those of the other class, whatever the loss does. So
    is a loss without a penalty that is then still 100 times that of a constant prediction.

    Try:
    * Overfit 32 samples first. If that fails, the model, the loss or the update is wrong. If it
      works, look at the data.
    * Check that inputs and labels belong together and are shuffled alike.

    Silent when: the loss is low (converged); it fell before; fewer steps were seen. Only `info` if
    the loss of a constant prediction is not known (GANs, reinforcement learning, custom losses),
    while the learning rate warms up, and once the run has left a plateau at the start.
    """

    id = "not_learning"
    title = "The loss does not fall"
    severity = Severity.WARNING
    needs = (
        "update_ratio",
        *NOISE_NEEDS,
        "samples",
        "learning_rate",
        "loss_scale",
        "predictions_spread",
        "predictions_separation",
        "added_loss",
        "targets_std",
        *FAR_TARGETS_NEEDS,
        *INPUT_NEEDS,
    )
    picture = Picture(chart=("loss", "learning_rate"), limit="loss_median")
    every = 4
    follows = (
        "nonfinite_gradient",
        "nonfinite_loss",
        "nonfinite_weight",
        "disconnected_gradient",
        "zero_gradient",
        "symmetric_units",
        "dead_units",
        "frozen_weight",
        "loss_scale_collapse",
        "exploding_gradient",
        "model_mismatch",
        "bad_data",
        "update_lost",
        "clipping_dominates",
        "update_too_small",
        "update_too_large",
        "vanishing_gradient",
        "saturated_units",
        "regularizer_dominates",
        "gradient_underflow",
        "poor_initialization",
    )
    comes_of = ("weights_replaced",)
    provisional = True

    steps = Threshold(
        100, "twice what the loss needs to be judged: hard tasks begin with a plateau"
    )
    plateau = Threshold(400, "small hard tasks leave their plateau within so many steps")
    stands = Threshold(200, "half of that plateau, as there is a second symptom")
    stands_epochs = Threshold(3, "everything in the data was seen three times")
    patience = Threshold(
        1000, "small hard tasks leave their plateau in fewer, also with small steps"
    )
    epochs = Threshold(20, "everything in the data was seen so many times, and nothing was learnt")
    moved = Threshold(
        0.2, "relative step times steps: weights that moved less are those of the start"
    )
    frames = Threshold(10, "so many batches do not have equal predictions by chance")
    imbalance = Threshold(
        0.9, "nine in ten are of one class: predicting it always has a low loss already"
    )

    absurd = Threshold(100.0, "losses of single batches differ by far less")
    batches = Threshold(4, "batches that hold the rare class: of fewer the mean is chance")
    separated = Threshold(
        0.5, "deviations: an area of 0.64 under the curve; a class that is learnt has 1 and more"
    )

    basis = Basis(sees=("loss_mean", "update_ratio"), loss_steps=steps)

    def detect(self, window: Window) -> Detection | None:
        learning = window.learning
        if self._separation(window) is not None:
            return Detection.of_run(window.first_step, Severity.WARNING)
        if self._is_absurd(window):
            return Detection.of_run(window.first_step, Severity.WARNING)
        if not learning.stuck or learning.steps < self.steps:
            return HEALTHY
        alive = bool((window.statistic("gradient_norm")[-1] > 0).any())
        moving = bool((window.statistic("update_ratio")[-1] > 0).any())
        if not alive or not moving:
            return HEALTHY
        severity = Severity.INFO
        near = learning.guessing and not learning.now > WORSE * learning.guess
        stands = near and self._stands(window)
        # One flat run in 15 seems to fall, by chance: so does one that has stood for long.
        hopeful = learning.hopeful and not (stands and learning.steps >= self.plateau)
        near = near and not hopeful and not warms_up(window)
        slow = window.latest("learning_rate") < 0.99e-2 * usual_learning_rate(window.table)
        # Far above a constant prediction but no worse than at the start: it may still come down.
        # (An output that never depends on the input is wrong from the first step.)
        chance = self._had_its_chance(window) or self._had_its_time(window)
        chance = chance or stands
        near = near and (self._same_for_all(window) or chance)
        # Hard tasks start with a plateau: without a second symptom, wait.
        near = near and (learning.steps >= self.plateau or bool(self._causes(window)))
        # Without a known constant prediction, a loss may rise by design (agents, two networks).
        far = far_targets_cause(window) is not None and not warms_up(window)
        worse = learning.worse and not math.isnan(learning.guess)
        # Such steps move next to nothing, whatever the loss is: no level of guessing is needed.
        unscaled = learning.steps >= self.stands and not_scaled_cause(window, self._step(window))
        if unscaled and not warms_up(window):
            severity = Severity.WARNING
        if worse or (learning.guessing and slow) or near or far:
            severity = Severity.WARNING
        return Detection.of_run(window.first_step, severity)

    @staticmethod
    def _step(window: Window) -> float:
        """The relative step of the median kernel (or table) at the last frame; NaN if unknown."""
        rows = window.rows.judged & window.rows.kernel
        if not rows.any():  # a model of embeddings alone
            rows = window.rows.judged & window.rows.embedding
        ratio = window.statistic("update_ratio")[-1][rows]
        return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else math.nan

    def _had_its_chance(self, window: Window) -> bool:
        """Whether the steps so far could have moved the weights."""
        ratio = window.statistic("update_ratio")[:, window.rows.judged & window.rows.kernel]
        typical = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else math.nan
        return not typical * window.learning.steps < self.moved

    def _had_its_time(self, window: Window) -> bool:
        """Whether the run was long enough to learn, even with smaller steps than usual."""
        epoch = window.table.run.steps_per_epoch
        steps = window.learning.steps
        return epoch > 0 and steps >= max(self.patience, self.epochs * epoch)

    def _stands(self, window: Window) -> bool:
        """Whether something is wrong besides, and it has been like that for long enough."""
        steps, epoch = window.learning.steps, window.table.run.steps_per_epoch
        long = steps >= self.stands
        long = long or (epoch > 0 and steps >= max(self.steps, self.stands_epochs * epoch))
        # A rare class is learnt late, and by smaller steps than usual all the same.
        return long and any(c.id != "class_imbalance" for c in self._causes(window))

    def _separation(self, window: Window) -> float | None:
        """By how many deviations predictions of the rare class differ from the others, if after
        some epochs they do not."""
        learning, epoch = window.learning, window.table.run.steps_per_epoch
        if not self.imbalance <= learning.majority < 1:  # cheap, and nearly always so
            return None
        if learning.steps < max(self.stands, self.stands_epochs * epoch):
            return None
        gaps = window.context("predictions_separation")
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps) < self.batches:
            return None
        mean = float(gaps.mean())
        return mean if mean < min(self.separated, 2 / math.sqrt(len(gaps))) else None

    def _is_absurd(self, window: Window) -> bool:
        """Whether the loss, of which no penalty is a part, is still far above that of a constant
        prediction, whatever it has come down from."""
        learning, epoch = window.learning, window.table.run.steps_per_epoch
        if not learning.now >= self.absurd * learning.guess > 0:  # cheap, and nearly always so
            return False
        if learning.steps < max(self.stands, self.stands_epochs * epoch):
            return False
        penalties = any(v.regularizer for v in window.table.variables)
        return not penalties and not window.was_seen("added_loss")

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        learning = window.learning
        causes = self._causes(window)
        if self._is_absurd(window):
            return Finding(
                summary=f"After {learning.steps} steps the loss was {learning.now:.3g}; that of a "
                f"constant prediction is {learning.guess:.3g}.",
                evidence=(Evidence("loss_median", learning.now, self.absurd * learning.guess),),
                causes=causes,
                fixes=(
                    *(self._fix(window, reason) for reason in likeliest_first(causes)),
                    OVERFIT,
                ),
            )
        separation = self._separation(window)
        if separation is not None:
            return Finding(
                summary=f"After {learning.steps} steps the model did not tell the rare class from "
                f"the other: its predictions lay {separation:.2g} standard deviations above those "
                "of the other class.",
                evidence=(Evidence("predictions_separation", separation, self.separated),),
                causes=causes,
                fixes=tuple(self._fix(window, reason) for reason in likeliest_first(causes)),
                with_loss=True,
            )
        level = f"; a constant prediction has {learning.guess:.3g}" if learning.guessing else ""
        unknown = unknown_level(window.table) if math.isnan(learning.guess) else ""
        level += f"; that of a constant prediction is not known, as {unknown}" if unknown else ""
        return Finding(
            summary=f"After {learning.steps} steps the loss had not fallen ({learning.start:.3g} "
            f"at the start, {learning.now:.3g} by then{level}).",
            evidence=(
                Evidence("loss_median", learning.now, learning.guess),
                Evidence("loss_at_start", learning.start),
            ),
            causes=causes,
            fixes=(
                *(self._fix(window, reason) for reason in likeliest_first(causes)),
                OVERFIT,
            ),
        )

    def _causes(self, window: Window) -> tuple[Cause, ...]:
        found: list[Cause] = []
        learning = window.learning
        majority = learning.majority
        if self.imbalance <= majority < 1:
            found.append(
                cause(
                    "class_imbalance",
                    0.85 if majority >= 0.97 else 0.7,
                    f"{majority:.1%} of the targets are of one class"
                    + (
                        ", and the loss is that of always predicting it."
                        if learning.guessing
                        else "."
                    ),
                )
            )
        wrong = output_mismatch(window.table)
        if wrong is not None:
            found.append(cause("loss_output_mismatch", 0.8 if wrong[2] else 0.6, f"{wrong[0]}."))
        known = (
            averaged_cause(window.table),
            gradient_noise_cause(window),
            few_samples_cause(window),
            stopped_cause(window.table),
            self._constant_features(window),
        )
        found += [reason for reason in known if reason is not None]
        rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
        ratio = self._step(window)
        of = "kernel" if (window.rows.judged & window.rows.kernel).any() else "table"
        unscaled = not_scaled_cause(window, ratio)
        found += [unscaled] if unscaled is not None else []
        if 0 <= rate <= usual / 100 and not ratio > 1e-3:
            found.append(
                cause(
                    "learning_rate_too_small",
                    0.6,
                    f"the learning rate is {rate:.3g}; {usual:g} is usual for "
                    f"{optimizer_name(window.table)}."
                    + (
                        ""
                        if np.isnan(ratio)
                        else f" One step changes a {of} by {ratio:.1e} of its size."
                    ),
                )
            )
        elif self._had_its_time(window) and ratio * learning.steps < self.moved:
            found.append(
                cause(
                    "learning_rate_too_small",
                    0.55,
                    f"a typical kernel moves by {ratio:.1e} of its size per step, at most "
                    f"{ratio * learning.steps:.2g} of it in {learning.steps} steps; the learning "
                    f"rate is {rate:.3g}.",
                )
            )
        elif ratio > 0.05 or rate >= 30 * usual:
            observed = f"one step changes a typical kernel by {ratio:.2g} of its size"
            if np.isnan(ratio):  # a model without kernels
                observed = "the loss does not fall"
            found.append(large_rate_cause(window, observed, 0.55))
        if ratio > 0.05 or learning.worse:
            recurrent = unbounded_recurrence_cause(window)
            found += [recurrent] if recurrent is not None else []
        if self._same_for_all(window):
            found.append(
                cause(
                    "constant_inputs",
                    0.7,
                    "the predictions are the same for every sample of every batch, from the "
                    "start. The inputs were not seen: they may all be alike.",
                )
            )
        more = (
            untrained_base_cause(window.table, 0.8),
            input_scale_cause(window, 0.55),
            bad_scaling_cause(window) if self._is_absurd(window) else None,
            far_targets_cause(window),
            deep_narrow_cause(window, 0.7),
        )
        return (*found, *(reason for reason in more if reason is not None))

    def _constant_features(self, window: Window) -> Cause | None:
        """constant_features, if inputs vary and the predictions of their batches do not."""
        spread, inputs = window.context("predictions_spread"), window.context("inputs_std")
        least, most = window.context("predictions_min"), window.context("predictions_max")
        known = np.isfinite(spread) & (inputs > 0) & (window.context("samples") > 1)
        if known.sum() < self.frames:
            return None
        size = np.fmax(np.abs(least), np.abs(most))[known]
        if not (spread[known] <= ALIKE * size).all():
            return None
        text = "the inputs vary, and the predictions were the same for every sample of a batch"
        return cause("constant_features", 0.85, f"{text}.")

    def _same_for_all(self, window: Window) -> bool:
        """Whether no prediction ever depended on its input, and the inputs were not seen."""
        spread = window.context("predictions_spread")
        known = spread[np.isfinite(spread)]
        if len(known) < self.frames or np.isfinite(window.context("inputs_std")).any():
            return False
        return bool((known == 0).all())

    @staticmethod
    def _fix(window: Window, reason: Cause) -> str:
        if reason.id == "class_imbalance":
            share = max(1 - window.learning.majority, 1e-4)
            weight = window.learning.majority / share
            return (
                "Weight the rare class: `model.fit(x, y, class_weight={0: 1.0, 1: "
                f"{weight:.3g}}})` (rare class = 1), or sample the classes evenly."
            )
        if reason.id == "loss_output_mismatch":
            wrong = output_mismatch(window.table)
            return wrong[1] if wrong else "Fit the output layer to the loss."
        if reason.id == "loss_not_scaled":
            return SCALE_THE_LOSS
        if reason.id == "averaged_weights":
            return averaged_fix(window.table)
        if reason.id == "constant_inputs":
            return "Look at what the data pipeline yields as x: `print(np.unique(x))`."
        if reason.id == "learning_rate_too_small":
            started = decayed_from(window)
            if started is not None:
                return SLOWER_DECAY.format(rate=started)
            usual, rate = usual_learning_rate(window.table), window.latest("learning_rate")
            higher = usual if rate < usual / 10 else float(f"{10 * rate:.2g}")
            code = optimizer_code(window.table, learning_rate=higher)
            return f"Raise the learning rate: `{code}`."
        if reason.id == "deep_narrow_network":
            return SHORTCUTS
        if reason.id == "constant_features":
            return (
                "Look for the operation that gives the same for every input: compare what each "
                "layer gives for two samples. Take a mean over another axis than a softmax."
            )
        if reason.id == "few_samples":
            return LARGER_BATCHES
        if reason.id == "non_differentiable_operation":
            return without_stop(window.table)
        if reason.id == "untrained_base":
            return train_the_base(window.table)
        return usual_advice(window, reason) or scale_inputs(window.table)
