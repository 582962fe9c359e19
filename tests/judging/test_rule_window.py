"""What a rule sees of the last frames: since when something has been so."""

from __future__ import annotations

import numpy as np
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
