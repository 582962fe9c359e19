"""Train a small network around a snippet, in one of the ways in which people train.

In:  a snippet, and the name of a setting.
Out: the flags that the monitor has at the end.
Does not know where the planted line is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg
from origin_programs.snippets import Snippet

BATCH, STEPS = 8, 30

SETTINGS = ("fit", "train_step", "loop", "fit_xla", "subclass", "nested", "loop_xla", "lambda")

GRAPH_ONLY = frozenset({"numpy_function", "bucketized", "euclidean", "orthogonalised"})
"""Snippets that XLA on a CPU does not compile."""


def setting_of(snippet: Snippet) -> str:
    """The setting of a snippet: by its name, so that a new one changes no other."""
    name = snippet.function.__name__
    settings = [s for s in SETTINGS if "xla" not in s or name not in GRAPH_ONLY]
    if snippet.kind == "compiled":
        settings = ["fit_xla", "loop_xla"]
    if snippet.loss:
        settings = [s for s in settings if s in ("fit", "fit_xla", "loop")]
    return settings[hashlib.sha256(snippet.name.encode()).digest()[1] % len(settings)]


def data(snippet: Snippet) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [samples, 6] and targets [samples, 1]; sample 100 is zero, or huge."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=(BATCH * STEPS, 6)).astype(np.float32)
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

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.first = keras.layers.Dense(8, use_bias=False, name="first")
        self.last = keras.layers.Dense(1, name="last")
        self.function = function

    def call(self, inputs):
        return self.last(self.function(self.first(inputs)))


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
    """The network, the snippet between its two layers."""
    function = (lambda h: h) if snippet.loss else snippet.function
    if setting in ("subclass", "nested"):
        model = Model(function)
        model.build((None, 6))
        return model
    inputs = keras.Input((6,))
    h = keras.layers.Dense(8, use_bias=False, name="first")(inputs)
    width = None if snippet.loss else function(tf.ones([2, 8])).shape[-1]
    if setting == "lambda":
        h = keras.layers.Lambda(function, output_shape=(width,), name="body")(h)
    else:
        h = Body(function)(h)
    outputs = keras.layers.Dense(1, name="last")(h)
    return (OwnStep if setting == "train_step" else keras.Model)(inputs, outputs)


def train(snippet: Snippet, setting: str, folder: str) -> Any:
    """Train, watched; gives the flags."""
    keras.utils.set_random_seed(1)
    x, y = data(snippet)
    model = model_of(snippet, setting)
    loss = snippet.function if snippet.loss else "mse"
    rate = 0.01
    if setting in ("loop", "nested", "loop_xla"):
        return _loop(model, x, y, loss, setting, folder, rate)
    health = tbg.GradientHealth(folder, verbose=0)
    model.compile(keras.optimizers.SGD(rate), loss, jit_compile=setting == "fit_xla")
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[health])
    return health.report


def _loop(
    model: keras.Model, x: Any, y: Any, loss: Any, setting: str, folder: str, rate: float
) -> Any:
    optimizer = keras.optimizers.SGD(rate)
    measure = keras.losses.MeanSquaredError() if loss == "mse" else loss
    predict = tf.function(lambda v: model(v, training=True)) if setting == "nested" else model

    @tf.function(jit_compile=setting == "loop_xla")
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            value = measure(targets, predict(inputs))
            close = tf.reduce_mean(tf.cast(value < 0.1, tf.float32))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value, close

    with tbg.watch(optimizer, folder, model=model, verbose=0) as monitor:
        for start in range(0, len(x), BATCH):
            value, _ = step(
                tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH])
            )
            monitor.step(loss=value)
    return monitor.flags
