"""The planted operation gives NaN or an infinite value, in the forward pass."""

from __future__ import annotations

import tensorflow as tf

from origin_programs import helpers
from origin_programs.snippets import snippet


@snippet()
def norm_of_a_zero_row(h):
    return h / tf.norm(h, axis=-1, keepdims=True)  # planted: RealDiv


@snippet()
def normalised_by_a_helper(h):
    return helpers.unit_rows(h)


@snippet()
def logarithm_of_zero(h):
    size = tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True)
    return tf.math.log(size)  # planted: Log


@snippet()
def share_of_nothing(h):
    positive = tf.nn.relu(h)
    total = tf.reduce_sum(positive, axis=-1, keepdims=True)
    return positive / total  # planted: RealDiv


@snippet()
def entropy(h):
    p = tf.abs(h)
    return -p * tf.math.log(p)  # planted: Log | Mul


@snippet()
def inverse_root(h):
    power = tf.reduce_mean(tf.square(h), axis=-1, keepdims=True)
    return h * tf.math.rsqrt(power)  # planted: Rsqrt | Mul


@snippet(large=True)
def exponential(h):
    grown = tf.exp(h)  # planted: Exp
    return grown / (1.0 + grown)


@snippet(large=True)
def softplus_by_hand(h):
    return tf.math.log(1.0 + tf.exp(tf.abs(h)))  # planted: Exp


@snippet()
def root_of_a_negative(h):
    shifted = h - 0.01
    return tf.sqrt(shifted)  # planted: Sqrt


@snippet()
def power_of_a_negative(h):
    return tf.pow(h, 1.5)  # planted: Pow


@snippet(large=True)
def cubed_overflow(h):
    big = h * 1e12
    return tf.tanh(tf.pow(big, 3.0) - tf.pow(big, 3.0))  # planted: Pow | Sub


@snippet(large=True)
def squares_overflow(h):
    big = h * 1e16
    total = tf.reduce_sum(big * big, axis=-1, keepdims=True)  # planted: Mul | Sum
    return h / total * total


@snippet()
def masked_softmax(h):
    empty = tf.reduce_sum(tf.abs(h), -1, keepdims=True) <= 0.0
    masked = tf.where(empty, -float("inf"), h)
    return tf.nn.softmax(masked)  # planted: Softmax


@snippet()
def arc_cosine(h):
    cosine = 1.0 + tf.nn.relu(h)
    return tf.acos(cosine)  # planted: Acos


@snippet()
def log1p_below(h):
    lowest = tf.reduce_min(h, axis=-1, keepdims=True)
    return tf.math.log1p(lowest - 1.0)  # planted: Log1p


@snippet()
def standardised(h):
    mean, variance = tf.nn.moments(h, axes=[-1], keepdims=True)
    return (h - mean) / tf.sqrt(variance)  # planted: RealDiv


@snippet()
def reciprocal(h):
    weight = tf.math.reciprocal(tf.reduce_sum(tf.abs(h), -1, keepdims=True))  # planted: Reciprocal
    return h * weight


@snippet(loss=True)
def log_loss_by_hand(y, p):
    q = tf.clip_by_value(p, 0.0, 1.0)
    return -tf.reduce_mean(tf.math.log(q))  # planted: Log


@snippet(loss=True)
def relative_error(y, p):
    gap = tf.abs(p - y)
    return tf.reduce_mean(gap / tf.abs(y))  # planted: RealDiv


@snippet()
def loop_of_products(h):
    value = tf.ones_like(h[:, :1])
    for _ in range(3):
        value = value / tf.reduce_sum(h * h, -1, keepdims=True)  # planted: RealDiv
    return tf.tanh(value)
