"""Trainings with one fault are reported with its name; their repaired twins are silent."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 4)).astype("float32")
Y = X @ RANDOM.normal(size=(4, 1)).astype("float32") + 0.1 * RANDOM.normal(size=(400, 1))
CLASSES = (Y[:, 0] > 0).astype(int)


@dataclasses.dataclass(frozen=True)
class Program:
    """What is trained, and for how long."""

    layers: tuple[Any, ...]
    loss: Any
    y: Any = None
    x: Any = None
    optimizer: Any = dataclasses.field(default_factory=lambda: keras.optimizers.Adam(1e-2))
    epochs: int = 14
    jit_compile: bool = False


def dense(units: int, activation: str | None = None) -> Any:
    return keras.layers.Dense(units, activation)


def likelihood(sign: int) -> Program:
    """Of a normal distribution whose mean and spread are the outputs of the model."""

    def loss(y: Any, parameters: Any) -> Any:
        mean, spread = parameters[..., :1], 1e-2 + tf.nn.softplus(parameters[..., 1:])
        return sign * (tf.math.log(spread) + 0.5 * ((tf.cast(y, tf.float32) - mean) / spread) ** 2)

    return Program((dense(16, "relu"), dense(2)), loss)


def rare(shift: float) -> Program:
    """Every fiftieth sample is of the rare class."""
    labels = (np.arange(1000) % 50 == 0).astype("float32")
    x = np.random.default_rng(1).normal(size=(1000, 4)) + shift * labels[:, np.newaxis]
    return Program((dense(8, "relu"), dense(1, "sigmoid")), "binary_crossentropy", labels, x)


class Bayesian(keras.layers.Layer):
    """Weights drawn from a learnt Gaussian; adds their divergence from the prior."""

    def __init__(self, units: int, weight: float) -> None:
        super().__init__()
        self.units, self.weight = units, weight

    def build(self, shape: Any) -> None:
        shape = (shape[-1], self.units)
        self.loc = self.add_weight(name="kernel_loc", shape=shape)
        start = keras.initializers.Constant(-4.0)
        self.rho = self.add_weight(name="kernel_rho", shape=shape, initializer=start)

    def call(self, x: Any) -> Any:
        scale = tf.nn.softplus(self.rho)
        divergence = -tf.math.log(scale) + (scale**2 + self.loc**2 - 1) / 2
        self.add_loss(self.weight * tf.reduce_sum(divergence))
        return tf.matmul(x, self.loc + scale * tf.random.normal(tf.shape(scale)))


def bayesian(weight: float) -> Program:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Program(
        (Bayesian(16, weight), keras.layers.ReLU(), Bayesian(2, weight)), loss, CLASSES, epochs=30
    )


class Unit(keras.layers.Layer):
    """Gives each row a length of one."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def call(self, x: Any) -> Any:
        return tf.nn.l2_normalize(x, axis=-1, epsilon=self.epsilon)


def contrastive(y: Any, z: Any) -> Any:
    cosine = tf.matmul(z, z, transpose_b=True)
    same = tf.cast(tf.equal(y, tf.transpose(y)), tf.float32)
    return tf.reduce_mean(
        same * tf.square(1 - cosine) + (1 - same) * tf.square(tf.nn.relu(cosine - 0.3))
    )


def rows_of_zeros(epsilon: float) -> Program:
    """Every tenth row is zero, and so is its embedding before it is normalised."""
    x = np.where(np.arange(400)[:, np.newaxis] % 10, X, 0.0)
    layers = (dense(32, "relu"), dense(8), Unit(epsilon))
    y = CLASSES[:, np.newaxis].astype("float32")
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    return Program(layers, contrastive, y, x, optimizer=optimizer, epochs=8)


SEQUENCES = RANDOM.normal(size=(200, 30, 4)).astype("float32")


def recurrence(activation: str) -> Program:
    """The usual orthogonal start, at a rate at which tanh trains."""
    y = SEQUENCES.mean(axis=(1, 2))[:, np.newaxis]
    layers = (keras.layers.SimpleRNN(16, activation), dense(1))
    return Program(layers, "mse", y, SEQUENCES, optimizer=keras.optimizers.SGD(0.05))


KINDS: dict[str, tuple[Callable[[Any], Program], Any, Any, str, str]] = {
    "the sign of a likelihood": (likelihood, -1, 1, "unbounded_loss", "wrong_sign"),
    "a class that is rare": (rare, 0.0, 3.0, "not_learning", "class_imbalance"),
    "a divergence that is not divided by the number of samples": (
        bayesian, 1.0, 1 / 400, "regularizer_dominates", "strong_regularization"
    ),
    "a recurrence without a bound": (
        recurrence, "linear", "tanh", "*", "unbounded_recurrence"
    ),
    "the norm of rows of zeros": (
        rows_of_zeros, 1e-12, 1e-2, "update_too_large", "numeric_overflow"
    ),
}  # fmt: skip
"""The program, its argument with the fault and without, the rule (*: any) and its first cause."""


def loud_flags(program: Program, folder: pathlib.Path, every: int = 5) -> dict[str, tbg.Flag]:
    keras.utils.set_random_seed(0)
    x = X if program.x is None else program.x
    model = keras.Sequential([keras.Input(x.shape[1:]), *program.layers])
    model.compile(program.optimizer, program.loss, jit_compile=program.jit_compile)
    watched = tbg.GradientHealth(folder, every=every, verbose=0, histograms=False, explain=False)
    y = Y if program.y is None else program.y
    model.fit(
        x, y, batch_size=32, epochs=program.epochs, shuffle=False, verbose=0, callbacks=[watched]
    )
    assert watched.errors == ()
    return {flag.rule: flag for flag in watched.report if flag.severity.label != "info"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_fault_is_reported_by_its_name(kind: str, tmp_path: pathlib.Path) -> None:
    make, faulty, _, rule, cause = KINDS[kind]

    flags = loud_flags(make(faulty), tmp_path)

    assert len(flags) == 1
    [found] = flags.values()
    assert rule in ("*", found.rule)
    assert found.causes[0].id == cause


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_nan_in_an_input_that_a_maximum_drops_is_found(
    jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    x = np.random.default_rng(0).normal(size=(96, 6, 6, 1)).astype("float32")
    x[37, 3, 3] = np.nan
    layers = (
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.GlobalMaxPooling2D(),
        dense(2),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    program = Program(layers, loss, np.arange(96) % 2, x, epochs=2, jit_compile=jit_compile)

    flag = loud_flags(program, tmp_path, every=4)["nonfinite_gradient"]

    assert flag.causes[0].id == "nonfinite_inputs"


@pytest.mark.parametrize("kind", KINDS)
def test_the_repaired_program_is_silent(kind: str, tmp_path: pathlib.Path) -> None:
    make, _, right, _, _ = KINDS[kind]

    assert loud_flags(make(right), tmp_path) == {}
