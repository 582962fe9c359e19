"""No run is healthy whose loss is far above that of a constant prediction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_symptoms import Run, table

from tb_gradients.flags import Severity

STEPS = 300
FALLS = 1e8 * np.exp(-np.arange(STEPS) / 60)
SCALED = {"input_scaling": "Normalization"}


def run(values: np.ndarray = FALLS, **facts: object) -> Run:
    return Run(table(**facts), STEPS).loss(values)


def test_a_loss_that_has_come_down_and_is_absurd_still_is_a_warning() -> None:
    flag = run(facts=SCALED).flags()["not_learning"]

    assert flag.severity == Severity.WARNING
    assert flag.causes[0].id == "unscaled_inputs"
    assert "model.layers[0](x)" in flag.fixes[0]


def penalised() -> Run:
    made = run()
    variables = [dataclasses.replace(v, regularizer="L2") for v in made.table.variables]
    made.table = dataclasses.replace(made.table, variables=tuple(variables))
    return made


@pytest.mark.parametrize(
    "made",
    [
        penalised(),
        run().say(added_loss=0.9 * FALLS),
        run(loss="my_own"),
        run(3 * np.exp(-np.arange(STEPS) / 60)),
    ],
)
def test_a_penalty_an_unknown_level_and_a_usual_loss_are_none(made: Run) -> None:
    assert "not_learning" not in made.flags()
