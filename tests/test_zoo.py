"""The zoo of training programs and its scores: a small sample is trained, the rest is listed."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from recordings import make_frames, make_table, turn_nonfinite, turn_zero, with_value

pytest.importorskip("tensorflow")
pytest.importorskip("sklearn")

from zoo import judging, peers, scoring
from zoo.judging import Judged, Raised, Recorded
from zoo.programs import Expected, Program, programs

from tb_gradients.frames import Recording

# Keras' own, on NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TABLE = make_table(3)


def recording(steps: Any = range(60)) -> Recording:
    return Recording.from_frames(TABLE, make_frames(TABLE, steps))


# --- the programs ---------------------------------------------------------------------------


def test_there_are_a_hundred_healthy_and_a_hundred_faulty_programs() -> None:
    found = programs()

    assert sum(not program.faulty for program in found) >= 100
    assert sum(program.faulty for program in found) >= 100


def test_both_halves_have_their_share_of_both_kinds() -> None:
    for faulty in (False, True):
        kind = [program for program in programs() if program.faulty is faulty]
        held_back = sum(program.half == "held back" for program in kind)
        assert 0.35 < held_back / len(kind) < 0.65


def test_the_half_of_a_program_follows_from_its_name_alone() -> None:
    def no_training(seed: int, folder: Any) -> Any:
        raise AssertionError

    assert Program("digits-mlp", no_training).half == "tuning"
    assert Program("digits-cnn", no_training, target=0.9).half == "held back"


def test_every_faulty_program_is_measured_against_a_healthy_one() -> None:
    by_name = {program.name: program for program in programs()}

    assert all(not by_name[program.twin].faulty for program in by_name.values() if program.faulty)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("wine-mlp", ""),
        ("wine-mlp!rate-1e-10", "update_too_small"),
        ("cancer-mlp+hand!update-of-copies", "frozen_weight"),
        ("xor-tanh", ""),
        ("diabetes-linear!nan-inputs", "nonfinite_gradient"),
    ],
)
def test_a_sample_of_the_zoo_is_judged_right(name: str, rule: str, tmp_path: Path) -> None:
    [program] = [program for program in programs() if program.name == name]

    outcome = program.train(0, tmp_path)
    judged = judging.judge_program(tmp_path)

    assert judged.errors == ()
    assert judged.frames == outcome.steps
    loud = {flag.rule for flag in judged.flags if flag.loud}
    if rule:
        assert rule in loud
        assert not outcome.skill >= program.target
    else:
        assert loud == set()
        assert outcome.skill >= program.target


# --- sparser cadences -----------------------------------------------------------------------


def test_a_sparser_cadence_keeps_the_sums_and_extremes_of_its_windows() -> None:
    full = recording()
    thin = judging.thinned(full, 10)

    assert thin.steps.tolist() == [0, 10, 20, 30, 40, 50]
    assert thin.context_value("window_steps").tolist() == [1, 10, 10, 10, 10, 10]
    loss = full.context_value("loss_mean")
    np.testing.assert_allclose(thin.context_value("loss_mean")[1], loss[1:11].mean(), rtol=1e-6)
    norms = full.statistic("gradient_norm_max")
    np.testing.assert_array_equal(thin.statistic("gradient_norm_max")[2], norms[11:21].max(axis=0))
    np.testing.assert_array_equal(
        thin.statistic("gradient_norm")[2], full.statistic("gradient_norm")[20]
    )


def test_the_first_nonfinite_gradient_is_kept_at_any_cadence() -> None:
    frames = turn_nonfinite(make_frames(TABLE, range(60)), TABLE, 34)
    thin = judging.thinned(Recording.from_frames(TABLE, frames), 10)

    bad = thin.statistic("gradient_nonfinite_count").any(axis=1)
    assert thin.steps[bad][0] in (33, 34)


def test_the_automatic_cadence_is_dense_at_the_start_and_sparse_later() -> None:
    thin = judging.thinned(recording(range(400)), "auto")

    assert len(thin) < 200
    assert (thin.steps < 64).sum() > 40


# --- scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763), (10, 10, 0.722, 1)]
)
def test_the_interval_of_a_rate_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    assert scoring.Rate(hits, of).interval == pytest.approx((low, high), abs=1e-3)


def healthy_and_faulty() -> tuple[Program, Program]:
    def no_training(seed: int, folder: Any) -> Any:
        raise AssertionError

    expected = Expected(("zero_gradient", "dead_units"), ("dying_relu",), ("dense*",), 20)
    return (
        Program("well", no_training, target=0.8),
        Program("ill", no_training, expected=expected, twin="well", fault="dead"),
    )


def ended(program: Program, skill: float) -> Recorded:
    return Recorded(program.name, 0, Path(), skill, 200, 1.0)


@pytest.mark.parametrize(
    ("well", "ill", "reasons"),
    [
        (0.9, 0.2, []),
        (0.9, math.nan, []),
        (0.9, 0.85, ["ill"]),
        (0.7, 0.2, ["well", "ill"]),
    ],
)
def test_only_outcomes_that_bear_out_the_label_count(
    well: float, ill: float, reasons: list[str]
) -> None:
    healthy, faulty = healthy_and_faulty()

    _, dropped = scoring.sort_out([healthy, faulty], [ended(healthy, well), ended(faulty, ill)])

    assert [one.name for one, _ in dropped] == reasons


FLAG = Raised("dead_units", "warning", ("dense/kernel",), 20, 60, (("dying_relu", 0.9),), "")


@pytest.mark.parametrize(
    ("flags", "recall", "rule", "cause", "variable"),
    [
        ((), 0, 0, 0, 0),
        ((FLAG,), 1, 1, 1, 1),
        ((dataclasses.replace(FLAG, seen=-1),), 0, 0, 0, 0),
        ((dataclasses.replace(FLAG, rule="not_learning"),), 1, 0, 0, 0),
        ((dataclasses.replace(FLAG, causes=(("input_outliers", 0.9),)),), 1, 1, 0, 1),
        (
            (dataclasses.replace(FLAG, variables=("head/kernel", "head/bias", "act")),),
            1,
            1,
            1,
            0,
        ),
    ],
)
def test_a_verdict_is_held_against_what_is_expected(
    flags: tuple[Raised, ...], recall: int, rule: int, cause: int, variable: int
) -> None:
    _, faulty = healthy_and_faulty()
    case = scoring.Case(faulty, ended(faulty, 0.0), Judged(flags, (), {}, 200))

    rates = scoring.score([case]).rates

    assert rates["recall"].hits == recall
    assert rates["right rule"].hits == rule
    assert rates["right cause"].hits == cause
    assert rates["right variable"].hits == variable


def test_latency_counts_from_the_first_faulty_step() -> None:
    _, faulty = healthy_and_faulty()
    case = scoring.Case(faulty, ended(faulty, 0.0), Judged((FLAG,), (), {}, 200))

    assert case.latency == pytest.approx((60 - 20) / 200)


# --- the peers ------------------------------------------------------------------------------


def test_the_published_rules_fire_on_what_they_are_about() -> None:
    frames = make_frames(TABLE, range(60))
    faint = [with_value(f, TABLE, "gradient_norm", 1e-9, [0]) for f in frames]
    still = [with_value(f, TABLE, "update_norm", 1e-12) for f in frames]

    def fired(frames: Any) -> set[str]:
        verdict = peers.judge([Recording.from_frames(TABLE, frames)])
        return {name for name, step in verdict.items() if step is not None}

    healthy = fired(frames)
    assert "SageMaker VanishingGradient" in fired(faint) - healthy
    assert "SageMaker WeightUpdateRatio" in fired(still) - healthy
    assert "TheDeepChecker untrained or slow" in fired(still) - healthy
    assert "SageMaker AllZero" in fired(turn_zero(frames, TABLE, [0])) - healthy
    assert "AUTOTRAINER explode" in fired(turn_nonfinite(frames, TABLE, 41)) - healthy
