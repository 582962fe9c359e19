"""The gradient of the planted operation is small: most of it is lost there, and not all."""

from __future__ import annotations

import tensorflow as tf

from origin_programs import helpers
from origin_programs.snippets import snippet


@snippet()
def tiny_factor(h):
    small = h * 1e-5  # planted: Mul
    return tf.nn.relu(small + 1.0)


@snippet()
def large_divisor(h):
    shifted = tf.nn.relu(h) + 0.1
    return shifted / 1e5  # planted: RealDiv


@snippet()
def far_tanh(h):
    far = tf.nn.softsign(h) + 7.0
    return tf.tanh(far)  # planted: Tanh


@snippet()
def far_sigmoid(h):
    far = 0.5 * tf.nn.softsign(h) - 14.0
    return tf.sigmoid(far)  # planted: Sigmoid


@snippet()
def flat_power(h):
    narrow = 0.02 * tf.nn.tanh(h)
    return tf.pow(narrow, 4.0)  # planted: Pow


@snippet()
def sharp_softmax(h):
    scores = tf.nn.tanh(h) + 40.0 * tf.one_hot(0, 8)
    return tf.nn.softmax(scores)  # planted: Softmax


@snippet()
def faint_by_a_helper(h):
    return helpers.faint(h)


@snippet()
def far_exponential(h):
    far = tf.nn.softplus(h) + 12.0
    return tf.exp(-far)  # planted: Exp


@snippet()
def weak_mixture(h):
    mean = tf.reduce_mean(h, axis=-1, keepdims=True)
    return tf.math.scalar_mul(1e-6, h - mean)  # planted: Mul


@snippet()
def square_of_small(h):
    small = 1e-2 * tf.nn.tanh(h)
    power = tf.square(tf.square(small))  # planted: Square
    return power + 0.5


@snippet()
def many_sigmoids_in_one_line(h):
    for _ in range(6):
        h = tf.sigmoid(h - 3.0)  # planted: Sigmoid
    return h


@snippet()
def log_of_large(h):
    large = 1e6 + tf.abs(h)
    return tf.math.log(large) - 13.8  # planted: Log
