"""Faults of real steps: what the optimizer never gets, and what float16 cannot hold."""

from __future__ import annotations

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
