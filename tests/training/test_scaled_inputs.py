"""What leaves the layer that scales the inputs, and which layers normalise a single value."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.training.model.layers import values_normalized
from tb_gradients.training.model.model_ends import ends_of, scaling_of

L = keras.layers
X = np.random.default_rng(0).normal(size=(96, 3)).astype("float32") + 5


def train(folder: pathlib.Path, *layers: Any, jit_compile: bool = False) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *layers, L.Dense(4, "relu"), L.Dense(1)])
    model.compile("adam", "mse", jit_compile=jit_compile)
    watched = tbg.GradientHealth(folder, every=2, verbose=0, histograms=False, explain=False)
    model.fit(X, X[:, :1], batch_size=32, epochs=2, verbose=0, callbacks=[watched])
    assert watched.errors == ()
    return tbg.load(folder).runs[0]


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_largest_magnitude_behind_a_normalization_is_measured(
    jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    layer = L.Normalization(mean=[5.0, 5.0, 0.0], variance=[1.0, 1.0, 1e-12])

    run = train(tmp_path, layer, jit_compile=jit_compile)

    largest = run.context("inputs_scaled_max_abs")
    assert (largest > 1e6).all()
    assert (largest < 2 * X.max() / 1e-6).all()
    assert (run.context("inputs_scaled_nonfinite") == 0).all()
    assert (run.context("samples") == 32).all()


@pytest.mark.parametrize(
    "layer",
    [
        L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 0.0]),
        L.Rescaling(1 / 127.5, offset=-1.0),
    ],
)
def test_the_scaling_of_a_layer_is_what_the_layer_does(layer: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), layer, L.Dense(1)])

    shift, divisor = scaling_of(model)

    np.testing.assert_allclose((X - shift) / divisor, layer(X), rtol=1e-4)


def test_a_negative_variance_is_a_fact_of_the_run() -> None:
    layer = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, -0.5, 1.0])
    model = keras.Sequential([keras.Input((3,)), layer, L.Dense(1)])

    assert ends_of(model)["scaling_variance"] == "-0.5"
    assert np.isnan(scaling_of(model)[1]).any()


@pytest.mark.parametrize("layer", [L.Dense(3), L.BatchNormalization(), L.Lambda(tf.identity)])
def test_another_first_layer_has_no_scaling_that_is_known(layer: Any) -> None:
    assert scaling_of(keras.Sequential([keras.Input((3,)), layer, L.Dense(1)])) == ()


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (L.BatchNormalization(), (1, 1, 8), 1),
        (L.BatchNormalization(), (4, 4, 8), 16),
        (L.BatchNormalization(), (8,), 1),
        (L.BatchNormalization(), (None, 8), 0),
        (L.LayerNormalization(), (4, 1), 1),
        (L.LayerNormalization(axis=1), (1, 16), 1),
        (L.LayerNormalization(), (16,), 16),
        (L.UnitNormalization(), (1,), 1),
        (L.GroupNormalization(groups=8), (1, 1, 8), 1),
        (L.GroupNormalization(groups=2), (1, 1, 8), 4),
        (L.Dense(3), (8,), 0),
    ],
)
def test_a_normalisation_says_of_how_many_values_it_is(layer: Any, shape: Any, count: int) -> None:
    keras.Sequential([keras.Input(shape), layer])

    assert values_normalized(layer) == count
