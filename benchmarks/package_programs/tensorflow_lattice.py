"""TensorFlow Lattice: calibrators and a monotonic lattice, by ``fit`` of ``tf_keras``.

The layers hold weights at the bounds of their constraints after each step.
"""

from __future__ import annotations

import numpy as np
import tensorflow_lattice as tfl
import tf_keras

from package_programs.data import curve
from package_programs.keras_training import fitted
from package_programs.program import Program, Training

ROWS, BATCH, EPOCHS = 640, 32, 6
FEATURES, SIZE = 3, 3


def build(faulty: bool) -> Training:
    x, y = curve(ROWS, FEATURES)
    inputs = [tf_keras.Input((1,)) for _ in range(FEATURES)]
    calibrated = [
        tfl.layers.PWLCalibration(
            input_keypoints=np.linspace(0, 1, 6),
            output_min=0.0,
            output_max=SIZE - 1.0,
            monotonicity="increasing" if i == 1 else "none",
        )(given)
        for i, given in enumerate(inputs)
    ]
    outputs = tfl.layers.Lattice(
        lattice_sizes=[SIZE] * FEATURES,
        monotonicities=["none", "increasing", "none"],
        output_min=0.0,
        output_max=2.0,
    )(calibrated)
    model = tf_keras.Model(inputs, outputs)
    model.compile(tf_keras.optimizers.Adam(1e-9 if faulty else 1e-2), "mse")
    columns = [x[:, i : i + 1] for i in range(FEATURES)]
    return fitted(model, columns, y, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="learning rate 1e-9",
    rule="update_too_small",
    cause="learning_rate_too_small",
)
