"""The verdict over a folder."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import recordings as made

from tb_gradients import judging
from tb_gradients.flags import RuleError, RuleState, Severity
from tb_gradients.frames import Recording
from tb_gradients.reading.report import Problem, load
from tb_gradients.reading.source import ReadError

TABLE = made.make_table(3)


@pytest.fixture(name="judged")
def _judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Rules that find one thing in every run and fail once; what they were called with."""
    calls: list[tuple[Any, ...]] = []

    def judge(recordings: Sequence[Recording], settings: Any = None) -> judging.Verdict:
        calls.append((list(recordings), settings))
        return judging.Verdict(
            (made.make_flag(severity=Severity.WARNING),),
            (RuleError("dead_units", 3, "division by zero"),),
            (
                RuleState("dead_units", "failed", "division by zero"),
                RuleState("not_learning", "not_yet", "needs 100 losses"),
            ),
            "too early to tell",
        )

    monkeypatch.setattr(judging, "judge", judge)
    return calls


def test_every_run_below_the_folder_is_judged(
    tmp_path: pathlib.Path, judged: list[tuple[Any, ...]]
) -> None:
    for name in ("b", "a/nested"):
        made.write_run(tmp_path / name, TABLE, made.make_frames(TABLE, range(5, 15)))
    report = load(tmp_path)
    assert [run.run for run in report.runs] == ["a/nested", "b"]
    assert report.worst == Severity.WARNING
    run = report.runs[0]
    assert (run.first_step, run.last_step, run.frames) == (5, 14, 10)
    assert run.variables.paths == TABLE.paths
    assert run.verdict == "warning"
    assert [flag.rule for flag in run.flags] == ["zero_gradient"]
    assert [str(problem) for problem in run.errors] == [
        "rule dead_units was switched off at step 3: division by zero"
    ]


def test_rule_settings_reach_the_rules(
    tmp_path: pathlib.Path, judged: list[tuple[Any, ...]]
) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    load(tmp_path, rules={"dead_units": False})
    assert judged[0][1] == {"dead_units": False}


def test_flags_stored_by_the_writer_are_judged_anew(
    tmp_path: pathlib.Path, judged: list[tuple[Any, ...]]
) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)), flags=[])
    assert load(tmp_path).runs[0].verdict == "warning"


def test_json_is_version_1_and_strict(
    tmp_path: pathlib.Path, judged: list[tuple[Any, ...]]
) -> None:
    made.write_run(tmp_path / "run1", TABLE, made.make_frames(TABLE, range(10)))
    answer = json.loads(json.dumps(load(str(tmp_path)).to_json(), allow_nan=False))
    assert answer["schema"] == 1
    (run,) = answer["runs"]
    flag = run.pop("flags")[0]
    states = run.pop("rules")
    assert run == {
        "run": "run1",
        "first_step": 0,
        "last_step": 9,
        "frames": 10,
        "variables": list(TABLE.paths),
        "state": "judged",
        "verdict": "warning",
        "undecided": "too early to tell",
        "errors": [{"message": "division by zero", "rule": "dead_units", "step": 3}],
    }
    assert flag["evidence"][1] == {"name": "worst_norm", "value": "Infinity", "threshold": None}
    assert states == [
        {"rule": "dead_units", "state": "failed", "reason": "division by zero"},
        {"rule": "not_learning", "state": "not_yet", "reason": "needs 100 losses"},
    ]


def test_damage_is_an_error_of_its_run(
    tmp_path: pathlib.Path, judged: list[tuple[Any, ...]]
) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    path.write_bytes(path.read_bytes() + b"\xff" * 64)
    (run,) = load(tmp_path).runs
    assert run.frames == 3
    assert "is damaged at byte" in str(run.errors[0])


def test_a_run_without_frames_says_so(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, [])
    (run,) = load(tmp_path).runs
    assert (run.first_step, run.last_step, run.frames, run.flags) == (None, None, 0, ())
    assert run.errors == (Problem("There are no frames yet. Has training made its first step?"),)


def test_variables_that_the_run_lost_come_last(tmp_path: pathlib.Path) -> None:
    smaller = made.make_table(2)
    events = [made.table_event(TABLE), made.frame_event(made.make_frame(TABLE, 0), TABLE)]
    events += [
        made.table_event(smaller, 1),
        made.frame_event(made.make_frame(smaller, 1), smaller),
    ]
    made.write_events(tmp_path, events)
    (run,) = load(tmp_path).runs
    assert run.variables.paths == (*smaller.paths, "dense_2/kernel", "dense_2/bias")


def test_a_healthy_run_is_healthy_by_the_real_rules(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(200)))
    report = load(tmp_path)
    assert report.runs[0].errors == ()
    assert report.worst in (None, Severity.INFO)


def test_a_folder_without_our_data_asks_the_right_question(tmp_path: pathlib.Path) -> None:
    made.write_events(tmp_path, [made.scalar_event("loss", 0, 1.0)])
    with pytest.raises(ReadError, match=r"Was GradientHealth\(logdir\) passed to fit\?"):
        load(tmp_path)


def test_a_missing_folder_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ReadError, match="no folder"):
        load(tmp_path / "nowhere")


def test_a_newer_format_is_named_and_hides_no_other_run(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "old", TABLE, made.make_frames(TABLE, range(3)))
    made.write_events(tmp_path / "new", [made.table_event(TABLE, format_version=2)])
    new, old = load(tmp_path).runs
    assert (new.state, old.state) == ("unreadable", "judged")
    assert re.match(r"Run 'new' was.*pip install -U tb-gradients", new.errors[0].message)


def test_a_run_that_the_rules_cannot_reckon_with_hides_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_run(tmp_path / "a", TABLE, made.make_frames(TABLE, range(3)))
    made.write_run(tmp_path / "b", TABLE, made.make_frames(TABLE, range(5)))
    real = judging.judge

    def judge(recordings: Sequence[Recording], settings: Any = None) -> judging.Verdict:
        if sum(map(len, recordings)) == 3:
            raise OverflowError("too large")
        return real(recordings, settings)

    monkeypatch.setattr(judging, "judge", judge)
    a, b = load(tmp_path).runs
    assert (a.state, a.flags, b.state) == ("unreadable", (), "judged")
    assert a.errors[0].message == "The rules cannot judge this run (OverflowError: too large)."


def test_wrong_settings_of_rules_are_no_fault_of_a_run(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    with pytest.raises(ValueError, match="no rule 'nope'"):
        load(tmp_path, {"nope": False})


def test_loading_a_report_does_not_import_tensorflow(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    program = (
        "import sys\n"
        "from tb_gradients.reading.report import load\n"
        f"load({str(tmp_path)!r})\n"
        "assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
