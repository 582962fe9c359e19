"""larq: a binary network, by ``fit`` of ``tf_keras``."""

from __future__ import annotations

from typing import Any

import larq
import tensorflow as tf
import tf_keras

from package_programs.data import classes
from package_programs.keras_training import fitted
from package_programs.program import Program, Training

ROWS, BATCH, EPOCHS = 640, 32, 6
layers = tf_keras.layers


def binary(quantizer: Any) -> Any:
    return larq.layers.QuantDense(
        64,
        input_quantizer=quantizer,
        kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip",
        use_bias=False,
    )


def build(faulty: bool) -> Training:
    x, y = classes(ROWS)
    quantizer = tf.sign if faulty else "ste_sign"
    model = tf_keras.Sequential(
        [
            layers.InputLayer((16,)),
            layers.Dense(64, activation="tanh"),
            binary(quantizer),
            layers.BatchNormalization(),
            binary("ste_sign"),
            layers.BatchNormalization(),
            layers.Dense(4),
        ]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-2), loss)
    return fitted(model, x, y, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="`tf.sign` in the place of the straight-through sign",
    rule="zero_gradient",
    cause="non_differentiable_operation",
    variable="dense",
)
