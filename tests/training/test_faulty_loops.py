"""Faults of real steps: what the optimizer never gets, and what float16 cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag, Severity

L, optimizers = keras.layers, keras.optimizers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((64, 8)).astype("float32")
Y = X[:, :1] + 0.1 * RANDOM.standard_normal((64, 1)).astype("float32")
STEPS = 60


def two_layers(**options: Any) -> Any:
    keras.utils.set_random_seed(0)
    hidden = L.Dense(8, activation="relu", name="hidden", **options)
    return keras.Sequential([L.Input((8,)), hidden, L.Dense(1, name="head", dtype="float32")])


def trained(model: Any, folder: Path, parts: dict[Any, Any], scale: float = 1.0) -> dict[str, Flag]:
    """Flags of a loop in which each optimizer trains its variables; the first one is watched."""
    watched = next(iter(parts))
    monitor = tbg.watch(watched, folder, model=model, every=2, histograms=False, verbose=0)

    @tf.function
    def step() -> Any:
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(model(X), tf.float32) - Y))
            value = loss * scale
            if hasattr(watched, "scale_loss"):
                value = watched.scale_loss(value)
        for optimizer, variables in parts.items():
            optimizer.apply(tape.gradient(value, variables), variables)
        return loss

    for _ in range(STEPS):
        monitor.step(loss=step(), inputs=X, targets=Y)
    monitor.close()
    return {flag.rule: flag for flag in monitor.flags}


def make_step(model: Any, optimizer: Any = None) -> Callable[[], Any]:
    """A step that trains a model and gives its loss; without an optimizer it never applies."""

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X) - Y))
        gradients = tape.gradient(loss, model.trainable_variables)
        if optimizer is not None:
            optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


def watch_steps(monitor: tbg.GradientMonitor, step: Callable[[], Any]) -> None:
    for _ in range(STEPS):
        monitor.step(loss=step())
    monitor.close()


def layers_of(flag: Flag) -> list[str]:
    """What the flag names, without the name of the model."""
    return [path.partition("/")[2] for path in flag.variables]


def test_variables_that_no_optimizer_gets_are_named(tmp_path: Path) -> None:
    model = two_layers()
    head = model.get_layer("head").trainable_variables

    flags = trained(model, tmp_path, {optimizers.Adam(1e-3): head})

    assert set(flags) == {"frozen_weight"}
    assert flags["frozen_weight"].severity == Severity.WARNING
    assert layers_of(flags["frozen_weight"]) == ["hidden/kernel", "hidden/bias"]
    assert flags["frozen_weight"].first_step == 0
    assert flags["frozen_weight"].causes[0].id == "update_not_applied"


def test_variables_that_another_optimizer_trains_are_not(tmp_path: Path) -> None:
    model = two_layers()
    parts = {
        optimizers.Adam(1e-3): model.get_layer("head").trainable_variables,
        optimizers.SGD(1e-2): model.get_layer("hidden").trainable_variables,
    }

    assert trained(model, tmp_path, parts) == {}


def test_a_float16_gradient_without_loss_scale_underflows(tmp_path: Path) -> None:
    model = two_layers(dtype="mixed_float16")
    parts = {optimizers.SGD(1e-2): model.trainable_variables}

    flag = trained(model, tmp_path, parts, scale=1e-6)["gradient_underflow"]

    assert flag.severity == Severity.WARNING
    assert layers_of(flag)[0] == "hidden/kernel"
    assert flag.first_step <= 0.2 * STEPS
    assert flag.causes[0].id == "low_precision"


def test_a_loss_scale_lifts_it(tmp_path: Path) -> None:
    model = two_layers(dtype="mixed_float16")
    adam = optimizers.LossScaleOptimizer(optimizers.Adam(1e-2))

    assert trained(model, tmp_path, {adam: model.trainable_variables}, scale=1e-6) == {}


def test_a_loss_that_overflows_at_every_scale_lets_it_collapse(tmp_path: Path) -> None:
    model = two_layers(dtype="mixed_float16")
    adam = optimizers.LossScaleOptimizer(optimizers.Adam(1e-3))
    parts = {adam: model.trainable_variables}

    flags = trained(model, tmp_path, parts, scale=1e12)

    assert flags["loss_scale_collapse"].severity == Severity.CRITICAL
    assert flags["loss_scale_collapse"].causes[0].id == "numeric_overflow"
    assert flags["loss_scale_collapse"].first_step <= 0.2 * STEPS


def test_a_loop_that_never_applies_its_gradients_is_reported(tmp_path: Path) -> None:
    model = two_layers()
    start = model.get_weights()
    optimizer = optimizers.Adam(1e-3)
    monitor = tbg.watch(optimizer, tmp_path, model=model, verbose=0)

    watch_steps(monitor, make_step(model))

    (flag,) = monitor.flags
    assert flag.rule == "frozen_weight"
    assert flag.severity == Severity.CRITICAL
    assert flag.causes[0].id == "update_not_applied"
    assert set(layers_of(flag)) == {"hidden/kernel", "hidden/bias", "head/kernel", "head/bias"}
    assert flag.first_step < STEPS / 5
    assert [f.rule for f in tbg.load(tmp_path).runs[0].flags] == ["frozen_weight"]
    np.testing.assert_equal(model.get_weights(), start)


class ForgetsToApply(keras.Model):
    """A custom train_step that computes gradients and leaves it at that."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        tape.gradient(loss, self.trainable_variables)
        return {"loss": loss}


def test_a_train_step_that_never_applies_its_gradients_is_reported(tmp_path: Path) -> None:
    inner = two_layers()
    model = ForgetsToApply(inner.inputs, inner.outputs)
    model.compile(optimizers.Adam(1e-3), "mse")
    health = tbg.GradientHealth(tmp_path, verbose=0)

    model.fit(X, Y, batch_size=8, epochs=6, callbacks=[health], verbose=0)

    assert [flag.rule for flag in health.report] == ["frozen_weight"]
    assert health.report[0].causes[0].id == "update_not_applied"


def test_an_optimizer_that_trains_another_model_is_reported(tmp_path: Path) -> None:
    watched, other = two_layers(), two_layers()

    flags = trained_by(watched, other, tmp_path)

    assert set(flags) == {"frozen_weight"}
    assert flags["frozen_weight"].severity == Severity.CRITICAL


def trained_by(watched: Any, other: Any, folder: Path) -> dict[str, Flag]:
    """Flags of the watched model, while its loss is used to train the other one's variables."""
    optimizer = optimizers.SGD(1e-2)
    monitor = tbg.watch(optimizer, folder, model=watched, verbose=0)
    train_other = make_step(other, optimizer)

    @tf.function
    def step() -> Any:
        train_other()
        return tf.reduce_mean(tf.square(watched(X) - Y))

    watch_steps(monitor, step)
    return {flag.rule: flag for flag in monitor.flags}


def test_updates_that_the_monitor_cannot_see_are_no_fault(tmp_path: Path) -> None:
    """The step was traced before the monitor came: its updates show in the weights alone."""
    model, optimizer = two_layers(), optimizers.SGD(1e-2)
    step = make_step(model, optimizer)

    step()
    monitor = tbg.watch(optimizer, tmp_path, model=model, verbose=0)
    watch_steps(monitor, step)
    assert (monitor.flags, monitor.frames) == ((), 0)
