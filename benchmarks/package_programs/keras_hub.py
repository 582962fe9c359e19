"""keras-hub: a small BERT learns to fill in masked tokens, by ``fit``.

The backbone always has a pooler, which the masked-LM task does not read: its gradient is None.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np

from package_programs.keras_training import fitted
from package_programs.program import Program, Training

VOCABULARY, LENGTH, MASKED, ROWS, BATCH, EPOCHS = 32, 12, 2, 512, 32, 8
MASK = 3


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    first = generator.integers(4, VOCABULARY, (ROWS, 1))
    tokens = (first - 4 + np.arange(LENGTH)) % (VOCABULARY - 4) + 4  # it counts upwards
    places = np.stack([generator.choice(LENGTH, MASKED, replace=False) for _ in range(ROWS)])
    answers = np.take_along_axis(tokens, places, 1)
    np.put_along_axis(tokens, places, MASK, 1)
    x = {
        "token_ids": tokens.astype("int32"),
        "segment_ids": np.zeros((ROWS, LENGTH), "int32"),
        "padding_mask": np.ones((ROWS, LENGTH), "int32"),
        "mask_positions": places.astype("int32"),
    }
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=0.0,
        max_sequence_length=LENGTH,
    )
    model: Any = keras_hub.models.BertMaskedLM(backbone=backbone, preprocessor=None)
    rate = 5.0 if faulty else 5e-3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    return fitted(model, x, answers, batch=BATCH, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="learning rate 5",
    rule="update_too_large",
    cause="learning_rate_too_large",
)
