"""Watch `model.fit` with one callback.

    python examples/fit.py [LOGDIR]

The callback prints each problem when it begins, and a summary at the end.
"""

import sys

import keras
import numpy as np

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/fit"

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")

model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
health = tbg.GradientHealth(LOGDIR, stop_on="critical")
model.fit(x, y, epochs=5, verbose=0, callbacks=[health])

for flag in health.report:  # worst first; none here
    print(flag.severity, flag.rule, flag.summary)
