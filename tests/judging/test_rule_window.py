"""What a rule sees of the last frames: since when something has been so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import make_frame, make_table, with_value

from tb_gradients.frames import Frame
from tb_gradients.judging.progress import Progress
from tb_gradients.judging.window import History, Window

TABLE = make_table(1)


def framed(zero: list[bool], spans: list[int]) -> Window:
    """Frames that stand for so many steps each, of a run that was so at some of them."""
    history = History(TABLE, {"zero_step_share"})
    step = 0
    for span in spans:
        share = float(np.mean(zero[step : step + span]))
        step += span
        frame: Frame = make_frame(TABLE, step - 1, since=span)
        history.push(with_value(frame, TABLE, "zero_step_share", share))
    return Window(history, {"zero_step_share"}, Progress())


@given(
    spans=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    data=st.data(),
)
def test_what_lasts_until_now_is_reported_since_its_own_step_at_every_cadence(
    spans: list[int], data: st.DataObject
) -> None:
    total = sum(spans)
    began = data.draw(st.integers(0, total - 1))
    zero = [step >= began for step in range(total)]

    window = framed(zero, spans)

    since = window.at_every_step_since(window.statistic("zero_step_share"))
    assert set(since.tolist()) == {began}


@pytest.mark.parametrize("salt", range(6))
def test_frames_taken_in_together_leave_the_same_facts_as_one_by_one(salt: int) -> None:
    random = np.random.default_rng(salt)
    names = {"gradient_norm", "dead_unit_share"}
    one, many = History(TABLE, names), History(TABLE, names)
    step = 0
    for count in random.integers(1, 71, size=4).tolist():
        step = 0 if random.random() < 0.3 else step  # training goes back
        frames = [make_frame(TABLE, step + i, salt=count) for i in range(count)]
        for frame in frames:
            number = random.choice([0.0, 1.0, 2.0, np.nan])
            frame.values[0, TABLE.statistics.index("gradient_norm")] = number
        step += count
        many.extend(frames)
        for frame in frames:
            many.advance()
            one.push(frame)
            for name in names:
                np.testing.assert_array_equal(many.block(name), one.block(name))
                assert many.was_seen(name) == one.was_seen(name)
            assert many.last_frames(20, 3) == one.last_frames(20, 3)
            assert (many.seen, many.restarts) == (one.seen, one.restarts)
    for name in names:
        np.testing.assert_array_equal(many.peak(name), one.peak(name))
        np.testing.assert_array_equal(many.peak_step(name), one.peak_step(name))
        np.testing.assert_array_equal(many.start(name), one.start(name))


def test_frames_of_which_nothing_is_known_break_nothing() -> None:
    window = framed([False] * 4 + [True] * 6, [2] * 5)
    share = window.statistic("zero_step_share").copy()
    share[3] = np.nan

    assert set(window.at_every_step_since(share).tolist()) == {4}


def test_what_is_unknown_at_the_start_does_not_count_as_seen() -> None:
    window = framed([True] * 10, [2] * 5)
    share = window.statistic("zero_step_share").copy()
    share[:2] = np.nan

    assert set(window.at_every_step_since(share).tolist()) == {4}
