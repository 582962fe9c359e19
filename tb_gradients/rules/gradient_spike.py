"""A single step whose gradient is far above the run's usual range."""

from __future__ import annotations

import dataclasses

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.data_scales import INPUT_NEEDS, outlying
from tb_gradients.judging.learning_rates import clipped
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import names, plural


class GradientSpike(Rule):
    """The gradient of a single step was far above the run's usual range.

    Why it matters: one such step can undo many. With Adam it also distorts the running averages for
    hundreds of steps.

    Definition: the largest norm since the previous frame, on a logarithmic scale, lies more than 8
    robust standard deviations (1.4826 times the median absolute deviation, Iglewicz and Hoaglin
    1993) above the median of the last frames, at least 20 of them, and is at least 20 times that
    median, in more than half of the variables that move. It is a warning only if the loss has since
    stayed above what it was before.

    Try:
    * Clip the gradients (`global_clipnorm` at a few times the usual norm).
    * Look at the batches of these steps: outliers, wrong labels, lengths.

    Silent when: the run is in its first 30 steps; the norms vary a lot from step to step (the
    deviation is then large). Only `info` while the run learns.
    """

    id = "gradient_spike"
    title = "A spike of the gradient"
    severity = Severity.WARNING
    dense = True
    needs = ("gradient_norm_max", "loss_mean", "inputs_outlier", *INPUT_NEEDS, "window_steps")
    picture = Picture(statistic="gradient_norm_max", chart=("gradient_norm_max", "loss"))
    follows = (
        "bad_data",
        "exploding_gradient",
        "unbounded_loss",
        "update_too_large",
        "nonfinite_gradient",
        "nonfinite_loss",
        "nonfinite_weight",
        "poor_initialization",
        "dead_units",
    )

    deviations = Threshold(
        8.0, "1 in 10^15 of log-normal norms; heavy tails have a large deviation"
    )
    factor = Threshold(20.0, "clipping and Adam absorb a smaller step")
    frames = Threshold(20, "fewer give no estimate of a deviation")
    quiet_steps = Threshold(30, "norms come down from the initialisation in the first steps")
    widespread = Threshold(0.5, "of the variables: a spike of the batch, not of one layer")

    basis = Basis(sees=("gradient_norm_max",), frames=frames)

    def needed(self, window: Window) -> Needed:
        needed = super().needed(window)  # one frame more: the spike
        return dataclasses.replace(needed, steps=self.quiet_steps + 1, frames=needed.frames + 1)

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        norm = window.statistic("gradient_norm_max")
        jumps = np.zeros(len(window), bool)
        jumps[1:] = (norm[1:] > self.factor * norm[:-1]).any(axis=1)
        return jumps[frames]

    def detect(self, window: Window) -> Detection | None:
        norm = window.statistic("gradient_norm_max")
        judged = window.rows.judged
        if len(window) <= self.frames or window.step < window.first_step + self.quiet_steps:
            return None
        if not (norm[-1] > self.factor * norm[-2]).any():  # cheap, and the usual case
            return HEALTHY
        before = np.log(norm[:-1][-63:])
        before[~np.isfinite(before)] = np.nan
        now = np.log(norm[-1])
        enough = np.isfinite(before).sum(axis=0) >= self.frames
        judged = judged & enough & np.isfinite(now)
        if not judged.any():
            return None
        middle = np.full(len(judged), np.nan)
        spread = np.full(len(judged), np.nan)
        middle[judged] = np.nanmedian(before[:, judged], axis=0)
        spread[judged] = 1.4826 * np.nanmedian(np.abs(before[:, judged] - middle[judged]), axis=0)
        rise = now - middle
        out = judged & (rise > self.deviations * spread) & (rise > np.log(self.factor))
        if out.sum() <= self.widespread * judged.sum():
            return HEALTHY
        severity = Severity.WARNING if window.learning.stuck else Severity.INFO
        return Detection.of(out, window.step, severity, together=True)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        norm = window.statistic("gradient_norm_max")
        usual = np.nanmedian(norm[:-1][:, rows], axis=0)
        growth = np.nan_to_num(norm[-1][rows] / np.where(usual > 0, usual, np.nan))
        worst = int(np.argmax(growth))
        span = int(window.spans[-1])
        when = f"step {window.step}"
        if span > 1:
            when = f"a step between {window.step - span + 1} and {window.step}"
        more = plural(len(rows) - 1, "more variable")
        others = f"; {more} had a spike too" if len(rows) > 1 else ""
        causes = self._causes(outlying(window)) if window.measured else ()
        clip = f"{2 * float(np.sqrt(np.nansum(np.square(usual)))):.2g}"
        code = clipped(window.table, float(clip))
        return Finding(
            summary=f"At {when} the gradient of {names(window.table, [int(rows[worst])])} was "
            f"{growth[worst]:.3g} times its usual norm{others}.",
            evidence=(Evidence("norm_over_median", float(growth[worst]), self.factor),),
            causes=causes,
            fixes=(f"Clip at twice the usual norm: `{code}`.",),
        )

    @staticmethod
    def _causes(outlier: FloatArray) -> tuple[Cause, ...]:
        if not outlier[-1] > 100:
            return ()
        text = f"an input of that batch is {outlier[-1]:.3g} interquartile ranges from its median"
        return (cause("input_outliers", 0.8, f"{text}."),)
