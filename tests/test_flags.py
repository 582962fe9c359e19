"""Flags are plain data: they survive every conversion, and sort worst first."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_gradients.flags import (
    PHASES,
    Cause,
    Evidence,
    Flag,
    Origin,
    Severity,
    json_number,
    ranked,
    worst,
)

words = st.text(max_size=20)
numbers = st.floats(allow_nan=True, allow_infinity=True)
steps = st.integers(0, 2**40)

origins = st.builds(
    Origin,
    operation=words,
    layer=words,
    phase=st.sampled_from(PHASES),
    file=words,
    line=st.integers(0, 2**31 - 1),
    code=words,
    inputs=st.lists(words, max_size=2).map(tuple),
    outputs=st.lists(words, max_size=2).map(tuple),
    share=st.none() | st.floats(0, 1),
    exact=st.booleans(),
    only_xla=st.booleans(),
    summary=words,
)
flags = st.builds(
    Flag,
    rule=words,
    severity=st.sampled_from(Severity),
    variables=st.lists(words, max_size=4).map(tuple),
    first_step=steps,
    last_step=steps,
    open=st.booleans(),
    summary=words,
    evidence=st.lists(st.builds(Evidence, words, numbers, st.none() | numbers), max_size=3).map(
        tuple
    ),
    causes=st.lists(st.builds(Cause, words, st.floats(0, 1), words), max_size=3).map(tuple),
    fixes=st.lists(words, max_size=3).map(tuple),
    origin=st.none() | origins,
)


def test_an_unknown_threshold_is_none() -> None:
    assert Evidence("loss_median", 1.0, math.nan).threshold is None
    assert Evidence("loss_median", math.nan, 0.0).threshold == 0


@given(flags)
def test_a_flag_survives_the_protobuf(flag: Flag) -> None:
    # repr, because NaN is not equal to itself
    assert repr(Flag.from_proto(flag.to_proto())) == repr(flag)


@given(flags)
def test_a_flag_is_strict_json(flag: Flag) -> None:
    text = json.dumps(flag.to_json(), allow_nan=False)

    assert json.loads(text)["variables"] == list(flag.variables)


@given(origins)
def test_an_origin_is_one_printable_line(origin: Origin) -> None:
    assert str(origin).isprintable()
    assert all(text.isprintable() for text in (origin.code, origin.file, *origin.inputs))


def test_a_flag_without_an_origin_does_not_mention_it() -> None:
    flag = Flag("dead_units", Severity.INFO, (), 0, 1, True, "")
    assert "origin" not in flag.to_json()
    assert not flag.to_proto().HasField("origin")


@pytest.mark.parametrize("change", [{"phase": "sideways"}, {"share": 2.0}])
def test_an_origin_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    message = Origin("Sqrt", share=0.5).to_proto()
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match="origin"):
        Origin.from_proto(message)


@given(st.lists(flags, max_size=6))
def test_ranking_keeps_all_flags_and_puts_the_worst_first(some: list[Flag]) -> None:
    order = ranked(some)

    assert sorted(map(repr, order)) == sorted(map(repr, some))
    assert [f.severity for f in order] == sorted((f.severity for f in some), reverse=True)
    assert worst(some) == (order[0].severity if order else None)


def test_evidence_without_a_threshold_has_none_and_not_zero() -> None:
    flag = Flag("r", Severity.INFO, (), 0, 1, True, "s", (Evidence("a", 1.0), Evidence("b", 1, 0)))

    assert [e.threshold for e in Flag.from_proto(flag.to_proto()).evidence] == [None, 0]


@pytest.mark.parametrize(
    ("number", "text"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_numbers_that_json_has_no_word_for_become_their_names(number: float, text: str) -> None:
    assert json_number(number) == text


def test_an_unknown_severity_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="info, warning, critical"):
        Severity.parse("fatal")


def test_a_flag_reads_as_a_sentence() -> None:
    flag = Flag("dead_units", Severity.WARNING, ("a",), 3, 9, False, "All dead.")

    assert str(flag) == "warning: dead_units (steps 3 to 9): All dead."


def test_names_in_what_is_printed_of_a_flag_are_inert() -> None:
    name = "\x1b[31mred\u202e/kernel"
    flag = Flag(
        "zero_gradient",
        Severity.CRITICAL,
        (name,),
        0,
        9,
        True,
        f"{name} is zero.",
        causes=(Cause("dead_relu", 0.9, f"{name} is silent."),),
        fixes=(f"Look at {name}.",),
    )
    for line in (str(flag), *flag.advice()):
        assert r"\x1b[31mred\u202e/kernel" in line
        assert line.isprintable()
    assert flag.summary == f"{name} is zero.", "data stay as they are"


def test_a_severity_prints_as_a_word() -> None:
    assert str(Severity.WARNING) == f"{Severity.WARNING}" == "warning"
    assert f"{Severity.INFO:>8}" == "    info"
    assert json.dumps([Severity.CRITICAL]) == "[3]"


def test_a_severity_compares_with_severities_and_words() -> None:
    assert Severity.INFO < Severity.WARNING <= Severity.WARNING < Severity.CRITICAL
    assert Severity.WARNING >= "warning" > Severity.INFO
    assert Severity.CRITICAL > "warning" and not Severity.INFO >= "warning"
    assert Severity.CRITICAL == "critical" != Severity.INFO
    assert max(Severity.INFO, Severity.CRITICAL) is Severity.CRITICAL
    with pytest.raises(ValueError, match="known: info, warning, critical"):
        assert Severity.INFO >= "warnign"
