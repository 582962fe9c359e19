"""A monitor that sees no update says what the reason is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

import tb_gradients as tbg

X = tf.ones((3, 4))


def said(
    step_of: Callable[[Any, Any], Callable[[], None]],
    folder: Path,
    caplog: Any,
    early: bool = False,
) -> str:
    """What the log says of a watched SGD after four steps.

    Args:
        step_of: model, optimizer -> a step.
        early: whether a first step is made before the monitor is attached.
    """
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    step = step_of(model, optimizer)
    if early:
        step()
    with caplog.at_level(logging.WARNING, "tb_gradients"):
        monitor = tbg.watch(optimizer, folder, model=model, every=1, histograms=False, verbose=0)
        with monitor:
            for _ in range(4):
                step()
                monitor.step()
    [text] = [record.message for record in caplog.records if "seen no update" in record.message]
    return str(text)


def applying(model: Any, optimizer: Any) -> Callable[[], None]:
    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X)))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    return step


def by_hand(model: Any, _: Any) -> Callable[[], None]:
    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X)))
        variables = model.trainable_variables
        for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True):
            variable.assign_sub(0.1 * gradient)

    return step


def nothing(_: Any, __: Any) -> Callable[[], None]:
    return lambda: None


def test_a_step_that_was_traced_before_is_distinguished_from_one_without_the_optimizer(
    tmp_path: Path, caplog: Any
) -> None:
    assert "before the first call" in said(applying, tmp_path, caplog, early=True)


@pytest.mark.parametrize(
    ("step_of", "words"),
    [(by_hand, "but the weights change"), (nothing, "no weight has changed")],
)
def test_an_optimizer_that_nobody_calls_is_named(
    step_of: Any, words: str, tmp_path: Path, caplog: Any
) -> None:
    text = said(step_of, tmp_path, caplog)

    assert "SGD was never applied" in text
    assert words in text


def test_a_long_run_without_an_update_ends_with_a_verdict_and_no_error(tmp_path: Path) -> None:
    """Its frames are those of the weights, which do not change; no probe has a row to add."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    monitor = tbg.watch(keras.optimizers.SGD(0.1), tmp_path, model=model, every=1, verbose=0)
    with monitor:
        for _ in range(40):
            monitor.step()

    assert monitor.frames
    assert monitor.errors == ()
