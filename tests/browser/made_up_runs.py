"""Runs with the look of real training, for eyes and for a browser: no TensorFlow, no waiting.

In:  a log folder.
Out: event files of a small convolutional network, healthy or with one of each fault.
Does not know about browsers. ``python made_up_runs.py DIR`` writes them to look at.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import recordings

from tb_gradients import schema
from tb_gradients.flags import Cause, Evidence, Flag, Severity
from tb_gradients.frames import (
    CountArray,
    Frame,
    Recording,
    RunContext,
    Variable,
    VariableTable,
)
from tb_gradients.judging import judge
from tb_gradients.reading.source import StoredVerdict

BLOCKS = 6
VANISHING = ("encoder/block_1/conv/kernel", "encoder/block_2/conv/kernel")
NAN_FROM = 2600
DEAD_FROM = 300
SPIKE = 120

RELU_ADVICE = """\
Use an activation that does not saturate:
```
keras.layers.Conv2D(16, 3, activation="relu",
                    kernel_initializer="he_normal")
```"""


def network() -> VariableTable:
    """Six convolution blocks, a head, and a variable that the loss does not reach."""
    variables = []
    for block in range(1, BLOCKS + 1):
        module = f"encoder/block_{block}"
        variables += [
            Variable(f"{module}/conv/kernel", (3, 3, 8 * block, 8 * block + 8),
                     module=module, layer_class="Conv2D", role="kernel", activation="sigmoid",
                     initializer="GlorotUniform", units=8 * block + 8, optimizer="Adam",
                     initial_rms=0.05, facts={"fed_by": f"block_{block - 1}"}),
            Variable(f"{module}/conv/bias", (8 * block + 8,),
                     module=module, layer_class="Conv2D", role="bias", activation="sigmoid",
                     initializer="Zeros", units=8 * block + 8, optimizer="Adam"),
            Variable(f"{module}/norm/gamma", (8 * block + 8,),
                     module=module, layer_class="BatchNormalization", role="scale",
                     initializer="Ones", optimizer="Adam", initial_rms=1),
        ]  # fmt: skip
    for name, shape, activation in (
        ("head/dense/kernel", (512, 128), "relu"),
        ("head/dense/bias", (128,), "relu"),
        ("head/logits/kernel", (128, 10), "linear"),
        ("head/logits/bias", (10,), "linear"),
        ("auxiliary/kernel", (128, 4), "linear"),
    ):
        variables.append(
            Variable(name, shape, module=name.rpartition("/")[0], layer_class="Dense",
                     role=name.rpartition("/")[2], activation=activation, units=shape[-1],
                     initializer="HeNormal", optimizer="Adam", initial_rms=0.06)
        )  # fmt: skip
    return VariableTable(
        tuple(variables),
        RunContext(
            optimizer="Adam",
            optimizer_config={"learning_rate": "0.001", "clipnorm": "1.0"},
            loss="SparseCategoricalCrossentropy",
            precision="float32",
            steps_per_epoch=200,
            versions={"tensorflow": "2.21.0", "keras": "3.15.1"},
        ),
    )


def schedule(last: int = 3000) -> list[int]:
    """Dense at the start, then sparser, as ``every="auto"`` does."""
    steps = [*range(100), *range(100, 1000, 10), *range(1000, last + 1, 25)]
    return [step for step in steps if step <= last]


def healthy_frames(table: VariableTable, steps: Iterable[int], salt: int = 0) -> list[Frame]:
    frames = []
    for frame in recordings.make_frames(table, steps, salt=salt):
        random = np.random.default_rng([frame.step, salt, 1])
        elements = np.array([v.elements for v in table.variables])
        rms = 2e-3 * np.exp(-frame.step / 2500 + 0.25 * random.standard_normal(len(elements)))
        rms *= np.linspace(0.6, 2, len(elements))
        frame = scaled(frame, table, rms * np.sqrt(elements))
        weights = 0.06 * np.sqrt(elements)
        rate = min(1, (frame.step + 5) / 80) * 1e-3 * (1 + np.cos(frame.step / 3000 * 3)) / 2
        ratio = rate * np.exp(0.3 * random.standard_normal(len(elements)))
        frame = recordings.with_value(frame, table, "weight_norm", weights)
        frame = recordings.with_value(frame, table, "update_norm", weights * ratio)
        frame.context[table.context.index("learning_rate")] = rate
        loss = 0.1 + 2.2 * np.exp(-frame.step / 120) + 0.01 * random.standard_normal()
        for name in ("loss", "loss_mean", "loss_min", "loss_max"):
            frame.context[table.context.index(name)] = loss
        frames.append(with_histogram(frame, table) if frame.step % 50 == 0 else frame)
    return frames


def scaled(frame: Frame, table: VariableTable, norms: np.ndarray) -> Frame:
    for name, factor in (
        ("gradient_norm", 1), ("applied_norm", 1), ("gradient_norm_max", 1.3),
        ("gradient_min", -0.1), ("gradient_max", 0.12), ("gradient_mean", 1e-3),
    ):  # fmt: skip
        frame = recordings.with_value(frame, table, name, norms * factor)
    return frame


def with_histogram(frame: Frame, table: VariableTable) -> Frame:
    """Counts of 10,000 elements that fit the frame's own norms and shares."""
    column = table.statistics.index
    counts: CountArray = np.zeros((len(table.variables), schema.HISTOGRAM_BINS), np.uint16)
    random = np.random.default_rng(frame.step)
    for row, variable in enumerate(table.variables):
        norm = frame.values[row, column("gradient_norm")]
        if np.isnan(norm):
            continue
        zeros = frame.values[row, column("gradient_zero_share")]
        size = min(variable.elements, 10_000)
        if frame.values[row, column("gradient_nan_count")] > 0:
            counts[row, schema.BIN_NAN] = size
            continue
        nonzero = round(size * (1 - float(zeros)))
        counts[row, schema.BIN_ZERO] = size - nonzero
        scale = norm / np.sqrt(max(variable.elements, 1))
        values = scale * random.standard_normal(nonzero)
        values = values[values != 0]
        octave = np.floor(np.log2(np.abs(values))).astype(int) - schema.HISTOGRAM_LOWEST_EXPONENT
        octave = np.clip(octave, 0, schema.HISTOGRAM_OCTAVES - 1)
        sign = np.where(values > 0, schema.BIN_POSITIVE, schema.BIN_NEGATIVE)
        np.add.at(counts[row], sign + octave, 1)
    return dataclasses.replace(frame, histograms=counts)


def faulty_frames(table: VariableTable, steps: Iterable[int]) -> list[Frame]:
    """Vanishing early blocks, a dying head, a spike, a disconnected variable, NaN at the end."""
    paths = list(table.paths)
    block = np.array([int(p.split("_")[1][0]) if "block_" in p else 7 for p in paths])
    head = [paths.index("head/dense/kernel"), paths.index("head/dense/bias")]
    frames = []
    for frame in healthy_frames(table, steps, salt=7):
        step = frame.step
        fade = 10.0 ** (-1.6 * (7 - block) * min(1, (step + 8) / 40))
        norms = frame.values[:, table.statistics.index("gradient_norm")] * fade
        if step == SPIKE:
            norms = norms * np.where(block >= 5, 400, 1)
        frame = scaled(frame, table, norms)
        update = frame.values[:, table.statistics.index("update_norm")] * np.sqrt(fade)
        frame = recordings.with_value(frame, table, "update_norm", update)
        dying = min(0.97, max(0, (step - DEAD_FROM) / 1500))
        for name in ("gradient_zero_share", "dead_unit_share"):
            frame = recordings.with_value(frame, table, name, dying, head)
        [frame] = recordings.turn_missing([frame], table, [paths.index("auxiliary/kernel")])
        if step >= NAN_FROM:
            rows = [i for i, p in enumerate(paths) if "block_6" in p or p.startswith("head")]
            frame = recordings.with_value(frame, table, "gradient_nan_count", 40, rows)
            frame = recordings.with_value(frame, table, "nonfinite_age", 0, rows)
            frame = recordings.with_value(frame, table, "weight_nonfinite_count", 3, rows)
            frame.context[table.context.index("loss_nonfinite_age")] = 0
            frame.context[table.context.index("loss")] = np.nan
        frames.append(with_histogram(frame, table) if step % 50 == 0 else frame)
    return frames


def faulty_flags(table: VariableTable, last_step: int) -> list[Flag]:
    block_6 = tuple(p for p in table.paths if "block_6" in p or p.startswith("head"))
    return [
        Flag(
            "nonfinite_gradient", Severity.CRITICAL, block_6, NAN_FROM, last_step, True,
            f"NaN in the gradient of 7 variables since step {NAN_FROM}, first in "
            "head/logits/kernel; the loss was NaN at the same step.",
            (Evidence("gradient_nan_count", 40, 0), Evidence("loss", float("nan"))),
            (Cause("learning_rate_too_large", 0.6, "The norm grew 400-fold before the first NaN."),
             Cause("numeric_overflow", 0.3, "The largest weight had reached 3.1e4.")),
            ("Clip the gradient: `optimizer=keras.optimizers.Adam(1e-3, clipnorm=1.0)`",
             "Lower the learning rate tenfold: `learning_rate=1e-4`"),
        ),
        Flag(
            "vanishing_gradient", Severity.CRITICAL, VANISHING, 10, last_step, True,
            "The gradient of encoder/block_1/conv/kernel is 2.5e-10 of that of the last block, "
            "and its weights do not move.",
            (Evidence("gradient_rms_ratio", 2.5e-10, 1e-6), Evidence("update_ratio", 4e-9, 1e-6)),
            (Cause("saturating_activation", 0.9, "All six blocks use `sigmoid`."),
             Cause("deep_narrow_network", 0.2, "Six layers in a row without a shortcut.")),
            (RELU_ADVICE,
             "Add a residual connection around every block."),
        ),
        Flag(
            "disconnected_gradient", Severity.WARNING, ("auxiliary/kernel",), 0, last_step, True,
            "The gradient of auxiliary/kernel is None at every step: the loss does not depend on "
            "it.",
            (Evidence("none_step_share", 1.0, 1.0),),
            (Cause("unused_variable", 0.8, "No other variable of the layer has a gradient."),),
            ("Use its output in the loss, or freeze it: `layer.trainable = False`",),
        ),
        Flag(
            "dead_units", Severity.WARNING, ("head/dense/kernel", "head/dense/bias"),
            1050, last_step, True,
            "97 % of the 128 units of head/dense receive no gradient from any batch.",
            (Evidence("dead_unit_share", 0.97, 0.5),),
            (Cause("learning_rate_too_large", 0.7, "Its bias fell to -2.1 in 300 steps."),),
            ("Try `activation=\"leaky_relu\"`", "Lower the learning rate."),
        ),
        Flag(
            "gradient_spike", Severity.WARNING,
            tuple(p for p in table.paths if "block_5" in p or "block_6" in p), SPIKE, SPIKE, False,
            "One step with 400 times the usual norm.",
            (Evidence("gradient_norm_z", 14.2, 8.0),),
            (Cause("input_outliers", 0.4, "The batch held a value of 1.3e3."),),
            ("Clip the gradient: `clipnorm=1.0`",),
        ),
        Flag(
            "not_learning", Severity.INFO, (), 900, last_step, True,
            "The loss fell by 0.4 % over the last 900 steps.",
            (Evidence("loss_drop", 0.004, 0.01),),
        ),
    ]  # fmt: skip


def write_healthy(folder: pathlib.Path, last: int = 3000) -> VariableTable:
    """With the verdict of the rules themselves, as a writer stores it."""
    table = network()
    frames = healthy_frames(table, schedule(last))
    recordings.write_run(folder, table, frames, verdict=judged(table, frames))
    return table


def judged(table: VariableTable, frames: Sequence[Frame]) -> StoredVerdict:
    found = judge([Recording.from_frames(table, frames)])
    return StoredVerdict(
        found.flags, found.errors, frames[-1].step, len(frames), found.rules, found.undecided
    )


def write_faulty(folder: pathlib.Path, last: int = 3000) -> VariableTable:
    table = network()
    flags = [flag for flag in faulty_flags(table, last) if flag.first_step <= last]
    recordings.write_run(folder, table, faulty_frames(table, schedule(last)), flags=flags)
    return table


def large_network(layers: int) -> VariableTable:
    """Blocks of ten Dense layers, two variables each."""
    variables = []
    for layer in range(layers):
        module = f"tower/block_{layer // 10}"
        for role, shape in (("kernel", (64, 64)), ("bias", (64,))):
            variables.append(
                Variable(f"{module}/dense_{layer}/{role}", shape, module=module, role=role,
                         layer_class="Dense", activation="relu", units=64, optimizer="Adam")
            )  # fmt: skip
    return VariableTable(tuple(variables), RunContext(optimizer="Adam"))


def write_large(folder: pathlib.Path, layers: int = 2500, frames: int = 40) -> VariableTable:
    """Twice as many variables as layers, one of which is flagged."""
    table = large_network(layers)
    faulty = table.paths[-4]
    flag = Flag(
        "disconnected_gradient", Severity.WARNING, (faulty,), 0, frames - 1, True,
        f"The gradient of {faulty} is None at every step: the loss does not depend on it.",
        (Evidence("none_step_share", 1.0, 1.0),),
    )  # fmt: skip
    recordings.write_run(folder, table, recordings.make_frames(table, range(frames)), flags=[flag])
    return table


def write_more(folder: pathlib.Path, after: int, last: int) -> None:
    """More frames of a faulty run, as a training that goes on appends them."""
    table = network()
    frames = faulty_frames(table, [step for step in schedule(last) if step > after])
    flags = [flag for flag in faulty_flags(table, last) if flag.first_step <= last]
    verdict = recordings.StoredVerdict(tuple(flags), (), last, len(schedule(last)))
    events = [recordings.frame_event(frame, table) for frame in frames]
    recordings.write_events(folder, [*events, recordings.verdict_event(verdict, last)])


def main(arguments: Sequence[str]) -> None:
    logdir = pathlib.Path(arguments[0])
    write_healthy(logdir / "healthy")
    write_faulty(logdir / "sick")
    write_large(logdir / "large")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
    main(sys.argv[1:])
