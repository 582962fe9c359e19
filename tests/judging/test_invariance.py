"""What must not matter to the rules: the unit of the loss, and how often a frame is logged.

(Names and order of the variables: test_engine. The dtype of the computation, and logging, on
real trainings: test_trainings, test_precision.)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from recordings import make_frames, make_table, turn_nonfinite, turn_zero, with_value

from tb_gradients.frames import Frame, Recording, RunContext, VariableTable
from tb_gradients.judging import judge

TABLE = dataclasses.replace(make_table(6), run=RunContext(optimizer="SGD"))
ADAM = dataclasses.replace(TABLE, run=RunContext(optimizer="Adam"))
EVERY_STEP = range(120)
STATISTICS_OF_LOSS = (
    "gradient_norm",
    "gradient_mean",
    "gradient_min",
    "gradient_max",
    "gradient_norm_max",
    "applied_norm",
)
CONTEXT_OF_LOSS = ("loss", "loss_mean", "loss_min", "loss_max", "global_norm")


def scaled(frame: Frame, factor: float, rate: float) -> Frame:
    """The same step with the loss multiplied by one factor, and the learning rate by another."""
    values, context = frame.values.copy(), frame.context.copy()
    for name in STATISTICS_OF_LOSS:
        values[:, TABLE.statistics.index(name)] *= factor
    for name in CONTEXT_OF_LOSS:
        context[TABLE.context.index(name)] *= factor
    context[TABLE.context.index("learning_rate")] *= rate
    return dataclasses.replace(frame, values=values, context=context)


def with_context(frame: Frame, **columns: float) -> Frame:
    context = frame.context.copy()
    for name, value in columns.items():
        context[TABLE.context.index(name)] = value
    return dataclasses.replace(frame, context=context)


def healthy(steps: range = EVERY_STEP) -> list[Frame]:
    return make_frames(TABLE, steps)


def exploding(steps: range = EVERY_STEP) -> list[Frame]:
    frames = []
    for frame in healthy(steps):
        growth = 1.5 ** max(frame.step - 40, 0)
        norm = frame.values[:, TABLE.statistics.index("gradient_norm")] * growth
        frame = with_value(frame, TABLE, "gradient_norm", norm)
        frame = with_value(frame, TABLE, "gradient_norm_max", norm)
        loss = float(frame.context[TABLE.context.index("loss")]) * growth
        total = float(np.sqrt(np.sum(norm**2)))
        frames.append(
            with_context(frame, loss=loss, loss_mean=loss, loss_max=loss, global_norm=total)
        )
    return [frame for frame in frames if frame.step < 90]


def fading(steps: range = EVERY_STEP) -> list[Frame]:
    frames = []
    for frame in healthy(steps):
        for layer in range(5):
            rows = [2 * layer, 2 * layer + 1]
            frame = with_value(frame, TABLE, "gradient_norm", 0.5 * 0.03 ** (5 - layer), rows)
        frames.append(with_context(frame, loss=0.7, loss_mean=0.7))
    return frames


RUNS = {
    "healthy": healthy,
    "exploding": exploding,
    "fading": fading,
    "zero": lambda steps=EVERY_STEP: turn_zero(healthy(steps), TABLE, [0, 1, 2]),
    "frozen": lambda steps=EVERY_STEP: [
        with_value(f, TABLE, "update_norm", 0, [2]) for f in healthy(steps)
    ],
    "not finite": lambda steps=EVERY_STEP: turn_nonfinite(healthy(steps), TABLE, 41),
}


def reported(frames: list[Frame], table: VariableTable = TABLE) -> list[Any]:
    verdict = judge([Recording.from_frames(table, frames)])
    assert verdict.errors == ()
    return [(f.rule, f.severity, f.variables, f.first_step, f.open) for f in verdict.flags]


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", RUNS)
def test_the_unit_of_the_loss_means_nothing(name: str, factor: float) -> None:
    frames = RUNS[name]()

    assert reported([scaled(frame, factor, 1 / factor) for frame in frames]) == reported(frames)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", RUNS)
def test_nor_does_it_under_adam_at_the_same_rate(name: str, factor: float) -> None:
    frames = RUNS[name]()

    assert reported([scaled(frame, factor, 1) for frame in frames], ADAM) == reported(frames, ADAM)


@pytest.mark.parametrize("name", RUNS)
def test_every_tenth_frame_shows_the_same(name: str) -> None:
    dense, sparse = reported(RUNS[name](EVERY_STEP)), reported(RUNS[name](EVERY_STEP[::10]))

    assert [(f[:2], set(f[2])) for f in sparse] == [(f[:2], set(f[2])) for f in dense]
    for (*_, often, _), (*_, seldom, _) in zip(dense, sparse, strict=True):
        assert abs(often - seldom) <= 20


def test_the_made_up_faults_are_seen() -> None:
    rules = {name: {flag[0] for flag in reported(make())} for name, make in RUNS.items()}

    assert rules["healthy"] == set()
    assert "exploding_gradient" in rules["exploding"]
    assert "vanishing_gradient" in rules["fading"]
    assert rules["zero"] and rules["frozen"] == {"frozen_weight"}
    assert rules["not finite"] == {"nonfinite_gradient"}
