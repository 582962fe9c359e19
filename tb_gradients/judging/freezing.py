"""Freezing that was not meant: of weights made trainable too late, of layers never trained.

In:  a variable table.
Out: which variables or layers these are, and what to do about them.
Does not know about frames or rules.
"""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import VariableTable
from tb_gradients.judging.causes import cause
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


NEVER_TRAINED = "frozen_never_trained"
"""Fact of a run: names of frozen layers that hold the values they were initialized with."""


def untrained_base_cause(table: VariableTable, confidence: float) -> Cause | None:
    """untrained_base, if the frozen layers of the model were never trained."""
    listed = table.run.facts.get(NEVER_TRAINED, "").split(",")
    if listed == [""]:
        return None
    more = f" and {len(listed) - 1} more are" if len(listed) > 1 else " is"
    text = (
        f"{listed[0]}{more} frozen and still at the initial values: what the trained layers get "
        "from there is random"
    )
    return cause("untrained_base", confidence, f"{text}.")


def train_the_base(table: VariableTable) -> str:
    """What to change about it."""
    first = table.run.facts[NEVER_TRAINED].partition(",")[0]
    return (
        f"Load trained weights into {first}, or train it: "
        f'`model.get_layer("{first}").trainable = True`, then compile again.'
    )
