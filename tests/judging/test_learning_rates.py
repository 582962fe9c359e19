"""Fixes that are code for an optimizer: Keras takes them, they keep what was set, and they lower
the rate where the rate is at fault. A rate that the optimizer was made with is no schedule.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from recordings import make_frames, make_table

from tb_gradients.frames import RunContext, VariableTable
from tb_gradients.judging.learning_rates import (
    USUAL_LEARNING_RATE,
    clipped,
    decayed_from,
    optimizer_code,
    slower,
)
from tb_gradients.judging.progress import Progress
from tb_gradients.judging.window import History, Window
from tb_gradients.training.run_context import run_context


def table_of(optimizer: Any) -> VariableTable:
    """The table of a run with that optimizer."""
    context: RunContext = run_context(None, optimizer, {})
    return dataclasses.replace(make_table(2), run=context)


def window_of(table: VariableTable, rates: Any) -> Window:
    """A run of 40 steps at these learning rates."""
    frames = make_frames(table, range(40))
    history = History(table, ())
    for frame, rate in zip(frames, np.broadcast_to(rates, 40), strict=True):
        frame.context[table.context.index("learning_rate")] = rate
        history.push(frame)
    return Window(history, ("learning_rate",), Progress())


def made_by(code: str) -> Any:
    return eval(code, {"keras": keras})


@pytest.mark.parametrize("name", [n for n in USUAL_LEARNING_RATE if hasattr(keras.optimizers, n)])
@pytest.mark.parametrize("rate", [3.0, 1e-12, 1e6, 0.001])
def test_keras_takes_the_code_for_every_optimizer_and_rate(name: str, rate: float) -> None:
    table = table_of(getattr(keras.optimizers, name)(rate))

    for code in (optimizer_code(table), clipped(table, 2.0), clipped(table, 1e8, learning_rate=1)):
        assert type(made_by(code)).__name__ == name

    made = made_by(clipped(table, 2.0))
    assert float(made.learning_rate.numpy()) == pytest.approx(rate)
    assert made.global_clipnorm == 2.0


def test_what_else_was_set_is_kept() -> None:
    given = keras.optimizers.Adam(
        3.0,
        beta_1=0.5,
        epsilon=1e-3,
        amsgrad=True,
        use_ema=True,
        gradient_accumulation_steps=8,
        clipnorm=1.0,
    )

    made = made_by(clipped(table_of(given), 2.0, learning_rate=1e-3)).get_config()

    changed = {"learning_rate": pytest.approx(1e-3), "clipnorm": None, "global_clipnorm": 2.0}
    assert made | {"name": ""} == given.get_config() | {"name": ""} | changed


def test_an_optimizer_at_its_defaults_is_written_in_short() -> None:
    assert optimizer_code(table_of(keras.optimizers.AdamW())) == (
        "keras.optimizers.AdamW(learning_rate=0.001)"
    )


def test_an_optimizer_of_an_unknown_class_is_not_said_to_be_one_of_keras() -> None:
    class Mine(keras.optimizers.SGD):
        pass

    assert optimizer_code(table_of(Mine(0.5))) == "Mine(learning_rate=0.5)"


def test_without_an_optimizer_gradients_are_clipped_by_hand() -> None:
    assert clipped(make_table(2, optimizer=""), 1.0) == (
        "gradients, _ = tf.clip_by_global_norm(gradients, 1.0)"
    )


@pytest.mark.parametrize(("rate", "lower"), [(3.0, 1e-3), (2e-3, 2e-4), (-0.1, 1e-3)])
def test_a_rate_is_lowered_to_the_usual_one_or_tenfold(rate: float, lower: float) -> None:
    fix = slower(window_of(table_of(keras.optimizers.Adam(abs(rate))), rate))

    assert f"`keras.optimizers.Adam(learning_rate={lower:g})`" in fix


def test_a_rate_that_was_chosen_is_no_schedule() -> None:
    fine = table_of(keras.optimizers.Adam(1e-5))
    chosen = window_of(fine, [1e-3] * 20 + [1e-5] * 20)

    assert decayed_from(chosen) is None


def test_a_rate_that_a_schedule_or_a_callback_lowered_is_told_from_where() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.1)
    rates = [1e-3] * 20 + [1e-5] * 20

    for optimizer in (keras.optimizers.Adam(schedule), keras.optimizers.Adam(1e-3)):
        assert decayed_from(window_of(table_of(optimizer), rates)) == pytest.approx(1e-3)
