"""Learning rates and other settings of the optimizer: usual values, schedules, better ones.

In:  a window, or the table of a run.
Out: causes with the observation that supports each, and fixes as code.
Does not know which rule asks.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tb_gradients.flags import Cause
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window

DoubleArray = npt.NDArray[np.float64]

OWN_RATE, OWN_OPTIMIZER = "learning_rate", "optimizer_class"
"""Facts of a variable where several optimizers train a model: the rate that its own was made with,
if no schedule sets it, and the class of that."""

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
    "ScheduleFreeAdamW": 2.5e-3,
}
"""Keras' defaults. Good values lie within a factor of 100 of these for nearly every model.

Three differ from Keras' default of 1e-3, because their authors and other frameworks use another:
Lion (1e-4: three to ten times less than Adam; Chen et al. 2023),
Adadelta (1.0: its steps have the size of the last ones; Zeiler 2012) and Adagrad (1e-2: its steps
only shrink; Duchi, Hazan, Singer 2011; the default of PyTorch and of TensorFlow 1).
"""

ADAPTIVE = frozenset(
    {"Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lion", "Lamb"}
    | {"Adafactor", "Ftrl", "Muon", "ScheduleFreeAdamW"}
)
"""Optimizers whose step does not scale with the gradient: clipping hardly changes it."""

ADAPTIVE_EPSILON = 1e-7
"""Keras' epsilon of Adam and its relatives: gradients far below it are no longer normalised."""


def optimizer_name(table: VariableTable) -> str:
    """The optimizer for use in a sentence or in code."""
    return table.run.optimizer or "the optimizer"


def usual_learning_rate(table: VariableTable) -> float:
    """The optimizer's usual learning rate; NaN for an unknown optimizer, or without one."""
    return USUAL_LEARNING_RATE.get(table.run.optimizer, math.nan)


def rates(window: Window) -> DoubleArray:
    """[variables]: the learning rate of the optimizer of each; NaN: not known.

    The rate of a step is that of all variables, but where several optimizers with rates of their
    own make it. Then it is the one that each of them was made with.
    """
    rate = window.latest("learning_rate")
    own = window.rows.once(_rates_of_their_own)
    return own if math.isnan(rate) else np.full(own.shape, rate, np.float64)


def rate_of(window: Window, rows: IntArray) -> float:
    """The learning rate of these variables; NaN: not known, or not one."""
    found = np.unique(rates(window)[rows])
    return float(found[0]) if len(found) == 1 else math.nan


def _rates_of_their_own(table: VariableTable, _: Rows) -> DoubleArray:
    found = [variable.facts.get(OWN_RATE, "nan") for variable in table.variables]
    return np.array([float(rate) for rate in found], np.float64)


def usual_rates(table: VariableTable, _: Rows) -> DoubleArray:
    """[variables]: ``usual_learning_rate`` of the optimizer of each."""
    found = [USUAL_LEARNING_RATE.get(optimizer_of(v, table), math.nan) for v in table.variables]
    return np.array(found, np.float64)


def optimizer_of(variable: Variable, table: VariableTable) -> str:
    """The class of the optimizer that a variable belongs to; "" if that is not known."""
    return variable.facts.get(OWN_OPTIMIZER, table.run.optimizer)


def optimizers(table: VariableTable, _: Rows) -> list[BoolArray]:
    """bool [variables] for each optimizer of the run: the variables that belong to it."""
    names = np.array([variable.optimizer for variable in table.variables])
    return [names == name for name in dict.fromkeys(names.tolist())]


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
"""A schedule that lowers the rate by more than this factor has changed it."""


def decayed_from(window: Window) -> float | None:
    """The learning rate that a schedule began with, if it has lowered it to a tenth or less.

    A rate that a new optimizer starts with was chosen, whatever the last one had: a model that is
    compiled again for fine-tuning has no schedule.
    """
    made_with = settings_of(window.table).get("learning_rate")
    start = window.context_at_start("learning_rate") if made_with is None else made_with
    return start if start > DECAYED * window.latest("learning_rate") else None


SLOWER_DECAY = (
    "Let the schedule lower the rate later, and not below 1 % of {rate:.3g}. "
    "(`decay_steps` counts batches, not epochs.)"
)


def warms_up(window: Window) -> bool:
    """Whether the learning rate has grown by 5 % or more within the window."""
    rate = window.context("learning_rate")
    known = rate[np.isfinite(rate)]
    return bool(known.size > 1 and known[-1] > 1.05 * known[0])


CHANGED = "optimizer_changed"
"""Fact of a run: the optimizer's settings that differ from its defaults, with commas."""

LIMITS = ("clipnorm", "global_clipnorm", "clipvalue")
"""Settings of a Keras optimizer that limit the gradient; it accepts only one of them."""


def optimizer_code(table: VariableTable, **settings: float | None) -> str:
    """The call that makes this run's optimizer, with some settings changed (None: left out).

    All other settings are kept, so that nobody loses them by pasting the call.

    >>> optimizer_code(table, learning_rate=1e-3)
    'keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)'
    """
    run = table.run
    kept = [name for name in run.facts.get(CHANGED, "").split(",") if name]
    if CHANGED not in run.facts:  # a log from before this was recorded
        known = settings_of(table)
        kept = [k for k in ("momentum", *LIMITS, "weight_decay") if known.get(k)]
    code: dict[str, str | None] = {}
    if "learning_rate" in settings_of(table):
        code["learning_rate"] = _number(settings_of(table)["learning_rate"])
    code |= {name: _literal(run.optimizer_config.get(name, "None")) for name in kept}
    if any(settings.get(name) for name in LIMITS):  # the optimizer accepts one of them
        code |= dict.fromkeys(LIMITS)
    code |= {k: None if v is None else _number(v) for k, v in settings.items()}
    listed = ", ".join(f"{name}={value}" for name, value in code.items() if value is not None)
    module = (
        "keras.optimizers." if not run.optimizer or run.optimizer in USUAL_LEARNING_RATE else ""
    )
    return f"{module}{run.optimizer or 'Adam'}({listed})"


def _number(value: float) -> str:
    """A float as code, never an integer: Keras rejects ``learning_rate=3``."""
    text = f"{value:g}"
    return text if any(sign in text for sign in ".en") else f"{text}.0"


def _literal(text: str) -> str:
    """A setting as code, from its text."""
    try:
        float(text)
    except ValueError:
        return text if text in ("True", "False", "None") else repr(text)
    return text


def clipped(table: VariableTable, norm: float, **settings: float | None) -> str:
    """The code that clips the gradients of this run at a global norm."""
    if not table.run.optimizer:
        return f"gradients, _ = tf.clip_by_global_norm(gradients, {_number(norm)})"
    return optimizer_code(table, **settings, global_clipnorm=norm)


def large_rate_cause(window: Window, observed: str, confidence: float) -> Cause:
    """learning_rate_too_large: what was observed, and how far the rate is from the usual one."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    text = observed
    if rate < 0:
        return cause("wrong_sign", 0.95, f"{text}; the learning rate is {rate:.3g}, negative.")
    if math.isfinite(rate):
        text += f"; the learning rate is {rate:.3g}"
        if rate >= 10 * usual:
            confidence += 0.2
            text += f" ({usual:g} is usual for {optimizer_name(window.table)})"
        elif rate <= usual:
            confidence -= 0.2
    return cause("learning_rate_too_large", confidence, f"{text}.")


def unusual_rate_cause(window: Window, confidence: float, times: float) -> Cause | None:
    """learning_rate_too_large, if the rate is that many times the usual one."""
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if not rate >= times * usual:
        return None
    text = f"the learning rate is {rate:.3g}; {usual:g} is usual for {optimizer_name(window.table)}"
    return cause("learning_rate_too_large", confidence, f"{text}.")


def known_rate(window: Window) -> bool:
    """Whether the learning rate is known and not negative."""
    return 0 <= window.latest("learning_rate") < math.inf


def lower_rate(window: Window) -> float:
    """The optimizer's usual learning rate, or a tenth of this one if it is there already, or if
    the usual one is not known.
    """
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if math.isfinite(usual) and (rate < 0 or rate >= 10 * usual):
        return usual
    return float(f"{abs(rate) / 10:.2g}")


def slower(window: Window) -> str:
    """Lower the learning rate: to the optimizer's default, or by ten if it is there already."""
    rate = window.latest("learning_rate")
    if not math.isfinite(rate):
        return "Divide the step size by ten."
    code = optimizer_code(window.table, learning_rate=lower_rate(window))
    if rate < 0:
        return f"Use a positive learning rate: `{code}`."
    return f"Lower the learning rate: `{code}`."
