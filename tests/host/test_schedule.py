"""Integer cadences are exact; the automatic one is dense early, bounded, and within budget."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tb_gradients.host.schedule import AutoSchedule, Clock, FixedSchedule, make_schedule


def frames_of(steps: int, step_seconds: float, frame_seconds: float) -> tuple[list[int], float]:
    """The steps sampled in a run of so many steps, and the seconds the frames cost."""
    schedule, taken, due, spent = AutoSchedule(), [], 0, 0.0
    while due < steps:
        taken.append(due)
        spent += frame_seconds
        due = schedule.next_due(due, due * step_seconds + spent, spent)
    return taken, spent


def test_every_n_is_every_multiple_of_n() -> None:
    schedule = FixedSchedule(10)
    assert [schedule.next_due(step, 0, 0) for step in (0, 7, 10, 19)] == [10, 10, 20, 20]


def test_a_whole_number_of_numpy_is_one_too() -> None:
    assert make_schedule(np.int64(5)).interval == 5  # type: ignore[arg-type]


def test_auto_takes_the_start_densely() -> None:
    taken, _ = frames_of(1000, 0.1, 0.001)
    assert len([step for step in taken if step < 50]) >= 40


@pytest.mark.parametrize("steps", [10_000, 1_000_000, 100_000_000])
def test_auto_writes_a_bounded_number_of_frames(steps: int) -> None:
    taken, _ = frames_of(steps, 0.01, 1e-5)
    # Gaps are whole steps, so up to step 100 every step is taken.
    assert len(taken) <= 120 + math.log(steps / 100) / math.log(1.02)


def test_auto_reports_within_two_percent_of_the_run_when_frames_are_cheap() -> None:
    taken, _ = frames_of(100_000, 0.01, 1e-4)
    gaps = [(b - a) / b for a, b in itertools.pairwise(taken) if a > 1000]
    assert max(gaps) <= 0.021


@pytest.mark.parametrize("frame_seconds", [0.005, 0.05, 0.5])
def test_auto_stays_within_its_budget(frame_seconds: float) -> None:
    steps, step_seconds = 200_000, 0.01
    _, spent = frames_of(steps, step_seconds, frame_seconds)
    budget = AutoSchedule.ALLOWANCE + AutoSchedule.BUDGET * steps * step_seconds
    assert spent <= budget + 2 * frame_seconds


@pytest.mark.parametrize("frame_seconds", [0.05, 5.0])
def test_auto_looks_at_least_whenever_the_run_has_grown_by_half(frame_seconds: float) -> None:
    taken, _ = frames_of(100_000, 0.001, frame_seconds)
    assert all(b <= 1.5 * a + 3 for a, b in itertools.pairwise(taken))


@pytest.mark.parametrize("every", [0, -3, True, 2.5, "often", None])
def test_anything_else_is_refused_with_what_would_do(every: object) -> None:
    with pytest.raises(ValueError, match='"auto" or a positive number'):
        make_schedule(every)  # type: ignore[arg-type]


def test_what_a_frame_costs_is_what_its_step_takes_longer_and_the_host() -> None:
    clock, now = Clock(), 100.0
    clock.step(now, sampled=True)  # compiles: no measure of anything
    clock.frame(3.0)
    assert clock.spent == 0
    now += 3.0
    for seconds, sampled in [(0.1, False), (0.1, False), (0.5, True)]:
        now += seconds
        clock.step(now, sampled)
    clock.frame(0.2)
    assert clock.spent == pytest.approx(0.4 + 0.2)
    assert clock.elapsed == pytest.approx(3.0 + 0.7 + 0.2)


def test_before_two_steps_nothing_is_known_of_time() -> None:
    clock = Clock()
    assert (clock.elapsed, clock.spent) == (0, 0)
    clock.step(5.0, sampled=False)
    assert clock.elapsed == 0
