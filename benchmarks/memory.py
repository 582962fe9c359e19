"""What the monitor adds to the peak memory of a training, against the size of its variables.

    python benchmarks/memory.py                  # graph and XLA, dense and sparse
    python benchmarks/memory.py --json FILE

Each training runs in a process of its own, once bare and once with a frame at every step, and
reports its largest resident set after the steps. What is divided is the difference, less what the
monitor takes of a model of as many layers with next to no parameters.

* *dense*: an MLP of 80 million parameters with SGD, 320 MB of variables: so many that what the
  allocators of TensorFlow keep for later use, some 50 MB more or less, does not decide.
* *sparse*: a table of 2 million rows and 64 columns, 512 MB, of which a step touches 128 rows.
  Nothing of the size of the table may be added, neither memory nor time.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

STEPS = 12
REPEATS = 3
WIDTHS = {"dense": 4000, "small": 16}


def train(model: str, mode: str, watched: bool) -> dict[str, float]:
    """One training in this process: peak memory in bytes, and seconds per step."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tb_gradients as tbg

    layers = keras.layers
    keras.utils.set_random_seed(0)
    if model == "sparse":
        net = keras.Sequential(
            [
                keras.Input((1,), dtype="int32"),
                layers.Embedding(2_000_000, 64),
                layers.Flatten(),
                layers.Dense(1),
            ]
        )
        x: Any = np.random.default_rng(0).integers(0, 2_000_000, (128, 1)).astype("int32")
    else:
        width = WIDTHS[model]
        net = keras.Sequential(
            [keras.Input((width,))]
            + [layers.Dense(width, activation="relu") for _ in range(5)]
            + [layers.Dense(1)]
        )
        x = np.random.default_rng(0).normal(size=(16, net.input_shape[1])).astype("float32")
    y = tf.zeros([len(x), 1])
    x = tf.constant(x)
    optimizer = keras.optimizers.SGD(1e-3)

    @tf.function(jit_compile=mode == "xla")
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(net(x) - y))
        variables = net.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    with tempfile.TemporaryDirectory() as folder:
        monitor = None
        if watched:
            monitor = tbg.watch(optimizer, folder, model=net, every=1, verbose=0)
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            loss = step()
            if monitor is not None:
                monitor.step(loss=loss)
            float(loss)
            times.append(time.perf_counter() - start)
        if monitor is not None:
            monitor.close()
            assert monitor.frames == STEPS, monitor.frames
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(int(np.prod(v.shape)) for v in net.variables) * 4
    return {
        "peak": peak * (1 if sys.platform == "darwin" else 1024),
        "step": statistics.median(times[2:]),
        "size": size,
    }


def measure(model: str, mode: str, watched: bool) -> dict[str, float]:
    """The median over some processes."""
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(
            [sys.executable, __file__, "--one", model, mode, str(int(watched))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, mode, watched = options.one
        print(json.dumps(train(model, mode, watched == "1")))
        return
    results = {}
    print(
        f"{'model':8} {'mode':6} {'variables':>10} {'bare peak':>10} {'added':>9} {'ratio':>6}",
        end="",
    )
    print(f" {'bare step':>10} {'watched':>9}")
    for mode in ("graph", "xla"):
        small = [measure("small", mode, watched)["peak"] for watched in (False, True)]
        for model in ("dense", "sparse"):
            bare, watched = measure(model, mode, False), measure(model, mode, True)
            added = watched["peak"] - bare["peak"] - (small[1] - small[0])
            results[f"{model} {mode}"] = {
                "variables": bare["size"],
                "added": added,
                "ratio": added / bare["size"],
                "start": small[1] - small[0],
                "bare_step": bare["step"],
                "watched_step": watched["step"],
            }
            print(
                f"{model:8} {mode:6} {bare['size'] / 1e6:7.0f} MB {bare['peak'] / 1e6:7.0f} MB"
                f" {added / 1e6:6.0f} MB {added / bare['size']:6.2f}"
                f" {bare['step'] * 1e3:7.1f} ms {watched['step'] * 1e3:6.1f} ms",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
