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
    size = tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True)
    return tf.where(size > 0.0, 1.0 / size, 0.0 * size)  # planted: RealDiv


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
def orthogonalised(h):
    square = tf.reshape(h[:, :4], [-1, 2, 2])
    inverse = tf.linalg.qr(square + tf.eye(2) * 0.0)[0]  # planted: Qr
    return tf.reshape(inverse, [-1, 4])


@snippet()
def untaken_exponential(h):
    inverse = 1.0 / (1e-3 + tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True))
    return tf.where(inverse < 50.0, tf.exp(inverse), 0.0 * inverse)  # planted: Exp


@snippet(loss=True)
def root_mean_square(y, p):
    gap = (p - p) * y + tf.abs(p - p)
    return tf.sqrt(tf.reduce_mean(gap * gap)) + tf.reduce_mean(tf.square(p))  # planted: Sqrt


@snippet()
def arc_sine(h):
    edge = tf.clip_by_value(1.0 + h * 0.0 + tf.reduce_max(tf.abs(h)) * 0.0, -1.0, 1.0)
    return tf.asin(edge)  # planted: Asin
