"""In float16, what was seen tells a constant that is 0 from a number that grew too large."""

from __future__ import annotations

import pytest
from test_symptoms import Run, table

HALF = table({"facts": {"compute_dtype": "float16"}}, precision="mixed_float16")


def run(inputs: float, **counts: float) -> Run:
    """Every step is skipped, at any loss scale."""
    made = Run(HALF).say(loss_scale=2.0**15, skipped_steps=1.0, inputs_max_abs=inputs)
    return made.set(**{"gradient_nan_count": 3.0, "nonfinite_age": 0.0, **counts})


def cause(made: Run) -> str:
    flags = made.flags()
    return next(iter(flags.values())).causes[0].id


def test_small_numbers_only_mean_that_a_constant_is_zero() -> None:
    made = run(3.0)

    assert cause(made) == "numeric_underflow"
    assert "epsilon of 1e-4" in next(iter(made.flags().values())).fixes[0]


@pytest.mark.parametrize("made", [run(1e4), run(float("nan")), run(3.0, gradient_inf_count=2.0)])
def test_large_numbers_inputs_that_were_not_seen_and_infinities_mean_that_one_grew(
    made: Run,
) -> None:
    assert cause(made) != "numeric_underflow"
