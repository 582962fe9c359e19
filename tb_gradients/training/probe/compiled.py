"""Measure a step that XLA compiles, after it has run.

In:  an update inside the compiled step, which leaves what is measured (``handover``).
Out: the measurements of the last step, if it is to be a frame.
Does not know how often a frame is due.

What XLA compiles cannot call the host, and pays for a branch also where it is not taken. So what a
graph measures in the step (``in_graph``) is measured after it, by an ordinary graph.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.frames import VariableTable
from tb_gradients.host.making import Measured
from tb_gradients.host.parts import Parts
from tb_gradients.host.sampling import SAMPLE_ELEMENTS, Layout, Sample
from tb_gradients.host.window import HEADER
from tb_gradients.training.probe import measuring, sparse
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.columns import layer_columns, sparse_rows, stacked, step_columns
from tb_gradients.training.probe.device_state import DeviceState
from tb_gradients.training.probe.handover import Handover
from tb_gradients.training.probe.pending import PART, Pending, touched
from tb_gradients.training.probe.update_kinds import UpdateKind, UpdateKinds

Tensor = Any


class CompiledSteps:
    """The measurements of steps that XLA compiles.

    Args:
        table: rows of the frames.
        device: of the probe.
        kinds: of its updates.
        left_out: rows of which nothing is measured, as that has failed; may grow.
        first_step: number of the first step.
        parts: where it is noted what fails, and is left out.
    """

    def __init__(
        self,
        table: VariableTable,
        device: DeviceState,
        kinds: UpdateKinds,
        left_out: set[int],
        first_step: int,
        parts: Parts,
    ) -> None:
        self._table, self._device, self._kinds = table, device, kinds
        self._left_out, self._parts = left_out, parts
        self._sampling = True
        self._opened = first_step

    # --- in the training step ---------------------------------------------------------

    def hand_over(self, pending: Pending, kind: UpdateKind, batch: Batch) -> None:
        """Keep what a frame of this step is computed from, inside a step compiled by XLA."""
        layout = kind.layout
        if kind.kept is None:
            kind.kept = Handover(self._sampling)
        kept = kind.kept
        _, befores = pending.befores
        kept.put("gradients", measuring.together(layout.samples, pending.gradients))
        for sample in layout.others:
            kept.put_large(f"gradient_{sample.row}", pending.gradients[sample.row])
        # Not the differences: XLA would leave out the rounding of a bfloat16 before them.
        small = measuring.together(layout.samples, befores)
        taken = []
        for sample in layout.others:
            before = befores[sample.row]
            if sample.coarse > 1:  # all of it would be a copy as large as the model
                kept.put_large(f"before_{sample.row}", measuring.coarse_rows(before, sample))
            elif not sample.real:
                kept.put_large(f"before_{sample.row}", before)
            else:
                taken.append(tf.cast(measuring.take(before, sample), small.dtype))
        kept.put("befores", tf.concat([small, *taken], 0))
        tables = {row: sparse.table_sample(pending.variables[row]) for row in pending.sparse}
        afters = {r: touched(pending.variables[r], pending.gradients[r]) for r in pending.sparse}
        rows = sparse_rows(
            pending.gradients, befores, afters, tables, pending.scale, self._table, xla=True
        )
        for number, part in enumerate(rows):  # each second one is a sample of its batch
            kept.put(f"sparse_{number}", part, at_most=SAMPLE_ELEMENTS if number % 2 else None)
        # Not the predictions: mostly the sum of a product and a bias, which XLA fuses into
        # the loss. Read by us they would be a value of their own, and other bits in the loss.
        columns = step_columns(
            dataclasses.replace(batch, predictions=(), added=()),
            pending.scale,
            pending.optimizer.learning_rate,
            self._parts,
            xla=True,
        )
        layers = layer_columns(pending.outputs, self._table, self._parts)
        weights = {s.row: pending.variables[s.row].value() for s in layout.large}
        norms = measuring.update_norms(layout, befores, weights)
        parts = [stacked(columns), stacked(layers), norms]
        kept.put("few", tf.concat([tf.reshape(part, [-1]) for part in parts], 0))
        kind.columns, kind.activations = tuple(columns), tuple(layers)
        kind.variables = dict(pending.variables)

    # --- from the host -----------------------------------------------------------------

    def select(self, sampling: bool) -> None:
        """Let steps hand over what a frame is made of from now on, or not."""
        self._sampling = sampling
        if self._kinds.compiled:
            # Steps before it have handed nothing over.
            self._opened = self._device.ring.next_step()
            for kind in self._kinds:
                if kind.kept is not None:
                    kind.kept.set_open(sampling)

    def surely_handed(self) -> UpdateKind | None:
        """The kind of the only unread step, where that is to be a frame.

        None: nobody knows before the ring is read.
        """
        counted, due = self._device.ring.counted, self._device.next_due
        open_and_due = self._sampling and counted >= max(self._opened, due)
        if not open_and_due or len(self._kinds) != 1:
            return None
        (kind,) = self._kinds
        return kind if kind.kept is not None else None

    def handed(self) -> UpdateKind | None:
        """The kind of the last step, if it is to be a frame; None: it is not."""
        unread = self._device.ring.unread
        if not self._sampling or not unread or not self._kinds.compiled:
            return None
        first, rows = unread[-1]
        last = first + len(rows) - 1
        kind = {kind.layout.number: kind for kind in self._kinds}[int(rows[-1, 0])]
        if kind.kept is None or last < self._opened:
            return None
        return kind if self._device.alarmed or last >= self._device.next_due else None

    def measured(self, kind: UpdateKind) -> Measured:
        """What the last step has handed over, measured now."""
        if kind.measure is None:
            kind.measure = self._measuring(kind)
        arrays = [part.numpy() for part in kind.measure()]
        step, noted, unit_age, pack, numbers, context, layers, *others = arrays
        device = self._device
        device.next_due = (int(step) // device.next_interval + 1) * device.next_interval
        self._opened = int(step) + 1
        return Measured(kind, int(step), noted, pack, numbers, unit_age, context, layers, others)

    def _measuring(self, kind: UpdateKind) -> Any:
        """The function that measures what was handed over, without variables for which it fails."""
        layout = kind.layout

        def of(rows: Sequence[int]) -> Any:
            measure = functools.partial(self._measure, kind, layout, layout.only(rows))
            # Concrete: to be looked up among others costs a function half of its call.
            return tf.function(measure, autograph=False).get_concrete_function()

        rows = layout.rows.tolist()
        function, sound = self._parts.sound(PART, of, rows, self._table.paths)
        if len(sound) < len(rows):
            self._left_out.update(set(rows) - set(sound))
            kind.layout = layout.only(sound)
        return function

    def _measure(self, kind: UpdateKind, handed: Layout, layout: Layout) -> list[Tensor]:
        """Of the step that was handed over: its number, row, and the ages of units, then what
        ``GraphSteps`` measures.

        Args:
            handed: of all that was handed over.
            layout: of what is to be measured of it.
        """
        kept = kind.kept
        assert kept is not None
        step = self._device.step.value() - 1
        noted = self._device.ring.row(step)
        squares = noted[HEADER : HEADER + len(layout.order)]
        few = kept.get("few")
        assert few is not None
        count, layers = len(kind.columns), len(kind.activations)
        width = layers * len(self._table.variables)
        columns, outputs = few[:count], tf.reshape(few[count : count + width], [layers, -1])
        scale = columns[kind.columns.index("loss_scale")] if layout.scaled else None
        sparse_parts = [kept.get(f"sparse_{i}") for i in range(2 * len(layout.sparse))]
        befores = {}
        for sample in layout.others:
            before = kept.get(f"before_{sample.row}")
            if before is not None:
                shape = [-1, sample.units] if sample.coarse > 1 else sample.shape
                befores[sample.row] = tf.reshape(before, shape)
        measured_rows = {sample.row for sample in layout.large}
        norms = tf.boolean_mask(
            few[count + width :], np.array([s.row in measured_rows for s in handed.large], bool)
        )
        # Behind the small ones are the samples of those that were not handed over whole.
        taken = [s for s in handed.others if s.real and s.coarse == 1]
        measured = measuring.Step(
            _chosen(kept.get("gradients"), handed.small, layout),
            _chosen(kept.get("befores"), [*handed.small, *taken], layout),
            measuring.together(layout.samples, kind.variables),
            {s.row: tf.reshape(kept.get(f"gradient_{s.row}"), s.shape) for s in layout.others},
            befores,
            {s.row: kind.variables[s.row].value() for s in layout.others},
            update_norms=norms,
        )
        return [
            step,
            noted,
            self._device.unit_age.value(),
            *measuring.reduced(layout, measured, squares, scale),
            columns,
            outputs,
            *sparse_parts,
        ]


def _chosen(vector: Tensor, samples: Sequence[Sample], layout: Layout) -> Tensor:
    """Of samples that lie one after the other in a vector those of a layout."""
    kept = [sample.row in layout.rows for sample in samples]
    if all(kept):
        return vector
    parts = tf.split(vector, [sample.size for sample in samples])
    return tf.concat([vector[:0], *itertools.compress(parts, kept)], 0)
