"""Many runs are judged in several processes: in order, and whatever happens to one of them."""

from __future__ import annotations

import os
import pathlib
from multiprocessing.connection import Connection
from typing import Any

import pytest
import recordings as made

from tb_gradients.reading import workers
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.report import load, report_on


def _work_or_die(pipe: Connection, logdir: str, settings: dict[str, Any]) -> None:
    """As a process does that one of the runs is the end of."""
    while (run := pipe.recv()) != "nan":
        pipe.send(report_on(EventFileSource(logdir), run, **settings))
    os._exit(9)


def test_the_report_is_that_of_one_process(tmp_path: pathlib.Path) -> None:
    made.write_good_and_nan(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.tfevents.gradient_health").write_bytes(b"\xff" * 100)
    done: list[tuple[int, int]] = []
    report = load(tmp_path, jobs=2, progress=lambda *count: done.append(count))
    assert report == load(tmp_path)
    assert [run.run for run in report.runs] == ["broken", "good", "nan"]
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_process_that_dies_costs_its_run_alone_and_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_good_and_nan(tmp_path)
    made.write_run(tmp_path / "z", made.make_table(), made.make_frames(made.make_table(), range(3)))
    monkeypatch.setattr(workers, "_work", _work_or_die)
    good, dead, z = workers.reports(str(tmp_path), ["good", "nan", "z"], 1, {}, lambda _: None)
    assert (good.run, z.run) == ("good", "z")
    assert good.frames == 120
    assert z.frames == 3
    assert dead.unreadable
    assert [str(problem) for problem in dead.errors] == [
        "The process that judged it ended with status 9."
    ]


def test_one_process_is_enough_for_little() -> None:
    assert workers.processes_for(10 << 20, 500) == 1
    assert workers.processes_for(10 << 30, 1) == 1
    assert workers.processes_for(0, 500) == 1


def test_many_large_runs_get_a_process_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert workers.processes_for(10 << 30, 500) == 6
    assert workers.processes_for(10 << 30, 4) == 4
