"""The live table of runs: what it shows, when it reads, how it ends."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import recordings as made

from tb_gradients import cli
from tb_gradients.console import Console
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.watch_runs import Row, Runs, Screen, table

TABLE = made.make_table(2)
FRAMES = made.make_frames(TABLE, range(120))
NAN = made.turn_nonfinite(FRAMES[:60], TABLE, 30)
CONSOLE = Console(width=90)


@pytest.fixture(name="logs")
def _logs(tmp_path: pathlib.Path) -> pathlib.Path:
    made.write_run(tmp_path / "good", TABLE, FRAMES)
    made.write_run(tmp_path / "nan", TABLE, NAN)
    return tmp_path


def test_a_run_has_its_verdict_step_age_and_worst_finding(logs: pathlib.Path) -> None:
    nan, good = Runs(str(logs)).rows()
    assert (nan.run, nan.verdict, nan.step) == ("nan", "critical", 59)
    assert nan.finding.startswith("nonfinite_")
    assert (good.run, good.verdict, good.step, good.finding) == ("good", "healthy", 119, "")
    head, first, second = table([nan, good], made.START + 12, CONSOLE)
    assert head.split() == ["verdict", "run", "step", "age", "finding"]
    assert first.split()[:5] == ["critical", "nan", "59", "6", "s"]
    assert second.split() == ["healthy", "good", "119", "0", "s"]
    assert all(len(line) <= 90 for line in (head, first, second))


def test_what_has_not_grown_is_not_read_again(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reads = EventFileSource.read, []

    def read(self: EventFileSource, run: str, **options: Any) -> Any:
        reads.append(run)
        return real(self, run, **options)

    monkeypatch.setattr(EventFileSource, "read", read)
    runs = Runs(str(logs))
    runs.rows()
    runs.rows()
    assert reads == ["good", "nan"]
    later = made.make_frame(TABLE, 120)
    made.write_events(logs / "good", [made.frame_event(later, TABLE)])
    assert {row.run: row.step for row in runs.rows()} == {"good": 120, "nan": 59}
    assert reads == ["good", "nan", "good"]


def test_a_run_that_cannot_be_read_hides_no_other(logs: pathlib.Path) -> None:
    made.write_events(logs / "new", [made.table_event(TABLE, format_version=2)])
    new, *others = Runs(str(logs)).rows()
    assert (new.run, new.verdict) == ("new", "")
    assert "pip install -U tb-gradients" in new.finding
    assert [row.run for row in others] == ["nan", "good"]


def test_the_table_fits_the_terminal_and_no_name_can_harm_it() -> None:
    rows = [Row(f"\x1b[31m{'long' * 30}{i}", "warning", i, 0.0, "why\n" * 99) for i in range(50)]
    lines = table(rows, 0.0, Console(width=60), height=10)
    assert len(lines) == 10
    assert lines[-1] == "and 42 more"
    assert all(len(line) <= 60 and line.isprintable() for line in lines)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_is_drawn_again_in_its_place() -> None:
    stream = Terminal()
    screen = Screen(stream, CONSOLE, 20)
    screen.show([], "nothing yet", 0.0)
    screen.show([Row("a", "healthy", 1, 0.0), Row("b", "healthy", 1, 0.0)], "", 0.0)
    before = len(stream.getvalue())
    screen.show([Row("a", "critical", 2, 0.0, "x: y")], "", 0.0)
    assert stream.getvalue()[before:].startswith("\x1b[3F\x1b[J" + "verdict")
    assert "nothing yet\n\x1b[1F\x1b[J" in stream.getvalue()


def test_elsewhere_there_is_a_line_for_each_change() -> None:
    stream = io.StringIO()
    screen = Screen(stream, CONSOLE, 20)
    for number in (1, 2):
        screen.show([], "nothing yet", 0.0)
        screen.show([Row("a", "warning", number, 0.0, f"dead since step 0: {number} units")], "", 0)
    screen.show([Row("a", "critical", 3, 0.0, "nan since step 3: all")], "", 0.0)
    assert stream.getvalue().splitlines() == [
        "nothing yet",
        "warning  a at step 1: dead since step 0: 1 units",
        "critical  a at step 3: nan since step 3: all",
    ]


def interrupted_after(looks: int, between: Callable[[], object] = lambda: None) -> Any:
    """A clock that is not waited for: Ctrl-C comes in the pause after so many looks."""
    left = [looks]

    def sleep(seconds: float) -> None:
        assert seconds == 5
        left[0] -= 1
        between()
        if not left[0]:
            raise KeyboardInterrupt

    return sleep


@pytest.mark.parametrize(
    ("folder", "options", "status"),
    [("good", [], 0), ("nan", [], 1), ("nan", ["--fail-on", "never"], 0), ("", [], 1)],
)
def test_ctrl_c_ends_with_the_exit_status_of_check(
    logs: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    options: list[str],
    status: int,
) -> None:
    monkeypatch.setattr("time.sleep", interrupted_after(3))
    assert cli.main(["watch", str(logs / folder), *options]) == status
    assert "at step" in capsys.readouterr().out


def test_it_waits_for_a_folder_that_does_not_exist_yet(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train() -> None:
        if not (tmp_path / "logs").exists():
            made.write_run(tmp_path / "logs", TABLE, FRAMES)

    monkeypatch.setattr("time.sleep", interrupted_after(2, train))
    assert cli.main(["watch", str(tmp_path / "logs")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("There is no run below")
    assert second.startswith("healthy  this folder at step 119")


def test_once_looks_once(logs: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(logs), "--once"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main(["watch", str(logs / "none"), "--once"]) == 2


def test_wrong_arguments_are_one_line(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["watch", str(logs), "--interval", "0"])
    assert "must be 0.1 to 86400 seconds" in capsys.readouterr().err
    file = logs / "file"
    file.write_text("")
    assert cli.main(["watch", str(file)]) == 2
    assert "is a file" in capsys.readouterr().err
