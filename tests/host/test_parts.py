"""A part of the monitor that fails is named once, with its step and reason; the others go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from tb_gradients.flags import RuleError
from tb_gradients.host.parts import MESSAGE_LENGTH, NAMED, Parts, reason_of

NAMES = tuple("abcdef")


def fail(message: str = "boom") -> int:
    raise ValueError(message)


def test_what_works_leaves_no_trace() -> None:
    parts = Parts()
    assert parts.run("the sum", sum, [1, 2]) == 3
    assert parts.sound("the sum", sum, [1, 2], NAMES) == (3, [1, 2])
    assert parts.errors == ()


def test_a_part_that_fails_is_named_once_with_its_first_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = Parts()
    for parts.step in (7, 8, 9):
        assert parts.run("the histograms", fail) is None
    assert parts.errors == (
        RuleError("", 7, "left out since step 7: the histograms (ValueError: boom)"),
    )
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "leaves out the histograms, and goes on: ValueError: boom" in caplog.text


def test_variables_are_left_out_alone() -> None:
    parts = Parts()

    def total(rows: Sequence[int]) -> int:
        if 1 in rows or 3 in rows:
            fail()
        return sum(rows)

    assert parts.sound("the norm", total, [0, 1, 2, 3, 4], NAMES) == (6, [0, 2, 4])
    (error,) = parts.errors
    assert error.message == "left out since step 0: the norm of b, d (ValueError: boom)"


def test_what_fails_only_together_is_raised() -> None:
    def together(rows: Sequence[int]) -> int:
        return fail("too many") if len(rows) > 1 else len(rows)

    with pytest.raises(ValueError, match="too many"):
        Parts().sound("the norm", together, [0, 1, 2], NAMES)


def test_of_many_variables_only_some_are_named() -> None:
    parts = Parts()
    for name in NAMES:
        parts.leave_out("the norm", ValueError("boom"), name)
    assert f"a, b, c and {len(NAMES) - NAMED} more" in str(parts.errors[0])


def test_of_a_page_of_reasons_the_first_line_is_reported() -> None:
    assert reason_of(TypeError("first\nsecond")) == "TypeError: first"
    assert reason_of(TypeError()) == "TypeError: no message"
    assert len(reason_of(TypeError("x" * 1000))) < MESSAGE_LENGTH + 20
