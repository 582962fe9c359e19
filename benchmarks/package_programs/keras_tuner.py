"""keras-tuner: a grid search, the callback given to ``search``.

The tuner trains every trial with a copy of the callback, and each copy writes a run of its own. The
healthy search has one trial, so that its steps can be compared with a tape.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from package_programs.keras_training import fitted
from package_programs.program import Attach, Program, Training

ROWS, BATCH, EPOCHS = 512, 32, 6
layers = keras.layers


def model_of(rate: float) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    return model


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 10)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("float32")[:, None]
    rates = [3.0, 1e-2] if faulty else [1e-2]
    model = model_of(rates[-1])
    losses: list[float] = []

    class Search(keras_tuner.GridSearch):  # type: ignore[misc]
        def run_trial(self, trial: Any, *arguments: Any, **options: Any) -> Any:
            histories = super().run_trial(trial, *arguments, **options)
            losses[:] = histories[-1].history["loss"]
            return histories

    def train(attach: Attach) -> Sequence[float]:
        def build_trial(trial: Any) -> Any:
            rate = trial.Choice("learning_rate", rates)
            return model if rate == rates[-1] else model_of(rate)

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            tuner = Search(build_trial, objective="loss", max_trials=2, directory=folder)
            options = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
            tuner.search(x, y, callbacks=attach.callbacks(), **options)
        return losses

    training = fitted(model, x, y, batch=BATCH, epochs=EPOCHS)
    return Training(model.trainable_variables, training.steps, training.tape, train)


PROGRAM = Program(
    build,
    fault="one trial of two has the learning rate 3",
    rule="exploding_gradient",
    cause="learning_rate_too_large",
)
