"""`stop_gradient` between the inputs and the predictions is found, where nothing goes round it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.judging.networks import SIGN, STOPPED

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


class Latent(keras.Model):
    """An autoencoder whose encoder has a penalty of its own, as a variational one has."""

    def __init__(self, passed_on: Callable[[Any], Any]) -> None:
        super().__init__()
        self.passed_on = passed_on
        self.encoder, self.decoder = L.Dense(3, name="encoder"), L.Dense(4, name="decoder")

    def call(self, x: Any) -> Any:
        mean = self.encoder(x)
        self.add_loss(1e-2 * tf.reduce_mean(tf.square(mean)))
        noise = 0.1 * tf.random.normal(tf.shape(mean))
        return self.decoder(self.passed_on(mean) + noise)


CUT, OPEN = {"encoder"}, set[str]()


@pytest.mark.parametrize(
    ("passed_on", "cut"),
    [
        (tf.stop_gradient, CUT),
        (tf.identity, OPEN),
        (lambda z: z + tf.stop_gradient(tf.sign(z) - z), OPEN),
    ],
    ids=["cut off", "open", "straight through"],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_cut_off_from_the_predictions_is_known(
    passed_on: Callable[[Any], Any], cut: set[str], jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    keras.utils.set_random_seed(0)
    model = Latent(passed_on)
    model.compile("adam", "mse", jit_compile=jit_compile)
    watched = tbg.GradientHealth(tmp_path, every=1, verbose=0, histograms=False, explain=False)
    model.fit(X, X, batch_size=32, epochs=1, verbose=0, callbacks=[watched])

    variables = tbg.load(tmp_path).runs[0].variables
    found = {v.path.split("/")[-2] for v in variables if STOPPED in v.facts}

    assert watched.errors == ()
    assert found == cut


def test_an_embedding_sees_the_data(tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,), dtype="int32")
    table = L.Flatten()(L.Embedding(5, 3)(inputs))
    model = keras.Model(inputs, L.Dense(1)(keras.ops.stop_gradient(table) + table))
    model.compile("sgd", "mse", jit_compile=False)
    watched = tbg.GradientHealth(tmp_path, every=1, verbose=0, histograms=False, explain=False)
    tokens = np.arange(32).reshape(16, 2) % 5
    model.fit(tokens, tokens[:, :1] * 1.0, verbose=0, callbacks=[watched])

    assert not any(STOPPED in v.facts for v in tbg.load(tmp_path).runs[0].variables)


@pytest.mark.parametrize("through", [False, True], ids=["bare", "straight through"])
def test_a_bare_sign_is_known(through: bool, tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)

    def sign(x: Any) -> Any:
        return x + tf.stop_gradient(tf.sign(x) - x) if through else tf.sign(x)

    model = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Lambda(sign), L.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    watched = tbg.GradientHealth(tmp_path, every=1, verbose=0, histograms=False, explain=False)
    model.fit(X, X[:, :1], batch_size=32, verbose=0, callbacks=[watched])

    variables = tbg.load(tmp_path).runs[0].variables
    found = [SIGN in v.facts for v in variables if v.path.endswith("kernel")]

    assert found == [not through, False]


@pytest.mark.parametrize("layer", [L.GRU, L.LSTM, L.SimpleRNN])
def test_a_recurrent_layer_lets_the_gradient_pass(layer: Any, tmp_path: pathlib.Path) -> None:
    """Its steps are passed on in a list of tensors."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 1)), layer(3), L.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    watched = tbg.GradientHealth(tmp_path, every=1, verbose=0, histograms=False, explain=False)
    model.fit(X[..., None], X[:, :1], batch_size=32, verbose=0, callbacks=[watched])

    assert not any({STOPPED, SIGN} & set(v.facts) for v in tbg.load(tmp_path).runs[0].variables)
