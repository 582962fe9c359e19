"""How the weights started: constant, random, too small or too large.

In:  variables of a table, and a window where inputs matter.
Out: causes with the observation that supports each, and fixes.
Does not know which rule asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray, Variable, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.data_scales import scales_itself
from tb_gradients.judging.window import Window
from tb_gradients.judging.words import activation, layer

CONSTANT_INITIALIZERS = frozenset({"zeros", "ones", "constant"})


def plain(initializer: str) -> str:
    """An initializer's class name without case and underscores: zeros, glorotuniform."""
    return initializer.lower().replace("_", "")


EQUAL = 1e-6
"""Spread over RMS of numbers that differ by rounding alone."""


def starts_constant(variable: Variable) -> bool:
    """Whether all elements are known to have started at one value: as measured, or by name."""
    spread = variable.facts.get("initial_spread")
    if spread is not None:  # a constant initializer may hold an array; weights may be assigned
        return float(spread) < EQUAL
    return plain(variable.initializer) in CONSTANT_INITIALIZERS or (
        not variable.initializer and variable.initial_rms == 0
    )


def starts_random(variable: Variable) -> bool:
    """Whether the elements are known to have started at different values."""
    return bool(variable.initializer) and not starts_constant(variable)


def initializer_for(variable: Variable) -> str:
    """The initializer that fits the layer's activation."""
    return "he_normal" if "relu" in activation(variable) else "glorot_uniform"


def is_vector(variable: Variable) -> bool:
    """A vector that no layer is known to hold: by hand a bias or a scale, and no weight."""
    return variable.role == "other" and len(variable.shape) == 1


PRODUCTS = ("MatMul", "BatchMatMul", "Einsum", "Conv", "DepthwiseConv")
"""How the types of operations begin that multiply a weight with a signal as a kernel does."""


def multiplies_nothing(variable: Variable) -> bool:
    """Whether a layer uses it otherwise than as a kernel: it scales, rounds or shifts something."""
    met = variable.facts.get("met_in", "")
    return variable.role == "other" and bool(met) and not met.startswith(PRODUCTS)


def initialization_cause(table: VariableTable, rows: Iterable[int]) -> Cause | None:
    """zero_initialization or constant_initialization, if a weight in ``rows`` shows it."""
    suspects = [
        table.variables[int(row)]
        for row in rows
        if table.variables[int(row)].role in ("kernel", "recurrent_kernel", "embedding", "other")
        and table.variables[int(row)].elements > 1
        and not is_vector(table.variables[int(row)])
        and starts_constant(table.variables[int(row)])
    ]
    if not suspects:
        return None
    first = suspects[0]
    text = f"initializer {first.initializer}" if first.initializer else "no initializer is known"
    if first.initial_rms == 0:
        return cause(
            "zero_initialization", 0.95, f"{first.path} starts at zero everywhere ({text})."
        )
    return cause(
        "constant_initialization",
        0.95,
        f"all elements of {first.path} start at {first.initial_rms:.3g} ({text}).",
    )


def start_at_random(variables: Iterable[Variable]) -> str:
    """What to change where weights start at one value: each of the layers with its initializer."""
    suspects = [v for v in variables if v.role != "bias" and starts_constant(v)]
    chosen = {layer(v): initializer_for(v) for v in suspects}
    listed = [
        f'{name} at random: `kernel_initializer="{how}"`' for name, how in list(chosen.items())[:3]
    ]
    return f"Start {', '.join(listed)}." if listed else "Start the weights at random."


def scale_gain(variable: Variable) -> float:
    """Initial scale relative to Glorot's and He's: 1 keeps the size of a signal.

    The standard deviation times the root of the fan-in; He's is 1.4, Glorot's of a square
    kernel and LeCun's are 1.
    """
    fan_in = variable.elements / variable.units if variable.units else variable.elements
    return float(variable.initial_rms * math.sqrt(max(fan_in, 1)))


def signal_gains(window: Window) -> FloatArray:
    """``scale_gain``, that of the first kernel times the size of inputs that are large: of inputs
    in the thousands a kernel that starts at a hundredth makes a large signal all the same."""
    gains: FloatArray = window.rows.scale_gain.copy()
    kernels = np.flatnonzero(window.rows.judged & window.rows.kernel)
    size = np.hypot(window.context("inputs_mean"), window.context("inputs_std"))
    size = size[np.isfinite(size)]
    if kernels.size and size.size and not scales_itself(window.table):
        gains[kernels[0]] *= max(float(np.median(size)), 1.0)
    return gains
