"""One call of a function that makes many updates: every one of them is seen."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg

STEPS = 700
generator = np.random.default_rng(0)
X = tf.constant(generator.normal(size=(16, 4)), tf.float32)
Y = tf.reduce_sum(X, 1, keepdims=True)
START = generator.normal(size=(4, 1)).astype("float32")


def trained(
    folder: pathlib.Path | None,
    *,
    bad: int = -1,
    rate: float = 0.01,
    every: Any = "auto",
    calls: int = 1,
    jit_compile: bool = False,
) -> Any:
    """The weights after calls of a function with a loop; the loss of step ``bad`` is NaN."""
    weights = tf.Variable(START, name="w")
    optimizer = keras.optimizers.SGD(rate)
    monitor = None
    if folder is not None:
        monitor = tbg.watch(optimizer, folder, variables=[weights], every=every, verbose=0)

    @tf.function(jit_compile=jit_compile)
    def train() -> None:
        for _ in tf.range(STEPS):
            with tf.GradientTape() as tape:
                factor = tf.where(optimizer.iterations == bad, np.nan, 1.0)
                loss = tf.reduce_mean((X @ weights - Y) ** 2) * factor
            optimizer.apply_gradients([(tape.gradient(loss, weights), weights)])

    for _ in range(calls):
        train()
        if monitor is not None and calls > 1:
            monitor.step()
    if monitor is not None:
        monitor.close()
        assert monitor.errors == ()
    return weights.numpy()


def run_in(folder: pathlib.Path) -> Any:
    [run] = tbg.load(folder).runs
    return run


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_nan_in_the_middle_of_the_loop_has_its_step(
    tmp_path: pathlib.Path, jit_compile: bool
) -> None:
    trained(tmp_path, bad=60, jit_compile=jit_compile)

    (flag,) = (f for f in run_in(tmp_path).flags if f.rule == "nonfinite_gradient")
    assert flag.first_step == 60


def test_frames_are_due_in_the_loop(tmp_path: pathlib.Path) -> None:
    trained(tmp_path, every=10)

    steps = run_in(tmp_path).steps
    assert set(range(0, STEPS, 10)) <= set(steps)


def test_a_rate_that_moves_nothing_is_reported(tmp_path: pathlib.Path) -> None:
    trained(tmp_path, rate=1e-9)

    run = run_in(tmp_path)
    assert [flag.rule for flag in run.flags] == ["update_too_small"]
    assert run.undecided == ""


def test_in_a_later_call_too(tmp_path: pathlib.Path) -> None:
    trained(tmp_path, bad=STEPS + 300, calls=2)

    (flag,) = (f for f in run_in(tmp_path).flags if f.rule == "nonfinite_gradient")
    assert flag.first_step == STEPS + 300


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_weights_are_those_without_the_monitor(
    tmp_path: pathlib.Path, jit_compile: bool
) -> None:
    alone = trained(None, jit_compile=jit_compile)

    assert np.array_equal(trained(tmp_path, jit_compile=jit_compile), alone)
