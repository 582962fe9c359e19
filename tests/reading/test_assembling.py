"""Points in the order of writing become one run."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import recordings as made
from hypothesis import given
from hypothesis import strategies as st

from tb_gradients.flags import RuleError
from tb_gradients.frames import FormatError, Frame, VariableTable
from tb_gradients.lane import Lane
from tb_gradients.lane_pack import pack
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.assembling import (
    Message,
    Point,
    assemble,
    check_metadata,
    latest_timeline,
)
from tb_gradients.reading.source import ReadError, RunData, StoredVerdict, frames_are_missing

TABLE = made.make_table(2)


def assembled(
    frames: Sequence[Frame],
    tables: Iterable[VariableTable] = (TABLE,),
    lanes: Iterable[bytes] = (),
    **more: bytes,
) -> RunData:
    return assemble(
        "run",
        tables=[Message(table.to_bytes()) for table in tables],
        frames=[Point(f.step, f.wall_time, f.values) for f in frames],
        contexts=[Point(f.step, f.wall_time, f.context) for f in frames],
        verdicts=[Message(data) for data in more.values()],
        lanes=[Message(data) for data in lanes],
    )


def at(*steps: int) -> list[Point]:
    nothing = np.zeros(0, np.float32)
    return [Point(step, float(i), nothing) for i, step in enumerate(steps)]


# --- Timelines ------------------------------------------------------------------------------


def test_going_back_abandons_what_came_at_that_step_and_later() -> None:
    kept = latest_timeline(at(0, 1, 2, 3, 4, 5, 3, 4, 5, 6))
    assert [(p.step, p.wall_time) for p in kept] == [
        (0, 0), (1, 1), (2, 2), (3, 6), (4, 7), (5, 8), (6, 9),
    ]  # fmt: skip


def test_a_sparser_second_try_keeps_nothing_of_the_first_in_between() -> None:
    assert [p.step for p in latest_timeline(at(0, 10, 11, 12, 13, 10, 20))] == [0, 10, 20]


@given(st.lists(st.integers(0, 20)))
def test_steps_always_rise_and_the_last_point_always_counts(steps: list[int]) -> None:
    kept = latest_timeline(at(*steps))
    assert all(a.step < b.step for a, b in itertools.pairwise(kept))
    assert [p.wall_time for p in kept[-1:]] == [len(steps) - 1][: len(steps)]
    assert latest_timeline(kept) == kept


def test_a_clock_set_back_does_not_lose_frames() -> None:
    frames = made.make_frames(TABLE, range(10))
    frames[5:] = [dataclasses.replace(f, wall_time=f.wall_time - 3600) for f in frames[5:]]
    assert assembled(frames).steps.tolist() == list(range(10))


# --- Tables ---------------------------------------------------------------------------------


def test_frames_of_one_table_are_one_recording_with_the_same_numbers() -> None:
    frames = made.make_frames(TABLE, range(5))
    data = assembled(frames)
    (recording,) = data.recordings
    assert recording.table == TABLE
    np.testing.assert_array_equal(recording.values, [f.values for f in frames])
    np.testing.assert_array_equal(recording.context, [f.context for f in frames])
    np.testing.assert_array_equal(data.wall_times, [f.wall_time for f in frames])
    assert data.frames == 5
    assert not data.errors


def test_a_table_that_comes_back_opens_a_new_recording() -> None:
    other = made.make_table(3)
    frames = (
        made.make_frames(TABLE, range(3))
        + made.make_frames(other, range(3, 5))
        + made.make_frames(TABLE, range(5, 9))
    )
    data = assembled(frames, [TABLE, other])
    assert [len(r.table.variables) for r in data.recordings] == [4, 6, 4]
    assert [len(r) for r in data.recordings] == [3, 2, 4]
    assert data.steps.tolist() == list(range(9))


def test_frames_without_their_table_are_left_out_and_mentioned() -> None:
    other = made.make_table(3)
    frames = made.make_frames(TABLE, range(3)) + made.make_frames(other, range(3, 5))
    data = assembled(frames, [TABLE])
    assert data.frames == 3
    assert data.errors == ("Frames left out because their variable table was not found: 2.",)


def test_frames_of_another_shape_than_their_table_are_left_out_and_mentioned() -> None:
    frames = made.make_frames(TABLE, range(3))
    frames[1] = dataclasses.replace(frames[1], values=frames[1].values[:, :-1])
    data = assembled(frames)
    assert data.steps.tolist() == [0, 2]
    assert data.errors[0].startswith("Frames left out because their shape")


def test_a_table_that_is_no_table_is_mentioned() -> None:
    data = assemble("run", tables=[Message(b"\xff\xff nonsense")], frames=[], contexts=[])
    assert data.errors[0].startswith("A variable table was left out: unreadable variable table")


def test_a_run_without_frames_is_empty() -> None:
    data = assembled([])
    assert data.frames == 0
    assert data.steps.tolist() == []
    assert data.wall_times.tolist() == []


# --- Newer formats --------------------------------------------------------------------------


def test_a_newer_table_says_how_to_upgrade() -> None:
    table = pb.VariableTable(format_version=99).SerializeToString()
    with pytest.raises(ReadError, match=r"Run 'run' was written in format 99.*pip install -U"):
        assemble("run", tables=[Message(table)], frames=[], contexts=[])


def test_newer_metadata_say_how_to_upgrade() -> None:
    with pytest.raises(ReadError, match="pip install -U tb-gradients"):
        check_metadata("run", pb.PluginData(format_version=99).SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\xff\xff nonsense"])
def test_metadata_of_others_are_no_reason_to_refuse(content: bytes) -> None:
    check_metadata("run", content)


# --- Verdicts -------------------------------------------------------------------------------


def test_a_stored_verdict_comes_back_as_it_was() -> None:
    verdict = StoredVerdict(
        (made.make_flag(),), (RuleError("dead_units", 7, "division by zero"),), 9, 10
    )
    assert StoredVerdict.from_bytes(verdict.to_bytes()) == verdict


def test_the_last_of_several_verdicts_counts() -> None:
    early, late = StoredVerdict((), (), 3, 4), StoredVerdict((made.make_flag(),), (), 9, 10)
    frames = made.make_frames(TABLE, range(10))
    data = assembled(frames, first=early.to_bytes(), second=late.to_bytes())
    assert data.verdict == late
    assert data.covering_verdict() == late


def test_a_verdict_on_only_the_resumed_part_does_not_cover_the_run() -> None:
    frames = made.make_frames(TABLE, range(10))
    of_the_second_half = StoredVerdict((), (), last_step=9, frames=5)
    data = assembled(frames, verdict=of_the_second_half.to_bytes())
    assert data.verdict == of_the_second_half
    assert data.covering_verdict() is None


def test_a_verdict_covers_frames_that_came_after_it_without_changing_it() -> None:
    frames = made.make_frames(TABLE, range(10))
    data = assembled(frames, verdict=StoredVerdict((), (), last_step=0, frames=1).to_bytes())
    assert data.covering_verdict() == data.verdict


def test_an_unreadable_verdict_is_mentioned_and_the_frames_remain() -> None:
    data = assembled(made.make_frames(TABLE, range(3)), verdict=b"\xff\xff nonsense")
    assert data.frames == 3
    assert data.verdict is None
    assert data.errors[0].startswith("The stored verdict was left out")


def test_a_newer_verdict_says_how_to_upgrade() -> None:
    newer = pb.FlagList(format_version=99).SerializeToString()
    with pytest.raises(FormatError, match="pip install -U"):
        StoredVerdict.from_bytes(newer)
    with pytest.raises(ReadError, match="pip install -U"):
        assembled([], verdict=newer)


# --- Missing frames -------------------------------------------------------------------------


def test_frames_that_follow_each_other_are_complete_however_sparse() -> None:
    assert not frames_are_missing(assembled(made.make_frames(TABLE, [0, 1, 2, 10, 20, 100])))


def test_dropped_frames_show_in_the_steps_that_frames_say_they_span() -> None:
    frames = made.make_frames(TABLE, range(100))
    assert frames_are_missing(assembled(frames[::10]))


def test_one_gap_is_a_resume_from_a_later_checkpoint() -> None:
    frames = made.make_frames(TABLE, range(10)) + made.make_frames(TABLE, range(50, 60))
    assert not frames_are_missing(assembled(frames))


# --- The dense lane -------------------------------------------------------------------------


def lane_steps(first: int, count: int, table: VariableTable = TABLE, code: int = 1000) -> Lane:
    codes = np.full((count, len(table.variables)), code, np.uint16)
    return Lane.of_steps(first, codes, [1] * count)


def with_lanes(
    frames: Sequence[Frame],
    lanes: Sequence[tuple[Lane, VariableTable]],
    tables: Sequence[VariableTable] = (TABLE,),
) -> RunData:
    return assembled(frames, tables, [pack(lane, table.table_id) for lane, table in lanes])


def test_a_run_without_a_lane_has_none() -> None:
    assert assembled(made.make_frames(TABLE, [0, 4])).lane is None


def test_the_lane_has_the_steps_behind_the_last_frame_too() -> None:
    data = with_lanes(
        made.make_frames(TABLE, [0, 4]), [(lane_steps(0, 5), TABLE), (lane_steps(5, 3), TABLE)]
    )
    assert data.lane is not None
    assert data.lane.steps.tolist() == list(range(8))
    assert data.lane.norms.shape == (8, len(TABLE.variables))


def test_a_training_that_went_back_drops_the_steps_from_there_on() -> None:
    lanes = [(lane_steps(0, 10), TABLE), (lane_steps(10, 10), TABLE)]
    lanes += [(lane_steps(6, 3, code=2000), TABLE), (lane_steps(9, 2, code=2000), TABLE)]
    data = with_lanes(made.make_frames(TABLE, [0, 5, 10]), lanes)
    assert data.lane is not None
    assert data.lane.steps.tolist() == list(range(11))
    assert data.lane.high[:, 0].tolist() == [1000] * 6 + [2000] * 5


def test_the_lane_goes_over_a_change_of_the_variables() -> None:
    other = VariableTable(TABLE.variables[:1], TABLE.run)
    frames = [*made.make_frames(TABLE, [0, 4]), *made.make_frames(other, [5, 8])]
    lanes = [(lane_steps(0, 5), TABLE), (lane_steps(5, 5, other), other)]
    data = with_lanes(frames, lanes, (TABLE, other))
    assert [len(r.lane) for r in data.recordings if r.lane is not None] == [5, 5]
    assert data.variables[0] == other.paths[0]
    assert data.lane is not None
    assert np.isnan(data.lane.norms[5:, 1:]).all()
    assert np.isfinite(data.lane.norms[5:, 0]).all()
    assert np.isfinite(data.lane.norms[:5]).all()


def test_a_damaged_part_of_the_lane_is_named_and_left_out() -> None:
    lanes = [b"nonsense", pack(lane_steps(0, 2), TABLE.table_id)]
    data = assembled(made.make_frames(TABLE, [0]), lanes=lanes)
    assert data.lane is not None
    assert len(data.lane) == 2
    assert data.errors == ("Damaged parts of the dense lane were left out: 1.",)
