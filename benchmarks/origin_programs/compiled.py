"""NaN only where XLA compiles the step: without it the gradient is 0."""

from __future__ import annotations

import tensorflow as tf

from origin_programs.snippets import snippet


@snippet()
def untaken_root(h):
    return tf.where(h > 0.0, tf.sqrt(h), 0.0 * h)  # planted: Sqrt


@snippet()
def untaken_inverse_root(h):
    return tf.where(h > 0.0, tf.math.rsqrt(h), 0.0 * h)  # planted: Rsqrt


@snippet()
def untaken_reciprocal(h):
    size = tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True)
    return tf.where(size > 0.0, tf.math.reciprocal(size), 0.0 * size)  # planted: Reciprocal


@snippet()
def clipped_root(h):
    size = tf.sqrt(h * h)  # planted: Sqrt
    return tf.where(h > 0.0, size, tf.zeros_like(h))


@snippet()
def masked_norm(h):
    length = tf.norm(h, axis=-1, keepdims=True)  # planted: Sqrt
    return tf.where(length > 0.0, length, tf.zeros_like(length))
