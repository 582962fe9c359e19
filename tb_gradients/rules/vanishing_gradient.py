"""The gradient shrinks on its way to the first layers."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.data_scales import UNSCALED_INPUT, scale_inputs
from tb_gradients.judging.initial_values import initializer_for, scale_gain
from tb_gradients.judging.learning import MINIMUM_STEPS, rank_correlation
from tb_gradients.judging.medians import median
from tb_gradients.judging.networks import (
    SATURATING,
    deep_narrow_cause,
    stopped_cause,
    without_stop,
)
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import activation, how_to_give, in_fit, layer, names

SIMPLE_CELLS = ("SimpleRNN", "SimpleRNNCell")
STEEP = frozenset({"tanh", "hard_tanh", "softsign"})
"""Saturating activations whose slope is 1 in the middle."""
SIGMOID_SLOPE = 0.25
"""The largest slope of a sigmoid."""
TYPICAL_SLOPE = {"tanh": 0.8, "sigmoid": 0.24, "relu": 0.7}
"""Mean slope for inputs of standard deviation 0.5; for relu the root of one half."""


class VanishingGradient(Rule):
    """The first layers receive far smaller gradients than the last ones.

    Why it matters: the layers nearest the data learn nothing. The last ones learn from random
    features.

    Definition: in network order, the relative gradient ‖gradient‖ / ‖weights‖ of kernels in the
    first part, or the gradient of their bias (the back-propagated error itself), is below 1e-3 of
    that of the last layers (median over at least 20 steps), and it falls towards the inputs (rank
    correlation with depth above 0.5). The slope of a sigmoid is at most 1/4; five of them give 1e-3
    (Glorot and Bengio 2010; Hochreiter 1991). A ratio is used because an absolute limit such as
    1e-7 would flag healthy runs. It is a warning only if the loss was seen and does not fall.

    Or, in a SimpleRNN of a run that has not learnt in 100 steps: the RMS singular value of the
    recurrent kernel, times the mean slope of the activation, to the power of the time steps is
    below 1e-3 (Bengio, Simard, Frasconi 1994).

    Try:
    * Use `relu`, `gelu` or `selu` instead of `sigmoid` or `tanh`, and start with `he_normal`.
    * Add `BatchNormalization` or `LayerNormalization`, or residual connections.
    * In recurrent models use LSTM or GRU instead of SimpleRNN.

    Silent when: the run learns (`info` if the first layers hardly move); the loss is not seen, or
    may be about to fall within the first 100 steps (`info`). Frozen layers, embeddings, biases and
    scales are not judged. Query and key weights of attention are skipped: softmax makes their
    gradients small even in healthy models.
    """

    id = "vanishing_gradient"
    title = "The gradient vanishes towards the first layers"
    severity = Severity.CRITICAL
    dense = True
    needs = (
        "gradient_norm",
        "weight_norm",
        "update_ratio",
        "inputs_max_abs",
    )
    picture = Picture("by_depth", "gradient_rms", chart=())
    every = 4
    follows = (
        "disconnected_gradient",
        "dead_units",
        "zero_gradient",
        "symmetric_units",
        "saturated_units",
        "exploding_gradient",
        "nonfinite_gradient",
    )
    comes_of = ("poor_initialization", "weights_replaced")
    provisional = True

    ratio = Threshold(1e-3, "five sigmoids at their best slope: 0.25 ** 5 = 1e-3")
    healthy = (Healthy("gradient_rms", above=ratio, against="last_layers", kernels_only=True),)
    hopeless = Threshold(
        1e-5, "below that, rounding of float32 sums over many weights hides the gradient"
    )
    steps = Threshold(20, "longer than zero-initialised branches need to start learning")
    frames = Threshold(3, "a median of fewer says nothing")
    fading = Threshold(
        0.5, "rank correlation with depth; a single layer with a small gradient is not fading"
    )
    layers = Threshold(4, "with fewer kernels a ratio shows the layers' own scale, not depth")
    plateau = Threshold(
        100,
        "many runs leave their plateau within so many steps: what a recurrence keeps is "
        "estimated, not measured, and an orthogonal one keeps more while its states are "
        "small",
    )
    update_gap = Threshold(0.1, "the first layers' relative step over the median of all")

    basis = Basis(
        sees=("gradient_norm", "weight_norm"), steps=steps, frames=frames, loss_steps=MINIMUM_STEPS
    )

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        if len(window.rows.once(on_the_way)) >= self.layers or window.rows.once(simple_recurrences):
            return ""
        return f"the model has fewer than {self.layers} layers in a row"

    def needed(self, window: Window) -> Needed:
        needed = super().needed(window)
        if not window.rows.once(simple_recurrences):
            return needed
        return dataclasses.replace(needed, loss_steps=self.plateau)

    def not_seen(self, window: Window) -> str:
        # A fading gradient is reported without a loss too; a recurrence is not.
        missing = len(window.rows.once(on_the_way)) < self.layers and not window.was_seen(
            "loss_mean"
        )
        return (
            how_to_give(["loss_mean"], in_fit(window.table))
            if missing
            else super().not_seen(window)
        )

    def may_find(self, window: Window, frames: slice) -> BoolArray | None:
        if window.rows.once(simple_recurrences):
            return None
        profiles = self._each_profile(window)
        low: BoolArray = profiles[:, : -_late_count(profiles.shape[1])] < self.ratio
        return window.lately(np.asarray(low.any(axis=1)))[frames]

    def detect(self, window: Window) -> Detection | None:
        reach = window.last_frames(self.steps, self.frames)
        if reach is None:
            return None
        rows = window.rows.once(on_the_way)
        if window.rows.once(simple_recurrences):
            recurrent = self._through_time(window)
            if recurrent.any():
                return Detection.of(recurrent, window.first_step, Severity.WARNING, together=True)
        if len(rows) < self.layers:
            return HEALTHY
        if window.learning.state == "early":
            return None
        profile = _lower_median(self._each_profile(window)[reach])
        faded = self._faded(profile)
        if not faded.any() or self._correlation(profile) < self.fading:
            return HEALTHY
        faulty = np.zeros(len(window.rows.judged), bool)
        faulty[rows[faded]] = True
        if window.learning.stuck and not self._leaves(window):
            worst = float(profile[faded & (profile > 0)].min())
            severe = worst < self.hopeless or window.learning.guessing
            severity = Severity.CRITICAL if severe else Severity.WARNING
        else:
            severity = Severity.INFO
            if window.learning.learning:
                step = window.statistic("update_ratio")[-1]
                known = step[rows][np.isfinite(step[rows])]
                # A frame that a non-finite gradient has forced has no known values.
                usual = median(known) if len(known) else 0.0
                faulty &= step < self.update_gap * usual

        def since() -> IntArray:
            onset = np.full(len(faulty), window.step)
            smooth = _median_of_three(
                self._each_profile(window)
            )  # one batch beyond the limit does not interrupt it
            onset[rows] = window.onset(smooth < self.ratio, np.isfinite(smooth), per_step=True)
            return onset

        return Detection.of(faulty, since, severity, together=True)

    def _leaves(self, window: Window) -> bool:
        """Whether the loss may be about to leave its plateau."""
        learning = window.learning
        return learning.hopeful and learning.steps < self.plateau

    def _through_time(self, window: Window) -> BoolArray:
        """Recurrent kernels of simple cells whose powers keep almost nothing of early time steps.

        Their gradient is a sum over time and does not show it. The recurrent matrix does: RMS
        singular value times the slope of the activation, to the power of the time steps.
        """
        faded = np.zeros(len(window.rows.judged), bool)
        learning = window.learning
        if not learning.stuck or learning.hopeful or learning.steps < self.plateau:
            return faded
        for row, steps in window.rows.once(simple_recurrences):
            faded[row] = self._kept(window, row) ** steps < self.ratio
        return faded

    @staticmethod
    def _kept(window: Window, row: int) -> float:
        """The share of a gradient that reaches the time step before; NaN if unmeasured."""
        variable = window.table.variables[row]
        slope = TYPICAL_SLOPE.get(activation(variable), 1.0)
        norm = float(window.statistic("weight_norm")[-1][row])
        return slope * norm / float(np.sqrt(max(variable.units, 1)))

    @classmethod
    def _each_profile(cls, window: Window) -> FloatArray:
        return window.of_each_frame(cls._profiles)

    @staticmethod
    def _profiles(window: Window, frames: slice) -> FloatArray:
        """[frames, kernels]: the gradient at each layer, relative to that at the last layers.

        The smaller of two measures. The gradient of a kernel is the product of the error that
        comes back and the signal that comes forward: if both shrink with depth, all kernels
        have the same small gradient. The gradient of the bias is the error alone. NaN: not
        measured.
        """
        rows = window.rows.once(on_the_way)
        gradient = window.statistic("gradient_norm")[frames]
        weight = window.at_rows("weight_norm")[frames]
        start = window.rows.initial_rms[rows] * np.sqrt(window.rows.elements[rows])
        scale = np.fmax(np.fmax(weight[:, rows], start), 1e-30)
        profiles = _to_last((gradient[:, rows] / scale).astype(np.float32))
        biases = window.rows.bias_of[rows]
        known = biases >= 0
        if known.sum() >= 2 and known[-1]:
            at = biases[known]
            size = np.sqrt(window.rows.elements[at])
            error = _to_last((gradient[:, at] / size).astype(np.float32))
            profiles[:, known] = np.fmin(profiles[:, known], error)
        return profiles

    def _faded(self, profile: FloatArray) -> BoolArray:
        """Kernels before the last ones that receive almost nothing compared with those.

        Exact zeros after a decline belong to it (underflow); zeros alone are another problem.
        """
        faded = profile < self.ratio
        faded[-_late_count(len(profile)) :] = False
        if not (faded & (profile > 0)).any():
            faded[:] = False
        return faded

    @staticmethod
    def _correlation(profile: FloatArray) -> float:
        """Spearman's rank correlation of the profile with depth."""
        known = profile[~np.isnan(profile)]
        if len(known) < 3:
            return 0.0
        return rank_correlation(known)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        recurrent = np.flatnonzero(self._through_time(window))
        if recurrent.size:
            return self._explain_recurrence(window, int(recurrent[0]), since)
        kernels = window.rows.once(on_the_way)
        reach = window.last_frames(self.steps, self.frames) or slice(0, len(window))
        profile = _lower_median(self._each_profile(window)[reach])[np.isin(kernels, rows)]
        known = profile[~np.isnan(profile)]
        ratio = float(known.min()) if known.size else 0.0
        last = window.table.paths[int(kernels[-1])]
        causes = self._causes(window, rows, kernels)
        return Finding(
            summary=f"From step {since} on, the gradients of {names(window.table, rows)} were "
            f"{ratio:.1e} times those of the last layers ({last}).",
            with_loss=True,
            evidence=(
                Evidence("relative_gradient", ratio, self.ratio),
                Evidence("layers_affected", len(rows)),
            ),
            causes=causes,
            fixes=tuple(self._fix(window, rows, kernels, c) for c in likeliest_first(causes))
            or ("Add BatchNormalization or residual connections between these layers.",),
        )

    def _explain_recurrence(self, window: Window, row: int, since: int) -> Finding:
        variable = window.table.variables[row]
        kept, steps = self._kept(window, row), int(variable.facts["time_steps"])
        text = (
            f"{layer(variable)} is a SimpleRNN over {steps} time steps, each of which leaves "
            f"about {kept:.2g} of the gradient"
        )
        fix = (
            f"Use a gated cell: `keras.layers.LSTM({variable.units})` or "
            f"`keras.layers.GRU({variable.units})` instead of {layer(variable)}; or shorten the "
            "sequences."
        )
        return Finding(
            summary=f"{text}: {kept**steps:.1e} of it reaches the first one.",
            with_loss=True,
            evidence=(
                Evidence("gradient_left_through_time", kept**steps, self.ratio),
                Evidence("time_steps", steps),
            ),
            causes=(cause("long_recurrence", 0.85, f"{text}."),),
            fixes=(fix,),
        )

    def _causes(self, window: Window, rows: IntArray, kernels: IntArray) -> tuple[Cause, ...]:
        table = window.table
        stopped = stopped_cause(table)  # what is left is the gradient of a penalty
        if stopped is not None:
            return (stopped,)
        path = [table.variables[int(row)] for row in kernels if row >= rows[0]]
        saturating = [v for v in path[:-1] if activation(v) in SATURATING]
        found: list[Cause] = []
        gains = np.array([scale_gain(v) for v in path[:-1] if v.initial_rms > 0])
        began = bool(saturating) and len(gains) >= 2 and float(np.prod(gains)) <= self.ratio
        # A tanh passes small sums unchanged; small initial weights cost more than a sigmoid would.
        steep = began and all(activation(v) in STEEP for v in saturating)
        steep = steep and float(np.median(gains)) < SIGMOID_SLOPE
        if began:
            found.append(
                cause(
                    "initialization_scale",
                    0.9 if steep else 0.5,
                    f"the layers from {layer(path[0])} on start at {np.median(gains):.2g} of the "
                    f"scale that keeps a signal's size; {len(gains)} of them give "
                    f"{np.prod(gains):.1e}.",
                )
            )
        if len(saturating) >= 2:
            found.append(
                cause(
                    "saturating_activation",
                    0.3 if steep else 0.6 + 0.35 * len(saturating) / max(len(path) - 1, 1),
                    f"{len(saturating)} of the {len(path) - 1} layers from {layer(path[0])} on "
                    f"have activation {saturating[0].activation}.",
                )
            )
        recurrent = [v for v in path if v.layer_class in SIMPLE_CELLS]
        if recurrent:
            found.append(cause("long_recurrence", 0.7, f"{layer(recurrent[0])} is a SimpleRNN."))
        narrow = deep_narrow_cause(window, 0.6 if saturating else 0.85, path)
        found += [narrow] if narrow else []
        small = [v for v in path[:-1] if _gain(v) < 0.5 and v.initial_rms > 0]
        if len(small) >= 2 and not saturating:
            found.append(
                cause(
                    "initialization_scale",
                    0.7,
                    f"{layer(small[0])} starts at an RMS of {small[0].initial_rms:.2g}, "
                    f"{_gain(small[0]):.2g} of the scale that keeps the signal's size.",
                )
            )
        extreme = window.latest("inputs_max_abs")
        if extreme > UNSCALED_INPUT and saturating:
            found.append(
                cause("unscaled_inputs", 0.6, f"the inputs reach magnitudes of {extreme:.3g}.")
            )
        return tuple(found)

    @staticmethod
    def _fix(window: Window, rows: IntArray, kernels: IntArray, reason: Cause) -> str:
        # The gradient shrinks in all layers from the first affected one to the last hidden one.
        between = [int(row) for row in kernels[:-1] if row >= rows[0]]
        start = initializer_for(window.table.variables[between[0]])
        first, last = (layer(window.table.variables[between[i]]) for i in (0, -1))
        span = first if first == last else f"{first} to {last}"
        return {
            "saturating_activation": f'In {span} use `activation="relu", '
            'kernel_initializer="he_normal"`.',
            "long_recurrence": "Replace SimpleRNN by `keras.layers.LSTM` or `keras.layers.GRU`.",
            "deep_narrow_network": f"Add a shortcut round every two layers of {span} "
            "(`x = keras.layers.add([x, block(x)])`), or use fewer and wider layers.",
            "initialization_scale": f'In {span} use `kernel_initializer="{start}"`.',
            "unscaled_inputs": scale_inputs(window.table),
            "non_differentiable_operation": without_stop(window.table),
        }[reason.id]


SCORES = re.compile(r"(query|key)(_|$)|(w|to_)?[qk](_proj)?$", re.IGNORECASE)
"""Names of the layers that compute queries and keys."""


def on_the_way(table: VariableTable, rows: Rows) -> IntArray:
    """Kernels on the path of the gradient, without those of attention scores."""
    scores = [SCORES.match(layer(v).rpartition("/")[2]) is not None for v in table.variables]
    return np.flatnonzero(rows.judged & rows.kernel & ~np.array(scores, bool))


def simple_recurrences(table: VariableTable, rows: Rows) -> list[tuple[int, int]]:
    """Recurrent kernels of cells without gates, and over how many time steps they run."""
    return [
        (row, int(variable.facts["time_steps"]))
        for row, variable in enumerate(table.variables)
        if variable.layer_class in SIMPLE_CELLS
        and variable.role == "recurrent_kernel"
        and rows.judged[row]
        and variable.facts.get("time_steps", "").isdecimal()
    ]


def _late_count(kernels: int) -> int:
    return max(kernels // 4, 1)


def _to_last(values: FloatArray) -> FloatArray:
    """[frames, layers]: values over the median of the last quarter of the layers."""
    level = _lower_median(values[:, -_late_count(values.shape[1]) :].T)
    scaled = values / np.where(level > 0, level, np.inf)[:, np.newaxis]
    return scaled.astype(np.float32)


def _median_of_three(values: FloatArray) -> FloatArray:
    """[frames, layers]: median of each frame and its neighbours; the ends repeat theirs."""
    if len(values) < 3:
        return values
    inner = np.sort(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)[1]
    smooth: FloatArray = np.concatenate([inner[:1], inner, inner[-1:]])
    return smooth


def _lower_median(values: FloatArray) -> FloatArray:
    """Of each column; NaN sorts last and is left out. (nanmedian takes twenty times as long.)"""
    ordered = np.sort(values.T)
    middle: FloatArray = ordered[:, (len(values) - 1) // 2]
    unknown = np.isnan(ordered[:, -1])
    if unknown.any():
        known = np.maximum(len(values) - np.isnan(ordered).sum(axis=1), 1)
        middle = ordered[np.arange(len(ordered)), (known - 1) // 2]
    return middle


def _gain(variable: object) -> float:
    """Initial scale relative to He's, which keeps the size of a signal through ReLUs."""
    units = getattr(variable, "units", 0)
    elements = getattr(variable, "elements", 0)
    rms = getattr(variable, "initial_rms", 0.0)
    fan_in = elements / units if units else elements
    return float(rms / np.sqrt(2.0 / max(fan_in, 1)))
