"""TensorFlow Model Optimization: a dense network is pruned, by ``fit`` of ``tf_keras``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from package_programs.data import curve
from package_programs.keras_training import fitted
from package_programs.program import Attach, Program, Training

ROWS, BATCH, EPOCHS = 640, 32, 6
STEPS = ROWS // BATCH * EPOCHS
layers = tf_keras.layers


def build(faulty: bool) -> Training:
    x, y = curve(ROWS)
    if faulty:
        y[200] = np.nan  # in batch 6
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 20, STEPS - 20, frequency=10)
    dense = tf_keras.Sequential(
        [
            layers.InputLayer((4,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(1),
        ]
    )
    model = tfmot.sparsity.keras.prune_low_magnitude(dense, pruning_schedule=schedule)
    model.compile(tf_keras.optimizers.Adam(1e-2), "mse")
    training = fitted(model, x, y, batch=BATCH, epochs=EPOCHS)

    def tape() -> Sequence[Any]:
        for layer in model.layers:
            layer.pruning_step.assign(0)  # as the callback does before the first step
        return training.tape()

    def train(attach: Attach) -> Sequence[float]:
        callbacks = [tfmot.sparsity.keras.UpdatePruningStep(), *attach.callbacks()]
        options = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
        return list(model.fit(x, y, callbacks=callbacks, **options).history["loss"])

    return Training(training.variables, training.steps, tape, train)


PROGRAM = Program(
    build,
    fault="one NaN among the targets",
    rule="nonfinite_gradient",
    cause="nonfinite_targets",
)
