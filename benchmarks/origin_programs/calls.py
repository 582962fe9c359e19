"""The planted operation is in a call that is one operation, or it has a gradient of its own."""

from __future__ import annotations

import tensorflow as tf

from origin_programs.snippets import snippet


def _some(i, s):
    return i < 2


@snippet()
def loop_of_roots(h):
    def body(i, s):
        return i + 1, tf.sqrt(s)

    start = (0, tf.abs(h))
    return tf.while_loop(_some, body, start)[1]  # planted: While | StatelessWhile


@tf.function
def _divided(h):
    for _ in tf.range(3):  # planted for loop_over_a_range: While | StatelessWhile
        h = h / tf.reduce_max(tf.abs(h), axis=-1, keepdims=True)
    return h


@snippet()
def loop_over_a_range(h):
    return _divided(h)


@snippet()
def scanned_norms(h):
    def total(s, row):
        return s + row / tf.norm(row)

    return tf.scan(total, h, tf.zeros([8]))  # planted: While | StatelessWhile


@snippet()
def mapped_logarithms(h):
    def weighted(row):
        return row * tf.math.log(tf.norm(row))

    return tf.map_fn(weighted, h)  # planted: While | StatelessWhile


@snippet()
def branch_of_a_root(h):
    even = tf.reduce_sum(h) != 1e9
    return tf.cond(even, lambda: tf.sqrt(tf.abs(h)), lambda: h)  # planted: Sqrt


@tf.custom_gradient
def _hard(x):
    def gradient(dy):
        return dy / tf.reduce_sum(tf.abs(x), axis=-1, keepdims=True)

    return tf.round(x), gradient


@snippet()
def own_gradient(h):
    return _hard(h)  # planted: IdentityN


@tf.custom_gradient
def _without(x):
    return tf.identity(x), lambda dy: tf.zeros_like(dy)


@snippet()
def own_gradient_of_zero(h):
    return _without(h)  # planted: IdentityN


@tf.function
def _unit(x):
    return x / tf.norm(x, axis=-1, keepdims=True)  # planted for function_in_a_function: RealDiv


@tf.function
def _twice(x):
    return _unit(x) * 2.0


@snippet()
def function_in_a_function(h):
    return _twice(h)


@tf.function
def _rounded(x):
    return tf.round(x)  # planted for rounding_in_a_function: Round


@snippet()
def rounding_in_a_function(h):
    return _rounded(h)


@snippet()
def choice_in_a_loop(h):
    def body(i, s):
        return i + 1, tf.round(s)

    return tf.while_loop(_some, body, (0, h))[1]  # planted: While | StatelessWhile


@snippet()
def vectorized(h):
    return tf.vectorized_map(lambda row: row / tf.reduce_sum(row), h)  # planted: RealDiv


@snippet()
def recomputed(h):
    def unit(x):
        return x / tf.reduce_max(tf.abs(x), -1, keepdims=True)  # planted: RealDiv

    return tf.recompute_grad(unit)(h)
