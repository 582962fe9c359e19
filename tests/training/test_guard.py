"""No failure leaves the guard: the first one ends the monitor, and is reported once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tb_gradients.host.backlog import Backlog
from tb_gradients.host.parts import Parts
from tb_gradients.training.guard import Guard


class Watched:
    """A guard, with a record of what it does."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.parts, self.backlog = Parts(), Backlog()
        self.guard = Guard(self.parts, self.backlog, self.done.append)


def fail() -> None:
    raise ValueError("broken on purpose")


def test_what_works_gives_its_result() -> None:
    assert Watched().guard.run(max, 1, 2) == 2


def test_after_the_first_failure_nothing_is_done_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched()
    with caplog.at_level(logging.WARNING, "tb_gradients"):
        assert one.guard.run(fail) is None
        assert one.guard.run(fail) is None
        assert one.guard.run(max, 1, 2) is None
    assert one.guard.failed
    (record,) = caplog.records
    assert record.getMessage() == (
        "tb_gradients stopped monitoring, training goes on: ValueError: broken on purpose"
    )
    assert [type(error) for error in one.done] == [ValueError]


def test_what_waits_is_done_before_the_end_is_written() -> None:
    one = Watched()
    one.backlog.add(lambda: one.done.append("a frame"), wait=False)
    one.guard.run(fail)
    assert one.done[0] == "a frame"
    assert isinstance(one.done[1], ValueError)
    one.backlog.close()


def test_an_optional_part_that_fails_ends_nothing() -> None:
    one = Watched()
    assert one.guard.part("the sum", fail) is None
    assert not one.guard.failed
    assert "the sum" in str(one.parts.errors[0])
    assert one.guard.run(max, 1, 2) == 2


def test_keyboard_interrupts_are_not_failures() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    one = Watched()
    with pytest.raises(KeyboardInterrupt):
        one.guard.run(interrupt)
    assert not one.guard.failed
