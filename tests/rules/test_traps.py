"""Traps: what looks faulty and is not, on frames made by hand; and the exact facts beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from recordings import (
    make_frames,
    make_table,
    turn_missing,
    turn_nonfinite,
    turn_zero,
    with_value,
)

from tb_gradients.flags import Flag, Severity
from tb_gradients.frames import Frame, Recording, RunContext, VariableTable
from tb_gradients.judging import judge

TABLE = make_table(4)
STEPS = range(80)


def flags_of(frames: Sequence[Frame], table: VariableTable = TABLE) -> dict[str, Flag]:
    verdict = judge([Recording.from_frames(table, frames)])
    assert verdict.errors == ()
    return {flag.rule: flag for flag in verdict.flags}


def with_context(frames: Sequence[Frame], **columns: Any) -> list[Frame]:
    """The frames with context columns set, to one value or to one per frame."""
    changed = []
    for i, frame in enumerate(frames):
        context = frame.context.copy()
        for name, value in columns.items():
            context[TABLE.context.index(name)] = value if np.isscalar(value) else value[i]
        changed.append(dataclasses.replace(frame, context=context))
    return changed


def change(row: int, **fields: Any) -> VariableTable:
    """The table with other facts about one variable."""
    variables = list(TABLE.variables)
    variables[row] = dataclasses.replace(variables[row], **fields)
    return dataclasses.replace(TABLE, variables=tuple(variables))


def healthy() -> list[Frame]:
    return make_frames(TABLE, STEPS)


def set_all(frames: Sequence[Frame], name: str, value: Any, rows: Any = slice(None)) -> list[Frame]:
    return [with_value(frame, TABLE, name, value, rows) for frame in frames]


def test_healthy_frames_are_silent_at_every_cadence() -> None:
    for steps in (range(80), range(0, 800, 10), [0, 1, 2, 3, 5, 8, 13, 21, 50, 100, 200, 400]):
        assert flags_of(make_frames(TABLE, steps)) == {}


# --- None and zero --------------------------------------------------------------------------


def test_alternating_losses_leave_variables_out_and_that_is_fine() -> None:
    frames = [f for f in turn_missing(healthy(), TABLE, [0, 1]) if f.step % 2]
    frames += [f for f in healthy() if not f.step % 2]

    assert flags_of(frames) == {}


def test_a_variable_that_is_none_at_every_step_is_named_from_step_0() -> None:
    flag = flags_of(turn_missing(healthy(), TABLE, [0, 1]))["disconnected_gradient"]

    assert flag.variables == TABLE.paths[:2]
    assert (flag.first_step, flag.severity) == (0, Severity.CRITICAL)


ACTOR, CRITIC = slice(0, 4), slice(4, 8)


def in_turn(block: int, explodes: bool = False) -> list[Frame]:
    """Some updates of an actor, whose loss and gradient are tiny, then as many of a critic."""
    frames = []
    for frame in make_frames(TABLE, STEPS):
        acts = frame.step // block % 2 == 0
        [frame] = turn_missing([frame], TABLE, CRITIC if acts else ACTOR)
        norm, loss = (0.01, -1e-8) if acts else (100.0, 200.0)
        if explodes and not acts and frame.step > 40:
            norm, loss = 1e3 * norm, 1e2 * loss
        for name in ("gradient_norm", "gradient_norm_max"):
            frame = with_value(frame, TABLE, name, norm / 2, ACTOR if acts else CRITIC)
        frames += with_context([frame], global_norm=norm, loss=loss, loss_mean=loss, loss_max=loss)
    return frames


@pytest.mark.parametrize("block", [3, 10])
def test_the_gradient_of_a_critic_does_not_explode_because_that_of_the_actor_is_small(
    block: int,
) -> None:
    assert "exploding_gradient" not in flags_of(in_turn(block))


def test_the_gradient_of_a_critic_explodes_when_it_outgrows_its_own_start() -> None:
    flag = flags_of(in_turn(3, explodes=True))["exploding_gradient"]

    assert flag.variables == TABLE.paths[CRITIC]


@pytest.mark.parametrize("fields", [{"trainable": False}, {"analytically_zero": True}])
def test_frozen_and_analytically_zero_variables_may_be_zero(fields: dict[str, bool]) -> None:
    assert flags_of(turn_zero(healthy(), TABLE, [0]), change(0, **fields)) == {}


def test_one_zero_step_is_chance() -> None:
    frames = healthy()
    frames[30:31] = turn_zero(frames[30:31], TABLE, slice(None))

    assert flags_of(frames) == {}


def test_a_bias_alone_is_only_worth_knowing() -> None:
    frames = set_all(healthy(), "zero_step_share", 1, [1])

    assert flags_of(frames)["zero_gradient"].severity == Severity.INFO


def test_all_zero_is_one_flag_and_no_dead_units() -> None:
    flags = flags_of(turn_zero(healthy(), TABLE, slice(None)))

    assert set(flags) == {"zero_gradient"}
    assert flags["zero_gradient"].variables == TABLE.paths
    assert flags["zero_gradient"].causes[0].id == "loss_ignores_parameters"


def test_a_loss_that_reached_zero_has_no_gradient_and_that_is_fine() -> None:
    frames = [*healthy()[:40], *turn_zero(healthy()[40:], TABLE, slice(None))]
    loss = np.where(np.arange(80) < 40, np.linspace(2, 0.01, 80), 0.0)

    assert flags_of(with_context(frames, loss_mean=loss, loss=loss)) == {}


def test_a_dead_layer_is_blamed_and_not_the_ones_that_starve_by_it() -> None:
    frames = turn_zero(healthy(), TABLE, range(6))  # layer 3 gets no input: layer 2 is dead

    flag = flags_of(frames)["dead_units"]

    assert flag.variables == ("dense_2/kernel",)
    assert flag.causes[0].id == "dying_relu"


@pytest.mark.parametrize(("steps", "zeros"), [(70, 20), (70, 69), (25, 24)])
def test_a_layer_that_died_between_two_sparse_frames_is_reported_since_its_own_step(
    steps: int, zeros: int
) -> None:
    """How many of the last steps had no gradient shows when it began."""
    frames = [*healthy()[:40], *turn_zero(healthy()[40:], TABLE, range(4))]
    last = 39 + steps
    frames = [*frames[:40], dataclasses.replace(frames[40], step=last)]
    frames[40] = with_value(frames[40], TABLE, "zero_step_share", zeros / steps, range(4))
    frames = with_context(frames, window_steps=[1] * 40 + [steps], unit_window=20)

    assert flags_of(frames)["dead_units"].first_step == last - zeros + 1


def test_a_product_of_zeros_is_distinguished_from_a_loss_that_ignores_the_model() -> None:
    zeros = {"initializer": "Zeros", "initial_rms": 0.0}
    table = dataclasses.replace(
        TABLE, variables=tuple(dataclasses.replace(v, **zeros) for v in TABLE.variables)
    )
    causes = flags_of(turn_zero(healthy(), table, slice(None)), table)["zero_gradient"].causes

    assert [c.id for c in causes] == ["zero_initialization", "loss_ignores_parameters"]


def test_a_unit_whose_bias_has_a_gradient_is_not_dead() -> None:
    """The kernel alone is zero: what it is multiplied with is, or somebody has made it so."""
    zero = turn_zero(healthy(), TABLE, [2])
    frames = [with_value(frame, TABLE, "dead_unit_share", 0, [2]) for frame in zero]

    flag = flags_of(frames)["zero_gradient"]

    assert flag.variables == ("dense_1/kernel",)
    assert [c.id for c in flag.causes] == ["loss_ignores_parameters"]
    assert "are alive" in flag.causes[0].summary


def test_half_of_the_units_without_gradient_are_normal() -> None:
    assert flags_of(set_all(healthy(), "dead_unit_share", 0.5)) == {}


def test_a_few_more_than_half_may_be_chance() -> None:
    """Of 16 units, inputs of one sign leave up to 14 dead from the start, once in 700 layers."""
    few = flags_of(set_all(healthy(), "dead_unit_share", 0.8))["dead_units"]
    assert few.severity == Severity.INFO
    many = flags_of(set_all(healthy(), "dead_unit_share", 0.95))["dead_units"]
    assert many.severity >= Severity.WARNING


# --- NaN ------------------------------------------------------------------------------------


def test_a_nan_that_spreads_is_one_flag_with_its_first_variable_and_step() -> None:
    flags = flags_of(turn_nonfinite(healthy(), TABLE, 41))

    flag = flags["nonfinite_gradient"]
    assert flag.first_step == 40
    assert flag.variables == ("dense/kernel",)
    assert set(flags) == {"nonfinite_gradient"}
    [weights] = flag.follow_ups
    assert weights.startswith("nonfinite_weight: ")
    assert TABLE.paths[-1] in weights


def test_a_nan_after_a_loss_of_zero_is_reported_like_any_other() -> None:
    frames = with_context(turn_nonfinite(healthy(), TABLE, 41), loss_max=0.0)

    assert set(flags_of(frames)) == {"nonfinite_gradient"}


def test_the_exact_step_is_known_between_two_frames() -> None:
    frames = make_frames(TABLE, range(0, 100, 10))
    frames[6:] = [with_value(f, TABLE, "nonfinite_age", 3, [2]) for f in frames[6:]]

    assert flags_of(frames)["nonfinite_gradient"].first_step == 57


def overflowing(steps: int) -> list[Frame]:
    frames = healthy()
    bad = set_all(set_all(frames[:steps], "gradient_inf_count", 9), "nonfinite_age", 0)
    frames[:steps] = with_context(bad, skipped_steps=1, applied_steps=0, loss_scale=2.0**15)
    return frames


def test_steps_that_a_loss_scale_skips_at_its_start_are_normal() -> None:
    assert flags_of(overflowing(15)) == {}


def test_a_loss_scale_that_skips_for_ever_has_bad_data() -> None:
    frames = with_context(overflowing(80), inputs_nonfinite=5)

    flag = flags_of(frames)["nonfinite_gradient"]

    assert flag.causes[0].id == "nonfinite_inputs"


# --- Updates --------------------------------------------------------------------------------


def test_accumulation_leaves_weights_unchanged_between_updates() -> None:
    frames = [f if f.step % 4 == 3 else with_value(f, TABLE, "update_norm", 0) for f in healthy()]

    assert flags_of(with_context(frames, applied_steps=(np.arange(80) % 4 == 3) * 1.0)) == {}


def test_accumulation_logged_between_its_updates_is_silent() -> None:
    frames = set_all(make_frames(TABLE, range(0, 800, 10)), "update_norm", 0)
    frames = with_context(frames, applied_steps=2.0)

    assert flags_of(frames) == {}


def test_a_learning_rate_of_zero_at_the_start_of_a_warm_up_is_silent() -> None:
    frames = healthy()
    frames[:10] = with_context(set_all(frames[:10], "update_norm", 0), learning_rate=0)

    assert flags_of(frames) == {}


def test_a_weight_that_never_moves_among_others_that_do_is_frozen() -> None:
    flag = flags_of(set_all(healthy(), "update_norm", 0, [2]))["frozen_weight"]

    assert flag.variables == ("dense_1/kernel",)
    assert flag.causes[0].id == "update_not_applied"


def test_biases_that_hardly_move_say_nothing() -> None:
    assert flags_of(set_all(healthy(), "update_norm", 1e-12, [1, 3, 5, 7])) == {}


def test_tiny_steps_of_a_run_that_has_learnt_say_nothing() -> None:
    frames = healthy()
    frames[20:] = set_all(frames[20:], "update_norm", 1e-9)
    loss = np.maximum(2.3 - 0.1 * np.arange(80), 0.1)

    assert flags_of(with_context(frames, loss_mean=loss)) == {}


def test_tiny_steps_are_info_until_the_loss_is_seen() -> None:
    tiny = set_all(healthy(), "update_norm", 1e-6)
    unseen = flags_of(with_context(tiny, loss_mean=np.nan))["update_too_small"]
    stuck = flags_of(with_context(tiny, loss_mean=2.77))["update_too_small"]

    assert unseen.severity == Severity.INFO
    assert stuck.severity >= Severity.WARNING


# --- Symmetry and depth ---------------------------------------------------------------------


def test_units_that_started_at_random_are_not_symmetric() -> None:
    assert flags_of(set_all(healthy(), "unit_spread", 1e-6)) == {}


def test_a_head_of_zeros_looks_symmetric_for_a_moment() -> None:
    table = change(6, initializer="Zeros", initial_rms=0.0)
    frames = healthy()
    frames[:3] = set_all(frames[:3], "unit_spread", 0, [6])

    assert flags_of(frames, table) == {}


def fading(ratio: float) -> list[Frame]:
    frames = healthy()
    for i, layer in enumerate((0, 1, 2)):
        rows = [2 * layer, 2 * layer + 1]
        frames = set_all(frames, "gradient_norm", 0.5 * ratio ** (3 - i), rows)
    return frames


def test_a_gradient_that_fades_is_as_bad_as_the_loss_says() -> None:
    frames = fading(0.03)
    table = dataclasses.replace(TABLE, run=RunContext(optimizer="Adam"))
    stuck = flags_of(with_context(frames, loss_mean=0.7), table)["vanishing_gradient"]
    unseen = flags_of(with_context(frames, loss_mean=np.nan), table)["vanishing_gradient"]

    assert stuck.severity >= Severity.WARNING
    assert unseen.severity == Severity.INFO
    assert stuck.variables[0] == "dense/kernel"
    assert "vanishing_gradient" not in flags_of(frames, table)  # this one learns


def test_queries_and_keys_of_attention_are_no_way_back_to_the_inputs() -> None:
    """Their gradient comes through the slope of a softmax, and is small at the start."""
    frames = fading(0.03)
    variables = list(TABLE.variables)
    for row, name in ((0, "query"), (2, "key"), (4, "k_proj")):
        for at, part in ((row, "kernel"), (row + 1, "bias")):
            path = f"block/attention/{name}/{part}"
            variables[at] = dataclasses.replace(variables[at], path=path)
    table = dataclasses.replace(TABLE, variables=tuple(variables), run=RunContext(optimizer="Adam"))

    assert "vanishing_gradient" not in flags_of(with_context(frames, loss_mean=0.7), table)


def test_a_frame_that_measured_no_update_is_no_error_while_a_gradient_fades() -> None:
    """As one is that a non-finite gradient has forced."""
    frames = fading(0.03)
    frames[-5:] = set_all(frames[-5:], "update_norm", np.nan)

    assert "vanishing_gradient" not in flags_of(frames)


def test_one_small_layer_is_no_fading() -> None:
    frames = set_all(healthy(), "gradient_norm", 1e-6, [4])

    assert flags_of(with_context(frames, loss_mean=0.7)) == {}
