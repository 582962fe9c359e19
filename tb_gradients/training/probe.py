"""The operations of the monitor inside the training step, and what the host reads of them.

In:  gradients and variables of one step, as the optimizer's ``apply`` sees them.
Out: frames, which the host makes of what it fetches.
Does not know about files, rules, schedules or threads.

``before`` and ``after`` bracket the update, inside whatever function the user compiles.
Every step pays for one sum of squares per variable, and leaves one row in a ring, which the host
reads now and then. Everything else happens when the step is *due* (the host says which one is
next) or when a gradient turns non-finite for the first time: that step is always a full frame, so
that NaNs are counted where and when they began.

A step that is due leaves its measurements in one of two ways. A graph gives them to the host as it
runs, from a branch that other steps do not take. What XLA compiles cannot call the host, and pays
for a branch also where it is not taken: it hands its gradients over (``handover``), and what a
graph measures in the step is measured after it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.frames import Variable, VariableTable
from tb_gradients.host.making import Contents, Drained, FrameMaker, Measured, Taken
from tb_gradients.host.parts import Parts
from tb_gradients.host.sampling import (
    SAMPLE_ELEMENTS,
    Layout,
    Sample,
    in_order,
    sample_limit,
    sample_of,
)
from tb_gradients.host.window import HEADER
from tb_gradients.lane import Lane
from tb_gradients.training import activations, measuring, replicas, sparse
from tb_gradients.training.batch import Batch
from tb_gradients.training.batch import columns as batch_columns
from tb_gradients.training.graphs import branch, in_xla, twin
from tb_gradients.training.handover import Handover
from tb_gradients.training.pending import OptimizerView, Pending, is_sparse, touched, values_of
from tb_gradients.training.ring import Ring
from tb_gradients.training.variables import key_of, native

Tensor = Any

NEVER = 2**62
"""A ``due`` step that does not come."""

PART = "the measurements"
"""Of a variable: what is left out where they fail."""


@dataclasses.dataclass
class _Traced(Contents):
    """What is kept of one traced update.

    Attributes:
        kept: where a step compiled by XLA leaves what is measured after it.
        variables: by row, those with a gradient.
        measure: the function that measures: in the step, or after it.
    """

    kept: Handover | None = None
    variables: dict[int, Any] = dataclasses.field(default_factory=dict)
    measure: Any = None


class Probe:
    """Device state for one variable table, and the operations that fill it.

    Args:
        table: rows of the frames.
        keys: ``key_of`` each variable, in the order of the table.
        first_step: number of the next step.
        slots: frames that may be taken between two fetches.
        unit_window: horizon, in steps, of the dead-unit statistic.
        parts: where it is noted what fails, and is left out.

    Attributes:
        rows_seen: rows of the variables that came with an update, so far.
        batch: what the next update's loss was computed from.
        outputs: the layers' outputs, where they are watched.
        on_wait: called on the host in the middle of a training step that is a frame (not under
            XLA): for how many steps a frame has been waiting.
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
    ) -> None:
        self._parts = Parts() if parts is None else parts
        self.table = table
        self.slots = slots
        self._first_step = first_step
        self.unit_window = unit_window
        self.batch: Batch | None = None
        self.outputs: activations.Outputs | None = None
        self.rows_seen: set[int] = set()
        self.on_wait: Callable[[int], None] | None = None
        self._rows = {key: row for row, key in enumerate(keys)}
        count = len(table.variables)
        self._layouts: dict[int, Layout] = {}
        self._maker = FrameMaker(table, self._layouts, first_step, unit_window, self._parts)
        self._samples = _samples(table)
        with tf.init_scope():

            def state(value: Any, dtype: Any, name: str) -> Any:
                return replicas.make_variable(tf.constant(value, dtype), name)

            self.step = state(first_step, tf.int64, "step")
            self.due = state(NEVER, tf.int64, "due")
            self.interval = state(NEVER, tf.int64, "interval")
            self._armed = state(True, tf.bool, "armed")
            # Few variables and few operations: at every step each one counts.
            self._ring = Ring(self.step, first_step, HEADER + count)
            # float32 because XLA has no fast path for int64 on some devices; steps are counted
            # from the start of this probe, exactly up to 2**24, and then stay "long ago".
            self._unit_age = state(np.zeros(self._maker.units), tf.float32, "unit_age")
        self._contents: dict[Any, _Traced] = {}
        self._fetched = 0  # frames; not all of them need be made yet
        self._received: list[Measured] = []
        self._next_due = self._next_interval = NEVER
        self._sampling = self._still_armed = True
        self._opened = first_step

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
            if row is None or row in self._maker.left_out:
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
                self._maker.left_out.add(row)
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
        pending.step = self.step.value()
        pending, (pending.squares, pending.order) = self._of_sound(pending, self._square_sums)
        if not in_xla():
            pending.foreseen = pending.due = pending.step >= self.due.value()
            if pending.rows:
                finite = tf.reduce_all(tf.math.is_finite(pending.squares))
                pending.due |= self._armed.value() & ~finite
        sparse_rows = set(pending.sparse)
        dense = [row for row in pending.rows if row in self._samples and row not in sparse_rows]
        pending.samples = in_order(self._samples[row] for row in dense)
        pending, pending.befores = self._of_sound(pending, self._befores)
        return pending

    def _of_sound(self, pending: Pending, stage: Callable[[Pending], Any]) -> tuple[Pending, Any]:
        """What a stage gives of all variables but those for which it raises."""

        def trial(action: Callable[[], Any]) -> None:
            if tf.executing_eagerly():
                received, self._received = self._received, []
                try:
                    action()
                finally:
                    self._received = received
            else:  # in a graph that is thrown away
                tf.function(lambda: action() and None, autograph=False).get_concrete_function()

        result, rows = self._parts.sound(
            PART, lambda rows: (stage(pending.only(rows)),), pending.rows, self.table.paths, trial
        )
        if len(rows) < len(pending.rows):
            self._maker.left_out.update(set(pending.rows) - set(rows))
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
            return self._together(pending.samples, pending.variables), others

        if in_xla():  # which drops what the program does not use
            values = {s.row: pending.variables[s.row].value() for s in pending.samples}
            for row in pending.sparse:
                values[row] = touched(pending.variables[row], pending.gradients[row])
            return None, values

        def skip() -> tuple[Tensor, dict[int, Tensor]]:
            """One NaN for each: what is subtracted from it is not known either."""
            rows = [s.row for s in pending.samples if not s.small] + pending.sparse
            dtypes = {row: pending.variables[row].dtype for row in rows}
            return _unknown(_dtype(pending.samples)), {
                row: _unknown(dtype) for row, dtype in dtypes.items()
            }

        if tf.executing_eagerly():
            return read() if bool(pending.foreseen) else skip()

        befores: tuple[Tensor, dict[int, Tensor]] = branch(pending.foreseen, read, skip)
        return befores

    def _together(self, samples: Sequence[Sample], tensors: Mapping[int, Any]) -> Tensor:
        """One vector of all small ones of the samples, of tensors or variables by row."""
        small = [s for s in samples if s.small]
        values = [
            v.value() if isinstance(v, tf.Variable) else v for v in (tensors[s.row] for s in small)
        ]
        return measuring.together(small, values, _dtype(samples))

    def after(self, pending: Pending | None) -> None:
        """Note the step, and take a frame if it is due."""
        if pending is None:
            return
        batch = self._usable_batch()
        self._update_units(pending)
        pending, noted = self._of_sound(pending, lambda some: self._note_and_take(some, batch))
        # At the end of data of unknown length a graph fails, but runs what does not need the batch.
        with tf.control_dependencies([noted]):
            self.step.assign_add(1)

    def _note_and_take(self, pending: Pending, batch: Batch) -> Tensor:
        """Note the step, and take a frame if it is due; the row of the step."""
        contents = self._contents_of(pending, batch)
        self._note(pending, contents.layout, batch)
        try:
            if tf.executing_eagerly():
                if bool(pending.due):
                    self._take(pending, contents, batch)
            elif in_xla():
                self._hand_over(pending, contents, batch)
            else:

                def take() -> Tensor:
                    self._take(pending, contents, batch)
                    return tf.constant(0)

                branch(pending.due, take, lambda: tf.constant(0))
        except Exception:
            # Nothing of it will come; the next attempt is one with fewer variables.
            self._contents = {k: c for k, c in self._contents.items() if c is not contents}
            raise
        return pending.noted

    def _contents_of(self, pending: Pending, batch: Batch) -> _Traced:
        """The contents of this trace's measurements; the same for the same variables."""
        outputs = {row: dataclasses.replace(o, tensor=None) for row, o in pending.outputs.items()}
        signature = (
            pending.order,
            tuple(sample.row for sample in pending.samples),
            tuple(pending.sparse),
            tuple(pending.none_rows),
            tuple(sorted(pending.optimizer.clipping.items())),
            tuple(outputs.items()),
            batch.loss is None,
            *(tuple(str(t.dtype) for t in side) for side in batch.sides),
            pending.optimizer.learning_rate is None,
            pending.scale is None,
            in_xla(),
        )
        if signature not in self._contents:
            variables = self.table.variables
            layout = Layout(
                number=len(self._layouts),
                samples=pending.samples,
                sparse=tuple(pending.sparse),
                order=pending.order,
                none_rows=tuple(pending.none_rows),
                clipping=dict(pending.optimizer.clipping),
                has_loss=batch.loss is not None,
                scaled=pending.scale is not None,
                compute_dtypes=tuple(compute_dtype_of(variables[s.row]) for s in pending.samples),
            )
            self._layouts[layout.number] = layout
            self._contents[signature] = _Traced(layout)
        return self._contents[signature]

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
        )

    def _note(self, pending: Pending, layout: Layout, batch: Batch) -> None:
        """The row of this step; see ``window``."""
        applied = tf.constant(1.0)
        if pending.updates is not None:
            made, changed = tf.unstack(tf.minimum(pending.optimizer.updates() - pending.updates, 1))
            applied = tf.cast(changed + made - 1, tf.float32)
        loss = tf.constant(np.nan) if batch.loss is None else batch.loss
        rest = np.zeros(self._ring.width - HEADER - len(layout.order), np.float32)
        header = tf.stack([float(layout.number), applied, loss])
        pending.noted = row = tf.concat([header, pending.squares, rest], 0)
        self._ring.put(pending.step, row, in_xla())

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
            if largest is None:  # not seen in this step: nobody can tell, so it ages no unit
                largest = tf.ones([variable.units])
            parts.append(largest)
        units = parts[0] if len(parts) == 1 else tf.concat(parts, 0)
        # Not a selection: between a scalar and a vector that takes four times as long as all this.
        idle = tf.cast(tf.equal(units, 0.0), tf.float32)
        self._unit_age.assign((self._unit_age.value() + 1.0) * idle)

    # --- a sampled step ----------------------------------------------------------------

    def _take(self, pending: Pending, contents: _Traced, batch: Batch) -> None:
        """Measure this step, and give it to the host as it runs.

        The operations are a function of their own: TensorFlow traces a training function
        twice on its first call, this one only once.
        """
        outputs = {row: dataclasses.replace(o, tensor=None) for row, o in pending.outputs.items()}
        if contents.measure is None:
            measure = functools.partial(self._measure, contents, outputs)
            contents.measure = tf.function(measure, reduce_retracing=True, autograph=False)
        tensors = contents.measure(
            pending.gradients,
            pending.befores,
            self._together(pending.samples, pending.variables),
            {
                row: touched(pending.variables[row], pending.gradients[row])
                for row in [*(s.row for s in contents.layout.others), *pending.sparse]
            },
            {r: sparse.table_sample(pending.variables[r]) for r in pending.sparse},
            pending.squares,
            pending.scale,
            pending.optimizer.learning_rate,
            {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)},
            [output.tensor for output in pending.outputs.values()],
        )
        receive = functools.partial(self._receive, contents)
        tensors = [pending.step, pending.noted, self._unit_age.value(), *tensors]
        if tf.executing_eagerly():
            receive(*(tensor.numpy() for tensor in tensors))
        else:
            tf.numpy_function(receive, tensors, [])
        interval = self.interval.value()
        following = (pending.step // interval + 1) * interval
        # One that a non-finite gradient has forced does not stand for the one that is foreseen.
        self.due.assign(tf.where(pending.foreseen, following, self.due.value()))
        if pending.rows:
            finite = tf.reduce_all(tf.math.is_finite(pending.squares))
            self._armed.assign(self._armed.value() & finite)
            if pending.sick is not None:
                known = True if batch.loss is None else tf.math.is_finite(_mean(batch.loss))
                pending.sick(~(finite & known))

    def _receive(
        self, contents: _Traced, step: Any, noted: Any, unit_age: Any, *arrays: Any
    ) -> None:
        """The measurements of a step, on the host; where too many wait, over the last of them.

        (Not over those of a gradient that is not finite: they say where that began.)
        """
        pack, numbers, context, layers, *others = arrays
        measured = Measured(
            contents, int(step), noted, pack, numbers, unit_age, context, layers, others
        )
        if len(self._received) < self.slots:
            self._received.append(measured)
        elif not _broken(self._received[-1]):
            self._received[-1] = measured
        if self.on_wait is not None:
            self.on_wait(measured.step - self._received[0].step)

    def _measure(
        self,
        contents: _Traced,
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
            self._together(contents.layout.samples, gradients),
            small_befores,
            small,
            gradients,
            others,
            afters,
        )
        columns = _step_columns(Batch(**batch), scale, learning_rate, self._parts)
        layers = self._layer_columns(
            {
                row: dataclasses.replace(output, tensor=tensor)
                for (row, output), tensor in zip(outputs.items(), given, strict=True)
            }
        )
        contents.columns, contents.activations = tuple(columns), tuple(layers)
        return [
            *measuring.reduced(contents.layout, step, squares, scale),
            _stacked(columns),
            _stacked(layers),
            *self._sparse_parts(gradients, others, afters, tables, scale, xla=False),
        ]

    def _layer_columns(self, outputs: Mapping[int, activations.Output]) -> dict[str, Tensor]:
        columns, _ = self._parts.sound(
            "the outputs",
            lambda rows: activations.columns(
                {row: outputs[row] for row in rows}, len(self.table.variables)
            ),
            list(outputs),
            self.table.paths,
        )
        return columns

    def _sparse_parts(
        self,
        gradients: Mapping[int, Any],
        befores: Mapping[int, Tensor],
        afters: Mapping[int, Tensor],
        tables: Mapping[int, Tensor],
        scale: Tensor | None,
        xla: bool,
    ) -> list[Tensor]:
        """For each sparse gradient its finished row, and a sample of it for the histogram."""
        parts = []
        for row, table in tables.items():
            variable, gradient = self.table.variables[row], gradients[row]
            after = afters[row]
            parts.append(
                sparse.sparse_row(
                    gradient,
                    tf.broadcast_to(befores[row], tf.shape(after)),
                    after,
                    table,
                    variable.shape[0],
                    scale,
                    compute_dtype_of(variable),
                    xla,
                )
            )
            parts.append(sparse.sample(gradient.values, scale))
        return parts

    def _hand_over(self, pending: Pending, contents: _Traced, batch: Batch) -> None:
        """Keep what a frame of this step is computed from, inside a step compiled by XLA."""
        layout = contents.layout
        if contents.kept is None:
            contents.kept = Handover(self._sampling)
        kept = contents.kept
        _, befores = pending.befores
        kept.put("gradients", self._together(layout.samples, pending.gradients))
        for sample in layout.others:
            kept.put_large(f"gradient_{sample.row}", pending.gradients[sample.row])
        # Not the differences: XLA would leave out the rounding of a bfloat16 before them.
        small = self._together(layout.samples, befores)
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
        parts = self._sparse_parts(
            pending.gradients, befores, afters, tables, pending.scale, xla=True
        )
        for number, part in enumerate(parts):  # each second one is a sample of its batch
            kept.put(f"sparse_{number}", part, at_most=SAMPLE_ELEMENTS if number % 2 else None)
        # Not the predictions: mostly the sum of a product and a bias, which XLA fuses into
        # the loss. Read by us they would be a value of their own, and other bits in the loss.
        columns = _step_columns(
            dataclasses.replace(batch, predictions=()),
            pending.scale,
            pending.optimizer.learning_rate,
            self._parts,
            xla=True,
        )
        layers = self._layer_columns(pending.outputs)
        weights = {s.row: pending.variables[s.row].value() for s in layout.large}
        norms = measuring.update_norms(layout, befores, weights)
        parts = [_stacked(columns), _stacked(layers), norms]
        kept.put("few", tf.concat([tf.reshape(part, [-1]) for part in parts], 0))
        contents.columns, contents.activations = tuple(columns), tuple(layers)
        contents.variables = dict(pending.variables)

    def _measuring(self, contents: _Traced) -> Any:
        """The function that measures what was handed over, without variables for which it fails."""
        layout = contents.layout

        def of(rows: Sequence[int]) -> Any:
            measure = functools.partial(self._measure_after, contents, layout, layout.only(rows))
            # Concrete: to be looked up among others costs a function half of its call.
            return tf.function(measure, autograph=False).get_concrete_function()

        rows = layout.rows.tolist()
        function, sound = self._parts.sound(PART, of, rows, self.table.paths)
        if len(sound) < len(rows):
            self._maker.left_out.update(set(rows) - set(sound))
            contents.layout = layout.only(sound)
        return function

    def _measure_after(self, contents: _Traced, handed: Layout, layout: Layout) -> list[Tensor]:
        """Of the step that was handed over, outside of it: its number, row, and the ages of units,
        then what ``_measure`` gives.

        Args:
            handed: of all that was handed over.
            layout: of what is to be measured of it.
        """
        kept = contents.kept
        assert kept is not None
        step = self.step.value() - 1
        noted = self._ring.row(step)
        squares = noted[HEADER : HEADER + len(layout.order)]
        few = kept.get("few")
        assert few is not None
        count, layers = len(contents.columns), len(contents.activations)
        width = layers * len(self.table.variables)
        columns, layer_columns = few[:count], tf.reshape(few[count : count + width], [layers, -1])
        scale = columns[contents.columns.index("loss_scale")] if layout.scaled else None
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
            self._together(layout.samples, contents.variables),
            {s.row: tf.reshape(kept.get(f"gradient_{s.row}"), s.shape) for s in layout.others},
            befores,
            {s.row: contents.variables[s.row].value() for s in layout.others},
            update_norms=norms,
        )
        return [
            step,
            noted,
            self._unit_age.value(),
            *measuring.reduced(layout, measured, squares, scale),
            columns,
            layer_columns,
            *sparse_parts,
        ]

    # --- from the host -----------------------------------------------------------------

    @property
    def counted(self) -> int:
        """Number of the next step, by the device's own count when it was last read."""
        return self._ring.counted

    @property
    def sees_loss(self) -> bool:
        """Whether some traced update has its loss with it."""
        return any(layout.has_loss for layout in self._layouts.values())

    def schedule(self, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``."""
        self.due.assign(due)
        if interval != self._next_interval:
            self.interval.assign(interval)
        self._next_due, self._next_interval = due, interval

    def select(self, sampling: bool) -> None:
        """Let steps that XLA compiles hand over what a frame is made of from now on, or not."""
        self._sampling = sampling
        if self._compiled():
            self._opened = self.next_step()  # steps before it have handed nothing over
            for contents in self._contents.values():
                if contents.kept is not None:
                    contents.kept.set_open(sampling)

    def rearm(self) -> None:
        """Let the next non-finite gradient force a frame again, after one that has done so."""
        self._ring.alarm = False
        if not self._still_armed:
            self._armed.assign(True)
            self._still_armed = True

    def follow(self, steps: int) -> None:
        """So many steps were made: read the device's ring before it is overwritten."""
        if self._ring.follow(steps):
            self._read_ring()

    def status(self) -> tuple[bool, bool]:
        """Whether frames wait, and whether one is wanted of the next step.

        A compiled step that hands nothing over cannot force the frame of a non-finite gradient.
        """
        if not self._compiled():
            return bool(self._received), False
        self._read_ring()
        waits = bool(self._received) or self._handed() is not None
        return waits, self._forced() and not waits

    def next_step(self) -> int:
        """Number of the next step, by the device's own count."""
        return self._ring.next_step()

    def fetch(self) -> list[Taken]:
        """What the device has left for the waiting frames, oldest first.

        ``frame`` makes frames of them: each once, in order, on any thread.
        """
        received, self._received = self._received, []
        ring = self._ring
        if ring.waited == 1 and ring.one_by_one:
            contents = self._surely_handed()
            measured = None if contents is None else self._measured_after(contents)
            if measured is not None and measured.step >= ring.counted:  # a step was made
                received.append(measured)
        if ring.waited and ring.one_by_one:
            steps = list(range(ring.counted, ring.counted + ring.waited))
            if [measured.step for measured in received] == steps:
                # They bring the only rows that there are to read.
                ring.receive(np.stack([m.noted for m in received]))
        if ring.waited or not received or received[-1].step >= ring.counted:
            self._read_ring()
        handed = self._handed()
        if handed is not None:
            received.append(self._measured_after(handed))
        self._fetched += len(received)
        return [self._taken(measured) for measured in received]

    def frame(self, taken: Taken) -> Drained:
        """The frame of what was fetched."""
        return self._maker.frame(taken)

    def rest(self) -> Drained | None:
        """A frame of the steps since the last one, once all frames are made; None: there are none.

        It holds what their rows tell: of the last ``RING_STEPS`` of them.
        """
        self._read_ring()
        rows = self._ring.take_until(self._ring.counted)
        return self._maker.rest(self._ring.counted - 1, rows) if rows else None

    def lane(self, step: int | None) -> Lane:
        """See ``FrameMaker.lane``; without a step also what is on the device still."""
        if step is None:
            self._read_ring()
            for rows in self._ring.take_until(self._ring.counted):
                self._maker.add(*rows)
        return self._maker.lane(step)

    def _taken(self, measured: Measured) -> Taken:
        broken = _broken(measured)
        self._still_armed &= not broken
        self._ring.alarm = False
        return Taken(measured, self._ring.take_until(measured.step + 1), broken)

    def _compiled(self) -> bool:
        return any(contents.kept is not None for contents in self._contents.values())

    def _read_ring(self) -> None:
        """Take over the rows of the steps since the last time."""
        ring = self._ring
        ring.read()
        if len(ring.unread) > 8 and not self._received and self._maker.made == self._fetched:
            for some in ring.take_until(ring.unread[-1][0]):
                self._maker.add(*some)

    def _forced(self) -> bool:
        return self._still_armed and self._ring.alarm

    def _surely_handed(self) -> _Traced | None:
        """The compiled update that has made the only unread step, where that is to be a frame.

        None: nobody knows before the ring is read.
        """
        open_and_due = self._sampling and self._ring.counted >= max(self._opened, self._next_due)
        if not open_and_due or len(self._contents) != 1:
            return None
        (contents,) = self._contents.values()
        return contents if contents.kept is not None else None

    def _handed(self) -> _Traced | None:
        """The compiled update whose last step is to be a frame; None: it is not."""
        if not self._sampling or not self._ring.unread or not self._compiled():
            return None
        first, rows = self._ring.unread[-1]
        last = first + len(rows) - 1
        contents = {c.layout.number: c for c in self._contents.values()}[int(rows[-1, 0])]
        if contents.kept is None or last < self._opened:
            return None
        return contents if self._forced() or last >= self._next_due else None

    def _measured_after(self, contents: _Traced) -> Measured:
        if contents.measure is None:
            contents.measure = self._measuring(contents)
        arrays = [part.numpy() for part in contents.measure()]
        step, noted, unit_age, pack, numbers, context, layers, *others = arrays
        self._next_due = (int(step) // self._next_interval + 1) * self._next_interval
        self._opened = int(step) + 1
        return Measured(
            contents, int(step), noted, pack, numbers, unit_age, context, layers, others
        )


def _broken(measured: Measured) -> bool:
    """Whether some gradient of the step is not finite."""
    return not np.isfinite(measured.noted[HEADER:]).all()


def _samples(table: VariableTable) -> dict[int, Sample]:
    """Row -> what is looked at of the variable; empty variables are left out."""
    limit = sample_limit(table.variables)
    return {
        row: sample_of(row, variable, limit)
        for row, variable in enumerate(table.variables)
        if variable.elements
    }


def _chosen(vector: Tensor, samples: Sequence[Sample], layout: Layout) -> Tensor:
    """Of samples that lie one after the other in a vector those of a layout."""
    kept = [sample.row in layout.rows for sample in samples]
    if all(kept):
        return vector
    parts = tf.split(vector, [sample.size for sample in samples])
    return tf.concat([vector[:0], *itertools.compress(parts, kept)], 0)


def _per_unit(gradient: Any, variable: Variable) -> Tensor:
    """float32 [units] of the largest magnitude of each unit's gradient; of a vector as it is."""
    gradient = values_of(gradient)
    if gradient.shape.rank > 1:
        axes = [i for i in range(gradient.shape.rank) if i != variable.unit_axis]
        gradient = tf.reduce_max(tf.abs(gradient), axis=axes)
    return tf.cast(measuring.as_real(gradient), tf.float32)


def _dtype(samples: Sequence[Sample]) -> Any:
    """What holds the elements of all samples."""
    wide = any(sample.dtype in ("float64", "complex128") for sample in samples)
    return tf.float64 if wide else tf.float32


def compute_dtype_of(variable: Any) -> str:
    """In which dtype the layer of a variable computes; without a layer that of the variable."""
    return str(variable.facts.get("compute_dtype", variable.dtype))


def _mean(loss: Tensor) -> Tensor:
    loss = loss if loss.shape.rank == 0 else tf.reduce_mean(loss)
    return loss if loss.dtype == tf.float32 else tf.cast(loss, tf.float32)


def _unknown(dtype: Any) -> Tensor:
    """One NaN, which makes NaN of whatever it is subtracted from."""
    return tf.fill([1], tf.cast(np.nan, dtype))


def _stacked(columns: Mapping[str, Tensor]) -> Tensor:
    return tf.stack(list(columns.values())) if columns else tf.zeros([0])


def _step_columns(
    batch: Batch,
    scale: Tensor | None,
    learning_rate: Tensor | None,
    parts: Parts,
    xla: bool = False,
) -> dict[str, Tensor]:
    """The context columns of a step by itself: float32 scalars by name."""
    columns = batch_columns(batch, xla, parts)
    if batch.loss is not None:
        columns["loss"] = batch.loss
    if scale is not None:
        columns["loss_scale"] = scale
    if learning_rate is not None:
        columns["learning_rate"] = learning_rate
    return {name: tf.cast(value, tf.float32) for name, value in columns.items()}
