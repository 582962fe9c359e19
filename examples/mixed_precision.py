"""Watch a training in mixed precision: computed in float16, weights in float32.

    python examples/mixed_precision.py [LOGDIR]

The monitor takes the loss scale out of the gradients, and says where a gradient is too small for
float16, or where the scale collapses.
"""

import sys

import keras
import numpy as np

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/mixed_precision"

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")

keras.mixed_precision.set_global_policy("mixed_float16")
model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, dtype="float32"),  # the loss is computed in float32
        keras.layers.Activation("sigmoid", dtype="float32"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")  # scales the loss by itself
model.fit(x, y, epochs=5, verbose=0, callbacks=[tbg.GradientHealth(LOGDIR)])
