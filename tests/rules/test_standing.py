"""A run that stands at the loss of a constant prediction is a warning as soon as something else is
wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from recordings import make_table
from test_symptoms import Run

from tb_gradients.flags import Flag, Severity


def standing(steps: int, units: int = 4, **run: Any) -> Run:
    """Ten layers in a row whose steps are too small to have moved the weights."""
    table = make_table(10, **run)
    variables = tuple(dataclasses.replace(v, units=units) for v in table.variables)
    # The head shows the number of classes.
    head = dataclasses.replace(variables[-2], units=16), variables[-1]
    made = Run(dataclasses.replace(table, variables=(*variables[:-2], *head)), steps)
    return made.stuck().set(update_norm=4e-4)


def reported(run: Run) -> Flag:
    return run.flags()["not_learning"]


def test_a_deep_narrow_network_that_guesses_for_200_steps_is_a_warning() -> None:
    flag = reported(standing(220))

    assert flag.severity == Severity.WARNING
    assert flag.causes[0].id == "deep_narrow_network"


def test_three_epochs_are_long_enough_too() -> None:
    assert reported(standing(150)).severity == Severity.INFO
    assert reported(standing(150, steps_per_epoch=40)).severity == Severity.WARNING


@pytest.mark.parametrize("steps", [220, 390])
def test_where_nothing_else_is_wrong_it_is_waited_for_longer(steps: int) -> None:
    assert reported(standing(steps, units=64)).severity == Severity.INFO


def test_a_warm_up_is_waited_for() -> None:
    run = standing(220).say(learning_rate=np.geomspace(1e-5, 1e-3, 220))

    assert reported(run).severity == Severity.INFO


def test_a_rare_class_is_no_reason_to_be_loud() -> None:
    run = standing(220, units=64, loss="binary_crossentropy")
    run.say(targets_mean=0.05, targets_std=0.22, targets_majority_share=0.95, targets_classes=2)
    run.loss(0.1985 + 0.002 * np.random.default_rng(0).standard_normal(220))
    flag = reported(run)

    assert flag.causes[0].id == "class_imbalance"
    assert flag.severity == Severity.INFO


@pytest.mark.parametrize("weight", [0.5, 0.1, 1e-9])
def test_the_level_of_guessing_follows_the_weight_of_the_loss(weight: float) -> None:
    run = standing(220, facts={"loss_weight": str(weight)})
    run.loss(weight * (np.log(16) + 0.01 * np.random.default_rng(0).standard_normal(220)))

    assert reported(run).severity == Severity.WARNING


def test_of_a_loss_that_is_a_sum_it_is_unknown() -> None:
    run = standing(220, facts={"summed_loss": "True"})

    assert reported(run).severity == Severity.INFO
