"""The command line, as a user or a CI job meets it."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from recordings import (
    make_frames,
    make_table,
    turn_missing,
    turn_nonfinite,
    write_good_and_nan,
    write_run,
)

from tb_gradients import __version__, cli
from tb_gradients.console import ProgressLine, wants_colour
from tb_gradients.frames import Recording
from tb_gradients.judging import all_rules, judge
from tb_gradients.reading import event_files


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_good_and_nan(tmp_path)


def test_check_distinguishes_the_faulty_from_the_healthy(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(logs)]) == 1

    out = capsys.readouterr().out
    assert out.index("CRITICAL  nan") < out.index("HEALTHY  good")
    assert "critical: nonfinite_gradient, since step 29" in out
    assert re.search(r"\d+ rules: \d+ passed, \d+ not seen\.", out)
    assert out.endswith("2 runs: 1 critical, 1 without a warning.\n")
    assert "\x1b" not in out


def test_a_healthy_folder_passes(logs: pathlib.Path) -> None:
    assert cli.main(["check", str(logs / "good")]) == 0


def test_json_is_the_report(logs: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(logs), "--format", "json"]) == 1

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not strict JSON")

    report = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert report["schema"] == 1
    assert [run["run"] for run in report["runs"]] == ["good", "nan"]
    flag = report["runs"][1]["flags"][0]
    assert flag["severity"] == "critical"
    assert flag["evidence"][0].keys() == {"name", "value", "threshold"}


@pytest.mark.parametrize(("fail_on", "status"), [("critical", 0), ("warning", 1), ("never", 0)])
def test_fail_on_decides_from_which_severity(
    tmp_path: pathlib.Path, fail_on: str, status: int
) -> None:
    table = make_table()
    frames = make_frames(table, range(40))
    column = table.statistics.index("none_step_share")
    for frame in frames:
        frame.values[2:4, column] = 1  # in the middle of the model: a warning
    write_run(tmp_path, table, frames)

    assert cli.main(["check", str(tmp_path), "--fail-on", fail_on]) == status


def test_rules_can_be_switched_off_by_file(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    settings = {f"nonfinite_{what}": False for what in ("gradient", "weight", "loss")}
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(settings))

    assert cli.main(["check", str(logs / "nan"), "--rules", str(file)]) == 0


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ('{"no_such_rule": false}', "known: bad_data"),
        ('{"dead_units": {"shaer": 1}}', "known: share"),
        ('{"dead_units": {"share": "much"}}', "must be a number"),
        ("[]", "must hold an object"),
        ("{", "is not JSON"),
        ("\ufeff[]", "must hold an object"),  # as Windows' own editors and shell begin a file
    ],
)
def test_unusable_settings_are_one_line_with_the_remedy(
    logs: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    reported: str,
) -> None:
    file = tmp_path / "rules.json"
    file.write_text(text)

    assert cli.main(["check", str(logs), "--rules", str(file)]) == 2
    assert_one_line(capsys, reported)


def test_a_missing_folder_is_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 2
    assert_one_line(capsys, "no folder")


def test_a_folder_without_our_data_is_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(tmp_path)]) == 2
    assert_one_line(capsys, "GradientHealth")


def test_a_run_without_frames_is_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, make_table(), [])

    assert cli.main(["check", str(tmp_path)]) == 2
    assert_one_line(capsys, "first step")


def test_a_folder_that_may_not_be_read_is_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(tmp_path / ("long" * 99))]) == 2
    assert_one_line(capsys, "name too long")


def test_folders_of_other_file_systems_are_checked(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Elsewhere(event_files._Local):
        def __getattribute__(self, name: str) -> Any:
            method = object.__getattribute__(self, name)
            return lambda path: method(path.removeprefix("bucket:/"))

    monkeypatch.setattr(event_files, "_remote", lambda path: Elsewhere())

    assert cli.main(["check", f"bucket://{logs}"]) == 1
    assert "CRITICAL  nan" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_no_verdict(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def fileno(self) -> int:
            raise OSError

    monkeypatch.setattr(sys, "stdout", Full())

    assert cli.main(["check", str(logs)]) == 2
    assert capsys.readouterr().err == "tb-gradients: [Errno 28] No space left on device\n"


def assert_one_line(capsys: pytest.CaptureFixture[str], reported: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tb-gradients: ")
    assert captured.err.count("\n") == 1
    assert reported in captured.err


def test_rules_prints_every_rule_and_cause(capsys: pytest.CaptureFixture[str]) -> None:
    from tb_gradients.judging import rule_book

    assert cli.main(["rules"]) == 0

    out = capsys.readouterr().out
    book = rule_book()
    for item in (*book["rules"], *book["causes"]):
        assert item["id"] in out
    assert cli.main(["rules", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == book


def test_rules_prints_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules", "dead_units"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("dead_units")
    assert "No finding when:" in out
    assert "zero_gradient  " not in out


def test_an_unknown_rule_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules", "deadunits"]) == 2
    assert_one_line(capsys, "dead_units")


class Terminal:
    def __init__(self, tty: bool) -> None:
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize(
    ("tty", "environment", "colour"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_only_where_it_is_wanted(
    tty: bool, environment: dict[str, str], colour: bool
) -> None:
    stream: Any = Terminal(tty)

    assert wants_colour(stream, environment) is colour


def test_progress_is_shown_on_a_terminal_alone_and_goes_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ProgressLine, "SECONDS", 0.0)
    for tty in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda tty=tty: tty)
        with ProgressLine(stream, "judged") as line:
            line.update(3, 4)
            shown = stream.getvalue()
        assert shown == ("\rjudged 3 of 4 runs [#####################       ]" if tty else "")
        assert re.fullmatch(r"\r[^\r]+\r +\r" if tty else "", stream.getvalue())


@pytest.mark.parametrize("option", [["--rejudge"], ["--jobs", "2"], ["--jobs", "1"]])
def test_how_runs_are_judged_changes_no_word(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert cli.main(["check", str(logs)]) == 1
    expected = capsys.readouterr()
    assert cli.main(["check", str(logs), *option]) == 1
    assert capsys.readouterr() == expected
    assert expected.err == ""


def test_a_number_of_processes_is_positive(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", str(logs), "--jobs", "0"])
    assert "must be a positive number of processes, not '0'" in capsys.readouterr().err


def test_colour_changes_no_word(logs: pathlib.Path) -> None:
    from tb_gradients.console import Console
    from tb_gradients.reading.report import load

    report = load(logs)
    plain, painted = (Console(colour=c).report(report) for c in (False, True))

    assert painted != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain


def test_closed_flags_say_that_they_are_over(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    frames = make_frames(table, range(80))
    write_run(tmp_path, table, [*turn_missing(frames[:40], table, [0]), *frames[40:]])

    assert cli.main(["check", str(tmp_path)]) == 1
    assert "over now" in capsys.readouterr().out


def test_the_command_runs_as_a_program_and_survives_a_closed_pipe(logs: pathlib.Path) -> None:
    command = f'"{sys.executable}" -m tb_gradients.cli check "{logs}" | head -1'
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.startswith("CRITICAL")
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-8"])
def test_what_a_code_page_lacks_is_escaped(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    (logs / "nan").rename(logs / "ü\U0001f525")
    out = code_page(monkeypatch, encoding)

    assert cli.main(["check", str(logs)]) == 1
    assert cli.main(["rules"]) == 0
    assert "CRITICAL  ü\U0001f525".encode(encoding, "backslashreplace") in out.getvalue()


@pytest.mark.parametrize("form", ["html", "junit"])
def test_documents_are_utf_8_as_they_say_whatever_the_code_page(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (logs / "nan").rename(logs / "ü\U0001f525")
    out = code_page(monkeypatch, "cp1252")

    assert cli.main(["check", str(logs), "--format", form]) == 1
    assert "ü\U0001f525" in out.getvalue().decode("utf-8")


def code_page(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """What is printed from now on, in that encoding."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, write_through=True))
    return out


def test_names_cannot_steer_the_terminal(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    [kernel, *others] = table.variables
    hostile = dataclasses.replace(kernel, path="\x1b[2Jdense\x07/kernel")
    table = dataclasses.replace(table, variables=(hostile, *others))
    frames = turn_nonfinite(make_frames(table, range(60)), table, 30)
    write_run(tmp_path / "\x1b]0;title\nHEALTHY", table, frames)

    cli.main(["check", str(tmp_path)])

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"CRITICAL  \x1b]0;title\nHEALTHY" in out
    assert r"\x1b[2Jdense\x07/kernel" in out


def test_a_run_without_frames_is_not_called_healthy(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(logs / "attached", make_table(), [])

    assert cli.main(["check", str(logs)]) == 1
    out = capsys.readouterr().out
    assert "NOT JUDGED  attached" in out
    assert out.endswith("3 runs: 1 critical, 1 without a warning, 1 not judged.\n")
    assert cli.main(["check", str(logs), "--format", "html"]) == 1
    assert "<b>not judged</b> attached" in capsys.readouterr().out


def test_damage_takes_no_rule_away(logs: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(logs / "good")]) == 0
    [whole] = states(capsys)
    [file] = (logs / "good").iterdir()
    file.write_bytes(file.read_bytes() + b"\xff" * 64)

    assert cli.main(["check", str(logs / "good")]) == 0
    assert states(capsys) == [whole]


def states(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.split("\n") if "rules:" in line]


# --- Too little was seen --------------------------------------------------------------------

SHORT = make_frames(make_table(), range(9))
EARLY = judge([Recording.from_frames(make_table(), SHORT)]).undecided


@pytest.fixture
def short(tmp_path: pathlib.Path) -> pathlib.Path:
    """A run of nine steps without a fault."""
    write_run(tmp_path / "short", make_table(), SHORT)
    return tmp_path


def test_a_run_that_is_too_short_is_undecided_and_not_healthy(
    short: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(short)]) == 0

    out = capsys.readouterr().out
    assert "UNDECIDED  short" in out
    assert re.fullmatch(r"too early to tell: 9 steps; \d+ of \d+ rules need 10 to 100", EARLY)
    assert f"\n  {EARLY}.\n" in out
    assert re.search(r"rules: \d+ passed, \d+ not yet, \d+ not seen\.", out)
    assert out.endswith("1 run: 1 undecided.\n")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--fail-on", "undecided"], 1),
        (["--fail-on", "warning"], 0),
        (["--fail-on", "never"], 0),
        (["--min-steps", "9"], 0),
        (["--min-steps", "10"], 1),
        (["--min-steps", "10", "--fail-on", "never"], 0),
    ],
)
def test_whether_an_undecided_run_fails_is_chosen(
    short: pathlib.Path, options: list[str], status: int
) -> None:
    assert cli.main(["check", str(short), *options]) == status


def test_a_healthy_run_shorter_than_required_is_undecided(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(logs / "good")
    assert cli.main(["check", good, "--min-steps", "120", "--fail-on", "undecided"]) == 0
    assert cli.main(["check", good, "--min-steps", "121"]) == 1
    assert "120 steps were seen, 121 are required." in capsys.readouterr().out


@pytest.mark.parametrize("steps", ["0", "-3", "many", "1.5"])
def test_a_required_number_of_steps_that_is_none_is_one_line(
    short: pathlib.Path, capsys: pytest.CaptureFixture[str], steps: str
) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["check", str(short), f"--min-steps={steps}"])

    assert done.value.code == 2
    assert f"must be a positive number of steps, not '{steps}'" in capsys.readouterr().err


def test_a_warning_outranks_that_it_is_early(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    write_run(tmp_path, table, turn_nonfinite(make_frames(table, range(9)), table, 5))

    assert cli.main(["check", str(tmp_path)]) == 1

    out = capsys.readouterr().out
    assert out.startswith("CRITICAL")
    assert "not complete: too early to tell: 9 steps" in out


def test_json_has_the_verdict_and_the_state_of_each_rule(
    short: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(short), "--format", "json"]) == 0

    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert (run["verdict"], run["undecided"]) == ("undecided", EARLY)
    states = {rule["rule"]: (rule["state"], rule["reason"]) for rule in run["rules"]}
    assert set(states) == {rule.id for rule in all_rules()}
    assert states["nonfinite_gradient"] == ("passed", "")
    assert states["not_learning"] == ("not_yet", "needs 100 losses; 9 were seen")
    assert states["gradient_underflow"][0] == "not_seen"


def test_junit_skips_an_undecided_run_unless_it_fails(
    short: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cases(*options: str) -> tuple[ElementTree.Element, ElementTree.Element]:
        cli.main(["check", str(short), "--format", "junit", *options])
        suite = ElementTree.fromstring(capsys.readouterr().out).find("testsuite")
        assert suite is not None
        return suite, suite[0][0]

    suite, skipped = cases()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")
    assert (skipped.tag, skipped.get("message")) == ("skipped", EARLY)
    suite, failure = cases("--fail-on", "undecided")
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "0")
    assert (failure.tag, failure.get("type")) == ("failure", "undecided")
    assert failure.get("message") == EARLY


def test_html_folds_the_rules_that_passed_and_no_other(
    short: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(short), "--format", "html"]) == 0

    page = capsys.readouterr().out
    assert '<b class="undecided">undecided</b> short' in page
    assert f"<p>{EARLY}.</p>" in page
    assert re.search(r"<details><summary>\d+ rules passed</summary>", page)
    assert re.search(r"<details open><summary>\d+ rules not yet: more steps are needed<", page)
    assert "<code>not_learning</code>: needs 100 losses; 9 were seen" in page


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])

    assert done.value.code == 0
    assert __version__ in capsys.readouterr().out


# --- Documents ------------------------------------------------------------------------------


def test_junit_is_a_test_case_per_run_and_a_failure_per_flag(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(logs), "--format", "junit"]) == 1

    suite = ElementTree.fromstring(capsys.readouterr().out).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    good, faulty = suite.findall("testcase")
    assert (good.get("name"), good.findall("failure")) == ("good", [])
    [failure] = faulty.findall("failure")
    assert failure.get("type") == "critical.nonfinite_gradient"
    assert "step 29" in failure.get("message", "")
    assert "try: " in (failure.text or "")


def test_junit_of_a_check_that_never_fails_has_no_failure_and_shows_all_the_same(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(logs), "--format", "junit", "--fail-on", "never"]) == 0

    root = ElementTree.fromstring(capsys.readouterr().out)
    assert root.findall(".//failure") == []
    [output] = root.findall(".//system-out")
    assert "nonfinite_gradient" in (output.text or "")


def test_junit_takes_folders_whose_names_are_no_text(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "latin-1 \udcfc", make_table(), make_frames(make_table(), range(9)))

    assert cli.main(["check", str(tmp_path), "--format", "junit"]) == 0

    [case] = ElementTree.fromstring(capsys.readouterr().out).iter("testcase")
    assert case.get("name") == r"latin-1 \udcfc"


class Page(HTMLParser):
    """Collects tags, what they refer to, and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("href", "src")]
        self.ids |= {v or "" for k, v in attrs if k == "id"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_page_that_refers_to_nothing_else(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    odd = "<b>a & b"
    write_run(tmp_path / odd, table, turn_nonfinite(make_frames(table, range(60)), table, 30))

    assert cli.main(["check", str(tmp_path), "--format", "html"]) == 1

    page = Page()
    page.feed(capsys.readouterr().out)
    assert page.open == []
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert odd in page.text
    assert "nonfinite_gradient, since step 29" in page.text
    assert "url(" not in page.text and "@import" not in page.text


def test_since_step_counts_what_is_open_or_began_later(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    frames = make_frames(table, range(200))
    frames[:40] = turn_nonfinite(frames[:40], table, 30)  # over at step 40
    write_run(tmp_path / "over", table, frames)
    write_run(tmp_path / "open", table, turn_nonfinite(make_frames(table, range(60)), table, 30))

    def check(*options: str) -> int:
        return cli.main(["check", *options])

    assert check(str(tmp_path / "over")) == 1
    assert "critical" in capsys.readouterr().out
    assert check(str(tmp_path / "over"), "--since-step", "10") == 1
    capsys.readouterr()
    assert check(str(tmp_path / "over"), "--since-step", "100") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Only findings that are open, or began at step 100 or later, count:" in said
    assert check(str(tmp_path / "open"), "--since-step", "100") == 1
    capsys.readouterr()
    assert check(str(tmp_path / "over"), "--since-step", "100", "--format", "json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["narrowed"].endswith("left out.")
    with pytest.raises(SystemExit):
        check(str(tmp_path), "--since-step", "-1")
    assert "must be the number of a step" in capsys.readouterr().err
