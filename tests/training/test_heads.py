"""Which layer's output meets the loss is read from the graph, if the model does not show it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training.tracing.heads import head_of

layers = keras.layers


class Subclassed(keras.Model):  # type: ignore[misc]
    """The last layer is made first, and only ``call`` knows which one it is."""

    def __init__(self, last: Any, end: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.last = last
        self.hidden = layers.Dense(64, activation="relu", name="hidden")
        self.end = end

    def call(self, x: Any) -> Any:
        result = self.last(self.hidden(x))
        return result if self.end is None else self.end(result)


def facts_of(model: Any, folder: pathlib.Path, shape: tuple[int, ...], **compiled: Any) -> Any:
    """The facts of a short run with ``fit``."""
    callback = tbg.GradientHealth(folder, verbose=0)
    x = np.ones((8, *shape), np.float32)
    y = np.zeros(np.shape(model(x)), np.float32)
    model.compile("sgd", "mse", **compiled)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[callback])
    (recording,) = EventFileSource(folder).read(".").recordings
    return recording.table.run.facts


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("last", "shape", "activation"),
    [
        (lambda: layers.Dense(2, name="last"), (4,), "linear"),
        (lambda: layers.Dense(2, activation="softmax", name="last"), (4,), "softmax"),
        (lambda: layers.Dense(2, activation="sigmoid", name="last"), (5, 4), "sigmoid"),
        (lambda: layers.Dense(2, use_bias=False, name="last"), (4,), "linear"),
        (lambda: layers.Conv1D(2, 1, activation="tanh", name="last"), (5, 4), "tanh"),
    ],
)
def test_the_last_layer_of_a_subclassed_model_is_known(
    last: Any, shape: Any, activation: str, jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    facts = facts_of(Subclassed(last()), tmp_path, shape, jit_compile=jit_compile)
    assert (facts["head"], facts["head_activation"]) == ("last", activation)
    assert facts["head_units"] == "2"


def test_what_call_does_behind_the_last_layer_counts(tmp_path: pathlib.Path) -> None:
    model = Subclassed(layers.Dense(2, activation="relu", name="last"), tf.nn.softmax)
    facts = facts_of(model, tmp_path, (4,))
    assert facts["head_activations"] == "relu,softmax"


@pytest.mark.parametrize("end", [lambda y: 2 * y, lambda y: y + tf.square(y), tf.sign])
def test_what_is_no_activation_leaves_the_end_unknown(end: Any, tmp_path: pathlib.Path) -> None:
    model = Subclassed(layers.Dense(2, name="last"), end)
    assert "head" not in facts_of(model, tmp_path, (4,))


def test_an_eager_step_shows_nothing(tmp_path: pathlib.Path) -> None:
    model = Subclassed(layers.Dense(2, name="last"))
    assert "head" not in facts_of(model, tmp_path, (4,), run_eagerly=True)
    assert head_of(tf.ones([2, 2]), [tf.Variable(tf.ones([2, 2]))]) is None


def test_a_relu_in_a_subclassed_model_is_not_taken_for_its_output(tmp_path: pathlib.Path) -> None:
    """Targets below zero, and logits, are right where the last layer is linear."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 8)).astype(np.float32)
    y = x @ generator.normal(size=(8, 2)).astype(np.float32)
    model = Subclassed(layers.Dense(2, name="last"))
    model(x[:1])
    callback = tbg.GradientHealth(tmp_path, verbose=0)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, y, batch_size=32, epochs=5, verbose=0, callbacks=[callback])
    assert callback.report == ()
