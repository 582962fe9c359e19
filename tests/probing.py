"""Run the probe on given gradients and updates: eagerly, as a graph, or compiled by XLA.

In:  arrays per variable and step.
Out: the frames the probe took, as dictionaries by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.training.model.variables import key_of
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.pending import OptimizerView
from tb_gradients.training.probe.probe import Probe

MODES = ("eager", "graph", "xla")


@dataclasses.dataclass(frozen=True)
class TakenFrame:
    """One frame: a row of statistics per variable, the context, and the histograms."""

    step: int
    rows: list[dict[str, float]]
    context: dict[str, float]
    histograms: np.ndarray


class ProbedVariables:
    """Variables under a probe, and a step that changes them by given amounts."""

    def __init__(
        self,
        weights: Sequence[Any],
        mode: str,
        *,
        described: Sequence[Variable] | None = None,
        every: int = 1,
        view: OptimizerView | None = None,
        **options: Any,
    ) -> None:
        self.variables = [tf.Variable(w, name=f"v{i}") for i, w in enumerate(weights)]
        self.table = VariableTable(
            tuple(
                described
                or (
                    Variable(
                        path=v.name,
                        shape=tuple(v.shape),
                        dtype=v.dtype.name,
                        role="kernel",
                        unit_axis=len(v.shape) - 1,
                        units=int(v.shape[-1]) if len(v.shape) else 0,
                    )
                    for v in self.variables
                )
            )
        )
        self.probe = Probe(self.table, [key_of(v) for v in self.variables], **options)
        self.probe.schedule(0, every)
        self._view = view or OptimizerView()
        function = self._step
        if mode != "eager":
            function = tf.function(function, jit_compile=mode == "xla", autograph=False)
        self._function = function
        self._drained: list[Any] = []
        self._compiled = mode == "xla"

    def _step(self, gradients: Any, updates: Any, loss: Any) -> None:
        if loss is not None:
            self.probe.batch = Batch(loss=loss)
        pending = self.probe.before(gradients, self.variables, self._view)
        for variable, update in zip(self.variables, updates, strict=True):
            if update is not None:
                variable.assign_add(update)
        self.probe.after(pending)

    def step(
        self, gradients: Sequence[Any], updates: Sequence[Any] | None = None, loss: Any = None
    ) -> None:
        """One training step; a gradient may be None or ``tf.IndexedSlices``."""

        def tensor(value: Any) -> Any:
            if value is None or isinstance(value, tf.IndexedSlices):
                return value
            return tf.convert_to_tensor(value)

        if updates is None:
            updates = [None] * len(gradients)
        self._function(
            [tensor(g) for g in gradients],
            [tensor(u) for u in updates],
            None if loss is None else tf.constant(loss, tf.float32),
        )
        if self._compiled:  # hands over one step, so it is asked after each
            self._drained += self._drain()

    def _drain(self) -> list[Any]:
        return [self.probe.fetcher.frame(taken) for taken in self.probe.fetcher.fetch()]

    def frames(self) -> list[TakenFrame]:
        """The frames taken since the last call."""
        taken = []
        drained, self._drained = self._drained + self._drain(), []
        for step, values, context, histograms in drained:
            rows = [
                dict(zip(schema.statistic_names(), map(float, row), strict=True)) for row in values
            ]
            named = dict(zip(schema.context_names(), map(float, context), strict=True))
            taken.append(TakenFrame(step, rows, named, histograms()))
        return taken
