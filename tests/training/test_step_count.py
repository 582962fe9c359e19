"""Steps are counted by calls; files and flags show the numbers that the user gives them."""

from __future__ import annotations

from tb_gradients.host.parts import Parts
from tb_gradients.training.step_count import StepCount


def test_steps_are_counted_from_zero() -> None:
    steps = StepCount(Parts())
    assert steps.add(1, None) == 0
    assert steps.add(3, None) == 3
    assert (steps.next, steps.calls, steps.reported) == (4, 2, 4)
    assert steps.shown(4) == 4


def test_the_first_number_that_the_user_gives_decides() -> None:
    steps = StepCount(Parts())
    steps.add(1, None)
    assert not steps.is_renumbered
    assert steps.add(1, 101) == 1
    assert steps.is_renumbered
    steps.add(1, 7)
    assert steps.shown(2) == 102


def test_what_fails_is_noted_with_the_number_that_is_shown() -> None:
    parts = Parts()
    steps = StepCount(parts)
    steps.add(1, 100)
    assert parts.step == 101
    steps.go_to(50)
    assert parts.step == 150
