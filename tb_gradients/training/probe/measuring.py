"""Reduce one step's gradients, weights and updates on the device to what a frame needs.

In:  gradients, and the variables before and after the step, as tensors.
Out: per variable the elements of its sample, and for large variables a few numbers of all their
     elements. On the host, ``statistics`` computes the columns of a frame from them.
Does not know about schedules, files, rules or Keras.

Few operations, because each one is traced before the first step and dispatched at every frame.
Two points need numerical care:

* Squares of float32 leave the range for magnitudes above 1.8e19 and below 1.1e-19, and one NaN
  makes a sum NaN. The *fast* path is used if the sums of squares show no such case. The *careful*
  path masks non-finite elements and scales by the largest magnitude. The device decides, from the
  sums of squares that every step computes anyway.
* XLA on a CPU does not vectorise a reduction to a scalar, because floating-point addition
  is not associative. Folding the vector onto itself first gives it element-wise
  operations, which it does vectorise: 2 to 4 times faster.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.host.sampling import NUMBERS, Layout, Sample
from tb_gradients.training.probe.graphs import branch

Tensor = Any  # TensorFlow ships no type information

STACK_ELEMENTS = 65_536
"""Variables of one shape are stacked up to this size; above it the copy costs more than
the operations it saves."""

FEWEST_STACKED = 4
"""Fewer tensors of one shape are squared one by one: a stack costs four operations."""

TINY_SQUARES = 1e-30
"""A sum of squares below this may have lost elements to underflow (1.1e-19 squared)."""

FOLD = 16
"""So many runs of a tensor are folded onto each other under XLA; with 8 to 15 of them it takes up
to twice as long."""

FOLD_WIDTHS, BEST_WIDTH = range(64, 4097), 2048
"""Longest run of a vector, and the best length: up to a million elements any length is good; of
16 million, runs of 128 take 1.5 times as long as runs of thousands."""

FOLD_ROWS = 256
"""Rows of a matrix that are as long as this are folded as they are."""

UPDATE_SCALE = 2.0**20
"""Updates are multiplied by this power of two (an exact operation) before squaring, so that
magnitudes from 1e-25 on count. The largest one is then 1.8e13, far beyond any update."""


def as_real(tensor: Tensor) -> Tensor:
    """float32 of a lower-precision tensor, the magnitude of a complex one, float64 as it is."""
    if tensor.dtype.is_complex:
        tensor = tf.abs(tensor)
    return tensor if tensor.dtype in (tf.float32, tf.float64) else tf.cast(tensor, tf.float32)


# --- At every step --------------------------------------------------------------------------


def squares(tensor: Tensor, xla: bool) -> Tensor:
    """Sum of squares of one tensor of any shape: float32 scalar, non-finite if any element is."""
    tensor = as_real(tensor)
    if tensor.shape.num_elements() == 0:
        return tf.zeros([], tf.float32)
    if not xla:
        return 2.0 * tf.cast(tf.nn.l2_loss(tensor), tf.float32)
    if not tensor.shape.is_fully_defined():
        return tf.cast(tf.reduce_sum(tf.square(tensor)), tf.float32)
    return tf.cast(_folded([tensor], tf.square), tf.float32)


def all_squares(tensors: Mapping[int, Tensor], xla: bool) -> tuple[Tensor, tuple[int, ...]]:
    """Sums of squares: float32 [tensors], and the index of the tensor of each.

    In a graph many small tensors of one shape are stacked, see STACK_ELEMENTS.
    """
    if not tensors:
        return tf.zeros([0]), ()
    if xla:  # compiles a stack to the same code as single tensors
        return tf.stack([squares(tensor, xla) for tensor in tensors.values()]), tuple(tensors)
    groups: dict[Any, list[int]] = {}
    for row, tensor in tensors.items():
        static = tensor.shape.is_fully_defined()
        small = static and 0 < tensor.shape.num_elements() <= STACK_ELEMENTS
        groups.setdefault((tuple(tensor.shape), tensor.dtype) if small else row, []).append(row)
    stacked = [rows for rows in groups.values() if len(rows) >= FEWEST_STACKED]
    single = [row for rows in groups.values() if len(rows) < FEWEST_STACKED for row in rows]
    parts = []
    if single:
        halves = [_half_squares(tensors[row]) for row in single]
        parts.append(2.0 * tf.stack(halves))
    for rows in stacked:
        together = tf.stack([tensors[row] for row in rows])
        axes = list(range(1, together.shape.rank))
        parts.append(tf.cast(tf.reduce_sum(tf.square(as_real(together)), axis=axes), tf.float32))
    order = (*single, *(row for rows in stacked for row in rows))
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0), order


def _half_squares(tensor: Tensor) -> Tensor:
    tensor = as_real(tensor)
    if tensor.shape.num_elements() == 0:
        return tf.zeros([], tf.float32)
    half = tf.nn.l2_loss(tensor)
    return half if half.dtype == tf.float32 else tf.cast(half, tf.float32)


def _folded(tensors: Sequence[Tensor], part: Callable[..., Tensor]) -> Tensor:
    """Sum over tensors of one known shape, in a form that XLA vectorises: scalar.

    Args:
        part: of a part of each tensor, what is to be summed.
    """
    rest: list[Tensor] = []
    while tensors[0].shape.num_elements() > 4096:
        runs, left = _divided(tensors)
        sums = [part(*run) for run in runs]
        if left:
            rest.append(_folded(left, part))
        while len(sums) > 1:
            sums = [a + b for a, b in zip(sums[::2], sums[1::2], strict=True)]
        tensors, part = [tf.reshape(sums[0], [-1])], tf.identity
    return tf.add_n([tf.reduce_sum(part(*tensors)), *rest])


def _divided(tensors: Sequence[Tensor]) -> tuple[list[tuple[Tensor, ...]], list[Tensor]]:
    """FOLD runs of neighbouring elements of each, to fold onto each other, and what is left.

    Each run is sliced from the tensor as it is: what is done to it as a whole before (a cut, a
    square) XLA writes to memory first.
    """
    shape = tensors[0].shape.as_list()
    axis = int(np.argmax(shape[:-1])) if len(shape) > 1 else 0
    if len(shape) > 1 and shape[-1] >= FOLD_ROWS and shape[axis] >= FOLD:
        before = (slice(None),) * axis
        whole = shape[axis] // FOLD * FOLD
        parts = [(*before, slice(i, whole, FOLD)) for i in range(FOLD)]
        rest = (*before, slice(whole, None))
        runs = [[tensor[part] for part in parts] for tensor in tensors]
        left = [tensor[rest] for tensor in tensors if whole < shape[axis]]
    else:
        flat = [tf.reshape(tensor, [-1]) for tensor in tensors]
        size = int(flat[0].shape[0])
        width = _width(size)
        whole = size // (FOLD * width) * (FOLD * width)
        folds = [tf.reshape(vector[:whole], [-1, FOLD, width]) for vector in flat]
        runs = [tf.unstack(fold, axis=1) for fold in folds]
        left = [vector[whole:] for vector in flat if whole < size]
    return list(zip(*runs, strict=True)), left


@functools.cache
def _width(size: int) -> int:
    """Length of the runs of a vector; if possible one that leaves no rest."""
    widths = [width for width in FOLD_WIDTHS if size % (FOLD * width) == 0]
    return min(widths or [FOLD_WIDTHS.start], key=lambda width: abs(math.log(width / BEST_WIDTH)))


# --- At a sampled step ----------------------------------------------------------------------


def take(tensor: Tensor, sample: Sample) -> Tensor:
    """Flat sample of one variable's tensor, of its own dtype."""
    down, across = sample.strides
    table = _table(tensor, sample)
    return tf.reshape(table if sample.whole else table[::down, ::across], [-1])


def coarse_rows(variable: Any, sample: Sample) -> Tensor:
    """[rows, units] of a huge variable: the rows that the norm of its update is taken of."""
    # Copies row by row, which strides do not.
    return tf.gather(_table(variable, sample), np.arange(0, sample.rows, sample.coarse))


def take_coarse(rows: Tensor, sample: Sample) -> Tensor:
    """What ``take`` gives, of the ``coarse_rows``."""
    down, across = sample.strides
    return tf.reshape(rows[:: down // sample.coarse, ::across], [-1])


def _table(tensor: Tensor, sample: Sample) -> Tensor:
    """[rows, units], as a ``Sample`` counts them."""
    if 0 <= sample.unit_axis < len(sample.shape) - 1:
        axes = [i for i in range(len(sample.shape)) if i != sample.unit_axis]
        tensor = tf.transpose(tensor, [*axes, sample.unit_axis])
    return tf.reshape(tensor, [sample.rows, sample.units])


def update_norms(
    layout: Layout, befores: Mapping[int, Tensor], afters: Mapping[int, Tensor]
) -> Tensor:
    """float32 [large samples], in a step compiled by XLA, of the weights before and after, by row.

    NaN, that is unknown, for huge variables, whose old weights would be kept by it, and for 16-bit
    weights: of their difference XLA leaves out the rounding.
    """

    def square(before: Tensor, after: Tensor) -> Tensor:
        return tf.square(difference(before, after) * UPDATE_SCALE)

    norms = []
    for sample in layout.large:
        before, after = befores[sample.row], afters[sample.row]
        if sample.coarse > 1 or after.dtype.size < 4:
            norms.append(tf.constant(np.nan))
        else:
            total = _folded([before, after], square)
            norms.append(tf.sqrt(tf.cast(total, tf.float32)) / UPDATE_SCALE)
    return tf.stack(norms) if norms else tf.zeros([0])


def together(samples: Sequence[Sample], tensors: Mapping[int, Any]) -> Tensor:
    """Of all samples that are small the real tensors, looked at whole, in one vector.

    Neighbours of one shape are stacked, which is fewer operations.

    Args:
        tensors: tensors or variables, by row.
    """
    dtype = dtype_of(samples)
    small = [sample for sample in samples if sample.small]
    values = [
        v.value() if isinstance(v, tf.Variable) else v for v in (tensors[s.row] for s in small)
    ]
    parts: list[Tensor] = []
    pairs = list(zip(small, values, strict=True))
    for _, found in itertools.groupby(pairs, key=lambda pair: (pair[0].shape, pair[1].dtype)):
        group = list(found)
        sample = group[0][0]
        if len(group) == 1 or 0 <= sample.unit_axis < len(sample.shape) - 1:
            parts += [tf.cast(take(tensor, one), dtype) for one, tensor in group]
        else:
            stacked = tf.stack([tensor for _, tensor in group])
            parts.append(tf.cast(tf.reshape(stacked, [-1]), dtype))
    if not parts:
        return tf.zeros([0], dtype)
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0)


def dtype_of(samples: Sequence[Sample]) -> Any:
    """What holds the elements of all samples."""
    wide = any(sample.dtype in ("float64", "complex128") for sample in samples)
    return tf.float64 if wide else tf.float32


@dataclasses.dataclass(frozen=True)
class Step:
    """The tensors that a step is measured from.

    Attributes:
        small_gradients, small_befores, small_afters: those of all ``layout.small`` ``together``:
            gradients, and weights before and after the step.
        gradients, befores, afters: of all others, by row; of the weights before the step of a huge
            one the ``coarse_rows``. Where those of one are missing, its sample comes next in
            ``small_befores``. A single NaN for any weights before the step: they are not known.
        update_norms: float32 [large samples] of those that are missing.
    """

    small_gradients: Tensor
    small_befores: Tensor
    small_afters: Tensor
    gradients: Mapping[int, Tensor]
    befores: Mapping[int, Tensor]
    afters: Mapping[int, Tensor]
    update_norms: Tensor | None = None


def reduced(
    layout: Layout, step: Step, squares: Tensor, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``pack`` and ``numbers`` of ``statistics.rows_of``.

    Args:
        squares: sums of the squares of the unscaled gradients, in ``layout.order``.
        scale: the loss scale, or None.
    """
    small, befores = step.small_afters, step.small_befores
    update = difference(befores[: tf.size(small)], small)
    columns = [[step.small_gradients], [small], [update]]
    start = sum(sample.size for sample in layout.small)
    moved = {}
    for sample in layout.others:
        after, before = step.afters[sample.row], step.befores.get(sample.row)
        taken = take(after, sample)
        if before is None:
            update = difference(befores[start : start + sample.size], taken)
            start += sample.size
        else:
            rows = coarse_rows(after, sample) if sample.coarse > 1 else after
            moved[sample.row] = difference(before, rows)
            update = (take_coarse if sample.coarse > 1 else take)(moved[sample.row], sample)
        gradient = take(step.gradients[sample.row], sample)
        for column, part in zip(columns, (gradient, taken, update), strict=True):
            column.append(tf.cast(as_real(part), small.dtype))
    pack = tf.stack([tf.concat(column, 0) for column in columns])
    return pack, _numbers_of(layout, step, moved, squares, scale)


def difference(before: Tensor, after: Tensor) -> Tensor:
    """Real weights after minus before, as float32 or float64; of complex ones the magnitude.

    NaN where both are the same infinity.
    """
    if after.dtype.is_complex:
        return tf.abs(after - before)
    return as_real(after) - as_real(before)


def _numbers_of(
    layout: Layout,
    step: Step,
    updates: Mapping[int, Tensor],
    squares: Tensor,
    scale: Tensor | None,
) -> Tensor:
    """float32 [large samples, NUMBERS] of all elements of the large variables.

    Args:
        updates: of each the ``difference`` of its weights, of a huge one that of its
            ``coarse_rows``, by row; where it is missing ``update_norms`` has its norm.
    """
    large = layout.large
    if not large:
        return tf.zeros([0, len(NUMBERS)])

    given = [tf.reshape(as_real(step.gradients[s.row]), [-1]) for s in large]
    weights = [tf.reshape(as_real(step.afters[s.row]), [-1]) for s in large]
    moved = [tf.reshape(updates[s.row], [-1]) if s.row in updates else None for s in large]
    place = {row: i for i, row in enumerate(layout.order)}
    square = tf.gather(squares, [place[s.row] for s in large])
    of_weights, of_updates = _each(_half_squares, weights), _each(_half_squares, moved)
    usable = _in_range(square) & _in_range(of_weights)
    usable &= _in_range(of_updates) | [update is None for update in moved]
    share = np.array([s.rows / -(-s.rows // s.coarse) for s in large], np.float32)

    def each(reduce: Callable[[Tensor], Any]) -> Tensor:
        return _each(reduce, given)

    def fast() -> Tensor:
        norms = tf.sqrt(square) if scale is None else tf.sqrt(square) * scale
        nothing = tf.zeros([len(large)])
        columns = [each(tf.reduce_sum), each(tf.reduce_min), each(tf.reduce_max)]
        columns += [nothing, nothing, norms, tf.sqrt(2.0 * of_weights), nothing]
        return tf.stack([*columns, tf.sqrt(2.0 * share * of_updates)], axis=1)

    def careful() -> Tensor:
        rows = []
        for gradient, weight, update, factor in zip(given, weights, moved, share, strict=True):
            tensors = [t for t in (gradient, weight, update) if t is not None]
            row = _careful(*(tensor.dtype for tensor in tensors))(*tensors)
            rows.append(tf.concat([row[:-1], row[-1:] * np.sqrt(factor)], 0))
        return tf.stack(rows)

    numbers: Tensor = branch(tf.reduce_all(usable), fast, careful)
    if step.update_norms is not None:
        norms = step.update_norms
        norms = tf.where(tf.math.is_nan(norms), numbers[:, -1], norms)
        numbers = tf.concat([numbers[:, :-1], norms[:, None]], 1)
    return numbers


def _each(reduce: Callable[[Tensor], Any], tensors: Sequence[Tensor | None]) -> Tensor:
    """float32 [tensors] of their reductions, NaN for None."""
    return tf.stack(
        [np.float32(np.nan) if t is None else tf.cast(reduce(t), tf.float32) for t in tensors]
    )


def _in_range(squares: Tensor) -> Tensor:
    """Where a sum of squares, or half of it, neither lost elements nor left the range."""
    return tf.math.is_finite(squares) & (squares > TINY_SQUARES)


@functools.cache
def _careful(gradient_dtype: Any, weight_dtype: Any, update_dtype: Any = None) -> Any:
    """Function of vectors of any length, traced once: NUMBERS of non-finite and extreme elements.

    float32 [NUMBERS]; without an update its norm is NaN.
    """

    def of_gradient(gradient: Tensor) -> list[Tensor]:
        finite = tf.math.is_finite(gradient)
        infinity = tf.constant(np.inf, gradient.dtype)
        low = tf.reduce_min(tf.where(finite, gradient, infinity))
        high = tf.reduce_max(tf.where(finite, gradient, -infinity))
        nans = tf.reduce_sum(tf.cast(tf.math.is_nan(gradient), tf.float32))
        infinities = tf.reduce_sum(tf.cast(tf.math.is_inf(gradient), tf.float32))
        clean = tf.where(finite, gradient, tf.zeros_like(gradient))
        peak, scaled = _scaled(clean)
        return [peak * tf.reduce_sum(scaled), low, high, nans, infinities, norm(clean)]

    def norm_of_finite(values: Tensor) -> Tensor:
        return norm(tf.where(tf.math.is_finite(values), values, tf.zeros_like(values)))

    def careful(gradient: Tensor, weight: Tensor, update: Tensor | None = None) -> Tensor:
        columns = of_gradient(gradient)
        broken = tf.reduce_sum(tf.cast(~tf.math.is_finite(weight), tf.float32))
        columns += [norm_of_finite(weight), broken]
        moved = tf.constant(np.nan)
        if update is not None:  # not known where no element of it is finite
            known = tf.reduce_any(tf.math.is_finite(update))
            moved = tf.where(known, bounded(norm_of_finite(update)), moved)
        return tf.stack([bounded(column) for column in [*columns, moved]])

    dtypes = [gradient_dtype, weight_dtype, *([update_dtype] if update_dtype else [])]
    signature = [tf.TensorSpec([None], dtype) for dtype in dtypes]
    return tf.function(careful, signature, autograph=False)


def norm(tensor: Tensor) -> Tensor:
    """L2 norm of finite elements of any magnitude."""
    peak, scaled = _scaled(tensor)
    return peak * tf.sqrt(tf.reduce_sum(tf.square(scaled)))


def _scaled(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Largest magnitude, and the tensor in units of it."""
    peak = tf.reduce_max(tf.abs(tensor))
    return peak, tensor / tf.where(peak > 0, peak, tf.ones_like(peak))


_MAX = float(np.finfo(np.float32).max)


def bounded(values: Tensor) -> Tensor:
    """float32, clipped to its range: Inf in a frame would read as an infinite element.

    NaN stays NaN, which clipping alone makes a number under XLA in TensorFlow 2.16 and 2.18.
    """
    clipped = tf.where(tf.math.is_nan(values), values, tf.clip_by_value(values, -_MAX, _MAX))
    return tf.cast(clipped, tf.float32)
