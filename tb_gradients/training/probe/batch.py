"""Reduce one batch (inputs, targets, predictions) to a few numbers.

In:  inputs, targets and predictions of a step, as tensors of any number, rank and dtype.
Out: the context columns ``inputs_*``, ``targets_*`` and ``predictions_*``, as scalars on the
     device; in the training step, or eagerly for tensors that ``step`` was given.
Does not know about variables, steps, schedules or rules.

The cost is bounded. Non-finite elements are counted, and the smallest and the largest are
found, over all elements, without a copy of them. All else is that of an evenly strided
sample of at most ``ROWS`` x ``FEATURES``. Nothing here may fail at run time, where it would
be the training that fails: empty batches and inputs of unequal length included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.host.parts import Parts
from tb_gradients.training.probe.graphs import branch
from tb_gradients.training.probe.measuring import bounded

Tensor = Any

ROWS = 1024
"""Samples (positions, of sequences and images) that are looked at, evenly strided."""
FEATURES = 256
"""Features that are looked at, evenly strided; shared between several inputs."""
QUARTILE_ROWS = 32
"""Rows whose quartiles stand for all: sorting is what costs, and 1 must differ from 10."""
FEWEST_ROWS = 8
"""Below this a quartile range is an accident, and what is divided by it is, too."""
ONE_HOT_ELEMENTS = ROWS * FEATURES
"""One-hot targets are read in whole rows, as many as have this many elements."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """What the loss was computed from, in the graph that computes it; any part may be absent."""

    loss: Tensor | None = None
    inputs: Sequence[Tensor] = ()
    targets: Sequence[Tensor] = ()
    predictions: Sequence[Tensor] = ()
    data_inputs: Sequence[Tensor] = ()
    """What a ``train_step`` gets. What it makes of them nobody knows, so that only NaN counts."""
    data_targets: Sequence[Tensor] = ()
    added: Sequence[Tensor] = ()
    """Scalars that layers have added to the loss."""
    scaling: Sequence[Any] = ()
    """What the first layer subtracts from the only input, and what it divides by then."""

    @property
    def scaled(self) -> Sequence[Tensor]:
        """What leaves that layer; computed where it is asked for, in the branch of a frame."""
        if len(self.scaling) != 2 or len(self.inputs) != 1:
            return ()
        shift, divisor = (tf.cast(part, tf.float32) for part in self.scaling)
        return [(tf.cast(self.inputs[0], tf.float32) - shift) / divisor]

    @property
    def pairs(self) -> Sequence[Tensor]:
        """Targets and predictions, where there is one tensor of each."""
        both = [*self.targets, *self.predictions]
        return both if len(self.targets) == len(self.predictions) == 1 else ()

    @property
    def sides(self) -> tuple[Sequence[Tensor], ...]:
        return (
            self.inputs,
            self.targets,
            self.predictions,
            self.data_inputs,
            self.data_targets,
            self.added,
        )


def columns(batch: Batch, xla: bool = False, parts: Parts | None = None) -> dict[str, Tensor]:
    """Context column -> float32 scalar; a column that cannot be measured is NaN or absent.

    *Features* are the slices of the last axis: columns of a table, channels of images and of
    sequences; *rows* are all other axes together. Only for what is said of
    predictions, and of the spread of targets, the rows are the samples, and everything else is
    a feature.

    Args:
        batch: its tensors must belong to the current graph; its inputs are numbers.
        xla: whether this is compiled by XLA.
        parts: where it is noted what fails, and is left out.
    """
    parts = Parts() if parts is None else parts
    found: dict[str, Tensor] = {}
    for side, measures in _MEASURES.items():
        tensors = parts.run(f"the {side}", _numbers, getattr(batch, side))
        for what, measure in measures.items() if tensors else ():
            found.update(parts.run(f"{what} of {side}", measure, tensors, xla) or {})
    if not found:
        return {}
    values = bounded(tf.stack(list(found.values())))
    return dict(zip(found, tf.unstack(values, num=len(found)), strict=True))


def _input_features(inputs: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    features = _features(_sample(inputs))
    mean, std = _moments(features)
    return {"inputs_mean": mean, "inputs_std": std, **_feature_columns(features)}


def _range(side: str, names: Sequence[str]) -> Measure:
    """Measures columns of all elements."""

    def measure(tensors: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
        nonfinite, low, high = _extent(tensors, xla)
        known = {"nonfinite": nonfinite, "max_abs": tf.maximum(-low, high), "min": low, "max": high}
        return {f"{side}_{name}": known[name] for name in names}

    return measure


def _samples(tensors: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    first = tensors[0]
    if not first.shape.rank:
        return {}
    return {"samples": tf.cast(tf.shape(first)[0], tf.float32)}


def _target_moments(targets: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    mean, std = _moments(_features(_sample(targets)))
    return {"targets_mean": mean, "targets_std": std}


def _target_spread(targets: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    return {"targets_spread": _spread(_features(_sample(targets, by_sample=True)))}


def _target_classes(targets: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    classes, share = _class_balance(targets)
    return {"targets_classes": classes, "targets_majority_share": share}


def _prediction_features(predictions: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    features = _features(_sample(predictions, by_sample=True))
    mean, std = _moments(features)
    return {
        "predictions_mean": mean,
        "predictions_std": std,
        "predictions_spread": _spread(features),
    }


def _separation(pair: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    targets, predictions = pair
    if predictions.shape.rank == 2 and predictions.shape[-1] == 2 and targets.shape[-1] != 2:
        predictions = predictions[:, 1] - predictions[:, 0]  # two outputs, and their numbers
    values = tf.reshape(tf.cast(predictions, tf.float32), [-1])
    labels = tf.reshape(tf.cast(targets, tf.float32), [-1])
    same = tf.equal(tf.size(values), tf.size(labels))
    count = tf.minimum(tf.size(values), tf.size(labels))
    down = tf.maximum(count // ONE_HOT_ELEMENTS, 1)
    one = labels[:count:down]
    values = values[:count:down]
    largest = tf.reduce_max(tf.abs(values))
    known = tf.math.is_finite(largest) & tf.reduce_all((one == 0) | (one == 1))
    values /= tf.where(known & (largest > 0), largest, 1.0)  # squares stay in the range of float32
    mean = tf.reduce_mean(values)
    std = tf.sqrt(tf.reduce_mean(tf.square(values - mean)))
    std = tf.where(tf.reduce_max(values) > tf.reduce_min(values), std, 0.0)
    ones = tf.reduce_sum(one)
    zeros = tf.reduce_sum(1.0 - one)
    gap = tf.reduce_sum(one * values) / ones - tf.reduce_sum((1.0 - one) * values) / zeros
    known &= (ones > 0) & (zeros > 0) & same
    measured = tf.where(std > 0, gap / std, 0.0)
    return {"predictions_separation": tf.where(known, measured, _NAN)}


def _added_loss(losses: Sequence[Tensor], xla: bool) -> dict[str, Tensor]:
    return {"added_loss": tf.add_n([tf.reduce_sum(_float32(loss)) for loss in losses])}


Measure = Callable[[Sequence[Tensor], bool], dict[str, Tensor]]

_MEASURES: dict[str, dict[str, Measure]] = {
    # First: what the loss gets, where it is seen, replaces them.
    "data_inputs": {"NaN": _range("inputs", ("nonfinite",))},
    "data_targets": {"NaN": _range("targets", ("nonfinite",))},
    "inputs": {
        "the samples": _samples,
        "the range": _range("inputs", ("nonfinite", "max_abs")),
        "the features": _input_features,
    },
    "scaled": {"the range": _range("inputs_scaled", ("nonfinite", "max_abs"))},
    "targets": {
        "the samples": _samples,
        "the range": _range("targets", ("nonfinite", "max_abs", "min", "max")),
        "the mean": _target_moments,
        "the spread": _target_spread,
        "the classes": _target_classes,
    },
    "predictions": {
        "the range": _range("predictions", ("min", "max")),
        "the features": _prediction_features,
    },
    "pairs": {"the separation of two classes": _separation},
    "added": {"the sum": _added_loss},
}
"""Side of a batch -> what is measured of it, each by itself, and how."""

_MAX = float(np.finfo(np.float32).max)
_NAN = np.float32(np.nan)


def _numbers(tensors: Sequence[Any]) -> list[Tensor]:
    def real(dtype: Any) -> bool:
        return (dtype.is_floating or dtype.is_integer or dtype.is_bool) and not dtype.is_quantized

    tensors = [tf.convert_to_tensor(t) for t in tensors]
    return [t for t in tensors if real(t.dtype)]


# --- All elements ---------------------------------------------------------------------------


def _extent(tensors: Sequence[Tensor], xla: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Number of non-finite elements, and the smallest and largest finite one; NaN if none."""
    tensors = [tf.cast(t, tf.uint8) if t.dtype.is_bool else t for t in tensors]
    floating = [t for t in tensors if t.dtype.is_floating]

    def measure(careful: bool) -> Tensor:
        parts = [_extent_of(t, careful and t.dtype.is_floating) for t in tensors]
        counts, lows, highs = zip(*parts, strict=True)
        return tf.stack([tf.add_n(counts), tf.reduce_min(lows), tf.reduce_max(highs)])

    if xla:  # which fuses the masks into the reductions
        extent = measure(careful=bool(floating))
    elif floating:
        clean = tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in floating]))
        extent = branch(clean, lambda: measure(careful=False), lambda: measure(careful=True))
    else:
        extent = measure(careful=False)
    nonfinite, low, high = tf.unstack(extent, num=3)
    none = low > high
    return nonfinite, tf.where(none, _NAN, low), tf.where(none, _NAN, high)


def any_nonfinite(tensors: Sequence[Tensor]) -> Tensor:
    """float32: 1 if an element is NaN or Inf, 0 if none is, -1 if there are no such tensors."""
    found = [tf.reduce_any(~tf.math.is_finite(t)) for t in _numbers(tensors) if t.dtype.is_floating]
    if not found:
        return tf.constant(-1.0)
    return tf.cast(tf.reduce_any(tf.stack(found)), tf.float32)


def _extent_of(tensor: Tensor, careful: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same of one tensor; low > high if no element is finite."""
    nonfinite = tf.zeros([])
    low = high = tensor
    if careful:
        finite = tf.math.is_finite(tensor)
        infinity = tf.constant(np.inf, tensor.dtype)
        nonfinite = tf.reduce_sum(tf.cast(~finite, tf.float32))
        low, high = tf.where(finite, tensor, infinity), tf.where(finite, tensor, -infinity)
    low, high = tf.cast(tf.reduce_min(low), tf.float32), tf.cast(tf.reduce_max(high), tf.float32)
    return nonfinite, low, high


# --- A sample, by feature -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Features:
    """Per feature, over the finite rows; location and scale in units of ``unit``.

    In units of its largest magnitude no square of a feature leaves the range of float32.
    """

    unit: Tensor
    count: Tensor
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    matrix: Tensor


def _sample(tensors: Sequence[Tensor], *, by_sample: bool = False) -> Tensor:
    """float32 [rows, features] of some tensors side by side, both axes strided evenly."""
    limit = max(FEATURES // len(tensors), 1)
    parts = [_strided(_table(t, by_sample), ROWS, limit) for t in tensors]
    if len(parts) == 1:
        return parts[0]
    # Of unequal length the shorter repeat their rows; of length 0 there is a row of NaN.
    lengths = [tf.shape(part)[0] for part in parts]
    longest = tf.reduce_max(tf.stack(lengths))
    position = tf.range(longest)
    aligned = []
    for part, length in zip(parts, lengths, strict=True):
        padded = tf.pad(part, [[0, 1], [0, 0]], constant_values=_NAN)
        aligned.append(tf.gather(padded, position * length // tf.maximum(longest, 1)))
    return tf.concat(aligned, axis=1)


def _table(tensor: Tensor, by_sample: bool) -> Tensor:
    """A tensor as [rows, features]."""
    rank = tensor.shape.rank
    if rank is None or rank < 2:
        return tf.reshape(tensor, [-1, 1])
    if rank == 2:
        return tensor
    shape = tf.shape(tensor)  # spelled out, since of an empty tensor no axis can be inferred
    split = 1 if by_sample else rank - 1
    rows, features = tf.reduce_prod(shape[:split]), tf.reduce_prod(shape[split:])
    return tf.reshape(tensor, tf.stack([rows, features]))


def _strided(table: Tensor, rows: int | Tensor, features: int | None) -> Tensor:
    """float32 of at most so many rows and features of a table, evenly strided."""
    shape = tf.shape(table)
    down = tf.maximum((shape[0] + rows - 1) // rows, 1)
    if features is None:
        return _float32(table[::down])
    across = tf.maximum((shape[1] + features - 1) // features, 1)
    return _float32(table[::down, ::across])


def _float32(tensor: Tensor) -> Tensor:
    if tensor.dtype == tf.float64:  # a large number is no infinite one
        tensor = tf.where(tf.math.is_finite(tensor), tf.clip_by_value(tensor, -_MAX, _MAX), tensor)
    return tf.cast(tensor, tf.float32)


def _features(matrix: Tensor) -> _Features:
    finite = tf.math.is_finite(matrix)
    low = tf.reduce_min(tf.where(finite, matrix, np.inf), axis=0)
    high = tf.reduce_max(tf.where(finite, matrix, -np.inf), axis=0)
    count = tf.reduce_sum(tf.cast(finite, tf.float32), axis=0)
    peak = tf.maximum(-low, high)
    unit = tf.where(peak > 0, peak, 1.0)  # without a finite row the peak is -Inf
    scaled = tf.where(finite, matrix, 0.0) / unit
    mean = tf.reduce_sum(scaled, axis=0) / count  # 0 / 0: not measured
    deviation = tf.where(finite, scaled - mean, 0.0)
    std = tf.sqrt(tf.reduce_sum(tf.square(deviation), axis=0) / count)
    std = tf.where(low == high, 0.0, std)
    return _Features(unit, count, mean, std, low, high, matrix)


def _common_unit(features: _Features, known: Tensor) -> tuple[Tensor, Tensor]:
    """The largest unit of the known features, and [features]: the unit of each relative to it.

    A feature of zeros has no magnitude of its own. Its unit of 1 must not count: beside it the
    squares of small features would vanish. Without a known feature the unit is not measured.
    """
    counts = known & ((features.low != 0) | (features.high != 0))
    largest = tf.reduce_max(tf.where(counts, features.unit, 0.0))
    unit = tf.where(largest > 0, largest, 1.0)
    relative = tf.where(counts, features.unit / unit, 0.0)
    return tf.where(tf.reduce_any(known), unit, _NAN), relative


def _moments(features: _Features) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of all elements together."""
    known = features.count > 0
    share = features.count / tf.reduce_sum(features.count)
    unit, relative = _common_unit(features, known)
    means = tf.where(known, features.mean * relative, 0.0)
    deviations = tf.where(known, features.std * relative, 0.0)
    mean = tf.reduce_sum(share * means)
    square = tf.square(deviations) + tf.where(known, tf.square(means - mean), 0.0)
    return unit * mean, unit * tf.sqrt(tf.reduce_sum(share * square))


def _spread(features: _Features) -> Tensor:
    """Root mean square over the features of their standard deviations over the rows."""
    known = features.count > 1
    unit, relative = _common_unit(features, known)
    square = tf.where(known, tf.square(features.std * relative), 0.0)
    return unit * tf.sqrt(tf.reduce_sum(square) / tf.reduce_sum(tf.cast(known, tf.float32)))


def _feature_columns(features: _Features) -> dict[str, Tensor]:
    """How the input features differ in scale, how many are constant, how far an element lies."""
    known = features.count > 1
    constant = known & (features.low == features.high)
    quartiles, enough = _quartiles(features.matrix)
    first, median, third = tf.unstack(quartiles / features.unit, num=3)
    range_ = third - first
    varied = enough & (range_ > 0)
    stds = features.std * features.unit
    largest = tf.reduce_max(tf.where(varied, stds, 0.0))
    smallest = tf.reduce_min(tf.where(varied, stds, np.inf))
    low, high = features.low / features.unit, features.high / features.unit
    distance = tf.maximum(high - median, median - low)
    outlier = tf.reduce_max(tf.where(varied, distance / range_, 0.0))
    measured = tf.reduce_any(varied)
    return {
        "inputs_scale_ratio": tf.where(measured, largest / smallest, _NAN),
        "inputs_constant_share": _count(constant) / _count(known),
        "inputs_outlier": tf.where(measured, outlier, _NAN),
    }


def _count(condition: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(condition, tf.float32))


def _quartiles(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[3, features]: quartiles and median (nearest lower element); and where rows suffice."""
    # An even stride would meet the same columns of all images, whose border is mostly one colour.
    down = tf.maximum((tf.shape(matrix)[0] + QUARTILE_ROWS - 1) // QUARTILE_ROWS, 1)
    table = tf.transpose(matrix[:: down + (1 - down % 2)])
    finite = tf.math.is_finite(table)
    ordered = tf.sort(tf.where(finite, table, np.inf), axis=1)
    # A row of zeros, so that there is an element to pick from an empty batch, too.
    ordered = tf.pad(ordered, [[0, 0], [0, 1]])
    count = tf.reduce_sum(tf.cast(finite, tf.int32), axis=1)
    last = tf.maximum(count - 1, 0)
    at = tf.stack([last // 4, last // 2, 3 * last // 4], axis=1)
    return tf.transpose(tf.gather(ordered, at, batch_dims=1)), count >= FEWEST_ROWS


# --- Classes --------------------------------------------------------------------------------


def _class_balance(targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Distinct classes and the share of the most frequent; of several targets, the least balanced.

    NaN where the targets are no classes.
    """
    classes, shares = zip(*[_classes(t) for t in targets], strict=True)
    share = tf.stack(shares)
    worst = tf.argmax(tf.where(tf.math.is_nan(share), -1.0, share))
    return tf.gather(tf.stack(classes), worst), tf.gather(share, worst)


def _classes(target: Tensor) -> tuple[Tensor, Tensor]:
    flat = tf.reshape(target, [-1, 1])
    values = tf.sort(_strided(flat, ROWS, None)[:, 0])
    total = tf.cast(tf.size(values), tf.float32)
    whole = tf.reduce_all(tf.math.is_finite(values) & (values == tf.floor(values)))
    new = tf.concat([tf.ones_like(values[:1]), tf.cast(values[1:] != values[:-1], tf.float32)], 0)
    group = tf.cast(tf.cumsum(new), tf.int32) - 1
    size = tf.math.unsorted_segment_sum(tf.ones_like(values), group, tf.size(values))
    is_classes = whole & (total > 0)
    classes = tf.where(is_classes, tf.reduce_sum(new), _NAN)
    share = tf.where(is_classes, tf.reduce_max(size) / total, _NAN)
    rank = target.shape.rank
    if rank is None or rank < 2 or target.shape[-1] == 1:
        return classes, share
    table = _table(target, by_sample=False)
    rows = ONE_HOT_ELEMENTS // tf.maximum(tf.shape(table)[1], 1)
    table = _strided(table, tf.clip_by_value(rows, 1, ROWS), None)
    one_hot = tf.reduce_all((table == 0) | (table == 1))
    one_hot &= tf.reduce_all(tf.reduce_sum(table, axis=1) == 1) & (tf.size(table) > 0)
    one_hot &= tf.shape(table)[1] > 1
    size = tf.reduce_sum(table, axis=0)
    rows_seen = tf.cast(tf.shape(table)[0], tf.float32)
    return (
        tf.where(one_hot, _count(size > 0), classes),
        tf.where(one_hot, tf.reduce_max(size) / rows_seen, share),
    )
