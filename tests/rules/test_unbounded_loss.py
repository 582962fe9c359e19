"""A loss without a lower bound is named; losses that fall far below zero towards one are not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from test_symptoms import Run, table

from tb_gradients.flags import Severity

STEPS = np.arange(200.0)


def run(loss: Any, gradient: Any = 1.0, **facts: Any) -> Run:
    """A loss that nobody knows, and how the norm of the gradient changes."""
    made = Run(table(loss="my_loss", **facts), len(STEPS)).loss(loss)
    norms = np.broadcast_to(gradient, len(STEPS))
    return made.say(global_norm=1.7 * norms)


GROWS = 1 + STEPS


@pytest.mark.parametrize(
    ("loss", "severity"),
    [
        (-2 - 0.02 * STEPS**2, Severity.INFO),
        (-2 - STEPS**2, Severity.WARNING),
        (3 - 2 * np.exp(0.1 * STEPS), Severity.CRITICAL),
    ],
)
def test_a_loss_that_falls_ever_faster_has_no_lower_bound(
    loss: np.ndarray, severity: Severity
) -> None:
    flag = run(loss, GROWS).flags()["unbounded_loss"]

    assert flag.severity == severity
    assert flag.causes[0].id == "wrong_sign"
    assert "-log_prob(y)" in flag.fixes[0]


def test_no_sentence_says_that_such_a_loss_does_not_fall() -> None:
    flags = run(3 - 2 * np.exp(0.1 * STEPS), GROWS).flags()

    assert set(flags) == {"unbounded_loss"}
    assert flags["unbounded_loss"].summary.startswith("The loss fell from ")


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [
        # Log-likelihoods of precise data, and returns: slower and slower.
        (3 - 40 * np.log1p(STEPS), GROWS),
        (-9 - 490 / (1 + np.exp(5 - STEPS / 20)), GROWS),
        # An energy on its way from near zero to a minimum far below: the gradient shrinks.
        (-1 - 1e6 * (1 - np.exp(-STEPS / 1000)), np.exp(-STEPS / 1000)),
        # The margin of a linear critic: a straight line.
        (-1 - 10.0 * STEPS, GROWS),
        # What grows without bound above zero is another problem.
        (2 + STEPS**2, 1.0),
    ],
)
def test_a_loss_on_its_way_to_a_bound_gets_no_flag(loss: np.ndarray, gradient: Any) -> None:
    assert "unbounded_loss" not in run(loss, gradient).flags()


def test_targets_outside_of_0_and_1_are_why_a_binary_cross_entropy_has_none() -> None:
    made = run(0.7 - STEPS**2, GROWS)
    loss = "BinaryCrossentropy(from_logits=True)"
    made.table = dataclasses.replace(made.table, run=dataclasses.replace(made.table.run, loss=loss))
    made.say(targets_min=-1.0, targets_max=1.0, targets_mean=0.0, targets_std=1.0)

    flags = made.flags()

    (flag,) = (flag for flag in flags.values() if flag.severity > Severity.INFO)
    assert flag.rule == "bad_data"
    assert flag.causes[0].id == "loss_output_mismatch"
    assert "targets between 0 and 1" in flag.fixes[0]


def test_labels_of_0_and_1_and_smoothed_ones_do_not() -> None:
    for low, high in ((0.0, 1.0), (0.05, 0.95), (-0.001, 1.001)):
        made = run(np.linspace(0.7, 0.2, len(STEPS)))
        made.table = table(loss="BinaryCrossentropy(from_logits=True)")
        made.say(targets_min=low, targets_max=high, targets_mean=0.5, targets_std=0.5)

        assert not made.flags()
