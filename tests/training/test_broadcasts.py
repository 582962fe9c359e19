"""Predictions [n, 1] less targets [n]: the difference that TensorFlow broadcasts to [n, n]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Severity
from tb_gradients.training.tracing.broadcasts import broadcast_difference

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((64, 8)).astype("float32")
Y = X[:, 0] + X[:, 1]

Loss = Callable[[Any, Any], Any]


def squared(predictions: Any, targets: Any) -> Any:
    return tf.reduce_mean(tf.square(targets - predictions))


def found_in(
    loss: Loss, rows: int | None = 16, shape: tuple[int | None, ...] = (None,), **options: Any
) -> tuple[str, str] | None:
    """What is found in a step of a linear model whose targets are ``shape`` of ``rows``."""
    kernel = tf.Variable(tf.ones([8, 1]))
    reported: list[tuple[str, str] | None] = []
    signature = [tf.TensorSpec([rows, 8]), tf.TensorSpec([rows, *shape[1:]])]

    @tf.function(input_signature=signature, autograph=False, **options)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(x @ kernel, y)
        gradients = tape.gradient(value, [kernel])
        reported.append(broadcast_difference(gradients))
        kernel.assign_sub(0.1 * gradients[0])
        return value

    step.get_concrete_function()
    return reported[0]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "loss",
    [
        squared,
        lambda predictions, targets: squared(targets, predictions),
        lambda p, y: tf.reduce_mean(tf.math.squared_difference(p, y)),
        lambda p, y: tf.reduce_mean(tf.abs(p - y)),
        lambda p, y: squared(tf.sigmoid(p), tf.cast(tf.cast(y, tf.int32), tf.float32)),
    ],
)
def test_it_is_found_however_the_difference_is_written(loss: Loss, jit_compile: bool) -> None:
    assert found_in(loss, jit_compile=jit_compile) == ("(16, 1)", "(16,)")


def test_it_is_found_in_batches_of_unknown_size() -> None:
    assert found_in(squared, None) == ("(n, 1)", "(n,)")


def test_it_is_found_where_the_targets_are_the_column() -> None:
    def loss(predictions: Any, targets: Any) -> Any:
        return squared(predictions[:, 0], targets)

    assert found_in(loss, shape=(None, 1)) == ("(16,)", "(16, 1)")


SCALE = tf.Variable(1.0)

ON_PURPOSE: dict[str, Loss] = {
    "predictions and targets of one shape": lambda p, y: squared(p[:, 0], y),
    "the losses of Keras": lambda p, y: tf.reduce_mean(keras.losses.MeanSquaredError()(y, p)),
    "pairs of predictions, as in a ranking loss": lambda p, y: tf.reduce_sum(p - p[:, 0]),
    "pairs of targets": lambda p, y: tf.reduce_sum(p * tf.reduce_mean(y[:, None] - y)),
    "targets with a parameter of their own": lambda p, y: squared(p, SCALE * y),
    "centres of another number": lambda p, y: squared(p, tf.linspace(0.0, 1.0, 5)),
    "a metric, which no gradient depends on": lambda p, y: (
        tf.print(squared(p, y)),
        squared(p[:, 0], y),
    )[1],
}


@pytest.mark.parametrize("case", ON_PURPOSE)
def test_what_is_meant_is_not_reported(case: str) -> None:
    assert found_in(ON_PURPOSE[case]) is None


def test_a_batch_of_one_sample_has_nothing_to_broadcast() -> None:
    assert found_in(squared, 1) is None


def test_eager_and_missing_gradients_show_nothing() -> None:
    assert broadcast_difference([None, tf.ones([2])]) is None
    assert broadcast_difference([None]) is None


def trained(loss: Loss, folder: Path) -> tuple[tbg.GradientMonitor, float]:
    """The monitor of a loop, and the share of the targets' variance that is left at its end."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.03)
    monitor = tbg.watch(optimizer, folder, model=model, every=2, verbose=0)

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(model(x), y)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    for _ in range(150):
        monitor.step(loss=step(X, Y))
    monitor.close()
    return monitor, float(np.mean(np.square(model(X)[:, 0] - Y)) / np.var(Y))


def test_a_regression_that_learns_a_constant_gets_the_reason(tmp_path: Path) -> None:
    monitor, left = trained(squared, tmp_path)

    assert left > 0.8
    (flag,) = monitor.flags
    assert (flag.rule, flag.severity) == ("model_mismatch", Severity.WARNING)
    assert flag.causes[0].id == "loss_output_mismatch"
    assert "shapes (64, 1) and (64,)" in flag.summary
    assert "tf.squeeze" in flag.fixes[0]


def test_its_repaired_twin_is_silent(tmp_path: Path) -> None:
    monitor, left = trained(lambda p, y: squared(p[:, 0], y), tmp_path)

    assert left < 0.1
    assert monitor.flags == ()
