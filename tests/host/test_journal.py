"""The journal judges each frame that it writes, reports each flag once, and continues after a
close."""

from __future__ import annotations

import dataclasses
import pathlib
import time

import numpy as np
import pytest
from recordings import make_frames, make_table, turn_nonfinite, turn_zero

import tb_gradients as tbg
from tb_gradients.flags import Severity
from tb_gradients.host.journal import SMALL_MODEL_VARIABLES, Journal, print_sentence
from tb_gradients.judging import judge
from tb_gradients.lane import Lane
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training.files import open_records

TABLE = make_table(3)
HEALTHY = make_frames(TABLE, range(12))
ONSET = 4  # one infinity; then everything is NaN
FAULTY = turn_nonfinite(HEALTHY, TABLE, since=ONSET + 1)


def journal_of(folder: pathlib.Path, **options: object) -> Journal:
    journal = Journal(str(folder), open_records, **options)  # type: ignore[arg-type]
    journal.set_table(TABLE)
    return journal


def files(folder: pathlib.Path) -> int:
    return sum(1 for _ in folder.iterdir())


def test_there_is_no_file_before_the_first_frame(tmp_path: pathlib.Path) -> None:
    journal = journal_of(tmp_path)
    journal.close()
    assert (journal.open, files(tmp_path)) == (False, 0)
    journal.add(HEALTHY[0])
    assert (journal.open, files(tmp_path)) == (True, 1)
    journal.close()


def test_the_verdict_in_the_file_is_the_one_that_was_reported(tmp_path: pathlib.Path) -> None:
    reported: list[tbg.Flag] = []
    journal = journal_of(tmp_path, on_flag=reported.append)
    for frame in FAULTY:
        journal.add(frame)
    journal.close()
    stored = EventFileSource(str(tmp_path)).read(".").verdict
    assert stored is not None
    assert (stored.flags, stored.frames, stored.last_step) == (journal.flags, 12, 11)
    assert [flag.rule for flag in reported] == ["nonfinite_gradient"]
    assert journal.frames == 12


def test_frames_that_wait_to_be_judged_together_are_judged_as_one_by_one(
    tmp_path: pathlib.Path,
) -> None:
    stored, reported = {}, {}
    for together in (1, 5):
        folder = tmp_path / str(together)
        folder.mkdir()
        seen: list[tuple[str, int]] = []
        journal = journal_of(
            folder, on_flag=lambda flag, seen=seen: seen.append((flag.rule, flag.last_step))
        )
        for number, frame in enumerate(FAULTY, 1):
            journal.add(frame, judge=False)
            if number % together == 0:
                journal.judge()
        journal.close()
        stored[together] = EventFileSource(str(folder)).read(".").verdict
        reported[together] = seen
    assert stored[1] == stored[5]
    assert reported[1] == reported[5] == [("nonfinite_gradient", ONSET)]


def test_an_on_flag_that_closes_the_file_gets_a_verdict_on_all_frames_in_it(
    tmp_path: pathlib.Path,
) -> None:
    journal = journal_of(tmp_path, on_flag=lambda _: journal.close())
    for frame in FAULTY[: ONSET + 1]:
        journal.add(frame)
    verdict = EventFileSource(str(tmp_path)).read(".").covering_verdict()
    assert verdict is not None
    assert [flag.rule for flag in verdict.flags] == ["nonfinite_gradient"]


def test_a_flag_is_printed_once_and_only_if_that_is_asked_for(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True):
        journal = journal_of(tmp_path, say=print_sentence if verbose else None)
        for frame in FAULTY:
            journal.add(frame)
        journal.close()
        assert capsys.readouterr().out.count("nonfinite_gradient") == int(verbose)


@pytest.mark.parametrize(("stop_on", "stops"), [(Severity.CRITICAL, True), (None, False)])
def test_a_flag_of_the_severity_asked_for_is_a_reason_to_stop(
    tmp_path: pathlib.Path, stop_on: Severity | None, stops: bool
) -> None:
    journal = journal_of(tmp_path, stop_on=stop_on)
    assert journal.awaited is stops
    for frame in FAULTY:
        journal.add(frame)
        assert journal.should_stop is (stops and frame.step >= ONSET)
    journal.close()


def test_nothing_is_where_no_flag_may_stop(tmp_path: pathlib.Path) -> None:
    journal = journal_of(tmp_path, stop_on=Severity.CRITICAL)
    journal.never_stop()
    for frame in FAULTY:
        journal.add(frame)
    journal.close()
    assert not (journal.awaited or journal.should_stop)


def test_after_a_close_a_new_file_goes_on_with_the_same_verdict(tmp_path: pathlib.Path) -> None:
    journal = journal_of(tmp_path)
    for frame in FAULTY[:8]:
        journal.add(frame)
    journal.close()
    journal.add(FAULTY[8])
    journal.close()
    assert files(tmp_path) == 2
    run = EventFileSource(str(tmp_path)).read(".")
    np.testing.assert_array_equal(run.recordings[0].steps, range(9))
    assert [flag.first_step for flag in journal.flags] == [ONSET]


def test_a_run_that_was_closed_on_the_way_is_reported_as_it_is_from_its_file(
    tmp_path: pathlib.Path,
) -> None:
    frames = make_frames(TABLE, range(150))
    for frame in frames[20:]:
        for name in ("loss", "loss_mean", "loss_min", "loss_max"):
            frame.context[TABLE.context.index(name)] = 2.77  # no better than guessing
    journal = journal_of(tmp_path)
    for frame in turn_zero(frames, TABLE, [0, 1], since=20):
        journal.add(frame)
        if frame.step in (70, 120):
            journal.close()
    journal.close()
    offline = judge(EventFileSource(str(tmp_path)).read(".").recordings)
    assert journal.flags == offline.flags
    assert [flag.rule for flag in journal.flags] == ["dead_units"]


@pytest.mark.parametrize(("layers", "every"), [(3, 1), (SMALL_MODEL_VARIABLES, 7)])
def test_large_models_have_histograms_now_and_then(
    tmp_path: pathlib.Path, layers: int, every: int
) -> None:
    table = make_table(layers)
    journal = Journal(str(tmp_path), open_records)
    journal.set_table(table)
    wanted = []
    for frame in make_frames(table, range(15)):
        wanted.append(journal.wants_histograms())
        journal.add(frame)
    journal.close()
    assert wanted == [step % every == 0 for step in range(15)]
    assert not Journal(str(tmp_path), open_records, histograms=False).wants_histograms()


def test_a_mistake_in_the_rules_is_reported_at_once(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no_such_rule"):
        Journal(str(tmp_path), open_records, {"no_such_rule": False})


def lane_steps(first: int, count: int) -> Lane:
    codes = np.full((count, len(TABLE.variables)), 1000 + first, np.uint16)
    return Lane.of_steps(first, codes, [1] * count)


def stored_lane(folder: pathlib.Path) -> Lane | None:
    return EventFileSource(str(folder)).read(".").lane


def test_every_step_of_the_dense_lane_is_in_the_file(tmp_path: pathlib.Path) -> None:
    journal = journal_of(tmp_path)
    for frame in HEALTHY:
        journal.add(dataclasses.replace(frame, lane=lane_steps(frame.step, 1)))
    journal.add_lane(lane_steps(len(HEALTHY), 300))
    journal.close()
    lane = stored_lane(tmp_path)
    assert lane is not None
    assert lane.steps.tolist() == list(range(len(HEALTHY) + 300))
    assert (lane.high[: len(HEALTHY)] == 1000 + np.arange(len(HEALTHY))[:, np.newaxis]).all()


class Full:
    """A file on a disk that becomes full."""

    def __init__(self, path: str) -> None:
        self.full, self._file = False, open_records(path)
        self.write, self.flush, self.close = self._write, self._file.flush, self._file.close

    def _write(self, record: bytes) -> None:
        if self.full:
            raise OSError("No space left on device")
        self._file.write(record)


@pytest.mark.parametrize("ending", ["frame", "lane", "close"])
def test_a_full_disk_ends_the_journal_and_is_no_failure_of_a_part(
    tmp_path: pathlib.Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is raised ends the monitor with one warning; a part that is left out would be two."""
    monkeypatch.setattr("tb_gradients.host.journal.LANE_SECONDS", -1.0)  # with every frame
    disks: list[Full] = []

    def opened(path: str) -> Full:
        disks.append(Full(path))
        return disks[-1]

    journal = Journal(str(tmp_path), opened)
    journal.set_table(TABLE)
    journal.add(dataclasses.replace(HEALTHY[0], lane=lane_steps(0, 1)))
    journal.flush()
    journal.add_lane(lane_steps(1, 1))
    disks[0].full = True
    writer = journal._writer
    assert writer is not None
    writer.table(TABLE, 1)
    while writer._error is None:
        time.sleep(0.001)
    actions = {
        "frame": lambda: journal.add(dataclasses.replace(HEALTHY[1], lane=lane_steps(2, 1))),
        "lane": lambda: journal.add_lane(lane_steps(2, 300)),
        "close": journal.close,
    }
    with pytest.raises(OSError, match="No space"):
        actions[ending]()
    assert journal.errors == ()


def test_steps_of_the_lane_wait_for_a_frame_and_two_seconds_at_most(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("tb_gradients.host.journal.time.monotonic", lambda: now)
    journal = journal_of(tmp_path)
    for frame in HEALTHY[:4]:
        journal.add(dataclasses.replace(frame, lane=lane_steps(frame.step, 1)))
        now += 1.5
    journal._writer.flush()  # type: ignore[union-attr]
    lane = stored_lane(tmp_path)  # as a process that is killed would leave it
    assert lane is not None
    assert lane.steps.tolist() == [0, 1, 2]
    journal.close()
