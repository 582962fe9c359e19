"""Observe the outputs of layers in the training step, and reduce each to three numbers.

In:  a Keras model, and the table's row of each layer's kernel.
Out: per row, root mean square of the output, share of dead and of saturated units.
Does not know about gradients, steps or files.

Keras has no hook for a layer's output in ``fit``, so ``call`` of the layers is wrapped on the
instances while the monitor is attached. Results pass through unchanged. Only outputs in the graph
that calls the optimizer are seen, not those inside of loops (recurrent cells) or of separate
functions. If a layer is called several times, the last call counts.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.model.variables import key_of
from tb_gradients.training.optimizers import replicas

Tensor = Any
Layer = Any

COLUMNS = ("activation_rms", "activation_dead_share", "activation_saturated_share")

ROWS = 4096
"""Rows (samples, positions) for everything but "exactly zero in all of them"."""

FLAT = 1e-3
"""A slope below this share of the function's largest slope passes almost no gradient."""
MOST = 0.5
"""A unit is saturated if more than this share of its rows are."""

SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda a: 4.0 * a * (1.0 - a),
    "tanh": lambda a: (1.0 - a) * (1.0 + a),
    "softsign": lambda a: tf.square(1.0 - tf.abs(a)),
    "hard_sigmoid": lambda a: tf.cast((a > 0) & (a < 1), a.dtype),
    "hard_tanh": lambda a: tf.cast(tf.abs(a) < 1, a.dtype),
    "relu6": lambda a: tf.cast(a < 6, a.dtype),
    "softplus": lambda a: -tf.math.expm1(-a),
}
"""Slope at an output a, relative to the largest slope of the function. (ReLU6 at zero is what
every ReLU is for half of its inputs: of it only the upper end counts.)"""

_NO_UNITS = ("softmax", "log_softmax", "sparsemax")
"""Functions of all units together: none of them is dead or saturated by itself."""

_PASSING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianNoise",
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
)
"""Layers that may stand between a kernel and its activation layer."""


_ACTIVATION_LAYERS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax")


@dataclasses.dataclass(frozen=True)
class Output:
    """A layer's output, behind its activation.

    Attributes:
        activation: name of the function, "linear" for none.
        unit_axis: the axis whose slices are units.
    """

    tensor: Tensor
    activation: str
    unit_axis: int


class Outputs:
    """The outputs of a model's layers, as the training step computes them.

    Args:
        models: built Keras models.
        kernels: ``key_of`` a kernel -> its row.
        guarded: calls its first argument with the others, so that no failure reaches the model.
    """

    def __init__(
        self, models: Sequence[Any], kernels: Mapping[Any, int], guarded: Callable[..., Any]
    ) -> None:
        self._guarded = guarded
        self._rows: dict[int, int] = {}
        self._layers = []
        flat = [m._flatten_layers(include_self=False, recursive=True) for m in models]
        for layer in itertools.chain.from_iterable(flat):
            kind, module = type(layer).__name__, type(layer).__module__
            # A custom layer may do anything in `call`; a cell runs in a loop.
            if not module.startswith("keras.") or kind.endswith("Cell"):
                continue
            own = [kernels.get(key_of(v)) for v in getattr(layer, "_trainable_variables", [])]
            rows = [row for row in own if row is not None]
            if rows:
                self._rows[id(layer)] = rows[-1]
            if rows or kind in _PASSING or kind in _ACTIVATION_LAYERS:
                self._layers.append(layer)
        self._seen: dict[int, Output] = {}
        # By id of the tensor: row and output of layers that an activation may follow.
        self._linear: dict[int, tuple[int, Output | None]] = {}

    def attach(self) -> None:
        """Wrap the layers' ``call``; a wrapper from before is replaced."""
        for layer in self._layers:
            if hasattr(layer.__dict__.get("call"), "tb_gradients_outputs"):
                del layer.__dict__["call"]
            # Not through __setattr__: Keras would try to track it.
            layer.__dict__["call"] = self._wrapper(layer)

    def detach(self) -> None:
        """Restore the layers."""
        for layer in self._layers:
            if getattr(layer.__dict__.get("call"), "tb_gradients_outputs", None) is self:
                del layer.__dict__["call"]
        self.take()

    def take(self) -> dict[int, Output]:
        """Row -> output, of what was computed in the current graph since the last call."""
        seen, self._seen, self._linear = self._seen, {}, {}
        return {row: output for row, output in sorted(seen.items()) if _is_here(output.tensor)}

    def _wrapper(self, layer: Layer) -> Callable[..., Any]:
        original = layer.call

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            training = kwargs.get("training") is not False
            if isinstance(result, tf.Tensor) and args and training and replicas.watches():
                self._guarded(self._note, layer, args[0], result)
            return result

        call.tb_gradients_outputs = self  # type: ignore[attr-defined]
        return call

    def _note(self, layer: Layer, given: Any, result: Tensor) -> None:
        """Record a call, if the layer has a kernel or follows one that has."""
        activation = _activation(layer)
        row = self._rows.get(id(layer))
        if row is not None:
            output = Output(result, activation, _unit_axis(layer, result))
            self._seen[row] = output
        else:
            row, before = self._linear.get(id(given), (-1, None))
            if before is None or before.tensor is not given:
                return
            output = dataclasses.replace(before, tensor=result, activation=activation)
            if activation != "linear":
                self._seen[row] = output
        if activation == "linear":
            self._linear[id(result)] = (row, output)


def _activation(layer: Layer) -> str:
    kind = type(layer).__name__
    if kind == "ReLU" and getattr(layer, "max_value", None) == 6:
        return "relu6"
    if kind in _ACTIVATION_LAYERS and kind != "Activation":
        return kind.lower()
    function = getattr(layer, "activation", None)
    return "linear" if function is None else str(getattr(function, "__name__", function))


def _unit_axis(layer: Layer, result: Tensor) -> int:
    rank = result.shape.rank or 0
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first and rank > 2 else rank - 1


def _is_here(tensor: Tensor) -> bool:
    """Whether a tensor can be read in the graph being traced, or eagerly."""
    if tf.executing_eagerly():
        return not tf.is_symbolic_tensor(tensor)
    return getattr(tensor, "graph", None) is tf.compat.v1.get_default_graph()


def columns(outputs: Mapping[int, Output], count: int) -> dict[str, Tensor]:
    """Statistic -> float32 [count] of all rows; NaN for those without an output."""
    if not outputs:
        return {}
    values = [statistics_of(outputs[row]) for row in sorted(outputs)]
    table = tf.stack([*values, tf.fill([len(COLUMNS)], np.float32(np.nan))])
    source = np.full(count, len(outputs))
    source[sorted(outputs)] = np.arange(len(outputs))
    return dict(zip(COLUMNS, tf.unstack(tf.gather(table, source), axis=1), strict=True))


def statistics_of(output: Output) -> Tensor:
    """float32 [COLUMNS] of one layer; NaN for what is not measured."""
    nan = tf.constant(np.nan)
    tensor, rank = output.tensor, output.tensor.shape.rank
    if rank is None or rank < 2 or not tensor.dtype.is_floating:
        return tf.stack([nan, nan, nan])
    if output.unit_axis != rank - 1:
        others = [axis for axis in range(rank) if axis != output.unit_axis]
        tensor = tf.transpose(tensor, [*others, output.unit_axis])
    shape = tf.shape(tensor)
    # Spelled out, since of an empty tensor no axis can be inferred.
    table = tf.reshape(tensor, tf.stack([tf.reduce_prod(shape[:-1]), shape[-1]]))
    size = tf.shape(table)[0]
    sample = tf.cast(table[:: tf.maximum((size + ROWS - 1) // ROWS, 1)], tf.float32)
    finite = tf.math.is_finite(sample)
    clean = tf.where(finite, sample, 0.0)
    peak = tf.reduce_max(tf.abs(clean))
    unit = tf.where(peak > 0, peak, 1.0)
    square = tf.reduce_sum(tf.square(clean / unit)) / tf.reduce_sum(tf.cast(finite, tf.float32))
    rms = unit * tf.sqrt(square)  # 0 / 0: not measured
    if output.activation in _NO_UNITS:
        return tf.stack([rms, nan, nan])
    dead = (tf.reduce_min(table, axis=0) == 0) & (tf.reduce_max(table, axis=0) == 0)
    dead_share = _share(dead, size)
    if output.activation not in SLOPES:
        return tf.stack([rms, dead_share, nan])
    flat = finite & (SLOPES[output.activation](sample) < FLAT)
    saturated = tf.reduce_mean(tf.cast(flat, tf.float32), axis=0) > MOST
    return tf.stack([rms, dead_share, _share(saturated, size)])


def _share(units: Tensor, rows: Tensor) -> Tensor:
    share = tf.reduce_mean(tf.cast(units, tf.float32))
    return tf.where(rows > 0, share, np.nan)
