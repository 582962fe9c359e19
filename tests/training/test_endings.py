"""However a process ends, what was measured is in the file: no end was closed properly here."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import RunData

pytestmark = pytest.mark.slow

ENDINGS = ("exception", "SIGTERM", "SIGKILL")
FRAMES = 30
PROGRAM = f"""
import sys, time
import tensorflow as tf
import tb_gradients as tbg

ending, folder = sys.argv[1:]
variable = tf.Variable(tf.ones([4, 4]), name="kernel")
every = 1000 if ending == "exception" else 1
monitor = tbg.GradientMonitor(folder, variables=[variable], every=every, verbose=0)
for step in range({FRAMES}):
    broken = ending == "exception" and step == {FRAMES} - 1
    with monitor.observe([tf.fill([4, 4], float("nan" if broken else 0))], [variable]):
        pass
    monitor.step(loss=1.0)
if ending == "exception":  # the frame that the NaN has forced may still be on the device
    raise ValueError("the user's program fails")
while True:
    time.sleep(1)
"""


@dataclasses.dataclass
class Ended:
    """A process that has ended without closing its monitor."""

    status: int
    run: RunData
    errors: str


def wait_for_frames(folder: pathlib.Path, process: subprocess.Popen[str]) -> None:
    """Until all frames are in the file, with nobody asking for it."""
    while process.poll() is None:
        if folder.exists() and EventFileSource(str(folder)).runs():
            run = EventFileSource(str(folder)).read(".")
            if run.recordings and len(run.recordings[0]) == FRAMES:
                return
        time.sleep(0.1)
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each ending went; they run side by side."""
    folders = {ending: tmp_path_factory.mktemp(ending) for ending in ENDINGS}
    processes = {
        ending: subprocess.Popen(
            [sys.executable, "-c", PROGRAM, ending, str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        for ending, folder in folders.items()
    }
    results = {}
    for ending, process in processes.items():
        if ending.startswith("SIG"):
            wait_for_frames(folders[ending], process)
            process.send_signal(signal.Signals[ending])
        _, errors = process.communicate(timeout=300)
        run = EventFileSource(str(folders[ending])).read(".")
        results[ending] = Ended(process.returncode, run, errors)
    return results


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_frame_is_in_the_file(ended: dict[str, Ended], ending: str) -> None:
    run = ended[ending].run
    (recording,) = run.recordings
    assert not run.errors
    expected = [0, FRAMES - 1] if ending == "exception" else range(FRAMES)
    assert list(recording.steps) == list(expected)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_verdict_is_in_the_file(ended: dict[str, Ended], ending: str) -> None:
    verdict = ended[ending].run.verdict
    assert verdict is not None
    rule = "nonfinite_gradient" if ending == "exception" else "zero_gradient"
    assert rule in {flag.rule for flag in verdict.flags}


def test_after_an_exception_the_verdict_covers_all_frames(ended: dict[str, Ended]) -> None:
    assert ended["exception"].run.covering_verdict() is not None


def test_the_status_is_that_of_the_program(ended: dict[str, Ended]) -> None:
    assert {ending: result.status for ending, result in ended.items()} == {
        "exception": 1,
        "SIGTERM": -signal.SIGTERM,
        "SIGKILL": -signal.SIGKILL,
    }
    assert "the user's program fails" in ended["exception"].errors


FORKING = f"""
import os, sys
import tensorflow as tf
import tb_gradients as tbg

variable = tf.Variable(tf.ones([4, 4]), name="kernel")
monitor = tbg.GradientMonitor(sys.argv[1], variables=[variable], every=1)
for step in range({FRAMES}):
    with monitor.observe([tf.ones([4, 4])], [variable]):
        variable.assign_sub(0.01 * tf.ones([4, 4]))
    monitor.step(loss=1.0 / (step + 1))
    if step == 5:
        child = os.fork()
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_leaves_the_monitor_to_its_parent(tmp_path: pathlib.Path) -> None:
    program = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path)]
    output = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True).stdout
    assert output.count("tensorboard --logdir") == 1
    (recording,) = EventFileSource(str(tmp_path)).read(".").recordings
    assert len(recording) == FRAMES


def test_no_signal_handler_is_left(tmp_path: pathlib.Path) -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    record_one_frame(tmp_path)
    now = {number: signal.getsignal(number) for number in signal.valid_signals()}
    assert now == before


def test_who_handles_sigterm_keeps_doing_so(tmp_path: pathlib.Path) -> None:
    def handle(number: int, frame: object) -> None:
        """What the user's program does."""

    before = signal.signal(signal.SIGTERM, handle)
    try:
        record_one_frame(tmp_path, lambda: signal.getsignal(signal.SIGTERM) is handle)
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def record_one_frame(folder: pathlib.Path, holds: Callable[[], bool] = lambda: True) -> None:
    variable = tf.Variable(tf.ones([2, 2]), name="kernel")
    with tbg.GradientMonitor(folder, variables=[variable], every=1, verbose=0) as monitor:
        with monitor.observe([tf.ones([2, 2])], [variable]):
            pass
        monitor.step()
        assert holds()
        assert monitor.frames == 1
