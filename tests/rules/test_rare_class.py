"""A rare class that no prediction tells from the other is reported, whatever the loss does."""

from __future__ import annotations

import numpy as np
import pytest
from test_symptoms import Run, table

from tb_gradients.flags import Severity

STEPS = 300
RANDOM = np.random.default_rng(0)


def run(separation: float, share: float = 0.003, **facts: int) -> Run:
    """One batch in ten holds the rare class; the loss comes down to that of guessing."""
    made = Run(table(loss="binary_crossentropy", **facts), STEPS)
    made.loss(0.02 + np.exp(-np.arange(STEPS) / 30))
    gaps = np.where(
        np.arange(STEPS) % 10 == 0, separation + 0.3 * RANDOM.normal(size=STEPS), np.nan
    )
    made.say(targets_mean=share, targets_std=np.sqrt(share), targets_majority_share=1 - share)
    return made.say(predictions_separation=gaps)


def test_a_rare_class_that_no_prediction_shows_is_a_warning() -> None:
    flag = run(0.0).flags()["not_learning"]

    assert flag.severity == Severity.WARNING
    assert flag.causes[0].id == "class_imbalance"
    assert "did not tell the rare class" in flag.summary
    assert "class_weight={0: 1.0, 1: 3" in flag.fixes[0]


@pytest.mark.parametrize(
    "made",
    [
        run(3.0),  # it is reported
        run(0.0, share=0.3),  # it is not rare
        run(0.0, steps_per_epoch=200),  # so far there was one epoch
    ],
)
def test_no_other_run_gets_a_warning(made: Run) -> None:
    assert not any(flag.severity > Severity.INFO for flag in made.flags().values())
