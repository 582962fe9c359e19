"""A rule has passed only where it would have flagged by then what was there from the first step on.

For every rule a run that has its fault from the first step on, and a twin that has not: the twin
has not passed before the other one has its flag, whatever the distance of the frames. And what a
rule waits for, or does not see, is said in its words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from recordings import make_frames, make_table, turn_zero
from test_symptoms import KERNELS, TABLE, Run, table

from tb_gradients.flags import RuleState, Severity
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.judging import Engine, all_rules

STEPS = 160
LEARNS, SLOWLY = np.linspace(2.77, 0.1, STEPS), np.linspace(2.77, 1.6, STEPS)
GUESSES = np.log(16) + 0.01 * np.random.default_rng(0).standard_normal(STEPS)
DIVERGES = np.linspace(2.77, 60, STEPS)


def run(facts: VariableTable = TABLE, loss: Any = LEARNS) -> Run:
    """A run whose inputs, targets and units are measured."""
    made = Run(facts, STEPS).loss(loss).say(unit_window=20)
    made.set(since=19, dead_unit_share=0.0)
    return made.say(targets_mean=0.5, targets_std=0.25, inputs_constant_share=0.0)


def zero(ill: bool) -> Run:
    made = run()
    if ill:
        made.frames = turn_zero(made.frames, TABLE, slice(None))
    return made


def explodes(ill: bool, distance: int) -> Run:
    """Ten times the gradient and three times the loss of the first frame from the second one on."""
    made = run(loss=2.3)
    if ill:
        made.set(since=distance, gradient_norm=6.0).say(distance, global_norm=17.0)
        made.loss(7.0, since=distance)
    return made


def falls_below(ill: bool) -> Run:
    """Ever faster below zero, with gradients that grow."""
    steps = np.arange(STEPS)
    if not ill:
        return run()
    return run(loss=1 - np.exp(np.minimum(steps, 60))).say(global_norm=1.0 + steps**2)


def halves(ill: bool) -> Run:
    """A step that a loss scale skips, again and again."""
    made = run(table({"facts": {"compute_dtype": "float16"}}, precision="mixed_float16"))
    made.say(loss_scale=2.0**15)
    return made.say(skipped_steps=1) if ill else made


def skipped_for_ever(ill: bool) -> Run:
    """The data hold NaN, and a loss-scaling optimizer skips every step."""
    made = halves(ill)
    if ill:
        made.set(gradient_nan_count=3, nonfinite_age=0).say(inputs_nonfinite=3)
    return made


def spikes(ill: bool, distance: int) -> Run:
    """A spike at the first frame at which there is a usual norm to hold it against."""
    return run().set(since=max(30, 20 * distance) if ill else STEPS, gradient_norm_max=500.0)


def of_head(ill: bool) -> Run:
    facts = {"head": "dense_3", "head_units": "16", "head_activation": "relu" if ill else "linear"}
    return run(table(loss="SparseCategoricalCrossentropy(from_logits=True)", facts=facts))


def fades(ill: bool) -> Run:
    made = run(loss=GUESSES if ill else LEARNS)
    for layer in range(4 if ill else 0):
        norm = 0.5 * 1e-2 ** (3 - layer)
        made.set([2 * layer, 2 * layer + 1], gradient_norm=norm, gradient_norm_max=norm)
    return made


def through_time(ill: bool) -> Run:
    cell = {
        "layer_class": "SimpleRNN",
        "role": "recurrent_kernel",
        "activation": "tanh",
        "facts": {"time_steps": "50"},
    }
    first = dataclasses.replace(TABLE.variables[0], **cell)
    flat = np.log(16) + 0.01 * (-1) ** np.arange(STEPS)  # not even by chance about to fall
    made = run(dataclasses.replace(TABLE, variables=(first, *TABLE.variables[1:6])), flat)
    return made.set([0], weight_norm=2.0 if ill else 5.0)


def accumulates(ill: bool) -> Run:
    """Weights change at every fourth step; those of one kernel never."""
    made = run(table(accumulation_steps=4))
    for frame in made.frames:
        applied = frame.step % 4 == 3
        frame.context[TABLE.context.index("applied_steps")] = applied
        frame.values[:, TABLE.statistics.index("update_norm")] = 4e-3 * applied
    return made.set([2], update_norm=0.0) if ill else made


def penalised(ill: bool) -> Run:
    made = run(table({"facts": {"l2": "0.5"}, "regularizer": "L2"}), GUESSES)
    norm = 1.0 if ill else 4.0
    return made.set(KERNELS, weight_norm=norm, gradient_norm=norm, update_norm=1e-3 * norm)


def clipped(ill: bool) -> Run:
    made = run(table(optimizer="SGD", optimizer_config={"global_clipnorm": "0.001"}))
    return made.set(applied_norm=1e-4 if ill else 0.5)


def columns(facts: VariableTable = TABLE, loss: Any = LEARNS, **statistics: float) -> Any:
    """Statistics of all kernels from the first step on."""
    return lambda ill: run(facts, loss).set(KERNELS, **statistics) if ill else run(facts)


def said(loss: Any = LEARNS, facts: VariableTable = TABLE, **context: Any) -> Any:
    """Columns of the context from the first step on."""
    return lambda ill: run(facts, loss).say(**context) if ill else run(facts)


def started(rms: float) -> VariableTable:
    return table({"initial_rms": rms, "activation": "tanh"})


EQUAL = table({"initializer": "", "initial_rms": 0.1, "facts": {"initial_spread": "0"}})
TANH = table({"activation": "tanh"})
BFLOAT16 = table({"dtype": "bfloat16"})

PAIRS: dict[str, tuple[str, Callable[[bool], Run]]] = {
    "no gradient at all": ("zero_gradient", zero),
    "None": ("disconnected_gradient", columns(none_step_share=1.0)),
    "NaN": ("nonfinite_gradient", columns(gradient_nan_count=3, nonfinite_age=0)),
    "NaN that a loss scale skips": ("nonfinite_gradient", skipped_for_ever),
    "a loss of NaN": ("nonfinite_loss", said(np.nan, loss_nonfinite_age=0.0)),
    "a weight of NaN": ("nonfinite_weight", columns(weight_nonfinite_count=1)),
    "units that are dead": (
        "dead_units",
        lambda ill: run().set([2], since=19, dead_unit_share=0.95 if ill else 0.0),
    ),
    "a weight that no step changes": (
        "frozen_weight", lambda ill: run().set([2], update_norm=0.0 if ill else 4e-3)
    ),
    "the same, of updates of four steps": ("frozen_weight", accumulates),
    "a gradient below float32": ("gradient_underflow", lambda ill: run().set(
        gradient_subnormal_share=0.9 if ill else 0.0
    )),
    "steps that are skipped": ("loss_scale_collapse", halves),
    "an output that is cut off": ("model_mismatch", of_head),
    "a loss that stays": ("not_learning", lambda ill: run(loss=GUESSES if ill else SLOWLY)),
    "a start at a wrong scale": (
        "poor_initialization", lambda ill: run(started(8.0), GUESSES) if ill else run(started(0.25))
    ),
    "a penalty": ("regularizer_dominates", penalised),
    "units on the flat part": ("saturated_units", lambda ill: run(TANH, GUESSES).set(
        [0, 2, 4], activation_saturated_share=0.9 if ill else 0.0
    )),
    "a slope of next to nothing": ("saturated_units", lambda ill: run(TANH, GUESSES).set(
        [3], gradient_norm=1e-3 if ill else 0.5
    )),
    "units that are the same": ("symmetric_units", columns(EQUAL, unit_spread=0.0)),
    "steps that are rounded away": ("update_lost", columns(BFLOAT16, lost_share=0.95)),
    "steps that are too large": ("update_too_large", columns(loss=DIVERGES, update_norm=2.0)),
    "steps that are too small": ("update_too_small", columns(loss=GUESSES, update_norm=1e-8)),
    "a gradient that fades": ("vanishing_gradient", fades),
    "a recurrence that fades": ("vanishing_gradient", through_time),
    "clipping": ("clipping_dominates", clipped),
    "a loss without a bound": ("unbounded_loss", falls_below),
    "a start that is thrown away": ("weights_replaced", columns(weight_norm=0.1, update_norm=4.0)),
    "inputs that are all the same": ("bad_data", said(inputs_constant_share=1.0, inputs_std=0.0)),
    "missing values": ("bad_data", said(inputs_nonfinite=3.0, loss_nonfinite_age=0.0)),
    "inputs that are not scaled": (
        "bad_data", said(GUESSES, table(optimizer="SGD"), inputs_max_abs=1 / 255, inputs_std=1e-3)
    ),
    "inputs that put the loss far above guessing": ("bad_data", lambda ill: run(
        loss=np.linspace(9e3, 4e3, STEPS) if ill else SLOWLY
    ).say(inputs_max_abs=1e4 if ill else 1.0, inputs_std=1e3 if ill else 1.0)),
}  # fmt: skip

EVENTS: dict[str, tuple[str, Callable[[bool, int], Run]]] = {
    "an explosion": ("exploding_gradient", explodes),
    "a spike": ("gradient_spike", spikes),
}
"""What has to be held against a frame before: as early as it can be there."""


def every(distance: int, made: Run) -> list[Frame]:
    """The frames that a schedule of that distance would have written."""
    frames = [frame for frame in made.frames if (frame.step + 1) % distance == 0]
    for frame in frames:
        for name in ("window_steps", "applied_steps", "skipped_steps"):
            column = made.table.context.index(name)
            steps = range(frame.step + 1 - distance, frame.step + 1)
            frame.context[column] = sum(made.frames[step].context[column] for step in steps)
    return frames


def first(made: Run, rule: str, distance: int, wanted: Callable[[RuleState], bool]) -> int | None:
    """The first step after which the rule is in a state that is wanted."""
    engine = Engine(made.table)
    for frame in every(distance, made):
        engine.update(frame)
        (state,) = (one for one in engine.states if one.rule == rule)
        if wanted(state):
            return frame.step
    return None


def test_every_rule_has_a_run_that_has_its_fault_from_the_start() -> None:
    assert {rule for rule, _ in (*PAIRS.values(), *EVENTS.values())} == {
        rule.id for rule in all_rules()
    }


@pytest.mark.parametrize("distance", [1, 2, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_has_not_passed_before_it_would_have_flagged(name: str, distance: int) -> None:
    rule, make = PAIRS[name]

    flagged = first(make(True), rule, distance, lambda one: one.state == "flagged")
    passed = first(make(False), rule, distance, lambda one: one.state == "passed")

    assert flagged is not None and passed is not None
    assert passed >= flagged


@pytest.mark.parametrize("distance", [1, 2, 4])
@pytest.mark.parametrize("name", EVENTS)
def test_nor_where_it_holds_a_frame_against_others(name: str, distance: int) -> None:
    rule, make = EVENTS[name]

    flagged = first(make(True, distance), rule, distance, lambda one: one.state == "flagged")
    passed = first(make(False, distance), rule, distance, lambda one: one.state == "passed")

    assert flagged is not None and passed is not None
    assert passed >= flagged


def engine_of(frames: Sequence[Frame], facts: VariableTable = TABLE) -> Engine:
    engine = Engine(facts)
    for frame in frames:
        engine.update(frame)
    return engine


def state(engine: Engine, rule: str) -> RuleState:
    (found,) = (one for one in engine.states if one.rule == rule)
    return found


@pytest.mark.parametrize(
    ("steps", "reported"),
    [
        (1, "too early to tell: 1 step; 13 of 25 rules need 10 to 100"),
        (9, "too early to tell: 9 steps; 13 of 25 rules need 10 to 100"),
        (60, "too early to tell: 60 steps; 3 of 25 rules need 100"),
        (100, ""),
    ],
)
def test_a_run_is_undecided_while_a_rule_waits_for_steps(steps: int, reported: str) -> None:
    assert engine_of(make_frames(TABLE, range(steps))).undecided == reported


@pytest.mark.parametrize(("end", "reported"), [(0.01, "passed"), (0.8 * np.log(16), "not_yet")])
def test_a_loss_that_is_low_needs_no_hundred_steps_to_show_that_it_falls(
    end: float, reported: str
) -> None:
    engine = engine_of(Run(TABLE, 48).loss(np.geomspace(np.log(16), end, 48)).frames)

    assert state(engine, "not_learning").state == reported


def test_what_is_not_measured_is_named_with_how_to_give_it_and_leaves_no_run_undecided() -> None:
    blind = Run(TABLE, STEPS)
    blind.say(**{n: np.nan for n in TABLE.context if n.startswith(("loss", "inputs", "targets"))})
    engine = engine_of(blind.frames)

    assert state(engine, "nonfinite_loss").reason.startswith(
        "needs the loss: pass `loss=` to `monitor.step()`"
    )
    assert state(engine, "bad_data").state == "not_seen"
    assert "pass `inputs=`, `targets=` to" in state(engine, "bad_data").reason
    assert engine.undecided == ""


def test_too_few_frames_of_enough_steps_call_for_another_cadence() -> None:
    engine = engine_of(every(20, Run(TABLE, STEPS)))

    found = state(engine, "gradient_spike")
    assert (found.state, found.reason) == (
        "not_seen",
        "needs 21 frames; 8 were written: use a smaller `every`",
    )
    assert engine.undecided == ""


def test_a_rule_that_has_nothing_to_judge_passes_at_once_and_says_why() -> None:
    found = state(engine_of(make_frames(TABLE, [0])), "clipping_dominates")

    assert (found.state, found.reason) == ("passed", "does not apply: the optimizer does not clip")


def test_weights_that_change_at_every_fourth_step_are_judged_after_four_times_as_many() -> None:
    engine = engine_of(accumulates(False).frames[:36])

    found = state(engine, "frozen_weight")
    assert (found.state, found.reason) == (
        "not_yet",
        "needs 10 steps that change weights; 9 were seen",
    )


def test_new_variables_have_not_been_judged() -> None:
    engine = engine_of(make_frames(TABLE, range(STEPS)))
    before = state(engine, "zero_gradient").state
    larger = make_table(5)
    engine.set_table(larger)
    engine.update(make_frames(larger, [STEPS])[0])

    assert (before, state(engine, "zero_gradient").state) == ("passed", "not_yet")
    assert engine.undecided.startswith("too early to tell: 1 step;")


def test_the_same_variables_under_another_optimizer_stay_judged() -> None:
    engine = engine_of(make_frames(TABLE, range(STEPS)))
    again = table(optimizer="SGD")
    engine.set_table(again)
    engine.update(make_frames(again, [STEPS])[0])

    assert engine.undecided == ""


# --- What is exact is reported at once ----------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5, 9])
@pytest.mark.parametrize(
    ("name", "rule"), [("no gradient at all", "zero_gradient"), ("None", "disconnected_gradient")]
)
def test_what_was_so_at_every_step_is_reported_before_it_is_certain(
    name: str, rule: str, steps: int
) -> None:
    news = []
    engine = Engine(TABLE)
    for frame in PAIRS[name][1](True).frames[:steps]:
        news += engine.update(frame)

    (flag,) = engine.flags
    assert (flag.rule, flag.severity, flag.provisional) == (rule, Severity.INFO, True)
    assert flag.causes and flag.fixes
    assert news == []  # nobody is called, and nothing is stopped
    assert engine.undecided


@pytest.mark.parametrize("name", ["no gradient at all", "None"])
def test_it_is_news_once_it_is_certain(name: str) -> None:
    engine = Engine(TABLE)
    news = [flag for frame in PAIRS[name][1](True).frames for flag in engine.update(frame)]

    assert [flag.severity for flag in news][:1] == [Severity.CRITICAL]
    assert not any(flag.provisional for flag in engine.flags)


@pytest.mark.parametrize("name", ["no gradient at all", "None"])
def test_it_is_withdrawn_where_the_steps_after_it_are_others(name: str) -> None:
    ill, well = (PAIRS[name][1](what).frames for what in (True, False))

    engine = engine_of([*ill[:5], *well[5:]])

    assert engine.flags == ()
    assert state(engine, PAIRS[name][0]).state == "passed"
