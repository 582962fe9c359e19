"""A bias that one step throws far beyond what its layer gives is reported, if nothing is learnt."""

from __future__ import annotations

import numpy as np
import pytest
from test_symptoms import STEPS, Run

BIAS = [3]


def thrown(by: float, gradient: float = 1e4) -> Run:
    """At step 30 the bias of the second layer moves by so much per element."""
    run = Run().stuck()
    run.set(BIAS, update_norm=4 * by, gradient_norm=gradient, since=30)
    return run.set(BIAS, update_norm=4e-3, gradient_norm=0.5, since=31)


def test_the_step_and_the_steep_place_are_named() -> None:
    flag = thrown(450.0).flags()["update_too_large"]

    assert (flag.first_step, flag.variables) == (30, ("dense_1/bias",))
    assert flag.causes[0].id == "numeric_overflow"
    assert "epsilon" in flag.fixes[0]


def test_without_a_steep_place_it_is_the_rate() -> None:
    flag = thrown(450.0, gradient=3.0).flags()["update_too_large"]

    assert flag.causes[0].id == "learning_rate_too_large"


@pytest.mark.parametrize(
    "run",
    [
        thrown(1.0),
        thrown(450.0).say(targets_max_abs=1e3),  # a bias that has to get there
        thrown(450.0).loss(np.linspace(2.7, 0.1, STEPS)),  # it learns all the same
    ],
)
def test_other_biases_are_not(run: Run) -> None:
    assert "update_too_large" not in run.flags()
