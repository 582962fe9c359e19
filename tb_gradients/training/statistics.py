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
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import Variable

Tensor = Any  # TensorFlow ships no type information

SAMPLE_ELEMENTS = 8_192
"""Shares and spreads of a larger variable are those of an evenly strided sample of about
this size: a share is then known to within 1.1 percentage points (2 sigma); "exactly none" and
"exactly all" are decided on all elements where the sums tell."""

FAST_ELEMENTS = 65_536
"""Blocks below this size always go the careful way: it costs nothing there, and a second
way would have to be traced and compiled."""

STACK_ELEMENTS = 65_536
"""Variables of one shape are stacked up to this size; above it the copy costs more than
the operations it saves."""

TABLE_ELEMENTS = 2**20
"""The weight norm of a larger table with sparse gradients is that of a sample of its rows."""

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

    def strides(self) -> tuple[int, int]:
        """Of the sample, over rows and units; whole rows where there are enough of them."""
        stride = -(-self.elements // SAMPLE_ELEMENTS)
        return (stride, 1) if self.rows >= stride else (1, -(-stride // self.rows))

    def sampled_shape(self) -> tuple[int, int]:
        """Rows and units of the sample."""
        down, across = self.strides()
        return -(-self.rows // down), -(-self.units // across)

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


def total(tensor: Tensor) -> Tensor:
    """Sum over all but the first axis."""
    return tf.reduce_sum(tensor, axis=[1, 2])


def largest(tensor: Tensor) -> Tensor:
    """Maximum over all but the first axis."""
    return tf.reduce_max(tensor, axis=[1, 2])


def smallest(tensor: Tensor) -> Tensor:
    """Minimum over all but the first axis."""
    return tf.reduce_min(tensor, axis=[1, 2])


def update_of(before: Tensor, after: Tensor) -> Tensor:
    """Weights after minus before, as float32 or float64; of complex weights the magnitude.

    Zero where they are equal, Inf among them.
    """
    whole = after.dtype.is_complex
    update = tf.abs(after - before) if whole else as_real(after) - as_real(before)
    return tf.where(after == before, tf.zeros_like(update), update)


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
    return tf.cast(_folded_sum(flat * flat), tf.float32)


def all_squares(tensors: Sequence[Tensor], xla: bool) -> Tensor:
    """``squares`` of each tensor: float32 [tensors].

    In a graph small tensors of one shape are stacked, see STACK_ELEMENTS.
    """
    if xla:  # compiles a stack to as much as the tensors by themselves
        return tf.stack([squares(tensor, xla) for tensor in tensors])
    groups: dict[Any, list[int]] = {}
    for i, tensor in enumerate(tensors):
        static = tensor.shape.is_fully_defined()
        small = static and 0 < tensor.shape.num_elements() <= STACK_ELEMENTS
        groups.setdefault((tuple(tensor.shape), tensor.dtype) if small else i, []).append(i)
    parts = []
    for members in groups.values():
        if len(members) == 1:
            parts.append(squares(tensors[members[0]], xla)[None])
        else:
            stacked = tf.reshape(tf.stack([tensors[i] for i in members]), [len(members), -1])
            parts.append(tf.cast(tf.reduce_sum(tf.square(stacked), axis=1), tf.float32))
    order = [i for members in groups.values() for i in members]
    return tf.gather(tf.concat(parts, 0), np.argsort(order))


def update_squares(before: Tensor, after: Tensor, xla: bool) -> Tensor:
    """Sum of squares of UPDATE_SCALE times an update: float32 scalar.

    NaN, that is unknown, for 16-bit weights under XLA: of their difference it leaves out the
    rounding.
    """
    if xla and after.dtype.size < 4:
        return tf.constant(np.nan)
    whole = after.dtype.is_complex
    update = tf.abs(after - before) if whole else as_real(after) - as_real(before)
    return squares(update * UPDATE_SCALE, xla)


def _folded_sum(flat: Tensor) -> Tensor:
    """Sum of a vector that XLA vectorises.

    Neighbouring runs of FOLD_WIDTH elements are added, FOLD at a time: measured on matrices of
    260,000 and 400,000 elements, half the cost of adding far-apart parts of the vector.
    """
    rest = []
    while (size := int(flat.shape[0])) > 4096:
        width = min(FOLD_WIDTH, size // FOLD)
        whole = size // (FOLD * width) * (FOLD * width)
        if whole < size:
            rest.append(tf.reduce_sum(flat[whole:]))
        runs = tf.unstack(tf.reshape(flat[:whole], [-1, FOLD, width]), axis=1)
        while len(runs) > 1:
            runs = [a + b for a, b in zip(runs[::2], runs[1::2], strict=True)]
        flat = tf.reshape(runs[0], [-1])
    return tf.add_n([tf.reduce_sum(flat), *rest])


def _norm(tensor: Tensor) -> Tensor:
    """L2 norm over all but the first axis, for any finite magnitude."""
    peak, scaled = _scaled(tensor)
    return peak * tf.sqrt(total(tf.square(scaled)))


def _scaled(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Largest magnitude over all but the first axis, and the tensor in units of it."""
    peak = largest(tf.abs(tensor))
    return peak, tensor / tf.where(peak > 0, peak, tf.ones_like(peak))[:, None, None]


def _sampled(tensor: Tensor, block: Block) -> Tensor:
    """An evenly strided sample of about SAMPLE_ELEMENTS of a [members, rows, units] tensor."""
    down, across = block.strides()
    return tensor[:, ::down, ::across]


def sample_of(tensor: Tensor, variable: Variable) -> Tensor:
    """Flat sample of one variable's tensor: the elements that a block of such looks at."""
    (block,) = blocks_of([variable], [0])
    return tf.reshape(_sampled(block.stack([tensor]), block), [-1])


def _is_zero(tensor: Tensor) -> Tensor:
    """Whether an element is 0 or -0; by its bits, since devices flush subnormals when comparing."""
    if tensor.dtype != tf.float32:
        return tensor == 0
    return tf.bitwise.bitwise_and(tf.bitcast(tensor, tf.int32), 0x7FFFFFFF) == 0


def smallest_normal(compute_dtype: str, dtype: Any) -> Any:
    """Smallest normal number of a dtype; for float32 tensors its bits, see ``subnormal_share``."""
    smallest = SMALLEST_NORMAL.get(compute_dtype, 2.0**-126)
    return np.float32(smallest).view(np.int32) if dtype == tf.float32 else np.float64(smallest)


def subnormal_share(sample: Tensor, bound: Any) -> Tensor:
    """Share of the finite non-zero elements below the smallest normal number of a dtype.

    Args:
        sample: [members, rows, units] of gradients as the backward pass gave them, that is
            with the loss scale: only then do they underflow where it underflows.
        bound: what ``smallest_normal`` gives.

    Returns:
        [members]; NaN where no element is finite and not zero.
    """
    if sample.dtype == tf.float32:  # positive numbers are ordered like their bits: see _is_zero
        magnitude = tf.bitwise.bitwise_and(tf.bitcast(sample, tf.int32), 0x7FFFFFFF)
        infinite = np.float32(np.inf).view(np.int32)
    else:
        magnitude, infinite = tf.abs(sample), np.inf
    known = (magnitude > 0) & (magnitude < infinite)
    small = known & (magnitude < bound)
    return _share(small, sample.dtype) / _share(known, sample.dtype)


def _share(condition: Tensor, dtype: Any) -> Tensor:
    return tf.reduce_mean(tf.cast(condition, dtype), axis=[1, 2])


def _gradient_columns(
    gradient: Tensor, square_sum: Tensor, sample: Callable[[Tensor], Tensor], careful: bool
) -> dict[str, Tensor]:
    """Statistics of gradients [members, rows, units].

    Args:
        square_sum: [members], the sums of squares; used by the fast way.
        sample: takes the sample of such a tensor.
        careful: mask non-finite elements and scale against under- and overflow.

    Returns:
        Statistic name -> [members].
    """
    count = _elements(gradient)
    zeros = tf.zeros_like(gradient[:, 0, 0])
    if careful:
        finite = tf.math.is_finite(gradient)
        nans = total(tf.cast(tf.math.is_nan(gradient), gradient.dtype))
        finite_count = total(tf.cast(finite, gradient.dtype))
        infs = count - finite_count - nans
        infinity = tf.constant(np.inf, gradient.dtype)
        low = smallest(tf.where(finite, gradient, infinity))
        high = largest(tf.where(finite, gradient, -infinity))
        gradient = tf.where(finite, gradient, tf.zeros_like(gradient))
        peak, scaled = _scaled(gradient)
        mean = peak * (total(scaled) / finite_count)
        norm = peak * tf.sqrt(total(tf.square(scaled)))
        none_finite = finite_count == 0
        unknown = tf.constant(np.nan, gradient.dtype)
        low, high = (tf.where(none_finite, unknown, x) for x in (low, high))
    else:
        nans = infs = zeros
        low, high = smallest(gradient), largest(gradient)
        mean = total(gradient) / count
        norm = tf.sqrt(tf.cast(square_sum, gradient.dtype))
    zero = _is_zero(sample(gradient))
    if careful:
        zero &= sample(finite)  # a masked NaN is no zero
    zero_share = _share(zero, gradient.dtype)
    all_zero = (zero_share == 1) & (norm == 0)
    below_one = tf.minimum(zero_share, 1.0 - 1.0 / count)
    return {
        "gradient_norm": norm,
        "gradient_mean": mean,
        "gradient_min": low,
        "gradient_max": high,
        "gradient_zero_share": tf.where(all_zero, tf.ones_like(zero_share), below_one),
        "gradient_nan_count": nans,
        "gradient_inf_count": infs,
        "unit_spread": _unit_spread(sample(gradient)),
    }


def _elements(tensor: Tensor) -> Tensor:
    """Number of elements of each member, in the tensor's dtype."""
    return tf.cast(tf.reduce_prod(tf.shape(tensor)[1:]), tensor.dtype)


def _unit_spread(sample: Tensor) -> Tensor:
    """Deviation from the mean over units, relative to the norm; NaN for an all-zero gradient."""
    _, scaled = _scaled(sample)
    deviation = scaled - tf.reduce_mean(scaled, axis=2, keepdims=True)
    total_square = tf.reduce_sum(tf.square(scaled), axis=[1, 2])  # 0 / 0 for a zero gradient
    return tf.sqrt(tf.reduce_sum(tf.square(deviation), axis=[1, 2]) / total_square)


def _weight_columns(weight: Tensor, careful: bool) -> dict[str, Tensor]:
    """Statistics of a block's weights after the step."""
    if not careful:  # of one member, see STACK_ELEMENTS
        norm = tf.reshape(tf.sqrt(2.0 * tf.nn.l2_loss(weight)), [1])
        return {"weight_norm": norm, "weight_nonfinite_count": tf.zeros_like(norm)}
    finite = tf.math.is_finite(weight)
    count = total(tf.cast(finite, weight.dtype))
    norm = _norm(tf.where(finite, weight, tf.zeros_like(weight)))
    return {
        "weight_norm": norm,
        "weight_nonfinite_count": _elements(weight) - count,
    }


def _update_columns(
    driving: Tensor,
    update: Tensor,
    sample: Tensor,
    elements: Tensor,
    square_sum: Tensor,
    careful: bool,
) -> dict[str, Tensor]:
    """Statistics of updates.

    Args:
        driving: the sample of the gradient.
        update: weights after minus before: all of them, or the sample as well.
        sample: of the update.
        elements: of each member.
        square_sum: [members], sums of squares of UPDATE_SCALE times the updates where ``update``
            is a sample; NaN where they are not known.
    """
    if careful:
        finite = tf.math.is_finite(update)
        norm = _norm(tf.where(finite, update, tf.zeros_like(update)))
        known = tf.reduce_sum(tf.cast(finite, update.dtype), axis=[1, 2])
    else:
        known = _elements(update)
        norm = tf.sqrt(total(tf.square(update * UPDATE_SCALE))) / UPDATE_SCALE
    if update is sample:  # the norm of all, if they are like the sample's finite ones
        scaled_up = norm * tf.sqrt(elements / known)
        exact = tf.sqrt(tf.cast(square_sum, update.dtype)) / UPDATE_SCALE
        norm = tf.where(tf.math.is_finite(square_sum), exact, scaled_up)
    unchanged = sample == 0
    driven = tf.math.is_finite(driving) & ~_is_zero(driving)
    driven_share = _share(driven, update.dtype)
    lost_share = _share(unchanged & driven, update.dtype)
    return {
        "update_norm": norm,
        "unchanged_share": _share(unchanged, update.dtype),
        "lost_share": lost_share / driven_share,  # 0 / 0: nothing drives, so not measured
    }


@dataclasses.dataclass(frozen=True)
class Updates:
    """The updates of a block's members.

    Attributes:
        tensors: per member the flat sample that ``sample_of`` gives.
        square_sums: [members] of UPDATE_SCALE times the whole updates, NaN where they are not
            known; None if the samples are the whole.
    """

    tensors: Sequence[Tensor]
    square_sums: Tensor | None = None

    def stack(self, block: Block) -> Tensor:
        """[members, rows, units], fewer rows or units where they are sampled."""
        shape = block.sampled_shape()
        return tf.stack([tf.reshape(as_real(t), shape) for t in self.tensors])


def rows_of(
    block: Block,
    gradients: Sequence[Tensor],
    afters: Sequence[Tensor],
    updates: Updates,
    square_sums: Tensor,
    scale: Tensor | None,
    *,
    careful: bool,
) -> Tensor:
    """float32 [members, stored statistics] of one block; NaN for what is not measured here.

    Args:
        gradients, afters: the members' dense tensors, in the order of the block.
        updates: of the members.
        square_sums: [members], of the unscaled gradients.
        scale: loss scale that the gradients still carry, or None.
    """
    gradient, after = block.stack(gradients), block.stack(afters)
    update = updates.stack(block)
    square_sums = tf.cast(square_sums, tf.float32)
    unknown = tf.fill(tf.shape(square_sums), np.float32(np.nan))
    sampled = updates.square_sums is not None
    rows = _rows_function(gradient.dtype, careful, sampled, scale is not None)(
        gradient,
        after,
        update,
        square_sums,
        updates.square_sums if sampled else unknown,
        tf.ones([], gradient.dtype) if scale is None else tf.cast(scale, gradient.dtype),
        tf.constant(smallest_normal(block.compute_dtype, gradient.dtype)),
        tf.constant(block.strides()),
        tf.constant(block.unit_axis >= 0 and block.units > 1),
    )
    return tf.ensure_shape(rows, [len(block.members), len(_NAMES)])


@functools.cache
def _rows_function(dtype: Any, careful: bool, sampled_updates: bool, scaled: bool) -> Any:
    """``rows_of`` for tensors of any shape: traced once, not for every shape of a model."""
    like = tf.TensorSpec([None, None, None], dtype)
    vector, scalar = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], dtype)
    bound = tf.TensorSpec([], tf.int32 if dtype == tf.float32 else tf.float64)
    strides, flag = tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.bool)
    signature = [like, like, like, vector, vector, scalar, bound, strides, flag]

    def rows(
        gradient: Tensor,
        after: Tensor,
        update: Tensor,
        square_sums: Tensor,
        update_squares: Tensor,
        scale: Tensor,
        bound: Tensor,
        strides: Tensor,
        has_units: Tensor,
    ) -> Tensor:
        def sample(tensor: Tensor) -> Tensor:
            return tensor[:, :: strides[0], :: strides[1]]

        subnormal = subnormal_share(sample(gradient), bound)
        if scaled:
            gradient /= scale
        columns = _gradient_columns(gradient, square_sums, sample, careful)
        columns["gradient_subnormal_share"] = subnormal
        spread = columns["unit_spread"]
        columns["unit_spread"] = tf.where(has_units, spread, tf.constant(np.nan, dtype))
        columns.update(_weight_columns(after, careful))
        columns.update(
            _update_columns(
                sample(gradient),
                update,
                update if sampled_updates else sample(update),
                _elements(gradient),
                update_squares,
                careful,
            )
        )
        return _in_order(columns, gradient[:, 0, 0])

    return tf.function(rows, input_signature=signature, autograph=False)


def table_sample(table: Any) -> Tensor:
    """Rows of a table for its norm: all of a small one, else evenly strided ones.

    They are gathered from the variable: to read its value would copy it, once rows were
    scattered into it.
    """
    stride = -(-int(np.prod(table.shape, dtype=np.int64)) // TABLE_ELEMENTS)
    return tf.gather(table, np.arange(0, table.shape[0], max(stride, 1)))


def sparse_row(
    gradient: Any,
    before: Tensor,
    after: Tensor,
    table: Tensor,
    table_rows: int,
    scale: Tensor | None,
    compute_dtype: str,
    xla: bool = False,
) -> Tensor:
    """float32 [1, stored statistics] of an ``IndexedSlices`` gradient, over the touched rows.

    Args:
        before, after: the listed rows of the table before and after the step.
        table: what ``table_sample`` gives.
        table_rows: how many rows the whole table has.

    A row may be listed several times; its gradient is the sum, and it is one row. The table
    itself is neither copied nor read: the largest temporary has one integer per row of it.
    """
    indices = tf.reshape(gradient.indices, [-1])
    listed = tf.size(indices)
    width = int(np.prod(table.shape[1:], dtype=np.int64))
    flat = [tf.reshape(as_real(x), [-1, width]) for x in (gradient.values, before, after)]
    values, before, after = (tf.cast(x, tf.float32) for x in flat)
    subnormal = subnormal_share(values[None], smallest_normal(compute_dtype, tf.float32))[0]
    if scale is not None:
        values /= scale
    order = tf.range(listed)
    first = tf.gather(tf.math.unsorted_segment_min(order, indices, table_rows), indices)
    keep = tf.cast(first == order, tf.float32)[:, None]
    values = tf.math.unsorted_segment_sum(values, first, listed)
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
        "gradient_norm": _norm((clean * keep)[None])[0],
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
        "weight_norm": tf.sqrt(squares(table, xla) * (table_rows / int(table.shape[0]))),
        "weight_nonfinite_count": count - tf.reduce_sum(_finite(after) * keep),
        "update_norm": _norm(update[None])[0],
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
    return tf.cast(bounded(stacked), tf.float32)


def bounded(values: Tensor) -> Tensor:
    """Clipped to float32's range: Inf in a frame would read as an infinite element.

    NaN stays NaN, which clipping alone makes a number under XLA in TensorFlow 2.16 and 2.18.
    """
    return tf.where(tf.math.is_nan(values), values, tf.clip_by_value(values, -_MAX, _MAX))
