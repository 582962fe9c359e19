"""The weights start at a wrong scale."""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.data_scales import INPUT_NEEDS
from tb_gradients.judging.initial_values import scale_gain, signal_gains
from tb_gradients.judging.learning import CLEAR_DROP, LOW_SHARE, MINIMUM_STEPS
from tb_gradients.judging.networks import RELU, SATURATING
from tb_gradients.judging.outputs import constant_output
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import activation, layer, layers_of, names

HE = 2.0**0.5
"""The scale that keeps the size of a signal before a ReLU, which cuts off half of it."""

PLAIN = frozenset({"Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", ""})
"""Layers whose kernel multiplies the whole signal once, so that it has a known gain."""


def plain_kernels(table: VariableTable, rows: Rows) -> BoolArray:
    """Kernels whose scale at the start is known, and decides how large a signal becomes."""
    plain = np.array(
        [
            v.layer_class in PLAIN and not v.facts.get("followed_by", "").endswith("Normalization")
            for v in table.variables
        ],
        bool,
    )
    kernels = rows.judged & rows.kernel
    if kernels.sum() == 1 and not table.variables[int(np.argmax(kernels))].layer_class:
        kernels[:] = False  # a single tensor of no layer, such as an image that is optimised
    result: BoolArray = plain & kernels & (rows.initial_rms > 0)
    return result


def before_relu(table: VariableTable, _: Rows) -> BoolArray:
    """Variables of layers with a ReLU."""
    return np.array([activation(v) in RELU for v in table.variables], bool)


class PoorInitialization(Rule):
    """The weights start at a scale that amplifies or shrinks every signal and gradient.

    Why it matters: the product over the layers decides what reaches the loss and what comes back.
    If it is too large, units saturate and steps overshoot. If it is too small, nothing arrives.

    Definition: the standard deviation of a kernel at the start times the root of its fan-in is the
    factor by which it scales a signal: 1 for LeCun's and Glorot's, 1.4 for He's initialisation
    (Glorot and Bengio 2010; He et al. 2015). Flagged if this factor is above 10 or below 0.05 in at
    least half of the kernels, and one of these holds: the run does not learn; its loss starts at
    ten times that of a constant prediction and has not come down; or kernels that are too large
    drive a sigmoid or tanh onto its flat part, and the loss is still above half of that of a
    constant prediction. Or two such kernels are on that flat part and stay there: that part of the
    model does not learn, whatever the rest does. Or the run does not learn, kernels before ReLUs
    are smaller than He's, the product of their scales relative to He's is 1e-3 or less, and what
    reaches the last layer is below 0.01 (the gradient of its kernel over that of its bias). Two
    kinds of kernels do not count: those before a normalisation, whose scale does not matter, and a
    single tensor that belongs to no layer, which may be an image that is optimised.

    Try:
    * glorot_uniform before tanh, sigmoid and softmax; he_normal before relu and similar
      activations; lecun_normal before selu.

    Silent when: the run learns; the weights were trained before; only a few kernels start small by
    design, such as heads and branches; a small first kernel follows large inputs.
    """

    id = "poor_initialization"
    title = "The weights start at the wrong scale"
    severity = Severity.WARNING
    needs = ("activation_rms", "gradient_norm", "weight_norm", "predictions_spread", *INPUT_NEEDS)
    picture = Picture("by_depth", "gradient_rms")
    every = 4
    provisional = True

    large = Threshold(10.0, "seven times He's: three such layers give a factor of 1000")
    small = Threshold(0.05, "a twentieth of Glorot's: three such layers give a factor of 1e-4")
    share = Threshold(
        0.5, "of the kernels: training compensates for a single one within a few steps"
    )
    kept = Threshold(0.9, "of He's scale: kernels that start at random differ by less")
    first_loss = Threshold(
        10.0, "times the loss of a constant prediction: outputs of the order of 1 are below"
    )

    several = Threshold(2, "one layer of signs is a choice, and the one behind it learns from it")

    fades = Threshold(1e-3, "as in vanishing_gradient: ten ReLU layers at half of He's scale")
    signal = Threshold(0.01, "of the size of an input: healthy heads get 0.03 and more")

    basis = Basis(sees=("loss_mean",), loss_steps=MINIMUM_STEPS)

    def nothing_to_judge(self, window: Window) -> str:
        return "" if self._judged(window).any() else "the gain of no kernel is known"

    table_decides = True

    def may_find(self, window: Window, frames: slice) -> BoolArray | None:
        # Inputs make the signal of a kernel larger, and never smaller.
        gains = window.rows.scale_gain[self._judged(window)]
        off = ((gains > self.large) | (gains < self.small)).any()
        if off or self._many_halve(window):
            return None
        return np.zeros(len(window), bool)[frames]

    def detect(self, window: Window) -> Detection | None:
        learning = window.learning
        if learning.stuck and self._signal_fades(window):
            return Detection.of(
                self._halving(window), window.first_step, Severity.WARNING, together=True
            )
        gains = window.rows.scale_gain
        if not (window.rows.kernel & ((gains > self.large) | (gains < self.small))).any():
            return HEALTHY  # cheap, and the usual case
        off, judged = self._off(window), self._judged(window)
        if not off.any() or learning.state == "early":
            return HEALTHY
        if off.sum() < self.share * judged.sum():
            part = self._flat_part(window, off)
            if not part.any() or self._trained_before(window):
                return HEALTHY
            return Detection.of(part, window.first_step, Severity.WARNING, together=True)
        high = learning.start > self.first_loss * learning.guess and learning.guessing
        flat = not learning.converged and learning.now > LOW_SHARE * learning.guess
        flat = flat and self._flattened(window, off).sum() >= self.share * judged.sum()
        if learning.learning and not high and not flat:
            return HEALTHY
        loud = learning.stuck or high or flat
        severity = Severity.WARNING if loud else Severity.INFO
        return Detection.of(off, window.first_step, severity, together=True)

    def _halving(self, window: Window) -> BoolArray:
        """Kernels before a ReLU that start below what keeps the size of a signal."""
        small: BoolArray = window.rows.scale_gain < self.kept * HE
        return small & self._judged(window) & window.rows.once(before_relu)

    def _many_halve(self, window: Window) -> bool:
        """Whether all of them together leave almost nothing of a signal."""
        gains = window.rows.scale_gain[self._halving(window)] / HE
        return bool(gains.size and np.prod(gains) <= self.fades)

    def _signal_fades(self, window: Window) -> bool:
        """Whether there are so many of them that almost no signal reaches the last layer.

        The gradient of a kernel is the error times the signal; that of its bias is the error.
        """
        if not self._many_halve(window):
            return False
        last = int(np.flatnonzero(window.rows.judged & window.rows.kernel)[-1])
        bias = int(window.rows.bias_of[last])
        if bias < 0:
            return False
        start = window.at_start("gradient_norm")
        fan_in = window.rows.elements[last] / max(window.rows.units[last], 1)
        return bool(start[last] < self.signal * start[bias] * np.sqrt(fan_in))

    @staticmethod
    def _judged(window: Window) -> BoolArray:
        return window.rows.once(plain_kernels)

    @staticmethod
    def _trained_before(window: Window) -> bool:
        """Whether the run started at a low loss, so that its weights are as they should be."""
        learning = window.learning
        if math.isfinite(learning.guess):
            return learning.start <= LOW_SHARE * learning.guess
        return not learning.now < (1 - CLEAR_DROP) * learning.start

    def _flattened(self, window: Window, off: BoolArray) -> BoolArray:
        """Kernels so large that their activation is on its flat part from the first step on."""
        flat = [activation(v) in SATURATING for v in window.table.variables]
        result: BoolArray = off & (window.rows.scale_gain > self.large) & np.array(flat, bool)
        return result

    def _flat_part(self, window: Window, off: BoolArray) -> BoolArray:
        """Kernels of a part of the model that is flat: a run can only learn on a way round it.

        Several layers of that kind, the last one of the model not among them, which are as large
        as at the start. (Inputs that are small make up for a kernel that is large.)
        """
        size = np.hypot(window.context("inputs_mean"), window.context("inputs_std"))
        size = size[np.isfinite(size)]
        inputs = min(float(np.median(size)), 1.0) if size.size else 1.0
        start = window.rows.initial_rms * np.sqrt(window.rows.elements)
        now = window.rows.scale_gain * window.statistic("weight_norm")[-1] / start
        part = self._flattened(window, off) & (
            np.fmin(now, window.rows.scale_gain) * inputs > self.large
        )
        part[np.flatnonzero(self._judged(window))[-1:]] = False
        return part if part.sum() >= self.several else np.zeros_like(part)

    def _off(self, window: Window) -> BoolArray:
        judged, signal = self._judged(window), signal_gains(window)
        large = window.rows.scale_gain > self.large
        # With large inputs, the signal of the first kernel may pass all the others.
        small = (signal < self.small) & bool(np.prod(signal[judged]) < self.small)
        off: BoolArray = judged & (large | small)
        return off

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        variables = [window.table.variables[int(row)] for row in rows]
        if not self._off(window)[rows].any():
            return self._explain_fading(window, rows, variables)
        gains = np.array([scale_gain(v) for v in variables])
        worst = int(np.argmax(np.abs(np.log(gains))))
        first = variables[worst]
        text = (
            f"{layer(first)} starts at an RMS of {first.initial_rms:.3g} and scales a signal by "
            f"{gains[worst]:.2g}; {len(rows)} such layers scale it by {np.prod(gains):.1e}"
        )
        return Finding(
            summary=f"{names(window.table, rows)} started at a wrong scale: {text}.",
            with_loss=True,
            evidence=(
                Evidence(
                    "scale_gain",
                    float(gains[worst]),
                    self.large if gains[worst] > 1 else self.small,
                ),
                Evidence("loss_at_start", window.learning.start, window.learning.guess),
            ),
            causes=(self._cause(text),),
            fixes=(
                " ".join(
                    f'In {layers_of(group)} use `kernel_initializer="{initializer}"`.'
                    for initializer, group in self._by_initializer(variables).items()
                ),
            ),
            follows=("model_mismatch",) if constant_output(window) else (),
        )

    def _explain_fading(self, window: Window, rows: IntArray, variables: list[Variable]) -> Finding:
        gains = np.array([scale_gain(v) for v in variables]) / HE
        text = (
            f"each of {len(rows)} layers with relu scales a signal by {np.median(gains):.2g}, all "
            f"of them together by {np.prod(gains):.1e}"
        )
        return Finding(
            summary=f"Almost no signal from the inputs reached the last layer: {text}.",
            with_loss=True,
            evidence=(Evidence("gain_of_all_layers", float(np.prod(gains)), self.fades),),
            causes=(self._cause(text),),
            fixes=(f'In {layers_of(variables)} use `kernel_initializer="he_normal"`.',),
        )

    @staticmethod
    def _by_initializer(variables: list[Variable]) -> dict[str, list[Variable]]:
        groups: dict[str, list[Variable]] = {}
        for variable in variables:
            groups.setdefault(fitting(activation(variable)), []).append(variable)
        return groups

    @staticmethod
    def _cause(text: str) -> Cause:
        return cause("initialization_scale", 0.85, f"{text}.")


def fitting(name: str) -> str:
    """The initializer for a layer of that activation."""
    if name == "selu":
        return "lecun_normal"
    return (
        "he_normal"
        if any(part in name for part in ("relu", "elu", "swish", "silu"))
        else "glorot_uniform"
    )
