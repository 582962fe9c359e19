"""A training by ``fit`` of a model that is compiled, of Keras 3 or of ``tf_keras``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from package_programs.program import Attach, Training


def rows_of(data: Any, rows: int) -> Any:
    """The first rows of arrays as tensors, in the same structure."""
    return tf.nest.map_structure(lambda array: tf.constant(array[:rows]), data)


def gradients_of(model: Any, loss_of: Any) -> Sequence[Any]:
    """By a tape; ``loss_of()`` is the whole loss of the first step."""
    with tf.GradientTape() as tape:
        loss = loss_of()
    return tape.gradient(loss, model.trainable_variables)


def fitted(model: Any, x: Any, y: Any = None, *, batch: int, epochs: int) -> Training:
    """``model.fit`` over arrays in their order.

    Args:
        model: built, and compiled with one loss or with a ``compute_loss`` of its own.
        x, y: arrays, or structures of them, of a whole number of batches.
    """
    rows = len(tf.nest.flatten(x)[0])

    def tape() -> Sequence[Any]:
        some = rows_of(x, batch)
        answers = None if y is None else rows_of(y, batch)

        def loss_of() -> Any:
            predictions = model(some, training=True)
            return model.compute_loss(some, answers, predictions)

        return gradients_of(model, loss_of)

    def train(attach: Attach) -> Sequence[float]:
        done = model.fit(
            x,
            y,
            batch_size=batch,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=attach.callbacks(),
        )
        return list(done.history["loss"])

    return Training(model.trainable_variables, rows // batch * epochs, tape, train)
