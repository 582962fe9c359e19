"""Weights that are trainable, but were not when Keras traced the training step.

In:  a variable table.
Out: which variables these are, and what to do about them.
Does not know about frames or rules.
"""

from __future__ import annotations

import numpy as np

from tb_gradients.frames import VariableTable
from tb_gradients.judging.window import BoolArray

FROZEN_WHEN_TRACED = "frozen_when_traced"
"""Key of a variable's facts."""

REASON = (
    "`trainable` was set after the model was compiled and trained: Keras goes on with the training "
    "step that it has traced before, in which they are frozen"
)

COMPILE_AGAIN = (
    "Compile again after changing `trainable`: `model.compile(...)` with the same arguments, then "
    "`model.fit(...)`."
)


def frozen_when_traced(table: VariableTable) -> BoolArray:
    """bool [variables]."""
    return np.array([FROZEN_WHEN_TRACED in v.facts for v in table.variables], bool)
