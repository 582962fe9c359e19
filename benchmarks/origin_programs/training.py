"""Train a small network around a snippet, in one of the ways in which people train.

In:  a snippet, and the name of a setting.
Out: the flags that the monitor has at the end; none, where nothing watches.
Does not know where the planted line is.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg
from origin_programs.snippets import Snippet

BATCH, STEPS, LONG = 8, 30, 120
"""``LONG``: steps until the rules are sure that a gradient is too small, or grows."""


AHEAD, BEHIND = ("second", "third"), ("fourth", "fifth", "sixth")
"""Layers before and behind a snippet that makes the gradient small or large."""

DEEP = {"fading": "tanh", "growing": "linear"}
"""Kinds with more layers, and their activation: a gradient is compared with that of others."""

ELSEWHERE = ("eager", "mirrored", "two_optimizers", "fit", "loop")
"""Settings of the kind "calls"."""

SETTINGS = ("fit", "train_step", "loop", "fit_xla", "subclass", "nested", "loop_xla", "lambda")

GRAPH_ONLY = frozenset(
    {"numpy_function", "bucketized", "euclidean", "orthogonalised", "mean_of_nobody"}
)
"""Snippets that XLA on a CPU does not compile."""


def setting_of(snippet: Snippet) -> str:
    """The setting of a snippet: by its name, so that a new one changes no other."""
    name = snippet.function.__name__
    settings = [s for s in SETTINGS if "xla" not in s or name not in GRAPH_ONLY]
    if snippet.kind == "compiled":
        settings = ["fit_xla", "loop_xla"]
    if snippet.kind in DEEP:
        settings = ["fit", "train_step", "loop", "subclass", "fit_xla"]
    if snippet.kind == "calls":
        settings = list(ELSEWHERE)
    elif snippet.kind == "replicas":
        settings = ["mirrored"]
    elif snippet.unseen and snippet.kind in ("none", "forward", "backward", "zero"):
        settings += [s for s in ELSEWHERE if s not in settings]
    if snippet.loss:
        settings = [s for s in settings if s in ("fit", "fit_xla", "loop")]
    return settings[hashlib.sha256(snippet.name.encode()).digest()[1] % len(settings)]


def _rate(snippet: Snippet) -> float:
    return 1e-8 if snippet.kind == "growing" else 0.01


def data(snippet: Snippet) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [samples, 6] and targets [samples, 1]; sample 100 is zero, or huge."""
    generator = np.random.default_rng(3)
    steps = LONG if snippet.kind in DEEP else STEPS
    x = generator.normal(size=(BATCH * steps, 6)).astype(np.float32)
    y = np.tanh(x[:, :1])
    x[100] = 3e4 if snippet.large else 0.0
    if snippet.loss:
        y[100] = 0.0
    return x, y


class Body(keras.layers.Layer):
    """A layer of the user's own, which calls the snippet."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(name="body")
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


class Model(keras.Model):
    """A subclassed model, which calls the snippet."""

    def __init__(self, function: Callable[..., Any], deep: str = "") -> None:
        super().__init__()
        self.first = keras.layers.Dense(8, use_bias=False, name="first")
        self.ahead, self.behind = (
            [keras.layers.Dense(8, activation=deep, name=name) for name in (names if deep else ())]
            for names in (AHEAD, BEHIND)
        )
        self.last = keras.layers.Dense(1, name="last")
        self.function = function

    def build(self, shape):
        self.first.build(shape)
        for layer in self.ahead:
            layer.build((None, 8))
        widths = [_width(self.function), *(8 for _ in self.behind)]
        for layer, width in zip([*self.behind, self.last], widths, strict=True):
            layer.build((None, width))
        self.built = True

    def call(self, inputs):
        h = self.first(inputs)
        for layer in self.ahead:
            h = layer(h)
        h = self.function(h)
        for layer in self.behind:
            h = layer(h)
        return self.last(h)


class OwnStep(keras.Model):
    """A functional model with a ``train_step`` of its own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def model_of(snippet: Snippet, setting: str) -> keras.Model:
    """The network, the snippet between its first layers and its last."""
    layers, deep = keras.layers, DEEP.get(snippet.kind, "")
    function = (lambda h: h) if snippet.loss else snippet.function
    if setting in ("subclass", "nested"):
        model = Model(function, deep)
        model.build((None, 6))
        return model
    inputs = keras.Input((6,))
    h = layers.Dense(8, use_bias=False, name="first")(inputs)
    for name in AHEAD if deep else ():
        h = layers.Dense(8, activation=deep, name=name)(h)
    width = None if snippet.loss else _width(function)
    if setting == "lambda":
        h = layers.Lambda(function, output_shape=(width,), name="body")(h)
    else:
        h = Body(function)(h)
    for name in BEHIND if deep else ():
        h = layers.Dense(8, activation=deep, name=name)(h)
    outputs = layers.Dense(1, name="last")(h)
    return (OwnStep if setting == "train_step" else keras.Model)(inputs, outputs)


def _width(function: Callable[..., Any]) -> int:
    """Of what a snippet gives, without running it."""
    traced = tf.function(function).get_concrete_function(tf.TensorSpec([BATCH, 8]))
    return int(traced.outputs[0].shape[-1])


def train(snippet: Snippet, setting: str, folder: str | None) -> Any:
    """Train, watched if there is a folder; gives the flags."""
    keras.utils.set_random_seed(1)
    x, y = data(snippet)
    # A squared error would grow as much as what it is of.
    loss = snippet.function if snippet.loss else "mae" if snippet.kind == "growing" else "mse"
    if setting == "mirrored":
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            model = model_of(snippet, setting)
            model.compile(keras.optimizers.SGD(_rate(snippet)), loss, jit_compile=False)
        return _fit(model, x, y, folder)
    model = model_of(snippet, setting)
    if setting in ("loop", "nested", "loop_xla", "eager", "two_optimizers"):
        return _loop(model, x, y, loss, setting, folder, snippet)
    model.compile(keras.optimizers.SGD(_rate(snippet)), loss, jit_compile=setting == "fit_xla")
    return _fit(model, x, y, folder)


def _fit(model: Any, x: Any, y: Any, folder: str | None) -> Any:
    health = [] if folder is None else [tbg.GradientHealth(folder, verbose=0)]
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=health)
    return health[0].report if health else ()


def _loop(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    setting: str,
    folder: str | None,
    snippet: Snippet,
) -> Any:
    count = 2 if setting == "two_optimizers" else 1
    optimizers = [keras.optimizers.SGD(_rate(snippet)) for _ in range(count)]
    variables = model.trainable_variables
    parts = [variables[:1], variables[1:]] if len(optimizers) == 2 else [variables]
    known = {"mse": keras.losses.MeanSquaredError(), "mae": keras.losses.MeanAbsoluteError()}
    measure = known.get(loss, loss)
    predict = tf.function(lambda v: model(v, training=True)) if setting == "nested" else model

    def step(inputs, targets):
        with tf.GradientTape() as tape:
            value = measure(targets, predict(inputs))
            close = tf.reduce_mean(tf.cast(value < 0.1, tf.float32))
        for optimizer, part, gradients in zip(
            optimizers, parts, tape.gradient(value, parts), strict=True
        ):
            optimizer.apply_gradients(zip(gradients, part, strict=True))
        return value, close

    if setting != "eager":
        step = tf.function(step, jit_compile=setting == "loop_xla")

    def batch(start: int) -> tuple[Any, Any]:
        return tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH])

    if folder is None:
        for start in range(0, len(x), BATCH):
            step(*batch(start))
        return ()
    with tbg.watch(optimizers, folder, variables=variables, model=model, verbose=0) as monitor:
        found = None
        if setting == "eager":  # nothing is traced: it is asked, with the batch of sample 100
            there = slice(100 - 100 % BATCH, 100 - 100 % BATCH + BATCH)
            found = monitor.explain(step, x[there], y[there])
        for start in range(0, len(x), BATCH):
            value, _ = step(*batch(start))
            monitor.step(loss=value)
    if found is None:
        return monitor.flags
    return [dataclasses.replace(f, origin=f.origin or found.of(f)) for f in monitor.flags]
