"""Measure a step in the graph that makes it, or eagerly.

In:  an update whose step is a frame.
Out: its measurements, given to the host as the step runs.
Does not know which step is a frame, or what XLA compiles (``compiled``).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tb_gradients.frames import VariableTable
from tb_gradients.host.making import Measured
from tb_gradients.host.parts import Parts
from tb_gradients.training.probe import activations, measuring, sparse
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.columns import layer_columns, sparse_rows, stacked, step_columns
from tb_gradients.training.probe.device_state import DeviceState
from tb_gradients.training.probe.pending import Pending, touched
from tb_gradients.training.probe.update_kinds import UpdateKind

Tensor = Any


class GraphSteps:
    """The measurements of steps that call the host.

    Args:
        table: rows of the frames.
        device: of the probe.
        parts: where it is noted what fails, and is left out.
        receive: called on the host with the measurements of a step, in the middle of it.
    """

    def __init__(
        self,
        table: VariableTable,
        device: DeviceState,
        parts: Parts,
        receive: Callable[[Measured], None],
    ) -> None:
        self._table, self._device, self._parts = table, device, parts
        self._receive = receive

    def measure(self, pending: Pending, kind: UpdateKind, batch: Batch) -> None:
        """Measure this step, and give it to the host as it runs.

        The operations are a function of their own: TensorFlow traces a training function
        twice on its first call, this one only once.
        """
        outputs = {row: dataclasses.replace(o, tensor=None) for row, o in pending.outputs.items()}
        if kind.measure is None:
            measure = functools.partial(self._measure, kind, outputs)
            kind.measure = tf.function(measure, reduce_retracing=True, autograph=False)
        tensors = kind.measure(
            pending.gradients,
            pending.befores,
            measuring.together(pending.samples, pending.variables),
            {
                row: touched(pending.variables[row], pending.gradients[row])
                for row in [*(s.row for s in kind.layout.others), *pending.sparse]
            },
            {r: sparse.table_sample(pending.variables[r]) for r in pending.sparse},
            pending.squares,
            pending.scale,
            pending.optimizer.learning_rate,
            {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)},
            [output.tensor for output in pending.outputs.values()],
        )
        hand_over = functools.partial(self._hand_over, kind)
        tensors = [pending.step, pending.noted, self._device.unit_age.value(), *tensors]
        if tf.executing_eagerly():
            hand_over(*(tensor.numpy() for tensor in tensors))
        else:
            tf.numpy_function(hand_over, tensors, [])

    def _hand_over(
        self, kind: UpdateKind, step: Any, noted: Any, unit_age: Any, *arrays: Any
    ) -> None:
        pack, numbers, context, layers, *others = arrays
        self._receive(
            Measured(kind, int(step), noted, pack, numbers, unit_age, context, layers, others)
        )

    def _measure(
        self,
        kind: UpdateKind,
        outputs: Mapping[int, activations.Output],
        gradients: dict[int, Any],
        befores: tuple[Tensor, dict[int, Tensor]],
        small: Tensor,
        afters: dict[int, Tensor],
        tables: dict[int, Tensor],
        squares: Tensor,
        scale: Tensor | None,
        learning_rate: Tensor | None,
        batch: dict[str, Any],
        given: list[Tensor],
    ) -> list[Tensor]:
        """Pack, numbers, context columns, layers' outputs, rows and samples of sparse gradients."""
        small_befores, others = befores
        step = measuring.Step(
            measuring.together(kind.layout.samples, gradients),
            small_befores,
            small,
            gradients,
            others,
            afters,
        )
        columns = step_columns(Batch(**batch), scale, learning_rate, self._parts)
        layers = layer_columns(
            {
                row: dataclasses.replace(output, tensor=tensor)
                for (row, output), tensor in zip(outputs.items(), given, strict=True)
            },
            self._table,
            self._parts,
        )
        kind.columns, kind.activations = tuple(columns), tuple(layers)
        return [
            *measuring.reduced(kind.layout, step, squares, scale),
            stacked(columns),
            stacked(layers),
            *sparse_rows(gradients, others, afters, tables, scale, self._table, xla=False),
        ]
