"""Why a run stands still: what the optimizer adds, what a layer makes of the data, a cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from test_symptoms import Run, table

STEPS = 300


def standing(run: Run | None = None, **facts: Any) -> Run:
    """A run at the level of guessing, with steps of usual size."""
    return (run or Run(table(**facts), STEPS)).stuck()


def with_rows(run: Run, rows: list[int], **change: Any) -> Run:
    variables = list(run.table.variables)
    for row in rows:
        facts = {**variables[row].facts, **change.get("facts", {})}
        variables[row] = dataclasses.replace(variables[row], **{**change, "facts": facts})
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    return run


def first_cause(run: Run) -> str:
    causes = run.flags()["not_learning"].causes
    return causes[0].id if causes else ""


# --- noise ----------------------------------------------------------------------------------


def private(noise: float, optimizer: str = "Private", scatter: bool = True) -> Run:
    """Updates of a gradient, and of noise of one size in every element."""
    run = standing(optimizer=optimizer, optimizer_config={"learning_rate": "0.01"})
    at = run.table.statistics.index
    random = np.random.default_rng(0)
    for frame in run.frames:
        for row, variable in enumerate(run.table.variables):
            count = np.prod(variable.shape)
            given = 0.1 * 2.0**row * random.uniform(0.5, 2)
            drawn = 1 + scatter * random.standard_normal() / np.sqrt(2 * count)
            frame.values[row, at("gradient_norm")] = given
            update = noise * np.sqrt(count) * drawn if noise else given
            frame.values[row, at("update_norm")] = 1e-3 * update
    return run


def test_noise_of_one_size_in_all_variables_is_named() -> None:
    flag = private(3.0).flags()["not_learning"]

    assert flag.causes[0].id == "gradient_noise"
    assert "noise multiplier" in flag.fixes[0]


@pytest.mark.parametrize(
    "run",
    [private(0.0), private(3.0, scatter=False), private(3.0, optimizer="Adam")],
    ids=["follows the gradient", "signs", "an optimizer of Keras"],
)
def test_updates_that_follow_the_gradient_and_signs_are_no_noise(run: Run) -> None:
    assert first_cause(run) != "gradient_noise"


# --- few samples, constant features, cuts ----------------------------------------------------


def normalised(samples: float, values: str = "1") -> Run:
    run = standing().say(samples=samples)
    return with_rows(
        run, [2], facts={"followed_by": "BatchNormalization", "normalized_values": values}
    )


def test_a_batch_normalisation_of_two_samples_is_named_with_the_size_of_the_batch() -> None:
    flag = normalised(2).flags()["not_learning"]

    assert flag.causes[0].id == "few_samples"
    assert "a batch has 2 samples" in flag.causes[0].summary
    assert "batch_size=32" in flag.fixes[0]


@pytest.mark.parametrize("run", [normalised(32), normalised(2, "64"), normalised(np.nan)])
def test_many_samples_or_pixels_are_enough(run: Run) -> None:
    assert first_cause(run) != "few_samples"


def flat(spread: float, samples: float = 32) -> Run:
    run = standing().say(samples=samples, inputs_std=1.0, predictions_spread=spread)
    return run.say(predictions_min=-0.2, predictions_max=0.3)


def test_predictions_that_never_depend_on_the_inputs_are_named() -> None:
    flag = flat(1e-9).flags()["not_learning"]

    assert flag.causes[0].id == "constant_features"
    assert "two samples" in flag.fixes[0]


@pytest.mark.parametrize("run", [flat(0.05), flat(0.0, samples=1)])
def test_predictions_that_differ_and_batches_of_one_sample_are_not(run: Run) -> None:
    assert first_cause(run) != "constant_features"


def test_a_cut_before_the_predictions_is_named_although_a_penalty_gives_a_gradient() -> None:
    flag = with_rows(standing(), [0, 1], facts={"stopped": "True"}).flags()["not_learning"]

    assert flag.causes[0].id == "non_differentiable_operation"
    assert flag.fixes[0].startswith("Remove `tf.stop_gradient` between dense and")


# --- a normalisation of one value --------------------------------------------------------------


def single(kind: str, samples: float) -> Run:
    """All that stands before a normalisation of a single value has no gradient."""
    run = Run(steps=80).say(samples=samples)
    run = with_rows(run, [2], facts={"followed_by": kind, "normalized_values": "1"})
    run.set(range(4), zero_step_share=1.0, gradient_norm=0.0, dead_unit_share=1.0)
    return run.set(range(4), gradient_zero_share=1.0, update_norm=0.0, gradient_norm_max=0.0)


@pytest.mark.parametrize(
    ("kind", "samples", "cause"),
    [
        ("LayerNormalization", 32, "axis_of_length_one"),
        ("UnitNormalization", 32, "axis_of_length_one"),
        ("BatchNormalization", 1, "batch_of_one"),
        ("BatchNormalization", 32, "dying_relu"),
    ],
)
def test_a_normalisation_of_one_value_comes_before_a_dead_relu(
    kind: str, samples: float, cause: str
) -> None:
    flags = single(kind, samples).flags()

    assert next(iter(flags.values())).causes[0].id == cause


def test_a_sign_behind_a_layer_comes_before_its_relu() -> None:
    run = with_rows(single("Dense", 32), [0, 1, 2, 3], facts={"behind_a_sign": "True"})
    flag = next(iter(run.flags().values()))

    assert flag.causes[0].id == "non_differentiable_operation"
    assert "tf.tanh(steepness * x)" in flag.fixes[0]


# --- what leaves the layer that scales the inputs ------------------------------------------------


def scaled(kind: str = "Normalization", **context: float) -> Run:
    facts = {"input_scaling": kind, **({"scaling_variance": "-0.1"} if not context else {})}
    return Run(table(facts=facts), 150).loss(50.0 + np.arange(150)).say(**context)


@pytest.mark.parametrize(
    "run",
    [
        scaled(),
        scaled(inputs_scaled_max_abs=1e7),
        scaled("Rescaling", inputs_scaled_max_abs=2550.0),
        scaled(inputs_scaled_max_abs=3.0, inputs_scaled_nonfinite=32.0),
    ],
)
def test_what_leaves_a_scaling_layer_is_looked_at(run: Run) -> None:
    flag = run.flags()["bad_data"]

    assert flag.causes[0].id == "unscaled_inputs"
    assert "model.layers[0](x)" in flag.fixes[0]


@pytest.mark.parametrize(
    "run",
    [
        scaled(inputs_scaled_max_abs=300.0),
        scaled("Rescaling", inputs_scaled_max_abs=1.0),
        scaled(inputs_scaled_nonfinite=32.0, inputs_nonfinite=32.0),
    ],
)
def test_a_rare_value_far_out_and_nan_of_the_data_are_not_its_fault(run: Run) -> None:
    assert all(c.id != "unscaled_inputs" for flag in run.flags().values() for c in flag.causes)
