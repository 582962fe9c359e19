"""Event files are read whole, damaged or not."""

from __future__ import annotations

import io
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import recordings as made

from tb_gradients.reading import event_files
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import ReadError

TABLE = made.make_table(2)


def test_every_frame_comes_back_with_the_same_bits(tmp_path: pathlib.Path) -> None:
    frames = made.turn_nonfinite(made.make_frames(TABLE, range(300)), TABLE, since=200)
    made.write_run(tmp_path / "run", TABLE, frames)
    data = EventFileSource(tmp_path).read("run")
    (recording,) = data.recordings
    assert recording.table == TABLE
    assert recording.steps.tolist() == list(range(300))
    assert recording.values.tobytes() == np.stack([f.values for f in frames]).tobytes()
    assert recording.context.tobytes() == np.stack([f.context for f in frames]).tobytes()
    assert not data.sampled
    assert not data.errors


def test_the_folder_itself_is_the_run_dot_and_others_go_by_their_path(
    tmp_path: pathlib.Path,
) -> None:
    for folder in (".", "b", "a/deep/one"):
        made.write_run(tmp_path / folder, TABLE, made.make_frames(TABLE, range(2)))
    (tmp_path / "empty").mkdir()
    assert EventFileSource(tmp_path).runs() == [".", "a/deep/one", "b"]


def test_folders_with_only_other_peoples_events_are_no_runs(tmp_path: pathlib.Path) -> None:
    made.write_events(tmp_path / "theirs", [made.scalar_event("loss", 0, 1.0)])
    made.write_events(tmp_path / "alike", [made.scalar_event("gradient_health/mine", 0, 1.0)])
    made.write_run(tmp_path / "ours", TABLE, made.make_frames(TABLE, range(2)))
    (tmp_path / "ours" / "notes.txt").write_text("gradient_health/frames")
    assert EventFileSource(tmp_path).runs() == ["ours"]


def test_other_peoples_events_beside_ours_change_nothing(tmp_path: pathlib.Path) -> None:
    frames = made.make_frames(TABLE, range(4))
    events = [made.table_event(TABLE)]
    for frame in frames:
        events += [made.scalar_event("loss", frame.step, 0.1), made.frame_event(frame, TABLE)]
    made.write_events(tmp_path, events)
    made.write_events(
        tmp_path, [made.scalar_event("gradient_health/mine", 0, 1.0)], name="x.tfevents.2"
    )
    data = EventFileSource(tmp_path).read(".")
    assert data.steps.tolist() == [0, 1, 2, 3]
    assert not data.errors


def test_a_file_without_one_of_our_tags_is_searched_and_not_parsed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [made.scalar_event("loss", step, 1.0) for step in range(1000)]
    made.write_events(tmp_path, theirs, name="a.tfevents.theirs")
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(2)), name="b.tfevents.ours")
    parsed = []
    parse = event_files.our_records

    def counted(stream: Any, name: str, errors: list[str]) -> Any:
        parsed.append(name)
        return parse(stream, name, errors)

    monkeypatch.setattr(event_files, "our_records", counted)
    assert EventFileSource(tmp_path).read(".").frames == 2
    assert parsed == ["b.tfevents.ours"]


@pytest.mark.parametrize("cut", range(0, 24, 5))
def test_a_tag_across_two_parts_that_are_read_is_seen(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(2)))
    at = path.read_bytes().index(b"gradient_health/")
    monkeypatch.setattr(event_files, "_AT_ONCE", at + cut)
    assert EventFileSource(tmp_path).runs() == ["."]


def test_a_resumed_run_in_two_files_is_one_timeline(tmp_path: pathlib.Path) -> None:
    first, second = made.make_frames(TABLE, range(10)), made.make_frames(TABLE, [6, 8], salt=1)
    made.write_run(tmp_path, TABLE, first, name="events.out.tfevents.1700000000.h.1.0.v2")
    made.write_run(tmp_path, TABLE, second, name="events.out.tfevents.1700000900.h.2.0.v2")
    (recording,) = EventFileSource(tmp_path).read(".").recordings
    assert recording.steps.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    np.testing.assert_array_equal(recording.values[6:], [f.values for f in second])


def test_tables_may_change_within_a_run(tmp_path: pathlib.Path) -> None:
    bigger = made.make_table(3)
    events = [made.table_event(TABLE)]
    events += [made.frame_event(f, TABLE) for f in made.make_frames(TABLE, range(3))]
    events += [made.table_event(bigger, 3)]
    events += [made.frame_event(f, bigger) for f in made.make_frames(bigger, range(3, 6))]
    made.write_events(tmp_path, events)
    data = EventFileSource(tmp_path).read(".")
    assert [r.table for r in data.recordings] == [TABLE, bigger]
    assert data.steps.tolist() == list(range(6))


def test_histograms_come_packed_with_their_step(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(50), histograms_every=20))
    found = EventFileSource(tmp_path).histograms(".")
    assert [h.step for h in found] == [0, 20, 40]
    table_id, counts = found[1].unpack()
    assert table_id == TABLE.table_id
    np.testing.assert_array_equal(counts, made.make_histograms(TABLE, 20))


def test_the_stored_verdict_is_read(tmp_path: pathlib.Path) -> None:
    flag = made.make_flag()
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(5)), flags=[flag])
    verdict = EventFileSource(tmp_path).read(".").verdict
    assert verdict is not None
    assert verdict.flags == (flag,)


# --- Damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_killed_writers_last_record_costs_only_itself(tmp_path: pathlib.Path, cut: int) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(10)))
    path.write_bytes(path.read_bytes()[:-cut])
    data = EventFileSource(tmp_path).read(".")
    assert data.steps.tolist() == list(range(9))
    assert not data.errors


def test_a_header_cut_short_costs_nothing(tmp_path: pathlib.Path) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    path.write_bytes(path.read_bytes() + b"\x10\x00\x00")
    assert EventFileSource(tmp_path).read(".").frames == 3


def test_a_flipped_bit_costs_one_record_and_is_reported(tmp_path: pathlib.Path) -> None:
    frames = made.make_frames(TABLE, range(10))
    path = made.write_run(tmp_path, TABLE, frames)
    content = bytearray(path.read_bytes())
    content[content.index(frames[4].values.tobytes()) + 7] ^= 0x10
    path.write_bytes(content)
    data = EventFileSource(tmp_path).read(".")
    assert data.steps.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (error,) = data.errors
    assert error.startswith(f"{path.name} is damaged at byte ")
    assert error.endswith("; records left out: 1.")


def test_a_broken_length_ends_the_file_keeps_what_was_read_and_is_reported(
    tmp_path: pathlib.Path,
) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\xff" * 200)
    later = "events.out.tfevents.1800000000.h.2.0.v2"
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3, 5)), name=later)
    data = EventFileSource(tmp_path).read(".")
    assert data.steps.tolist() == [0, 1, 2, 3, 4]
    assert data.errors == (f"{path.name} is damaged at byte {end}; what follows was not read.",)


def test_a_record_that_is_no_event_is_left_out_and_reported(tmp_path: pathlib.Path) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    with path.open("ab") as stream:
        stream.write(made.as_record(b"\xff\xff gradient_health/frames"))
    data = EventFileSource(tmp_path).read(".")
    assert data.frames == 3
    assert "is no event" in data.errors[0]


def test_a_record_longer_than_any_ends_the_file_keeps_what_was_read_and_is_reported(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + made.as_record(b"gradient_health/frames" * 1000))
    monkeypatch.setattr(event_files, "LONGEST_RECORD", 20_000)
    data = EventFileSource(tmp_path).read(".")
    assert data.frames == 3
    assert data.errors == (
        f"{path.name} has a record of 22000 bytes at byte {end}; what follows was not read.",
    )


def test_no_more_is_asked_for_than_there_is() -> None:
    """A record cut short names a length; room for it is made as its bytes come."""
    asked = []

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    record = made.as_record(b"gradient_health/frames" * 200_000)
    assert [*event_files.our_records(Stream(record[:3_000_000]), "x", [])] == []
    assert max(asked) == 1 << 20
    records = event_files.our_records(Stream(record), "x", [])
    assert [(at, len(r)) for at, r in records] == [(12, 4_400_000)]


def _set_shape(event: Any, *sizes: int) -> None:
    shape = event.summary.value[0].tensor.tensor_shape
    del shape.dim[:]
    for size in sizes:
        shape.dim.add(size=size)


def _set_dtype(event: Any) -> None:
    event.summary.value[0].tensor.dtype = 3


def _cut_content(event: Any) -> None:
    tensor = event.summary.value[0].tensor
    tensor.tensor_content = tensor.tensor_content[:-1]


def _set_step(event: Any) -> None:
    event.step = 2**62


def _set_time(event: Any) -> None:
    event.wall_time = float("-inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda event: _set_shape(event, 1000, 1000), "shape does not fit"),
        (lambda event: _set_shape(event, -1, -1), "shape does not fit"),
        (lambda event: _set_shape(event, *[1] * 65), "shape does not fit"),
        (_set_dtype, "a tensor of type 3"),
        (_cut_content, "a tensor of type 1"),
        (_set_step, "its step cannot be 4611686018427387904"),
        (_set_time, "its time cannot be -inf"),
    ],
)
def test_a_frame_that_cannot_be_is_left_out_and_its_file_named(
    tmp_path: pathlib.Path, change: Callable[[Any], None], words: str
) -> None:
    events = [made.table_event(TABLE)]
    events += [made.frame_event(frame, TABLE) for frame in made.make_frames(TABLE, range(5))]
    change(events[3])
    path = made.write_events(tmp_path, events)
    data = EventFileSource(tmp_path).read(".")
    assert data.steps.tolist() == [0, 1, 3, 4]
    assert data.errors[0].startswith(f"{path.name}: records left out: 1.")
    assert words in data.errors[0]


def test_a_shape_that_is_to_be_filled_with_one_number_takes_no_memory(
    tmp_path: pathlib.Path,
) -> None:
    event = made.frame_event(made.make_frame(TABLE, 0), TABLE)
    tensor = event.summary.value[0].tensor
    tensor.tensor_content = b""
    tensor.float_val.append(1.0)
    made.write_events(tmp_path, [made.table_event(TABLE), event])
    assert "shape does not fit" in EventFileSource(tmp_path).read(".").errors[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    path = made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(3)))
    os.mkfifo(tmp_path / "a.tfevents")
    os.mkfifo(tmp_path / "b.tfevents.gradient_health")
    source = EventFileSource(tmp_path)
    assert source.runs() == ["."]
    data = source.read(".")
    assert data.frames == 3
    assert data.errors == (
        "a.tfevents could not be read: it is not a regular file.",
        "b.tfevents.gradient_health could not be read: it is not a regular file.",
    )
    path.unlink()
    assert source.runs() == ["."], "a file of ours that cannot be read is reported"


# --- Nothing to read ------------------------------------------------------------------------


def test_a_file_of_ours_that_is_nothing_but_damage_is_a_run_that_says_so(
    tmp_path: pathlib.Path,
) -> None:
    ours, others = "events.out.tfevents.1.host.2.gradient_health", "events.out.tfevents.1.host.2.v2"
    for name in (ours, others):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(b"\xff" * 64)
    source = EventFileSource(tmp_path)
    assert source.runs() == [ours]
    assert source.read(ours).errors == (f"{ours} is damaged at byte 0; what follows was not read.",)


def test_a_folder_that_may_not_be_listed_is_no_empty_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        EventFileSource(tmp_path).runs()


def test_a_missing_folder_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ReadError, match=r"There is no folder '.*nowhere'"):
        EventFileSource(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(tmp_path: pathlib.Path) -> None:
    path = made.write_run(tmp_path, TABLE, [])
    with pytest.raises(ReadError, match="is a file"):
        EventFileSource(path)


def test_an_unknown_run_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ReadError, match="no run 'x'"):
        EventFileSource(tmp_path).read("x")


def test_a_newer_format_says_how_to_upgrade(tmp_path: pathlib.Path) -> None:
    made.write_events(tmp_path, [made.table_event(TABLE, format_version=2)])
    with pytest.raises(ReadError, match=r"Run '\.' was written in format 2.*pip install -U"):
        EventFileSource(tmp_path).read(".")


# --- Where files are ------------------------------------------------------------------------


def test_links_are_followed_and_circles_are_not(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "real", TABLE, made.make_frames(TABLE, range(2)))
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    (logs / "circle").symlink_to(logs, target_is_directory=True)
    assert EventFileSource(logs).runs() == ["linked"]


def test_local_files_are_read_without_importing_tensorflow_or_tensorboard(
    tmp_path: pathlib.Path,
) -> None:
    """TensorBoard's messages refuse a protobuf that is older than the one they were made with."""
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(2)))
    program = (
        "import sys\n"
        "from tb_gradients.reading.event_files import EventFileSource\n"
        f"assert EventFileSource({str(tmp_path)!r}).read('.').frames == 2\n"
        "assert not {'tensorflow', 'tensorboard'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_other_file_systems_go_through_tensorboards_shim(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.compat import tensorflow_stub

    made.write_run(tmp_path / "a", TABLE, made.make_frames(TABLE, range(3)))
    remote = event_files._Remote(tensorflow_stub.io.gfile)
    monkeypatch.setattr(event_files, "_Local", lambda: remote)
    source = EventFileSource(tmp_path)
    assert source.runs() == ["a"]
    assert source.read("a").frames == 3


def test_an_unknown_file_system_says_what_to_do() -> None:
    with pytest.raises(ReadError, match="copy the folder to a local disk"):
        EventFileSource("nosuchscheme://bucket/logs")
