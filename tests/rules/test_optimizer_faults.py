"""Faults of the optimizer that look like faults of the data, on frames made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from test_symptoms import KERNELS, Run, table

from tb_gradients.flags import Flag, Severity
from tb_gradients.snippets import snippets


def of(optimizer: str, steps: int = 80, change: dict[str, Any] | None = None, **config: str) -> Run:
    facts = {"learning_rate": "0.001", **config}
    return Run(table(change, optimizer=optimizer, optimizer_config=facts), steps)


# --- NaN of finite gradients ----------------------------------------------------------------


def breaks(run: Run, step: int = 0) -> Run:
    """The weights are NaN after a step, and the gradients from the next one on."""
    run.set(since=step, weight_nonfinite_count=9)
    return run.set(since=step + 1, gradient_nan_count=9, nonfinite_age=0)


@pytest.mark.parametrize("step", [0, 30])
def test_weights_that_are_nan_after_finite_gradients_are_the_optimizers_fault(step: int) -> None:
    flags = breaks(of("Adafactor"), step).flags()

    flag = flags["nonfinite_weight"]
    assert set(flags) == {"nonfinite_weight"}
    assert [c.id for c in flag.causes] == ["optimizer_breaks_weights"]
    assert "epsilon_1" in flag.causes[0].summary
    assert snippets(flag.fixes[0])[0].endswith("Adafactor(learning_rate=0.001, epsilon_1=1e-15)")


def test_an_optimizer_of_which_nothing_is_known_is_named_too() -> None:
    flag = breaks(of("HomeMade")).flags()["nonfinite_weight"]

    assert [c.id for c in flag.causes] == ["optimizer_breaks_weights"]
    assert "HomeMade" in flag.causes[0].summary


def test_weights_that_follow_a_gradient_of_nan_are_not() -> None:
    run = of("Adafactor")
    run.set(since=30, weight_nonfinite_count=9, gradient_nan_count=9, nonfinite_age=0)

    assert all(c.id != "optimizer_breaks_weights" for f in run.flags().values() for c in f.causes)


def test_nor_is_a_step_that_leaves_the_range_of_the_numbers() -> None:
    run = breaks(of("SGD"), 30).say(since=28, global_norm=1e30)

    assert run.flags()["nonfinite_weight"].causes[0].id != "optimizer_breaks_weights"


def test_a_bias_correction_of_zero_is_named_with_the_dtype() -> None:
    flag = breaks(of("Nadam", change={"dtype": "bfloat16"})).flags()["nonfinite_weight"]

    assert "bfloat16" in flag.causes[0].summary
    assert 'keras.mixed_precision.set_global_policy("mixed_bfloat16")' in snippets(flag.fixes[0])


# --- a first step that replaces the weights -------------------------------------------------


def replaced(run: Run, step: int = 0) -> Run:
    if step:
        run.set(update_norm=0.0).say(applied_steps=0)
        run.frames[step:] = Run(run.table, run.steps).frames[step:]
    run.set([0, 2, 4], since=step, weight_norm=0.1)
    run.frames[step : step + 1] = [
        dataclasses.replace(f, values=f.values.copy()) for f in run.frames[step : step + 1]
    ]
    run.frames[step].values[[0, 2, 4], run.table.statistics.index("update_norm")] = 4.0
    return run


@pytest.mark.parametrize("optimizer", ["ScheduleFreeAdamW", "Ftrl", "Adam"])
def test_a_first_step_that_leaves_nothing_of_the_weights_is_a_warning(optimizer: str) -> None:
    flag = replaced(of(optimizer)).flags()["weights_replaced"]

    assert (flag.severity, flag.first_step) == (Severity.WARNING, 0)
    assert flag.causes[0].id == "optimizer_replaces_weights"
    assert len(flag.variables) == 3


def test_what_comes_of_it_is_reported_with_it() -> None:
    run = replaced(of("Ftrl", 120)).stuck().set(since=1, update_norm=1e-9)
    flags = run.flags()

    assert set(flags) == {"weights_replaced"}
    assert flags["weights_replaced"].severity == Severity.CRITICAL
    assert any(one.startswith("update_too_small") for one in flags["weights_replaced"].follow_ups)


def test_the_first_update_may_come_late() -> None:
    assert replaced(of("Ftrl"), 3).flags()["weights_replaced"].first_step == 3


def test_one_kernel_of_many_is_not_the_optimizer() -> None:
    run = of("Adam")
    run.set([0], weight_norm=0.1)

    assert "weights_replaced" not in run.flags()


def test_weights_that_a_constraint_holds_down_are_not_replaced() -> None:
    run = replaced(of("Adam", change={"constraint": "MaxNorm"}))

    assert "weights_replaced" not in run.flags()


def test_a_weight_decay_that_takes_it_all_is_named() -> None:
    flag = replaced(of("AdamW", weight_decay="2000")).flags()["weights_replaced"]

    assert flag.causes[0].id == "strong_regularization"


# --- averages, 16 bits, scales --------------------------------------------------------------


def slow(run: Run, ratio: float = 4e-7) -> Flag:
    return run.stuck().set(update_norm=4 * ratio).flags()["update_too_small"]


def test_averages_that_are_written_back_after_each_step_are_named() -> None:
    often = {"use_ema": "True", "ema_momentum": "0.9999", "ema_overwrite_frequency": "1"}
    flag = slow(of("Adam", **often))

    assert [c.id for c in flag.causes] == ["averaged_weights"]
    assert "overwrite" not in flag.fixes[0]
    assert slow(of("Adam", **{**often, "ema_overwrite_frequency": "None"})).causes == ()
    seldom = {**often, "ema_momentum": "0.99", "ema_overwrite_frequency": "100"}
    assert slow(of("Adam", **seldom)).causes == ()


def test_a_beta_of_one_is_why_no_step_changes_a_bfloat16_weight() -> None:
    def reported(beta: str, dtype: str = "bfloat16") -> str:
        run = of("Adam", change={"dtype": dtype}, beta_2=beta).stuck()
        flag = run.set(KERNELS, lost_share=1.0, unchanged_share=1.0, update_norm=0.0).flags()
        return flag["update_lost"].causes[0].summary

    assert "beta_2" in reported("0.999")
    assert "beta_2" not in reported("0.9")
    assert "beta_2" not in reported("0.999", "float16")  # there it is 0.99902


def test_averages_in_float16_are_why_adam_throws_weights_about() -> None:
    def reported(dtype: str, optimizer: str = "Adam") -> Flag:
        run = of(optimizer, change={"dtype": dtype}).loss(2.3 * 1.5 ** np.arange(1, 81))
        return next(iter(run.set(KERNELS, update_norm=4.0).flags().values()))

    flag = reported("float16")
    assert flag.causes[0].id == "low_precision"
    assert "squares of gradients" in flag.causes[0].summary
    assert 'keras.mixed_precision.set_global_policy("mixed_float16")' in snippets(flag.fixes[0])
    assert reported("float32").causes[0].id == "learning_rate_too_large"
    assert reported("float16", "SGD").causes[0].id == "learning_rate_too_large"


def test_a_loss_that_was_never_scaled_is_recognised_by_the_scale() -> None:
    def reported(scale: float, rate: float) -> Flag:
        run = of("SGD", 300).loss(2.3 + 0.01 * np.random.default_rng(0).standard_normal(300))
        run.table = dataclasses.replace(run.table, run=dataclasses.replace(run.table.run, loss=""))
        run.say(loss_scale=scale, learning_rate=rate)
        return run.set(update_norm=4 * 3e-6).flags()["not_learning"]

    flag = reported(2.0**15, 0.1)
    assert (flag.severity, flag.causes[0].id) == (Severity.WARNING, "loss_not_scaled")
    assert "loss = optimizer.scale_loss(loss)" in snippets(flag.fixes[0])
    assert all(c.id != "loss_not_scaled" for c in reported(1.0, 0.1).causes)
    assert all(c.id != "loss_not_scaled" for c in reported(2.0**15, 1e-6).causes)


def test_a_scale_that_falls_without_end_is_reported_before_it_is_zero() -> None:
    def reported(steps: int) -> str:
        run = Run(table(precision="mixed_float16"), steps)
        scale = np.maximum(2.0**15 * 0.5 ** np.maximum(np.arange(steps) - 9, 0), 2.0**-150)
        run.say(loss_scale=np.where(scale < 2.0**-149, 0, scale)).say(10, skipped_steps=1)
        return run.flags()["loss_scale_collapse"].summary

    assert "from 32768" in reported(100) and "75 more skipped steps" in reported(100)
    assert "from 32768 to 0" in reported(200) and "divided by 0" in reported(200)
