"""The operations of the monitor inside the training step.

In:  gradients and variables of one step, as the optimizer's ``apply`` sees them.
Out: one row per step, and the measurements of steps that are frames.
Does not know about files, rules, schedules or threads.

``before`` and ``after`` bracket the update, inside whatever function the user compiles.
Every step pays for one sum of squares per variable, and leaves one row in a ring, which the host
reads now and then (``fetching``). Everything else happens when the step is *due* (the host says
which one is next) or when a gradient turns non-finite for the first time: that step is always a
full frame, so that NaNs are counted where and when they began.

A step that is a frame is measured as it runs (``in_graph``). Where XLA compiles it, it leaves
what is measured after it (``compiled``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.frames import Variable, VariableTable
from tb_gradients.host.making import FrameMaker
from tb_gradients.host.parts import Parts
from tb_gradients.host.sampling import Layout, Sample, in_order, sample_limit, sample_of
from tb_gradients.host.window import HEADER
from tb_gradients.training.model.variables import key_of, native
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.probe import activations, measuring
from tb_gradients.training.probe.batch import Batch, any_nonfinite
from tb_gradients.training.probe.compiled import CompiledSteps
from tb_gradients.training.probe.device_state import NEVER, DeviceState
from tb_gradients.training.probe.fetching import Fetcher
from tb_gradients.training.probe.graphs import branch, in_loop, in_xla, twin
from tb_gradients.training.probe.in_graph import GraphSteps
from tb_gradients.training.probe.pending import (
    PART,
    OptimizerView,
    Pending,
    is_sparse,
    touched,
    values_of,
)
from tb_gradients.training.probe.update_kinds import UpdateKind, UpdateKinds

Tensor = Any


class Probe:
    """What the steps of one variable table do for the monitor.

    Args:
        table: rows of the frames.
        keys: ``key_of`` each variable, in the order of the table.
        first_step: number of the next step.
        slots: frames that may be taken between two fetches.
        unit_window: horizon, in steps, of the dead-unit statistic.
        parts: where it is noted what fails, and is left out.
        on_wait, on_full: see ``Fetcher``.

    Attributes:
        rows_seen: rows of the variables that came with an update, so far.
        batch: what the next update's loss was computed from.
        outputs: the layers' outputs, where they are watched.
        fetcher: reads on the host what the steps have left.
    """

    def __init__(
        self,
        table: VariableTable,
        keys: Sequence[Any],
        *,
        first_step: int = 0,
        slots: int = 2,
        unit_window: int = 20,
        parts: Parts | None = None,
        on_wait: Callable[[int], None] | None = None,
        on_full: Callable[[], None] | None = None,
    ) -> None:
        self._parts = parts = Parts() if parts is None else parts
        self.table = table
        self.batch: Batch | None = None
        self.outputs: activations.Outputs | None = None
        self.rows_seen: set[int] = set()
        self._rows = {key: row for row, key in enumerate(keys)}
        self._samples = _samples(table)
        self._kinds = kinds = UpdateKinds(table)
        self._maker = FrameMaker(table, kinds.layouts, first_step, unit_window, parts)
        self._left_out = self._maker.left_out
        self._device = DeviceState(first_step, HEADER + len(table.variables), self._maker.units)
        self._compiled = CompiledSteps(
            table, self._device, kinds, self._left_out, first_step, parts
        )
        self.fetcher = Fetcher(
            self._device, kinds, self._compiled, self._maker, slots, on_wait, on_full
        )
        self._in_graph = GraphSteps(table, self._device, parts, self.fetcher.receive)

    @property
    def sees_loss(self) -> bool:
        """Whether some traced update has its loss with it."""
        return self._kinds.has_loss

    # --- from the host -----------------------------------------------------------------

    def schedule(self, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``."""
        self._device.schedule(due, interval)

    def rearm(self) -> None:
        """Let the next non-finite gradient force a frame again, after one that has done so."""
        self._device.rearm()

    def select(self, sampling: bool) -> None:
        """Let steps that XLA compiles hand over what a frame is made of from now on, or not."""
        self._compiled.select(sampling)

    # --- in the training step ---------------------------------------------------------

    def before(
        self, gradients: Sequence[Any], variables: Sequence[Any], optimizer: OptimizerView
    ) -> Pending | None:
        """Keep what the step will change. None: no variable of the table is among them."""
        pending = Pending({}, {}, [], optimizer)
        if self.outputs is not None:
            pending.outputs = self.outputs.take()
        for gradient, variable in zip(gradients, variables, strict=True):
            row = self._rows.get(key_of(variable))
            if row is None or row in self._left_out:
                continue
            if gradient is None:
                pending.none_rows.append(row)
                continue
            try:
                if not is_sparse(gradient) and not gradient.shape.is_fully_defined():
                    gradient = tf.reshape(gradient, self.table.variables[row].shape)
                read, kept = twin(gradient), replicas.local(native(variable))
            except Exception as error:
                self._parts.leave_out(PART, error, self.table.paths[row])
                self._left_out.add(row)
            else:
                pending.gradients[row], pending.variables[row] = read, kept
        if not pending.gradients and not pending.none_rows:
            return None
        self.rows_seen.update(pending.gradients, pending.none_rows)
        pending.scale = optimizer.loss_scale() if optimizer.loss_scale else None
        if pending.scale is not None:
            # Not the variable: what it holds after the step may be the next step's scale.
            pending.scale = tf.cast(tf.identity(pending.scale), tf.float32)
        pending.updates = tf.identity(optimizer.updates()) if optimizer.updates else None
        pending.step = self._device.step.value()
        pending, (pending.squares, pending.order) = self._of_sound(pending, self._square_sums)
        if not in_xla():
            self.fetcher.in_loop |= in_loop()
            pending.foreseen = pending.due = self._device.is_due(pending.step)
            if pending.rows:
                finite = tf.reduce_all(tf.math.is_finite(pending.squares))
                pending.due |= self._device.is_forced(finite)
        sparse_rows = set(pending.sparse)
        dense = [row for row in pending.rows if row in self._samples and row not in sparse_rows]
        pending.samples = in_order(self._samples[row] for row in dense)
        pending, pending.befores = self._of_sound(pending, self._befores)
        return pending

    def _of_sound(self, pending: Pending, stage: Callable[[Pending], Any]) -> tuple[Pending, Any]:
        """What a stage gives of all variables but those for which it raises."""

        def trial(action: Callable[[], Any]) -> None:
            if tf.executing_eagerly():
                with self.fetcher.nothing_received():
                    action()
            else:  # in a graph that is thrown away
                tf.function(lambda: action() and None, autograph=False).get_concrete_function()

        result, rows = self._parts.sound(
            PART, lambda rows: (stage(pending.only(rows)),), pending.rows, self.table.paths, trial
        )
        if len(rows) < len(pending.rows):
            self._left_out.update(set(pending.rows) - set(rows))
            pending = pending.only(rows)
        return pending, result[0]

    def _square_sums(self, pending: Pending) -> tuple[Tensor, tuple[int, ...]]:
        """float32 [rows with a gradient] of the unscaled gradients, and the rows."""
        values = {row: values_of(pending.gradients[row]) for row in pending.rows}
        if pending.scale is not None:
            # Before squaring: the square of a scaled gradient may leave the range of float32.
            real = {row: measuring.as_real(value) for row, value in values.items()}
            values = {row: v / tf.cast(pending.scale, v.dtype) for row, v in real.items()}
        return measuring.all_squares(values, in_xla())

    def _befores(self, pending: Pending) -> tuple[Tensor, dict[int, Tensor]]:
        """The weights before the step; in a graph only of a step that is foreseen to be due.

        (Not of one that a non-finite gradient makes a frame: nobody knows of it before all
        gradients are there, and the first updates would have to wait for the last gradient.)
        Of all small variables one vector, and the others by row: of huge ones their
        ``coarse_rows``, of sparse gradients the touched ones. A tensor of the old weights makes the
        update copy them instead of writing in place: 4 % of the step of a small dense network.
        """

        def read() -> tuple[Tensor, dict[int, Tensor]]:
            others = {
                s.row: measuring.coarse_rows(pending.variables[s.row], s)
                if s.coarse > 1
                else pending.variables[s.row].value()
                for s in pending.samples
                if not s.small
            }
            for row in pending.sparse:
                others[row] = touched(pending.variables[row], pending.gradients[row])
            return measuring.together(pending.samples, pending.variables), others

        if in_xla():  # which drops what the program does not use
            values = {s.row: pending.variables[s.row].value() for s in pending.samples}
            for row in pending.sparse:
                values[row] = touched(pending.variables[row], pending.gradients[row])
            return None, values

        def skip() -> tuple[Tensor, dict[int, Tensor]]:
            """One NaN for each: what is subtracted from it is not known either."""
            rows = [s.row for s in pending.samples if not s.small] + pending.sparse
            dtypes = {row: pending.variables[row].dtype for row in rows}
            return _unknown(measuring.dtype_of(pending.samples)), {
                row: _unknown(dtype) for row, dtype in dtypes.items()
            }

        if tf.executing_eagerly():
            return read() if bool(pending.foreseen) else skip()

        befores: tuple[Tensor, dict[int, Tensor]] = branch(pending.foreseen, read, skip)
        return befores

    def after(self, pending: Pending | None) -> None:
        """Note the step, and take a frame if it is due."""
        if pending is None:
            return
        batch = self._usable_batch()
        self._update_units(pending)
        pending, noted = self._of_sound(pending, lambda some: self._note_and_take(some, batch))
        # At the end of data of unknown length a graph fails, but runs what does not need the batch.
        with tf.control_dependencies([noted]):
            self._device.step.assign_add(1)

    def _note_and_take(self, pending: Pending, batch: Batch) -> Tensor:
        """Note the step, and take a frame if it is due; the row of the step."""
        kind = self._kinds.of(pending, batch)
        self._note(pending, kind.layout, batch)
        try:
            if tf.executing_eagerly():
                if bool(pending.due):
                    self._take(pending, kind, batch)
            elif in_xla():
                self._compiled.hand_over(pending, kind, batch)
            else:

                def take() -> Tensor:
                    self._take(pending, kind, batch)
                    return tf.constant(0)

                branch(pending.due, take, lambda: tf.constant(0))
        except Exception:
            self._kinds.drop(kind)  # the next attempt is one with fewer variables
            raise
        return pending.noted

    def _take(self, pending: Pending, kind: UpdateKind, batch: Batch) -> None:
        """Make a frame of this step."""
        self._in_graph.measure(pending, kind, batch)
        self._device.frame_taken(pending.step, pending.foreseen)
        if pending.rows:
            finite = tf.reduce_all(tf.math.is_finite(pending.squares))
            self._device.disarm_unless(finite)
            if pending.on_nonfinite is not None:
                known = True if batch.loss is None else tf.math.is_finite(_mean(batch.loss))
                pending.on_nonfinite(~(finite & known))

    def _usable_batch(self) -> Batch:
        """The batch observed in this very graph; one from another graph cannot be used."""
        batch, self.batch = self.batch, None
        if batch is None:
            return Batch()
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

        def here(tensor: Any) -> bool:
            owner = getattr(tensor, "graph", None) if graph is not None else None
            return tensor is not None and owner is graph

        return Batch(
            loss=self._parts.run("the loss", _mean, batch.loss) if here(batch.loss) else None,
            inputs=[t for t in batch.inputs if here(t)],
            targets=[t for t in batch.targets if here(t)],
            predictions=[t for t in batch.predictions if here(t)],
            data_inputs=[t for t in batch.data_inputs if here(t)],
            data_targets=[t for t in batch.data_targets if here(t)],
            added=[t for t in batch.added if here(t)],
            scaling=batch.scaling,
        )

    def _note(self, pending: Pending, layout: Layout, batch: Batch) -> None:
        """The row of this step; see ``window``."""
        applied = tf.constant(1.0)
        if pending.updates is not None:
            made, changed = tf.unstack(tf.minimum(pending.optimizer.updates() - pending.updates, 1))
            applied = tf.cast(changed + made - 1, tf.float32)
        loss = tf.constant(np.nan) if batch.loss is None else batch.loss
        ring = self._device.ring
        rest = np.zeros(ring.width - HEADER - len(layout.order), np.float32)
        # Elsewhere the step itself becomes a frame, with all that is known about its batch.
        inputs = any_nonfinite([*batch.inputs, *batch.data_inputs]) if in_xla() else -1.0
        header = tf.stack([float(layout.number), applied, loss, inputs])
        pending.noted = row = tf.concat([header, pending.squares, rest], 0)
        ring.put(pending.step, row, layout.order, in_xla())

    def _update_units(self, pending: Pending) -> None:
        """Steps since each unit last had a non-zero gradient."""
        if not self._maker.unit_sources:
            return
        parts = []
        for row, source in self._maker.unit_sources.items():
            variable = self.table.variables[row]
            largest = None
            gradient = pending.gradients.get(source)
            # Of a vector that is gathered the sparse gradient lists some of the units only.
            listed = isinstance(gradient, tf.IndexedSlices) and variable.unit_axis == 0
            if gradient is not None and not listed:
                largest = self._parts.run("the share of dead units", _per_unit, gradient, variable)
            if largest is None:  # not seen in this step: nobody knows, so it ages no unit
                largest = tf.ones([variable.units])
            parts.append(largest)
        self._device.age_units(parts[0] if len(parts) == 1 else tf.concat(parts, 0))


def _samples(table: VariableTable) -> dict[int, Sample]:
    """Row -> what is looked at of the variable; empty variables are left out."""
    limit = sample_limit(table.variables)
    return {
        row: sample_of(row, variable, limit)
        for row, variable in enumerate(table.variables)
        if variable.elements
    }


def _per_unit(gradient: Any, variable: Variable) -> Tensor:
    """float32 [units] of the largest magnitude of each unit's gradient; of a vector as it is."""
    gradient = values_of(gradient)
    if gradient.shape.rank > 1:
        axes = [i for i in range(gradient.shape.rank) if i != variable.unit_axis]
        gradient = tf.reduce_max(tf.abs(gradient), axis=axes)
    return tf.cast(measuring.as_real(gradient), tf.float32)


def _mean(loss: Tensor) -> Tensor:
    loss = loss if loss.shape.rank == 0 else tf.reduce_mean(loss)
    return loss if loss.dtype == tf.float32 else tf.cast(loss, tf.float32)


def _unknown(dtype: Any) -> Tensor:
    """One NaN, which makes NaN of whatever it is subtracted from."""
    return tf.fill([1], tf.cast(np.nan, dtype))
