"""A growing run is judged frame by frame, with the verdict of judging it at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import recordings as made

from tb_gradients import judging
from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.lane import Lane
from tb_gradients.plugin.judging import TOGETHER, Judgement, RunJudge
from tb_gradients.reading.source import RunData

TABLE, BIGGER = made.make_table(2), made.make_table(3)
FAULTY = made.turn_nonfinite(
    made.turn_zero(made.make_frames(TABLE, range(80)), TABLE, [2, 3], since=20), TABLE, since=60
)
GROWN = made.turn_zero(made.make_frames(BIGGER, range(80, 140)), BIGGER, [4, 5], since=90)


def run_of(*parts: tuple[VariableTable, Sequence[Frame]]) -> RunData:
    """As it comes from a reader: every time with tables that were read anew."""
    recordings = tuple(
        Recording.from_frames(VariableTable.from_bytes(table.to_bytes()), frames)
        for table, frames in parts
        if frames
    )
    times = [frame.wall_time for _, frames in parts for frame in frames]
    return RunData("run", recordings, np.array(times))


def judged_at_once(data: RunData) -> Judgement:
    verdict = judging.judge(list(data.recordings))
    assert verdict.errors == ()
    return Judgement(verdict.flags, (), False, verdict.rules, verdict.undecided)


@pytest.mark.parametrize("portion", [1, 7, 50, 140])
def test_judging_in_portions_is_judging_at_once(portion: int) -> None:
    judge = RunJudge()
    for end in range(portion, 140 + portion, portion):
        data = run_of((TABLE, FAULTY[:end]), (BIGGER, GROWN[: max(0, end - 80)]))
        if end % 35 == 0 or end >= 140:
            assert judge.judgement(data) == judged_at_once(data)
        else:
            judge.judgement(data)


def test_a_faulty_run_is_flagged_at_all() -> None:
    judgement = RunJudge().judgement(run_of((TABLE, FAULTY)))
    assert judgement is not None
    assert "nonfinite_gradient" in {flag.rule for flag in judgement.flags}


def test_training_that_went_back_is_judged_from_the_start() -> None:
    judge = RunJudge()
    judge.judgement(run_of((TABLE, FAULTY)))
    healthy_again = [*FAULTY[:10], *made.make_frames(TABLE, range(10, 40), salt=1)]
    healthy_again[10:] = [
        Frame(f.step, f.wall_time + 1000, f.values, f.context) for f in healthy_again[10:]
    ]
    data = run_of((TABLE, healthy_again))
    assert judge.judgement(data) == judged_at_once(data)


def test_a_run_without_frames_has_no_flags() -> None:
    assert RunJudge().judgement(RunData("run")) == Judgement((), (), live=False)


def test_a_deadline_loses_nothing() -> None:
    now = iter(range(1000))
    judge = RunJudge(clock=lambda: next(now))
    data = run_of((TABLE, FAULTY[: 2 * TOGETHER]))
    assert judge.judgement(data, deadline=1) is None
    assert judge.judgement(data, deadline=math.inf) == judged_at_once(data)


def with_lane(data: RunData, end: int) -> RunData:
    """The run with a lane whose first blocks, up to a step, are written."""
    (recording,) = data.recordings
    count = int(recording.steps[-1]) + 1
    codes = np.full((count, len(TABLE.variables)), 30_000, np.uint16)
    lane = Lane.of_steps(0, codes, np.ones(count), np.linspace(2.3, 0.3, count))[:end]
    return dataclasses.replace(data, recordings=(dataclasses.replace(recording, lane=lane),))


def test_frames_are_judged_with_their_part_of_the_lane_also_if_it_is_written_after_them() -> None:
    judge = RunJudge()
    frames = [
        *made.make_frames(TABLE, range(0, 60, 3)),
        *made.make_frames(TABLE, range(60, 300, 5)),
    ]
    data = run_of((TABLE, frames))
    for end in (0, 20, 20, 290, 300):
        so_far = with_lane(data, end)
        assert judge.judgement(so_far) == judged_at_once(so_far)
