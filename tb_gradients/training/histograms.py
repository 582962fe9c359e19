"""Signed log2 histograms of gradients, on the device, without a logarithm.

In:  the gradients of some variables, as tensors.
Out: int32 [variables, schema.HISTOGRAM_BINS] counts.
Does not know about files or rules.

The exponent field of a float32 *is* floor(log2 |x|) + 127, so the bin is read off the bits.
``tf.math.bincount`` does not compile under XLA inside a branch, ``unsorted_segment_sum``
does. Of a large tensor an evenly strided sample is binned: its shape is that of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients import schema
from tb_gradients.training.statistics import as_real

Tensor = Any

SAMPLE_ELEMENTS = 8_192
"""Elements binned per variable: a bin that holds 1 % of them is known to within 22 % (2 sigma)."""

_MANTISSA_BITS = 23
_BIAS = 127


def bins_of(values: Tensor) -> Tensor:
    """The histogram bin of every element: int32, the shape of ``values`` (float32)."""
    bits = tf.bitcast(values, tf.int32)
    magnitude = tf.bitwise.bitwise_and(bits, 0x7FFFFFFF)
    exponent = tf.bitwise.right_shift(magnitude, _MANTISSA_BITS) - _BIAS
    octave = tf.clip_by_value(
        exponent - schema.HISTOGRAM_LOWEST_EXPONENT, 0, schema.HISTOGRAM_OCTAVES - 1
    )
    negative = bits < 0
    index = tf.where(negative, schema.BIN_NEGATIVE, schema.BIN_POSITIVE) + octave
    infinite = tf.where(negative, schema.BIN_NEGATIVE_INF, schema.BIN_POSITIVE_INF)
    infinity = 0x7F800000
    index = tf.where(magnitude == infinity, infinite, index)
    index = tf.where(magnitude > infinity, schema.BIN_NAN, index)
    return tf.where(magnitude == 0, schema.BIN_ZERO, index)


def sample(tensor: Tensor, scale: Tensor | None) -> Tensor:
    """float32 vector: at most SAMPLE_ELEMENTS evenly strided, unscaled elements."""
    flat = tf.reshape(tensor, [-1])
    size = flat.shape[0]
    if size is None:
        stride = tf.maximum(1, -(-tf.size(flat) // SAMPLE_ELEMENTS))
        flat = tf.strided_slice(flat, [0], [tf.size(flat)], tf.expand_dims(stride, 0))
    elif size > SAMPLE_ELEMENTS:
        flat = flat[:: -(-size // SAMPLE_ELEMENTS)]
    real = as_real(flat)
    if scale is not None:
        real /= tf.cast(scale, real.dtype)
    if real.dtype == tf.float64:
        # A float64 beyond float32 is large, not infinite: clip the finite ones.
        limit = tf.cast(tf.float32.max, tf.float64)
        real = tf.where(tf.math.is_finite(real), tf.clip_by_value(real, -limit, limit), real)
    return tf.cast(real, tf.float32)


def histograms(tensors: Sequence[Tensor], scale: Tensor | None) -> Tensor:
    """int32 [len(tensors), bins] counts of (samples of) tensors of any shape."""
    samples = [sample(tensor, scale) for tensor in tensors]
    bins = schema.HISTOGRAM_BINS
    offsets = [tf.zeros_like(s, tf.int32) + i * bins for i, s in enumerate(samples)]
    segments = bins_of(tf.concat(samples, 0)) + tf.concat(offsets, 0)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(segments), segments, len(samples) * bins)
    return tf.reshape(counts, [len(samples), bins])
