"""Several folders are one report, the rules a list, and GitHub shows what was found."""

from __future__ import annotations

import pathlib
import re

import pytest
from recordings import write_good_and_nan

from tb_gradients import cli
from tb_gradients.annotations import github_annotations
from tb_gradients.flags import Flag, Origin, Severity
from tb_gradients.judging import all_rules
from tb_gradients.reading.report import Report, RunReport


@pytest.fixture(name="logs")
def _logs(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_good_and_nan(tmp_path)


def test_github_gets_a_line_per_flag(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(logs), "--format", "github"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(re.match(r"::(error|warning|notice) title=", line) for line in lines)
    assert any(line.startswith("::error ") and "(nan)" in line for line in lines)
    assert cli.main(["check", str(logs), "--format", "github", "--fail-on", "never"]) == 0
    assert "::error" not in capsys.readouterr().out


def test_a_name_cannot_begin_another_annotation() -> None:
    odd = "a\n::error::b,c:d%0A\x1b[31m"
    origin = Origin("Log", file="train.py", line=7)
    flag = Flag("zero_gradient", Severity.WARNING, (odd,), 0, 1, True, odd, origin=origin)
    run = RunReport(odd, 0, 1, 2, flags=(flag,))
    (line,) = github_annotations(Report((run,)), Severity.CRITICAL).splitlines()
    assert line.startswith("::warning title=")
    assert ",file=train.py,line=7::" in line
    assert line.isprintable()
    properties = line[2:].split("::")[0]
    assert properties.count(",") == 2 and "%3A%3Aerror" in properties


def test_several_folders_and_patterns_are_one_report(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, nan = str(logs / "good"), str(logs / "nan")
    assert cli.main(["check", good, good]) == 0
    assert cli.main(["check", good, nan]) == 1
    out = capsys.readouterr().out
    assert f"CRITICAL  {nan}" in out and "2 runs:" in out
    assert cli.main(["check", str(logs / "[gn]*")]) == 1
    assert "2 runs:" in capsys.readouterr().out
    assert cli.main(["check", str(logs / "none*")]) == 2
    assert "no folder matches" in capsys.readouterr().err


def test_the_rules_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [rule.id for rule in all_rules()]
