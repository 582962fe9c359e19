"""In a custom loop nobody knows the loss: the ranges of the head and of the targets are enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_symptoms import Run, table

from tb_gradients.flags import Flag, Severity


def reported(
    activation: str, low: float, high: float, loss: Any = 2.0, **facts: Any
) -> Flag | None:
    known = {"head": "dense_3", "head_activation": activation, "head_units": "1"}
    run = Run(table(loss="", facts={**known, **facts.pop("known", {})}))
    run.say(targets_min=low, targets_max=high, **facts).loss(loss)
    return run.flags().get("model_mismatch")


def test_targets_that_a_sigmoid_cannot_reach_are_named_with_both_ranges() -> None:
    flag = reported("sigmoid", 0, 10)

    assert flag is not None and flag.severity == Severity.WARNING  # the loss does not fall
    assert flag.causes[0].id == "loss_output_mismatch"
    assert "between 0 and 1" in flag.summary and "0 to 10" in flag.summary


def test_a_loss_that_falls_below_zero_is_no_cross_entropy() -> None:
    falls = np.linspace(2.0, -40.0, 80)

    flag = reported("sigmoid", 0, 10, falls)

    assert flag is not None and flag.severity == Severity.WARNING


def test_one_that_learns_all_the_same_is_worth_knowing() -> None:
    flag = reported("tanh", -9, 9, np.geomspace(20.0, 1.0, 80))

    assert flag is not None and flag.severity == Severity.INFO


@pytest.mark.parametrize(
    ("activation", "low", "high", "more"),
    [
        ("sigmoid", 0, 1, {}),
        ("sigmoid", -0.1, 1.2, {}),  # smoothed, or noise
        ("linear", 0, 10, {}),
        ("softmax", 0, 9, {}),
        ("sigmoid", 0, 9, {"known": {"head_units": "10"}}),  # numbers of classes
        ("sigmoid", 0, 10, {"predictions_max": 9.8}),  # scaled outside of the model
    ],
)
def test_what_may_be_meant_is_silent(
    activation: str, low: float, high: float, more: dict[str, Any]
) -> None:
    assert reported(activation, low, high, **more) is None
