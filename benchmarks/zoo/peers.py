"""Published rules of other tools, re-implemented on our frames, to compare with.

In:  the recordings of one run.
Out: for each published rule, the step at which it first fires, or ``None``.
Does not know about our own rules, nor which programs are faulty.

These are re-implementations, not the tools: none of them runs on today's TensorFlow and
Keras. Thresholds are the published defaults. Where a rule wants a number that frames do not
hold, the nearest one that they do hold stands in, as each docstring says; a root mean square
for a mean magnitude makes a "smaller than" rule fire a little later, never earlier.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import Recording

Bools = npt.NDArray[np.bool_]
Rule = Callable[[Recording], Bools]

RULES: dict[str, Rule] = {}
"""By name; each maps a recording to bool [frames]: does it fire at this frame?"""

TOOLS = ("SageMaker", "AUTOTRAINER", "TheDeepChecker")
"""The first word of a rule's name; a tool speaks when any of its rules does."""


def _rule(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


def judge(recordings: Sequence[Recording]) -> dict[str, int | None]:
    """First step at which each rule fires; and each tool, which is any of its rules."""
    verdict: dict[str, int | None] = {}
    for name, rule in RULES.items():
        steps = []
        for recording in recordings:
            if len(recording):
                with np.errstate(all="ignore"):
                    fired = np.flatnonzero(rule(recording))
                steps += [int(recording.steps[row]) for row in fired[:1]]
        verdict[name] = min(steps, default=None)
    for tool in TOOLS:
        first = [
            step for name, step in verdict.items() if name.startswith(tool) and step is not None
        ]
        verdict[tool] = min(first, default=None)
    return verdict


# --- what they look at ----------------------------------------------------------------------


def _kernels(recording: Recording) -> Bools:
    roles = [v.role in ("kernel", "recurrent_kernel") for v in recording.table.variables]
    return np.array(roles, bool)


def _gradient(recording: Recording) -> Any:
    return recording.statistic("gradient_rms")


def _nonfinite(recording: Recording) -> Bools:
    bad = (recording.statistic("gradient_nonfinite_count") > 0).any(axis=1)
    bad |= (recording.statistic("weight_nonfinite_count") > 0).any(axis=1)
    loss: Bools = recording.context_value("loss_nonfinite_age") >= 0
    return bad | loss


def _relative_update(recording: Recording) -> Any:
    """|after - before| / |before|, without a floor: all three tools divide by the weight."""
    return recording.statistic("update_norm") / (recording.statistic("weight_norm") + 1e-9)


def _ends(recording: Recording) -> tuple[Any, Any]:
    """Gradient norms of the first and of the last kernel, [frames] each."""
    rows = np.flatnonzero(_kernels(recording))
    norms = recording.statistic("gradient_norm")
    if not rows.size:
        return np.full(len(recording), np.nan), np.full(len(recording), np.nan)
    return norms[:, rows[0]], norms[:, rows[-1]]


# --- SageMaker Debugger ---------------------------------------------------------------------
# Built-in rules and their defaults: Amazon SageMaker developer guide, "List of Debugger
# built-in rules" (docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html).


@_rule("SageMaker VanishingGradient")
def sagemaker_vanishing(recording: Recording) -> Bools:
    """Mean magnitude of any gradient below 1e-7 (``threshold``). Here: its RMS."""
    fired: Bools = (_gradient(recording) < 1e-7).any(axis=1)
    return fired


@_rule("SageMaker ExplodingTensor")
def sagemaker_exploding(recording: Recording) -> Bools:
    """Any NaN or Inf (``only_nan=False``)."""
    return _nonfinite(recording)


@_rule("SageMaker WeightUpdateRatio")
def sagemaker_update_ratio(recording: Recording) -> Bools:
    """Update over weight above 10 or below 1e-8 (``large_threshold``, ``small_threshold``)."""
    ratio = _relative_update(recording)
    fired: Bools = ((ratio > 10) | (ratio < 1e-8)).any(axis=1)
    return fired


@_rule("SageMaker DeadRelu")
def sagemaker_dead_relu(recording: Recording) -> Bools:
    """More than half of a layer's ReLUs inactive (``threshold_layer=50``).

    Here: units of a ReLU layer without any gradient over the window, or, where they were
    observed, units that are zero for the whole batch.
    """
    relu = np.array([v.activation == "relu" for v in recording.table.variables], bool)
    dead = np.fmax(
        recording.statistic("dead_unit_share"), recording.statistic("activation_dead_share")
    )
    fired: Bools = (dead[:, relu] > 0.5).any(axis=1)
    return fired


@_rule("SageMaker AllZero")
def sagemaker_all_zero(recording: Recording) -> Bools:
    """All values of a tensor are zero (``threshold=100`` per cent). Here: of a gradient."""
    fired: Bools = (recording.statistic("gradient_zero_share") >= 1).any(axis=1)
    return fired


@_rule("SageMaker LossNotDecreasing")
def sagemaker_loss(recording: Recording) -> Bools:
    """The loss is not lower than 10 steps before (``num_steps=10``, ``diff_percent=0``)."""
    loss, steps = recording.context_value("loss"), recording.steps
    before = np.searchsorted(steps, steps - 10, side="right") - 1
    due = (steps % 10 == 0) & (before >= 0)
    fired: Bools = due & (loss >= loss[np.maximum(before, 0)])
    return fired


# --- AUTOTRAINER ----------------------------------------------------------------------------
# Zhang et al., "AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair System",
# ICSE 2021, and its monitor.py: beta_1=1e-3, beta_2=1e-4, beta_3=70, gamma=0.7, delta=0.01;
# symptoms count only after 30 % of the training, and only where accuracy does not rise.


def _autotrainer_vanish(recording: Recording) -> Bools:
    first, last = _ends(recording)
    fired: Bools = (first / last < 1e-3) & (first < 1e-4)
    return fired


def _autotrainer_explode(recording: Recording) -> Bools:
    first, last = _ends(recording)
    fired: Bools = first / last > 70
    return fired


def _autotrainer_dying(recording: Recording) -> Bools:
    """70 % of all gradient elements are zero."""
    elements = recording.table.elements
    zeros = np.nansum(recording.statistic("gradient_zero_share") * elements, axis=1)
    fired: Bools = zeros / elements.sum() >= 0.7
    return fired


def _autotrainer_stuck(recording: Recording) -> Bools:
    """After 30 % of the steps, the loss of no tenth of the run was 1 % below the one before.

    AUTOTRAINER asks for the accuracy per epoch (it must rise by 0.01); frames hold the loss.
    """
    loss, stuck = recording.context_value("loss_mean"), np.zeros(len(recording), bool)
    edges = np.linspace(0, len(recording), 11).astype(int)
    parts = [loss[a:b] for a, b in itertools.pairwise(edges)]
    means = [
        part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts
    ]
    for part in range(3, len(means)):
        drops = [(a - b) / abs(a) for a, b in itertools.pairwise(means[: part + 1])]
        if not any(drop >= 0.01 for drop in drops):
            stuck[edges[part] : edges[part + 1]] = True
    return stuck


@_rule("AUTOTRAINER vanish")
def autotrainer_vanish(recording: Recording) -> Bools:
    """First over last kernel's gradient norm < 1e-3 and the first < 1e-4, and not learning."""
    return _autotrainer_vanish(recording) & _autotrainer_stuck(recording)


@_rule("AUTOTRAINER explode")
def autotrainer_explode(recording: Recording) -> Bools:
    """NaN anywhere; or that ratio > 70, and not learning."""
    return _nonfinite(recording) | (_autotrainer_explode(recording) & _autotrainer_stuck(recording))


@_rule("AUTOTRAINER dying ReLU")
def autotrainer_dying(recording: Recording) -> Bools:
    """70 % of all gradient elements are zero, and not learning."""
    return _autotrainer_dying(recording) & _autotrainer_stuck(recording)


@_rule("AUTOTRAINER slow convergence")
def autotrainer_slow(recording: Recording) -> Bools:
    """Not learning, with no other symptom to blame."""
    return _autotrainer_stuck(recording)


@_rule("ungated: AUTOTRAINER's symptoms")
def autotrainer_ungated(recording: Recording) -> Bools:
    """Its gradient symptoms without asking whether the run learns."""
    return (
        _nonfinite(recording)
        | _autotrainer_vanish(recording)
        | _autotrainer_explode(recording)
        | _autotrainer_dying(recording)
    )


# --- TheDeepChecker -------------------------------------------------------------------------
# Ben Braiek and Khomh, "Testing Feedforward Neural Networks Training Programs", TOSEM 2023,
# and its hooks.py; bounds of the log10 update ratio: -4 and -1, averaged over a period.

PERIOD = 10
"""Steps over which update ratios are averaged."""


def _mean_log_ratio(recording: Recording) -> Any:
    """log10 of the relative update of each kernel, mean over the last ``PERIOD`` frames."""
    logs = np.log10(_relative_update(recording)[:, _kernels(recording)])
    means = np.full_like(logs, np.nan)
    for row in range(PERIOD - 1, len(logs)):
        means[row] = logs[row + 1 - PERIOD : row + 1].mean(axis=0)
    return means


@_rule("TheDeepChecker untrained or slow")
def deepchecker_slow(recording: Recording) -> Bools:
    """A kernel's mean log10 update ratio is below -4."""
    fired: Bools = (_mean_log_ratio(recording) < -4).any(axis=1)
    return fired


@_rule("TheDeepChecker fast")
def deepchecker_fast(recording: Recording) -> Bools:
    """It is above -1."""
    fired: Bools = (_mean_log_ratio(recording) > -1).any(axis=1)
    return fired


@_rule("TheDeepChecker diverging weights")
def deepchecker_divergence(recording: Recording) -> Bools:
    """Weights double five times in a row, or their mean magnitude is above 1e8."""
    size = recording.statistic("weight_rms")[:, _kernels(recording)]
    doubled = size[1:] >= 2 * size[:-1]
    fired = (size > 1e8).any(axis=1)
    for row in range(4, len(size)):
        fired[row] |= doubled[row - 4 : row].all(axis=0).any()
    result: Bools = fired
    return result


@_rule("TheDeepChecker unstable numbers")
def deepchecker_nonfinite(recording: Recording) -> Bools:
    """NaN or Inf in weights, gradients or loss."""
    return _nonfinite(recording)
