"""What got better and what got worse is kept apart from what stayed as it was."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from recordings import make_flag, make_frames, make_table, turn_nonfinite, write_run

from tb_gradients import cli
from tb_gradients.comparison import compared
from tb_gradients.flags import Flag, Severity
from tb_gradients.reading.report import RunReport


def run(*flags: Flag) -> RunReport:
    return RunReport("run", 0, 9, 10, flags=flags)


CRITICAL = make_flag()
WARNING = dataclasses.replace(CRITICAL, severity=Severity.WARNING)
INFO = dataclasses.replace(CRITICAL, severity=Severity.INFO)
ELSEWHERE = make_flag(variables=["dense_1/kernel"])


@pytest.mark.parametrize(
    ("before", "after", "kinds", "worse"),
    [
        ((), (), [], False),
        ((CRITICAL,), (), ["gone"], False),
        ((), (CRITICAL,), ["new"], True),
        ((), (INFO,), ["new"], False),
        ((CRITICAL,), (CRITICAL,), ["unchanged"], False),
        ((CRITICAL,), (WARNING,), ["better"], False),
        ((WARNING,), (CRITICAL,), ["worse"], True),
        ((CRITICAL,), (ELSEWHERE,), ["new", "gone"], True),
    ],
)
def test_a_finding_is_followed_from_run_to_run(
    before: tuple[Flag, ...], after: tuple[Flag, ...], kinds: list[str], worse: bool
) -> None:
    changes = compared(run(*before), run(*after))
    assert [change.kind for change in changes] == kinds
    assert any(change.is_worse for change in changes) == worse


def test_the_command_compares_two_folders(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    frames = make_frames(table, range(120))
    good, bad = str(tmp_path / "good"), str(tmp_path / "nan")
    write_run(tmp_path / "good", table, frames)
    write_run(tmp_path / "nan", table, turn_nonfinite(frames[:60], table, 30))
    assert cli.main(["diff", bad, good]) == 0
    out = capsys.readouterr().out
    assert "verdict: critical -> healthy" in out and "gone       critical: nonfinite" in out
    assert cli.main(["diff", good, bad]) == 1
    assert "new        critical: nonfinite" in capsys.readouterr().out
    assert cli.main(["diff", good, good]) == 0
    assert cli.main(["diff", str(tmp_path), good]) == 2
    assert "holds 2 runs" in capsys.readouterr().err
