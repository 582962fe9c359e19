"""Losses and batches that a loop passes: of due steps and of the last ones, within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.training import recent
from tb_gradients.training.recent import KEPT_LOSSES, RecentBatches, RecentLosses

Described = dict[str, float]


def described(batches: RecentBatches, step: int) -> Described:
    context = np.full(len(schema.context_names()), np.nan, np.float32)
    batches.fill(step, context)
    named = dict(zip(schema.context_names(), map(float, context), strict=True))
    return {name: value for name, value in named.items() if not np.isnan(value)}


def batch_of(value: float, rows: int = 10) -> Any:
    return np.full((rows, 3), value, np.float32)


def test_each_frame_gets_the_batch_of_its_own_step() -> None:
    batches = RecentBatches()
    for step in range(5):
        batches.add(step, batch_of(step), None, None)
    assert described(batches, 3)["inputs_mean"] == 3
    assert described(batches, 4)["inputs_mean"] == 4
    assert described(batches, 9) == {}
    batches.clear()
    assert described(batches, 4) == {}


def test_tensors_arrays_lists_and_structures_are_read_alike() -> None:
    x, y = np.float32([[1, 2], [3, 4], [5, 9]]), np.int64([1, 0, 1])
    batches = RecentBatches()
    batches.add(0, x, y, None)
    batches.add(1, tf.constant(x), tf.constant(y), None)
    batches.add(2, x.tolist(), y.tolist(), None)
    batches.add(3, {"a": x}, (y,), None)
    expected = described(batches, 0)
    assert expected["targets_majority_share"] == pytest.approx(2 / 3)
    assert all(described(batches, step) == expected for step in (1, 2, 3))


def test_batches_of_other_lengths_are_not_traced_again() -> None:
    batches = RecentBatches()
    for rows in (10, 7, 3):
        batches.add(rows, batch_of(1, rows), batch_of(2, rows), batch_of(3, rows))
        assert described(batches, rows)["predictions_max"] == 3
    assert len(batches._functions) == 1


def test_what_the_training_step_has_measured_stays() -> None:
    batches = RecentBatches()
    batches.add(0, batch_of(1), batch_of(2), None)
    context = np.full(len(schema.context_names()), np.nan, np.float32)
    at = schema.context_names().index
    context[at("inputs_mean")] = 7
    batches.fill(0, context)
    assert (context[at("inputs_mean")], context[at("targets_mean")]) == (7, 2)


def test_no_more_is_kept_than_allowed_and_always_the_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recent, "KEPT_BYTES", 3 * batch_of(0).nbytes)
    batches = RecentBatches()
    for step in range(20):
        batches.add(step, batch_of(step), None, None)
    assert [bool(described(batches, step)) for step in range(15, 20)] == [False] + 4 * [True]
    batches.add(20, batch_of(20, rows=10_000), None, None)
    assert described(batches, 20)["inputs_mean"] == 20
    batches.add(21, batch_of(21), None, None)
    assert described(batches, 20) == {}


# --- losses ---------------------------------------------------------------------------------


def losses_of(losses: RecentLosses, step: int) -> Described:
    context = np.full(len(schema.context_names()), np.nan, np.float32)
    losses.fill(step, context, losses.take())
    named = dict(zip(schema.context_names(), map(float, context), strict=True))
    return {name: value for name, value in named.items() if not np.isnan(value)}


def test_a_frame_gets_the_losses_since_the_one_before() -> None:
    losses = RecentLosses()
    for step, loss in enumerate([1.0, np.float64(3.0), tf.constant([4.0, 6.0]), 7]):
        losses.add(step, loss)
    two = {"loss": 3, "loss_mean": 2, "loss_min": 1, "loss_max": 3, "loss_nonfinite_age": -1}
    assert losses_of(losses, 1) == two
    assert losses_of(losses, 3) == {**two, "loss": 7, "loss_mean": 6, "loss_min": 5, "loss_max": 7}
    assert losses_of(losses, 9) == {}


def test_a_nan_among_them_keeps_its_step_and_leaves_the_mean_alone() -> None:
    losses = RecentLosses()
    for step, loss in enumerate([1.0, np.nan, 2.0, 3.0]):
        losses.add(step, loss)
    reported = losses_of(losses, 3)
    assert (reported["loss_nonfinite_age"], reported["loss_mean"]) == (2, 2)


def test_what_the_step_shows_itself_stays() -> None:
    losses = RecentLosses()
    losses.add(0, 5.0)
    context = np.ones(len(schema.context_names()), np.float32)
    losses.fill(0, context, losses.take())
    assert (context == 1).all()


def test_of_very_many_losses_the_latest_are_kept() -> None:
    losses = RecentLosses()
    for step in range(KEPT_LOSSES + 5):
        losses.add(step, float(step))
    assert losses_of(losses, KEPT_LOSSES + 5)["loss_min"] == 5


def test_what_is_no_loss_is_reported() -> None:
    losses = RecentLosses()
    losses.add(0, "low")
    with pytest.raises(TypeError, match="a scalar tensor or a number, not str"):
        losses_of(losses, 0)
