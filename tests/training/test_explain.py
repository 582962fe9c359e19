"""``monitor.explain`` finds where a step loses its gradients, and makes nothing of the step."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.training.monitor import GradientMonitor

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

X = np.concatenate([np.random.default_rng(0).normal(size=(3, 6)), np.zeros((1, 6))]).astype("f")
Y = np.ones((4, 1), np.float32)


class Body(layers.Layer):
    """A layer of the user's own: a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(name="body")
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def chosen(h: Any) -> Any:
    return tf.one_hot(tf.argmax(h, axis=-1), 8)


def normalised(h: Any) -> Any:
    return h / tf.norm(h, axis=-1, keepdims=True)


def switched_off(h: Any) -> Any:
    return tf.nn.relu(tf.tanh(h) - 2.0)


class Loop:
    """A custom training loop with a function in the middle of its model."""

    def __init__(self, function: Callable[[Any], Any], folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(1)
        parts = [layers.Dense(8, use_bias=False, name="first"), layers.Dropout(0.5)]
        parts += [Body(function), layers.Dense(1)]
        self.model = keras.Sequential([keras.Input((6,)), *parts], name="net")
        self.optimizer = keras.optimizers.Adam(0.01)
        self.seen = tf.Variable(0.0)
        self.monitor: GradientMonitor = tbg.watch(
            self.optimizer, folder, model=self.model, every=1, verbose=0
        )

    def step(self, x: Any, y: Any) -> Any:
        """One step, with a branch over a tensor, a variable of its own and a print."""
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.model(x, training=True) - y))
        if loss > 1e9:
            tf.print("large")
        self.seen.assign_add(loss)
        variables = self.model.trainable_variables
        pairs = zip(tape.gradient(loss, variables), variables, strict=True)
        self.optimizer.apply_gradients(pairs)
        return loss

    def state(self) -> list[Any]:
        """All that a training holds, as bytes."""
        variables = [*self.model.variables, *self.optimizer.variables, self.seen]
        arrays = [np.asarray(v).tobytes() for v in variables]
        return [*arrays, random.getstate(), str(np.random.get_state())]  # noqa: NPY002


@pytest.mark.parametrize(
    ("function", "lost", "operation"),
    [
        (chosen, "none", "ArgMax"),
        (normalised, "nonfinite", "RealDiv"),
        (switched_off, "zero", "Relu"),
    ],
    ids=["none", "nan", "zero"],
)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_the_operation_and_the_line_are_found_and_nothing_of_the_step_is_done(
    tmp_path: pathlib.Path, function: Any, lost: str, operation: str, traced: bool
) -> None:
    with (loop := Loop(function, tmp_path)).monitor as monitor:
        before = loop.state()
        found = monitor.explain(tf.function(loop.step) if traced else loop.step, X, Y)
        assert loop.state() == before
        assert not monitor.frames and not monitor.errors
    assert found.lost["net/first/kernel"] == lost
    origin = found["net/first/kernel"]
    assert (origin.operation, origin.layer) == (operation, "body")
    assert pathlib.Path(origin.file).name == pathlib.Path(__file__).name
    assert any(call in origin.code for call in ("tf.argmax", "tf.norm", "tf.nn.relu"))
    text = str(found)
    assert str(origin) in text and origin.summary in text
    assert "skipped: " in text and "assignments to variables, tf.print" in text


def test_the_operation_at_which_gradients_become_zero_is_found_in_a_function_for_xla(
    tmp_path: pathlib.Path,
) -> None:
    with (loop := Loop(switched_off, tmp_path)).monitor as monitor:

        @tf.function(jit_compile=True)
        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(loop.model(x) - y))
            variables = loop.model.trainable_variables
            pairs = zip(tape.gradient(loss, variables), variables, strict=True)
            loop.optimizer.apply_gradients(pairs)

        found = monitor.explain(step, X, y=Y)
    assert found["net/first/kernel"].operation == "Relu"
    assert found.lost["net/first/kernel"] == "zero"


def test_of_a_sound_step_nothing_is_lost(tmp_path: pathlib.Path) -> None:
    with (loop := Loop(tf.tanh, tmp_path)).monitor as monitor:
        found = monitor.explain(loop.step, X, Y)
    assert not found and not found.lost
    assert "is finite and not zero" in str(found)


def test_hand_written_updates_are_explained(tmp_path: pathlib.Path) -> None:
    w, b = tf.Variable([[1.0], [2.0]], name="w"), tf.Variable([0.5], name="b")

    def step(x: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.round(x @ w) + b)
        gradients = tape.gradient(loss, [w, b])
        with monitor.observe(gradients, [w, b]):
            b.assign_sub(0.1 * gradients[1])

    with tbg.GradientMonitor(tmp_path, variables=[w, b], verbose=0) as monitor:
        found = monitor.explain(step, X[:, :2])
    assert list(found) == ["w"] and found["w"].operation == "Round"
    assert b.numpy() == 0.5


def test_flags_that_are_open_get_the_origin(tmp_path: pathlib.Path) -> None:
    with (loop := Loop(chosen, tmp_path)).monitor as monitor:  # eager: no graph was seen so far
        for _ in range(3):
            loop.step(X, Y)
            monitor.step()
        assert all(flag.origin is None for flag in monitor.flags)
        monitor.explain(loop.step, X, Y)
        [flag] = [flag for flag in monitor.flags if flag.rule == "disconnected_gradient"]
    assert flag.origin is not None and flag.origin.operation == "ArgMax"
    [stored] = tbg.load(tmp_path).runs
    assert any(flag.origin == stored_flag.origin for stored_flag in stored.flags)


def test_what_cannot_be_looked_at_is_said(tmp_path: pathlib.Path) -> None:
    with (loop := Loop(chosen, tmp_path)).monitor as monitor:
        data = iter(tf.data.Dataset.from_tensors((X, Y)).repeat())
        found = monitor.explain(lambda source: loop.step(*next(source)), data)
    assert found.lost == {"net/first/kernel": "none"}
    assert "the function draws its batch itself" in str(found)
    assert "drawing from a data set" in found.skipped


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((5,), TypeError, r"monitor.explain\(train_step, x, y\), not int"),
        ((lambda x, y: None, X), TypeError, "missing a required argument: 'y'"),
        ((lambda x: x, X), ValueError, "makes no update that this monitor sees"),
        ((lambda x: float(x), X), RuntimeError, "compute with tensors alone"),
    ],
    ids=["no function", "arguments", "no update", "reads values"],
)
def test_a_wrong_call_is_an_error_that_says_what_to_pass(
    tmp_path: pathlib.Path, arguments: Any, error: type[Exception], text: str
) -> None:
    monitor = tbg.GradientMonitor(tmp_path, variables=[tf.Variable(1.0)], verbose=0)
    with monitor, pytest.raises(error, match=text):
        monitor.explain(*arguments)
