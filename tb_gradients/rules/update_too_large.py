"""Steps so large that each one undoes the last."""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.advice import usual_advice
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.data_scales import (
    DATA_OUT_OF_RANGE,
    INPUT_NEEDS,
    large_inputs_cause,
    unscaled_targets_cause,
)
from tb_gradients.judging.learning import MINIMUM_STEPS
from tb_gradients.judging.learning_rates import clipped, large_rate_cause, slower
from tb_gradients.judging.optimizer_faults import NOISE_NEEDS, gradient_noise_cause
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import MIXED, coarse_moments_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.recurrences import unbounded_recurrence_cause
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import names

LARGER_EPSILON = (
    "Use a larger epsilon where you divide by a norm: `tf.nn.l2_normalize(x, axis=-1, "
    "epsilon=1e-2)`, `x / (tf.norm(x) + 1e-2)`; or leave out samples that are all zero."
)


class UpdateTooLarge(Rule):
    """The steps are so large that the weights jump about instead of being trained.

    Why it matters: a step that changes a weight by its own size leaves the region for which the
    gradient was computed. The loss oscillates or diverges.

    Definition: ‖update‖ / ‖weights‖ of the median kernel is above 0.1 over at least 20 steps, a
    hundred times the usual 1e-3 (CS231n). (‖weights‖ is floored at its value at the start.) Or a
    single step was above 0.3, and the median kernel has since grown to three times its initial
    norm. And the loss confirms it: it is not finite, or clearly above both its start and that of a
    constant prediction, or it does not fall. Or a single step moved a bias or a scale by 10 per
    element (or ten times the largest input or target), and the loss does not fall.

    Try:
    * Lower the learning rate to the optimizer's default, or divide it by ten.
    * Warm it up over the first few hundred steps.

    Silent when: the run learns (large batches, cyclic rates and the first steps of Adam make large
    steps too); a bias or a scale moves within that. Only `info` if no loss is seen.
    """

    id = "update_too_large"
    title = "The steps are too large"
    severity = Severity.CRITICAL
    needs = (
        "update_ratio",
        *NOISE_NEEDS,
        "weight_norm",
        "learning_rate",
        "loss",
        "loss_nonfinite_age",
        "nonfinite_age",
        "targets_max_abs",
        *INPUT_NEEDS,
    )
    picture = Picture(statistic="update_ratio", chart=("update_ratio", "loss"))
    every = 4
    follows = ("exploding_gradient", "unbounded_loss", *DATA_OUT_OF_RANGE)
    comes_of = ("poor_initialization",)
    provisional = True

    ratio = Threshold(0.1, "a hundred times the usual; ten such steps replace the weights")
    healthy = (Healthy("update_ratio", below=ratio, kernels_only=True),)
    steps = Threshold(20, "early training is rough")
    frames = Threshold(3, "a median of fewer says nothing")
    thrown = Threshold(
        0.3, "Adam's first step at 1e-2 in a wide layer is 0.2, and recovers; this is more"
    )
    offset = Threshold(
        10.0,
        "per element, of a bias or a scale: the outputs of layers are of the order of 1, or of "
        "that of the inputs or targets if they are larger",
    )
    steep = Threshold(1000.0, "gradients of the layers of one healthy model differ by less")
    grown = Threshold(
        3.0, "trained weights reach two to three times their initial norm, over epochs"
    )

    def nothing_to_judge(self, window: Window) -> str:
        return "" if (window.rows.judged & window.rows.kernel).any() else "there is no kernel"

    basis = Basis(sees=("update_ratio",), steps=steps, frames=frames, loss_steps=MINIMUM_STEPS)

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        rows = window.rows
        ratio = window.largest_by_then("update_ratio")[frames][:, rows.judged & rows.kernel]
        large = (ratio > self.ratio).sum(axis=1)
        most: BoolArray = (large > 0) & (2 * large >= (~np.isnan(ratio)).sum(axis=1))
        minor = rows.judged & rows.minor
        update = window.largest_by_then("update_norm")[frames][:, minor]
        thrown: BoolArray = update / np.sqrt(rows.elements[minor]) > self.offset
        found: BoolArray = most | thrown.any(axis=1)
        return found

    def detect(self, window: Window) -> Detection | None:
        found = self._of_kernels(window)
        if (found is not None and found.faulty.any()) or not window.learning.stuck:
            return found
        offsets = self._thrown_offsets(window)
        if offsets is None:
            return found
        severity = Severity.CRITICAL if window.learning.worse else Severity.WARNING
        return Detection.of(offsets, window.largest_at("update_norm"), severity, together=True)

    def _of_kernels(self, window: Window) -> Detection | None:
        kernels: BoolArray = np.asarray(window.rows.judged & window.rows.kernel)
        if not kernels.any():
            return None
        peak = window.largest("update_ratio")[kernels]
        if not (peak > self.ratio).any() or np.nanmedian(peak) <= self.ratio:
            return HEALTHY  # cheap, and the usual case
        learning = window.learning
        broken = self._broken(window)
        falls = learning.learning or learning.now < learning.start / 2
        if falls and not broken:
            return HEALTHY
        ratio = window.statistic("update_ratio")[:, kernels]
        known: BoolArray = np.isfinite(ratio).sum(axis=1) > 0
        typical = np.full(len(window), np.nan)
        typical[known] = np.nanmedian(ratio[known], axis=1)
        reach = window.last_frames(self.steps, self.frames)
        lasting = bool(
            reach is not None
            and known[reach].sum() >= self.frames
            and np.nanmedian(typical[reach]) > self.ratio
        )
        thrown = float(np.nanmedian(peak)) > self.thrown and (
            broken or self._grown(window, kernels)
        )
        if not lasting and not thrown:
            return HEALTHY
        if broken:
            severity = Severity.CRITICAL
        elif learning.stuck:
            severity = Severity.CRITICAL if learning.worse else Severity.WARNING
        elif learning.state == "early" and learning.worse and learning.steps >= self.steps:
            severity = Severity.WARNING
        elif learning.state == "unseen" and lasting:
            severity = Severity.INFO
        else:
            return HEALTHY
        limit = self.ratio if lasting else self.thrown
        large = np.flatnonzero(typical > limit)
        since = int(window.steps[large[0]]) if large.size else window.step
        if not large.size or not known[: large[0]].any():  # it began before the window
            peaks = window.largest_at("update_ratio")[kernels][peak > limit]
            since = min(since, int(peaks.min(initial=since)))
        moved = kernels & (window.largest("update_ratio") > self.ratio)
        return Detection.of(moved, since, severity, together=True)

    @staticmethod
    def _broken(window: Window) -> bool:
        """Whether the loss or a gradient has become NaN or Inf within the window."""
        return bool(
            (window.context("loss_nonfinite_age") >= 0).any()
            or (window.statistic("nonfinite_age") >= 0).any()
        )

    def _grown(self, window: Window, kernels: BoolArray) -> bool:
        norm = window.largest("weight_norm")[kernels] / window.rows.initial_norm[kernels]
        return bool(np.isfinite(norm).any() and np.nanmedian(norm) >= self.grown)

    def _thrown_offsets(self, window: Window) -> BoolArray | None:
        """Biases and scales that a single step has moved far beyond what their layer gives.

        They start at 0 or 1, so no ratio to their own size means anything.
        """
        minor = window.rows.judged & window.rows.minor
        step = window.largest("update_norm") / np.sqrt(window.rows.elements)
        if not (step[minor] > self.offset).any():  # cheap, and the usual case
            return None
        scales = [window.latest(f"{side}_max_abs") for side in ("inputs", "targets")]
        usual = max(1.0, *(scale for scale in scales if math.isfinite(scale)), 0.0)
        thrown: BoolArray = minor & (step > self.offset * usual)
        return thrown if thrown.any() else None

    def _explain_offsets(self, window: Window, rows: IntArray, since: int) -> Finding:
        step = window.largest("update_norm")[rows] / np.sqrt(window.rows.elements[rows])
        worst = int(rows[int(np.argmax(step))])
        gradient = window.largest("gradient_norm")
        others = gradient[window.rows.judged & window.rows.kernel]
        usual = float(np.nanmedian(others)) if np.isfinite(others).any() else math.nan
        name = window.table.paths[worst]
        causes: tuple[Cause, ...]
        if gradient[worst] > self.steep * usual:
            text = (
                f"the gradient of {name} reached {gradient[worst]:.3g}, that of a typical kernel "
                f"{usual:.3g}: a division by nearly zero behind it, such as by the norm of a row "
                "of zeros, multiplies it by 1 / epsilon"
            )
            causes = (cause("numeric_overflow", 0.75, f"{text}."),)
        else:
            observed = f"a single step moved {name} by {float(step.max()):.3g} per element"
            causes = (large_rate_cause(window, observed, 0.6),)
        return Finding(
            summary=f"At step {since} one update moved {names(window.table, rows)} by "
            f"{float(step.max()):.3g} per element; the layers' outputs are of the order of 1.",
            with_loss=True,
            evidence=(Evidence("update_rms", float(step.max()), self.offset),),
            causes=causes,
            fixes=tuple(self._fix(window, reason) for reason in causes),
        )

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        if window.rows.minor[rows].all():
            return self._explain_offsets(window, rows, since)
        peak = window.largest("update_ratio")[rows]
        worst = float(np.nanmax(peak))
        causes = self._causes(window, float(np.nanmedian(peak)))
        broken = self._broken(window)
        ended = f"; by step {window.step} the loss or a gradient was not finite" if broken else ""
        return Finding(
            summary=f"From step {since} on, single steps changed {names(window.table, rows)} by "
            f"up to {worst:.2g} times the norm of the weights{ended}.",
            with_loss=not broken,
            evidence=(
                Evidence("update_ratio", worst, self.ratio),
                Evidence("learning_rate", window.latest("learning_rate")),
            ),
            causes=causes,
            fixes=tuple(self._fix(window, reason) for reason in likeliest_first(causes)),
        )

    @staticmethod
    def _causes(window: Window, ratio: float) -> tuple[Cause, ...]:
        data = large_inputs_cause(window, 0.4)
        observed = f"a single step changed a typical kernel by up to {ratio:.2g} times its norm"
        coarse = coarse_moments_cause(window)
        rate = large_rate_cause(window, observed, 0.5 if coarse else 0.75)
        targets = unscaled_targets_cause(window)
        recurrent = unbounded_recurrence_cause(window)
        noise = gradient_noise_cause(window)
        found = (noise, recurrent, coarse, rate, data, targets)
        return tuple(reason for reason in found if reason is not None)

    @staticmethod
    def _fix(window: Window, reason: Cause) -> str:
        if reason.id == "low_precision":
            return MIXED
        if reason.id == "numeric_overflow":
            clip = clipped(window.table, 1.0)
            return f"{LARGER_EPSILON} Or clip the gradients: `{clip}`."
        return usual_advice(window, reason) or slower(window)
