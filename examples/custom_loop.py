"""Watch a custom training loop whose loss has two parts.

    python examples/custom_loop.py [LOGDIR]

A variational autoencoder. `losses=` gives each part a name; the tab draws a curve for each.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/custom_loop"
LATENT = 2

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
factors = random.normal(size=(1024, LATENT))
x = np.tanh(factors @ random.normal(size=(LATENT, 12))).astype("float32")

encoder = keras.Sequential(
    [keras.Input((12,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2 * LATENT)],
    name="encoder",
)
decoder = keras.Sequential(
    [keras.Input((LATENT,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(12)], name="decoder"
)
variables = encoder.trainable_variables + decoder.trainable_variables
optimizer = keras.optimizers.Adam(0.005)


@tf.function
def train_step(batch):
    with tf.GradientTape() as tape:
        mean, log_variance = tf.split(encoder(batch), 2, axis=1)
        code = mean + tf.exp(log_variance / 2) * tf.random.normal(tf.shape(mean))
        mse = tf.reduce_mean((decoder(code) - batch) ** 2)
        kl = -0.5 * tf.reduce_mean(1 + log_variance - mean**2 - tf.exp(log_variance))
        loss = mse + 0.01 * kl
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return loss, mse, kl


data = tf.data.Dataset.from_tensor_slices(x).shuffle(1024, seed=0).batch(64).repeat(10)
with tbg.watch(optimizer, LOGDIR, model=[encoder, decoder]) as monitor:
    for batch in data:
        loss, mse, kl = train_step(batch)
        monitor.step(loss=loss, losses={"mse": mse, "kl": kl}, inputs=batch, targets=batch)
