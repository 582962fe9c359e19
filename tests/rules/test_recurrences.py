"""A recurrence whose activation has no bound is why a run explodes, not the learning rate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_symptoms import TABLE, Run, grown, thrown

from tb_gradients.flags import Flag


def recurrent(run: Run, activation: str, radius: str = "1.8", rate: float = 0.01) -> Run:
    """The run of a SimpleRNN over 30 steps, and two dense layers."""
    variables = list(run.table.variables)
    for row, role in ((0, "kernel"), (2, "recurrent_kernel")):
        variables[row] = dataclasses.replace(
            variables[row],
            path=f"rnn/rnn_cell/{role}",
            layer_class="SimpleRNNCell",
            role=role,
            activation=activation,
            facts={"spectral_radius": radius, "time_steps": "30"},
        )
    settings = {"learning_rate": str(rate)}
    run.table = dataclasses.replace(
        TABLE,
        variables=tuple(variables),
        run=dataclasses.replace(TABLE.run, optimizer="SGD", optimizer_config=settings),
    )
    return run.say(learning_rate=rate)


def broken() -> Run:
    """The loss grows for three steps and is NaN then."""
    run = Run().loss(1.5 ** np.arange(6, 86))
    run.say(20, loss_nonfinite_age=0.0).loss(np.nan, 20)
    return run.set(since=20, gradient_nan_count=3, nonfinite_age=0)


def first(run: Run) -> Flag:
    return next(iter(run.flags().values()))


RUNS = {
    "weights that jump about": lambda: thrown(1.0, 2.3 * 1.5 ** np.arange(1, 81)),
    "gradients that explode": lambda: grown(1e4, 1e3),
    "a loss that becomes NaN": broken,
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_recurrence_comes_before_the_learning_rate(kind: str) -> None:
    flag = first(recurrent(RUNS[kind](), "relu"))

    assert flag.causes[0].id == "unbounded_recurrence"
    assert "4.6e+07-fold over 30 time steps" in flag.causes[0].summary
    assert flag.fixes[0].startswith('In rnn use `activation="tanh"')


@pytest.mark.parametrize("kind", RUNS)
def test_a_bounded_activation_is_not_the_cause(kind: str) -> None:
    assert all(
        c.id != "unbounded_recurrence" for c in first(recurrent(RUNS[kind](), "tanh")).causes
    )


def test_a_rate_that_is_far_too_large_comes_first_where_the_matrix_does_not_enlarge() -> None:
    def cause(radius: str, rate: float) -> str:
        return (
            first(recurrent(RUNS["weights that jump about"](), "relu", radius, rate)).causes[0].id
        )

    assert cause("1.0", 1.0) == "learning_rate_too_large"
    assert cause("1.0", 0.01) == "unbounded_recurrence"
