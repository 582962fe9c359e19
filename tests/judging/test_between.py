"""The rows between two frames are those that frames there would have given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import make_table

from tb_gradients.frames import Frame
from tb_gradients.judging import between, cells
from tb_gradients.judging.engine import Engine
from tb_gradients.judging.registry import all_rules
from tb_gradients.lane import NONE, Lane, codes_of, in_blocks, joined

TABLE = make_table(2)
COUNT = len(TABLE.variables)


class Run:
    """A run made up step by step, and its frames at any steps.

    Args:
        norms: [steps, variables]; NaN: the gradient is NaN, -1: it is None.
        losses: [steps].
    """

    def __init__(self, norms: Any, losses: Any) -> None:
        self.norms, self.losses = np.asarray(norms, float), np.asarray(losses, float)
        squares = np.where(self.norms < 0, 1.0, self.norms) ** 2
        codes = codes_of(squares)
        codes[self.norms < 0] = NONE
        self.lane = Lane.of_steps(0, codes, np.ones(len(codes)), self.losses)

    def frame(self, step: int, since: int) -> Frame:
        """The frame of a step, whose window begins at ``since``; what it does not know is NaN."""
        norms, losses = self.norms[since : step + 1], self.losses[since : step + 1]
        finite = losses[np.isfinite(losses)]
        broken = np.flatnonzero(~np.isfinite(losses))
        own = norms[-1]
        context = {
            "window_steps": len(norms),
            "applied_steps": len(norms),
            "skipped_steps": 0,
            "loss": losses[-1] if np.isfinite(losses[-1]) else math.nan,
            "loss_mean": finite.mean() if finite.size else math.nan,
            "loss_min": finite.min(initial=math.inf) if finite.size else math.nan,
            "loss_max": finite.max(initial=-math.inf) if finite.size else math.nan,
            "loss_nonfinite_age": len(losses) - 1 - broken[0] if broken.size else -1,
            "global_norm": math.sqrt(np.nansum(np.square(own[~(own < 0)])))
            if np.isfinite(own[~(own < 0)]).any()
            else math.nan,
        }
        values = np.full((COUNT, len(TABLE.statistics)), np.nan, np.float32)
        for row in range(COUNT):
            mine = norms[:, row]
            none, nan = mine < 0, np.isnan(mine)
            known, bad = mine[~none & ~nan], np.flatnonzero(nan)
            measured = len(mine) - none.sum()
            columns = {
                "gradient_norm": own[row] if own[row] >= 0 else math.nan,
                "gradient_norm_max": known.max() if known.size else math.nan,
                "nonfinite_age": len(mine) - 1 - bad[0] if bad.size else -1,
                "zero_step_share": (mine == 0).sum() / measured if measured else math.nan,
                "none_step_share": none.mean(),
            }
            if not measured:
                columns["nonfinite_age"] = math.nan
            for name, value in columns.items():
                values[row, TABLE.statistics.index(name)] = value
        vector = [context.get(name, math.nan) for name in TABLE.context]
        lane = self.lane[since : step + 1]
        return Frame(step, float(step), values, np.array(vector, np.float32), lane=lane)

    def frames(self, steps: Iterable[int]) -> list[Frame]:
        steps = sorted({0, *steps, len(self.norms) - 1})
        return [
            self.frame(step, before + 1)
            for before, step in zip([-1, *steps[:-1]], steps, strict=True)
        ]

    def every_cell(self) -> list[int]:
        return np.unique(cells.ends(np.arange(len(self.norms)))).tolist()[:-1]


def rows_of(frames: Sequence[Frame]) -> list[Frame]:
    found: list[Frame] = []
    for frame in frames:
        found += between.rows(frame, TABLE, found[-1].step if found else -1)
    return found


NORMS = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([0.0, -1.0, math.nan]))
RUNS = st.integers(1, 150).flatmap(
    lambda steps: st.builds(
        Run,
        st.lists(st.lists(NORMS, min_size=COUNT, max_size=COUNT), min_size=steps, max_size=steps),
        st.lists(
            st.one_of(st.floats(-100, 100, width=32), st.just(math.nan)),
            min_size=steps,
            max_size=steps,
        ),
    )
)


@settings(max_examples=25, deadline=None)
@given(RUNS, st.sets(st.integers(0, 149)))
def test_rows_are_the_frames_that_were_left_out(run: Run, taken: set[int]) -> None:
    last = len(run.norms) - 1
    all_of_them = run.frames(step for step in run.every_cell() if step < last)
    some = run.frames(step for step in taken & set(run.every_cell()) if step < last)

    rows = rows_of(some)

    assert [row.step for row in rows] == [frame.step for frame in all_of_them]
    for row, frame in zip(rows, all_of_them, strict=True):
        for name in TABLE.statistics:
            if name in between.KNOWN:
                column = TABLE.statistics.index(name)
                np.testing.assert_allclose(
                    row.values[:, column], frame.values[:, column], rtol=1e-3, err_msg=name
                )
        for name in TABLE.context:
            if name in between.KNOWN:
                at = TABLE.context.index(name)
                np.testing.assert_allclose(
                    row.context[at], frame.context[at], rtol=1e-3, atol=1e-4, err_msg=name
                )


def test_frames_without_a_lane_and_frames_of_every_cell_are_taken_as_they_are() -> None:
    run = Run(np.ones((100, COUNT)), np.ones(100))
    frames = run.frames(run.every_cell())
    assert all(row is frame for row, frame in zip(rows_of(frames), frames, strict=True))
    bare = Frame(50, 0.0, frames[0].values, frames[0].context)
    assert list(between.rows(bare, TABLE, 3)) == [bare]


def test_steps_that_nobody_has_seen_are_no_row() -> None:
    run = Run(np.ones((40, COUNT)), np.ones(40))
    lost = Lane.of_steps(0, np.zeros((30, COUNT), np.uint16), seen=False)
    frame = run.frame(39, 0)
    frame = Frame(39, 0.0, frame.values, frame.context, lane=joined([lost, run.lane[30:]]))

    rows = list(between.rows(frame, TABLE, -1))

    assert [row.step for row in rows] == list(range(30, 40))
    spans = [row.context[TABLE.context.index("window_steps")] for row in rows]
    assert spans == [31, *[1] * 9]


def test_blocks_of_several_steps_give_a_row_where_their_cell_ends() -> None:
    steps, wide = 3 * 8192, 1000
    codes = codes_of(np.ones((steps, wide)))
    lane = in_blocks(Lane.of_steps(0, codes, np.ones(steps), np.ones(steps)), 0)
    table = make_table(wide // 2)
    values = np.ones((wide, len(table.statistics)), np.float32)
    context = np.ones(len(table.context), np.float32)

    rows = list(between.rows(Frame(steps - 1, 0.0, values, context, lane=lane), table, -1))

    assert rows[-2].step < 2**14 + 8192
    assert {row.step % 256 for row in rows if 8192 < row.step < 2**14} == {0}
    spans = [row.context[table.context.index("window_steps")] for row in rows if row.step > 128]
    assert sum(spans) == pytest.approx(steps - 129, abs=512)


def faulty(kind: str, since: int, steps: int = 400) -> Run:
    rng = np.random.default_rng(0)
    norms = np.exp(0.1 * rng.standard_normal((steps, COUNT)))
    losses = 2.3 - np.minimum(np.arange(steps) / 400, 0.3) + 0.02 * rng.standard_normal(steps)
    if kind == "zero_gradient":
        norms[since:, :2] = 0
    elif kind == "disconnected_gradient":
        norms[since:, :2] = -1
    else:
        norms[since:] *= np.exp(np.arange(steps - since))[:, np.newaxis].clip(max=1e6)
        losses[since:] += np.exp(np.arange(steps - since)).clip(max=1e6)
    return Run(norms, losses)


FAULTY = [
    (kind, since)
    for kind in ("zero_gradient", "disconnected_gradient", "exploding_gradient")
    for since in (0, 23, 150, 270)
    if since or kind != "exploding_gradient"  # which is held against its own start
]


@pytest.mark.parametrize(("kind", "since"), FAULTY)
def test_flags_do_not_depend_on_which_steps_are_frames(kind: str, since: int) -> None:
    run = faulty(kind, since)
    others = {rule.id: False for rule in all_rules() if not rule.dense}
    found = []
    for steps in (run.every_cell(), range(0, 400, 10), range(0, 400, 100), [64, 128, 256]):
        engine = Engine(TABLE, others)
        for frame in run.frames(steps):
            engine.update(frame)
        assert not engine.errors
        found.append(
            sorted((f.rule, f.severity, sorted(f.variables), f.first_step) for f in engine.flags)
        )
    late = 20 if kind == "exploding_gradient" else 1  # which is grown first
    assert any(rule == kind and 0 <= first - since <= late for rule, _, _, first in found[0])
    for flags in found:
        assert [flag[:3] for flag in flags] == [flag[:3] for flag in found[0]]
        onsets = np.array([[flag[3] for flag in some] for some in (flags, found[0])])
        assert np.abs(np.diff(onsets, axis=0)).max() <= 0.02 * len(run.norms)
