"""Watch gradient accumulation: one update for every four batches.

    python examples/gradient_accumulation.py [LOGDIR]

Steps that only accumulate change no weight. That is no fault, and not reported.
"""

import sys

import keras
import numpy as np

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/gradient_accumulation"

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = x[:, :1] - x[:, 1:2] + x[:, 2:3] ** 2

model = keras.Sequential(
    [keras.Input((8,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.Adam(0.02, gradient_accumulation_steps=4), "mse")
model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[tbg.GradientHealth(LOGDIR)])
