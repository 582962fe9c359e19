"""The part of the monitor that lives inside the training step.

In:  gradients and variables of one step, as the optimizer's ``apply`` sees them.
Out: device variables: window statistics of every step, and up to ``slots`` frames that
     wait to be drained by the host.
Does not know about files, rules, schedules or threads.

``before`` and ``after`` bracket the update, inside whatever function the user compiles.
Every step pays for one sum of squares per variable. Everything else sits in one
``tf.cond`` that is taken when the step is *due* (the host says which one is next) or when
a gradient turns non-finite for the first time: that step is always a full frame, so that
NaNs are counted where and when they began.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import VariableTable
from tb_gradients.training import activations, histograms, replicas, statistics
from tb_gradients.training.batch import Batch
from tb_gradients.training.batch import columns as batch_columns
from tb_gradients.training.handover import Handover, like
from tb_gradients.training.variables import key_of, native

Tensor = Any

NEVER = 2**62
"""A ``due`` step that does not come."""

_STAT = {name: i for i, name in enumerate(schema.statistic_names())}
_CONTEXT = {name: i for i, name in enumerate(schema.context_names())}

# Rows of the per-variable counters of a window.
_NONE, _SEEN = range(2)

# Slots of the sums and of the maxima over a window's steps.
_STEPS, _APPLIED, _LOSS_SUM, _LOSS_COUNT = range(4)
_MINUS_LOSS, _LOSS, _LOSS_BROKEN = range(3)


@dataclasses.dataclass(frozen=True)
class OptimizerView:
    """What the probe reads of an optimizer; values are read when the step runs.

    Attributes:
        updates: -> int64 scalar, number of updates applied so far; None: every step applies.
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
class _Sampled:
    """What a frame is computed from: tensors of one graph, by row of the table.

    Attributes:
        gradients: dense ones, with the loss scale still in them.
        afters: weights after the step.
        updates: flat samples; ``update_squares`` has the rows where they are not the whole.
        squares: float32 [rows with a gradient], in the order of the rows.
        rows, histograms: finished ones, of sparse gradients.
        columns: context columns that are known already.
        activations: statistics of the layers' outputs, [variables] each.
    """

    gradients: dict[int, Tensor]
    afters: dict[int, Tensor]
    updates: dict[int, Tensor]
    squares: Tensor
    scale: Tensor | None
    columns: dict[str, Tensor]
    activations: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    update_squares: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    rows: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    histograms: dict[int, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Handed:
    """A compiled step that hands over what its frames are computed from.

    Attributes:
        number: tells it from others, where an optimizer is traced with different variables.
        variables: by row, those that have a gradient.
        gradients, befores: of the dense ones, what ``kept`` needs to find them again.
        sparse: rows of the others.
        columns, activations: names of the context columns and statistics that are kept.
        frame: the function that makes a frame of it.
    """

    number: int
    kept: Handover
    variables: dict[int, Any] = dataclasses.field(default_factory=dict)
    clipping: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gradients: dict[int, Any] = dataclasses.field(default_factory=dict)
    befores: dict[int, Any] = dataclasses.field(default_factory=dict)
    sparse: Sequence[int] = ()
    columns: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    frame: Any = None


@dataclasses.dataclass
class _Pending:
    """What ``before`` keeps for ``after``: plain references to tensors of one graph."""

    gradients: dict[int, Tensor]
    variables: dict[int, Any]
    none_rows: list[int]
    optimizer: OptimizerView
    befores: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    scale: Tensor | None = None
    updates: Tensor | None = None
    squares: Tensor = None
    finite: Tensor = None
    due: Tensor = None
    outputs: Mapping[int, activations.Output] = dataclasses.field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """Rows of the table that have a gradient, in order; ``befores`` and ``squares`` follow."""
        return sorted(self.gradients)


class Probe:
    """Device state for one variable table, and the operations that fill it.

    Args:
        table: rows of the frames.
        keys: ``key_of`` each variable, in the order of the table.
        first_step: number of the next step.
        slots: frames that may be taken between two drains.
        unit_window: horizon, in steps, of the dead-unit statistic.
        with_histograms: also bin the gradients of each frame.

    Attributes:
        rows_seen: rows of the variables that came with an update, so far.
        batch: what the next update's loss was computed from.
        outputs: the layers' outputs, where they are watched.
        counted: number of the next step, by the device's own count at the last drain.
    """

    def __init__(
        self,
        table: VariableTable,
        keys: Sequence[Any],
        *,
        first_step: int = 0,
        slots: int = 2,
        unit_window: int = 20,
        with_histograms: bool = True,
    ) -> None:
        self.table = table
        self.slots = slots
        self._first_step = self.counted = first_step
        self.unit_window = unit_window
        self.with_histograms = with_histograms
        self.batch: Batch | None = None
        self.outputs: activations.Outputs | None = None
        self.rows_seen: set[int] = set()
        self._rows = {key: row for row, key in enumerate(keys)}
        count = len(table.variables)
        bins = schema.HISTOGRAM_BINS if with_histograms else 0
        self._unit_sources = _unit_sources(table)
        units = sum(table.variables[row].units for row in self._unit_sources)
        with tf.init_scope():

            def state(value: Any, dtype: Any, name: str) -> Any:
                return replicas.make_variable(tf.constant(value, dtype), name)

            self.step = state(first_step, tf.int64, "step")
            self.due = state(NEVER, tf.int64, "due")
            self.interval = state(NEVER, tf.int64, "interval")
            self._armed = state(True, tf.bool, "armed")
            # A window. Few variables and few operations: at every step each one counts.
            self._largest = state(np.full(count, -1.0), tf.float32, "largest_squares")
            self._broken_for = state(np.full(count, -1.0), tf.float32, "broken_for")
            self._zero_steps = state(np.zeros(count), tf.float32, "zero_steps")
            self._counts = state(np.zeros((2, count)), tf.float32, "counts")
            self._sums = state(np.zeros(4), tf.float32, "sums")
            self._maxima = state(np.full(3, -np.inf), tf.float32, "maxima")
            # float32 because XLA has no fast path for int64 on some devices; steps are counted
            # from the start of this probe, exactly up to 2**24, and then stay "long ago".
            self._unit_age = state(np.zeros(units), tf.float32, "unit_age")
            self._taken = state(0, tf.int32, "taken")
            self._steps = state(np.full(slots, -1), tf.int64, "frame_steps")
            self._values = state(
                np.full((slots, count, len(_STAT)), np.nan), tf.float32, "frame_values"
            )
            self._context = state(
                np.full((slots, len(_CONTEXT)), np.nan), tf.float32, "frame_context"
            )
            # Step that was handed over by a compiled program, and the number of its handover.
            self._handed = state([-1, -1], tf.int64, "handed")
            self._histograms = state(np.zeros((slots, count, bins)), tf.int32, "frame_histograms")
        self._drain = tf.function(self._drain_ops)
        self._read_counters = tf.function(self._counter_ops)
        self._next_due = self._next_interval = NEVER
        self._take_functions: dict[Any, Any] = {}
        self._handed_over: dict[Any, _Handed] = {}
        self._sampling = self._still_armed = True

    # --- in the training step ---------------------------------------------------------

    def before(
        self, gradients: Sequence[Any], variables: Sequence[Any], optimizer: OptimizerView
    ) -> _Pending | None:
        """Keep what the step will change. None: no variable of the table is among them."""
        pending = _Pending({}, {}, [], optimizer)
        if self.outputs is not None:
            pending.outputs = self.outputs.take()
        for gradient, variable in zip(gradients, variables, strict=True):
            row = self._rows.get(key_of(variable))
            if row is None:
                continue
            if gradient is None:
                pending.none_rows.append(row)
                continue
            if not _sparse(gradient) and not gradient.shape.is_fully_defined():
                gradient = tf.reshape(gradient, self.table.variables[row].shape)
            pending.gradients[row] = _twin(gradient)
            pending.variables[row] = replicas.local(native(variable))
        if not pending.gradients and not pending.none_rows:
            return None
        self.rows_seen.update(pending.gradients, pending.none_rows)
        pending.scale = optimizer.loss_scale() if optimizer.loss_scale else None
        if pending.scale is not None:
            pending.scale = tf.cast(pending.scale, tf.float32)
        pending.updates = tf.identity(optimizer.updates()) if optimizer.updates else None
        pending.squares = self._square_sums(pending)
        pending.finite = tf.math.is_finite(pending.squares)
        broken = self._armed & ~tf.reduce_all(pending.finite)
        pending.due = (self.step >= self.due) | broken
        pending.befores = self._befores(pending)
        return pending

    def _befores(self, pending: _Pending) -> dict[int, Tensor]:
        """The weights before the step, by row; in a graph only of a step that is due.

        A tensor of the old weights makes the update copy them instead of writing in place:
        4 % of the step of a small dense network. (XLA drops what the program does not use.)
        """

        def read() -> dict[int, Tensor]:
            return {
                row: tf.identity(_touched(pending.variables[row], pending.gradients[row]))
                for row in pending.rows
            }

        if in_xla() or not pending.rows:
            return read()
        if tf.executing_eagerly():
            return read() if bool(pending.due) else {}

        def skip() -> dict[int, Tensor]:
            dtypes = {row: pending.variables[row].dtype for row in pending.rows}
            nothing = {dtype: tf.zeros([0], dtype) for dtype in dtypes.values()}
            return {row: nothing[dtype] for row, dtype in dtypes.items()}

        befores: dict[int, Tensor] = _branch(pending.due, read, skip)
        return befores

    def after(self, pending: _Pending | None) -> None:
        """Update the window, and take a frame if the step is due."""
        if pending is None:
            return
        batch = self._usable_batch()
        if pending.rows:
            self._update_window(pending)
        self._counts.assign_add(self._presence(pending))
        self._update_sums(self._applied(pending), batch)
        self._update_units(pending)
        if tf.executing_eagerly():
            if bool(pending.due):
                self._take(pending, batch)
        elif in_xla():
            self._hand_over(pending, batch)
        else:

            def take() -> Tensor:
                self._take(pending, batch)
                return tf.constant(0)

            _branch(pending.due, take, lambda: tf.constant(0))
        self.step.assign_add(1)

    def _applied(self, pending: _Pending) -> Tensor:
        if pending.updates is None:
            return tf.constant(1.0)
        changed = pending.optimizer.updates() - pending.updates
        return tf.cast(tf.minimum(changed, 1), tf.float32)

    def _square_sums(self, pending: _Pending) -> Tensor:
        """float32 [rows with a gradient] of the unscaled gradients."""
        if not pending.rows:
            return tf.zeros([0])
        xla = in_xla()
        values = [statistics.as_real(_values(pending.gradients[r])) for r in pending.rows]
        if pending.scale is not None:
            # Before squaring: the square of a scaled gradient may leave the range of float32.
            values = [v / tf.cast(pending.scale, v.dtype) for v in values]
        return statistics.all_squares(values, xla)

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
            loss=batch.loss if here(batch.loss) else None,
            inputs=[t for t in batch.inputs if here(t)],
            targets=[t for t in batch.targets if here(t)],
            predictions=[t for t in batch.predictions if here(t)],
        )

    def _update_window(self, pending: _Pending) -> None:
        rows, squares, finite = pending.rows, pending.squares, pending.finite
        count = len(self.table.variables)
        large = _scatter(tf.where(finite, squares, -1.0), rows, count, -1.0)
        self._largest.assign(tf.maximum(self._largest, large))
        # -1 while all is finite; else how many steps ago it was not, the first time.
        broken_for = self._broken_for.read_value()
        now = _scatter(tf.where(finite, -1.0, 0.0), rows, count, -1.0)
        self._broken_for.assign(tf.where(broken_for >= 0, broken_for + 1.0, now))
        zero = _scatter(_is(squares == 0), rows, count, 0.0)
        self._zero_steps.assign_add(zero)

    def _presence(self, pending: _Pending) -> Any:
        """float32 [2, variables]: which gradients this step has as None, and at all."""
        presence = np.zeros((2, len(self.table.variables)), np.float32)
        presence[_NONE, pending.none_rows] = 1
        presence[_SEEN, [*pending.rows, *pending.none_rows]] = 1
        return presence

    def _update_sums(self, applied: Tensor, batch: Batch) -> None:
        one = tf.constant(1.0)
        if batch.loss is None:
            self._sums.assign_add(tf.stack([one, applied, 0.0, 0.0]))
            return
        loss = tf.cast(tf.reduce_mean(batch.loss), tf.float32)
        finite = tf.math.is_finite(loss)
        self._sums.assign_add(tf.stack([one, applied, tf.where(finite, loss, 0.0), _is(finite)]))
        # The first non-finite loss is the one that the most steps have passed since.
        none = tf.constant(-np.inf)
        broken = tf.where(finite, none, -self._sums[_STEPS])
        minus, plus = tf.where(finite, -loss, none), tf.where(finite, loss, none)
        self._maxima.assign(tf.maximum(self._maxima, tf.stack([minus, plus, broken])))

    def _update_units(self, pending: _Pending) -> None:
        """Steps since each unit last had a non-zero gradient."""
        if not self._unit_sources:
            return
        parts = []
        for row, source in self._unit_sources.items():
            variable = self.table.variables[row]
            if source in pending.gradients:
                gradient = _values(pending.gradients[source])
                if gradient.shape.rank > 1:
                    axes = [i for i in range(gradient.shape.rank) if i != variable.unit_axis]
                    gradient = tf.reduce_max(tf.abs(gradient), axis=axes)
                parts.append(tf.reshape(statistics.as_real(gradient), [-1]))
            else:  # not seen in this step: nobody can tell, so it ages no unit
                parts.append(tf.ones([variable.units]))
        parts = [tf.cast(part, tf.float32) for part in parts]
        alive = tf.concat(parts, 0) != 0
        self._unit_age.assign(tf.where(alive, 0.0, self._unit_age.read_value() + 1.0))

    # --- a sampled step ----------------------------------------------------------------

    def _take(self, pending: _Pending, batch: Batch) -> None:
        """Write a frame into the next slot and start a new window.

        The operations are a function of their own: TensorFlow traces a training function
        twice on its first call, this one only once.
        """
        rows, clipping = pending.rows, pending.optimizer.clipping
        variables = self.table.variables
        outputs = {row: dataclasses.replace(o, tensor=None) for row, o in pending.outputs.items()}
        signature = (tuple(rows), tuple(sorted(clipping.items())), tuple(outputs.items()))
        if signature not in self._take_functions:

            def take(
                gradients: dict[int, Any],
                befores: dict[int, Tensor],
                afters: dict[int, Tensor],
                tables: dict[int, Tensor],
                squares: Tensor,
                scale: Tensor | None,
                learning_rate: Tensor | None,
                batch: dict[str, Any],
                given: list[Tensor],
            ) -> None:
                dense = {row: g for row, g in gradients.items() if not _sparse(g)}
                samples = {
                    row: [statistics.sample_of(x[row], variables[row]) for x in (befores, afters)]
                    for row in dense
                    if variables[row].elements
                }
                sampled = _Sampled(
                    gradients=dense,
                    afters=afters,
                    updates={row: statistics.update_of(*pair) for row, pair in samples.items()},
                    update_squares={
                        row: statistics.update_squares(befores[row], afters[row], xla=False)
                        for row in dense
                        if variables[row].elements > statistics.SAMPLE_ELEMENTS
                    },
                    squares=squares,
                    scale=scale,
                    columns=_step_columns(Batch(**batch), scale, learning_rate),
                    activations=self._activations(
                        {
                            row: dataclasses.replace(output, tensor=tensor)
                            for (row, output), tensor in zip(outputs.items(), given, strict=True)
                        }
                    ),
                )
                for row, table in tables.items():
                    gradient = gradients[row]
                    dtype = statistics.compute_dtype_of(self.table.variables[row])
                    sampled.rows[row] = statistics.sparse_row(
                        gradient,
                        befores[row],
                        afters[row],
                        table,
                        self.table.variables[row].shape[0],
                        scale,
                        dtype,
                    )
                    if self.with_histograms:
                        sampled.histograms[row] = histograms.histograms([gradient.values], scale)
                self._put(*self._frame(sampled, clipping, self.step.read_value()))

            self._take_functions[signature] = tf.function(
                take, reduce_retracing=True, autograph=False
            )
        sparse = [row for row in rows if _sparse(pending.gradients[row])]
        self._take_functions[signature](
            pending.gradients,
            pending.befores,
            {row: _touched(pending.variables[row], pending.gradients[row]) for row in rows},
            {row: statistics.table_sample(pending.variables[row]) for row in sparse},
            pending.squares,
            pending.scale,
            pending.optimizer.learning_rate,
            {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)},
            [output.tensor for output in pending.outputs.values()],
        )

    def _activations(self, outputs: Mapping[int, activations.Output]) -> dict[str, Tensor]:
        return activations.columns(outputs, len(self.table.variables))

    def _put(self, matrix: Tensor, context: Tensor, counts: Tensor) -> None:
        """A frame into the next slot; where there is none left, over the last one."""
        index = tf.reshape(tf.minimum(self._taken.read_value(), self.slots - 1), [1, 1])

        def put(state: Any, value: Tensor) -> None:
            state.assign(tf.tensor_scatter_nd_update(state.read_value(), index, value[None]))

        put(self._values, matrix)
        put(self._context, context)
        put(self._steps, self.step.read_value())
        if self.with_histograms:
            put(self._histograms, counts)
        self._taken.assign_add(1)
        self.due.assign((self.step // self.interval + 1) * self.interval)

    def _hand_over(self, pending: _Pending, batch: Batch) -> None:
        """Keep what a frame of this step is computed from, inside a step compiled by XLA."""
        variables, rows = self.table.variables, pending.rows
        signature = (tuple(rows), tuple(sorted(pending.optimizer.clipping.items())))
        if signature not in self._handed_over:
            number = len(self._handed_over)
            self._handed_over[signature] = _Handed(number, Handover(self._sampling))
        handed = self._handed_over[signature]
        kept = handed.kept
        befores, square_sums = {}, []
        for row in rows:
            gradient, before = pending.gradients[row], pending.befores[row]
            after = _touched(pending.variables[row], gradient)
            if _sparse(gradient):  # its rows are a matter of the batch, and few
                table = statistics.table_sample(pending.variables[row])
                dtype = statistics.compute_dtype_of(variables[row])
                kept.put(
                    f"row_{row}",
                    statistics.sparse_row(
                        gradient,
                        before,
                        after,
                        table,
                        variables[row].shape[0],
                        pending.scale,
                        dtype,
                        xla=True,
                    ),
                )
                if self.with_histograms:
                    counts = histograms.histograms([gradient.values], pending.scale)
                    kept.put(f"histogram_{row}", counts)
                continue
            if variables[row].elements == 0:
                continue
            befores[row] = statistics.sample_of(before, variables[row])
            if variables[row].elements > statistics.SAMPLE_ELEMENTS:
                square_sums.append(statistics.update_squares(before, after, xla=True))
        gradients = {row: pending.gradients[row] for row in befores}
        kept.put_all("gradients", gradients)
        kept.put_all("befores", befores)
        if square_sums:
            kept.put("update_squares", tf.stack(square_sums))
        measured = [i for i, row in enumerate(rows) if variables[row].elements]
        if measured:
            kept.put("squares", tf.gather(pending.squares, measured))
        # Not the predictions: mostly the sum of a product and a bias, which XLA fuses into
        # the loss. Read by us they would be a value of their own, and other bits in the loss.
        columns = _step_columns(
            dataclasses.replace(batch, predictions=()),
            pending.scale,
            pending.optimizer.learning_rate,
            xla=True,
        )
        if columns:
            kept.put("context", tf.stack(list(columns.values())))
        layers = self._activations(pending.outputs)
        if layers:
            kept.put("activations", tf.stack(list(layers.values())))
        handed.activations = tuple(layers)
        handed.variables = dict(pending.variables)
        handed.clipping = pending.optimizer.clipping
        handed.gradients, handed.befores = like(gradients), like(befores)
        handed.sparse = [row for row in rows if _sparse(pending.gradients[row])]
        handed.columns = tuple(columns)
        self._handed.assign(tf.stack([self.step.read_value(), handed.number]))

    def _frame_after(self, handed: _Handed) -> tuple[Tensor, Tensor, Tensor]:
        """The frame of the step that was handed over, outside of it."""
        kept, variables = handed.kept, handed.variables
        flat = kept.get_all("gradients", handed.gradients)
        large = [r for r in flat if self.table.variables[r].elements > statistics.SAMPLE_ELEMENTS]
        square_sums = tf.unstack(kept.get("update_squares")) if large else []
        context = kept.get("context")
        columns = dict(
            zip(handed.columns, [] if context is None else tf.unstack(context), strict=True)
        )
        squares = kept.get("squares")
        afters = {row: variables[row].read_value() for row in flat}
        # Differences are taken here: XLA leaves out the rounding of a bfloat16 in between.
        befores = kept.get_all("befores", handed.befores)
        samples = {r: statistics.sample_of(afters[r], self.table.variables[r]) for r in flat}
        sampled = _Sampled(
            gradients={row: tf.reshape(flat[row], self.table.variables[row].shape) for row in flat},
            afters=afters,
            updates={row: statistics.update_of(befores[row], samples[row]) for row in flat},
            update_squares=dict(zip(large, square_sums, strict=True)),
            squares=tf.zeros([0]) if squares is None else squares,
            scale=columns.get("loss_scale"),
            columns=columns,
        )
        if handed.activations:
            shape = [len(handed.activations), len(self.table.variables)]
            layers = tf.unstack(tf.reshape(kept.get("activations"), shape))
            sampled.activations = dict(zip(handed.activations, layers, strict=True))
        for row in handed.sparse:
            sampled.rows[row] = kept.get(f"row_{row}")
            sampled.histograms[row] = kept.get(f"histogram_{row}")
        return self._frame(sampled, handed.clipping, self._handed[0])

    def _frame(
        self, sampled: _Sampled, clipping: Mapping[str, float], step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Matrix, context and histograms of a step; a new window begins."""
        count = len(self.table.variables)
        matrix = self._with_window(self._matrix(sampled), step, sampled.activations)
        context, matrix = self._context_row(matrix, clipping, sampled)
        counts = tf.zeros([count, self._histograms.shape[-1]], tf.int32)
        if self.with_histograms and sampled.gradients:
            rows = [*sampled.gradients, *sampled.histograms]
            dense = histograms.histograms(list(sampled.gradients.values()), sampled.scale)
            parts = [tf.reshape(part, [1, -1]) for part in sampled.histograms.values()]
            counts = _scatter(tf.concat([dense, *parts], 0), rows, count, 0)
        self._largest.assign(np.full(count, -1.0))
        self._broken_for.assign(np.full(count, -1.0))
        self._zero_steps.assign(np.zeros(count))
        self._counts.assign(np.zeros((2, count)))
        self._sums.assign(np.zeros(4))
        self._maxima.assign(np.full(3, -np.inf))
        finite = tf.reduce_all(tf.math.is_finite(sampled.squares))
        self._armed.assign(self._armed & finite)
        return matrix, context, counts

    def _matrix(self, sampled: _Sampled) -> Tensor:
        """float32 [all variables, statistics]; NaN for those that have no gradient."""
        variables, gradients = self.table.variables, sampled.gradients
        position = {row: i for i, row in enumerate(sorted([*gradients, *sampled.rows]))}
        blocks = statistics.blocks_of(variables, sorted(gradients))
        parts, order = [], []

        def add(block: statistics.Block, careful: bool) -> Tensor:
            members = block.members
            square_sums = [sampled.update_squares.get(row) for row in members]
            return statistics.rows_of(
                block,
                [gradients[row] for row in members],
                [sampled.afters[row] for row in members],
                statistics.Updates(
                    [sampled.updates[row] for row in members],
                    None if square_sums[0] is None else tf.stack(square_sums),
                ),
                tf.gather(sampled.squares, [position[row] for row in members]),
                sampled.scale,
                careful=careful,
            )

        large = [b for b in blocks if b.elements > statistics.FAST_ELEMENTS]
        if large:
            squares = sampled.squares
            trouble = ~tf.math.is_finite(squares) | (squares < statistics.TINY_SQUARES)
            parts.append(
                tf.cond(
                    tf.reduce_any(trouble),
                    lambda: tf.concat([add(block, careful=True) for block in large], 0),
                    lambda: tf.concat([add(block, careful=False) for block in large], 0),
                )
            )
            order += [row for block in large for row in block.members]
        for block in blocks:
            if block not in large:
                parts.append(add(block, careful=True))
                order += block.members
        for row, finished in sampled.rows.items():
            parts.append(tf.reshape(finished, [1, -1]))
            order.append(row)
        if not parts:
            return tf.fill([len(variables), len(_STAT)], np.float32(np.nan))
        return _scatter(tf.concat(parts, 0), order, len(variables), np.nan)

    def _with_window(self, matrix: Tensor, step: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """Fill the window columns, and others that are given."""
        seen, none = self._counts[_SEEN], self._counts[_NONE]
        measured = seen - none
        largest = self._largest.read_value()
        filled = {
            "gradient_norm_max": tf.where(largest >= 0, tf.sqrt(largest), np.nan),
            "nonfinite_age": tf.where(measured > 0, self._really_broken_for(matrix), np.nan),
            "zero_step_share": self._zero_steps / measured,  # 0 / 0: not measured
            "none_step_share": none / seen,
            "dead_unit_share": self._dead_unit_share(step),
            **others,
        }
        columns = [
            filled.get(name, matrix[:, i]) for i, name in enumerate(schema.statistic_names())
        ]
        return tf.stack(columns, axis=1)

    def _really_broken_for(self, matrix: Tensor) -> Tensor:
        """Like the window says, but for a sum of squares that only left float32 at this step."""
        counts = matrix[:, _STAT["gradient_nan_count"]] + matrix[:, _STAT["gradient_inf_count"]]
        broken_for = self._broken_for.read_value()
        return tf.where((broken_for == 0) & (counts == 0), -1.0, broken_for)

    def _dead_unit_share(self, step: Tensor) -> Tensor:
        count = len(self.table.variables)
        if not self._unit_sources:
            return tf.fill([count], np.float32(np.nan))
        owner = np.concatenate(
            [np.full(self.table.variables[r].units, r) for r in self._unit_sources]
        )
        units = np.bincount(owner, minlength=count).astype(np.float32)
        dead = tf.math.unsorted_segment_sum(
            _is(self._unit_age >= float(self.unit_window)), owner, count
        )
        share = tf.where(units > 0, dead / np.maximum(units, 1), np.nan)
        seen = step - self._first_step + 1
        return tf.where(seen >= self.unit_window, share, np.nan)

    def _context_row(
        self, matrix: Tensor, clipping: Mapping[str, float], sampled: _Sampled
    ) -> tuple[Tensor, Tensor]:
        """The context vector, and the matrix with its ``applied_norm`` column."""
        sums, maxima = self._sums.read_value(), self._maxima.read_value()
        norms = matrix[:, _STAT["gradient_norm"]]
        global_norm = _global_norm(norms)
        matrix = _with_applied_norm(matrix, norms, global_norm, clipping)
        scale = sampled.scale
        known = sums[_LOSS_COUNT] > 0
        nan = tf.constant(np.nan)
        row = {
            "table_id": tf.constant(float(self.table.table_id)),
            "window_steps": sums[_STEPS],
            "applied_steps": sums[_APPLIED],
            "skipped_steps": (tf.constant(0.0) if scale is None else sums[_STEPS] - sums[_APPLIED]),
            "unit_window": tf.constant(float(self.unit_window)),
            "loss_mean": sums[_LOSS_SUM] / sums[_LOSS_COUNT],  # 0 / 0: not measured
            "loss_min": tf.where(known, -maxima[_MINUS_LOSS], nan),
            "loss_max": tf.where(known, maxima[_LOSS], nan),
            "global_norm": global_norm,
            "loss_scale": tf.constant(1.0),
        }
        if "loss" in sampled.columns:
            age = sums[_STEPS] + maxima[_LOSS_BROKEN]  # steps until now minus steps until then
            row["loss_nonfinite_age"] = tf.where(age >= 0, age, -1.0)
        row.update(sampled.columns)
        return tf.stack([row.get(name, nan) for name in schema.context_names()]), matrix

    # --- from the host -----------------------------------------------------------------

    def schedule(self, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``."""
        self.due.assign(due)
        self.interval.assign(interval)
        self._next_due, self._next_interval = due, interval

    def select(self, sampling: bool) -> None:
        """Let steps that XLA compiles hand over what a frame is made of from now on, or not."""
        self._sampling = sampling
        for handed in self._handed_over.values():
            handed.kept.set_open(sampling)

    def rearm(self) -> None:
        """Let the next non-finite gradient force a frame again, after one that has done so."""
        if not self._still_armed:
            self._armed.assign(True)
            self._still_armed = True

    def status(self) -> tuple[bool, bool]:
        """Whether frames wait, and whether one is wanted of the next step; one read of the device.

        A compiled step that hands nothing over cannot force the frame of a non-finite gradient.
        """
        taken, step, _, alarm, _ = self._counters()
        waits = self._is_due(step, alarm)
        return bool(taken or waits), bool(alarm and not taken and not waits)

    def _is_due(self, handed: int, alarm: bool) -> bool:
        """Whether a frame is to be made of the step that was handed over; -1: none was."""
        return self._sampling and handed >= 0 and (alarm or handed >= self._next_due)

    def _counters(self) -> tuple[int, int, int, bool, int]:
        """Frames taken, step and number handed over, whether a gradient was not finite, next step.

        Without compiled steps, only the first is read.
        """
        if not self._handed_over:
            return int(self._taken.numpy()), -1, -1, False, self.counted
        taken, step, number, alarm, following = map(int, self._read_counters().numpy())
        return taken, step, number, bool(alarm), following

    def _counter_ops(self) -> Tensor:
        alarm = self._armed & tf.reduce_any(self._broken_for >= 0)
        counters = [self._taken, *tf.unstack(self._handed), alarm, self.step]
        return tf.stack([tf.cast(counter, tf.int64) for counter in counters])

    def next_step(self) -> int:
        """Number of the next step, by the device's own count."""
        return int(self.step.numpy())

    def drain(self) -> list[tuple[int, Any, Any, Any]]:
        """The waiting frames as NumPy (step, values, context, histograms), oldest first."""
        if not self._handed_over:
            frames = self._drain_slots()
        else:
            taken, step, number, alarm, self.counted = self._counters()
            frames = self._drain_slots() if taken else []
            if self._is_due(step, alarm):
                frames.append(self._drain_handed(step, number))
        return [frame if self.with_histograms else (*frame[:3], None) for frame in frames]

    def _drain_slots(self) -> list[tuple[int, Any, Any, Any]]:
        taken, steps, values, context, counts, armed, step = (t.numpy() for t in self._drain())
        self._still_armed, self.counted = bool(armed), int(step)
        kept = range(min(int(taken), self.slots))
        return [(int(steps[i]), values[i], context[i], counts[i]) for i in kept]

    def _drain_handed(self, step: int, number: int) -> tuple[int, Any, Any, Any]:
        """The frame of the compiled step that has handed over last."""
        handed = next(h for h in self._handed_over.values() if h.number == number)
        if handed.frame is None:
            handed.frame = tf.function(self._frame_of(handed), autograph=False)
        matrix, context, counts, armed = (tensor.numpy() for tensor in handed.frame())
        self._still_armed = bool(armed)
        self._next_due = (step // self._next_interval + 1) * self._next_interval
        return step, matrix, context, counts

    def _frame_of(self, handed: _Handed) -> Callable[[], tuple[Tensor, ...]]:
        def frame() -> tuple[Tensor, ...]:
            parts = self._frame_after(handed)
            self._handed.assign([-1, -1])
            return (*parts, self._armed.read_value())

        return frame

    def _drain_ops(self) -> tuple[Tensor, ...]:
        frames = (self._steps, self._values, self._context, self._histograms)
        result = tuple(tf.identity(v) for v in (self._taken, *frames, self._armed, self.step))
        with tf.control_dependencies(result):
            self._taken.assign(0)
        return result


def in_xla() -> bool:
    """Whether the function being traced is compiled by XLA (``jit_compile=True``)."""
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops import control_flow_util

        graph = tf.compat.v1.get_default_graph()
        return bool(control_flow_util.GraphOrParentsInXlaContext(graph))
    except Exception:  # not public: without it the XLA form is right everywhere, only slower
        return True


_CHAINED = ("Mul", "Add", "AddV2", "AddN", "Sub", "RealDiv", "Neg")
"""Operations that TensorFlow's graph optimizer regroups where nobody else reads between them."""


def _twin(gradient: Any) -> Any:
    """The same value from operations of our own, where reading the original would change bits.

    The optimizer of graphs turns (a * b) * learning_rate into a * (b * learning_rate) if only
    the update reads the product, and keeps it if we read it as well: other bits in the
    weights. So we read a copy of such a chain of element-wise operations, with an attribute
    that keeps it from being merged with the original. Gradients of kernels come from matrix
    products and are read as they are.
    """
    if tf.executing_eagerly() or _sparse(gradient) or in_xla():
        return gradient
    graph = tf.compat.v1.get_default_graph()

    def copy(tensor: Tensor, depth: int) -> Tensor:
        operation = tensor.op
        if operation.type not in _CHAINED or operation.graph is not graph or depth == 0:
            return tensor
        attributes = dict(operation.node_def.attr)
        attributes["_tb_gradients_twin"] = tf.compat.v1.AttrValue(b=True)
        twin = graph.create_op(
            operation.type,
            [copy(part, depth - 1) for part in operation.inputs],
            [tensor.dtype],
            attrs=attributes,
        )
        return twin.outputs[0]

    return copy(gradient, 8)


def _branch(predicate: Tensor, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """``tf.cond`` in a graph, kept as one operation where there is one device.

    TensorFlow expands it otherwise, so that the parts of a branch can run on several devices, and
    a graph with expanded branches is run by a slower executor: half of what a plain step of a
    small dense network paid for being watched.
    """
    result = tf.cond(predicate, then, otherwise)
    if len(tf.config.list_logical_devices()) == 1:
        operation = tf.nest.flatten(result)[0].op
        while operation.type == "Identity":
            operation = operation.inputs[0].op
        # Not public: without it the branch is expanded, that is right everywhere, only slower.
        set_attribute = getattr(operation, "_set_attr", None)
        if operation.type in ("If", "StatelessIf") and set_attribute is not None:
            set_attribute("_lower_using_switch_merge", tf.compat.v1.AttrValue(b=False))
    return result


def _sparse(gradient: Any) -> bool:
    return isinstance(gradient, tf.IndexedSlices)


def _values(gradient: Any) -> Tensor:
    """The numbers of a dense or sparse gradient."""
    return gradient.values if _sparse(gradient) else gradient


def _touched(variable: Any, gradient: Any) -> Tensor:
    """The weights that the gradient can move: all of them, or the rows it lists.

    A table of millions of rows is never copied.
    """
    if _sparse(gradient):
        return tf.gather(variable, gradient.indices)
    return variable.read_value()


def _is(condition: Tensor) -> Tensor:
    return tf.cast(condition, tf.float32)


def _scatter(values: Tensor, rows: Sequence[int], count: int, fill: float) -> Tensor:
    """Spread [len(rows), ...] over [count, ...]; rows that are not listed hold ``fill``."""
    if list(rows) == list(range(count)):
        return values
    shape = [1, *values.shape[1:]]
    padded = tf.concat([values, tf.fill(shape, tf.cast(fill, values.dtype))], 0)
    source = np.full(count, len(rows))
    source[list(rows)] = np.arange(len(rows))
    return tf.gather(padded, source)


def _unit_sources(table: VariableTable) -> dict[int, int]:
    """Row with units -> row whose gradient tells which of them live.

    A Dense or convolutional unit whose bias receives a non-zero gradient is alive, and the
    bias is hundreds of times smaller than the kernel: where a layer has one, it is asked.
    (A bias before normalisation has a zero gradient and can tell nothing.)
    """
    biases = {
        (v.module, v.units): row
        for row, v in enumerate(table.variables)
        if v.role == "bias" and len(v.shape) == 1 and v.units and not v.analytically_zero
    }
    return {
        row: biases.get((v.module, v.units), row)
        for row, v in enumerate(table.variables)
        if v.role in ("kernel", "recurrent_kernel") and v.units > 1
    }


def _step_columns(
    batch: Batch, scale: Tensor | None, learning_rate: Tensor | None, xla: bool = False
) -> dict[str, Tensor]:
    """The context columns of a step by itself: float32 scalars by name."""
    columns = batch_columns(batch, xla)
    if batch.loss is not None:
        columns["loss"] = tf.reduce_mean(batch.loss)
    if scale is not None:
        columns["loss_scale"] = scale
    if learning_rate is not None:
        columns["learning_rate"] = learning_rate
    return {name: tf.cast(value, tf.float32) for name, value in columns.items()}


def _global_norm(norms: Tensor) -> Tensor:
    """Norm of all measured gradients together, without leaving the range of float32."""
    known = tf.where(tf.math.is_nan(norms), 0.0, norms)
    peak = tf.reduce_max(known)
    safe = tf.where(peak > 0, peak, 1.0)
    total = peak * tf.sqrt(tf.reduce_sum(tf.square(known / safe)))
    return tf.where(tf.reduce_all(tf.math.is_nan(norms)), np.nan, total)


def _with_applied_norm(
    matrix: Tensor, norms: Tensor, global_norm: Tensor, clipping: Mapping[str, float]
) -> Tensor:
    """Fill ``applied_norm``: what Keras' clipping makes of the measured norms."""
    applied = norms
    if "clipnorm" in clipping:
        applied = tf.minimum(norms, clipping["clipnorm"])
    elif "global_clipnorm" in clipping:
        limit = clipping["global_clipnorm"]
        applied = norms * tf.where(global_norm > limit, limit / global_norm, 1.0)
    elif "clipvalue" in clipping:  # the norm of clipped elements follows from no norm
        low, high = matrix[:, _STAT["gradient_min"]], matrix[:, _STAT["gradient_max"]]
        inside = tf.maximum(-low, high) <= clipping["clipvalue"]
        applied = tf.where(inside, norms, np.nan)
    elif "per_replica" in clipping:  # each replica clips its own share, before they are summed
        applied = tf.fill(tf.shape(norms), np.float32(np.nan))
    column = _STAT["applied_norm"]
    return tf.concat([matrix[:, :column], applied[:, None], matrix[:, column + 1 :]], axis=1)
