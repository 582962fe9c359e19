"""Whether the run learns is judged from the loss alone, at every cadence."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from recordings import make_table

from tb_gradients.frames import RunContext
from tb_gradients.judging.learning import (
    SMOOTHING,
    SUMMED,
    TRACE_POINTS,
    WEIGHTED,
    Learning,
    LossTrace,
    Targets,
    unknown_level,
)

RANDOM = np.random.default_rng(0)
NOISE = 0.05 * RANDOM.standard_normal(100_000)


def judged(
    losses: np.ndarray, *, every: int = 1, loss: str = "", target_std: float = math.nan
) -> Learning:
    trace = LossTrace()
    for start in range(0, len(losses), every):
        part = losses[start : start + every]
        trace.add(float(np.mean(part)), len(part), Targets(0.0, target_std))
    return trace.judge(dataclasses.replace(make_table(), run=RunContext(loss=loss)))


STEPS = np.arange(400)
CASES = {
    "falls": (2.3 * np.exp(-STEPS / 100), True),
    "falls slowly": (2.3 - STEPS * 3e-4, True),
    "fell and is flat": (0.5 + 1.8 * np.exp(-STEPS / 10) + 0.2 * NOISE[:400], True),
    "flat": (0.7 + 0 * STEPS, False),
    "flat with noise": (0.7 + NOISE[:400], False),
    "rises": (0.7 + STEPS * 1e-3, False),
    "negative and falls": (-1 - STEPS * 1e-2, True),
}


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_tells(name: str, every: int) -> None:
    losses, learns = CASES[name]

    assert judged(losses, every=every).learning is learns


def test_nothing_is_said_without_a_loss_or_too_early() -> None:
    assert judged(np.full(400, np.nan)).state == "unseen"
    assert judged(np.full(30, 0.7)).state == "early"


def test_coming_down_to_the_level_of_guessing_is_no_learning() -> None:
    losses = 1.0 + 5 * np.exp(-STEPS / 5)

    assert judged(losses).learning
    assert judged(losses, loss="MeanSquaredError", target_std=1.0).stuck
    assert judged(losses, loss="mse", target_std=2.0).learning


SPARSE = [*((i, i + 1) for i in range(101)), (101, 151), (151, 226)]
"""First and last step of frames that have just become sparse."""


@pytest.mark.parametrize("draw", range(10))
def test_a_loss_that_falls_through_guessing_between_sparse_frames_is_hopeful(draw: int) -> None:
    """The noise of the many frames before does not hide how far it has come in the last few."""
    noise = np.random.default_rng(draw).standard_normal(400)
    loss = np.maximum(22 - STEPS / 12, 1.5) + 1.5 * noise
    guess = float(np.mean(loss[slice(*SPARSE[-1])]))
    trace = LossTrace()
    for start, stop in SPARSE:
        trace.add(float(np.mean(loss[start:stop])), stop - start)

    assert trace.judge(make_table(facts={"loss_at_guess": f"{guess}"})).hopeful


def test_a_loss_that_stays_at_guessing_is_not_hopeful_at_sparse_frames() -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(400)
        trace = LossTrace()
        for start, stop in [*SPARSE, (226, 339)]:
            trace.add(float(np.mean(2.3 + 0.02 * noise[start:stop])), stop - start)

        learning = trace.judge(make_table(facts={"loss_at_guess": "2.3"}))
        assert learning.stuck and not learning.hopeful


def test_a_low_loss_that_does_not_move_has_converged() -> None:
    flat = np.full(400, 0.01)

    assert judged(flat).stuck
    assert judged(flat, loss="mean_squared_error", target_std=1.0).converged


def test_the_classes_of_the_head_show_the_level_of_guessing() -> None:
    assert judged(STEPS * 0.0, loss="sparse_categorical_crossentropy").guess == pytest.approx(
        math.log(16)
    )


def ratings(floor: float, std: float) -> Learning:
    """Shares around a half: the loss comes down from guessing, and nearly to the given level."""
    trace = LossTrace()
    for step in range(400):
        trace.add(floor + (0.7 - floor) * math.exp(-step / 60), 1, Targets(0.5, std))
    return trace.judge(dataclasses.replace(make_table(), run=RunContext(loss="BinaryCrossentropy")))


def test_what_targets_between_two_classes_leave_of_the_loss_is_not_to_be_learnt() -> None:
    soft = ratings(0.63, 0.2)  # their own entropy is about 0.6
    assert (soft.floor, soft.guess) == (pytest.approx(0.58, abs=0.01), pytest.approx(math.log(2)))
    assert soft.succeeds
    classes = ratings(0.63, 0.5)
    assert classes.floor == 0
    assert classes.learning
    assert not classes.succeeds
    assert ratings(0.69, 0.2).stuck


def smoothed(loss: str, floor: float, share: str, std: float = 0.5) -> Learning:
    """A loss that comes down to a floor, of ten or of two classes."""
    trace = LossTrace()
    for step in range(400):
        trace.add(floor + (0.7 - floor) * math.exp(-step / 60), 1, Targets(0.5, std))
    return trace.judge(make_table(loss=loss, facts={SMOOTHING: share}))


def test_smoothed_labels_leave_a_floor_that_is_not_to_be_learnt() -> None:
    """Of two classes a share of 0.2 leaves 0.1 of the wrong one: an entropy of 0.325."""
    learning = smoothed("BinaryCrossentropy", 0.33, "0.2")
    assert (learning.floor, learning.guess) == (
        pytest.approx(0.325, abs=1e-3),
        pytest.approx(math.log(2)),
    )
    assert learning.succeeds
    assert learning.converged
    assert not smoothed("BinaryCrossentropy", 0.33, "0").floor
    of_sixteen = smoothed("SparseCategoricalCrossentropy", 0.6, "0.1")
    assert of_sixteen.floor == pytest.approx(0.564, abs=0.01)
    assert of_sixteen.guess == pytest.approx(math.log(16))


@pytest.mark.parametrize("facts", [{WEIGHTED: "True"}, {SUMMED: "True"}])
def test_where_the_level_of_guessing_is_unknown_there_is_a_reason(facts: dict[str, str]) -> None:
    assert unknown_level(make_table(loss="mse", facts=facts))
    assert unknown_level(make_table(loss="a: mse, b: mae"))
    assert not unknown_level(make_table(loss="mse"))


def test_a_weighted_loss_is_not_held_against_guessing() -> None:
    weighted = make_table(loss="binary_crossentropy", facts={WEIGHTED: "True"})
    trace = LossTrace()
    for value in 0.7 + NOISE[:400]:
        trace.add(float(value), 1, Targets(0.4, 0.5))

    assert math.isfinite(trace.judge(make_table(loss="binary_crossentropy")).guess)
    assert math.isnan(trace.judge(weighted).guess)


def test_a_weighted_loss_of_a_rare_class_shows_nothing() -> None:
    """It jumps with every batch that holds one of them."""
    trace = LossTrace()
    for step in range(400):
        trace.add(3.0 if step % 7 == 6 else 0.1, 1, Targets(0.02, 0.14))

    weighted = make_table(loss="binary_crossentropy", facts={WEIGHTED: "True"})
    assert trace.judge(weighted).state == "unseen"


def test_a_single_sample_of_ten_classes_shows_of_no_majority() -> None:
    trace, one_hot = LossTrace(), Targets(0.1, 0.3, 1.0)
    for step in range(400):
        trace.add(2.3, 1, one_hot if step % 3 else Targets(0.1 + 1e-9, 0.3, 1.0))
    learning = trace.judge(make_table(loss="categorical_crossentropy"))
    assert learning.stuck
    assert not 0.5 < learning.majority < 1


@pytest.mark.parametrize(("ones", "state"), [(0.4, "learning"), (0.002, "unseen")])
def test_batches_of_one_sample_are_of_one_class_but_not_the_run(ones: float, state: str) -> None:
    trace = LossTrace()
    for step, loss in enumerate(2.0 * np.exp(-STEPS / 50)):
        mean = float(step % 1000 < 1000 * ones if ones < 0.01 else step % 10 < 10 * ones)
        trace.add(float(loss), 1, Targets(mean, 0.0, 1.0))
    weighted = make_table(loss="sparse_categorical_crossentropy", facts={WEIGHTED: "True"})
    assert trace.judge(weighted).state == state


def test_a_long_run_is_kept_in_bounded_memory() -> None:
    trace = LossTrace()
    for step in range(20_000):
        trace.add(2.0 - step / 20_000, 1)

    assert len(trace._points) < TRACE_POINTS
    learning = trace.judge(make_table())
    assert learning.steps == 20_000
    assert learning.start == pytest.approx(2.0, abs=0.01)
    assert learning.now == pytest.approx(1.15, abs=0.02)


def pairs(gain: float, kind: str, frames: int, span: int = 1) -> Learning:
    """A run whose loss stays at guessing less a share of it; the batches differ."""
    random = np.random.default_rng(0)
    trace = LossTrace()
    for i in range(frames):
        window = 1 if i < 60 else span
        mean, std = 0.5 + 0.06 * random.standard_normal(), 1 + 0.05 * random.standard_normal()
        guess = std**2 if kind == "mse" else np.log(2)
        own = (1 - gain) * guess + 0.02 * random.standard_normal()
        usual = 1 + 0.05**2 + 0.06**2 if kind == "mse" else guess
        whole = (1 - gain) * usual + 0.05 * random.standard_normal() / np.sqrt(window)
        trace.add(own if window == 1 else whole, window, Targets(mean, std), own)
    return trace.judge(dataclasses.replace(make_table(), run=RunContext(loss=kind)))


@pytest.mark.parametrize(("frames", "span"), [(400, 1), (70, 100)])
@pytest.mark.parametrize("kind", ["mse", "binary_crossentropy"])
def test_a_weak_signal_is_one_all_the_same(kind: str, frames: int, span: int) -> None:
    assert pairs(0.05 if kind == "mse" else 0.03, kind, frames, span).learning
    assert pairs(0.0, kind, frames, span).stuck
    assert pairs(-0.03, kind, frames, span).stuck


def test_of_zeros_and_ones_the_best_constant_is_the_more_frequent() -> None:
    def guess(mean: float, std: float) -> float:
        trace = LossTrace()
        for _ in range(100):
            trace.add(0.5, 1, Targets(mean, std))
        return trace.judge(make_table(loss="mae")).guess

    assert guess(0.3, math.sqrt(0.3 * 0.7)) == pytest.approx(0.3)
    assert guess(0.5, math.sqrt(1 / 12)) == pytest.approx(0.8 * math.sqrt(1 / 12))


def test_targets_of_single_samples_vary_from_batch_to_batch() -> None:
    trace = LossTrace()
    for mean in np.random.default_rng(0).normal(10, 2, 400):
        trace.add(10.0, 1, Targets(float(mean), 0.0))

    assert trace.judge(make_table(loss="mae")).guess == pytest.approx(1.6, rel=0.1)
