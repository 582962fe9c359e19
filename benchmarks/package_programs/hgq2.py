"""hgq2: bit widths are learnt beside the weights, by ``fit``."""

from __future__ import annotations

import keras
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QDense

from package_programs.data import classes
from package_programs.keras_training import fitted
from package_programs.program import Program, Training

ROWS, BATCH, EPOCHS = 640, 32, 6


def build(faulty: bool) -> Training:
    x, y = classes(ROWS)
    weights = QuantizerConfigScope(place="all", default_q_type="kbi")
    data = QuantizerConfigScope(place="datalane", default_q_type="kif")
    bits = LayerConfigScope(enable_ebops=True, beta0=1.0 if faulty else 1e-6)
    with weights, data, bits:
        model = keras.Sequential(
            [
                keras.layers.Input((16,)),
                QDense(32, activation="relu"),
                QDense(32, activation="relu"),
                QDense(4),
            ]
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return fitted(model, x, y, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="the penalty on bit operations is a million times too large",
    rule="regularizer_dominates",
    cause="strong_regularization",
)
