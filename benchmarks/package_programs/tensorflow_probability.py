"""TensorFlow Probability: a distribution as output, by ``fit`` of ``tf_keras``."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from package_programs.keras_training import fitted
from package_programs.program import Program, Training

ROWS, BATCH, EPOCHS = 640, 64, 10
layers = tf_keras.layers


def normal_of(parameters: Any) -> Any:
    scale = 1e-3 + tf.math.softplus(0.05 * parameters[..., 1:])
    return tfp.distributions.Normal(parameters[..., :1], scale)


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    x = generator.uniform(-3, 3, size=(ROWS, 1)).astype("float32")
    noise = (0.1 + 0.1 * np.abs(x)) * generator.normal(size=(ROWS, 1))
    y = (np.sin(x) + noise).astype("float32")
    head = tfp.layers.DistributionLambda(normal_of)
    model = tf_keras.Sequential(
        [layers.InputLayer((1,)), layers.Dense(32, "tanh"), layers.Dense(2), head]
    )
    sign = 1.0 if faulty else -1.0
    model.compile(tf_keras.optimizers.Adam(1e-2), lambda y, given: sign * given.log_prob(y))
    return fitted(model, x, y, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="the log-likelihood is minimised (wrong sign)",
    rule="unbounded_loss",
    cause="wrong_sign",
)
