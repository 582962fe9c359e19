"""Watch a GAN: two models, two optimizers, one monitor.

    python examples/gan.py [LOGDIR]

One run has the variables of both models. Both losses have a name and a curve.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/gan"
NOISE = 4

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
angle = random.uniform(0, 2 * np.pi, (1024, 1))
real = np.hstack([2 * np.cos(angle), np.sin(angle)]).astype("float32")


def network(name, inputs, outputs):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            keras.layers.Dense(32, activation="leaky_relu"),
            keras.layers.Dense(32, activation="leaky_relu"),
            keras.layers.Dense(outputs),
        ],
        name=name,
    )


generator, critic = network("generator", NOISE, 2), network("critic", 2, 1)
g_optimizer, c_optimizer = keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3)
loss_of = keras.losses.BinaryCrossentropy(from_logits=True)


@tf.function
def train_step(batch):
    noise = tf.random.normal([len(batch), NOISE])
    with tf.GradientTape(persistent=True) as tape:
        made = generator(noise)
        on_real, on_made = critic(batch), critic(made)
        ones, zeros = tf.ones_like(on_real), tf.zeros_like(on_made)
        c_loss = loss_of(ones, on_real) + loss_of(zeros, on_made)
        g_loss = loss_of(ones, on_made)
    for optimizer, model, loss in ((c_optimizer, critic, c_loss), (g_optimizer, generator, g_loss)):
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return g_loss, c_loss


data = tf.data.Dataset.from_tensor_slices(real).shuffle(1024, seed=0)
data = data.batch(64, drop_remainder=True).repeat(10)
with tbg.watch([g_optimizer, c_optimizer], LOGDIR, model=[generator, critic]) as monitor:
    for batch in data:
        g_loss, c_loss = train_step(batch)
        monitor.step(losses={"generator": g_loss, "critic": c_loss})
