"""Watch fine-tuning: first the head on a frozen base, then all layers at a lower rate.

    python examples/fine_tuning.py [LOGDIR]

Both calls of `fit` get the same callback, so they are one run. Frozen variables are not reported.
"""

import sys

import keras
import numpy as np

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/fine_tuning"

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
old_task = (x[:, :1] + x[:, 1:2] > 0).astype("float32")
new_task = (x[:, :1] + x[:, 1:2] + 0.5 * x[:, 2:3] > 0).astype("float32")

base = keras.Sequential(
    [keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(32, "relu")], name="base"
)


def with_head(name):
    return keras.Sequential([base, keras.layers.Dense(1, activation="sigmoid", name=name)])


pretrained = with_head("old_head")
pretrained.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
pretrained.fit(x, old_task, epochs=5, verbose=0)

model, health = with_head("new_head"), tbg.GradientHealth(LOGDIR)
base.trainable = False
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
model.fit(x, new_task, epochs=4, verbose=0, callbacks=[health])

base.trainable = True
model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")  # after each change of trainable
model.fit(x, new_task, epochs=4, verbose=0, callbacks=[health])
