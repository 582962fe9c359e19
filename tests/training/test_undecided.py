"""No training is called healthy of which too little was seen."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.reading.report import RunReport

STEPS = 300
NEVER = f"{STEPS} updates, and monitor.step() was never called: call it after each training step"

generator = np.random.default_rng(0)
X = generator.normal(size=(32 * 9, 16)).astype("float32")
Y = (X @ generator.normal(size=(16, 4))).argmax(1).astype("int32")
crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_model() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4)]
    )


def make_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, factor: float, mode: str
) -> Callable[[], Any]:
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = crossentropy(Y[:32], model(X[:32])) * factor
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")


def checked(folder: pathlib.Path) -> RunReport:
    [run] = tbg.load(folder).runs
    return run


@pytest.mark.parametrize("mode", ["graph", "xla", pytest.param("eager", marks=pytest.mark.slow)])
def test_a_loop_that_never_calls_step_is_undecided(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    mode: str,
) -> None:
    model, optimizer = make_model(), keras.optimizers.Adam(1e-12)
    with tbg.watch(optimizer, tmp_path, model=model):
        step = make_step(model, optimizer, 1, mode)
        for _ in range(STEPS):
            step()

    assert capsys.readouterr().out.startswith(f"tb_gradients: undecided ({NEVER}).")
    assert sum("was never called" in record.getMessage() for record in caplog.records) == 1
    run = checked(tmp_path)
    assert (run.verdict, run.undecided) == ("undecided", NEVER)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_what_is_exact_is_found_though_step_was_never_called(
    tmp_path: pathlib.Path, mode: str
) -> None:
    model, optimizer = make_model(), keras.optimizers.Adam(1e-3)
    with tbg.watch(optimizer, tmp_path, model=model) as monitor:
        step = make_step(model, optimizer, 0, mode)
        for _ in range(STEPS):
            step()

    run = checked(tmp_path)
    assert (run.verdict, run.undecided) == ("critical", NEVER)
    assert [flag.rule for flag in run.flags] == ["zero_gradient"]
    assert monitor.flags == run.flags  # as it was judged while it trained


@pytest.mark.parametrize(("updates", "calls"), [(5, 20), (1, 100)])
def test_several_updates_of_each_step_are_somebodys_intention(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, updates: int, calls: int
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, verbose=0) as monitor:
        step = make_step(model, optimizer, 1, "graph")
        for _ in range(calls):
            for _ in range(updates):
                loss = step()
            monitor.step(loss=loss)

    assert "monitor.step()" not in checked(tmp_path).undecided
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_a_few_steps_without_any_gradient_are_undecided_and_the_suspicion_is_reported(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    model = make_model()
    model.compile("adam", lambda true, logits: 0.0 * crossentropy(true, logits))
    health = tbg.GradientHealth(tmp_path)
    model.fit(X[: 32 * steps], Y[: 32 * steps], verbose=0, callbacks=[health])

    out = capsys.readouterr().out
    assert f"undecided (too early to tell: {steps} step" in out
    assert "healthy" not in out
    run = checked(tmp_path)
    assert run.verdict == "undecided"
    [flag] = run.flags
    assert (flag.rule, flag.provisional) == ("zero_gradient", True)
    assert health.report == run.flags


def test_one_frame_is_no_plural(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model) as monitor:
        make_step(model, optimizer, 0, "graph")()
        monitor.step()

    assert "1 flag in 1 frame\n" in capsys.readouterr().out


def test_the_file_of_a_short_run_says_how_far_its_rules_have_judged(tmp_path: pathlib.Path) -> None:
    """What the tab shows while the training goes on is what `check` finds."""
    from tb_gradients.reading.event_files import EventFileSource

    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    monitor = tbg.watch(optimizer, tmp_path, model=model, verbose=0)
    step = make_step(model, optimizer, 1, "graph")
    for _ in range(44):
        loss = step()
        monitor.step(loss=loss)
    monitor.close()

    stored = EventFileSource(str(tmp_path)).read(".").verdict
    run = checked(tmp_path)
    assert stored is not None
    assert (stored.verdict, stored.undecided, stored.rules) == (
        "undecided",
        run.undecided,
        run.rules,
    )
    states = {state.rule: state for state in stored.rules}
    assert states["not_learning"].state == "not_yet"
    assert states["not_learning"].reason.startswith("needs 100 losses")
