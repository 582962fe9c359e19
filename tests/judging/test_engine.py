"""How flags live: open, updated, closed, again; live as offline, whatever the order or names."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recordings import make_frames, make_table, turn_missing, turn_nonfinite, turn_zero, with_value

from tb_gradients import schema
from tb_gradients.flags import Evidence, Flag, Severity
from tb_gradients.frames import Frame, Recording, Variable, VariableTable
from tb_gradients.judging import Engine, judge
from tb_gradients.judging.base import Detection, Finding, Rule, Threshold
from tb_gradients.judging.causes import cause
from tb_gradients.judging.window import IntArray, Window

TABLE = make_table(4)


class Loud(Rule):
    """Says that the gradient norm is large.

    Why it matters: for tests.
    Definition: norm above a limit.
    Try:
    * Nothing.
    Silent when: it is small.
    """

    id = "loud"
    title = "Loud"
    severity = Severity.WARNING
    needs = ("gradient_norm",)
    limit = Threshold(10.0, "any healthy frame of these tests is below")

    def detect(self, window: Window) -> Detection:
        norm = window.statistic("gradient_norm")
        since = window.onset(norm > self.limit, ~np.isnan(norm), per_step=True)
        return Detection.of(norm[-1] > self.limit, since, self.severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        value = float(window.statistic("gradient_norm")[-1][rows].max())
        return Finding("It is loud.", (Evidence("gradient_norm", value, self.limit),))


class Nosy(Loud):
    """Looks at what it did not ask for."""

    id = "nosy"

    def detect(self, window: Window) -> Detection:
        window.statistic("weight_norm")
        raise AssertionError("unreachable")


def loud(frames: list[Frame], steps: range, rows: Any, value: float = 99.0) -> list[Frame]:
    return [
        with_value(f, TABLE, "gradient_norm", value, rows) if f.step in steps else f for f in frames
    ]


def run(frames: list[Frame], rules: Any = None, table: VariableTable = TABLE) -> Engine:
    engine = Engine(table, rules)
    for frame in frames:
        engine.update(frame)
    return engine


def test_a_flag_opens_at_its_step_and_only_once() -> None:
    engine = Engine(TABLE, [Loud()])
    opened = [
        (frame.step, flag.first_step)
        for frame in loud(make_frames(TABLE, range(40)), range(20, 40), [0])
        for flag in engine.update(frame)
    ]

    assert opened == [(20, 20)]


def test_a_flag_closes_after_some_clean_frames_and_not_at_the_first() -> None:
    frames = loud(make_frames(TABLE, range(40)), range(20, 25), [0])

    [still] = run(frames[:28], [Loud()]).flags
    [over] = run(frames, [Loud()]).flags

    assert still.open
    assert not over.open
    assert (over.first_step, over.last_step) == (20, 24)


def test_a_relapse_is_the_same_flag() -> None:
    frames = make_frames(TABLE, range(80))
    for start in (10, 30, 50):
        frames = loud(frames, range(start, start + 3), [0])

    [flag] = run(frames, [Loud()]).flags

    assert (flag.first_step, flag.last_step) == (10, 52)


def test_variables_of_one_onset_are_one_flag_and_of_another_onset_another() -> None:
    frames = loud(make_frames(TABLE, range(120)), range(10, 120), [0])
    frames = loud(loud(frames, range(14, 120), [2]), range(80, 120), [5])

    flags = run(frames, [Loud()]).flags

    assert [(f.first_step, f.variables) for f in flags] == [
        (10, ("dense/kernel", "dense_1/kernel")),
        (80, ("dense_2/bias",)),
    ]


def test_the_numbers_of_an_open_flag_are_refreshed() -> None:
    frames = make_frames(TABLE, range(40))
    frames = loud(loud(frames, range(10, 20), [0], 50.0), range(20, 40), [0], 500.0)

    [flag] = run(frames, [Loud()]).flags

    assert flag.evidence[0].value == 500


def test_a_flag_that_becomes_worse_is_reported_again() -> None:
    class Worse(Loud):
        def detect(self, window: Window) -> Detection:
            found = super().detect(window)
            late = np.full(found.faulty.shape, 1 + (window.step >= 10) + (window.step >= 20))
            return dataclasses.replace(found, severity=late)

    engine = Engine(TABLE, [Worse()])
    reported = [
        (frame.step, flag.severity.label)
        for frame in loud(make_frames(TABLE, range(30)), range(5, 30), [0])
        for flag in engine.update(frame)
    ]

    assert reported == [(5, "info"), (10, "warning"), (20, "critical")]


class Counting(Loud):
    """Says at which step it looks.

    Why it matters: for tests.
    Definition: norm above a limit.
    Try:
    * Nothing.
    Silent when: it is small.
    """

    id = "counting"

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        return Finding(f"It was loud at step {window.step}.", with_loss=True)


def test_the_text_of_what_lasts_is_that_of_the_last_frame() -> None:
    frames = loud(make_frames(TABLE, range(79)), range(3, 79), [0])

    [flag] = run(frames, [Counting()]).flags

    assert flag.summary.startswith("It was loud at step 78; the loss ")


def test_what_has_ended_shows_how_the_loss_has_moved_since() -> None:
    frames = loud(make_frames(TABLE, range(400)), range(3, 30), [0])

    [early] = run(frames[:20], [Counting()]).flags
    [over] = run(frames, [Counting()]).flags

    assert early.summary.endswith("it is too early to tell from the loss.")
    assert not over.open
    assert over.summary.endswith("the loss went from 2.28 to 1.17.")


def test_to_ask_for_flags_changes_none_of_them() -> None:
    frames = loud(make_frames(TABLE, range(300)), range(3, 260), [0])
    asked, left_alone = Engine(TABLE), Engine(TABLE)
    for frame in frames:
        asked.update(frame)
        left_alone.update(frame)
        assert asked.flags is not None

    assert asked.flags == left_alone.flags


class Weight(Loud):
    """Says that a weight is large.

    Why it matters: for tests.
    Definition: norm above a limit.
    Try:
    * Nothing.
    Silent when: it is small.
    """

    id = "weight"
    needs = ("weight_norm",)
    follows = ()
    comes_of = ("loud",)

    def detect(self, window: Window) -> Detection:
        norm = window.statistic("weight_norm")
        since = window.onset(norm > self.limit, ~np.isnan(norm), per_step=True)
        severity = Severity.CRITICAL if window.step >= 45 else Severity.WARNING
        return Detection.of(norm[-1] > self.limit, since, severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        return Finding(f"It is heavy since step {since}.")


def loud_then_heavy(loud_at: range, heavy_at: range) -> list[Frame]:
    return [
        with_value(frame, TABLE, "weight_norm", 99.0, [2]) if frame.step in heavy_at else frame
        for frame in loud(make_frames(TABLE, range(60)), loud_at, [0])
    ]


def test_what_came_of_a_fault_is_reported_with_it_and_may_outlast_it() -> None:
    [flag] = run(loud_then_heavy(range(10, 14), range(16, 60)), [Weight(), Loud()]).flags

    assert flag.rule == "loud"
    assert flag.follow_ups == ("weight: It is heavy since step 16.",)
    assert (flag.severity, flag.open, flag.last_step) == (Severity.CRITICAL, True, 59)


@pytest.mark.parametrize(
    ("loud_at", "heavy_at"),
    [
        pytest.param(range(20, 60), range(10, 60), id="the other was there first"),
        pytest.param(range(5), range(40, 60), id="it had long been over"),
    ],
)
def test_what_cannot_have_come_of_a_fault_is_a_flag_of_its_own(
    loud_at: range, heavy_at: range
) -> None:
    flags = run(loud_then_heavy(loud_at, heavy_at), [Weight(), Loud()]).flags

    assert {flag.rule: flag.follow_ups for flag in flags} == {"loud": (), "weight": ()}


def test_a_finding_may_say_that_it_has_a_reason_of_its_own() -> None:
    class Independent(Weight):
        def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
            return Finding("It is heavy by itself.", comes_of=())

    flags = run(loud_then_heavy(range(10, 60), range(16, 60)), [Independent(), Loud()]).flags

    assert {flag.rule for flag in flags} == {"loud", "weight"}


@pytest.mark.parametrize(("kind", "flags"), [("input_outliers", 1), ("unscaled_inputs", 2)])
def test_a_rule_may_follow_another_for_one_of_its_causes_only(kind: str, flags: int) -> None:
    class Caused(Loud):
        def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
            causes = (cause("unscaled_inputs", 0.4, "?"), cause("input_outliers", 0.8, "!"))
            return Finding("It is loud.", causes=causes)

    class Choosy(Weight):
        follows = (f"loud:{kind}",)
        comes_of = ()

    found = run(loud_then_heavy(range(10, 60), range(16, 60)), [Choosy(), Caused()]).flags

    assert len(found) == flags


def test_a_follow_up_is_news_only_where_it_makes_the_fault_worse() -> None:
    engine = Engine(TABLE, [Weight(), Loud()])
    reported = [
        (frame.step, flag.rule, flag.severity.label)
        for frame in loud_then_heavy(range(10, 60), range(16, 60))
        for flag in engine.update(frame)
    ]

    assert reported == [(10, "loud", "warning"), (45, "loud", "critical")]


def test_where_frames_are_sparse_order_and_end_are_known_to_within_their_distance() -> None:
    frames = [f for f in loud_then_heavy(range(10, 20), range(15, 60)) if f.step % 10 == 0]
    frames = [dataclasses.replace(f, context=f.context.copy()) for f in frames]
    for frame in frames:
        frame.context[TABLE.context.index("window_steps")] = 10

    [flag] = run(frames, [Weight(), Loud()]).flags

    assert (flag.rule, len(flag.follow_ups)) == ("loud", 1)


def with_branches(table: VariableTable) -> VariableTable:
    """The layers are a trunk, two parallel branches and a head."""
    variables = tuple(
        dataclasses.replace(variable, node=row // 2 + 1)
        for row, variable in enumerate(table.variables)
    )
    return dataclasses.replace(table, variables=variables, nodes=((), (1,), (1,), (2, 3), (4,)))


def reported_of(
    kind: str, other: str, heavy_row: int, since: int = 10
) -> list[tuple[str, tuple[str, ...], int]]:
    """Rule, variables and follow-ups of each flag: one branch is loud, something else is heavy."""

    class Because(Loud):
        def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
            finding = super().explain(window, rows, since)
            return dataclasses.replace(finding, causes=(cause(kind, 0.9, "seen."),))

    class Heavy(Weight):
        follows = ("loud",)
        comes_of = ()

        def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
            return Finding("It is heavy.", causes=(cause(other, 0.9, "seen."),))

    table = with_branches(TABLE)
    frames = loud(make_frames(table, range(40)), range(since, 40), [2])
    frames = [
        with_value(f, table, "weight_norm", 99.0, [heavy_row]) if f.step >= since else f
        for f in frames
    ]
    flags = run(frames, [Heavy(), Because()], table).flags
    return [(flag.rule, flag.variables, len(flag.follow_ups)) for flag in flags]


def test_a_local_cause_does_not_explain_what_no_path_connects_to_it() -> None:
    reported = reported_of("dying_relu", "zero_initialization", heavy_row=4)

    assert sorted(reported) == [
        ("loud", ("dense_1/kernel",), 0),
        ("weight", ("dense_2/kernel",), 0),
    ]


@pytest.mark.parametrize("row", [0, 2, 6], ids=["before", "same layer", "behind"])
def test_it_explains_what_lies_before_and_behind_it(row: int) -> None:
    assert reported_of("dying_relu", "zero_initialization", row) == [
        ("loud", ("dense_1/kernel",), 1)
    ]


def test_a_learning_rate_explains_every_branch() -> None:
    reported = reported_of("learning_rate_too_large", "dying_relu", heavy_row=4)

    assert reported == [("loud", ("dense_1/kernel",), 1)]


@pytest.mark.parametrize(
    ("since", "row", "flags"),
    [
        pytest.param(0, 4, 2, id="not a parallel branch that was dead before the first update"),
        pytest.param(0, 6, 1, id="what was dead from the start behind it"),
        pytest.param(10, 4, 1, id="a parallel branch that died later"),
    ],
)
def test_weights_of_a_wrong_scale_explain(since: int, row: int, flags: int) -> None:
    assert len(reported_of("initialization_scale", "dying_relu", row, since)) == flags


@pytest.mark.parametrize(
    ("causes", "flags"),
    [
        ({2: "dying_relu", 4: "zero_initialization"}, [("dense_1/kernel",), ("dense_2/kernel",)]),
        ({2: "dying_relu", 4: "dying_relu"}, [("dense_1/kernel", "dense_2/kernel")]),
        ({2: "wrong_sign", 4: "learning_rate_too_large"}, [("dense_1/kernel", "dense_2/kernel")]),
    ],
    ids=["two causes", "one cause", "causes of the whole run"],
)
@pytest.mark.parametrize("later", [0, 5], ids=["at once", "one after the other"])
def test_parallel_branches_are_two_flags_of_one_rule_where_their_local_causes_differ(
    causes: dict[int, str], flags: list[tuple[str, ...]], later: int
) -> None:
    class OfRow(Loud):
        def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
            return Finding("It is loud.", causes=(cause(causes[int(rows[0])], 0.9, "seen."),))

    table = with_branches(TABLE)
    frames = loud(make_frames(table, range(40)), range(10, 40), [2])
    frames = loud(frames, range(10 + later, 40), [4])

    assert sorted(flag.variables for flag in run(frames, [OfRow()], table).flags) == flags


relations = st.dictionaries(
    st.integers(0, 5), st.lists(st.integers(0, 5), unique=True, max_size=5), max_size=6
)


@given(relations, relations)
@example({0: [1, 3], 1: [2, 0], 2: [1], 3: [2]}, {})
@settings(max_examples=100, deadline=None)
def test_whatever_follows_what_each_symptom_is_reported_once(
    follows: dict[int, list[int]], comes_of: dict[int, list[int]]
) -> None:
    """Also where rules follow one another in circles."""

    def rule(number: int) -> Rule:
        reported = f"It is loud {number}."

        class Numbered(Loud):
            def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
                return Finding(reported)

        Numbered.id = f"loud_{number}"
        Numbered.follows = tuple(f"loud_{i}" for i in follows.get(number, ()))
        Numbered.comes_of = tuple(f"loud_{i}" for i in comes_of.get(number, ()))
        return Numbered()

    engine = run(loud(make_frames(TABLE, range(2)), range(2), [0]), [rule(i) for i in range(6)])

    reported = [flag.summary for flag in engine.flags]
    reported += [up.partition(": ")[2] for flag in engine.flags for up in flag.follow_ups]
    assert sorted(reported) == [f"It is loud {i}." for i in range(6)]


def test_a_rule_that_raises_is_one_error_and_the_others_go_on() -> None:
    frames = loud(make_frames(TABLE, range(30)), range(5, 30), [0])

    engine = run(frames, [Nosy(), Loud()])

    [error] = engine.errors
    assert (error.rule, error.step) == ("nosy", 0)
    assert "weight_norm" in error.message
    assert [flag.rule for flag in engine.flags] == ["loud"]


def test_a_frame_of_another_shape_names_the_remedy() -> None:
    with pytest.raises(ValueError, match="set_table"):
        Engine(TABLE).update(make_frames(make_table(1), [0])[0])


def test_a_flag_follows_its_variable_into_a_new_table() -> None:
    smaller = dataclasses.replace(TABLE, variables=TABLE.variables[2:])
    engine = run(loud(make_frames(TABLE, range(20)), range(5, 20), [2]), [Loud()])
    engine.set_table(smaller)
    for frame in make_frames(smaller, range(20, 30)):
        engine.update(with_value(frame, smaller, "gradient_norm", 99.0, [0]))

    [flag] = engine.flags
    assert flag.variables == ("dense_1/kernel",)
    assert (flag.first_step, flag.last_step, flag.open) == (5, 29, True)


def test_a_flag_without_its_variables_is_over() -> None:
    smaller = dataclasses.replace(TABLE, variables=TABLE.variables[2:])
    engine = run(loud(make_frames(TABLE, range(20)), range(5, 20), [0]), [Loud()])
    engine.set_table(smaller)

    assert [flag.open for flag in engine.flags] == [False]


def test_a_run_resumed_from_an_earlier_step_is_judged_on() -> None:
    frames = [*make_frames(TABLE, range(40)), *make_frames(TABLE, range(20, 60))]
    frames[50:] = loud(frames[50:], range(30, 60), [1])

    [flag] = run(frames, [Loud()]).flags

    assert (flag.first_step, flag.last_step) == (30, 59)


# --- Properties -----------------------------------------------------------------------------


def faulty_frames(kind: str, rows: list[int], since: int, table: VariableTable) -> list[Frame]:
    frames = make_frames(table, range(70))
    if kind == "zero":
        return turn_zero(frames, table, rows, since)
    if kind == "none":
        return turn_missing(frames, table, rows)
    if kind == "nonfinite":
        return turn_nonfinite(frames, table, since + 1)
    if kind == "still":
        return [
            with_value(f, table, "update_norm", 0, rows) if f.step >= since else f for f in frames
        ]
    if kind == "symmetric":
        return [with_value(f, table, "unit_spread", 0, rows) for f in frames]
    return frames


faults = st.tuples(
    st.sampled_from(["healthy", "zero", "none", "still", "symmetric", "nonfinite"]),
    st.lists(st.integers(0, len(TABLE.variables) - 1), min_size=1, max_size=5, unique=True),
    st.integers(0, 50),
)


def as_recording(frames: list[Frame], table: VariableTable = TABLE) -> Recording:
    return Recording.from_frames(table, frames)


@settings(max_examples=25, deadline=None)
@given(faults)
def test_live_equals_offline(fault: tuple[str, list[int], int]) -> None:
    frames = faulty_frames(*fault, TABLE)

    live = run(frames)
    offline = judge([as_recording(frames)])

    assert live.flags == offline.flags
    assert live.errors == offline.errors == ()


@settings(max_examples=25, deadline=None)
@given(faults)
def test_names_mean_nothing(fault: tuple[str, list[int], int]) -> None:
    layers = list(dict.fromkeys(v.module for v in TABLE.variables))
    names = {
        v.path: f"v{layers.index(v.module)}/{v.path.rpartition('/')[2]}" for v in TABLE.variables
    }
    renamed = dataclasses.replace(
        TABLE,
        variables=tuple(dataclasses.replace(v, path=names[v.path]) for v in TABLE.variables),
    )

    # The layer of a variable is read from its path, so that only names of layers may change.
    plain = run(faulty_frames(*fault, TABLE)).flags
    other = run(faulty_frames(*fault, renamed), table=renamed).flags

    assert [(f.rule, tuple(names[v] for v in f.variables), f.severity) for f in plain] == [
        (f.rule, f.variables, f.severity) for f in other
    ]


@settings(max_examples=25, deadline=None)
@given(faults.filter(lambda s: s[0] != "none"), st.randoms(use_true_random=False))
def test_shuffling_variables_shuffles_flags(fault: tuple[str, list[int], int], random: Any) -> None:
    """But for rules to which network order means something: who is cut off, who starves by whom."""
    orderless = {"dead_units": False, "disconnected_gradient": False, "vanishing_gradient": False}
    order = list(range(len(TABLE.variables)))
    random.shuffle(order)
    shuffled = dataclasses.replace(TABLE, variables=tuple(TABLE.variables[i] for i in order))
    frames = faulty_frames(*fault, TABLE)
    others = [dataclasses.replace(frame, values=frame.values[order]) for frame in frames]

    def reported(flags: tuple[Flag, ...]) -> list[Any]:
        return sorted((f.rule, sorted(f.variables), f.severity, f.first_step) for f in flags)

    here, there = run(frames, orderless), run(others, orderless, shuffled)
    assert reported(here.flags) == reported(there.flags)


@settings(max_examples=15, deadline=None)
@given(faults)
def test_an_unmeasured_run_is_silent(fault: tuple[str, list[int], int]) -> None:
    blank = [
        dataclasses.replace(
            f, values=np.full_like(f.values, np.nan), context=np.full_like(f.context, np.nan)
        )
        for f in faulty_frames(*fault, TABLE)
    ]

    engine = run(blank)

    assert engine.flags == ()
    assert engine.errors == ()


EXTREMES = (0.0, np.nan, 1e-38, 1e-8, 0.5, 1.0, -1.0, 100.0, 3e38)
COUNTS = ("share", "count", "age", "steps", "unit_window", "table_id")


def extremes_of(columns: tuple[schema.Column, ...]) -> Any:
    """Index of a column -> an extreme that it may hold; no count is 1e38."""
    extreme = st.sampled_from(EXTREMES)
    held = st.tuples(st.integers(0, len(columns) - 1), extreme).filter(
        lambda pair: pair[1] < 1e30 or not columns[pair[0]].name.endswith(COUNTS)
    )
    return st.lists(held, max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    statistics=extremes_of(schema.STATISTICS),
    context=extremes_of(schema.CONTEXT[1:]),
    rows=st.lists(st.integers(0, 7), min_size=1),
    start=st.integers(0, 70),
    stride=st.integers(1, 3),
)
def test_no_rule_fails_whatever_is_measured(
    statistics: Any, context: Any, rows: list[int], start: int, stride: int
) -> None:
    frames = make_frames(TABLE, range(0, 80, stride))
    for frame in frames[start // stride :]:
        for column, value in statistics:
            frame.values[rows, column] = value
        for column, value in context:
            frame.context[1 + column] = value

    assert run(frames).errors == ()


def test_a_thousand_variables_take_a_few_milliseconds_per_frame() -> None:
    """Five in the budget; twenty here, as test machines are shared."""
    wide = VariableTable(
        tuple(
            Variable(f"layer_{i}/kernel", (8, 8), role="kernel", units=8, initial_rms=0.1)
            for i in range(1000)
        )
    )
    frames = make_frames(wide, range(80))
    run(frames[:10], table=wide)
    engine = Engine(wide)
    start = time.process_time()
    for frame in frames:
        engine.update(frame)

    assert engine.errors == ()
    assert (time.process_time() - start) / len(frames) < 0.02
