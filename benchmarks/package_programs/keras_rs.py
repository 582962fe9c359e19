"""keras-rs: two towers for retrieval with in-batch negatives, by ``fit``.

The loss is that of ``compute_loss``.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_rs
import numpy as np

from package_programs.keras_training import fitted
from package_programs.program import Program, Training

USERS, ITEMS, ROWS, BATCH, EPOCHS = 120, 80, 1280, 64, 6
layers = keras.layers


class TwoTowers(keras.Model):
    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.user = keras.Sequential([layers.Embedding(USERS, 16), layers.Dense(16)], name="user")
        self.item = keras.Sequential([layers.Embedding(ITEMS, 16), layers.Dense(16)], name="item")
        self.hits = keras_rs.layers.RemoveAccidentalHits()
        self.entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
        self.cut = cut

    def build(self, shapes: Any = None) -> None:
        self.user.build((None,))
        self.item.build((None,))

    def call(self, x: Any) -> Any:
        item = self.item(x["item"])
        if self.cut:  # as for building an index
            item = keras.ops.stop_gradient(item)
        return {"user": self.user(x["user"]), "item": item, "id": x["item"]}

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *others: Any) -> Any:
        scores = keras.ops.matmul(y_pred["user"], keras.ops.transpose(y_pred["item"]))
        pairs = keras.ops.eye(keras.ops.shape(scores)[0])
        return self.entropy(pairs, self.hits(scores, pairs, y_pred["id"]))


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    user = generator.integers(0, USERS, ROWS)
    taste = generator.normal(size=(USERS, 4)) @ generator.normal(size=(4, ITEMS))
    item = (taste[user] + 0.3 * generator.gumbel(size=(ROWS, ITEMS))).argmax(1)
    model = TwoTowers(cut=faulty)
    model.build()
    model.compile(keras.optimizers.Adam(1e-2))
    return fitted(model, {"user": user, "item": item}, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="`stop_gradient` behind the item tower",
    rule="disconnected_gradient",
    cause="non_differentiable_operation",
    variable="item",
)
