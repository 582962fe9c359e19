"""What the monitor costs, measured against the bare training step in one process.

Copies of a model train in turn, as many bare as watched, a burst of steps each, again and
again. The ratio of the bursts of one round is one measurement, so a machine that slows down
slows both; several copies of each, because two that are alike differ by up to 5 % (where
their memory lies). Printed are minimum, median and maximum over the rounds, for wall time
and for CPU time of the process, and written as JSON with ``--json FILE``.

    python benchmarks/overhead.py                       # all models, graph and XLA
    python benchmarks/overhead.py --models mlp --modes graph --cadences auto,1,naive
    python benchmarks/overhead.py --base CHECKOUT       # beside another version

With ``--base`` every instance of either version is a process of its own, and the processes take
turns, in another order each round. Printed are, over all pairs of instances, the median ratio of
the watched steps of both versions and the interval in which the median lies with 95 %.

"naive" is what people write by hand: one ``tf.summary.histogram`` and three scalars per
variable and step, inside the step (graph mode only; XLA cannot compile ``tf.summary``).
The default cadence is measured after a warm-up, in which its dense start lies and the half
second that the frames of any run may cost is spent.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg

tf.get_logger().setLevel("ERROR")  # every trainer traces a step of the same name
layers = keras.layers


def mlp() -> tuple[keras.Model, tuple[int, ...]]:
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(512, activation="relu"),
            layers.Dense(512, activation="relu"),
            layers.Dense(10),
        ]
    )
    return model, (128, 784)


def cnn() -> tuple[keras.Model, tuple[int, ...]]:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    return model, (64, 32, 32, 3)


def transformer() -> tuple[keras.Model, tuple[int, ...]]:
    """12 layers of width 256: 197 variables, 9.6 million parameters."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(512, 256)(inputs)
    for _ in range(12):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(4, 64)(y, y, use_causal_mask=True)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization()(x)
        y = layers.Dense(1024, activation="gelu")(y)
        x = layers.Add()([x, layers.Dense(256)(y)])
    x = layers.LayerNormalization()(x)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, outputs), (16, 64)


def deep() -> tuple[keras.Model, tuple[int, ...]]:
    """257 layers of width 32: 514 variables, 0.27 million parameters."""
    x = inputs = keras.Input((32,))
    for _ in range(256):
        x = layers.Add()([x, layers.Dense(32, activation="relu")(x)]) * 0.7
    return keras.Model(inputs, layers.Dense(10)(x)), (64, 32)


MODELS: dict[str, Callable[[], tuple[keras.Model, tuple[int, ...]]]] = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "deep": deep,
}


@dataclasses.dataclass
class Trainer:
    """One model with its step; ``burst`` trains some steps and waits for the last."""

    step: Callable[[], Any]
    close: Callable[[], None] = lambda: None
    folder: str = ""
    monitor: Any = None

    def burst(self, count: int) -> tuple[float, float]:
        """Seconds of wall time and of CPU time per step."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = None
        for _ in range(count):
            result = self.step()
        np.asarray(result)
        return (
            (time.perf_counter() - wall) / count,
            (time.process_time() - cpu) / count,
        )


def make_trainer(name: str, xla: bool, cadence: str | int | None, folder: str) -> Trainer:
    keras.utils.set_random_seed(0)
    model, shape = MODELS[name]()
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    generator = np.random.default_rng(0)
    if model.inputs[0].dtype == "int32":
        x = tf.constant(generator.integers(0, 512, shape), tf.int32)
    else:
        x = tf.constant(generator.normal(size=shape), tf.float32)
    y = tf.constant(generator.integers(0, 10, shape[0]), tf.int32)
    naive = cadence == "naive"
    writer = tf.summary.create_file_writer(folder) if naive else None
    counter = tf.Variable(0, dtype=tf.int64)

    @tf.function(jit_compile=xla)
    def train_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if naive:
            assert writer is not None
            with writer.as_default(step=counter):
                for variable, gradient in zip(variables, gradients, strict=True):
                    gradient = tf.convert_to_tensor(gradient)
                    tf.summary.histogram(f"gradients/{variable.path}", gradient)
                    tf.summary.scalar(f"norm/{variable.path}", tf.norm(gradient))
                    tf.summary.scalar(
                        f"zeros/{variable.path}",
                        tf.reduce_mean(tf.cast(gradient == 0, tf.float32)),
                    )
                    tf.summary.scalar(f"max/{variable.path}", tf.reduce_max(tf.abs(gradient)))
            counter.assign_add(1)
        return loss

    if cadence is None or naive:
        return Trainer(lambda: train_step(x, y), folder=folder)
    monitor = tbg.watch(optimizer, folder, model=model, every=cadence, verbose=0)

    def step() -> Any:
        loss = train_step(x, y)
        monitor.step()
        return loss

    return Trainer(step, monitor.close, folder, monitor)


@dataclasses.dataclass
class Result:
    """Ratios are (minimum, median, maximum) over the rounds."""

    model: str
    mode: str
    cadence: str
    step_ms: float
    wall: tuple[float, float, float]
    cpu: tuple[float, float, float]
    first_call: float
    frames: int
    bytes_per_frame_and_variable: float


def spread(ratios: list[float]) -> tuple[float, float, float]:
    return min(ratios), statistics.median(ratios), max(ratios)


def folder_bytes(folder: str) -> int:
    return sum(
        os.path.getsize(os.path.join(root, file))
        for root, _, files in os.walk(folder)
        for file in files
    )


def warm_up(trainer: Trainer, seconds: float) -> None:
    """At least three steps, and at least 150 where the cadence has a start to get over."""
    trainer.burst(3)
    end = time.perf_counter() + seconds
    if seconds:
        trainer.burst(147)
    while time.perf_counter() < end:
        trainer.burst(20)


def measure(
    name: str,
    mode: str,
    cadences: list[str],
    repeats: int,
    seconds: float,
    warmup: float,
    instances: int,
) -> Iterator[Result]:
    xla = mode == "xla"
    with tempfile.TemporaryDirectory() as logs:
        make_trainer(name, xla, None, logs).burst(1)  # what the process pays once
        bare = [make_trainer(name, xla, None, logs) for _ in range(instances)]
        bare_first = [trainer.burst(1)[0] for trainer in bare]
        bare[0].burst(3)
        count = max(2, round(seconds / bare[0].burst(3)[0]))
        for cadence in cadences:
            folder = os.path.join(logs, cadence)
            kind = int(cadence) if cadence.isdigit() else cadence
            watched = [
                make_trainer(name, xla, kind, os.path.join(folder, str(i)))
                for i in range(instances)
            ]
            first = [trainer.burst(1)[0] for trainer in watched]
            for trainer in watched:
                warm_up(trainer, warmup if cadence == "auto" else 0.0)
            walls, cpus, steps = [], [], []
            for _ in range(repeats):
                pairs = zip(bare, watched, strict=True)
                bursts = np.array([[b.burst(count), w.burst(count)] for b, w in pairs])
                (bare_wall, bare_cpu), (wall, cpu) = bursts.mean(axis=0)
                walls.append(wall / bare_wall)
                cpus.append(cpu / bare_cpu)
                steps.append(bare_wall)
            for trainer in watched:
                trainer.close()
            variables = len(MODELS[name]()[0].trainable_variables)
            by_hand = instances * (4 + repeats * count)
            frames = sum(w.monitor.frames for w in watched) if watched[0].monitor else by_hand
            yield Result(
                name,
                mode,
                cadence,
                1e3 * statistics.median(steps),
                spread(walls),
                spread(cpus),
                statistics.median(first) / statistics.median(bare_first),
                frames,
                folder_bytes(folder) / max(frames, 1) / variables,
            )


# --- beside another version -------------------------------------------------------------------


def serve(name: str, mode: str, cadence: str, warmup: float) -> None:
    """One bare and one watched trainer; for each number read, a burst of so many steps of each.

    The first line written holds the seconds of their first calls, each further one the seconds
    per step: bare wall, bare CPU, watched wall, watched CPU.
    """
    kind = int(cadence) if cadence.isdigit() else cadence
    with tempfile.TemporaryDirectory() as logs:
        make_trainer(name, mode == "xla", None, logs).burst(1)  # what the process pays once
        bare = make_trainer(name, mode == "xla", None, logs)
        watched = make_trainer(name, mode == "xla", kind, logs)
        print(json.dumps([bare.burst(1)[0], watched.burst(1)[0]]), flush=True)
        warm_up(bare, 0.0)
        warm_up(watched, warmup if cadence == "auto" else 0.0)
        for line in sys.stdin:
            print(json.dumps([*bare.burst(int(line)), *watched.burst(int(line))]), flush=True)
        watched.close()


class Version:
    """Instances of one checkout: processes that wait for their turn."""

    def __init__(self, checkout: str, instances: int, task: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": checkout}
        command = [sys.executable, __file__, "--serve", *task]
        self.processes = []
        self.first_calls: list[list[float]] = []
        for _ in range(instances):  # one after the other, or they would slow each other's start
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert process.stdout is not None
            self.first_calls.append(json.loads(process.stdout.readline()))
            self.processes.append(process)

    def burst(self, instance: int, count: int) -> list[float]:
        process = self.processes[instance]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        return list(map(float, json.loads(process.stdout.readline())))

    def close(self) -> None:
        for process in self.processes:
            process.communicate()


def median_interval(values: Any) -> tuple[float, float, float]:
    """The median of values [n] and its 95 % interval, by resampling (percentile bootstrap)."""
    resampled = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return float(low), float(np.median(values)), float(high)


def beside(
    base: str,
    name: str,
    mode: str,
    cadence: str,
    repeats: int,
    seconds: float,
    warmup: float,
    instances: int,
) -> dict[str, Any]:
    """Both versions, instance by instance in turns; ratios of this one to the base."""
    task = [name, mode, cadence, str(warmup)]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    versions = {"base": Version(base, instances, task), "here": Version(here, instances, task)}
    per_step = np.mean([versions["here"].burst(i, 3)[0] for i in range(instances)])
    count = max(2, round(seconds / per_step))
    order = np.random.default_rng(0)
    seconds_of = {version: np.zeros((repeats, instances, 4)) for version in versions}
    for round_ in range(repeats):
        for instance in range(instances):
            for version in order.permutation(list(versions)):
                seconds_of[version][round_, instance] = versions[version].burst(instance, count)
    for version in versions.values():
        version.close()
    cost = {version: found[..., 2:] / found[..., :2] for version, found in seconds_of.items()}
    # Two instances differ more (where their memory lies) than two rounds of one: each counts once.
    to_base = np.median(cost["here"] / cost["base"], axis=0)
    first = {key: [w / b for b, w in version.first_calls] for key, version in versions.items()}
    return {
        "model": name,
        "mode": mode,
        "cadence": cadence,
        "wall": {key: float(np.median(values[..., 0])) for key, values in cost.items()},
        "cpu": {key: float(np.median(values[..., 1])) for key, values in cost.items()},
        "wall_to_base": median_interval(to_base[:, 0]),
        "cpu_to_base": median_interval(to_base[:, 1]),
        "first_call": {key: statistics.median(values) for key, values in first.items()},
    }


def compare(name: str, mode: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure beside the base and print a line for each cadence."""
    for cadence in arguments.cadences.split(","):
        if cadence == "naive":  # the same code in both
            continue
        result = beside(
            arguments.base,
            name,
            mode,
            cadence,
            arguments.repeats,
            arguments.seconds,
            arguments.warmup,
            arguments.instances,
        )
        for clock in ("wall", "cpu"):
            low, median, high = result[f"{clock}_to_base"]
            base, here = (result[clock][version] for version in ("base", "here"))
            print(
                f"{name:12} {mode:6} {cadence:5} {clock:5} base {base:.3f}  here {here:.3f}  "
                f"here / base {median:.3f} ({low:.3f} to {high:.3f})",
                flush=True,
            )
        first = result["first_call"]
        print(
            f"{name:12} {mode:6} {cadence:5} first call: "
            f"base {first['base']:.2f}  here {first['here']:.2f}",
            flush=True,
        )
        yield result


def alone(name: str, mode: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure this version and print a line for each cadence."""
    cadences = [c for c in arguments.cadences.split(",") if not (c == "naive" and mode == "xla")]
    for result in measure(
        name,
        mode,
        cadences,
        arguments.repeats,
        arguments.seconds,
        arguments.warmup,
        arguments.instances,
    ):
        wall, cpu = ("/".join(f"{r:.3f}" for r in x) for x in (result.wall, result.cpu))
        print(
            f"{result.model:12} {result.mode:6} {result.cadence:8} "
            f"{result.step_ms:7.2f} ms  {wall:>26}  {cpu:>20}  "
            f"{result.first_call:10.2f}  {result.frames:6d}  "
            f"{result.bytes_per_frame_and_variable:11.0f}",
            flush=True,
        )
        yield dataclasses.asdict(result)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--modes", default="graph,xla")
    parser.add_argument("--cadences", default="auto,1,naive")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a burst")
    parser.add_argument(
        "--warmup", type=float, default=10.0, help="seconds before 'auto' is measured"
    )
    parser.add_argument("--instances", type=int, default=3, help="of each, bare and watched")
    parser.add_argument("--base", metavar="CHECKOUT", help="another version, to compare with")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.serve:
        name, mode, cadence, warmup = arguments.serve
        serve(name, mode, cadence, float(warmup))
        return 0
    if not arguments.base:
        print(
            f"{'model':12} {'mode':6} {'cadence':8} {'bare step':>10}  "
            f"{'wall ratio min/median/max':>26}  {'CPU ratio':>20}  {'first call':>10}  "
            f"{'frames':>6}  {'B/frame/var':>11}",
            flush=True,
        )
    results = [
        result
        for name in arguments.models.split(",")
        for mode in arguments.modes.split(",")
        for result in (compare if arguments.base else alone)(name, mode, arguments)
    ]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"versions": {"tensorflow": tf.__version__}, "results": results}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
