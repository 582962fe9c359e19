"""The same seed gives the same weights, bit for bit, with and without the monitor."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.host import sampling

layers = keras.layers
STEPS = 200


def dense() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((48,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(64, activation="gelu"),
            layers.Dense(10),
        ]
    )


def wide() -> keras.Model:
    """Kernels large enough to be handed over by themselves: gradients that are a product and a
    sum, and a product alone.
    """
    return keras.Sequential(
        [
            keras.Input((48,)),
            layers.Dense(400, activation="relu", kernel_regularizer="l2"),
            layers.LayerNormalization(),
            layers.Dense(50, activation="tanh"),
            layers.Dense(10),
        ]
    )


def convolutional(filters: int = 16) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((48,)),
            layers.Reshape((4, 4, 3)),
            layers.Conv2D(8, 2, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(filters, 2),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def wide_convolutional() -> keras.Model:
    """A kernel large enough to be handed over by itself, its gradient a convolution."""
    return convolutional(filters=300)


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-3),
    "sgd with momentum": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "clipped sgd": lambda: keras.optimizers.SGD(1e-2, global_clipnorm=1.0),
}


def weights_after_training(make: Any, optimizer: Any, xla: bool, callbacks: list[Any]) -> list[Any]:
    keras.utils.set_random_seed(7)
    model = make()
    generator = np.random.default_rng(0)
    x = generator.normal(size=(160, 48)).astype("float32")
    y = generator.integers(0, 10, 160)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss, jit_compile=xla)
    model.fit(x, y, batch_size=16, epochs=STEPS // 10, callbacks=callbacks, verbose=0)
    return [np.asarray(w) for w in model.get_weights()]


@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_looking_at_activations_leaves_the_weights_alone(
    tmp_path: pathlib.Path, make: Any, xla: bool
) -> None:
    bare = weights_after_training(make, OPTIMIZERS["adam"], xla, [])
    health = tbg.GradientHealth(tmp_path, every=3, activations=True, verbose=0)
    watched = weights_after_training(make, OPTIMIZERS["adam"], xla, [health])
    for a, b in zip(bare, watched, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_which_only_some_rows_are_kept_are_bit_identical_too(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under XLA, as those of a model of many millions of parameters."""
    monkeypatch.setattr(sampling, "HUGE_ELEMENTS", 10_000)
    monkeypatch.setattr(sampling, "COARSE_ELEMENTS", 5_000)
    bare = weights_after_training(wide, OPTIMIZERS["adam"], True, [])
    health = tbg.GradientHealth(tmp_path, every=3, verbose=0)
    watched = weights_after_training(wide, OPTIMIZERS["adam"], True, [health])
    for a, b in zip(bare, watched, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        pytest.param(make, name, marks=() if make is dense or name == "adam" else pytest.mark.long)
        for make in (dense, wide, convolutional, wide_convolutional)
        for name in OPTIMIZERS
    ],
)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_weights_are_bit_identical_after_200_steps(
    tmp_path: pathlib.Path, make: Any, optimizer: str, xla: bool
) -> None:
    if xla and make is wide_convolutional and tf.__version__.startswith("2.18"):
        pytest.skip("this XLA rounds a convolution by what else reads its operands")
    bare = weights_after_training(make, OPTIMIZERS[optimizer], xla, [])
    health = tbg.GradientHealth(tmp_path, every=3, verbose=0)
    watched = weights_after_training(make, OPTIMIZERS[optimizer], xla, [health])
    assert health.monitor.frames == len(range(0, STEPS, 3))
    for a, b in zip(bare, watched, strict=True):
        np.testing.assert_array_equal(a, b)


CALLS = tf.Variable(0.0, trainable=False)
"""Of the user's own: no part of the model."""


class Aside(keras.layers.Layer):
    """Adds a branch that is never taken, whose gradient is NaN: the rest of the model trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, inputs: Any) -> Any:
        CALLS.assign_add(1.0)
        nothing = 0.0 * self.dense(inputs)
        return inputs + tf.where(tf.zeros_like(nothing) > 0.0, 1.0 / nothing, 0.0)


def state_after_training(xla: bool, callbacks: list[Any]) -> list[Any]:
    """Weights, state of the optimizer, seeds, statistics, metrics, a variable of the user's own,
    and the next random numbers."""
    keras.utils.set_random_seed(7)
    CALLS.assign(0.0)
    model = keras.Sequential(
        [
            keras.Input((48,)),
            Aside(),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    x = np.random.default_rng(0).normal(size=(160, 48)).astype("float32")
    model.compile(keras.optimizers.Adam(1e-3), "mse", metrics=["mae"], jit_compile=xla)
    history = model.fit(x, x[:, :1], 16, epochs=6, callbacks=callbacks, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert any("seed" in variable.path for variable in model.variables)
    state = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables, CALLS]]
    assert CALLS > 0
    drawn = [tf.random.normal([3]).numpy(), keras.random.normal((3,)), random.random()]
    return [*state, *drawn, *map(np.array, history.history.values())]


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_repeating_a_step_leaves_everything_alone(tmp_path: pathlib.Path, xla: bool) -> None:
    bare = state_after_training(xla, [])
    health = tbg.GradientHealth(tmp_path, verbose=0)
    watched = state_after_training(xla, [health])
    [origin] = [flag.origin for flag in health.report if flag.origin is not None]
    assert (origin.operation, origin.phase) == ("RealDiv", "backward")
    for a, b in zip(bare, watched, strict=True):
        np.testing.assert_array_equal(a, b)
