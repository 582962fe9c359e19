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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import VariableTable
from tb_gradients.training import histograms, statistics
from tb_gradients.training.variables import key_of, native

Tensor = Any

NEVER = 2**62
"""A ``due`` step that does not come."""

_STAT = {name: i for i, name in enumerate(schema.statistic_names())}
_CONTEXT = {name: i for i, name in enumerate(schema.context_names())}

# Columns of the per-variable window state.
_NORM_MAX, _NONFINITE_AGE, _ZERO_STEPS, _NONE_STEPS, _SEEN_STEPS = range(5)
_WINDOW_START = np.array([-1.0, -1.0, 0.0, 0.0, 0.0], np.float32)

# Slots of the scalar window state.
_STEPS, _APPLIED, _LOSS_SUM, _LOSS_COUNT, _LOSS_MIN, _LOSS_MAX, _LOSS_AGE = range(7)
_SCALARS_START = np.array([0, 0, 0, 0, np.inf, -np.inf, -1], np.float32)


@dataclasses.dataclass(frozen=True)
class Batch:
    """What the loss was computed from, in the graph that computes it; any part may be absent."""

    loss: Tensor | None = None
    inputs: Sequence[Tensor] = ()
    targets: Sequence[Tensor] = ()
    predictions: Sequence[Tensor] = ()


@dataclasses.dataclass(frozen=True)
class OptimizerView:
    """What the probe reads of an optimizer; values are read when the step runs.

    Attributes:
        updates: -> int64 scalar, number of updates applied so far; None: every step applies.
        learning_rate: float scalar tensor as it was before the step, or None.
        loss_scale: -> float scalar that the gradients still carry, or None.
        clipping: "clipnorm", "global_clipnorm" or "clipvalue" -> limit; at most one.
    """

    updates: Any = None
    learning_rate: Any = None
    loss_scale: Any = None
    clipping: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Pending:
    """What ``before`` keeps for ``after``: plain references to tensors of one graph."""

    gradients: dict[int, Tensor]
    variables: dict[int, Any]
    none_rows: list[int]
    befores: dict[int, Tensor]
    scale: Tensor | None
    updates: Tensor | None
    optimizer: OptimizerView


class Probe:
    """Device state for one variable table, and the operations that fill it.

    Args:
        table: rows of the frames.
        keys: ``key_of`` each variable, in the order of the table.
        first_step: number of the next step.
        slots: frames that may be taken between two drains.
        unit_window: horizon, in steps, of the dead-unit statistic.
        with_histograms: also bin the gradients of each frame.
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
        self.unit_window = unit_window
        self.with_histograms = with_histograms
        self.batch: Batch | None = None
        self._rows = {key: row for row, key in enumerate(keys)}
        count = len(table.variables)
        bins = schema.HISTOGRAM_BINS if with_histograms else 0
        self._unit_sources = _unit_sources(table)
        units = sum(table.variables[row].units for row in self._unit_sources)
        with tf.init_scope():

            def state(value: Any, dtype: Any, name: str) -> Any:
                value = tf.constant(value, dtype)
                return tf.Variable(value, trainable=False, name=f"tb_gradients/{name}")

            self.step = state(first_step, tf.int64, "step")
            self.due = state(NEVER, tf.int64, "due")
            self.interval = state(NEVER, tf.int64, "interval")
            self._armed = state(True, tf.bool, "armed")
            self._window = state(np.tile(_WINDOW_START, (count, 1)), tf.float32, "window")
            self._scalars = state(_SCALARS_START, tf.float32, "scalars")
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
            self._histograms = state(np.zeros((slots, count, bins)), tf.int32, "frame_histograms")
            self._seen = state(0.0, tf.float32, "seen")
        self._drain = tf.function(self._drain_ops)
        self._take_functions: dict[Any, Any] = {}
        self._copies: Any = None

    # --- in the training step ---------------------------------------------------------

    def before(
        self, gradients: Sequence[Any], variables: Sequence[Any], optimizer: OptimizerView
    ) -> _Pending | None:
        """Keep what the step will change. None: no variable of the table is among them."""
        pending = _Pending({}, {}, [], {}, None, None, optimizer)
        for gradient, variable in zip(gradients, variables, strict=True):
            row = self._rows.get(key_of(variable))
            if row is None:
                continue
            if gradient is None:
                pending.none_rows.append(row)
                continue
            pending.gradients[row] = gradient
            pending.variables[row] = variable
            pending.befores[row] = _touched(native(variable), gradient)
        if not pending.gradients and not pending.none_rows:
            return None
        pending.scale = optimizer.loss_scale() if optimizer.loss_scale else None
        if pending.scale is not None:
            pending.scale = tf.cast(pending.scale, tf.float32)
        pending.updates = tf.identity(optimizer.updates()) if optimizer.updates else None
        return pending

    def after(self, pending: _Pending | None) -> None:
        """Update the window, and take a frame if the step is due."""
        if pending is None:
            return
        rows = sorted(pending.gradients)
        xla = in_xla()
        applied = self._applied(pending)
        norms = self._square_sums(pending, rows, xla)
        batch = self._usable_batch()
        self._update_window(pending, rows, norms, applied, batch, xla)
        due = self.step >= self.due
        if rows:
            broken = tf.logical_and(
                self._armed, tf.logical_not(tf.reduce_all(tf.math.is_finite(norms)))
            )
            due = tf.logical_or(due, broken)
            self._armed.assign(tf.logical_and(self._armed, tf.logical_not(broken)))
        copied: dict[int, slice] = {}
        if xla:
            copied = self._copy_apart(pending, rows)
            batch = dataclasses.replace(batch, predictions=())
        if tf.executing_eagerly():
            if bool(due):
                self._take(pending, rows, norms, batch, copied, xla=False)
        else:

            def take() -> Tensor:
                self._take(pending, rows, norms, batch, copied, xla)
                return tf.constant(0)

            tf.cond(due, take, lambda: tf.constant(0))
        self.step.assign_add(1)

    def _applied(self, pending: _Pending) -> Tensor:
        if pending.updates is None:
            return tf.constant(1.0)
        changed = pending.optimizer.updates() - pending.updates
        return tf.cast(tf.minimum(changed, 1), tf.float32)

    def _square_sums(self, pending: _Pending, rows: Sequence[int], xla: bool) -> Tensor:
        """float32 [len(rows)] of the unscaled gradients."""
        if not rows:
            return tf.zeros([0])
        values = [statistics.as_real(_values(pending.gradients[r])) for r in rows]
        if pending.scale is not None:
            # Before squaring: the square of a scaled gradient may leave the range of float32.
            values = [v / tf.cast(pending.scale, v.dtype) for v in values]
        return tf.stack([statistics.squares(v, xla) for v in values])

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

    def _update_window(
        self,
        pending: _Pending,
        rows: Sequence[int],
        norms: Tensor,
        applied: Tensor,
        batch: Batch,
        xla: bool,
    ) -> None:
        count = len(self.table.variables)
        finite = tf.math.is_finite(norms)
        norm = tf.where(finite, tf.sqrt(norms), -1.0)
        seen = np.zeros(count, np.float32)
        seen[[*rows, *pending.none_rows]] = 1
        absent = np.zeros(count, np.float32)
        absent[pending.none_rows] = 1
        window = self._window.read_value()
        norm, finite, zero = (
            _scatter(x, rows, count, fill)
            for x, fill in ((norm, -1.0), (tf.cast(finite, tf.float32), 1.0), (_is(norms == 0), 0))
        )
        age = window[:, _NONFINITE_AGE]
        age = tf.where(age >= 0, age + 1, tf.where(finite == 0, 0.0, -1.0))
        self._window.assign(
            tf.stack(
                [
                    tf.maximum(window[:, _NORM_MAX], norm),
                    age,
                    window[:, _ZERO_STEPS] + zero,
                    window[:, _NONE_STEPS] + absent,
                    window[:, _SEEN_STEPS] + seen,
                ],
                axis=1,
            )
        )
        self._update_scalars(applied, batch)
        self._update_units(pending, xla)
        self._seen.assign_add(1.0)

    def _update_scalars(self, applied: Tensor, batch: Batch) -> None:
        old = self._scalars.read_value()
        if batch.loss is None:
            loss, known = tf.constant(0.0), tf.constant(0.0)
        else:
            loss, known = tf.cast(tf.reduce_mean(batch.loss), tf.float32), tf.constant(1.0)
        finite = tf.math.is_finite(loss)
        known_finite = known * _is(finite)
        age = tf.where(
            old[_LOSS_AGE] >= 0,
            old[_LOSS_AGE] + 1,
            tf.where(finite, -1.0, 0.0),
        )
        self._scalars.assign(
            tf.stack(
                [
                    old[_STEPS] + 1,
                    old[_APPLIED] + applied,
                    old[_LOSS_SUM] + tf.where(finite, loss * known, 0.0),
                    old[_LOSS_COUNT] + known_finite,
                    tf.where(known_finite > 0, tf.minimum(old[_LOSS_MIN], loss), old[_LOSS_MIN]),
                    tf.where(known_finite > 0, tf.maximum(old[_LOSS_MAX], loss), old[_LOSS_MAX]),
                    age,
                ]
            )
        )

    def _update_units(self, pending: _Pending, xla: bool) -> None:
        """Steps since each unit last had a non-zero gradient."""
        if not self._unit_sources:
            return
        alive = []
        for row, source in self._unit_sources.items():
            variable = self.table.variables[row]
            if source in pending.gradients:
                gradient = _values(pending.gradients[source])
                if gradient.shape.rank > 1:
                    axes = [i for i in range(gradient.shape.rank) if i != variable.unit_axis]
                    gradient = tf.reduce_max(tf.abs(gradient), axis=axes)
                alive.append(tf.reshape(gradient != 0, [-1]))
            else:  # not seen in this step: nobody can tell, so it ages no unit
                alive.append(tf.ones([variable.units], tf.bool))
        self._unit_age.assign(
            tf.where(tf.concat(alive, 0), 0.0, self._unit_age.read_value() + 1.0)
        )

    # --- a sampled step ----------------------------------------------------------------

    def _take(
        self,
        pending: _Pending,
        rows: Sequence[int],
        norms: Tensor,
        batch: Batch,
        copied: Mapping[int, slice],
        xla: bool,
    ) -> None:
        """Write a frame into the next slot and start a new window.

        The operations are a function of their own: TensorFlow traces a training function
        twice on its first call, this one only once.
        """
        signature = (tuple(rows), xla, tuple(sorted(pending.optimizer.clipping.items())))
        if signature not in self._take_functions:

            def take(arguments: Any) -> None:
                self._take_ops(rows, xla, pending.optimizer.clipping, copied, **arguments)

            self._take_functions[signature] = tf.function(
                take, reduce_retracing=True, autograph=False
            )
        self._take_functions[signature](
            {
                "gradients": [pending.gradients[r] for r in rows if r not in copied],
                "befores": [pending.befores[r] for r in rows],
                "afters": [
                    _touched(native(pending.variables[r]), pending.gradients[r]) for r in rows
                ],
                "tables": {
                    str(r): native(pending.variables[r]).read_value()
                    for r in rows
                    if _sparse(pending.gradients[r])
                },
                "norms": norms,
                "scale": pending.scale,
                "learning_rate": pending.optimizer.learning_rate,
                "batch": {
                    "loss": batch.loss,
                    "inputs": list(batch.inputs),
                    "targets": list(batch.targets),
                    "predictions": list(batch.predictions),
                },
            }
        )

    def _copy_apart(self, pending: _Pending, rows: Sequence[int]) -> dict[int, slice]:
        """Copy small gradients, so that reading them does not change the training's bits.

        XLA fuses a product (the gradient of a normalisation's scale, say) into the update
        that uses it, and the pair rounds once. If our branch read the product too, it would
        become a value of its own, and the pair would round twice: other bits in the weights.
        A concatenation is fused element-wise like the update and leaves it alone; it is kept
        in a variable, because XLA would move one that only a branch uses into that branch.
        The gradients that matrix products give are values of their own in any case.

        Returns:
            Row -> where its elements are in ``self._copies``.
        """
        copied: dict[int, slice] = {}
        parts, start = [], 0
        for row in rows:
            gradient = pending.gradients[row]
            elements = self.table.variables[row].elements
            if (
                _sparse(gradient)
                or gradient.dtype == tf.float64
                or not 0 < elements <= statistics.STACK_ELEMENTS
                or _is_own_value(gradient)
            ):
                continue
            copied[row] = slice(start, start + elements)
            start += elements
            parts.append(tf.reshape(statistics.as_real(gradient), [-1]))
        if parts:
            if self._copies is None or self._copies.shape[0] != start:
                with tf.init_scope():
                    self._copies = tf.Variable(tf.zeros([start]), trainable=False)
            self._copies.assign(tf.concat(parts, 0))
        return copied

    def _take_ops(
        self,
        rows: Sequence[int],
        xla: bool,
        clipping: Mapping[str, float],
        copied: Mapping[int, slice],
        *,
        gradients: Sequence[Any],
        befores: Sequence[Tensor],
        afters: Sequence[Tensor],
        tables: Mapping[str, Tensor],
        norms: Tensor,
        scale: Tensor | None,
        learning_rate: Tensor | None,
        batch: Mapping[str, Any],
    ) -> None:
        count = len(self.table.variables)
        gradients = self._with_copies(rows, copied, gradients)
        matrix = self._matrix(rows, gradients, befores, afters, tables, norms, scale, xla)
        matrix = self._with_window(matrix)
        context, matrix = self._context_row(matrix, clipping, scale, learning_rate, batch)
        slot = tf.minimum(self._taken.read_value(), self.slots - 1)
        index = tf.reshape(slot, [1, 1])

        def put(state: Any, value: Tensor) -> None:
            state.assign(tf.tensor_scatter_nd_update(state.read_value(), index, value[None]))

        put(self._values, matrix)
        put(self._context, context)
        put(self._steps, self.step.read_value())
        if self.with_histograms and rows:
            counts = histograms.histograms([_values(g) for g in gradients], scale)
            put(self._histograms, _scatter(counts, rows, count, 0))
        self._taken.assign_add(1)
        self._window.assign(np.tile(_WINDOW_START, (count, 1)))
        self._scalars.assign(_SCALARS_START)
        self.due.assign((self.step // self.interval + 1) * self.interval)

    def _with_copies(
        self, rows: Sequence[int], copied: Mapping[int, slice], gradients: Sequence[Any]
    ) -> list[Any]:
        """The gradients of all rows: those handed over, and those copied apart."""
        handed = iter(gradients)
        copies = self._copies.read_value() if copied else None
        return [
            tf.reshape(copies[copied[row]], self.table.variables[row].shape)
            if row in copied
            else next(handed)
            for row in rows
        ]

    def _matrix(
        self,
        rows: Sequence[int],
        gradients: Sequence[Any],
        befores: Sequence[Tensor],
        afters: Sequence[Tensor],
        tables: Mapping[str, Tensor],
        norms: Tensor,
        scale: Tensor | None,
        xla: bool,
    ) -> Tensor:
        """float32 [all variables, statistics]; NaN for those that have no gradient."""
        variables = self.table.variables
        position = {row: i for i, row in enumerate(rows)}
        sparse = [row for row in rows if _sparse(gradients[position[row]])]
        blocks = statistics.blocks_of(variables, [row for row in rows if row not in sparse])
        parts, order = [], []

        def add(block: statistics.Block, careful: bool) -> Tensor:
            at = [position[row] for row in block.members]
            return statistics.rows_of(
                block,
                [gradients[i] for i in at],
                [befores[i] for i in at],
                [afters[i] for i in at],
                tf.gather(norms, at),
                scale,
                careful=careful,
                xla=xla,
            )

        # Under XLA fused element-wise operations make the careful way free; a branch is not.
        large = [b for b in blocks if b.elements > statistics.FAST_ELEMENTS and not xla]
        if large:
            trouble = tf.logical_not(tf.math.is_finite(norms)) | (norms < statistics.TINY_SQUARES)
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
        for row in sparse:
            i = position[row]
            table = tables[str(row)]
            parts.append(
                statistics.sparse_row(gradients[i], befores[i], afters[i], table, scale, xla)
            )
            order.append(row)
        if not parts:
            return tf.fill([len(variables), len(_STAT)], np.float32(np.nan))
        return _scatter(tf.concat(parts, 0), order, len(variables), np.nan)

    def _with_window(self, matrix: Tensor) -> Tensor:
        """Fill the window columns and the applied norm."""
        window = self._window.read_value()
        seen = window[:, _SEEN_STEPS]
        measured = tf.maximum(seen - window[:, _NONE_STEPS], 0)

        def known(value: Tensor, condition: Tensor) -> Tensor:
            return tf.where(condition, value, np.nan)

        filled = {
            "gradient_norm_max": known(window[:, _NORM_MAX], window[:, _NORM_MAX] >= 0),
            "nonfinite_age": known(window[:, _NONFINITE_AGE], measured > 0),
            "zero_step_share": known(
                tf.math.divide_no_nan(window[:, _ZERO_STEPS], measured), measured > 0
            ),
            "none_step_share": known(
                tf.math.divide_no_nan(window[:, _NONE_STEPS], seen), seen > 0
            ),
            "dead_unit_share": self._dead_unit_share(),
        }
        columns = [
            filled.get(name, matrix[:, i]) for i, name in enumerate(schema.statistic_names())
        ]
        return tf.stack(columns, axis=1)

    def _dead_unit_share(self) -> Tensor:
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
        return tf.where(self._seen >= float(self.unit_window), share, np.nan)

    def _context_row(
        self,
        matrix: Tensor,
        clipping: Mapping[str, float],
        scale: Tensor | None,
        learning_rate: Tensor | None,
        batch: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """The context vector, and the matrix with its ``applied_norm`` column."""
        scalars = self._scalars.read_value()
        norms = matrix[:, _STAT["gradient_norm"]]
        global_norm = _global_norm(norms)
        matrix = _with_applied_norm(matrix, norms, global_norm, clipping)
        losses = scalars[_LOSS_COUNT]
        has_loss = losses > 0
        nan = tf.constant(np.nan)
        row = {
            "table_id": tf.constant(float(self.table.table_id)),
            "window_steps": scalars[_STEPS],
            "applied_steps": scalars[_APPLIED],
            "skipped_steps": (
                tf.constant(0.0) if scale is None else scalars[_STEPS] - scalars[_APPLIED]
            ),
            "unit_window": tf.constant(float(self.unit_window)),
            "loss_mean": scalars[_LOSS_SUM] / losses,  # 0 / 0: not measured
            "loss_min": tf.where(has_loss, scalars[_LOSS_MIN], nan),
            "loss_max": tf.where(has_loss, scalars[_LOSS_MAX], nan),
            "global_norm": global_norm,
            "loss_scale": tf.constant(1.0) if scale is None else scale,
        }
        if batch["loss"] is not None:
            row["loss"] = tf.cast(tf.reduce_mean(batch["loss"]), tf.float32)
            row["loss_nonfinite_age"] = scalars[_LOSS_AGE]
        if learning_rate is not None:
            row["learning_rate"] = tf.cast(learning_rate, tf.float32)
        for name in ("inputs", "targets", "predictions"):
            row.update(_moments(name, batch[name]))
        return tf.stack([row.get(name, nan) for name in schema.context_names()]), matrix

    # --- from the host -----------------------------------------------------------------

    def schedule(self, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``."""
        self.due.assign(due)
        self.interval.assign(interval)

    def rearm(self) -> None:
        """Let the next non-finite gradient force a frame again."""
        self._armed.assign(True)

    def taken(self) -> int:
        """How many frames wait; reads one integer of the device."""
        return int(self._taken.numpy())

    def next_step(self) -> int:
        """Number of the next step, by the device's own count."""
        return int(self.step.numpy())

    def drain(self) -> list[tuple[int, Any, Any, Any]]:
        """The waiting frames as NumPy (step, values, context, histograms), oldest first."""
        taken, steps, values, context, counts = (t.numpy() for t in self._drain())
        return [
            (int(steps[i]), values[i], context[i], counts[i] if self.with_histograms else None)
            for i in range(min(int(taken), self.slots))
        ]

    def _drain_ops(self) -> tuple[Tensor, ...]:
        result = tuple(
            tf.identity(v)
            for v in (self._taken, self._steps, self._values, self._context, self._histograms)
        )
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


_MOVES = ("Reshape", "Transpose", "Identity", "Squeeze", "ExpandDims", "Cast")
_PRODUCTS = ("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


def _is_own_value(tensor: Tensor) -> bool:
    """Whether XLA computes a tensor by itself, not as a part of what uses it."""
    operation = tensor.op
    while operation.type in _MOVES:
        operation = operation.inputs[0].op
    return operation.type in _PRODUCTS or "BackpropFilter" in operation.type


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
    column = _STAT["applied_norm"]
    return tf.concat([matrix[:, :column], applied[:, None], matrix[:, column + 1 :]], axis=1)


def _moments(name: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Location and scale of a batch; integer inputs are identifiers and have none."""
    numbers = [t for t in tensors if t.dtype.is_floating or (t.dtype.is_integer and name != "inputs")]
    if not numbers:
        return {}
    flat = tf.concat([tf.reshape(tf.cast(t, tf.float32), [-1]) for t in numbers], 0)
    finite = tf.math.is_finite(flat)
    count = tf.reduce_sum(_is(finite))
    clean = tf.where(finite, flat, 0.0)
    mean = tf.reduce_sum(clean) / count
    deviation = tf.where(finite, clean - mean, 0.0)
    moments = {
        f"{name}_mean": mean,
        f"{name}_std": tf.sqrt(tf.reduce_sum(tf.square(deviation)) / count),
    }
    if name != "predictions":
        moments[f"{name}_max_abs"] = tf.reduce_max(tf.abs(clean))
        moments[f"{name}_nonfinite"] = tf.cast(tf.size(flat), tf.float32) - count
    return moments
