"""TensorFlow Recommenders: two towers and a retrieval task, by ``fit`` of ``tf_keras``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from package_programs.keras_training import gradients_of, rows_of
from package_programs.program import Attach, Program, Training

USERS, ITEMS, ROWS, BATCH, EPOCHS = 120, 80, 1280, 64, 6
layers = tf_keras.layers


class TwoTowers(tfrs.Model):  # type: ignore[misc]
    def __init__(self, sign: float) -> None:
        super().__init__()
        self.user = tf_keras.Sequential([layers.Embedding(USERS, 16), layers.Dense(16)])
        self.item = tf_keras.Sequential([layers.Embedding(ITEMS, 16), layers.Dense(16)])
        self.task = tfrs.tasks.Retrieval()
        self.sign = sign

    def compute_loss(self, inputs: Any, training: bool = False) -> Any:
        user, item = self.user(inputs["user"]), self.item(inputs["item"])
        return self.sign * self.task(user, item, compute_metrics=False)


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    user = generator.integers(0, USERS, ROWS)
    taste = generator.normal(size=(USERS, 4)) @ generator.normal(size=(4, ITEMS))
    item = (taste[user] + 0.3 * generator.gumbel(size=(ROWS, ITEMS))).argmax(1)
    pairs = {"user": user, "item": item}
    model = TwoTowers(-1.0 if faulty else 1.0)
    model.compile(tf_keras.optimizers.Adam(1e-2))
    first = rows_of(pairs, BATCH)
    model.compute_loss(first)  # makes the variables
    data = tf.data.Dataset.from_tensor_slices(pairs).batch(BATCH)

    def train(attach: Attach) -> Sequence[float]:
        done = model.fit(data, epochs=EPOCHS, verbose=0, callbacks=attach.callbacks())
        return list(done.history["loss"])

    def tape() -> Sequence[Any]:
        return gradients_of(model, lambda: model.compute_loss(first, training=True))

    return Training(model.trainable_variables, ROWS // BATCH * EPOCHS, tape, train)


PROGRAM = Program(
    build,
    fault="the loss is maximised (wrong sign)",
    rule="unbounded_loss",
    cause="wrong_sign",
)
