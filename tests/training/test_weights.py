"""Weights between steps: unchanged ones are found without any update, and changed ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.training.weights import IDLE_STEPS, Weights


@pytest.fixture(name="variables")
def _variables() -> list[tf.Variable]:
    return [tf.Variable([3.0, 4.0]), tf.Variable([[1.0]])]


def watching(variables: list[tf.Variable]) -> Weights:
    weights = Weights()
    weights.watch(variables)
    return weights


def test_weights_that_stay_are_reported_again_and_again(variables: list[tf.Variable]) -> None:
    weights = watching(variables)
    assert weights.unchanged(1) is None
    assert weights.unchanged(IDLE_STEPS) is None, "too early"
    for step in (IDLE_STEPS + 1, 2 * IDLE_STEPS + 1):
        found = weights.unchanged(step)
        assert found is not None
        steps, norms = found
        assert steps == IDLE_STEPS
        np.testing.assert_array_equal(norms, [5.0, 1.0])


def test_weights_that_change_are_not_compared_any_more(variables: list[tf.Variable]) -> None:
    weights = watching(variables)
    weights.unchanged(1)
    variables[0].assign([0.0, 4.0])
    assert all(weights.unchanged(step) is None for step in range(IDLE_STEPS, 10 * IDLE_STEPS))


def test_only_variables_without_an_update_get_their_norm(variables: list[tf.Variable]) -> None:
    values = np.full((2, len(schema.statistic_names())), np.nan, np.float32)
    values[0, schema.statistic_names().index("none_step_share")] = 0.0
    watching(variables).fill_others(values)
    norms = values[:, schema.statistic_names().index("weight_norm")]
    np.testing.assert_array_equal(norms, [np.nan, 1.0])
