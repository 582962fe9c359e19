"""``step(losses=...)``: every value comes back by its name, and nothing else changes."""

from __future__ import annotations

import collections
import pathlib
import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients import lane as lanes
from tb_gradients.flags import Severity
from tb_gradients.lane import MOST_LOSSES

generator = np.random.default_rng(0)
X = tf.constant(generator.normal(size=(32, 6)), tf.float32)
Y = tf.constant(generator.normal(size=(32, 1)), tf.float32)


class Loop:
    """A regression with two losses."""

    def __init__(self, *, jit: bool = False) -> None:
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        self.optimizer = keras.optimizers.Adam(0.01)
        self.step = tf.function(self._step, jit_compile=jit)

    def _step(self) -> tuple[Any, Any, Any]:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            error = self.model(X) - Y
            mse, size = tf.reduce_mean(error**2), tf.reduce_mean(tf.abs(error))
            loss = mse + 0.1 * size
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, mse, size

    def watched(self, folder: pathlib.Path, **settings: Any) -> tbg.GradientMonitor:
        return tbg.watch(self.optimizer, folder, model=self.model, verbose=0, **settings)


def read(folder: pathlib.Path) -> Any:
    (run,) = tbg.load(folder).runs
    return run


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_every_step_has_its_losses(tmp_path: pathlib.Path, jit: bool) -> None:
    loop = Loop(jit=jit)
    given = collections.defaultdict(list)
    with loop.watched(tmp_path, every=7) as monitor:
        for _ in range(30):
            loss, mse, size = loop.step()
            monitor.step(loss=loss, losses={"mse": mse, "size": size})
            given["mse"].append(float(mse))
            given["size"].append(float(size))
    run = read(tmp_path)
    assert list(run.lane.named_losses) == ["mse", "size"]
    for name, values in given.items():
        np.testing.assert_allclose(run.lane.named_losses[name], values, rtol=1e-6)
        np.testing.assert_allclose(run.losses[name], np.array(values)[run.steps], rtol=1e-6)
    assert monitor.errors == ()


def test_weights_and_verdict_are_those_of_a_loop_without(tmp_path: pathlib.Path) -> None:
    ends, verdicts = [], []
    for name in ("with", "without"):
        loop = Loop()
        with loop.watched(tmp_path / name, every=5) as monitor:
            for _ in range(40):
                loss, mse, size = loop.step()
                losses = {"mse": mse, "size": size} if name == "with" else None
                monitor.step(loss=loss, losses=losses)
        ends.append([variable.numpy() for variable in loop.model.trainable_variables])
        verdicts.append((monitor.flags, read(tmp_path / name).rules))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)
    assert verdicts[0] == verdicts[1]


def test_a_loss_that_comes_later_or_at_times_is_unknown_elsewhere(tmp_path: pathlib.Path) -> None:
    loop = Loop()
    with loop.watched(tmp_path, every=1) as monitor:
        for step in range(12):
            loss, mse, _ = loop.step()
            odd = {"generator": mse} if step % 2 else {}
            monitor.step(loss=loss, losses={"critic": step, **odd} if step > 4 else None)
    named = read(tmp_path).lane.named_losses
    np.testing.assert_array_equal(named["critic"], [*[np.nan] * 5, *range(5, 12)])
    assert np.isfinite(named["generator"]).tolist() == [s > 4 and s % 2 == 1 for s in range(12)]


def test_nan_stays_at_its_step(tmp_path: pathlib.Path) -> None:
    loop = Loop()
    with loop.watched(tmp_path, every=5) as monitor:
        for step in range(20):
            monitor.step(loss=loop.step()[0], losses={"kl": np.nan if step == 13 else 1.0})
    (kl,) = read(tmp_path).lane.named
    assert np.flatnonzero(kl.nonfinite).tolist() == [13]


def test_blocks_of_a_long_run_hold_all_their_losses(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "DENSE_BYTES", 8 * (2 * 2 + 9))
    monkeypatch.setattr(lanes, "BLOCK_STEPS", 8)
    loop = Loop()
    with loop.watched(tmp_path, every=3) as monitor:
        for step in range(50):
            monitor.step(loss=float(step), losses={"step": step}) if loop.step() else None
    lane = read(tmp_path).lane
    assert lane.spans.tolist() == [*[1] * 8, 8, 16, 18]
    expected = lane.first + (lane.spans - 1) / 2
    np.testing.assert_allclose(lane.named_losses["step"], expected)
    np.testing.assert_allclose(lane.loss, expected)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (0.5, r'takes losses by name, such as {"mse": mse, "kl": kl}, not 0.5'),
        ([0.5], r"takes losses by name.*, not an object of type list"),
        ({"mse": "low"}, r"'mse': ...}\) takes a scalar tensor or a number, not str"),
        ({3: 0.5}, r"takes names that are text, not 3"),
        ({"": 0.5}, r"a name in .* has 1 to 100 letters, not 0"),
        ({"m" * 101: 0.5}, r"a name in .* has 1 to 100 letters, not 101"),
        ({"\ud800": 0.5}, r"is no text"),
    ],
    ids=["number", "list", "value", "key", "empty", "long", "surrogate"],
)
def test_what_step_cannot_use_is_left_out(
    losses: Any, message: str, tmp_path: pathlib.Path
) -> None:
    loop = Loop()
    with loop.watched(tmp_path, every=1) as monitor:
        for _ in range(3):
            both = {**losses, "kl": 1.0} if isinstance(losses, dict) else losses
            monitor.step(loss=loop.step()[0], losses=both)
    (error,) = monitor.errors
    assert re.search(message, str(error))
    run = read(tmp_path)
    assert list(run.losses) == (["kl"] if isinstance(losses, dict) else [])
    assert run.frames == 3
    assert np.isfinite(run.lane.loss).all()


def test_more_losses_than_there_is_room_for_are_left_out(tmp_path: pathlib.Path) -> None:
    loop = Loop()
    with loop.watched(tmp_path, every=1) as monitor:
        for step in range(3):
            loop.step()
            # Names that change from step to step would never end.
            monitor.step(losses={f"{step} of {i}": i for i in range(MOST_LOSSES - 5)})
    (error,) = monitor.errors
    assert "records 16 names in one run, and '1 of 5' is one more" in str(error)
    assert len(read(tmp_path).losses) == MOST_LOSSES
    assert all(flag.severity < Severity.WARNING for flag in monitor.flags)


def test_summaries_have_them(tmp_path: pathlib.Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop = Loop()
    with loop.watched(tmp_path, every=4, summaries=True) as monitor:
        for step in range(9):
            loop.step()
            monitor.step(losses={"kl": step})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(one.step, one.value) for one in events.Scalars("losses/kl")] == [
        (0, 0),
        (4, 4),
        (8, 8),
    ]
