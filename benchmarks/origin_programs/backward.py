"""The forward pass is finite; the gradient of the planted operation is not."""

from __future__ import annotations

import tensorflow as tf

from origin_programs import helpers
from origin_programs.snippets import snippet


@snippet()
def norm_at_zero(h):
    return tf.norm(h, axis=-1, keepdims=True)  # planted: Sqrt


@snippet()
def root_at_zero(h):
    energy = tf.reduce_sum(h * h, axis=-1, keepdims=True)
    return tf.sqrt(energy)  # planted: Sqrt


@snippet()
def distance_by_a_helper(h):
    return helpers.distance(h)


@snippet()
def power_at_zero(h):
    return tf.abs(h) ** 0.5  # planted: Pow


@snippet()
def deviation_of_constant_rows(h):
    spread = tf.math.reduce_std(h, axis=-1, keepdims=True)  # planted: Sqrt
    return spread + 0.1 * h


@snippet()
def untaken_logarithm(h):
    return tf.where(h > 0.0, tf.math.log(h), h)  # planted: Log


@snippet()
def untaken_division(h):
    return tf.where(tf.abs(h) > 0.0, 1.0 / h, h)  # planted: RealDiv


@snippet()
def angle_at_the_origin(h):
    return tf.atan2(h[:, :4], h[:, 4:])  # planted: Atan2


@snippet()
def arc_cosine_at_one(h):
    cosine = 1.0 - tf.abs(h) / (1.0 + tf.abs(h))
    return tf.acos(cosine)  # planted: Acos


@snippet()
def euclidean(h):
    return tf.math.reduce_euclidean_norm(h, axis=-1, keepdims=True)  # planted: EuclideanNorm


@snippet()
def geometric_mean(h):
    p = tf.abs(h)
    return tf.pow(tf.reduce_prod(p, axis=-1, keepdims=True), 0.125)  # planted: Pow


@snippet()
def singular_values(h):
    square = tf.reshape(h[:, :4], [-1, 2, 2])
    values = tf.linalg.svd(square, compute_uv=True)  # planted: Svd
    return tf.reshape(values[1], [-1, 4]) + values[0]


@snippet(large=True)
def untaken_exponential(h):
    return tf.where(h < 10.0, tf.exp(h), h)  # planted: Exp


@snippet(loss=True)
def root_mean_square(y, p):
    gap = (p - p) * y + tf.abs(p - p)
    return tf.sqrt(tf.reduce_mean(gap * gap)) + tf.reduce_mean(tf.square(p))  # planted: Sqrt


@snippet()
def arc_sine(h):
    edge = tf.clip_by_value(1.0 + h * 0.0 + tf.reduce_max(tf.abs(h)) * 0.0, -1.0, 1.0)
    return tf.asin(edge)  # planted: Asin
