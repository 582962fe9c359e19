"""Reduce one step's gradients, weights and updates to a few numbers, on the device.

In:  gradients, and the variables before and after the step, as tensors.
Out: float32 tensors: sums of squares at every step, rows of statistics at sampled ones.
Does not know about schedules, files, rules or Keras.

Variables of one shape are stacked and reduced together: a model of 500 small variables
costs a few dozen operations instead of ten thousand. Two numerical care-points:

* squares of float32 leave the range for magnitudes above 1.8e19 and below 1.1e-19, and
  any NaN swallows a sum. The *fast* way is right when no sum of squares says so; the
  *careful* way masks non-finite elements and scales by the largest magnitude. Which one
  runs is decided on the device, from the sums of squares that every step computes anyway.
* XLA on a CPU does not vectorise a reduction to a scalar, because floating-point addition
  is not associative. Folding the vector onto itself first gives it element-wise
  operations, which it does vectorise: 2 to 4 times faster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import Variable

Tensor = Any  # TensorFlow ships no type information

SAMPLE_ELEMENTS = 16_384
"""Shares and spreads of a larger variable are those of an evenly strided sample of about
this size: a share is then known to within 0.8 percentage points (2 sigma); "exactly none" and
"exactly all" are decided on all elements where the sums tell."""

FAST_ELEMENTS = 65_536
"""Blocks below this size always go the careful way: it costs nothing there, and a second
way would have to be traced and compiled."""

STACK_ELEMENTS = 65_536
"""Variables of one shape are stacked up to this size; above it the copy costs more than
the operations it saves."""

TINY_SQUARES = 1e-30
"""A sum of squares below this may have lost elements to underflow (1.1e-19 squared)."""

SMALLEST_NORMAL = {"float16": 2.0**-14, "float64": 2.0**-1022}
"""Smallest normal number of a dtype; of all others, bfloat16 among them, it is float32's."""

FOLD, FOLD_WIDTH = 8, 1024
"""How a vector is folded onto itself before it is reduced under XLA."""

UPDATE_SCALE = 2.0**20
"""Updates are multiplied by this power of two (so: exactly) before squaring, which makes
magnitudes from 1e-25 on visible. 1.8e13 is the largest then, far beyond any update."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Variables that are reduced together: rows of the table of one shape and kind.

    A tensor of the block is [members, rows, units]: the unit axis last, all others flattened.
    """

    members: tuple[int, ...]
    shape: tuple[int, ...]
    unit_axis: int
    dtype: str
    compute_dtype: str

    @property
    def units(self) -> int:
        return self.shape[self.unit_axis] if self.unit_axis >= 0 else 1

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def rows(self) -> int:
        return self.elements // self.units

    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """float32 (float64 stays) [members, rows, units] of tensors of this block's shape."""
        flat = []
        for tensor in tensors:
            tensor = as_real(tensor)
            if 0 <= self.unit_axis < len(self.shape) - 1:
                axes = [i for i in range(len(self.shape)) if i != self.unit_axis]
                tensor = tf.transpose(tensor, [*axes, self.unit_axis])
            flat.append(tf.reshape(tensor, [1, self.rows, self.units]))
        return flat[0] if len(flat) == 1 else tf.concat(flat, axis=0)


def blocks_of(variables: Sequence[Variable], rows: Sequence[int]) -> list[Block]:
    """Group rows of the table by shape, unit axis and dtypes; empty variables are left out."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        variable = variables[row]
        if variable.elements == 0:
            continue
        compute_dtype = compute_dtype_of(variable)
        key: tuple[Any, ...] = (variable.shape, variable.unit_axis, variable.dtype, compute_dtype)
        if variable.elements > STACK_ELEMENTS:
            key = (*key, row)
        groups.setdefault(key, []).append(row)
    return [Block(tuple(members), *key[:4]) for key, members in groups.items()]


def compute_dtype_of(variable: Variable) -> str:
    """In which dtype the layer of a variable computes; without a layer that of the variable."""
    return variable.facts.get("compute_dtype", variable.dtype)


def as_real(tensor: Tensor) -> Tensor:
    """float32 of a lower-precision tensor, the magnitude of a complex one, float64 as it is."""
    if tensor.dtype.is_complex:
        tensor = tf.abs(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def _fold(tensor: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Parts of a [members, elements] tensor whose reduction is that of the whole, but short.

    Neighbouring runs of FOLD_WIDTH elements are combined, FOLD at a time: measured on matrices
    of 260,000 and 400,000 elements, half the cost of combining far-apart parts of the tensor.
    """
    parts = []
    size = int(tensor.shape[1])
    while size > 4096:
        width = min(FOLD_WIDTH, size // FOLD)
        whole = size // (FOLD * width) * (FOLD * width)
        if whole < size:
            parts.append(tensor[:, whole:])
            tensor = tensor[:, :whole]
        pieces = tf.unstack(tf.reshape(tensor, [tensor.shape[0], -1, FOLD, width]), axis=2)
        while len(pieces) > 1:
            pieces = [combine(a, b) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        size = whole // FOLD
        tensor = tf.reshape(pieces[0], [tensor.shape[0], size])
    return [*parts, tensor]


def _reduce(
    tensor: Tensor,
    combine: Callable[[Tensor, Tensor], Tensor],
    reduce: Callable[..., Tensor],
    xla: bool,
) -> Tensor:
    """[members] of a [members, rows, units] tensor."""
    if not xla:
        return reduce(tensor, axis=[1, 2])
    flat = tf.reshape(tensor, [tensor.shape[0], -1])
    results = [reduce(part, axis=1) for part in _fold(flat, combine)]
    total = results[0]
    for other in results[1:]:
        total = combine(total, other)
    return total


def total(tensor: Tensor, xla: bool) -> Tensor:
    """Sum over all but the first axis."""
    return _reduce(tensor, tf.add, tf.reduce_sum, xla)


def largest(tensor: Tensor, xla: bool) -> Tensor:
    """Maximum over all but the first axis."""
    return _reduce(tensor, tf.maximum, tf.reduce_max, xla)


def smallest(tensor: Tensor, xla: bool) -> Tensor:
    """Minimum over all but the first axis."""
    return _reduce(tensor, tf.minimum, tf.reduce_min, xla)


def squares(tensor: Tensor, xla: bool) -> Tensor:
    """Sum of squares of one tensor of any shape: float32 scalar, non-finite if any element is."""
    tensor = as_real(tensor)
    if tensor.shape.num_elements() == 0:
        return tf.zeros([], tf.float32)
    if not xla:
        return 2.0 * tf.cast(tf.nn.l2_loss(tensor), tf.float32)
    flat = tf.reshape(tensor, [1, -1])
    if flat.shape[1] is None:
        return tf.cast(tf.reduce_sum(flat * flat), tf.float32)
    return tf.cast(total(tf.reshape(flat * flat, [1, 1, -1]), xla)[0], tf.float32)


def _norm(tensor: Tensor, xla: bool) -> Tensor:
    """L2 norm over all but the first axis, for any finite magnitude."""
    peak, scaled = _scaled(tensor, xla)
    return peak * tf.sqrt(total(tf.square(scaled), xla))


def _scaled(tensor: Tensor, xla: bool) -> tuple[Tensor, Tensor]:
    """Largest magnitude over all but the first axis, and the tensor in units of it."""
    peak = largest(tf.abs(tensor), xla)
    return peak, tensor / tf.where(peak > 0, peak, tf.ones_like(peak))[:, None, None]


def _sampled(tensor: Tensor, block: Block) -> Tensor:
    """An evenly strided sample of about SAMPLE_ELEMENTS of a [members, rows, units] tensor."""
    stride = -(-block.elements // SAMPLE_ELEMENTS)
    if stride == 1:
        return tensor
    if block.rows >= stride:
        return tensor[:, ::stride]
    return tensor[:, :, :: -(-stride // block.rows)]


def _is_zero(tensor: Tensor) -> Tensor:
    """Whether an element is 0 or -0; by its bits, since devices flush subnormals when comparing."""
    if tensor.dtype != tf.float32:
        return tensor == 0
    return tf.bitwise.bitwise_and(tf.bitcast(tensor, tf.int32), 0x7FFFFFFF) == 0


def subnormal_share(sample: Tensor, compute_dtype: str) -> Tensor:
    """Share of the finite non-zero elements below the smallest normal number of a dtype.

    Args:
        sample: [members, rows, units] of gradients as the backward pass gave them, that is
            with the loss scale: only then do they underflow where it underflows.

    Returns:
        [members]; NaN where no element is finite and not zero.
    """
    smallest = SMALLEST_NORMAL.get(compute_dtype, 2.0**-126)
    if sample.dtype == tf.float32:  # positive numbers are ordered like their bits: see _is_zero
        magnitude = tf.bitwise.bitwise_and(tf.bitcast(sample, tf.int32), 0x7FFFFFFF)
        bound, infinite = np.array([smallest, np.inf], np.float32).view(np.int32)
    else:
        magnitude, bound, infinite = tf.abs(sample), smallest, np.inf
    known = (magnitude > 0) & (magnitude < infinite)
    small = known & (magnitude < bound)
    return _share(small, sample.dtype) / _share(known, sample.dtype)


def _share(condition: Tensor, dtype: Any) -> Tensor:
    return tf.reduce_mean(tf.cast(condition, dtype), axis=[1, 2])


def gradient_columns(
    gradient: Tensor, square_sum: Tensor, block: Block, *, careful: bool, xla: bool
) -> dict[str, Tensor]:
    """Statistics of a block's gradients [members, rows, units].

    Args:
        square_sum: [members], the sums of squares; used by the fast way.
        careful: mask non-finite elements and scale against under- and overflow.

    Returns:
        Statistic name -> [members].
    """
    count = tf.cast(block.elements, gradient.dtype)
    zeros = tf.zeros_like(gradient[:, 0, 0])
    if careful:
        finite = tf.math.is_finite(gradient)
        nans = total(tf.cast(tf.math.is_nan(gradient), gradient.dtype), xla)
        finite_count = total(tf.cast(finite, gradient.dtype), xla)
        infs = count - finite_count - nans
        infinity = tf.constant(np.inf, gradient.dtype)
        low = smallest(tf.where(finite, gradient, infinity), xla)
        high = largest(tf.where(finite, gradient, -infinity), xla)
        gradient = tf.where(finite, gradient, tf.zeros_like(gradient))
        peak, scaled = _scaled(gradient, xla)
        mean = peak * (total(scaled, xla) / finite_count)
        norm = peak * tf.sqrt(total(tf.square(scaled), xla))
        none_finite = finite_count == 0
        unknown = tf.constant(np.nan, gradient.dtype)
        low, high = (tf.where(none_finite, unknown, x) for x in (low, high))
    else:
        nans = infs = zeros
        low, high = smallest(gradient, xla), largest(gradient, xla)
        mean = total(gradient, xla) / count
        norm = tf.sqrt(tf.cast(square_sum, gradient.dtype))
    sample = _sampled(gradient, block)
    zero = _is_zero(sample)
    if careful:
        zero &= _sampled(finite, block)  # a masked NaN is no zero
    zero_share = _share(zero, gradient.dtype)
    all_zero = (zero_share == 1) & (norm == 0)
    below_one = tf.minimum(zero_share, 1.0 - 1.0 / block.elements)
    columns = {
        "gradient_norm": norm,
        "gradient_mean": mean,
        "gradient_min": low,
        "gradient_max": high,
        "gradient_zero_share": tf.where(all_zero, tf.ones_like(zero_share), below_one),
        "gradient_nan_count": nans,
        "gradient_inf_count": infs,
    }
    if block.unit_axis >= 0 and block.units > 1 and block.rows > 0:
        columns["unit_spread"] = _unit_spread(sample)
    return columns


def _unit_spread(sample: Tensor) -> Tensor:
    """Deviation from the mean over units, relative to the norm; NaN for an all-zero gradient."""
    _, scaled = _scaled(sample, xla=False)
    deviation = scaled - tf.reduce_mean(scaled, axis=2, keepdims=True)
    total_square = tf.reduce_sum(tf.square(scaled), axis=[1, 2])  # 0 / 0 for a zero gradient
    return tf.sqrt(tf.reduce_sum(tf.square(deviation), axis=[1, 2]) / total_square)


def weight_columns(weight: Tensor, block: Block, *, careful: bool, xla: bool) -> dict[str, Tensor]:
    """Statistics of a block's weights after the step."""
    if not careful:
        norm = tf.sqrt(total(tf.square(weight), xla))
        return {"weight_norm": norm, "weight_nonfinite_count": tf.zeros_like(norm)}
    finite = tf.math.is_finite(weight)
    count = total(tf.cast(finite, weight.dtype), xla)
    norm = _norm(tf.where(finite, weight, tf.zeros_like(weight)), xla)
    return {
        "weight_norm": norm,
        "weight_nonfinite_count": tf.cast(block.elements, weight.dtype) - count,
    }


def update_columns(
    gradient: Tensor, before: Tensor, after: Tensor, block: Block, *, careful: bool, xla: bool
) -> dict[str, Tensor]:
    """Statistics of a block's updates."""
    update = after - before
    if careful:
        update = tf.where(tf.math.is_finite(update), update, tf.zeros_like(update))
        norm = _norm(update, xla)
    else:
        norm = tf.sqrt(total(tf.square(update * UPDATE_SCALE), xla)) / UPDATE_SCALE
    before, after, gradient = (_sampled(x, block) for x in (before, after, gradient))
    unchanged = after == before
    driven = tf.math.is_finite(gradient) & ~_is_zero(gradient)
    driven_share = _share(driven, update.dtype)
    lost_share = _share(unchanged & driven, update.dtype)
    return {
        "update_norm": norm,
        "unchanged_share": _share(unchanged, update.dtype),
        "lost_share": lost_share / driven_share,  # 0 / 0: nothing drives, so not measured
    }


def rows_of(
    block: Block,
    gradients: Sequence[Tensor],
    befores: Sequence[Tensor] | None,
    afters: Sequence[Tensor] | None,
    square_sums: Tensor,
    scale: Tensor | None,
    *,
    careful: bool,
    xla: bool,
) -> Tensor:
    """float32 [members, stored statistics] of one block; NaN for what is not measured here.

    Args:
        gradients, befores, afters: the members' dense tensors, in the order of the block.
        square_sums: [members], of the unscaled gradients.
        scale: loss scale that the gradients still carry, or None.
    """
    gradient = block.stack(gradients)
    subnormal = subnormal_share(_sampled(gradient, block), block.compute_dtype)
    if scale is not None:
        gradient /= tf.cast(scale, gradient.dtype)
    columns = gradient_columns(gradient, square_sums, block, careful=careful, xla=xla)
    columns["gradient_subnormal_share"] = subnormal
    if afters is not None:
        after = block.stack(afters)
        columns.update(weight_columns(after, block, careful=careful, xla=xla))
        if befores is not None:
            before = block.stack(befores)
            columns.update(update_columns(gradient, before, after, block, careful=careful, xla=xla))
    return _in_order(columns, gradient[:, 0, 0])


def sparse_row(
    gradient: Any,
    before: Tensor,
    after: Tensor,
    table: Any,
    scale: Tensor | None,
    compute_dtype: str,
    xla: bool,
) -> Tensor:
    """float32 [1, stored statistics] of an ``IndexedSlices`` gradient, over the touched rows.

    Args:
        before, after: the listed rows of the table before and after the step.
        table: all the weights of the variable, for their norm.

    A row may be listed several times; its gradient is the sum, and it is one row. The table
    itself is never copied: the largest temporary has one integer per row of it.
    """
    indices = tf.reshape(gradient.indices, [-1])
    listed = tf.size(indices)
    width = int(np.prod(table.shape[1:], dtype=np.int64))
    flat = [tf.reshape(as_real(x), [-1, width]) for x in (gradient.values, before, after)]
    values, before, after = (tf.cast(x, tf.float32) for x in flat)
    subnormal = subnormal_share(values[None], compute_dtype)[0]
    if scale is not None:
        values /= scale
    order = tf.range(listed)
    first = tf.gather(tf.math.unsorted_segment_min(order, indices, int(table.shape[0])), indices)
    keep = tf.cast(first == order, tf.float32)[:, None]
    values = (
        tf.math.unsorted_segment_sum(values, first, listed)
        if not xla
        else (tf.math.unsorted_segment_sum(values, first, int(indices.shape[0])))
    )
    count = tf.reduce_sum(keep) * width
    finite = tf.math.is_finite(values)
    clean = tf.where(finite, values, 0.0)
    kept = tf.cast(finite, tf.float32) * keep
    known = tf.reduce_sum(kept)
    update = tf.where(tf.math.is_finite(after - before), after - before, 0.0) * keep
    unchanged = tf.cast(after == before, tf.float32) * keep
    driven = tf.cast(clean != 0, tf.float32) * keep
    nans = tf.reduce_sum(tf.cast(tf.math.is_nan(values), tf.float32) * keep)
    infinity = tf.constant(np.inf)
    columns = {
        "gradient_norm": _norm((clean * keep)[None], xla=False)[0],
        "gradient_mean": tf.reduce_sum(clean * keep) / known,
        "gradient_min": tf.where(
            known > 0, tf.reduce_min(tf.where(kept > 0, clean, infinity)), np.nan
        ),
        "gradient_max": tf.where(
            known > 0, tf.reduce_max(tf.where(kept > 0, clean, -infinity)), np.nan
        ),
        "gradient_zero_share": tf.reduce_sum(tf.cast(values == 0, tf.float32) * keep) / count,
        "gradient_nan_count": nans,
        "gradient_inf_count": count - known - nans,
        "gradient_subnormal_share": subnormal,
        "weight_norm": tf.sqrt(squares(table, xla)),
        "weight_nonfinite_count": count - tf.reduce_sum(_finite(after) * keep),
        "update_norm": _norm(update[None], xla=False)[0],
        "unchanged_share": tf.reduce_sum(unchanged) / count,
        "lost_share": tf.reduce_sum(unchanged * driven) / tf.reduce_sum(driven),
    }
    return _in_order({name: value[None] for name, value in columns.items()}, infinity[None])


def _finite(tensor: Tensor) -> Tensor:
    return tf.cast(tf.math.is_finite(tensor), tf.float32)


_NAMES = schema.statistic_names()
_MAX = float(np.finfo(np.float32).max)


def _in_order(columns: dict[str, Tensor], like: Tensor) -> Tensor:
    """float32 [members, stored statistics]; NaN for a column that is not there."""
    absent = tf.fill(tf.shape(like), tf.constant(np.nan, like.dtype))
    stacked = tf.stack([columns.get(name, absent) for name in _NAMES], axis=1)
    # A norm beyond float32 stays finite: Inf in a frame would read as an infinite element.
    return tf.cast(tf.clip_by_value(stacked, -_MAX, _MAX), tf.float32)
