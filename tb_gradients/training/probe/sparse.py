"""Statistics of sparse gradients, over the rows of the table that they touch; on the device.

In:  ``IndexedSlices``, and the touched rows of the table before and after the step.
Out: one finished row of statistics for each, and a sample of its elements.
Does not know about schedules, files, rules or Keras.

Neither memory nor time of the table's size is spent: rows are gathered, never the whole read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.host.sampling import SAMPLE_ELEMENTS
from tb_gradients.host.statistics import SMALLEST_NORMAL
from tb_gradients.training.probe.measuring import as_real, bounded, norm, squares

Tensor = Any

TABLE_ELEMENTS = 2**20
"""The weight norm of a larger table is that of a sample of its rows."""

_NAMES = schema.statistic_names()


def _subnormal_share(values: Tensor, compute_dtype: str) -> Tensor:
    """Share of the finite non-zero float32 elements below the dtype's smallest normal number.

    By their bits, which are ordered like the numbers: devices take subnormals for zero.
    """
    bound = np.float32(SMALLEST_NORMAL.get(compute_dtype, 2.0**-126)).view(np.int32)
    magnitude = tf.bitwise.bitwise_and(tf.bitcast(values, tf.int32), 0x7FFFFFFF)
    known = (magnitude > 0) & (magnitude < np.float32(np.inf).view(np.int32))
    return _count(known & (magnitude < bound)) / _count(known)


def _count(condition: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(condition, tf.float32))


def sample(values: Tensor, scale: Tensor | None) -> Tensor:
    """float32 vector: at most SAMPLE_ELEMENTS evenly strided, unscaled elements."""
    flat = tf.reshape(values, [-1])
    if flat.shape[0] is None:
        stride = tf.maximum(1, -(-tf.size(flat) // SAMPLE_ELEMENTS))
        flat = tf.strided_slice(flat, [0], [tf.size(flat)], tf.expand_dims(stride, 0))
    else:
        flat = flat[:: max(1, -(-flat.shape[0] // SAMPLE_ELEMENTS))]
    real = as_real(flat)
    if scale is not None:
        real /= tf.cast(scale, real.dtype)
    if real.dtype == tf.float32:
        return real
    return tf.where(tf.math.is_finite(real), bounded(real), tf.cast(real, tf.float32))


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
    """float32 [stored statistics] of an ``IndexedSlices`` gradient, over the touched rows.

    Args:
        before, after: the listed rows of the table before and after the step.
        table: what ``table_sample`` gives.
        table_rows: how many rows the whole table has.

    A row may be listed several times; its gradient is the sum, and it is one row. The table
    itself is neither copied nor read: the largest temporary has one integer per row of it.

    ``applied_norm`` is that of the rows as they are listed: Keras clips them before they are
    summed. `host.making` derives the applied norm from it.
    """
    indices = tf.reshape(gradient.indices, [-1])
    listed = tf.size(indices)
    width = int(np.prod(table.shape[1:], dtype=np.int64))
    flat = [tf.reshape(as_real(x), [-1, width]) for x in (gradient.values, before, after)]
    values, before, after = (tf.cast(x, tf.float32) for x in flat)
    subnormal = _subnormal_share(values, compute_dtype)
    if scale is not None:
        values /= scale
    listed_norm = norm(tf.where(tf.math.is_finite(values), values, 0.0))
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
        "gradient_norm": norm(clean * keep),
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
        "applied_norm": listed_norm,
        "weight_norm": tf.sqrt(squares(table, xla) * (table_rows / int(table.shape[0]))),
        "weight_nonfinite_count": count - tf.reduce_sum(_finite(after) * keep),
        "update_norm": norm(update),
        "unchanged_share": tf.reduce_sum(unchanged) / count,
        "lost_share": tf.reduce_sum(unchanged * driven) / tf.reduce_sum(driven),
    }
    unknown = tf.constant(np.nan)
    return bounded(tf.stack([columns.get(name, unknown) for name in _NAMES]))


def _finite(tensor: Tensor) -> Tensor:
    return tf.cast(tf.math.is_finite(tensor), tf.float32)
