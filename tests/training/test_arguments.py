"""A mistake in an argument is an error that says what to pass, before a folder is made."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg

MODEL = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"on_flag": 3}, TypeError, "on_flag must be a function of one Flag, not 3"),
    ({"activations": "yes"}, TypeError, "activations must be True or False, not 'yes'"),
    ({"histograms": 1}, TypeError, "histograms must be True or False, not 1"),
    ({"verbose": "no"}, ValueError, r"verbose must be 0 \(silent\) or 1, not 'no'"),
    ({"verbose": 2.5}, ValueError, "verbose must be 0"),
    ({"stop_on": True}, TypeError, "stop_on must be None or one of 'info', 'warning', 'critical'"),
    ({"stop_on": "never"}, ValueError, "known: info, warning, critical"),
    ({"every": 0}, ValueError, "every must be"),
    ({"rules": {"x": True}}, ValueError, "there is no rule 'x'; known: "),
    ({"rules": {"dead_unit": False}}, ValueError, "did you mean 'dead_units'"),
    ({"rules": {"dead_units": {"shares": 1}}}, ValueError, "did you mean 'share'"),
    ({"rules": {"dead_units": "off"}}, ValueError, "must be False or a mapping"),
    ({"rules": 3}, ValueError, "rules must be a mapping"),
]

WRONG_WATCHED: list[tuple[dict[str, Any], str]] = [
    ({"model": "abc"}, "model must be a Keras model, or a list of them, not 'abc'"),
    ({"model": 3}, "model must be a Keras model"),
    ({"model": [MODEL, None]}, "model must be a Keras model, or a list of them, not NoneType"),
    ({"model": MODEL.trainable_variables}, r"pass its variables=\[...\]"),
    ({"variables": "kernel"}, "variables must be a list of variables, not 'kernel'"),
    ({"variables": MODEL.trainable_variables[0]}, "variables must be a list of variables"),
    ({"variables": [np.zeros(3)]}, "variables must hold TensorFlow or Keras variables"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong[0]))
def test_wrong_settings(wrong: Any, tmp_path: pathlib.Path) -> None:
    arguments, kind, message = wrong
    folder = tmp_path / "run"
    with pytest.raises(kind, match=message):
        tbg.GradientHealth(folder, **arguments)
    with pytest.raises(kind, match=message):
        tbg.watch(keras.optimizers.SGD(), folder, model=MODEL, **arguments)
    assert not folder.exists()


@pytest.mark.parametrize("wrong", WRONG_WATCHED, ids=lambda wrong: str(wrong[1]))
def test_wrong_things_to_watch(wrong: Any, tmp_path: pathlib.Path) -> None:
    arguments, message = wrong
    folder = tmp_path / "run"
    with pytest.raises(TypeError, match=message):
        tbg.GradientMonitor(folder, **arguments)
    assert not folder.exists()


def test_wrong_folders_and_swapped_arguments(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match="log_dir must be the folder of this run"):
        tbg.GradientHealth(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="watch takes the optimizer first"):
        tbg.watch(str(tmp_path), keras.optimizers.SGD())  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", [True, False, np.True_])
def test_right_settings_are_taken(flag: Any, tmp_path: pathlib.Path) -> None:
    tbg.GradientHealth(
        tmp_path, activations=flag, histograms=flag, verbose=flag, on_flag=print, stop_on="info"
    )
    variables = iter(MODEL.trainable_variables)
    tbg.GradientMonitor(tmp_path, variables=variables, rules={"dead_units": {}})  # type: ignore[arg-type]


def trained(monitor: tbg.GradientMonitor, optimizer: Any, *arguments: Any, **named: Any) -> None:
    x = tf.ones((4, 2))
    for _ in range(4):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(MODEL(x) ** 2)
        gradients = tape.gradient(loss, MODEL.trainable_variables)
        optimizer.apply_gradients(zip(gradients, MODEL.trainable_variables, strict=True))
        monitor.step(*arguments, **named)


def test_the_loss_may_be_given_by_position(tmp_path: pathlib.Path) -> None:
    optimizer = keras.optimizers.SGD(0.0)
    with tbg.watch(optimizer, tmp_path, model=MODEL, every=1, verbose=0) as monitor:
        trained(monitor, optimizer, 0.5)
    assert monitor.errors == ()
    (run,) = tbg.load(tmp_path).runs
    assert run.lane is not None
    np.testing.assert_array_equal(run.lane.losses[:, 2], 0.5)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"loss": "low"}, r"the loss that was given to step\(\) \(TypeError: "),
        ({"step": 1.5}, r"monitor.step\(step=...\) takes a whole number, not float"),
    ],
)
def test_what_step_cannot_use_is_left_out(
    named: dict[str, Any], message: str, tmp_path: pathlib.Path
) -> None:
    optimizer = keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=MODEL, every=1, verbose=0) as monitor:
        trained(monitor, optimizer, **named)
    assert monitor.frames == 4
    (error,) = monitor.errors
    assert re.search(message, str(error))


def test_only_public_names_are_listed() -> None:
    assert dir(tbg) == sorted(tbg.__all__)
    assert "Any" not in dir(tbg)
