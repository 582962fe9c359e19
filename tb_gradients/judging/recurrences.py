"""Recurrences that grow with every time step: an activation without a bound inside of them.

In:  a window, or the variables of a table.
Out: a cause with the observation that speaks for it, and its fix.
Does not know which rule asks.
"""

from __future__ import annotations

import math

from tb_gradients.flags import Cause
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.learning_rates import usual_learning_rate
from tb_gradients.judging.window import Window
from tb_gradients.judging.words import activation, layer

RADIUS = "spectral_radius"
"""Fact of a recurrent kernel: at the start, that of the matrix from which the new state is
computed."""

STEPS = "time_steps"
"""Fact of the weights of a recurrent layer: how many time steps it has, where that is fixed."""

WITHOUT_BOUND = frozenset(
    {"linear", "relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish"}
    | {"softplus", "exponential", "squareplus", "sparse_plus", "log_softmax"}
)
"""Activations whose output may grow with their input."""

GROWS = 1.1
"""A larger radius enlarges the state 17-fold in 30 time steps."""

LARGEST = 38
"""Decades: float32 ends there."""


def unbounded(variable: Variable) -> bool:
    """Whether it multiplies the state of a recurrence whose activation has no bound."""
    return variable.role == "recurrent_kernel" and activation(variable) in WITHOUT_BOUND


def unbounded_recurrence_cause(window: Window) -> Cause | None:
    """unbounded_recurrence, if a layer of the model is one.

    The state of such a layer grows (or shrinks) exponentially with the time steps as soon as its
    matrix enlarges it. A bounded activation, as `tanh` is, never lets it.
    """
    found = [v for v in window.table.variables if v.trainable and unbounded(v)]
    if not found:
        return None
    first = max(found, key=_radius)
    radius, steps = _radius(first), first.facts.get(STEPS)
    text = f"{layer_of(first)} has activation {first.activation}, which has no bound: its state is "
    text += "multiplied by the same matrix at every time step"
    confidence = 0.8
    if radius > GROWS:
        confidence = 0.92
        text += f", which starts with a spectral radius of {radius:.3g}"
        decades = int(steps or 0) * math.log10(radius)
        if 0 < decades < LARGEST:
            text += f" ({10**decades:.2g}-fold over {steps} time steps)"
    rate, usual = window.latest("learning_rate"), usual_learning_rate(window.table)
    if rate >= 10 * usual and not radius > GROWS:  # such a step enlarges any matrix
        confidence = 0.5
    return cause("unbounded_recurrence", confidence, f"{text}.")


def bounded_recurrence(table: VariableTable) -> str:
    """What to change where a recurrence grows."""
    layers = dict.fromkeys(layer_of(v) for v in table.variables if unbounded(v))
    code = '`activation="tanh", recurrent_initializer="orthogonal"`'
    return f"In {' and '.join(layers) or 'the recurrent layer'} use {code}."


def layer_of(variable: Variable) -> str:
    """The recurrent layer, without its cell."""
    name = layer(variable)
    return name.rpartition("/")[0] if name.rpartition("/")[2].endswith("_cell") else name


def _radius(variable: Variable) -> float:
    try:
        return float(variable.facts[RADIUS])
    except (KeyError, ValueError):
        return 0.0
