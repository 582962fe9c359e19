"""What is written can be read back from a standard event file, and failures are reported once."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from recordings import make_frame, make_table

from tb_gradients import schema
from tb_gradients.flags import Flag, Severity
from tb_gradients.frames import Frame, Variable, VariableTable
from tb_gradients.host import writer as writer_module
from tb_gradients.host.journal import Journal
from tb_gradients.host.statistics import bins_of
from tb_gradients.host.writer import EventWriter
from tb_gradients.proto import event_pb2
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.summaries import findings_of
from tb_gradients.training.files import LogDirError, choose_folder, open_records

TABLE = VariableTable(
    (Variable("a/kernel", (2, 3), unit_axis=1, units=3), Variable("a/bias", (3,)))
)


def frame(step: int, *, histograms: bool = False) -> Frame:
    values = np.full((2, len(schema.STATISTICS)), step / 128, np.float32)  # shares, too
    values[0, 0], values[1, 1] = np.nan, np.inf
    context = np.full(len(schema.CONTEXT), np.nan, np.float32)
    context[0] = TABLE.table_id
    counts = np.full((2, schema.HISTOGRAM_BINS), step, np.uint16) if histograms else None
    return Frame(step, 1000.0 + step, values, context, counts)


def test_frames_table_histograms_and_flags_come_back(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(choose_folder(tmp_path / "run"), open_records)
    flag = Flag("zero_gradient", Severity.CRITICAL, ("a/kernel",), 0, 2, True, "all zero")
    writer.table(TABLE, 0)
    for step in range(3):
        writer.frame(frame(step, histograms=step == 1), TABLE.table_id)
    writer.flags([flag], [], 2, 3)
    writer.close()
    source = EventFileSource(str(tmp_path))
    assert source.runs() == ["run"]
    run = source.read("run")
    (recording,) = run.recordings
    assert not run.errors
    assert recording.table == TABLE
    assert list(recording.steps) == [0, 1, 2]
    np.testing.assert_array_equal(recording.values[2], frame(2).values)
    assert run.verdict is not None
    (histogram,) = source.histograms("run")
    table_id, counts = histogram.unpack()
    assert (histogram.step, table_id) == (1, TABLE.table_id)
    assert (counts == 1).all()


def test_any_tensorboard_reader_lists_the_tags(tmp_path: pathlib.Path) -> None:
    from tensorboard.backend.event_processing import event_file_loader

    writer = EventWriter(tmp_path, open_records)
    writer.table(TABLE, 0)
    writer.frame(frame(0), TABLE.table_id)
    writer.close()
    events = list(event_file_loader.EventFileLoader(writer.path).Load())
    tags = {value.tag for event in events for value in event.summary.value}
    assert tags == {schema.TAG_TABLE, schema.TAG_FRAMES, schema.TAG_CONTEXT}
    for event in events:
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name in (schema.PLUGIN_NAME, "")


def test_a_frame_of_many_variables_takes_at_most_100_bytes_for_each(tmp_path: pathlib.Path) -> None:
    """With the table and with histograms, as often as a monitor writes them, of real gradients."""
    names = [n for n in schema.statistic_names() if not n.startswith("activation_")]
    table = dataclasses.replace(make_table(500), statistics=tuple(names))
    shape = (len(table.variables), 256)
    gradients = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    journal = Journal(str(tmp_path), open_records)
    journal.set_table(table)
    frames = 21
    for step in range(frames):
        one = make_frame(table, step)
        if journal.wants_histograms():
            counts = np.array(
                [
                    np.bincount(bins_of(row), minlength=schema.HISTOGRAM_BINS)
                    for row in gradients * 0.9**step
                ]
            )
            one = dataclasses.replace(one, histograms=counts)
        journal.add(one)
    journal.close()
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size / frames / len(table.variables) <= 100
    assert len(EventFileSource(str(tmp_path)).histograms(".")) == frames // 7


def test_one_event_per_frame(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(tmp_path, open_records)
    writer.frame(frame(5, histograms=True), TABLE.table_id)
    writer.close()
    records = [r.numpy() for r in tf.data.TFRecordDataset(writer.path)]
    assert len(records) == 2  # the file's version, and the frame with all its tags


def test_flushed_frames_are_readable_while_the_file_is_open(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(choose_folder(tmp_path / "run"), open_records)
    writer.table(TABLE, 0)
    writer.frame(frame(0), TABLE.table_id)
    writer.flush()
    assert len(EventFileSource(str(tmp_path)).read("run").recordings[0]) == 1
    writer.close()


def test_closing_twice_is_allowed_and_writing_after_it_is_not(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(tmp_path, open_records)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.table(TABLE, 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux' disk that is full")
def test_a_full_disk_is_raised_once_and_again_at_the_end_if_it_comes_back(
    tmp_path: pathlib.Path,
) -> None:
    writer = EventWriter(tmp_path, open_records)
    writer.flush()
    writer._file.close()
    writer._file = tf.io.TFRecordWriter("/dev/full")
    writer.table(TABLE, 0)
    with pytest.raises((tf.errors.OpError, OSError), match="No space"):
        writer.flush()
    writer._file = tf.io.TFRecordWriter("/dev/full")
    writer.table(TABLE, 0)
    with pytest.raises((tf.errors.OpError, OSError), match="No space"):
        writer.close()
    assert not writer._thread.is_alive()


def test_a_folder_that_is_removed_is_a_failure(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(choose_folder(tmp_path / "run"), open_records)
    writer.flush()
    shutil.rmtree(tmp_path / "run")
    writer.frame(frame(0), TABLE.table_id)
    with pytest.raises(FileNotFoundError, match="was removed"):
        writer.flush()
    writer.close()


def test_a_folder_that_is_removed_before_the_end_is_a_failure_of_the_end(
    tmp_path: pathlib.Path,
) -> None:
    writer = EventWriter(choose_folder(tmp_path / "run"), open_records)
    writer.flush()
    closing = threading.Event()

    def wait() -> None:
        closing.wait()

    writer._put(wait)
    shutil.rmtree(tmp_path / "run")
    writer.frame(frame(0), TABLE.table_id)
    threading.Timer(0.1, closing.set).start()  # when close() has queued the end behind the frame
    with pytest.raises(FileNotFoundError, match="was removed"):
        writer.close()


@pytest.fixture(name="disk")
def _disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The disk takes nothing until this is set."""
    disk = threading.Event()
    record = EventWriter._record

    def slowly(self: EventWriter, *arguments: Any, **named: Any) -> None:
        disk.wait()
        record(self, *arguments, **named)

    monkeypatch.setattr(EventWriter, "_record", slowly)
    return disk


def test_summaries_of_frames_are_bounded_as_well_and_findings_always_written(
    tmp_path: pathlib.Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MOST_WAITING_BYTES", 1)
    writer = EventWriter(tmp_path, open_records)
    value = event_pb2.Summary.Value(tag="gradient_norm/a", simple_value=1.0)
    for step in range(5):
        writer.summary(frame(step), event_pb2.Summary(value=[value]))
    writer.findings(5, findings_of([]))
    assert writer.left_out == 4, "one may wait, however large"
    disk.set()
    writer.close()
    records = tf.data.TFRecordDataset(writer.path).as_numpy_iterator()
    events = [tf.compat.v1.Event.FromString(record) for record in records]
    tags = [value.tag for event in events for value in event.summary.value]
    assert tags == ["gradient_norm/a", "findings"]


def test_a_disk_that_takes_nothing_lets_a_bounded_number_of_bytes_wait(
    tmp_path: pathlib.Path,
    disk: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    size = frame(0).values.nbytes + frame(0).context.nbytes + writer_module.OVERHEAD_BYTES
    monkeypatch.setattr(writer_module, "MOST_WAITING_BYTES", 10 * size)
    writer = EventWriter(tmp_path, open_records)
    for step in range(25):
        writer.frame(frame(step), TABLE.table_id)
    assert writer.left_out == 15
    disk.set()
    writer.flush()
    writer.frame(frame(25), TABLE.table_id)
    writer.close()
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert len(caplog.records) == 1
    records = tf.data.TFRecordDataset(writer.path).as_numpy_iterator()
    steps = [tf.compat.v1.Event.FromString(record).step for record in records]
    assert steps == [0, *range(10), 25]


def test_the_folder_is_made_and_a_path_object_is_taken(tmp_path: pathlib.Path) -> None:
    folder = choose_folder(tmp_path / "deep" / "run1")
    assert pathlib.Path(folder) == tmp_path / "deep" / "run1"
    assert os.listdir(folder) == []


def test_a_relative_folder_stays_where_it_is_when_the_program_changes_its_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pathlib.Path(choose_folder("runs/a")) == tmp_path / "runs" / "a"


def test_beside_a_strangers_event_file_a_sub_folder_is_used(tmp_path: pathlib.Path) -> None:
    (tmp_path / "events.out.tfevents.123.host.v2").write_bytes(b"")
    assert pathlib.Path(choose_folder(tmp_path)) == tmp_path / schema.PLUGIN_NAME


def test_ones_own_earlier_file_is_no_stranger(tmp_path: pathlib.Path) -> None:
    EventWriter(tmp_path, open_records).close()
    assert pathlib.Path(choose_folder(tmp_path)) == tmp_path


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LogDirError, match=r"cannot write to the log folder .*file"):
        choose_folder(file / "run")


def test_an_empty_folder_name_is_refused() -> None:
    with pytest.raises(LogDirError, match="give a folder"):
        choose_folder("")
