"""What layers add to the loss outweighs the data, if the data are only guessed in the end."""

from __future__ import annotations

import numpy as np
import pytest
from test_symptoms import Run, table

from tb_gradients.flags import Severity

STEPS = 300
FALLS = np.exp(-np.arange(STEPS) / 100)
GUESS = np.log(16)


def run(data: float, added: float, **facts: int) -> Run:
    """The loss falls, since what is added does."""
    made = Run(table(**facts), STEPS)
    return made.loss(data + added * FALLS).say(added_loss=added * FALLS)


def test_a_penalty_beside_which_the_data_are_guessed_is_critical() -> None:
    flag = run(GUESS, 1000.0).flags()["regularizer_dominates"]

    assert flag.severity == Severity.CRITICAL
    assert flag.causes[0].id == "strong_regularization"
    assert "divide it by the number of samples" in flag.fixes[0]


@pytest.mark.parametrize(
    "made",
    [
        run(0.3 * GUESS, 1000.0),  # the data are learnt beside it
        run(GUESS, 0.1),  # so little does not keep them from being learnt
        run(GUESS, 1000.0, steps_per_epoch=200),  # so far there was one epoch
    ],
)
def test_another_added_loss_is_not_blamed(made: Run) -> None:
    assert "regularizer_dominates" not in made.flags()
