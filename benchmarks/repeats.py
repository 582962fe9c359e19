"""Whether the same training gets the same verdict, however busy the machine is.

Each of twelve programs is trained many times from the same seed with ``every="auto"``, half of the
times beside processes that keep the cores busy. Frames then cost more time, and other steps become
frames. A repeat agrees if its loud rules (warning or worse), the first cause of each and its onset
(to within 2 % of the steps) are those of most repeats of the program.

    python benchmarks/repeats.py                                  # 12 programs x 20 repeats
    python benchmarks/repeats.py --repeats 4 --programs "rate*"   # some of them
    python benchmarks/repeats.py --json FILE                      # all verdicts

The weights at the end are compared bit by bit. A repeat that ends with other weights was another
training (threads may add numbers in another order); it is counted apart.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Severity

tf.get_logger().setLevel("ERROR")
layers, optimizers = keras.layers, keras.optimizers

SEED = 2
TOLERANCE = 0.02
"""Of the steps: two onsets that differ by no more are the same."""

RANDOM = np.random.default_rng(SEED)
X = RANDOM.standard_normal((1024, 16)).astype("float32")
CLASSES = (X @ RANDOM.standard_normal((16, 10))).argmax(1)
NUMBERS = (X @ RANDOM.standard_normal((16, 1))).astype("float32")
IMAGES = RANDOM.random((512, 12, 12, 1)).astype("float32")
BRIGHT = (IMAGES[:, :6].mean((1, 2, 3)) > IMAGES[:, 6:].mean((1, 2, 3))).astype("int32")


# --- the programs ---------------------------------------------------------------------------


def mlp(
    activation: str = "relu", depth: int = 2, width: int = 32, units: int = 10, **k: Any
) -> Any:
    hidden = [layers.Dense(width, activation=activation, **k) for _ in range(depth)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(units)])


def cross_entropy() -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(
    folder: str,
    model: Any,
    optimizer: Any,
    x: Any = X,
    y: Any = CLASSES,
    *,
    loss: Any = None,
    epochs: int = 8,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Any:
    model.compile(optimizer, loss or cross_entropy(), **options)
    health = tbg.GradientHealth(folder, verbose=0)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[*callbacks, health])
    return model


def rate_raised(folder: str) -> Any:
    def rate(epoch: int) -> float:
        return 1e-3 if epoch < 5 else 3.0

    schedule = keras.callbacks.LearningRateScheduler(rate)
    return fit(folder, mlp(), optimizers.Adam(), callbacks=[schedule])


def dead_layer(folder: str) -> Any:
    model = mlp(depth=3)
    model.layers[1].bias.assign(np.full(32, -30.0))
    return fit(folder, model, optimizers.Adam())


def nan_in_the_data(folder: str) -> Any:
    x = X.copy()
    x[700, 3] = np.nan
    model = mlp()
    model.compile(optimizers.Adam(), cross_entropy())
    health = tbg.GradientHealth(folder, verbose=0)
    options: dict[str, Any] = {"batch_size": 32, "verbose": 0, "callbacks": [health]}
    model.fit(X, CLASSES, epochs=3, **options)
    model.fit(x, CLASSES, epochs=5, initial_epoch=3, shuffle=False, **options)
    return model


def custom_loop(folder: str) -> Any:
    """The first layer lies behind a ``stop_gradient``."""
    first, model = layers.Dense(32, activation="relu"), mlp()
    first.build((None, 16))
    whole = keras.Sequential([first, layers.Lambda(tf.stop_gradient), layers.Dense(16), model])
    whole.build((None, 16))
    optimizer, loss_of = optimizers.Adam(), cross_entropy()

    @tf.function
    def train_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, whole(x, training=True))
        variables = whole.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    with tbg.watch(optimizer, folder, model=whole, verbose=0) as monitor:
        for step in range(256):
            at = np.arange(32 * step, 32 * step + 32) % len(X)
            loss = train_step(tf.constant(X[at]), tf.constant(CLASSES[at]))
            monitor.step(loss=loss)
    return whole


def convolutions() -> Any:
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


PROGRAMS: dict[str, Callable[[str], Any]] = {
    "healthy": lambda folder: fit(folder, mlp(), optimizers.Adam()),
    "healthy convolutions, XLA": lambda folder: fit(
        folder, convolutions(), optimizers.Adam(), IMAGES, BRIGHT, epochs=16, jit_compile=True
    ),
    "rate 3": lambda folder: fit(folder, mlp(), optimizers.Adam(3.0), epochs=6),
    "rate 0.5": lambda folder: fit(folder, mlp(), optimizers.Adam(0.5)),
    "rate raised in epoch 6": rate_raised,
    "rate 1e-10": lambda folder: fit(folder, mlp(), optimizers.Adam(1e-10)),
    "deep sigmoids": lambda folder: fit(
        folder, mlp("sigmoid", depth=10), optimizers.SGD(0.1), epochs=12
    ),
    "dead layer": dead_layer,
    "equal weights": lambda folder: fit(folder, mlp(kernel_initializer="ones"), optimizers.Adam()),
    "NaN in the data": nan_in_the_data,
    "unscaled targets": lambda folder: fit(
        folder, mlp(units=1), optimizers.SGD(0.1), X, 1e3 * NUMBERS, loss="mse"
    ),
    "stop_gradient, custom loop": custom_loop,
}


# --- one repeat -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Repeat:
    """What was said of one training.

    Attributes:
        loud: rule -> (first cause, first step), of flags that are a warning or worse.
        weights: a digest of the weights at the end.
    """

    loud: dict[str, tuple[str, int]]
    weights: str
    steps: int
    frames: int
    busy: bool

    def agrees(self, other: Repeat) -> bool:
        """Whether both have the same loud rules and first causes, and about the same onsets."""
        most = max(1, TOLERANCE * self.steps)
        return self.loud.keys() == other.loud.keys() and all(
            mine[0] == other.loud[rule][0] and abs(mine[1] - other.loud[rule][1]) <= most
            for rule, mine in self.loud.items()
        )


def repeat(name: str, busy: bool) -> Repeat:
    """Train once."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    with tempfile.TemporaryDirectory() as folder:
        model = PROGRAMS[name](folder)
        [run] = tbg.load(folder).runs
        digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights()))
        loud = {
            flag.rule: (flag.causes[0].id if flag.causes else "", flag.first_step)
            for flag in run.flags
            if flag.severity >= Severity.WARNING and not flag.provisional
        }
        return Repeat(loud, digest.hexdigest()[:12], run.last_step + 1, run.frames, busy)


def _spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy_machine(processes: int) -> Iterator[None]:
    """So many processes compute meanwhile."""
    context = multiprocessing.get_context("spawn")
    load = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in load:
        process.start()
    try:
        yield
    finally:
        for process in load:
            process.kill()


def repeats_of(name: str, count: int, processes: int) -> list[Repeat]:
    """The second half of them beside so many processes."""
    alone = [repeat(name, busy=False) for _ in range(count - count // 2)]
    with busy_machine(processes):
        return alone + [repeat(name, busy=True) for _ in range(count // 2)]


# --- what came of it ------------------------------------------------------------------------


def agreeing(repeats: Sequence[Repeat]) -> list[Repeat]:
    """The largest group of repeats that agree with one of them."""
    groups = ([other for other in repeats if one.agrees(other)] for one in repeats)
    return max(groups, key=len)


def same_training(repeats: Sequence[Repeat]) -> list[Repeat]:
    """Those that ended with the weights with which most have ended."""
    usual = collections.Counter(one.weights for one in repeats).most_common(1)[0][0]
    return [one for one in repeats if one.weights == usual]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", default="*", help="pattern of their names")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--busy", type=int, default=3, help="processes that keep cores busy")
    parser.add_argument("--json", help="file for all verdicts")
    options = parser.parse_args(arguments)
    names = [name for name in PROGRAMS if fnmatch.fnmatch(name, options.programs)]
    total = agree = others = 0
    results = {}
    print("| program | loud rules | frames | same weights | same verdict |")
    print("|---|---|---|---|---|", flush=True)
    for name in names:
        results[name] = every = repeats_of(name, options.repeats, options.busy)
        same = same_training(every)
        group = agreeing(same)
        total, agree = total + len(same), agree + len(group)
        others += len(every) - len(same)
        said = ", ".join(f"`{rule}` from {at}" for rule, (_, at) in group[0].loud.items())
        frames = [one.frames for one in every]
        spread = f"{min(frames)}" if len(set(frames)) == 1 else f"{min(frames)} to {max(frames)}"
        print(
            f"| {name} | {said or 'none'} | {spread} | {len(same)} of {len(every)} "
            f"| {len(group)} of {len(same)} |",
            flush=True,
        )
    share = agree / total if total else 0.0
    print(f"\n{agree} of {total} repeats agree ({share:.1%}); {others} were other trainings")
    if options.json:
        found = {name: [dataclasses.asdict(one) for one in some] for name, some in results.items()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    return 0 if share >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
