"""Programs that are no single supervised model: a GAN, several outputs, several optimizers.

In:  a seed and a folder.
Out: the recorded run, and the skill that was reached.
Does not know about rules.

Where a program has several optimizers, each has a monitor and a run folder of its own
(``watch_all``, the one place to change when one monitor can watch several).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg
from zoo.data import DATA
from zoo.recipes import QUIET, Outcome, without_rules

layers = keras.layers


def watch_all(folder: str | os.PathLike[str], parts: Mapping[str, tuple[Any, Any]]) -> list[Any]:
    """One monitor per (optimizer, model), in a sub-folder of that name."""
    return [
        tbg.watch(optimizer, Path(folder) / name, model=model, rules=without_rules(), **QUIET)
        for name, (optimizer, model) in parts.items()
    ]


def two_outputs(
    seed: int,
    folder: str | os.PathLike[str],
    *,
    steps: int = 200,
    losses: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Outcome:
    """The digit, and whether it is odd, from one trunk. Skill: that of the worse output."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    data = DATA["digits"]()
    odd = (data.y % 2).astype(np.float32)[:, np.newaxis]
    inputs = keras.Input(data.x.shape[1:])
    trunk = layers.Dense(48, activation="relu", name="trunk")(inputs)
    digit = layers.Dense(10, activation="softmax", name="digit")(trunk)
    parity = layers.Dense(16, activation="relu", name="parity_hidden")(trunk)
    parity = layers.Dense(1, activation="sigmoid", name="parity")(parity)
    model = keras.Model(inputs, {"digit": digit, "parity": parity})
    usual = {"digit": "sparse_categorical_crossentropy", "parity": "binary_crossentropy"}
    model.compile(
        keras.optimizers.Adam(3e-3),
        usual if losses is None else dict(losses),
        loss_weights=None if weights is None else dict(weights),
    )
    targets = {"digit": data.y, "parity": odd}
    health = tbg.GradientHealth(folder, rules=without_rules(), **QUIET)
    epochs = -(-steps // -(-len(data.x) // 32))
    model.fit(data.x, targets, batch_size=32, epochs=epochs, verbose=0, callbacks=[health])
    outputs = model(data.x, training=False)
    digits = float((np.argmax(outputs["digit"], -1) == data.y).mean())
    parities = float(((np.asarray(outputs["parity"]) > 0.5) == odd).mean())
    skill = min((digits - 0.1) / 0.9, 2 * parities - 1)
    return Outcome(skill, epochs * -(-len(data.x) // 32))


def gan(
    seed: int,
    folder: str | os.PathLike[str],
    *,
    steps: int = 300,
    generator_rate: float = 2e-3,
    discriminator_rate: float = 2e-3,
    activation: str = "leaky_relu",
    detach: bool = False,
) -> Outcome:
    """Points on an ellipse, made from noise.

    Skill: 1 minus the distance of the made points' mean and spread from the real ones',
    relative to that at the start. ``detach`` cuts the generator off its loss.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, 1024)
    real = np.stack([3 + 2 * np.cos(angle), 1 + np.sin(angle)], 1).astype(np.float32)

    def network(name: str, size: int, units: int) -> Any:
        return keras.Sequential(
            [
                keras.Input((size,)),
                layers.Dense(32, activation=activation, name=f"{name}_0"),
                layers.Dense(32, activation=activation, name=f"{name}_1"),
                layers.Dense(units, name=f"{name}_head"),
            ],
            name=name,
        )

    generator, discriminator = network("generator", 4, 2), network("discriminator", 2, 1)
    g_optimizer = keras.optimizers.Adam(generator_rate, beta_1=0.5)
    d_optimizer = keras.optimizers.Adam(discriminator_rate, beta_1=0.5)
    g_optimizer.build(generator.trainable_variables)
    d_optimizer.build(discriminator.trainable_variables)
    monitors = watch_all(
        folder,
        {"generator": (g_optimizer, generator), "discriminator": (d_optimizer, discriminator)},
    )
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(batch: Any, noise: Any) -> Any:
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            made = generator(noise, training=True)
            if detach:
                made = tf.stop_gradient(made)
            on_real = discriminator(batch, training=True)
            on_made = discriminator(made, training=True)
            g_loss = entropy(tf.ones_like(on_made), on_made)
            d_loss = entropy(0.9 * tf.ones_like(on_real), on_real) + entropy(
                tf.zeros_like(on_made), on_made
            )
        for loss, tape, network_, optimizer in (
            (g_loss, g_tape, generator, g_optimizer),
            (d_loss, d_tape, discriminator, d_optimizer),
        ):
            variables = network_.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        return g_loss, d_loss

    def distance() -> float:
        made = np.asarray(generator(random.standard_normal((1024, 4)).astype(np.float32)))
        if not np.isfinite(made).all():
            return float("nan")
        gaps = np.abs(made.mean(0) - real.mean(0)), np.abs(made.std(0) - real.std(0))
        return float(np.sum(gaps))

    start = distance()
    for _ in range(steps):
        batch = tf.constant(real[random.integers(0, 1024, 64)])
        noise = tf.constant(random.standard_normal((64, 4)).astype(np.float32))
        for monitor, loss in zip(monitors, step(batch, noise), strict=True):
            monitor.step(loss=loss)
    for monitor in monitors:
        monitor.close()
    return Outcome(1 - distance() / start, steps)


def alternating(seed: int, folder: str | os.PathLike[str], *, steps: int = 200) -> Outcome:
    """Two tasks in turn, one optimizer: each step leaves the other head without a gradient."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    data = DATA["digits"]()
    odd = (data.y % 2).astype(np.float32)[:, np.newaxis]
    inputs = keras.Input(data.x.shape[1:])
    trunk = layers.Dense(48, activation="relu", name="trunk")(inputs)
    model = keras.Model(
        inputs, [layers.Dense(10, name="digit")(trunk), layers.Dense(1, name="parity")(trunk)]
    )
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(model.trainable_variables)
    [monitor] = watch_all(folder, {".": (optimizer, model)})
    by_digit = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    by_parity = keras.losses.BinaryCrossentropy(from_logits=True)

    def make_step(which: int, loss_of: Any) -> Any:
        @tf.function
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(y, model(x, training=True)[which])
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        return step

    tasks = [(make_step(0, by_digit), data.y), (make_step(1, by_parity), odd)]
    random = np.random.default_rng(seed)
    for i in range(steps):
        step, targets = tasks[i % 2]
        rows = random.integers(0, len(data.x), 32)
        monitor.step(loss=step(tf.constant(data.x[rows]), tf.constant(targets[rows])))
    monitor.close()
    digit, parity = model(data.x, training=False)
    digits = float((np.argmax(digit, -1) == data.y).mean())
    parities = float(((np.asarray(parity) > 0) == odd).mean())
    return Outcome(min((digits - 0.1) / 0.9, 2 * parities - 1), steps)


def variational_autoencoder(
    seed: int, folder: str | os.PathLike[str], *, steps: int = 300, scale: float = 0.01
) -> Outcome:
    """Digits through a random bottleneck; ``scale`` weighs the divergence."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    data = DATA["digit_pixels"]()

    class Sample(layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.noise = keras.random.SeedGenerator(seed)

        def call(self, both: Any) -> Any:
            mean, log_variance = keras.ops.split(both, 2, axis=-1)
            divergence = keras.ops.exp(log_variance) + mean**2 - 1 - log_variance
            self.add_loss(scale * keras.ops.mean(keras.ops.sum(divergence, -1)) / 2)
            noise = keras.random.normal(keras.ops.shape(mean), seed=self.noise)
            return mean + keras.ops.exp(log_variance / 2) * noise

    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(48, activation="relu", name="encoder"),
            layers.Dense(24, name="latent"),
            Sample(),
            layers.Dense(48, activation="relu", name="decoder"),
            layers.Dense(64, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    health = tbg.GradientHealth(folder, rules=without_rules(), **QUIET)
    per_epoch = -(-len(data.x) // 32)
    epochs = -(-steps // per_epoch)
    model.fit(data.x, data.y, batch_size=32, epochs=epochs, verbose=0, callbacks=[health])
    residual = ((np.asarray(model(data.x)) - data.y) ** 2).sum()
    return Outcome(float(1 - residual / ((data.y - data.y.mean(0)) ** 2).sum()), epochs * per_epoch)
