"""Losses that clip the output before they look at it: outside of their domain nothing is learnt."""

from __future__ import annotations

import inspect
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.judging.loss_domains import DOMAINS, domain_of

RANDOM = np.random.default_rng(0)
ROWS, CLASSES = 6, 3
LABELS = np.arange(ROWS) % CLASSES
FAR = 30.0
"""Outputs lie that far from zero, and do not differ by a common factor only."""

TARGETS = {
    "sparse_categorical_crossentropy": LABELS,
    "categorical_generalized_cross_entropy": LABELS,
    "hinge": np.where(LABELS[:, np.newaxis] == np.arange(CLASSES), 1.0, -1.0),
    "squared_hinge": np.where(LABELS[:, np.newaxis] == np.arange(CLASSES), 1.0, -1.0),
    "mean_squared_logarithmic_error": RANDOM.uniform(1, 2, (ROWS, CLASSES)),
}
"""Of losses that take something else than classes, one-hot."""

OWN_INPUTS = {"ctc", "circle"}
"""Losses of sequences of logits, and of vectors of length 1: they clip no output."""


def losses() -> Iterator[tuple[str, Any]]:
    """Name and class of every loss of the installed Keras."""
    for name, kind in inspect.getmembers(keras.losses, inspect.isclass):
        if issubclass(kind, keras.losses.Loss) and kind is not keras.losses.Loss:
            yield name, kind


def snake(name: str) -> str:
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return {"c_t_c": "ctc", "k_l_divergence": "kl_divergence"}.get(parts, parts)


def is_zero(kind: Any, name: str, level: float) -> bool:
    """Whether the gradient is exactly zero for outputs that are all far on one side."""
    eye = np.eye(CLASSES)[LABELS]
    targets = tf.constant(TARGETS.get(name, eye), tf.float32)
    output = tf.constant(level + RANDOM.uniform(0, 1, (ROWS, CLASSES)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = kind()(targets, output)
    return not np.nan_to_num(tape.gradient(value, output), nan=1.0).any()


def test_the_table_has_every_loss_of_keras() -> None:
    missing = {snake(name) for name, _ in losses()} - set(DOMAINS)

    assert not missing, f"of these nobody knows whether they clip the output: {missing}"


@pytest.mark.parametrize(("name", "kind"), [one for one in losses() if snake(one[0]) in DOMAINS])
def test_a_loss_is_constant_outside_of_its_domain_and_only_there(name: str, kind: Any) -> None:
    if snake(name) in OWN_INPUTS:
        assert DOMAINS[snake(name)] is None
        return
    domain = domain_of(name)
    low, high = (-math.inf, math.inf) if domain is None else (domain.low, domain.high)

    assert is_zero(kind, snake(name), -FAR - 1) == (low > -FAR)
    assert is_zero(kind, snake(name), FAR) == (high < FAR)


def test_logits_are_not_clipped() -> None:
    for name in ("BinaryCrossentropy", "SparseCategoricalCrossentropy"):
        assert domain_of(f"{name}(from_logits=False)") is not None
        assert domain_of(f"{name}(from_logits=True)") is None


def train(folder: pathlib.Path, loss: str, last: Any, jit_compile: bool) -> dict[str, tbg.Flag]:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(160, 4)).astype("float32")
    y = np.eye(2)[(x[:, 0] > 0).astype(int)]
    hidden = keras.layers.Dense(8, "relu")
    model = keras.Sequential([keras.Input((4,)), hidden, last])
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=jit_compile)
    watched = tbg.GradientHealth(folder, every=4, verbose=0, histograms=False)
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[watched])
    assert watched.errors == ()
    return {flag.rule: flag for flag in watched.report}


@pytest.mark.parametrize(
    ("loss", "jit_compile"),
    [
        ("mean_squared_logarithmic_error", False),
        pytest.param("mean_squared_logarithmic_error", True, marks=pytest.mark.long),
        pytest.param("kl_divergence", False, marks=pytest.mark.long),
        pytest.param("binary_crossentropy", False, marks=pytest.mark.long),
    ],
)
@pytest.mark.slow
def test_an_output_that_the_loss_clips_for_every_sample_is_the_cause(
    loss: str, jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    far = keras.initializers.Constant(-FAR)
    flag = train(tmp_path, loss, keras.layers.Dense(2, bias_initializer=far), jit_compile)
    activation = {"mean_squared_logarithmic_error": "softplus", "kl_divergence": "softmax"}

    [found] = [one for one in flag.values() if one.rule in ("zero_gradient", "model_mismatch")]
    assert found.causes[0].id == "loss_output_mismatch"
    assert f'activation="{activation.get(loss, "sigmoid")}"' in found.fixes[0]


@pytest.mark.slow
def test_an_output_inside_of_the_domain_is_not(tmp_path: pathlib.Path) -> None:
    last = keras.layers.Dense(2, "softplus")

    assert train(tmp_path, "mean_squared_logarithmic_error", last, False) == {}
