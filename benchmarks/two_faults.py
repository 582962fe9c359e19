"""Two independent faults in one program: are both found, each with its own cause?

Trains small models of three parallel branches (dense and convolutional, functional and with a
``call`` of their own, by ``fit`` and in a custom training loop) with a fault in two of their parts:
two branches, a branch and an optimizer, a branch and the data. Each program is right if both faults
are found by a finding of their own, loud, with an acceptable rule and first cause, at the right
variables. The repaired program of every base has to stay silent.

    python benchmarks/two_faults.py --recordings DIR                # train what is missing, judge
    python benchmarks/two_faults.py --recordings DIR --judge-only   # judge again, in seconds
    python benchmarks/two_faults.py --recordings DIR --programs "conv*"

As with the zoo, a program's half follows from its name. What goes wrong on the half "held back" is
not listed unless asked for with ``--reveal``.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from zoo.data import DATA, Data
from zoo.programs import Expected, Half, half_of

import tb_gradients as tbg
from tb_gradients.flags import Flag, Severity

layers = keras.layers

HALVES: tuple[Half, ...] = ("tuning", "held back")
STEPS = 160
BATCH = 32
FINISHED = "finished"
"""File in the folder of a training that came to its end."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One mistake, and what must be said of it.

    Attributes:
        branch: options of the branch that has it; empty: it is not in how a branch is built.
        rate: learning rate of the optimizer of that branch, if it has one of its own.
        left_out: whether no optimizer gets the variables of that branch.
        corrupt: changes the inputs of the training.
        rules, causes: acceptable ones.
    """

    rules: tuple[str, ...]
    causes: tuple[str, ...]
    branch: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rate: float = 0.0
    left_out: bool = False
    corrupt: Callable[[Any, np.random.Generator], Any] | None = None

    @property
    def needs_loop(self) -> bool:
        """Whether ``fit`` cannot have it."""
        return bool(self.rate or self.left_out)


def _outliers(x: Any, random: np.random.Generator) -> Any:
    x = x.copy()
    flat = x.reshape(len(x), -1)
    varied = np.flatnonzero(np.ptp(np.percentile(flat, (25, 75), axis=0), axis=0))
    flat[random.random(len(x)) < 0.02, random.choice(varied)] = 1e6
    return x


NORMAL = keras.initializers.RandomNormal
CONSTANT = keras.initializers.Constant

FAULTS: dict[str, Fault] = {
    "dead": Fault(
        ("dead_units", "zero_gradient"), ("dying_relu",), {"bias": lambda: CONSTANT(-30.0)}
    ),
    "cut": Fault(
        ("disconnected_gradient",), ("non_differentiable_operation",), {"end": tf.stop_gradient}
    ),
    "round": Fault(
        ("disconnected_gradient",), ("non_differentiable_operation",), {"end": keras.ops.round}
    ),
    "equal": Fault(
        ("symmetric_units",), ("constant_initialization",), {"kernel": lambda: CONSTANT(0.05)}
    ),
    "zeros": Fault(
        ("zero_gradient", "symmetric_units", "dead_units"),
        ("zero_initialization",),
        {"kernel": lambda: CONSTANT(0.0)},
    ),
    "saturated": Fault(
        ("saturated_units", "vanishing_gradient", "poor_initialization", "zero_gradient"),
        ("saturating_activation", "initialization_scale"),
        {"kernel": lambda: NORMAL(stddev=30.0), "activation": "tanh"},
    ),
    "slow": Fault(("update_too_small",), ("learning_rate_too_small",), rate=1e-10),
    "left-out": Fault(("frozen_weight",), ("update_not_applied",), left_out=True),
    "outliers": Fault(
        ("bad_data", "gradient_spike", "exploding_gradient", "update_too_large"),
        ("input_outliers",),
        corrupt=_outliers,
    ),
}


# --- models -----------------------------------------------------------------------------------

LEFT, RIGHT, SOUND = "left", "right", "sound"


def _layers_of(
    name: str,
    convolution: bool,
    *,
    kernel: Any = None,
    bias: Any = None,
    activation: str = "relu",
    end: Any = None,
) -> list[Any]:
    options = {
        "activation": activation,
        "kernel_initializer": kernel() if kernel else "he_normal",
        "bias_initializer": bias() if bias else "zeros",
    }
    if convolution:
        # Each gets an initializer object of its own: one object gives the same values twice.
        found = [
            layers.Conv2D(8, 3, name=f"{name}_1", **options),
            layers.Conv2D(16, 3, name=f"{name}_2", **_again(options, kernel, bias)),
            layers.GlobalAveragePooling2D(name=f"{name}_mean"),
        ]
    else:
        found = [
            layers.Dense(32, name=f"{name}_1", **options),
            layers.Dense(16, name=f"{name}_2", **_again(options, kernel, bias)),
        ]
    if end is not None:
        found.append(layers.Lambda(end, output_shape=lambda shape: shape, name=f"{name}_end"))
    return found


def _again(options: Mapping[str, Any], kernel: Any, bias: Any) -> dict[str, Any]:
    made = {"kernel_initializer": kernel and kernel(), "bias_initializer": bias and bias()}
    return {**options, **{name: value for name, value in made.items() if value}}


def _chain(parts: Sequence[Any], x: Any) -> Any:
    for layer in parts:
        x = layer(x)
    return x


class OwnCall(keras.Model):  # type: ignore[misc]
    """The same as a subclassed model: only its ``call`` says what feeds what."""

    def __init__(self, branches: Sequence[Sequence[Any]], head: Any) -> None:
        super().__init__()
        self.branches, self.head = [list(branch) for branch in branches], head

    def call(self, x: Any) -> Any:
        return self.head(keras.ops.concatenate([_chain(b, x) for b in self.branches], -1))


def _model(base: Base, data: Data, options: Mapping[str, Mapping[str, Any]]) -> Any:
    shape = data.x.shape[1:]
    convolution = len(shape) == 3
    branches = [_layers_of(n, convolution, **options.get(n, {})) for n in (LEFT, RIGHT, SOUND)]
    outputs = int(data.y.max()) + 1 if data.task == "classes" else 1
    head = layers.Dense(outputs, name="head")
    if base.own_call:
        model = OwnCall(branches, head)
        model(data.x[:2])
        return model
    inputs = keras.Input(shape)
    ends = [_chain(branch, inputs) for branch in branches]
    return keras.Model(inputs, head(layers.Concatenate()(ends)))


# --- programs ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Base:
    """A healthy program: data, how the model is written, how it is trained."""

    data: str
    own_call: bool = False
    loop: bool = False
    xla: bool = False


BASES: dict[str, Base] = {
    "dense": Base("digits"),
    "dense-own": Base("digits", own_call=True),
    "wine-own-xla": Base("wine", own_call=True, xla=True),
    "friedman": Base("friedman"),
    "conv": Base("digit_images"),
    "conv-own": Base("stripes", own_call=True),
    "dense-loop": Base("digits", loop=True),
    "own-loop": Base("friedman", own_call=True, loop=True),
}


@dataclasses.dataclass(frozen=True)
class Program:
    """One training with the faults of its left and its right part; none: the healthy twin."""

    name: str
    base: Base
    left: str = ""
    right: str = ""

    @property
    def half(self) -> Half:
        return half_of(self.name)

    @property
    def expected(self) -> list[Expected]:
        """What must be said: of each fault its own."""
        found = []
        for side, name in ((LEFT, self.left), (RIGHT, self.right)):
            if name:
                fault = FAULTS[name]
                where = () if fault.corrupt else (f"*{side}_*",)
                found.append(Expected(fault.rules, fault.causes, where))
        return found


def programs() -> list[Program]:
    """All programs: healthy ones, and pairs of faults of different kinds spread over the bases."""
    found = [Program(name, base) for name, base in BASES.items()]
    pairs = list(itertools.combinations(FAULTS, 2))
    loops = [name for name, base in BASES.items() if base.loop]
    for turn in range(2):
        for number, (left, right) in enumerate(pairs):
            if {left, right} == {"cut", "round"} or {left, right} == {"slow", "left-out"}:
                continue  # one kind of mistake; one branch can have one optimizer less only
            needs_loop = FAULTS[left].needs_loop or FAULTS[right].needs_loop
            names = loops if needs_loop else list(BASES)
            name = names[(number + turn * (len(names) // 2)) % len(names)]
            found.append(Program(f"{name}!{left}+{right}", BASES[name], left, right))
    return found


# --- training ---------------------------------------------------------------------------------


def train(program: Program, seed: int, folder: str) -> Sequence[Flag]:
    """Train once; gives what the monitor reported live."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    data = DATA[program.base.data]()
    sides = {LEFT: program.left, RIGHT: program.right}
    faults = {side: FAULTS[name] for side, name in sides.items() if name}
    x = data.x
    for fault in faults.values():
        if fault.corrupt is not None:
            x = fault.corrupt(x, np.random.default_rng(seed))
    model = _model(program.base, data, {side: fault.branch for side, fault in faults.items()})
    loss: Any = keras.losses.MeanSquaredError()
    if data.task == "classes":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if program.base.loop:
        return _train_by_loop(model, loss, x, data.y, faults, folder)
    health = tbg.GradientHealth(folder, every=1, histograms=False, verbose=0)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=program.base.xla)
    epochs = -(-STEPS // -(-len(x) // BATCH))
    model.fit(x, data.y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[health])
    return health.report


def _train_by_loop(
    model: Any, loss_of: Any, x: Any, y: Any, faults: Mapping[str, Fault], folder: str
) -> Sequence[Flag]:
    """A loop with an optimizer for everything, and one for each part with a rate of its own."""
    groups: dict[str, list[Any]] = {"": []}
    for variable in model.trainable_variables:
        side = next((side for side in faults if f"{side}_" in variable.path), "")
        fault = faults.get(side)
        if fault is not None and fault.left_out:
            continue
        groups.setdefault(side if fault is not None and fault.rate else "", []).append(variable)
    optimizers = {
        side: keras.optimizers.Adam(faults[side].rate if side else 3e-3, name=side or "adam")
        for side in groups
    }
    for side, optimizer in optimizers.items():
        optimizer.build(groups[side])
    chosen = [variable for group in groups.values() for variable in group]
    monitor = tbg.watch(
        list(optimizers.values()), folder, model=model, every=1, histograms=False, verbose=0
    )

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(inputs, training=True))
        gradients = iter(tape.gradient(loss, chosen))
        for side, optimizer in optimizers.items():
            optimizer.apply([next(gradients) for _ in groups[side]], groups[side])
        return loss

    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).repeat().batch(BATCH)
    with monitor:
        for inputs, targets in batches.take(STEPS):
            monitor.step(loss=step(inputs, targets), inputs=inputs, targets=targets)
    return monitor.report


# --- scores -----------------------------------------------------------------------------------


def found_by(expected: Expected, flags: Sequence[Flag]) -> set[int]:
    """Numbers of the loud flags that say of a fault what must be said."""
    return {
        number
        for number, flag in enumerate(flags)
        if flag.severity >= Severity.WARNING
        and flag.rule in expected.rules
        and flag.causes
        and flag.causes[0].id in expected.causes
        and (
            not expected.variables
            or any(fnmatch.fnmatch(v, p) for v in flag.variables for p in expected.variables)
        )
    }


def is_right(program: Program, flags: Sequence[Flag]) -> bool:
    """Both faults by a flag of their own; a healthy program without a loud flag."""
    if not program.expected:
        return all(flag.severity < Severity.WARNING for flag in flags)
    one, other = (found_by(expected, flags) for expected in program.expected)
    return bool(one and other and len(one | other) > 1)


def _reported(flags: Sequence[Flag]) -> str:
    return "; ".join(
        f"{f.severity.label} {f.rule} {list(f.variables[:2])} "
        f"{f.causes[0].id if f.causes else 'no cause'}"
        for f in flags
    )


def _same(live: Sequence[Flag], afterwards: Sequence[Flag]) -> bool:
    def key(flag: Flag) -> tuple[Any, ...]:
        return flag.rule, flag.severity, flag.variables, flag.first_step

    return sorted(map(key, live)) == sorted(map(key, afterwards))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", nargs="*", default=["*"], help="patterns of names")
    parser.add_argument("--recordings", help="folder of recorded trainings (default: temporary)")
    parser.add_argument("--judge-only", action="store_true", help="train nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reveal", action="store_true", help="details of the held-back half too")
    options = parser.parse_args(arguments)

    chosen = [
        program
        for program in programs()
        if any(fnmatch.fnmatch(program.name, pattern) for pattern in options.programs)
    ]
    folder = options.recordings or tempfile.mkdtemp(prefix="two_faults_")
    right: dict[tuple[bool, Half], list[bool]] = {}
    different = trained = 0
    for program in chosen:
        place = os.path.join(folder, program.name, str(options.seed))
        live = None
        if not options.judge_only and not os.path.exists(os.path.join(place, FINISHED)):
            shutil.rmtree(place, ignore_errors=True)
            live = train(program, options.seed, place)
            Path(place, FINISHED).touch()
        if not os.path.exists(os.path.join(place, FINISHED)):
            continue
        [run] = tbg.load(place).runs
        if live is not None:
            trained += 1
            different += not _same(live, run.flags)
        correct = is_right(program, run.flags)
        right.setdefault((bool(program.expected), program.half), []).append(correct)
        if not correct and (options.reveal or program.half == HALVES[0]):
            print(f"{program.name}: {_reported(run.flags) or 'silent'}", flush=True)
    for (faulty, half), outcomes in sorted(right.items()):
        kind = "both faults found" if faulty else "healthy and silent"
        print(f"{half}: {kind} in {sum(outcomes)} of {len(outcomes)} programs")
    if trained:
        print(f"live and afterwards differ in {different} of {trained} programs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
