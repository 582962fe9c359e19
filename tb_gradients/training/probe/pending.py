"""One update while it is made: its gradients and variables, and what is read of the optimizer.

In:  gradients and variables, as the optimizer's ``apply`` gets them.
Out: plain references to tensors of one graph, which ``Probe.before`` keeps for ``Probe.after``.
Does not know what is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.host.sampling import (
    Sample,
)
from tb_gradients.training.probe import activations

Tensor = Any

PART = "the measurements"
"""Of a variable: what is left out where they fail."""


@dataclasses.dataclass(frozen=True)
class OptimizerView:
    """What the probe reads of an optimizer; values are read when the step runs.

    Attributes:
        updates: -> int64 [2], how many steps were not skipped so far, and how many updates were
            applied; None: every step applies.
        learning_rate: float scalar tensor as it was before the step, or None.
        loss_scale: -> float scalar that the gradients still carry, or None.
        clipping: "clipnorm", "global_clipnorm" or "clipvalue" -> limit; at most one;
            or "per_replica": what is applied does not follow from the measured norms.
    """

    updates: Any = None
    learning_rate: Any = None
    loss_scale: Any = None
    clipping: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Pending:
    """What ``before`` keeps for ``after``: plain references to tensors of one graph."""

    gradients: dict[int, Tensor]
    variables: dict[int, Any]
    none_rows: list[int]
    optimizer: OptimizerView
    samples: tuple[Sample, ...] = ()
    befores: Any = None
    scale: Tensor | None = None
    updates: Tensor | None = None
    step: Tensor = None
    squares: Tensor = None
    noted: Tensor = None
    order: tuple[int, ...] = ()
    foreseen: Tensor = None
    due: Tensor = None
    outputs: Mapping[int, activations.Output] = dataclasses.field(default_factory=dict)
    on_nonfinite: Callable[[Tensor], None] | None = None
    """Called in the branch of a frame with whether a gradient, or the loss, is not finite."""

    @property
    def rows(self) -> list[int]:
        """Rows of the table that have a gradient, in order."""
        return sorted(self.gradients)

    @property
    def sparse(self) -> list[int]:
        return [row for row in self.rows if is_sparse(self.gradients[row])]

    def only(self, rows: Sequence[int]) -> Pending:
        """The same of some of the variables."""
        return dataclasses.replace(
            self,
            gradients={row: self.gradients[row] for row in rows},
            variables={row: self.variables[row] for row in rows},
            samples=tuple(sample for sample in self.samples if sample.row in rows),
            befores=self._befores_of(rows),
        )

    def _befores_of(self, rows: Sequence[int]) -> Any:
        if self.befores is None or len(rows) == len(self.gradients):
            return self.befores
        together, others = self.befores
        if together is not None:
            small = [sample for sample in self.samples if sample.small]
            kept = np.repeat([s.row in rows for s in small], [s.size for s in small])
            # Where the weights were not read there is one NaN for all of them.
            places = tf.minimum(np.flatnonzero(kept), tf.size(together, tf.int64) - 1)
            together = tf.gather(together, places)
        return together, {row: value for row, value in others.items() if row in rows}


def is_sparse(gradient: Any) -> bool:
    return isinstance(gradient, tf.IndexedSlices)


def values_of(gradient: Any) -> Tensor:
    """The numbers of a dense or sparse gradient."""
    return gradient.values if is_sparse(gradient) else gradient


def touched(variable: Any, gradient: Any) -> Tensor:
    """The weights that the gradient can move: all of them, or the rows it lists.

    A table of millions of rows is never copied.
    """
    if is_sparse(gradient):
        return tf.gather(variable, gradient.indices)
    return variable.value()
