"""A training that maximises its loss is reported; its twin with the right sign is silent."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 4)).astype("float32")
Y = X @ RANDOM.normal(size=(4, 1)).astype("float32") + 0.1 * RANDOM.normal(size=(400, 1))


def log_likelihood(y: Any, parameters: Any) -> Any:
    """Of a normal distribution whose mean and spread are the outputs of the model."""
    mean, spread = parameters[..., :1], 1e-2 + tf.nn.softplus(parameters[..., 1:])
    return -tf.math.log(spread) - 0.5 * ((tf.cast(y, tf.float32) - mean) / spread) ** 2


@pytest.mark.parametrize(("sign", "flags"), [(1, ["unbounded_loss"]), (-1, [])])
def test_a_likelihood_that_is_minimised_is_named(
    sign: int, flags: list[str], tmp_path: pathlib.Path
) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    )
    model.compile(keras.optimizers.Adam(1e-2), lambda y, d: sign * log_likelihood(y, d))

    watched = tbg.GradientHealth(tmp_path, every=1, verbose=0, explain=False)
    model.fit(X, Y, batch_size=32, epochs=14, verbose=0, callbacks=[watched])

    found = {flag.rule: flag for flag in watched.report if flag.severity.label != "info"}
    assert list(found) == flags
    if flags:
        assert found["unbounded_loss"].causes[0].id == "wrong_sign"
