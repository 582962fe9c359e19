"""The closing text says the verdict, each finding with its first advice, and where to see more."""

from __future__ import annotations

from typing import Any

import pytest
from recordings import make_flag

from tb_gradients.flags import RuleError, Severity
from tb_gradients.host import summary


@pytest.fixture(autouse=True)
def _tensorboard_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "remedy", lambda: "")


def text(*flags: Any, errors: Any = (), **changed: Any) -> str:
    known = {"frames": 12, "undecided": "", "stopped": False, "log_dir": "logs/run1"}
    return summary.summary_of(flags, errors, **{**known, **changed})


def test_a_healthy_run_is_one_line() -> None:
    assert text() == (
        "tb_gradients: healthy (12 frames, no flag). "
        "Details: tensorboard --logdir logs/run1, tab 'Gradient Health'"
    )


def test_a_run_without_a_frame_is_not_called_healthy() -> None:
    assert text(frames=0) == "tb_gradients: no update was seen, so nothing was judged."


def test_an_early_end_is_no_verdict() -> None:
    assert "undecided (too early)" in text(undecided="too early")
    assert text(stopped=True).startswith("tb_gradients: until then no flag (12 frames)")


def test_each_finding_comes_with_its_cause_and_first_fix() -> None:
    lines = text(make_flag(), make_flag("dead_units", severity=Severity.WARNING)).splitlines()

    assert lines[0] == "tb_gradients: 2 flags in 12 frames"
    assert [line for line in lines if line.startswith("  ") and "faulty since" in line] == [
        f"  {make_flag()}",
        f"  {make_flag('dead_units', severity=Severity.WARNING)}",
    ]
    assert sum("All units of the layer are silent." in line for line in lines) == 2
    assert lines[-2] == "All causes and fixes: tb-gradients check logs/run1"


def test_what_failed_comes_first() -> None:
    error = RuleError("dead_units", 3, "broken on purpose")
    assert text(errors=[error]).splitlines()[0] == f"tb_gradients: {error}"


def test_the_commands_can_be_pasted_whatever_the_folder_is_called() -> None:
    assert "--logdir 'my logs; rm -r x'" in text(log_dir="my logs; rm -r x")
    assert "\x1b" not in text(log_dir="logs\x1b[2J")


def test_a_tensorboard_that_does_not_start_comes_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "remedy", lambda: "pip install x")
    assert text().splitlines()[-1] == "  (this TensorBoard starts after: pip install x)"
