"""Reduce one step's gradients, weights and updates on the device to what a frame needs.

In:  gradients, and the variables before and after the step, as tensors.
Out: per variable the elements of its sample, and for large variables a few numbers of all their
     elements. ``statistics`` makes the columns of a frame of them, on the host.
Does not know about schedules, files, rules or Keras.

Few operations, because each one is traced before the first step and dispatched at every frame.
Two numerical care-points:

* squares of float32 leave the range for magnitudes above 1.8e19 and below 1.1e-19, and
  any NaN swallows a sum. The *fast* way is right when no sum of squares says so; the
  *careful* way masks non-finite elements and scales by the largest magnitude. Which one
  runs is decided on the device, from the sums of squares that every step computes anyway.
* XLA on a CPU does not vectorise a reduction to a scalar, because floating-point addition
  is not associative. Folding the vector onto itself first gives it element-wise
  operations, which it does vectorise: 2 to 4 times faster.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.graphs import branch
from tb_gradients.training.sampling import NUMBERS, Layout, Sample

Tensor = Any  # TensorFlow ships no type information

STACK_ELEMENTS = 65_536
"""Variables of one shape are stacked up to this size; above it the copy costs more than
the operations it saves."""

FEWEST_STACKED = 4
"""Fewer of one shape are squared one by one: a stack is four operations."""

TINY_SQUARES = 1e-30
"""A sum of squares below this may have lost elements to underflow (1.1e-19 squared)."""

FOLD, FOLD_WIDTH = 16, 128
"""How a vector is folded onto itself before it is reduced under XLA: of what was measured, on
matrices of 18,000 to 6 million elements, the fastest that is good for all."""

UPDATE_SCALE = 2.0**20
"""Updates are multiplied by this power of two (so: exactly) before squaring, which makes
magnitudes from 1e-25 on visible. 1.8e13 is the largest then, far beyond any update."""


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
    flat = tf.reshape(tensor, [-1])
    if flat.shape[0] is None:
        return tf.cast(tf.reduce_sum(flat * flat), tf.float32)
    return tf.cast(_folded_squares(flat), tf.float32)


def all_squares(tensors: Mapping[int, Tensor], xla: bool) -> tuple[Tensor, tuple[int, ...]]:
    """Sums of squares: float32 [tensors], and whose they are.

    In a graph many small tensors of one shape are stacked, see STACK_ELEMENTS.
    """
    if not tensors:
        return tf.zeros([0]), ()
    if xla:  # compiles a stack to as much as the tensors by themselves
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


def _folded_squares(flat: Tensor) -> Tensor:
    """Sum of the squares of a vector, in a form that XLA vectorises.

    Neighbouring runs of FOLD_WIDTH elements are added, FOLD at a time. (Far-apart parts of the
    vector cost twice as much, and so does squaring the vector before it is divided into runs: XLA
    then writes all squares to memory.)
    """
    rest: list[Tensor] = []
    part: Callable[[Tensor], Tensor] = tf.square  # of the first parts, then what was folded
    while (size := int(flat.shape[0])) > 4096:
        whole = size // (FOLD * FOLD_WIDTH) * (FOLD * FOLD_WIDTH)
        if whole < size:
            rest.append(tf.reduce_sum(part(flat[whole:])))
        runs = [
            part(run)
            for run in tf.unstack(tf.reshape(flat[:whole], [-1, FOLD, FOLD_WIDTH]), axis=1)
        ]
        while len(runs) > 1:
            runs = [a + b for a, b in zip(runs[::2], runs[1::2], strict=True)]
        flat, part = tf.reshape(runs[0], [-1]), tf.identity
    return tf.add_n([tf.reduce_sum(part(flat)), *rest])


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


def update_squares(before: Tensor, after: Tensor) -> Tensor:
    """Sum of squares of UPDATE_SCALE times an update, in a step compiled by XLA: float32 scalar.

    NaN, that is unknown, for 16-bit weights: of their difference XLA leaves out the rounding.
    """
    if after.dtype.size < 4:
        return tf.constant(np.nan)
    return squares(difference(before, after) * UPDATE_SCALE, xla=True)


def together(samples: Sequence[Sample], tensors: Sequence[Tensor], dtype: Any) -> Tensor:
    """Small real tensors, looked at whole, in one vector.

    Neighbours of one shape are stacked, which is fewer operations.
    """
    parts: list[Tensor] = []
    pairs = list(zip(samples, tensors, strict=True))
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


def sampled(
    layout: Layout, small: Tensor, tensors: Mapping[int, Tensor], *, coarse: bool = False
) -> Tensor:
    """The elements of all samples of a layout, one after the other; of complex ones the magnitudes.

    Args:
        small: of all ``layout.small`` ``together``.
        tensors: those of ``layout.others``, by row.
        coarse: of huge variables they are the ``coarse_rows``.
    """
    parts = [small] if layout.small else []
    for sample in layout.others:
        take_it = take_coarse if coarse and sample.coarse > 1 else take
        parts.append(tf.cast(as_real(take_it(tensors[sample.row], sample)), small.dtype))
    if not parts:
        return small
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0)


def difference(before: Tensor, after: Tensor) -> Tensor:
    """Real weights after minus before, as float32 or float64; of complex ones the magnitude.

    NaN where both are the same infinity.
    """
    if after.dtype.is_complex:
        return tf.abs(after - before)
    return as_real(after) - as_real(before)


def numbers_of(
    layout: Layout,
    gradients: Mapping[int, Tensor],
    afters: Mapping[int, Tensor],
    updates: Mapping[int, Tensor] | Tensor,
    squares: Tensor,
    scale: Tensor | None,
) -> Tensor:
    """float32 [large samples, NUMBERS] of all elements of the large variables.

    Args:
        gradients: with the loss scale in them, by row.
        afters: weights after the step, by row.
        updates: of each the ``difference`` of its weights, of a huge one that of its
            ``coarse_rows``, by row; or the ``update_squares``, float32 [large samples].
        squares: sums of the squares of the unscaled gradients, in ``layout.order``.
        scale: the loss scale, or None.
    """
    large = layout.large
    if not large:
        return tf.zeros([0, len(NUMBERS)])
    place = {row: i for i, row in enumerate(layout.order)}
    flat = [tf.reshape(as_real(gradients[s.row]), [-1]) for s in large]
    weights = [tf.reshape(as_real(afters[s.row]), [-1]) for s in large]
    square = tf.gather(squares, [place[s.row] for s in large])
    half = _halves(weights)
    usable = _in_range(square) & _in_range(half)
    if isinstance(updates, Mapping):
        moved = [tf.reshape(updates[s.row], [-1]) for s in large]
        of_update = _halves(moved)
        usable &= _in_range(of_update)
        share = np.array([s.rows / -(-s.rows // s.coarse) for s in large], np.float32)
        update_norm = tf.sqrt(2.0 * share * of_update)
    else:
        moved, share = [None] * len(large), np.ones(len(large), np.float32)
        update_norm = tf.sqrt(updates) / UPDATE_SCALE

    def each(reduce: Callable[[Tensor], Tensor]) -> Tensor:
        return tf.stack([tf.cast(reduce(gradient), tf.float32) for gradient in flat])

    def fast() -> Tensor:
        nothing = tf.zeros([len(large)])
        norms = tf.sqrt(square) if scale is None else tf.sqrt(square) * scale
        elements = tf.constant([s.elements for s in large], tf.float32)
        extremes = each(tf.reduce_min), each(tf.reduce_max)
        columns = [each(tf.reduce_sum), *extremes, nothing, elements, norms]
        return tf.stack([*columns, tf.sqrt(2.0 * half), nothing, update_norm], axis=1)

    def careful() -> Tensor:
        rows = []
        for i, (gradient, weight, update) in enumerate(zip(flat, weights, moved, strict=True)):
            given = [gradient, weight] if update is None else [gradient, weight, update]
            row = _careful(*(tensor.dtype for tensor in given))(*given)
            last = update_norm[i] if update is None else row[-1] * np.sqrt(share[i])
            rows.append(tf.concat([row[: len(NUMBERS) - 1], last[None]], 0))
        return tf.stack(rows)

    numbers: Tensor = branch(tf.reduce_all(usable), fast, careful)
    return numbers


def _halves(tensors: Sequence[Tensor]) -> Tensor:
    """Half the sums of squares: float32 [tensors]."""
    return tf.stack([_half_squares(tensor) for tensor in tensors])


def _in_range(squares: Tensor) -> Tensor:
    """Where a sum of squares, or half of it, neither lost elements nor left the range."""
    return tf.math.is_finite(squares) & (squares > TINY_SQUARES)


@functools.cache
def _careful(gradient_dtype: Any, weight_dtype: Any, update_dtype: Any = None) -> Any:
    """Function of vectors of any length, traced once: NUMBERS of non-finite and extreme elements.

    float32 [NUMBERS], the norm of the update last; without an update it is left out.
    """

    def of_gradient(gradient: Tensor) -> list[Tensor]:
        finite = tf.math.is_finite(gradient)
        infinity = tf.constant(np.inf, gradient.dtype)
        low = tf.reduce_min(tf.where(finite, gradient, infinity))
        high = tf.reduce_max(tf.where(finite, gradient, -infinity))
        nans = tf.reduce_sum(tf.cast(tf.math.is_nan(gradient), gradient.dtype))
        known = tf.reduce_sum(tf.cast(finite, gradient.dtype))
        clean = tf.where(finite, gradient, tf.zeros_like(gradient))
        peak, scaled = _scaled(clean)
        return [peak * tf.reduce_sum(scaled), low, high, nans, known, norm(clean)]

    def norm_of_finite(values: Tensor) -> Tensor:
        return norm(tf.where(tf.math.is_finite(values), values, tf.zeros_like(values)))

    def careful(gradient: Tensor, weight: Tensor, update: Tensor | None = None) -> Tensor:
        columns = of_gradient(gradient)
        broken = tf.reduce_sum(tf.cast(~tf.math.is_finite(weight), tf.float32))
        columns += [norm_of_finite(weight), broken]
        if update is not None:  # not known where no element of it is finite
            known = tf.reduce_any(tf.math.is_finite(update))
            columns.append(tf.where(known, bounded(norm_of_finite(update)), np.nan))
        return tf.stack([bounded(column) for column in columns])

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
