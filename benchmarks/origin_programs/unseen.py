"""Programs of every kind, written after the others by somebody who had not seen the search.

All of them are held back: nothing in the search may be chosen by what it does to one of them.
"""

from __future__ import annotations

import tensorflow as tf

from origin_programs.snippets import snippet


def _unseen(kind, **options):
    return snippet(kind=kind, **options)


# --- the planted operation has no gradient ---------------------------------------------------


@_unseen("none")
def bits(h):
    code = tf.bitcast(h, tf.int32)  # planted: Bitcast
    return tf.cast(code & 15, tf.float32) / 16.0


@_unseen("none")
def best_of(h):
    grid = tf.range(8.0)
    best = tf.math.top_k(h, k=3).indices  # planted: TopKV2
    return tf.gather(grid, best)


@_unseen("none")
def present(h):
    there = tf.cast(h, tf.bool)  # planted: Cast
    return 1.0 - tf.cast(there, tf.float32)


@_unseen("none")
def binned(h):
    bins = tf.histogram_fixed_width_bins(h, [-2.0, 2.0], nbins=8)  # planted: Floor
    return tf.one_hot(bins[:, 0], 8)


@_unseen("none", loss=True)
def accuracy(y, p):
    hits = tf.equal(tf.round(p), tf.round(y))  # planted: Round | Equal
    return 1.0 - tf.reduce_mean(tf.cast(hits, tf.float32))


# --- the forward pass is not finite ----------------------------------------------------------


@_unseen("forward")
def cosine(h):
    left, right = h[:, :4], h[:, 4:]
    product = tf.reduce_sum(left * right, axis=-1)
    sizes = tf.norm(left, axis=-1) * tf.norm(right, axis=-1)
    alike = product / sizes  # planted: RealDiv
    return tf.stack([alike, 1.0 - alike], axis=-1)


@_unseen("forward", large=True)
def log_odds(h):
    p = tf.sigmoid(h)
    return tf.math.log(p / (1.0 - p))  # planted: RealDiv | Log


@_unseen("forward")
def log_gamma(h):
    count = tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True)
    return tf.math.lgamma(count)  # planted: Lgamma


@_unseen("forward", large=True)
def inverse_tanh(h):
    squashed = tf.tanh(h)
    return tf.atanh(squashed)  # planted: Atanh


@_unseen("forward", large=True)
def through_half_precision(h):
    scaled = 100.0 * h
    short = tf.cast(scaled, tf.float16)  # planted: Cast
    return tf.cast(short, tf.float32) / 100.0


@_unseen("forward")
def harmonic_mean(h):
    inverse = 1.0 / h  # planted: RealDiv
    return 8.0 / tf.reduce_sum(inverse, axis=-1, keepdims=True)


@_unseen("forward")
def mean_of_nobody(h):
    tall = tf.boolean_mask(h, h[:, 0] > 1e9)
    return h - tf.reduce_mean(tf.nn.relu(tall), axis=0)  # planted: Mean


@_unseen("forward", loss=True, large=True)
def perplexity(y, p):
    error = tf.reduce_mean(tf.square(p - y))
    return tf.exp(error)  # planted: Exp


@_unseen("forward", loss=True)
def divergence(y, p):
    expected = tf.abs(y)
    information = expected * tf.math.log(expected)  # planted: Log | Mul
    return tf.reduce_mean(information - expected * p + tf.square(p))


# --- the forward pass is finite, the gradient is not -----------------------------------------


@_unseen("backward")
def sine_by_pythagoras(h):
    rest = 1.0 - tf.square(tf.cos(h))
    return tf.sqrt(rest)  # planted: Sqrt


@_unseen("backward")
def hyperbolic_distance(h):
    ratio = 1.0 + tf.abs(h)
    return tf.acosh(ratio)  # planted: Acosh


@_unseen("backward")
def three_norm(h):
    return tf.norm(h, ord=3, axis=-1, keepdims=True)  # planted: Pow


@_unseen("backward")
def pairwise_distances(h):
    gaps = h[:, tf.newaxis] - h[tf.newaxis]
    squares = tf.reduce_sum(gaps * gaps, axis=-1)
    distances = tf.sqrt(squares)  # planted: Sqrt
    return tf.reduce_mean(distances, axis=-1, keepdims=True)


@_unseen("backward", large=True)
def guarded_arc_sine(h):
    inside = tf.abs(h) < 1.0
    return tf.where(inside, tf.asin(h), tf.sign(h))  # planted: Asin


@_unseen("backward", loss=True)
def distance_to_itself(y, p):
    other = tf.identity(p)
    apart = tf.norm(p - other, axis=-1)  # planted: Sqrt
    return tf.reduce_mean(tf.square(p - y)) + tf.reduce_mean(apart)


# --- only under XLA --------------------------------------------------------------------------


@_unseen("compiled")
def gated_root(h):
    gate = tf.cast(h > 0.0, tf.float32)
    magnitude = tf.sqrt(h * h)  # planted: Sqrt
    return gate * magnitude


@_unseen("compiled")
def distances_off_the_diagonal(h):
    rows = h[:8]
    gaps = tf.expand_dims(rows, 1) - tf.expand_dims(rows, 0)
    distances = tf.sqrt(tf.reduce_sum(gaps**2, -1))  # planted: Sqrt
    others = 1.0 - tf.eye(8)
    return tf.reduce_sum(distances * others, axis=-1, keepdims=True) + 0.0 * h


# --- the gradient is exactly zero ------------------------------------------------------------


@_unseen("zero")
def capped(h):
    far = 10.0 + tf.tanh(h)
    return tf.nn.relu6(far)  # planted: Relu6


@_unseen("zero")
def floor_of_fifty(h):
    return tf.maximum(h, 50.0) / 50.0  # planted: Maximum


@_unseen("zero")
def softmax_of_one(h):
    score = tf.reduce_sum(h, axis=-1, keepdims=True)
    return tf.nn.softmax(score, axis=-1)  # planted: Softmax


@_unseen("zero")
def leaking_nothing(h):
    low = -4.0 - tf.square(tf.sin(h))
    return tf.nn.leaky_relu(low, alpha=0.0)  # planted: LeakyRelu


# --- the gradient gets small -----------------------------------------------------------------


@_unseen("fading")
def far_softplus(h):
    low = tf.nn.softsign(h) - 14.0
    return tf.math.softplus(low) + 0.5  # planted: Softplus


@_unseen("fading")
def far_error_function(h):
    high = 4.0 + 0.5 * tf.nn.softsign(h)
    return tf.math.erf(high)  # planted: Erf


@_unseen("fading")
def faint_projection(h):
    weights = 1e-6 * tf.eye(8)
    return 0.3 + tf.matmul(h, weights)  # planted: MatMul


@_unseen("fading")
def one_over_large(h):
    large = 1e3 + 10.0 * tf.nn.softsign(h)
    inverse = 1.0 / large  # planted: RealDiv
    return inverse + 0.1


# --- the gradient grows from step to step ----------------------------------------------------

_counts = [tf.Variable(0.0) for _ in range(2)]


@_unseen("growing")
def growing_mixer(h):
    gain = 1.08 ** _counts[0].assign_add(1.0)
    return tf.matmul(h, tf.eye(8) * gain)  # planted: MatMul


@_unseen("growing")
def growing_sinh(h):
    stretch = 1.0 + 0.04 * _counts[1].assign_add(1.0)
    return tf.sinh(stretch * (2.5 + tf.nn.tanh(h)))  # planted: Sinh


# --- in calls --------------------------------------------------------------------------------


@tf.function
def _compressed(h):
    if tf.reduce_mean(tf.abs(h)) < 1e6:
        size = tf.abs(h)
        h = tf.sign(h) * tf.math.log(size)  # planted for branch_under_autograph: Log | Mul
    else:
        h = h / 2.0
    return h


@_unseen("calls")
def branch_under_autograph(h):
    return _compressed(h)


@_unseen("calls")
def switched(h):
    which = tf.cast(tf.reduce_mean(h) < 1e6, tf.int32)
    ways = [lambda: h, lambda: tf.abs(h) ** 0.25]  # planted: Pow
    return tf.switch_case(which, ways)


@_unseen("calls")
def branch_of_a_division(h):
    def unit():
        return h / tf.norm(h, axis=-1, keepdims=True)  # planted: RealDiv

    return tf.cond(tf.reduce_max(h) < 1e6, unit, lambda: h)


@_unseen("calls")
def branch_that_rounds(h):
    low = tf.reduce_max(h) < 1e6
    ways = (lambda: tf.round(h)), (lambda: tf.floor(h))
    return tf.cond(low, *ways)  # planted: If | StatelessIf


@_unseen("calls")
def folded(h):
    total = tf.ones_like(h[:, 0])
    shares = tf.foldl(lambda s, c: s / c, tf.transpose(h), total)  # planted: While | StatelessWhile
    return shares[:, tf.newaxis]


@tf.custom_gradient
def _shrunk(x):
    root = tf.sqrt(x - 0.01)  # planted for own_forward: Sqrt
    return root, lambda dy: dy * 0.5


@_unseen("calls")
def own_forward(h):
    return _shrunk(tf.abs(h))


@tf.function(jit_compile=True)
def _compiled_inside(h):
    total = tf.reduce_sum(tf.abs(h), axis=-1, keepdims=True)
    return tf.math.log(total)  # planted for compiled_function: Log


@_unseen("calls")
def compiled_function(h):
    return _compiled_inside(h)


@_unseen("calls")
def gradient_penalty(h):
    with tf.GradientTape() as tape:
        tape.watch(h)
        score = tf.reduce_sum(tf.nn.relu(h) ** 2)
    slope = tape.gradient(score, h)
    return h + tf.norm(slope, axis=-1, keepdims=True)  # planted: Sqrt


# --- on several replicas ---------------------------------------------------------------------


@_unseen("replicas")
def information(h):
    share = tf.abs(h) / (1.0 + tf.abs(h))
    return tf.math.log(share)  # planted: Log


@_unseen("replicas")
def standard_error(h):
    variance = tf.math.reduce_variance(h, axis=-1, keepdims=True)
    return tf.sqrt(variance / 8.0)  # planted: Sqrt


@_unseen("replicas")
def switched_off(h):
    gate = tf.nn.relu(-3.0 - tf.abs(h))  # planted: Relu
    return gate + 1.0


@_unseen("replicas", large=True)
def power_of_two(h):
    grown = tf.pow(2.0, h)  # planted: Pow
    return tf.tanh(grown)
