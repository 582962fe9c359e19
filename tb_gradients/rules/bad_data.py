"""Inputs or targets that no model could learn from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.data_scales import (
    CLIP_INPUTS,
    FAR_OUT,
    INPUT_NEEDS,
    KEEP_FINITE,
    TINY_INPUT,
    UNEVEN_INPUTS,
    UNSCALED_INPUT,
    input_scale_cause,
    outlying,
    scale_inputs,
    scales_itself,
)
from tb_gradients.judging.outputs import BINARY_TARGETS, beyond_binary, constant_output, head_rows
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import plural

RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "exponential": (0.0, math.inf),
}
"""The values that the output of an activation can have."""


def broken(window: Window) -> bool:
    """Whether a loss or a gradient has become NaN or Inf within the window."""
    ages = window.context("loss_nonfinite_age"), window.statistic("nonfinite_age")
    return any(bool((age >= 0).any()) for age in ages)


SYMPTOMS = ("saturated_units", "vanishing_gradient", "exploding_gradient", "update_too_large")
NONFINITE = ("nonfinite_gradient", "nonfinite_loss", "nonfinite_weight", "loss_scale_collapse")


@dataclasses.dataclass(frozen=True)
class _Fault:
    """One thing that is wrong with the data."""

    severity: Severity
    since: int
    text: str
    evidence: Evidence
    fix: str
    causes: tuple[Cause, ...] = ()
    follows: tuple[str, ...] = ()
    head: bool = False
    """Whether the fix is another last layer."""
    with_loss: bool = False


class BadData(Rule):
    """The inputs or the targets of the batches cannot be learnt from as they are.

    Why it matters: no change to the model or the optimizer can make up for it.

    Definition: one of these. (1) A batch holds NaN or Inf, and the loss or a gradient becomes NaN
    or Inf too. (2) The inputs or the targets are identical in every sample of every batch, for 30
    steps or more. (3) Single inputs are more than 100 interquartile ranges from the median of their
    feature (normal data reach 3, log-normal data 50), above 30 and above four times the RMS of
    their batch; and batches that hold them have ten times the usual gradient, or the run does not
    learn. (4) The output activation cannot produce the targets, e.g. -1 with sigmoid, or rows that
    do not sum to 1 with softmax and mean squared error; or targets of a binary cross-entropy lie
    outside of 0 and 1. (5) Labels of a sparse cross-entropy are not whole numbers; the loss cuts
    the fraction off. (6) The inputs are unscaled (magnitudes above 30, all below 0.01, or columns
    whose scales differ more than 1000-fold) and no layer scales them; and the run does not learn,
    or after 100 steps its loss is above 100 times that of a constant prediction.

    Try:
    * Look at a batch: `for x, y in data.take(1): print(x.min(), x.max(), y.min(), y.max())`.
    * Standardise inputs and targets. Clip or drop extreme values. Impute missing values.

    Silent when: the run learns in spite of it (images in 0..255 with Adam, unscaled regression
    targets); a layer of the model scales the inputs; the inputs are tokens; inputs or targets are
    not passed to the monitor. Only `info` if the model fills in missing values or the loss leaves
    them out.
    """

    id = "bad_data"
    title = "The data cannot be learnt from"
    severity = Severity.CRITICAL
    needs = (
        *INPUT_NEEDS,
        "inputs_nonfinite",
        "inputs_constant_share",
        "inputs_outlier",
        "targets_nonfinite",
        "targets_mean",
        "targets_std",
        "targets_spread",
        "targets_min",
        "targets_max",
        "predictions_spread",
        "predictions_min",
        "predictions_max",
        "global_norm",
        "loss_mean",
        "loss_nonfinite_age",
        "nonfinite_age",
    )
    every = 4
    provisional = True

    steps = Threshold(30, "unshuffled data may hold one class for some batches")
    rare_frames = Threshold(
        60,
        "if one batch in ten holds a positive, one run in 500 has seen none by then; half "
        "as many with more than two classes, which are not all as rare",
    )
    patience = Threshold(60, "1.5 times what the loss needs to be judged")
    patience_far = Threshold(
        100, "a loss that starts far above a constant prediction comes down within as many steps"
    )
    far = Threshold(
        100.0,
        "The loss must be 100 times that of a constant prediction",
    )
    frames = Threshold(5, "the more frames, the less likely that they are equal by chance")
    outlier = Threshold(FAR_OUT, "twice the extreme of 100,000 log-normal values (sigma 1)")
    jump = Threshold(10.0, "the gradient norms of normal batches differ by less")
    beyond = Threshold(
        0.5, "of the output's range: rounding and label smoothing stay far within it"
    )

    basis = Basis(
        sees=("inputs_nonfinite", "targets_nonfinite"),
        steps=steps,
        frames=frames,
        loss_steps=patience_far,
    )

    def may_find(self, window: Window, frames: slice) -> BoolArray | None:
        if self._sums_to_one(window) is not None:
            return None
        of = window.context
        extreme = of("inputs_max_abs")
        hits = (of("inputs_nonfinite") > 0) | (of("targets_nonfinite") > 0)
        hits |= of("inputs_outlier") > self.outlier
        hits |= (extreme > UNSCALED_INPUT) | (extreme < TINY_INPUT)
        hits |= of("inputs_scale_ratio") > UNEVEN_INPUTS
        smallest, largest = of("targets_min"), of("targets_max")
        loss = window.table.run.loss.lower().replace("_", "")
        if loss.startswith("sparsecategorical"):
            hits |= (smallest != np.floor(smallest)) | (largest != np.floor(largest))
        activation = window.table.run.facts.get("head_activation", "")
        for low, high in ((0.0, 1.0), RANGES.get(activation, (0.0, 1.0))):
            if activation in RANGES or loss.startswith("binarycrossentropy"):
                hits |= (smallest < low) | (largest > high)
        found = window.lately(hits)
        for level, spread in (
            (of("targets_mean"), self._spread_of_targets(window)),
            (of("inputs_mean"), self._spread_of_inputs(window)),
        ):
            varies = spread > 1e-6 * np.fmax.reduce(np.abs(level))
            known = np.isfinite(level) & np.isfinite(spread)
            found |= window.lately(known) & ~window.lately(varies)
        return found[frames]

    def detect(self, window: Window) -> Detection | None:
        fault = self._fault(window)
        if fault is None:
            return HEALTHY
        rows = head_rows(window)
        if fault.head and rows.any():
            return Detection.of(rows, fault.since, fault.severity, together=True)
        return Detection.of_run(fault.since, fault.severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        fault = self._fault(window)
        if fault is None:  # the fault is gone by now
            return Finding("The data of earlier batches could not be learnt from.")
        return Finding(
            summary=f"{fault.text}.",
            evidence=(fault.evidence,),
            causes=fault.causes,
            fixes=(fault.fix,),
            follows=fault.follows,
            with_loss=fault.with_loss,
        )

    def _fault(self, window: Window) -> _Fault | None:
        """The first fault found, in order of certainty."""
        return (
            self._nonfinite(window)
            or self._constant_targets(window)
            or self._constant_inputs(window)
            or self._no_classes(window)
            or self._out_of_range(window)
            or self._no_shares(window)
            or self._outliers(window)
            or self._unscaled(window)
        )

    @staticmethod
    def _nonfinite(window: Window) -> _Fault | None:
        for side in ("inputs", "targets"):
            count = window.context(f"{side}_nonfinite")
            hit = count > 0
            if not hit.any():  # cheap, and nearly always so
                continue
            bad = np.flatnonzero(hit)
            if len(window) - bad[-1] <= 5:
                most = float(count[bad].max())
                text = f"{plural(int(most), 'element')} of the {side} in one batch were NaN or Inf"
                data = "x" if side == "inputs" else "y"
                # A model may fill in missing values, a loss may leave them out.
                harmless = window.learning.learning or not broken(window)
                return _Fault(
                    Severity.INFO if harmless else Severity.WARNING,
                    int(window.steps[bad[0]]),
                    text,
                    Evidence(f"{side}_nonfinite", most, 0),
                    f"Drop the samples: `{KEEP_FINITE.format(data=data)}`, or impute them.",
                    (cause(f"nonfinite_{side}", 0.97, f"{text}."),),
                    NONFINITE,
                )
        return None

    def _constant(self, window: Window, mean: str, spread: FloatArray) -> bool:
        """Whether nothing varied, within batches or between them, from the start."""
        level = window.context(mean)
        if (spread > 1e-6 * np.fmax.reduce(np.abs(level))).any():  # cheap, and nearly always so
            return False
        known = np.isfinite(level) & np.isfinite(spread)
        if known.sum() < self.frames or window.spans.sum() < self.steps:
            return False
        level, spread = level[known], spread[known]
        scale = max(float(np.abs(level).max()), 1e-12)
        return bool((spread <= 1e-6 * scale).all() and np.ptp(level) <= 1e-6 * scale)

    @staticmethod
    def _spread_of_targets(window: Window) -> FloatArray:
        spread = window.context("targets_spread")  # of each output; old runs did not measure it
        return np.where(np.isnan(spread), window.context("targets_std"), spread)

    @staticmethod
    def _spread_of_inputs(window: Window) -> FloatArray:
        share = window.context("inputs_constant_share")
        constant = np.where(share >= 1, 0.0, np.inf)
        return np.where(np.isfinite(share), constant, window.context("inputs_std"))

    def _constant_targets(self, window: Window) -> _Fault | None:
        if not self._constant(window, "targets_mean", self._spread_of_targets(window)):
            return None
        learning = window.learning
        if learning.state == "early":
            return None
        flat = window.context("predictions_spread")
        flat = flat[np.isfinite(flat)]
        # Constant targets may be by design: two networks trained against each other, a contrastive
        # loss (the right answer is always at the same index), a residual that should become
        # zero, a centre that all samples move to. In the first case the loss does not go to
        # zero. In the others no bias of a last layer could learn the constant.
        facts = window.table.run.facts
        biased = (head_rows(window) & window.rows.minor).any()
        has_head = bool(facts.get("head")) and bool(biased)
        empty = has_head and (learning.stuck or learning.now <= 0.2 * learning.start)
        whole = window.latest("targets_mean")
        if whole == round(whole):  # classes: the others may be rare
            several = window.table.run.facts.get("head_units", "") not in ("", "1", "2")
            empty &= len(window) >= self.rare_frames / (2 if several else 1)
        empty |= bool(flat.size and np.median(flat) < 1e-3)
        value = window.latest("targets_mean")
        text = f"The targets were the same in every sample of every batch (mean {value:.3g})"
        return _Fault(
            Severity.WARNING if empty else Severity.INFO,
            window.first_step,
            text,
            Evidence("targets_std", 0.0, 0.0),
            "Look at what the pipeline yields as y: `print(np.unique(y, return_counts=True))`.",
            (cause("constant_targets", 0.95, f"{text}."),),
        )

    def _constant_inputs(self, window: Window) -> _Fault | None:
        if not self._constant(window, "inputs_mean", self._spread_of_inputs(window)):
            return None
        text = "The inputs were the same in every sample of every batch"
        return _Fault(
            Severity.WARNING,
            window.first_step,
            text,
            Evidence("inputs_constant_share", 1.0, 1.0),
            "Look at what the data pipeline yields as x: `print(np.ptp(x, axis=0))`.",
            (cause("constant_inputs", 0.95, f"{text}."),),
        )

    def _out_of_range(self, window: Window) -> _Fault | None:
        facts = window.table.run.facts
        last = facts.get("head_activation", "")
        loss = window.table.run.loss.lower().replace("_", "")
        binary = beyond_binary(window)
        if binary is not None:
            return self._beyond_binary(window, binary)
        if last not in RANGES or "," in loss or "fromlogits=true" in loss:
            return None
        if not loss.startswith(("mean", "mse", "mae", "binarycrossentropy", "huber", "logcosh")):
            return None
        low, high = RANGES[last]
        smallest, largest = window.context("targets_min"), window.context("targets_max")
        width = high - low if math.isfinite(high) else window.latest("targets_std")
        off = np.fmax(low - smallest, largest - high)
        if not (off > 0).any():  # cheap, and nearly always so
            return None
        known = np.isfinite(off)
        if known.sum() < 3 or not width > 0:
            return None
        distance = float(np.median(off[known]))
        if distance <= 0.01 * width:
            return None
        far = distance > self.beyond * width
        if not far and not window.learning.stuck:
            return None
        # Predictions outside of the range come from something else.
        lowest, highest = window.context("predictions_min"), window.context("predictions_max")
        if ((low - lowest > 0.01 * width) | (highest - high > 0.01 * width)).any():
            return None
        worst = float(
            smallest[known].min()
            if low - smallest[known].min() == off[known].max()
            else largest[known].max()
        )
        span = f"[{low:g}, {high:g}]"
        text = f"Targets reach {worst:.3g}, but the output ({last}) is always in {span}"
        head = facts.get("head", "")
        return _Fault(
            Severity.WARNING,
            window.first_step,
            text,
            Evidence("targets_out_of_range", distance, 0.0),
            f'Give the last layer {head} the activation "linear" '
            f"(`keras.layers.Dense({facts.get('head_units', 'units')})`), or scale the targets "
            f"to {span}.",
            (cause("loss_output_mismatch", 0.85, f"{text}."),),
            ("model_mismatch",) if constant_output(window) else (),
            head=True,
        )

    def _beyond_binary(self, window: Window, text: str) -> _Fault | None:
        """Targets of a binary cross-entropy that are no shares."""
        off = np.fmax(-window.context("targets_min"), window.context("targets_max") - 1)
        distance = float(np.median(off[np.isfinite(off)]))
        if distance <= self.beyond and not (window.learning.stuck or window.learning.now < 0):
            return None
        return _Fault(
            Severity.WARNING,
            window.first_step,
            text[:1].upper() + text[1:],
            Evidence("targets_out_of_range", distance, 0.0),
            BINARY_TARGETS,
            (cause("loss_output_mismatch", 0.9, f"{text}."),),
            head=True,
        )

    @staticmethod
    def _no_classes(window: Window) -> _Fault | None:
        """Labels of a sparse cross-entropy that are not class numbers."""
        if not window.table.run.loss.lower().replace("_", "").startswith("sparsecategorical"):
            return None
        ends = np.array([window.context("targets_min"), window.context("targets_max")])
        broken = np.isfinite(ends) & (ends != np.floor(ends))
        if not broken.any():  # cheap, and nearly always so
            return None
        # Only two labels of a batch are known (min and max); few of them are whole by chance.
        if broken.any(axis=0).sum() < 0.5 * np.isfinite(ends).any(axis=0).sum():
            return None
        value = float(ends[broken].max())
        text = (
            f"Labels such as {value:.3g} are not whole numbers, and the loss cuts the fraction off"
        )
        return _Fault(
            Severity.WARNING,
            window.first_step,
            text,
            Evidence("targets_max", value, float(np.floor(value))),
            "Use class numbers 0, 1, 2, ... as labels: scale x, not y (`print(np.unique(y))`). To "
            "predict real numbers, use `keras.layers.Dense(1)` and "
            '`loss="mse"`.',
            (cause("loss_output_mismatch", 0.9, f"{text}."),),
        )

    @staticmethod
    def _sums_to_one(window: Window) -> int | None:
        """How many outputs sum to 1, if a loss of differences compares targets with them."""
        facts = window.table.run.facts
        loss = window.table.run.loss.lower().replace("_", "")
        if facts.get("head_activation") != "softmax" or "," in loss:
            return None
        if not loss.startswith(("mean", "mse", "mae", "huber", "logcosh")):
            return None
        return int(facts.get("head_units") or 1)

    def _no_shares(self, window: Window) -> _Fault | None:
        """Targets that no softmax can produce, because those of a sample do not sum to 1."""
        units = self._sums_to_one(window)
        if units is None:
            return None
        mean = window.context("targets_mean")
        mean = mean[np.isfinite(mean)]
        if units < 2 or len(mean) < self.frames:
            return None
        total = units * float(np.median(mean))
        if abs(total - 1) <= (0.01 if window.learning.stuck else self.beyond):
            return None
        text = (
            f"The {units} targets of a sample sum to {total:.3g} on average; the outputs (softmax) "
            "sum to 1"
        )
        head = window.table.run.facts.get("head", "")
        return _Fault(
            Severity.WARNING,
            window.first_step,
            text,
            Evidence("targets_sum", total, 1.0),
            f'Give the last layer {head} the activation "sigmoid", and use '
            '`loss="binary_crossentropy"`, if several classes may be right at once. For real '
            'numbers, use no activation and `loss="mse"`.',
            (cause("loss_output_mismatch", 0.85, f"{text}."),),
            head=True,
        )

    def _outliers(self, window: Window) -> _Fault | None:
        if not (window.context("inputs_outlier") > self.outlier).any():  # cheap, and usually so
            return None
        distance = outlying(window)
        far = distance > self.outlier
        if not far.any():
            return None
        norm = window.context("global_norm")
        usual = float(np.nanmedian(norm)) if np.isfinite(norm).any() else math.nan
        moved = far & (norm > self.jump * usual)
        hurts = moved.sum() >= 2 or window.learning.stuck or window.learning.worse
        if not hurts:
            return None
        most = float(np.nanmax(distance))
        text = (
            f"Single inputs were {most:.3g} interquartile ranges from the median of their "
            f"feature (largest magnitude {np.nanmax(window.context('inputs_max_abs')):.3g})"
        )
        effect = (
            f"; the gradient of {plural(int(moved.sum()), 'such batch')} was over "
            f"{self.jump:g} times the usual"
            if moved.any()
            else ""
        )
        return _Fault(
            Severity.WARNING,
            int(window.steps[np.argmax(far)]),
            text + effect,
            Evidence("inputs_outlier", most, self.outlier),
            CLIP_INPUTS,
            (cause("input_outliers", 0.85, f"{text}."),),
        )

    def _unscaled(self, window: Window) -> _Fault | None:
        learning = window.learning
        far = learning.steps >= self.patience_far and learning.now > self.far * learning.guess
        if not far and (not learning.stuck or learning.steps < self.patience):
            return None
        reason = input_scale_cause(window, 0.7)
        if reason is None:
            return None
        name = "inputs_max_abs"
        if scales_itself(window.table):
            name = "inputs_scaled_max_abs"
        extreme = window.latest(name)
        limit = TINY_INPUT if extreme < TINY_INPUT else UNSCALED_INPUT
        return _Fault(
            Severity.WARNING if learning.guessing or learning.worse else Severity.INFO,
            window.first_step,
            f"{reason.summary[0].upper()}{reason.summary[1:-1]}",
            Evidence(name, extreme, limit),
            scale_inputs(window.table),
            (reason,),
            (*SYMPTOMS, "model_mismatch") if constant_output(window) else SYMPTOMS,
            with_loss=True,
        )
