"""qkeras: a dense network with quantised weights and activations, by ``fit`` of ``tf_keras``."""

from __future__ import annotations

import qkeras
import tf_keras

from package_programs.data import classes
from package_programs.keras_training import fitted
from package_programs.program import Program, Training

ROWS, BATCH, EPOCHS = 640, 32, 6
BITS = "quantized_bits(6, 2, alpha=1)"


def build(faulty: bool) -> Training:
    x, y = classes(ROWS)
    start = tf_keras.initializers.Constant(0.1) if faulty else "he_normal"
    dense = {"kernel_quantizer": BITS, "bias_quantizer": BITS, "kernel_initializer": start}
    model = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((16,)),
            qkeras.QDense(32, **dense),
            qkeras.QActivation("quantized_relu(6, 2)"),
            qkeras.QDense(32, **dense),
            qkeras.QActivation("quantized_relu(6, 2)"),
            tf_keras.layers.Dense(4),
        ]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(3e-3), loss)
    return fitted(model, x, y, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="kernels start at one constant",
    rule="symmetric_units",
    cause="constant_initialization",
)
