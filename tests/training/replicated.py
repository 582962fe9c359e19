"""Train under a distribution strategy, in a process of its own; what test_replicas.py runs.

    python replicated.py mirrored FOLDER
    python replicated.py broken FOLDER
    python replicated.py worker INDEX PORT PORT FOLDER [die]

Two replicas on the devices of one process, or this one of two workers. Trains a small model
without a monitor and with one, and writes the weights of both into FOLDER.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
from typing import Any

import numpy as np

BATCH, STEPS = 8, 6

OPTIMIZERS = {
    "plain": {},
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.01},
    "loss scaling": {"scaled": True},
    "clipped": {"clipnorm": 0.1},
}


def data() -> tuple[Any, Any]:
    """float32 [samples, 4] and [samples, 1]."""
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def make_model(scaled: bool = False, **settings: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", name="hidden"),
            keras.layers.Dense(1, name="head"),
        ]
    )
    optimizer: Any = keras.optimizers.SGD(0.05, **settings)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model: Any, folder: pathlib.Path | None) -> list[Any]:
    """The weights after ``STEPS`` steps in order; watched if there is a folder."""
    import tb_gradients as tbg

    x, y = data()
    health = [] if folder is None else [tbg.GradientHealth(folder, every=1, verbose=0)]
    model.fit(x, y, batch_size=BATCH, shuffle=False, callbacks=health, verbose=0)
    assert folder is None or health[0].monitor.frames == STEPS
    return [np.asarray(weight) for weight in model.get_weights()]


def mirrored(folder: pathlib.Path) -> None:
    import tensorflow as tf

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name, settings in OPTIMIZERS.items():
        with strategy.scope():
            bare, watched = make_model(**settings), make_model(**settings)
        weights = fit(bare, None)
        save(folder / f"{name}.npz", weights, fit(watched, folder / name))


def broken(folder: pathlib.Path) -> None:
    """Train by ``fit``, and explain a loop's step, where a row of the second replica is 0 / 0."""
    import keras
    import tensorflow as tf

    import tb_gradients as tbg

    class UnitRows(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs / tf.norm(inputs, axis=-1, keepdims=True)

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x, y = data()
    x[-1] = 0.0
    with strategy.scope():
        dense = keras.layers.Dense
        parts = [dense(3, use_bias=False, name="first"), UnitRows(), dense(1, name="head")]
        model = keras.Sequential([keras.Input((4,)), *parts])
        optimizer = keras.optimizers.SGD(0.05)
        model.compile(optimizer, "mse", jit_compile=False)
    health = tbg.GradientHealth(folder / "fit", verbose=0)
    weights = model.get_weights()
    model.fit(x, y, batch_size=BATCH, shuffle=False, callbacks=[health], verbose=0)
    model.set_weights(weights)

    def replica_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x, training=True) - y)) / BATCH
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    def step(x: Any, y: Any) -> None:
        strategy.run(replica_step, args=(x, y))

    batches = tf.data.Dataset.from_tensor_slices((x[-BATCH:], y[-BATCH:])).batch(BATCH)
    with tbg.watch(optimizer, folder / "loop", model=model, verbose=0) as monitor:
        [batch] = strategy.experimental_distribute_dataset(batches)
        found = monitor.explain(step, *batch)
    (folder / "explained.json").write_text(
        json.dumps({path: origin.to_json() for path, origin in found.items()})
    )


def worker(index: int, ports: list[str], folder: pathlib.Path, dies: bool) -> None:
    addresses = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    x, y = data()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = strategy.experimental_distribute_dataset(batches.with_options(options))
    with strategy.scope():
        bare, watched = make_model(), make_model()
    results = []
    for model, log in ((bare, None), (watched, folder / "log")):
        results.append(loop(strategy, model, batches, log, dies))
    save(folder / f"worker{index}.npz", *results)


def loop(strategy: Any, model: Any, batches: Any, log: Any, dies: bool) -> list[Any]:
    """A custom training loop (``fit`` of Keras 3 does not build a model under several workers)."""
    import tensorflow as tf

    import tb_gradients as tbg

    optimizer = model.optimizer
    options = {"model": model, "every": 1, "verbose": 0, "stop_on": "info"}
    monitor = None if log is None else tbg.watch(optimizer, log, **options)

    def replica_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x, training=True) - y)) / BATCH
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function
    def step(x: Any, y: Any) -> Any:
        return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)

    for number, (x, y) in enumerate(batches):
        loss = step(x, y)
        if monitor is not None:
            assert monitor.step(loss=loss) is False
            if dies and number == STEPS // 2:
                os.kill(os.getpid(), signal.SIGKILL)
    if monitor is not None:
        monitor.close()
    return [np.asarray(weight) for weight in model.get_weights()]


def save(path: pathlib.Path, bare: list[Any], watched: list[Any]) -> None:
    arrays = {f"bare{i}": weight for i, weight in enumerate(bare)}
    arrays |= {f"watched{i}": weight for i, weight in enumerate(watched)}
    np.savez(path, **arrays)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["mirrored", folder]:
            mirrored(pathlib.Path(folder))
        case ["broken", folder]:
            broken(pathlib.Path(folder))
        case ["worker", index, first, second, folder, *more]:
            worker(int(index), [first, second], pathlib.Path(folder), dies="die" in more)
        case _:
            sys.exit(__doc__)
