"""Many runs are judged in several processes: in order, and whatever happens to one of them."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
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


def _children(process: int) -> list[int]:
    """Processes that it has started and that run, or that it has not asked about yet."""
    try:
        tasks = pathlib.Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in tasks.split()]


def _is_worker(process: int) -> bool:
    try:
        return b"spawn_main" in pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.8], ids=["as they start", "as they judge"])
def test_ctrl_c_ends_all_processes_and_prints_nothing(
    tmp_path: pathlib.Path, seconds: float
) -> None:
    table = made.make_table(20)
    for run in ("a", "b", "c"):
        made.write_run(tmp_path / run, table, made.make_frames(table, range(1500)))
    command = [sys.executable, "-m", "tb_gradients.cli", "check", str(tmp_path)]
    check = subprocess.Popen(
        [*command, "--jobs", "2", "--rejudge"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to the whole group
        # A shell lets programs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (workers := list(filter(_is_worker, _children(check.pid)))):
        assert check.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(seconds)
    started = _children(check.pid)
    os.killpg(check.pid, signal.SIGINT)
    output, errors = check.communicate(timeout=60)
    assert (check.returncode, output, errors) == (130, "", "")
    left = started
    while left and time.monotonic() < deadline:  # multiprocessing's own helper follows its parent
        left = [child for child in left if pathlib.Path(f"/proc/{child}").exists()]
        time.sleep(0.001)
    assert workers and not left
