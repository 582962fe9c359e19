"""Whatever happens to a training and its disk: it goes on, or ends as it would have; what was
recorded is readable.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import faults
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.host import journal as journals
from tb_gradients.host import writer as writers
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training import monitor as monitors
from tb_gradients.training.files import open_records

ENDINGS = {"SIGKILL": 2, "SIGTERM": 1, "SIGINT": 1, "exception": 1, "SIGSTOP": 1}
"""How often each is tried here; ``benchmarks/faults.py`` tries more."""


@pytest.fixture(name="results", scope="module")
def _results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of each training in a process of its own."""
    wanted = [
        f"{kind}={count}" for kind, count in {**ENDINGS, **dict.fromkeys(faults.PAIRS, 1)}.items()
    ]
    folder = tmp_path_factory.mktemp("faults")
    program = [sys.executable, faults.__file__, str(folder), "0", *wanted]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    return [json.loads(line) for line in output.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_however_a_training_ends_its_frames_are_in_the_file(results: list[dict[str, Any]]) -> None:
    ended = [result for result in results if result["ending"] in ENDINGS]
    assert len(ended) == sum(ENDINGS.values())
    for result in ended:
        assert faults.complaints(result) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("which", faults.PAIRS)
def test_two_processes_that_train_at_once_are_two_runs(
    results: list[dict[str, Any]], which: str
) -> None:
    (result,) = (result for result in results if result["ending"] == which)
    assert faults.complaints(result) == []


class Loop:
    """A small training; every step is a frame."""

    def __init__(self, folder: Any) -> None:
        self.variable = tf.Variable(tf.ones([8, 8]), name="kernel")
        self.monitor = tbg.GradientMonitor(folder, variables=[self.variable], every=1, verbose=0)
        self.longest = 0.0
        self.done = 0

    def steps(self, count: int) -> None:
        for _ in range(count):
            start = time.perf_counter()
            with self.monitor.observe([tf.fill([8, 8], 0.01)], [self.variable]):
                self.variable.assign_sub(tf.fill([8, 8], 0.01))
            self.done += 1
            self.monitor.step(loss=1.0 / self.done)
            self.longest = max(self.longest, time.perf_counter() - start)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def last_step(folder: pathlib.Path) -> int:
    return int(EventFileSource(str(folder)).read(".").steps[-1])


@pytest.fixture(name="limit")
def _limit() -> Iterator[Callable[[int], None]]:
    """Sets the size that no file may exceed: writing to it fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("lane_seconds", [2.0, 0.0], ids=["", "with the dense lane"])
def test_where_the_disk_is_full_one_warning_shows_it_and_what_is_there_is_readable(
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    limit: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    lane_seconds: float,
) -> None:
    monkeypatch.setattr(journals, "LANE_SECONDS", lane_seconds)
    loop = Loop(tmp_path)
    loop.steps(10)
    loop.monitor.flush()
    (file,) = tmp_path.iterdir()
    limit(file.stat().st_size + 700)  # in the middle of one of the next frames
    loop.steps(30)
    loop.monitor.close()
    assert loop.done == 40
    (reported,) = warnings(caplog)
    assert "stopped monitoring, training goes on" in reported
    run = EventFileSource(str(tmp_path)).read(".")
    assert not run.errors
    assert 9 <= int(run.steps[-1]) < 39


def test_a_folder_that_cannot_be_written_to_any_more_ends_the_recording_and_not_the_training(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    loop = Loop(folder)
    loop.steps(5)
    loop.monitor.close()
    kept = tmp_path / "kept"
    shutil.move(folder, kept)
    folder.write_text("")  # where a further event file would be: no folder
    loop.monitor.resume()
    loop.steps(5)
    loop.monitor.close()
    (reported,) = warnings(caplog)
    assert "stopped monitoring, training goes on" in reported
    assert last_step(kept) == 4


class Stalled:
    """A file whose disk takes nothing for a while."""

    def __init__(self, path: str) -> None:
        self._file = open_records(path)
        self.flows = threading.Event()
        self.flows.set()

    def write(self, record: bytes) -> None:
        self.flows.wait()
        self._file.write(record)

    def flush(self) -> None:
        self.flows.wait()
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@pytest.fixture(name="files")
def _files(monkeypatch: pytest.MonkeyPatch) -> list[Stalled]:
    """The files that monitors open in this test; each can be stalled."""
    files: list[Stalled] = []

    def opened(path: str) -> Stalled:
        files.append(Stalled(path))
        return files[-1]

    monkeypatch.setattr(monitors, "open_records", opened)
    return files


def test_no_step_waits_for_a_disk_that_takes_nothing(
    tmp_path: pathlib.Path, files: list[Stalled], caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(tmp_path)
    loop.steps(5)
    files[0].flows.clear()
    rescue = threading.Timer(60, files[0].flows.set)
    rescue.start()
    loop.longest = 0.0
    loop.steps(300)
    assert not files[0].flows.is_set(), "the steps have waited for the disk"
    rescue.cancel()
    files[0].flows.set()
    loop.monitor.close()
    assert warnings(caplog) == []
    assert EventFileSource(str(tmp_path)).read(".").steps.tolist() == list(range(305))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nor_for_a_write_that_blocks_in_the_system(tmp_path: pathlib.Path) -> None:
    """Such a write must have released the interpreter, as TensorFlow's ``flush`` does not."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    records = open_records(str(tmp_path / "pipe"))
    written = threading.Event()

    def write() -> None:
        records.write(bytes(1 << 20))  # a pipe holds 64 KiB
        records.flush()
        written.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert not written.wait(0.3)
    while not written.is_set():
        try:
            os.read(reader, 1 << 16)
        except BlockingIOError:
            time.sleep(0.001)
    thread.join()
    os.close(reader)


def test_frames_beyond_what_may_wait_are_left_out_and_reported_once(
    tmp_path: pathlib.Path,
    files: list[Stalled],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writers, "MOST_WAITING_BYTES", 20_000)
    loop = Loop(tmp_path)
    loop.steps(5)
    loop.monitor.flush()
    files[0].flows.clear()
    loop.steps(100)
    files[0].flows.set()
    loop.monitor.flush()
    loop.steps(5)
    loop.monitor.close()
    (reported,) = warnings(caplog)
    assert "frames are left out" in reported
    steps = EventFileSource(str(tmp_path)).read(".").steps.tolist()
    assert steps[:5] == list(range(5)) and steps[-5:] == list(range(105, 110))
    assert len(steps) < 60


def test_a_clock_that_jumps_back_hides_no_frame(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files of a run readers take the one with the earlier time in its name first."""
    now = [2_000_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    loop = Loop(tmp_path)
    loop.steps(5)
    now[0] -= 3600
    loop.steps(5)
    loop.monitor.close()
    loop.monitor.resume()
    loop.steps(5)
    loop.monitor.close()
    assert len(list(tmp_path.iterdir())) == 2
    run = EventFileSource(str(tmp_path)).read(".")
    assert run.steps.tolist() == list(range(15))
    assert not run.errors


def test_a_file_that_was_moved_away_ends_the_recording_and_stays_readable(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a program that rotates files does."""
    loop = Loop(tmp_path / "run")
    loop.steps(5)
    loop.monitor.flush()
    (file,) = (tmp_path / "run").iterdir()
    (tmp_path / "old").mkdir()
    file.rename(tmp_path / "old" / file.name)
    loop.steps(30)
    loop.monitor.close()
    assert loop.done == 35
    (reported,) = warnings(caplog)
    assert "was removed while it was written to" in reported
    assert last_step(tmp_path / "old") >= 4
    assert not EventFileSource(str(tmp_path / "old")).read(".").errors


def test_other_threads_may_read_and_flush_a_monitor_while_one_trains(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop, failures = Loop(tmp_path), list[Exception]()
    over = threading.Event()

    def look() -> None:
        monitor = loop.monitor
        try:
            while not over.is_set():
                assert monitor.frames <= loop.done
                assert monitor.errors == () and not monitor.should_stop
                monitor.flush()
                repr((monitor, monitor.report, monitor.summary()))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    loop.steps(60)
    over.set()
    for thread in threads:
        thread.join()
    loop.monitor.close()
    assert failures == []
    assert warnings(caplog) == []
    run = EventFileSource(str(tmp_path)).read(".")
    assert run.steps.tolist() == list(range(60)) and not run.errors


def test_threads_that_train_at_once_train_as_they_would_have(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop, failures, count = Loop(tmp_path), list[Exception](), 25
    loop.steps(1)  # as many variables as there will be, before it begins

    def train() -> None:
        try:
            loop.steps(count)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.monitor.close()
    assert failures == []
    assert warnings(caplog) == []
    expected = np.full([8, 8], 1 - 0.01 * (4 * count + 1))
    np.testing.assert_allclose(loop.variable.numpy(), expected, atol=1e-4)
    run = EventFileSource(str(tmp_path)).read(".")
    assert len(run.steps) > count and not run.errors


def test_gradients_from_outside_of_the_traced_step_are_watched(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    variable = tf.Variable(tf.ones([4, 4]), name="kernel")
    gradient = tf.fill([4, 4], 0.5)
    monitor = tbg.GradientMonitor(tmp_path, variables=[variable], every=1, verbose=0)

    @tf.function
    def step() -> None:
        with monitor.observe([gradient], [variable]):
            variable.assign_sub(gradient)

    for _ in range(3):
        step()
        monitor.step()
    monitor.close()
    assert warnings(caplog) == []
    assert last_step(tmp_path) == 2
