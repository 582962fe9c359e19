"""Two independent faults in one program are two loud findings, each with its own cause.

(`benchmarks/two_faults.py` counts it over many programs; these are the kinds that it found.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag, Severity

L = keras.layers

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((256, 16)).astype("float32")
Y = X[:, :5].argmax(-1)


def branches(**options: dict[str, Any]) -> Any:
    """A model of the parallel branches of these names, and a sound one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16,))
    ends = [L.Dense(32, activation="relu", name="sound")(inputs)]
    for name, settings in options.items():
        end = settings.pop("end", None)
        x = inputs
        for number in (1, 2):
            made = {key: value() if callable(value) else value for key, value in settings.items()}
            x = L.Dense(16, name=f"{name}_{number}", **{"activation": "relu", **made})(x)
        ends.append(x if end is None else L.Lambda(end)(x))
    return keras.Model(inputs, L.Dense(5, name="head")(L.Concatenate()(ends)))


def found(flags: Any) -> dict[str, Flag]:
    """The loud flags by the branch that they name first."""
    loud = [flag for flag in flags if flag.severity >= Severity.WARNING]
    return {flag.variables[0].partition("_")[0]: flag for flag in loud}


def after_fit(model: Any, folder: Path) -> dict[str, Flag]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    health = tbg.GradientHealth(folder, every=1, histograms=False, verbose=0)
    model.fit(X, Y, batch_size=16, epochs=6, verbose=0, callbacks=[health])
    return found(health.report)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_dead_branch_and_one_that_is_cut_off_stay_critical(tmp_path: Path) -> None:
    dead = {"bias_initializer": lambda: keras.initializers.Constant(-30.0)}

    flags = after_fit(branches(dead=dead, cut={"end": tf.stop_gradient}), tmp_path)

    assert {name: flag.severity.label for name, flag in flags.items()} == {
        "dead": "critical",
        "cut": "critical",
    }
    assert flags["dead"].causes[0].id == "dying_relu"
    assert flags["cut"].causes[0].id == "non_differentiable_operation"


def test_a_flat_branch_is_a_finding_beside_a_run_that_learns(tmp_path: Path) -> None:
    flat = {"kernel_initializer": lambda: keras.initializers.RandomNormal(stddev=30.0)}

    flags = after_fit(branches(flat={**flat, "activation": "tanh"}), tmp_path)

    assert list(flags) == ["flat"]
    assert flags["flat"].causes[0].id == "initialization_scale"


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_flat_branch_stays_one_beside_others_that_are_dead_or_cut_off(tmp_path: Path) -> None:
    dead = {"bias_initializer": lambda: keras.initializers.Constant(-30.0)}
    flat = {"kernel_initializer": lambda: keras.initializers.RandomNormal(stddev=30.0)}
    options = {"dead": dead, "flat": {**flat, "activation": "tanh"}, "cut": {"end": tf.round}}

    flags = after_fit(branches(**options), tmp_path)

    assert {name: flag.causes[0].id for name, flag in flags.items()} == {
        "dead": "dying_relu",
        "flat": "initialization_scale",
        "cut": "non_differentiable_operation",
    }


def test_tanh_at_the_usual_scale_is_none(tmp_path: Path) -> None:
    assert after_fit(branches(even={"activation": "tanh"}), tmp_path) == {}


def test_of_several_optimizers_the_one_that_stands_still_is_named(tmp_path: Path) -> None:
    model = branches(slow={})
    slow = [v for v in model.trainable_variables if "slow" in v.path]
    rest = [v for v in model.trainable_variables if "slow" not in v.path]
    optimizers = [keras.optimizers.Adam(3e-3), keras.optimizers.Adam(1e-10, name="branch")]
    for optimizer, variables in zip(optimizers, (rest, slow), strict=True):
        optimizer.build(variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step() -> Any:
        with tf.GradientTape(persistent=True) as tape:
            loss = loss_of(Y, model(X))
        for optimizer, variables in zip(optimizers, (rest, slow), strict=True):
            optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    monitor = tbg.watch(optimizers, tmp_path, model=model, every=1, histograms=False, verbose=0)
    with monitor:
        for _ in range(60):
            monitor.step(loss=step())

    flags = found(monitor.report)
    assert list(flags) == ["slow"]
    assert flags["slow"].rule == "update_too_small"
    assert flags["slow"].causes[0].id == "learning_rate_too_small"
    assert flags["slow"].fixes[0] == "Raise the learning rate of branch: try 0.001."
