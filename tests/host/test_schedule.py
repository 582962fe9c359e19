"""Integer cadences are exact; the automatic one is dense early, bounded, and within budget."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_gradients.host.schedule import AutoSchedule, Clock, FixedSchedule, make_schedule


def frames_of(steps: int, step_seconds: float, frame_seconds: float) -> tuple[list[int], float]:
    """The steps sampled in a run of so many steps, and the seconds the frames cost."""
    schedule, taken, due, spent = AutoSchedule(), [], 0, 0.0
    while due < steps:
        taken.append(due)
        spent += frame_seconds
        due = schedule.next_due(due, due * step_seconds + spent, spent, len(taken))
    return taken, spent


def coarse_steps(first: int, last: int) -> set[int]:
    """The two steps of each octave that are always taken, after the first and up to the last."""
    octaves = [1 << octave for octave in range(last.bit_length())]
    return {s for o in octaves for s in (o, o + o // 2) if first < s <= last}


def test_every_n_is_every_multiple_of_n() -> None:
    schedule = FixedSchedule(10)
    assert [schedule.next_due(step, 0, 0) for step in (0, 7, 10, 19)] == [10, 10, 20, 20]


def test_a_whole_number_of_numpy_is_one_too() -> None:
    assert make_schedule(np.int64(5)).interval == 5  # type: ignore[arg-type]


def test_auto_takes_the_start_densely() -> None:
    taken, _ = frames_of(1000, 0.1, 0.001)
    assert len([step for step in taken if step < 64]) == 48
    plain = sorted(set(range(64)) - set(taken))
    assert {(b - a) for a, b in itertools.pairwise(plain[2:])} == {
        1,
        7,
    }  # pairs: they show the cost


@pytest.mark.parametrize("steps", [10_000, 1_000_000, 100_000_000])
def test_auto_writes_a_bounded_number_of_frames(steps: int) -> None:
    taken, _ = frames_of(steps, 0.01, 1e-5)
    assert len(taken) <= 49 + 32 * math.log2(steps / 64)


def test_auto_reports_within_three_percent_of_the_run_when_frames_are_cheap() -> None:
    taken, _ = frames_of(100_000, 0.01, 1e-4)
    gaps = [(b - a) / a for a, b in itertools.pairwise(taken) if a > 64]
    assert max(gaps) <= 1 / 32


def test_frames_that_cost_more_are_some_of_those_that_cost_less() -> None:
    costs = [1e-5, 1e-3, 1e-2, 0.1, 10.0]
    grids = [set(frames_of(20_000, 0.01, cost)[0]) for cost in costs]
    assert all(grid <= grids[0] for grid in grids)
    assert all(grids[-1] <= grid for grid in grids)
    assert len(grids[-1]) < 40


def test_where_frames_cost_less_than_8_ms_a_busy_machine_takes_the_same_ones() -> None:
    grids = [frames_of(360, load * 0.001, load * 0.0019)[0] for load in (1, 2, 4)]
    assert grids[0] == grids[1] == grids[2]
    assert len(grids[0]) > 120


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 100.0), max_size=200), st.integers(0, 10**6))
def test_whatever_the_time_says_the_coarsest_grid_is_taken(times: list[float], first: int) -> None:
    schedule, step, taken = AutoSchedule(), first, [first]
    for number, spent in enumerate(times):
        step = schedule.next_due(step, 0.01 * number, spent)
        taken.append(step)
    assert coarse_steps(first, step) <= set(taken)


@pytest.mark.parametrize("frame_seconds", [0.005, 0.05, 0.5])
def test_auto_stays_within_its_budget(frame_seconds: float) -> None:
    steps, step_seconds = 200_000, 0.01
    _, spent = frames_of(steps, step_seconds, frame_seconds)
    budget = AutoSchedule.ALLOWANCE[1] + AutoSchedule.BUDGET * steps * step_seconds
    assert spent <= budget + 2 * frame_seconds


@pytest.mark.parametrize("frame_seconds", [0.05, 5.0])
def test_auto_looks_at_least_whenever_the_run_has_grown_by_half(frame_seconds: float) -> None:
    taken, _ = frames_of(100_000, 0.001, frame_seconds)
    assert all(b <= 1.5 * a + 3 for a, b in itertools.pairwise(taken))


@pytest.mark.parametrize("every", [0, -3, True, 2.5, "often", None])
def test_anything_else_is_refused_with_what_would_do(every: object) -> None:
    with pytest.raises(ValueError, match='"auto" or a positive number'):
        make_schedule(every)  # type: ignore[arg-type]


def spent_by(clock: Clock, frames: int, load: float = 1.0) -> float:
    """What the clock says after so many frames that take 50 ms in their step and 20 ms behind it.

    Args:
        load: two of three steps and frames take so many times as long: others use the machine.
    """
    now = 100.0
    clock.step(now, sampled=True)  # compiles: no measure of anything
    clock.frame(3.0)
    for number in range(frames):
        slow = load if number % 3 else 1.0
        for seconds, sampled in [(0.1 * slow, False), (0.15 * slow, True)]:
            now += seconds
            clock.step(now, sampled)
        clock.frame(0.02 * slow)
        now += 0.02 * slow
    return clock.spent()


def test_what_a_frame_costs_is_what_its_step_takes_longer_and_the_host() -> None:
    assert spent_by(Clock(), 0) == 0
    assert spent_by(Clock(), 5) == pytest.approx(5 * 0.07)


def test_a_cost_that_changes_is_found_again() -> None:
    clock = Clock()
    spent_by(clock, 100)
    for _ in range(40):
        clock.frame(0.3)
    assert clock.spent() == pytest.approx(140 * (0.3 + 0.05))


def test_what_other_threads_do_for_frames_counts_too() -> None:
    clock = Clock()
    spent_by(clock, 5)
    assert clock.spent(0.5) == pytest.approx(5 * 0.07 + 0.5)


@pytest.mark.parametrize("load", [1.5, 4.0])
def test_a_busy_machine_does_not_raise_the_cost_of_a_frame(load: float) -> None:
    assert spent_by(Clock(), 100, load) == pytest.approx(spent_by(Clock(), 100))


def test_time_goes_on_while_frames_are_made() -> None:
    clock = Clock()
    clock.step(1.0, sampled=True)
    clock.frame(0.5)
    clock.step(2.0, sampled=False)
    assert clock.elapsed == 1.0


def test_before_two_steps_nothing_is_known_of_time() -> None:
    clock = Clock()
    assert (clock.elapsed, clock.spent()) == (0, 0)
    clock.step(5.0, sampled=False)
    assert clock.elapsed == 0
