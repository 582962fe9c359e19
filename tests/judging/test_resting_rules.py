"""A rule that is known to find nothing is not asked, and no verdict depends on that."""

from __future__ import annotations

import numpy as np
import pytest
import recordings as made
from store_verdicts import RECORDED

from tb_gradients.frames import Recording
from tb_gradients.judging import engine, judge
from tb_gradients.judging.progress import Progress
from tb_gradients.judging.window import CAPACITY, History, Window
from tb_gradients.reading.event_files import EventFileSource

TABLE = made.make_table(3)


def faulty() -> list[Recording]:
    """Zero gradients, then NaN, then other variables."""
    frames = made.make_frames(TABLE, range(0, 400, 2))
    frames = made.turn_zero(frames, TABLE, [2, 3], since=100)
    frames = made.turn_nonfinite(frames, TABLE, since=300)
    bigger = made.make_table(4)
    later = made.turn_zero(made.make_frames(bigger, range(400, 500)), bigger, [4, 5], since=450)
    return [Recording.from_frames(TABLE, frames), Recording.from_frames(bigger, later)]


@pytest.mark.parametrize("run", [None, *EventFileSource(RECORDED).runs()[::12]])
def test_the_verdict_is_that_of_asking_every_rule_at_every_frame(
    monkeypatch: pytest.MonkeyPatch, run: str | None
) -> None:
    recordings = faulty() if run is None else EventFileSource(RECORDED).read(run).recordings
    found = judge(recordings)
    rested = []
    monkeypatch.setattr(engine._Track, "rests", lambda track: rested.append(track.rule.id))
    assert judge(recordings) == found
    assert rested


def test_rules_whose_fault_the_table_rules_out_are_never_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tb_gradients.rules.clipping_dominates import ClippingDominates

    def asked(*_: object) -> None:
        raise AssertionError("the optimizer does not clip")

    monkeypatch.setattr(ClippingDominates, "detect", asked)
    assert judge(faulty()).errors == ()


def _norms(window: Window, frames: slice) -> np.ndarray:
    return 2 * window.statistic("gradient_norm")[frames]


@pytest.mark.parametrize("rhythm", [1, 3, 70])
def test_what_is_asked_once_of_each_frame_is_what_asking_again_gives(rhythm: int) -> None:
    history = History(TABLE, {"gradient_norm"})
    window = Window(history, {"gradient_norm"}, Progress())
    steps = [*range(3 * CAPACITY), *range(100, 100 + CAPACITY), *range(5)]  # it goes back twice
    for i, step in enumerate(steps):
        history.push(made.make_frame(TABLE, step, salt=i))
        if i % rhythm == 0:
            asked = window.of_each_frame(_norms)
            np.testing.assert_array_equal(asked, _norms(window, slice(0, len(window))))
