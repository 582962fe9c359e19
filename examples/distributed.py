"""Watch a training on several replicas.

    python examples/distributed.py [LOGDIR]

Two logical devices of one CPU stand in for two GPUs. The frames show the gradient of the global
batch: the sum over all replicas, as the optimizer gets it.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/distributed"

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")

with strategy.scope():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", jit_compile=False)
model.fit(x, y, batch_size=64, epochs=8, verbose=0, callbacks=[tbg.GradientHealth(LOGDIR)])
