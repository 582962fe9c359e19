"""A rule that is known to find nothing is not asked, and no verdict depends on that."""

from __future__ import annotations

import numpy as np
import pytest
import recordings as made
from store_verdicts import RECORDED

from tb_gradients.frames import Frame, Recording, VariableTable
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

    def asked(track: engine._Track, *_: object, **__: object) -> None:
        rested.append(track.rule.id)

    monkeypatch.setattr(engine._Track, "rests", asked)
    assert judge(recordings) == found
    assert rested


Run = list[tuple[VariableTable, list[Frame]]]

COLUMNS = (
    "gradient_norm", "gradient_norm_max", "applied_norm", "weight_norm", "update_norm",
    "lost_share", "unit_spread", "dead_unit_share", "zero_step_share", "none_step_share",
    "nonfinite_age", "gradient_nan_count", "gradient_subnormal_share",
)  # fmt: skip
CONTEXT = (
    "loss_mean", "loss", "loss_nonfinite_age", "global_norm", "learning_rate", "skipped_steps",
    "loss_scale", "inputs_max_abs", "inputs_std", "inputs_outlier", "inputs_nonfinite",
    "targets_min", "targets_max", "predictions_spread", "added_loss", "applied_steps",
)  # fmt: skip
NUMBERS = (0.0, 1.0, -1.0, 1e-9, 1e-4, 0.5, 30.0, 1e3, 1e9, np.nan)


def faulty_at_random(seed: int) -> Run:
    """A healthy run with other numbers here and there, that may go back or change its variables."""
    random = np.random.default_rng(seed)
    facts = {"head_activation": "sigmoid", "head_units": "1", "head": "dense_2"}
    table = made.make_table(3, loss=str(random.choice(["", "BinaryCrossentropy"])), facts=facts)
    spread = int(random.choice([1, 1, 3]))
    steps = [*range(0, 110 * spread, spread)]
    if seed % 3 == 0:
        steps += range(50, 80)
    frames = made.make_frames(table, steps, salt=seed)
    for _ in range(random.integers(1, 7)):
        begin = int(random.integers(len(frames)))
        end = begin + int(random.choice([1, 3, 40, len(frames)]))
        number = float(random.choice(NUMBERS))
        rows = random.random(len(table.variables)) < random.choice([0.2, 0.6, 1])
        column, context = random.choice(COLUMNS), random.choice(CONTEXT)
        of_variables = random.random() < 0.5
        for frame in frames[begin:end]:
            if of_variables:
                frame.values[rows, table.statistics.index(column)] = number
            else:
                frame.context[table.context.index(context)] = number
    bigger = made.make_table(4)
    return [(table, frames), (bigger, made.make_frames(bigger, range(900, 930), salt=seed))]


def news_of(run: Run, together: int) -> list[object]:
    """What an engine says after each frame, given so many at once."""
    judging = engine.Engine(run[0][0])
    said: list[object] = []
    for table, frames in run:
        judging.set_table(table)
        for i in range(0, len(frames), together):
            said += [
                repr((flags, judging.outline, judging.judged, judging.undecided))
                for flags in judging.update_each(frames[i : i + together])
            ]
    return [*said, repr((judging.flags, judging.states, judging.errors))]


@pytest.mark.parametrize("salt", range(8))
def test_frames_that_come_together_are_judged_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch, salt: int
) -> None:
    run = faulty_at_random(salt)
    together, some = news_of(run, 200), news_of(run, 7)
    monkeypatch.setattr(engine._Track, "rests", lambda *_, **__: False)
    assert together == some == news_of(run, 1)


def test_a_run_without_faults_is_looked_at_and_hardly_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    ask = engine.Engine._apply

    def counted(judging: engine.Engine, track: engine._Track) -> object:
        asked.append(track.rule.id)
        return ask(judging, track)

    monkeypatch.setattr(engine.Engine, "_apply", counted)
    frames = made.make_frames(TABLE, range(640))
    judge([Recording.from_frames(TABLE, frames)])
    assert len(asked) < 3 * len(frames)


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
@pytest.mark.parametrize("together", [1, 50])
def test_what_is_asked_once_of_each_frame_is_what_asking_again_gives(
    rhythm: int, together: int
) -> None:
    history = History(TABLE, {"gradient_norm"})
    window = Window(history, {"gradient_norm"}, Progress())
    number = 0
    for steps in (range(3 * CAPACITY), range(100, 100 + CAPACITY), range(5)):  # it goes back twice
        for begin in range(0, len(steps), together):
            frames = [made.make_frame(TABLE, step) for step in steps[begin : begin + together]]
            history.extend(frames)
            for _ in frames:
                history.advance()
                number += 1
                if number % rhythm == 0:
                    asked = window.of_each_frame(_norms)
                    np.testing.assert_array_equal(asked, _norms(window, slice(0, len(window))))
