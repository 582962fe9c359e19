"""A module of the user's own that other lines call."""

from __future__ import annotations

import tensorflow as tf


def quantized(h):
    """Values on a grid."""
    grid = tf.math.rint(h * 16.0)  # planted for in_a_helper: Rint
    return grid / 16.0


def unit_rows(h):
    """Rows of length one."""
    length = tf.sqrt(tf.reduce_sum(h * h, axis=-1, keepdims=True))
    return h / length  # planted for normalised_by_a_helper: RealDiv


def distance(h):
    """Distance of each row from the origin."""
    squares = tf.reduce_sum(tf.square(h), axis=-1, keepdims=True)
    return tf.sqrt(squares)  # planted for distance_by_a_helper: Sqrt


def faint(h):
    """The same, very small."""
    wide = tf.concat([h, -h], axis=-1)
    return wide * 1e-6  # planted for faint_by_a_helper: Mul
