"""The probes hear which step is next: after each frame, at the end, and after a pause."""

from __future__ import annotations

import math
from typing import Any

from tb_gradients.host.parts import Parts
from tb_gradients.host.schedule import Every, make_schedule
from tb_gradients.training.pacing import BURST, MOST_BURSTS, Pacing
from tb_gradients.training.probe.ring import RING_STEPS
from tb_gradients.training.step_count import StepCount


class Announced:
    """Probes that note what is announced to them."""

    def __init__(self) -> None:
        self.schedules: list[tuple[int, ...]] = []
        self.sampling: list[bool] = []

    def schedule(self, *announced: int) -> None:
        self.schedules.append(announced)

    def select(self, sampling: bool) -> None:
        self.sampling.append(sampling)


def paced(every: Every, made: int = 0) -> tuple[Any, StepCount, Pacing]:
    steps = StepCount(Parts())
    if made:
        steps.add(made, None)
    return Announced(), steps, Pacing(make_schedule(every), steps)


def test_with_a_fixed_interval_the_device_knows_all_that_follow() -> None:
    probes, steps, pacing = paced(10, made=3)
    pacing.arm(probes, 3)
    assert probes.schedules == [(3, 10, 10)]
    steps.add(8, None)
    assert pacing.is_due
    pacing.after_frame(probes, 0.0)
    assert probes.schedules == [(3, 10, 10)]
    assert not pacing.is_due


def test_without_any_call_of_step_the_device_calls_before_its_rows_are_overwritten() -> None:
    probes, _, pacing = paced("auto")
    pacing.arm(probes, 0)
    assert probes.schedules == [(0, 0, RING_STEPS)]


def test_after_a_frame_a_later_step_is_announced() -> None:
    probes, steps, pacing = paced("auto", made=1)
    pacing.after_frame(probes, 0.0)
    (now, due) = probes.schedules[0]
    assert now == steps.next
    assert due >= steps.next


def test_the_last_step_becomes_a_frame() -> None:
    probes, _, pacing = paced("auto", made=1000)
    pacing.arm(probes, 1031)
    pacing.end_at(1009, probes)
    assert probes.schedules[-1] == (1000, 1009)


def test_but_not_the_last_one_of_a_short_further_fit() -> None:
    probes, _, pacing = paced("auto", made=1000)
    pacing.arm(probes, 1031)
    pacing.begin()
    pacing.end_at(1009, probes)
    assert probes.schedules[-1] == (1000, 1031)


def test_after_a_pause_no_step_is_due_that_was_made_before() -> None:
    probes, steps, pacing = paced("auto", made=1)
    pacing.arm(probes, 5)
    steps.add(20, None)
    pacing.resume(probes)
    assert probes.schedules[-1] == (21, 21)


def test_compiled_steps_keep_their_gradients_only_where_a_frame_is_due() -> None:
    probes, steps, pacing = paced("auto", made=1)
    pacing.arm(probes, 4)
    for _ in range(4):
        pacing.select(probes)
        steps.add(1, None)
    assert probes.sampling == [False, True]


def test_a_gradient_that_is_not_finite_makes_the_next_step_due() -> None:
    probes, steps, pacing = paced("auto", made=1)
    pacing.arm(probes, 60)
    pacing.take_next()
    steps.add(1, None)
    assert pacing.is_due


def frames_after(rates: list[float], every: Every = "auto") -> list[int]:
    """Steps in a row that become frames when the rate becomes each of these in turn."""
    probes, steps, pacing = paced(every, made=1000)
    pacing.follow_rates([1e-3], probes)
    due: list[int] = []
    for rate in rates:
        probes.schedules.clear()
        steps.add(1 + -steps.next % 16, None)  # behind a step that the schedule takes by itself
        pacing.follow_rates([rate], probes)
        while probes.schedules and probes.schedules[-1][1] == steps.next:
            due.append(steps.next)
            steps.add(1, None)
            pacing.after_frame(probes, 0.0)
    return due


def test_another_learning_rate_makes_the_next_steps_frames_whatever_they_cost() -> None:
    assert frames_after([3.0]) == list(range(1009, 1009 + BURST))
    assert frames_after([1e-5]) == list(range(1009, 1009 + BURST))


def test_a_rate_that_changes_little_or_is_unknown_does_not() -> None:
    assert frames_after([1.5e-3, 0.9e-3, math.nan]) == []


def test_small_changes_add_up() -> None:
    assert frames_after([1.5e-3, 1.9e-3, 2.1e-3]) == list(range(1041, 1041 + BURST))


def test_a_rate_that_goes_up_and_down_for_ever_takes_a_bounded_number() -> None:
    assert len(frames_after([1e-2, 1e-3] * 100)) == BURST * MOST_BURSTS


def test_where_the_interval_is_fixed_it_stays_so() -> None:
    assert frames_after([3.0], every=10) == []
