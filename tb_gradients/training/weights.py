"""Read the norms of the watched weights between steps.

In:  the watched variables.
Out: their norms now; whether they have stayed the same although no update was seen.
Does not know about gradients, frames or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.training.model.variables import native
from tb_gradients.training.optimizers import replicas

IDLE_STEPS = 10
"""Steps without an update after which the weights are compared, and again after as many."""


class Weights:
    """The weights of the watched variables, as they are between two steps."""

    def __init__(self) -> None:
        self._watched: Sequence[Any] = ()
        self._norms: dict[tuple[int, ...], Callable[[], Any]] = {}
        self._still: tuple[int, np.ndarray | None] | None = None

    def watch(self, variables: Sequence[Any]) -> None:
        """From now on, read these variables."""
        self._watched, self._norms = variables, {}

    def unchanged(self, step: int) -> tuple[int, np.ndarray] | None:
        """For how many steps no weight has changed, and the norms; call it if no update was seen.

        None: it is too early, or weights do change (by a function that was traced earlier).
        """
        every = range(len(self._watched))
        since, norms = self._still or (step, None)
        if self._still is None:
            self._still = step, self.norms(every)
        if norms is None or step - since < max(IDLE_STEPS, step // 50):
            return None
        if not np.array_equal(self.norms(every), norms, equal_nan=True):
            self._still = step, None
            return None
        self._still = step, norms
        return step - since, norms

    def fill_others(self, values: np.ndarray) -> None:
        """Write the norms of variables that were in no update: another optimizer may train them.

        Args:
            values: float32 [variables, statistics] of a frame, changed in place.
        """
        names = schema.statistic_names()
        others = np.isnan(values[:, names.index("none_step_share")])
        if others.any() and not others.all():
            rows = np.flatnonzero(others)
            values[rows, names.index("weight_norm")] = self.norms(rows.tolist())

    def norms(self, rows: Iterable[int]) -> np.ndarray:
        """float32 [rows] of the weights as they are now."""
        rows = tuple(rows)
        if rows not in self._norms:
            left = [replicas.local(native(self._watched[row])) for row in rows]

            def norms() -> Any:
                return tf.stack([tf.norm(tf.cast(variable, tf.float32)) for variable in left])

            # One call of the device for all of them: a frozen base has hundreds. (Concrete: for
            # the fifth monitor in a process TensorFlow would warn that it traces too often.)
            self._norms[rows] = tf.function(norms, autograph=False).get_concrete_function()
        return np.asarray(self._norms[rows]().numpy())
