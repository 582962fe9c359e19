"""The advice of a cause that is the same whichever rule names it.

In:  a cause, and the window in which a rule found it.
Out: what to change: a sentence, with code in backticks.
Does not know how a cause is found; where the advice depends on the rule, the rule gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tb_gradients.flags import Cause
from tb_gradients.judging.data_scales import SCALE_TARGETS, scale_inputs
from tb_gradients.judging.learning_rates import slower
from tb_gradients.judging.optimizer_faults import LESS_NOISE
from tb_gradients.judging.recurrences import bounded_recurrence
from tb_gradients.judging.window import Window

_ADVICE: Mapping[str, Callable[[Window], str]] = {
    "gradient_noise": lambda window: LESS_NOISE,
    "learning_rate_too_large": slower,
    "unbounded_recurrence": lambda window: bounded_recurrence(window.table),
    "unscaled_inputs": lambda window: scale_inputs(window.table),
    "unscaled_targets": lambda window: SCALE_TARGETS,
    "wrong_sign": slower,
}


def usual_advice(window: Window, reason: Cause) -> str | None:
    """What to change; None if the cause has no advice that fits every rule."""
    advice = _ADVICE.get(reason.id)
    return None if advice is None else advice(window)
