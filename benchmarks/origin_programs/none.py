"""The planted operation has no gradient: what lies before it gets None."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from origin_programs import helpers
from origin_programs.snippets import snippet


@snippet()
def argmax_one_hot(h):
    index = tf.argmax(h, axis=-1)  # planted: ArgMax
    return tf.one_hot(index, 8)


@snippet()
def rounded(h):
    scaled = h * 4.0
    levels = tf.round(scaled)  # planted: Round
    return levels / 4.0


@snippet()
def cast_to_int(h):
    whole = tf.cast(h * 10.0, tf.int32)  # planted: Cast
    return tf.cast(whole, tf.float32) / 10.0


@snippet()
def stopped(h):
    mean = tf.reduce_mean(h, axis=-1, keepdims=True)
    frozen = tf.stop_gradient(h - mean)  # planted: StopGradient
    return tf.nn.relu(frozen) + 1.0


@snippet()
def compared(h):
    above = h > 0.1  # planted: Greater
    return tf.cast(above, tf.float32)


@snippet()
def numpy_function(h):
    doubled = tf.numpy_function(lambda v: np.float32(v * 2), [h], tf.float32)  # planted: PyFunc
    return tf.reshape(doubled, tf.shape(h))


@snippet()
def floored(h):
    return tf.floor(h) + 0.5  # planted: Floor


@snippet()
def floor_division(h):
    steps = h // 0.25  # planted: FloorDiv
    return steps * 0.25


@snippet()
def bucketized(h):
    table = tf.linspace(0.0, 1.0, 5)
    bins = tf.raw_ops.Bucketize(input=h, boundaries=[-0.5, 0.0, 0.5, 1.0])  # planted: Bucketize
    return tf.gather(table, bins)


@snippet()
def searched(h):
    edges = tf.linspace(-1.0, 1.0, 9)
    found = tf.searchsorted(edges, tf.reshape(h, [-1]))  # planted: LowerBound | UpperBound
    return tf.reshape(tf.cast(found, tf.float32), tf.shape(h))


@snippet()
def ranked(h):
    order = tf.argsort(h, axis=-1)  # planted: TopKV2
    return tf.cast(order, tf.float32)


@snippet()
def in_a_helper(h):
    return helpers.quantized(h)


@snippet()
def straight_through_forgotten(h):
    soft = tf.nn.softmax(h)
    return tf.one_hot(tf.argmax(soft, -1), 8)  # planted: ArgMax


@snippet()
def sign_of_comparison(h):
    up = tf.cast(tf.greater_equal(h, 0.0), tf.float32)  # planted: GreaterEqual
    return 2.0 * up - 1.0


@snippet()
def ceiling(h):
    centred = h - tf.reduce_mean(h, -1, keepdims=True)
    return tf.math.ceil(centred * 3.0)  # planted: Ceil


@snippet()
def embedding_by_value(h):
    table = tf.reshape(tf.range(32.0), [16, 2])
    rows = tf.cast(tf.clip_by_value(h[:, 0] * 4.0 + 8.0, 0.0, 15.0), tf.int64)  # planted: Cast
    return tf.gather(table, rows)


@snippet()
def counted(h):
    used = tf.math.count_nonzero(h, axis=-1, keepdims=True)  # planted: NotEqual
    return tf.cast(used, tf.float32)
