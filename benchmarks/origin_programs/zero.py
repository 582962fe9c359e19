"""The gradient of the planted operation is exactly zero."""

from __future__ import annotations

import tensorflow as tf

from origin_programs.snippets import snippet


@snippet()
def sign(h):
    return tf.sign(h) * 0.5  # planted: Sign


@snippet()
def dead_relu(h):
    shifted = tf.nn.tanh(h) - 2.0
    return tf.nn.relu(shifted)  # planted: Relu


@snippet()
def clipped_away(h):
    far = tf.nn.tanh(h) + 5.0
    return tf.clip_by_value(far, -1.0, 1.0)  # planted: ClipByValue | Minimum | Maximum


@snippet()
def saturated(h):
    hot = 200.0 + tf.abs(h)
    return tf.sigmoid(hot)  # planted: Sigmoid


@snippet()
def multiplied_by_zero(h):
    off = tf.zeros([8])
    return h * off  # planted: Mul


@snippet()
def other_branch(h):
    never = tf.reduce_sum(h * h, -1, keepdims=True) < 0.0
    return tf.where(never, h, tf.ones_like(h))  # planted: SelectV2
