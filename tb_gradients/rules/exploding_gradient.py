"""Gradients that grow without bound."""

from __future__ import annotations

import dataclasses

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray
from tb_gradients.judging.advice import usual_advice
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.data_scales import (
    CLIP_INPUTS,
    DATA_OUT_OF_RANGE,
    INPUT_NEEDS,
    large_inputs_cause,
    outliers_cause,
    unscaled_targets_cause,
)
from tb_gradients.judging.initial_values import scale_gain
from tb_gradients.judging.learning import rank_correlation
from tb_gradients.judging.learning_rates import (
    clipped,
    known_rate,
    large_rate_cause,
    lower_rate,
    usual_learning_rate,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.precision import MIXED, coarse_moments_cause
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.recurrences import (
    unbounded,
    unbounded_recurrence_cause,
)
from tb_gradients.judging.window import LAST, BoolArray, IntArray, Window
from tb_gradients.judging.words import layer, names


class ExplodingGradient(Rule):
    """Gradients grow far beyond those of the first steps, and the loss grows with them.

    Why it matters: every step moves the weights further away. What was learnt is lost, and the
    numbers end in NaN.

    Definition: the norm of all gradients is at least 100 times its value in the first steps, and
    the loss at least 10 times its value then (or that of a constant prediction, if that is known
    and higher), at three steps or frames in a row, or in the window in which they become NaN. Or
    the norm is 10 times and the loss twice as large, for 20 steps in a row. The comparison is with
    the run's own start, not with an absolute number: with unscaled targets, norms of thousands are
    healthy. Without a loss, the norm must have grown 10,000-fold.

    Try:
    * Lower the learning rate.
    * Clip the gradients (`global_clipnorm=1.0`), above all in recurrent models (Pascanu, Mikolov,
      Bengio 2013). Inside of a recurrence use `tanh`, not `relu` or no activation.
    * Scale inputs and targets.

    Silent when: the loss does not rise with the gradient, e.g. when the run leaves a plateau;
    another loss has its turn, with larger gradients of other variables; only single steps are far
    off (gradient_spike); the norm is large at the start and comes down.
    """

    id = "exploding_gradient"
    title = "The gradient explodes"
    severity = Severity.CRITICAL
    dense = True
    needs = (
        "gradient_norm",
        "gradient_norm_max",
        "update_ratio",
        "global_norm",
        "loss",
        "loss_mean",
        "loss_max",
        "loss_nonfinite_age",
        "learning_rate",
        "nonfinite_age",
        "inputs_outlier",
        "targets_max_abs",
        *INPUT_NEEDS,
    )
    picture = Picture(statistic="gradient_rms", chart=("gradient_norm", "loss"))
    follows = ("update_too_large", "unbounded_loss", *DATA_OUT_OF_RANGE)
    comes_of = ("poor_initialization",)
    about_onset = True

    growth = Threshold(100.0, "norms differ between batches of one run by ten, rarely by thirty")
    healthy = (Healthy("gradient_rms", below=growth, against="start"),)
    loss_growth = Threshold(10.0, "at the start of a run no batch is ten times as hard as another")
    in_a_row = Threshold(3, "one or two are a bad batch")
    slow_growth = Threshold(10.0, "more than the noise of the norm, if it lasts")
    slow_loss_growth = Threshold(2.0, "twice as bad as a constant prediction, if it lasts")
    slow_steps = Threshold(20, "as long as the first epoch of the smallest data sets")
    small_step = Threshold(
        0.05, "of the weights: steps that overshoot a valley are ten times as large"
    )
    steadily = Threshold(
        0.9, "rank correlation of the loss with the step: a run that overshoots goes up and down"
    )
    blind_growth = Threshold(1e4, "without a loss: more than any plateau or schedule explains")

    basis = Basis(sees=("global_norm",), frames=in_a_row)
    unjudged = "the gradients of the first steps are zero: there is nothing to compare with"

    def needed(self, window: Window) -> Needed:
        # One more step: the others are compared with it.
        return dataclasses.replace(super().needed(window), steps=self.slow_steps + 1)

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        least = min(self.growth, self.slow_growth, self.blind_growth)
        start = window.context_at_start("global_norm")
        return (window.context("global_norm")[frames] >= least * start) | _broken(window, frames)

    def detect(self, window: Window) -> Detection | None:
        start = window.context_at_start("global_norm")
        if not start > 0 or len(window) < 2:
            return None
        if not self.may_find(window, LAST).any():
            return HEALTHY
        fast, slow, nonfinite = self._hits(window, start)
        run, slow_run = _last_run(fast), _last_run(slow)
        steps, slow_steps = (
            int(window.spans[len(window) - n :].sum()) if n else 0 for n in (run, slow_run)
        )
        sparse = run >= 2 and steps >= self.in_a_row
        faulty = run >= self.in_a_row or sparse or bool(run and nonfinite[-1])
        frames = run
        if not faulty and slow_steps >= self.slow_steps and slow_run >= self.in_a_row:
            faulty, frames = True, slow_run
        growth = self._growth(window)
        rows = window.rows.judged & (growth >= min(self.slow_growth, float(_top(growth))))
        if not faulty:
            return HEALTHY
        since = int(window.steps[len(window) - frames])
        return Detection.of(rows, since, self.severity, together=True)

    def _hits(self, window: Window, start: float) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Frames where norm and loss are far above the start, above it for long, or not finite."""
        norm = window.context("global_norm").astype(np.float64)
        own, largest = window.context("loss"), window.context("loss_max")
        own = np.where(np.isnan(own), window.context("loss_mean"), own)
        nonfinite = _broken(window)
        if nonfinite[-1]:
            # The frame's own numbers cover only what is still finite; the window saw the growth.
            finite = window.statistic("gradient_norm_max")[-1].astype(np.float64)
            norm = norm.copy()
            norm[-1] = np.sqrt(np.nansum(np.square(finite)))
            own = np.where(nonfinite, largest, own)
        # Losses that take turns, of an actor and a critic, have variables of their own each. So a
        # step is held against the first steps of the variables that it has.
        norm = np.minimum(norm, start * self._own_growth(window, nonfinite))
        level = np.fmax(window.context_at_start("loss"), window.learning.guess)
        level = np.fmax(level, window.context_at_start("loss_mean")) if np.isnan(level) else level
        if np.isnan(level) or np.isnan(own).all():
            blind = norm >= self.blind_growth * start
            return blind, np.zeros_like(blind), nonfinite
        scale = max(abs(float(level)), 1e-12)
        fast = (norm >= self.growth * start) & (own - level >= (self.loss_growth - 1) * scale)
        slow = (norm >= self.slow_growth * start) & (
            own - level >= (self.slow_loss_growth - 1) * scale
        )
        if np.isnan(window.learning.guess):
            slow[:] = False  # with two competing networks one may get steadily worse
        return fast, slow, nonfinite

    @staticmethod
    def _own_growth(window: Window, nonfinite: BoolArray) -> FloatArray:
        """float [frames]: how often the first steps' norm of those variables that have a gradient
        at a frame goes into their norm there; 0 if the first steps had none of them."""
        start = window.at_start("gradient_norm").astype(np.float64)
        now = window.statistic("gradient_norm").astype(np.float64)
        now[nonfinite] = window.statistic("gradient_norm_max")[nonfinite]
        known = np.isfinite(now) & np.isfinite(start)
        before = np.sqrt(np.where(known, np.square(start), 0.0).sum(axis=1))
        after = np.sqrt(np.where(known, np.square(now), 0.0).sum(axis=1))
        growth: FloatArray = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
        return growth

    @staticmethod
    def _growth(window: Window) -> FloatArray:
        """Per variable: the window's largest norm over that of the first steps."""
        start = window.at_start("gradient_norm")
        growth = np.fmax(
            window.statistic("gradient_norm_max")[-1], window.statistic("gradient_norm")[-1]
        ) / np.where(start > 0, start, np.nan)
        result: FloatArray = np.nan_to_num(growth, nan=0.0, posinf=0.0)
        return result

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        growth = self._growth(window)
        order = rows[np.argsort(-growth[rows], kind="stable")]
        worst = int(order[0])
        losses = window.context("loss_max")
        losses = losses[np.isfinite(losses)]
        from_loss, to_loss = window.context_at_start("loss"), losses[-1] if losses.size else np.nan
        text = ""
        if losses.size:
            text = (
                f"; by step {window.step} the loss had gone from {from_loss:.3g} to {to_loss:.3g}"
            )
        causes = self._causes(window, rows)
        return Finding(
            summary=f"Gradients grew without bound from step {since} on: that of "
            f"{names(window.table, [worst])} grew {growth[worst]:.3g}-fold{text}.",
            evidence=(
                Evidence("gradient_growth", float(growth[worst]), self.growth),
                Evidence("loss", float(to_loss)),
            ),
            causes=causes,
            fixes=self._fixes(window, causes),
            rows=tuple(int(row) for row in order),
        )

    def _causes(self, window: Window, rows: IntArray) -> tuple[Cause, ...]:
        table = window.table
        found: list[Cause] = []
        kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
        data = (
            large_inputs_cause(window, 0.8),
            unscaled_targets_cause(window),
            outliers_cause(window, 0.85),
            coarse_moments_cause(window),
            unbounded_recurrence_cause(window),
        )
        found += [reason for reason in data if reason is not None]
        ratios = window.largest("update_ratio")[kernels]
        ratio = float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else 0.0
        observed = f"single steps changed the weights by up to {ratio:.2g} of their size"
        rate, usual = window.latest("learning_rate"), usual_learning_rate(table)
        # So small a step along the gradient lowers the loss. If the run overshoots all the same,
        # then because of data, weights or matrices of a large scale.
        uphill = not found and 0 < rate < 1.01 * usual and ratio < self.small_step
        if uphill and self._climbs(window):
            text = f"the loss grows although {observed}, at a learning rate of {rate:.3g}"
            found.append(cause("wrong_sign", 0.6, f"{text}."))
        found.append(large_rate_cause(window, observed, 0.45 if found else 0.7))
        large = [v for v in (table.variables[int(k)] for k in kernels) if scale_gain(v) > 10]
        if large:
            found.append(
                cause(
                    "initialization_scale",
                    0.75,
                    f"{layer(large[0])} starts at an RMS of {large[0].initial_rms:.3g}, "
                    f"{scale_gain(large[0]):.3g} times what keeps the size of a signal.",
                )
            )
        recurrent = [
            table.variables[int(row)]
            for row in rows
            if table.variables[int(row)].role == "recurrent_kernel"
        ]
        if recurrent and not any(map(unbounded, recurrent)):
            text = f"{layer(recurrent[0])} multiplies by the same matrix at every time step"
            found.append(cause("long_recurrence", 0.5, f"{text}."))
        return tuple(found)

    def _climbs(self, window: Window) -> bool:
        """Whether the loss has grown steadily rather than in one jump."""
        loss = window.context("loss_mean")
        loss = loss[np.isfinite(loss)]
        return len(loss) >= self.slow_steps and rank_correlation(loss) > self.steadily

    @staticmethod
    def _fixes(window: Window, causes: tuple[Cause, ...]) -> tuple[str, ...]:
        fixes, table = [], window.table
        for reason in likeliest_first(causes):
            if reason.id == "low_precision":
                fixes.append(MIXED)
            elif reason.id == "input_outliers":
                fixes.append(CLIP_INPUTS)
            elif reason.id == "wrong_sign" and window.latest("learning_rate") > 0:
                fixes.append(DOWNHILL)
            elif reason.id == "initialization_scale":
                fixes.append('Use `kernel_initializer="glorot_uniform"` (he_normal before ReLU).')
            elif advice := usual_advice(window, reason):
                fixes.append(advice)
        # A limit alone does not repair a rate that is too large, above all if the size of a step
        # does not follow that of the gradient.
        lower = any(c.id == "learning_rate_too_large" for c in causes)
        rate = {"learning_rate": lower_rate(window)} if lower and known_rate(window) else {}
        also = " as well" if fixes else ""
        return (*fixes, f"Clip the gradients{also}: `{clipped(table, 1.0, **rate)}`.")


DOWNHILL = (
    "Check the sign: the loss must be something to minimise (`-reward`, not `reward`), and "
    "`optimizer.apply_gradients` must get its gradient, not the negative of it."
)


def _broken(window: Window, frames: slice = slice(None)) -> BoolArray:
    """bool [frames]: whether the loss or a gradient has become NaN or Inf by then."""
    gradient = (window.statistic("nonfinite_age")[frames] >= 0).any(axis=1)
    result: BoolArray = gradient | (window.context("loss_nonfinite_age")[frames] >= 0)
    return result


def _last_run(hits: BoolArray) -> int:
    """How many of the newest frames are hits without a break."""
    return len(hits) if hits.all() else int(np.argmax(~hits[::-1]))


def _top(values: FloatArray) -> float:
    return float(values.max()) if values.size else 0.0
