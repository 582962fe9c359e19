"""Every step is seen: what happens between two frames is in the next one, with its step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from probing import ProbedVariables

from tb_gradients.frames import Variable
from tb_gradients.training.probe.pending import OptimizerView
from tb_gradients.training.probe.ring import RING_STEPS

COMPILED = ("graph", "xla")


def constant(value: float) -> np.ndarray:
    return np.full((2, 2), value, np.float32)


@pytest.mark.parametrize("mode", COMPILED)
def test_the_largest_norm_between_two_frames_is_kept(mode: str) -> None:
    probed = ProbedVariables([constant(1)], mode, every=5)
    for value in (1, 1, 50, 1, 1, 2):
        probed.step([constant(value)])
    first, second = probed.frames()
    assert (first.step, second.step) == (0, 5)
    assert second.rows[0]["gradient_norm_max"] == 100
    assert second.rows[0]["gradient_norm"] == 4
    assert second.context["window_steps"] == 5


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("special", [math.nan, math.inf])
def test_the_first_nonfinite_step_is_a_frame_of_its_own(special: float, mode: str) -> None:
    probed = ProbedVariables([constant(1), constant(1)], mode, every=100, slots=4)
    broken = constant(1)
    broken[0, 1] = special
    for step in range(12):
        probed.step([constant(1), broken if step >= 7 else constant(1)])
    first, forced = probed.frames()
    assert (first.step, forced.step) == (0, 7)
    assert [row["nonfinite_age"] for row in forced.rows] == [-1, 0]
    counts = [row["gradient_nan_count"] + row["gradient_inf_count"] for row in forced.rows]
    assert counts == [0, 1]


@pytest.mark.parametrize("mode", COMPILED)
def test_a_nonfinite_step_that_is_not_forced_has_an_age(mode: str) -> None:
    probed = ProbedVariables([constant(1)], mode, every=10, slots=4)
    for step in range(11):
        probed.step([constant(math.nan if step in (2, 6) else 1)])
    frames = probed.frames()
    assert [frame.step for frame in frames] == [0, 2, 10]
    assert frames[-1].rows[0]["nonfinite_age"] == 4  # step 6; step 2 was a frame


@pytest.mark.parametrize("mode", COMPILED)
def test_after_rearming_the_next_nonfinite_step_forces_a_frame_again(mode: str) -> None:
    probed = ProbedVariables([constant(1)], mode, every=100, slots=8)
    for step in range(4):
        probed.step([constant(math.nan if step == 2 else 1)])
    assert [frame.step for frame in probed.frames()] == [0, 2]
    probed.probe.rearm()
    for step in range(4, 8):
        probed.step([constant(math.nan if step == 6 else 1)])
    assert [frame.step for frame in probed.frames()] == [6]


@pytest.mark.parametrize("mode", COMPILED)
def test_steps_with_a_zero_gradient_are_counted(mode: str) -> None:
    probed = ProbedVariables([constant(1)], mode, every=4)
    for value in (1, 0, 0, 1, 0):
        probed.step([constant(value)])
    frame = probed.frames()[-1]
    assert frame.rows[0]["zero_step_share"] == 0.75
    assert frame.rows[0]["gradient_zero_share"] == 1


@pytest.mark.parametrize("mode", COMPILED)
def test_a_gradient_of_none_is_distinguished_from_one_of_zero(mode: str) -> None:
    probed = ProbedVariables([constant(1), constant(1)], mode, every=3)
    for _ in range(4):
        probed.step([constant(1), None])
    connected, disconnected = probed.frames()[-1].rows
    assert (connected["none_step_share"], disconnected["none_step_share"]) == (0, 1)
    assert math.isnan(disconnected["gradient_norm"])
    assert math.isnan(disconnected["zero_step_share"])


def test_all_gradients_none_still_gives_frames() -> None:
    probed = ProbedVariables([constant(1)], "graph")
    probed.step([None])
    (frame,) = probed.frames()
    assert frame.rows[0]["none_step_share"] == 1


def test_a_variable_that_no_update_saw_is_not_measured() -> None:
    probed = ProbedVariables([constant(1), constant(1)], "graph")
    with tf.init_scope():
        pending = probed.probe.before(
            [tf.constant(constant(1))], probed.variables[:1], OptimizerView()
        )
        probed.probe.after(pending)
    (frame,) = probed.frames()
    assert all(math.isnan(value) for value in frame.rows[1].values())


@pytest.mark.parametrize("mode", COMPILED)
def test_losses_of_all_steps_are_summed_up(mode: str) -> None:
    probed = ProbedVariables([constant(1)], mode, every=4, slots=4)
    for loss in (9.0, 1.0, math.nan, 3.0, 2.0):
        probed.step([constant(1)], loss=loss)
    context = probed.frames()[-1].context
    assert context["loss"] == 2
    assert context["loss_mean"] == pytest.approx(2)
    assert (context["loss_min"], context["loss_max"]) == (1, 3)
    assert context["loss_nonfinite_age"] == 2


def test_without_a_loss_its_columns_are_not_measured() -> None:
    probed = ProbedVariables([constant(1)], "graph")
    probed.step([constant(1)])
    context = probed.frames()[0].context
    assert all(math.isnan(context[name]) for name in ("loss", "loss_mean", "loss_nonfinite_age"))


def dense(units: int) -> list[Variable]:
    return [
        Variable("d/kernel", (3, units), module="d", role="kernel", unit_axis=1, units=units),
        Variable("d/bias", (units,), module="d", role="bias", unit_axis=0, units=units),
    ]


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("with_bias", [True, False])
def test_units_that_no_batch_reaches_are_dead_after_the_window(with_bias: bool, mode: str) -> None:
    """Unit 0 is always alive, unit 1 in every third step, units 2 and 3 never."""
    described = dense(4) if with_bias else dense(4)[:1]
    weights = [np.ones(v.shape, np.float32) for v in described]
    probed = ProbedVariables(weights, mode, described=described, every=1, slots=16, unit_window=6)
    for step in range(12):
        kernel = np.zeros((3, 4), np.float32)
        kernel[1, 0] = 1e-12
        kernel[2, 1] = -1.0 if step % 3 == 0 else 0.0
        probed.step([kernel, kernel.sum(0)][: len(described)])
    shares = [frame.rows[0]["dead_unit_share"] for frame in probed.frames()]
    assert all(math.isnan(share) for share in shares[:5])
    assert shares[5:] == [0.5] * 7


def test_frames_that_are_not_fetched_in_time_give_way_to_the_newest() -> None:
    probed = ProbedVariables([constant(1)], "graph", every=1, slots=3)
    for _ in range(6):
        probed.step([constant(1)])
    assert [frame.step for frame in probed.frames()] == [0, 1, 5]


@pytest.mark.parametrize("mode", COMPILED)
def test_a_window_may_be_longer_than_the_ring_of_the_device(mode: str) -> None:
    """As long as the host follows, every step is in it: a large one, a zero one, and all losses."""
    probed = ProbedVariables([constant(1)], mode, every=2 * RING_STEPS)
    for step in range(2 * RING_STEPS + 1):
        value = {10: 50, 20: 0}.get(step, 1)
        probed.step([constant(value)], loss=float(step))
        probed.probe.fetcher.follow(1)
    frame = probed.frames()[-1]
    assert frame.step == 2 * RING_STEPS
    assert frame.context["window_steps"] == 2 * RING_STEPS
    assert frame.rows[0]["gradient_norm_max"] == 100
    assert frame.rows[0]["zero_step_share"] == 1 / (2 * RING_STEPS)
    assert frame.context["loss_min"] == 1


def test_steps_that_nobody_followed_are_counted_at_least() -> None:
    probed = ProbedVariables([constant(1)], "graph", every=2 * RING_STEPS)
    for _ in range(2 * RING_STEPS + 1):
        probed.step([constant(1)])
    first, second = probed.frames()
    assert (first.context["window_steps"], second.context["window_steps"]) == (1, 2 * RING_STEPS)
    assert second.rows[0]["gradient_norm_max"] == 2


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_of_a_frame_that_nobody_foresaw_the_update_is_not_measured(mode: str) -> None:
    large = np.ones((100, 100), np.float32)
    probed = ProbedVariables([constant(1), large], mode, every=100, slots=4)
    for step in range(3):
        broken = constant(math.nan if step == 2 else 1)
        probed.step([broken, large], [constant(0.5), 0.5 * large])
    first, forced = probed.frames()
    assert forced.step == 2
    assert [row["update_norm"] for row in first.rows] == [1, 50]
    for row in forced.rows:
        assert all(math.isnan(row[n]) for n in ("update_norm", "unchanged_share", "lost_share"))
    assert forced.rows[1]["gradient_norm"] == 100
    assert forced.rows[1]["weight_norm"] == pytest.approx(250)
