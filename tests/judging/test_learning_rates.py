"""Fixes that are code for an optimizer: Keras takes them, they keep what was set, and they lower
the rate where the rate is at fault. A rate that the optimizer was made with is no schedule.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import pytest
from recordings import make_frames, make_table

from tb_gradients.frames import RunContext, VariableTable
from tb_gradients.judging.learning_rates import (
    ADAPTIVE,
    USUAL_LEARNING_RATE,
    clipped,
    decayed_from,
    large_rate_cause,
    optimizer_code,
    slower,
    usual_learning_rate,
)
from tb_gradients.judging.progress import Progress
from tb_gradients.judging.window import History, Window
from tb_gradients.training.model.run_context import run_context


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


def test_a_rate_that_a_schedule_or_a_callback_lowered_is_reported_with_where_it_came_from() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.1)
    rates = [1e-3] * 20 + [1e-5] * 20

    for optimizer in (keras.optimizers.Adam(schedule), keras.optimizers.Adam(1e-3)):
        assert decayed_from(window_of(table_of(optimizer), rates)) == pytest.approx(1e-3)


def test_the_usual_rates_are_of_all_optimizers_of_keras() -> None:
    base = keras.optimizers.Optimizer
    wrappers = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    known = {
        name
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, base)
    }
    # A newer one may be missing in the installed Keras, none of that may be missing here.
    assert known - wrappers <= set(USUAL_LEARNING_RATE)
    own = {"Adadelta": 1.0, "Adagrad": 1e-2, "Lion": 1e-4}  # the table says why
    for name in known - wrappers:
        default = float(getattr(keras.optimizers, name)().learning_rate)
        assert USUAL_LEARNING_RATE[name] == pytest.approx(own.get(name, default))


def test_the_usual_rate_of_an_unknown_optimizer_is_not_guessed_at() -> None:
    class Own(keras.optimizers.SGD):
        pass

    table = table_of(Own(0.5))
    assert math.isnan(usual_learning_rate(table))
    window = window_of(table, 0.5)
    assert "usually" not in large_rate_cause(window, "it grew", 0.5).summary
    assert slower(window) == "Lower the learning rate: `Own(learning_rate=0.05)`."
    assert "0.05" in slower(window_of(table, -0.5))


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_the_step_of_an_adaptive_optimizer_does_not_scale_with_the_gradient(name: str) -> None:
    kind = getattr(keras.optimizers, name, None)
    if kind is None:
        pytest.skip("not in this Keras")
    steps = []
    for scale in (1.0, 1000.0):
        optimizer, variable = kind(0.01), keras.Variable(np.full((4, 4), 0.5, "float32"))
        gradient = np.linspace(0.5, 1.5, 16, dtype="float32").reshape(4, 4)
        for _ in range(3):
            before = np.asarray(variable)
            optimizer.apply([keras.ops.convert_to_tensor(scale * gradient)], [variable])
        steps.append(np.linalg.norm(np.asarray(variable) - before))
    assert 0.2 < steps[1] / steps[0] < 5
