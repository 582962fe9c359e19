"""Watch `model.fit` of a model with its own `train_step`.

    python examples/custom_train_step.py [LOGDIR]

The callback is the same as for any other model.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/custom_train_step"


class Denoiser(keras.Model):
    """Learns to take away the noise that the train step adds."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(32, activation="relu")
        self.clean = keras.layers.Dense(8)
        self.loss_tracker = keras.metrics.Mean("loss")

    def call(self, inputs):
        return self.clean(self.hidden(inputs))

    def train_step(self, data):
        noisy = data + 0.1 * tf.random.normal(tf.shape(data))
        with tf.GradientTape() as tape:
            loss = self.compute_loss(noisy, data, self(noisy, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
x[:, 4:] = x[:, :4] ** 2
model = Denoiser()
model.compile(keras.optimizers.Adam(0.005), "mse")
model.fit(x, epochs=5, verbose=0, callbacks=[tbg.GradientHealth(LOGDIR)])
