"""A report from the stored verdict is that of judging again; in doubt the frames are judged."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import recordings as made
from store_verdicts import RECORDED

from tb_gradients import judging
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.host.journal import Journal
from tb_gradients.host.records import LocalRecords
from tb_gradients.lane import Lane, codes_of
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.report import RunReport, load

TABLE, BIGGER = made.make_table(2), made.make_table(3)
FAULTY = made.turn_nonfinite(
    made.turn_zero(made.make_frames(TABLE, range(80)), TABLE, [2, 3], since=20), TABLE, since=60
)
GROWN = made.turn_zero(made.make_frames(BIGGER, range(80, 140)), BIGGER, [4, 5], since=90)


def train(
    folder: pathlib.Path,
    *parts: tuple[VariableTable, Sequence[Frame]],
    rules: Any = None,
    closed: bool = True,
) -> None:
    """Write a run as the training does, with the verdict that it judges meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(str(folder), LocalRecords, rules)
    for table, frames in parts:
        journal.close()  # a new table begins a new file
        journal.set_table(table)
        for frame in frames:
            journal.add(frame)
    if closed:
        journal.close()
    else:
        journal.flush()


def with_lane(frames: Sequence[Frame], variables: int) -> list[Frame]:
    """The frames, each with the steps since the one before."""
    random = np.random.default_rng(0)
    lanes, before = [], frames[0].step - 1
    for frame in frames:
        count = frame.step - before
        squares = np.exp(random.standard_normal((count, variables)))
        losses = np.full(count, 2.3)
        lanes.append(Lane.of_steps(before + 1, codes_of(squares), np.ones(count), losses))
        before = frame.step
    return [dataclasses.replace(f, lane=lane) for f, lane in zip(frames, lanes, strict=True)]


@contextlib.contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """How often frames are judged."""
    calls: list[str] = []
    judge = judging.judge

    def counted(*arguments: Any) -> Any:
        calls.append("judged")
        return judge(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(judging, "judge", counted)
        yield calls


def reports(
    monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, **options: Any
) -> tuple[bool, RunReport, RunReport]:
    """Whether frames were judged, the report, and that of judging them in any case."""
    with counting(monkeypatch) as calls:
        report = load(folder, **options).runs[0]
    return bool(calls), report, load(folder, **options, rejudge=True).runs[0]


@pytest.mark.parametrize("lane", [False, True])
def test_a_closed_run_is_reported_from_its_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, lane: bool
) -> None:
    frames = made.make_frames(TABLE, range(0, 240, 3))
    frames = made.turn_zero(frames, TABLE, [2, 3], since=60)
    train(tmp_path, (TABLE, with_lane(frames, 4) if lane else frames))
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert not judged
    assert report.flags
    assert report.rules
    assert report == anew


def test_so_is_one_whose_variables_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    train(tmp_path, (TABLE, FAULTY), (BIGGER, GROWN))
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert not judged
    assert report == anew


@pytest.mark.parametrize("run", EventFileSource(RECORDED).runs()[::9])
def test_a_recorded_training_judged_live_is_as_judged_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, run: str
) -> None:
    data = EventFileSource(RECORDED).read(run)
    (recording,) = data.recordings
    train(tmp_path, (recording.table, [frame for _, frame in data.each_frame()]))
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert not judged
    assert report == anew


def test_a_run_that_goes_on_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    train(tmp_path, (TABLE, FAULTY), closed=False)
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert judged
    assert report == anew


def test_a_resumed_run_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    train(tmp_path, (TABLE, FAULTY[:40]))
    train(tmp_path, (TABLE, FAULTY[40:]))
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert judged
    assert report == anew


def test_a_training_that_went_back_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    train(tmp_path, (TABLE, [*FAULTY[:40], *FAULTY[20:]]))
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert judged
    assert report == anew


def test_other_thresholds_are_judged_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    train(tmp_path, (TABLE, FAULTY))
    assert reports(monkeypatch, tmp_path, rules={"dead_units": {"share": 0.9}})[0]
    assert reports(monkeypatch, tmp_path, rules={"dead_units": False})[0]


def test_the_same_thresholds_as_while_training_need_no_judging(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    train(tmp_path, (TABLE, FAULTY), rules={"dead_units": {"share": 0.9}})
    assert not reports(monkeypatch, tmp_path, rules={"dead_units": {"share": 0.9}})[0]
    assert reports(monkeypatch, tmp_path)[0]


def test_other_code_is_judged_by(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    train(tmp_path, (TABLE, FAULTY))
    monkeypatch.setattr(judging.fingerprint, "_of_package", lambda: "another version")
    assert reports(monkeypatch, tmp_path)[0]


def test_a_damaged_file_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    train(tmp_path, (TABLE, FAULTY))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[content.index(FAULTY[4].values.tobytes()) + 7] ^= 0x10
    path.write_bytes(content)
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert judged
    assert report.frames == 79
    assert report == anew


def test_what_failed_beside_the_rules_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    journal = Journal(str(tmp_path), LocalRecords)
    journal.set_table(TABLE)
    for frame in FAULTY:
        journal.add(frame)
    journal.stop(80, "the disk is full")
    judged, report, anew = reports(monkeypatch, tmp_path)
    assert not judged
    assert report.stopped is not None
    assert report == anew


@pytest.mark.parametrize("on_disk", [False, True])
def test_numbers_on_disk_are_those_in_memory(tmp_path: pathlib.Path, on_disk: bool) -> None:
    frames = [*FAULTY]
    frames[3] = made.with_value(frames[3], TABLE, "dead_unit_share", 7.0)
    train(tmp_path, (TABLE, frames))
    data = EventFileSource(tmp_path).read(".", on_disk=on_disk)
    (recording,) = data.recordings
    values = np.stack([frame.values for frame in frames])
    values[3, :, TABLE.statistics.index("dead_unit_share")] = np.nan
    assert np.asarray(recording.values).tobytes() == values.tobytes()
    np.testing.assert_array_equal(recording.values[5], values[5])
    np.testing.assert_array_equal(recording.values[2:9, 1], values[2:9, 1])
    np.testing.assert_array_equal(recording.values[-1:, :, 3], values[-1:, :, 3])
    assert recording.values[80:].shape == (0, *values.shape[1:])
    (error,) = data.errors
    assert "frames in which dead_unit_share cannot be and is left out: 1." in error
