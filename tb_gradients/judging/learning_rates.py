"""The optimizer and its learning rate: what is usual, what a schedule did, what to set instead.

In:  a window, or the table of a run.
Out: causes with the observation that speaks for each, and fixes as code.
Does not know which rule asks.
"""

from __future__ import annotations

import math

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.window import Window

USUAL_LEARNING_RATE = {
    "SGD": 1e-2,
    "Adam": 1e-3,
    "AdamW": 1e-3,
    "Adamax": 1e-3,
    "Nadam": 1e-3,
    "RMSprop": 1e-3,
    "Adagrad": 1e-2,
    "Adadelta": 1.0,
    "Ftrl": 1e-3,
    "Lion": 1e-4,
    "Lamb": 1e-3,
    "Adafactor": 1e-3,
    "Muon": 1e-3,
}
"""Keras' defaults. Good values lie within a factor of 100 of these for nearly every model.

But for two whose default of 1e-3 in Keras is not what their authors and other frameworks use:
Adadelta's steps have the size of the weights' last ones, times 1.0 (Zeiler 2012); Adagrad's only
shrink, from 1e-2 (Duchi, Hazan, Singer 2011; the default of PyTorch and of TensorFlow 1).
"""

ADAPTIVE = frozenset(
    {"Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lion", "Lamb"}
    | {"Adafactor", "Ftrl"}
)
"""Optimizers whose step does not scale with the gradient: clipping hardly changes theirs."""

ADAPTIVE_EPSILON = 1e-7
"""Keras' epsilon of Adam and its relatives: gradients far below it are no longer normalised."""


def optimizer_name(table: VariableTable) -> str:
    """The optimizer for use in a sentence or in code."""
    return table.run.optimizer or "the optimizer"


def usual_learning_rate(table: VariableTable) -> float:
    """The optimizer's default learning rate, 1e-3 for one we do not know."""
    return USUAL_LEARNING_RATE.get(table.run.optimizer, 1e-3)


def settings_of(table: VariableTable) -> dict[str, float]:
    """The optimizer's numeric settings that are set."""
    found = {}
    for name, text in table.run.optimizer_config.items():
        try:
            found[name] = float(text)
        except ValueError:
            continue
    return found


DECAYED = 10.0
"""A rate that a schedule has lowered by more than that is another one."""


def decayed_from(window: Window) -> float | None:
    """The learning rate of the first steps, if a schedule has lowered it to a tenth or less."""
    start, now = window.context_at_start("learning_rate"), window.latest("learning_rate")
    return start if start > DECAYED * now else None


SLOWER_DECAY = (
    "Let the schedule lower the rate later, and not below a hundredth of {rate:.3g}. "
    "(`decay_steps` counts batches, not epochs.)"
)


def warms_up(window: Window) -> bool:
    """Whether the learning rate has grown by 5 % or more within the window."""
    rate = window.context("learning_rate")
    known = rate[np.isfinite(rate)]
    return bool(known.size > 1 and known[-1] > 1.05 * known[0])


def optimizer_code(table: VariableTable, **settings: float | None) -> str:
    """The call that makes this run's optimizer, with some settings changed (None: left out).

    >>> optimizer_code(table, learning_rate=1e-3)
    'keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)'
    """
    kept = ("momentum", "clipnorm", "clipvalue", "global_clipnorm", "weight_decay")
    known = settings_of(table)
    chosen: dict[str, float | None] = {
        k: known[k] for k in ("learning_rate", *kept) if known.get(k)
    }
    chosen |= settings
    listed = [f"{name}={value:g}" for name, value in chosen.items() if value is not None]
    return f"keras.optimizers.{table.run.optimizer or 'Adam'}({', '.join(listed)})"


def large_rate_cause(window: Window, observed: str, confidence: float) -> Cause:
    """learning_rate_too_large: what was observed, and how far off the usual the rate is."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    told = observed
    if rate < 0:
        return cause("wrong_sign", 0.95, f"{told}; the learning rate is {rate:.3g}, negative.")
    if math.isfinite(rate):
        told += f"; the learning rate is {rate:.3g}"
        if rate >= 10 * usual:
            confidence += 0.2
            told += f", {optimizer_name(window.table)} is usually used around {usual:g}"
        elif rate <= usual:
            confidence -= 0.2
    return cause("learning_rate_too_large", confidence, f"{told}.")


def unusual_rate_cause(window: Window, confidence: float, times: float) -> Cause | None:
    """learning_rate_too_large, if the rate is that many times the usual one."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if not rate >= times * usual:
        return None
    told = f"the learning rate is {rate:.3g}; {optimizer_name(window.table)} is usually used around"
    return cause("learning_rate_too_large", confidence, f"{told} {usual:g}.")


def slower(window: Window) -> str:
    """Lower the learning rate: to the optimizer's default, or by ten if it is there already."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if not math.isfinite(rate):
        return "Lower the step size tenfold."
    if rate < 0:
        code = optimizer_code(window.table, learning_rate=usual)
        return f"Let the learning rate be positive: `{code}`."
    target = usual if rate >= 10 * usual else rate / 10
    return f"Lower the learning rate: `{optimizer_code(window.table, learning_rate=target)}`."
