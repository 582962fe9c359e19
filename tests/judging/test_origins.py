"""Where a flag comes from, put into flags that are judged anew; the table of operations."""

from __future__ import annotations

import dataclasses

import pytest

from tb_gradients.flags import Cause, Flag, Origin, PathRow, Severity
from tb_gradients.judging.before_nan import LOCATE, LOCATE_UNDER_XLA
from tb_gradients.judging.causes import CAUSES
from tb_gradients.judging.operations import (
    FADES,
    GROWS,
    NONE,
    NONFINITE,
    UNITS,
    ZERO,
    known,
    remedy,
)
from tb_gradients.judging.origins import BY_SIZE, with_origins

NAN = Flag(
    "nonfinite_gradient",
    Severity.CRITICAL,
    ("dense/kernel",),
    12,
    40,
    True,
    "NaN.",
    causes=(Cause("numeric_overflow", 0.5, "something"),),
    fixes=("Guard the operation.",),
)
DIVISION = Origin("RealDiv", "scale", "forward", "model.py", 42, summary="0 / 0.")


def explained(flag: Flag, origin: Origin, **change: object) -> Flag:
    """The flag with the origin that a flag of the same run had, with some things changed."""
    before = dataclasses.replace(flag, origin=origin, **change)
    [found] = with_origins([flag], [before])
    return found


def test_the_operation_leads_the_causes_and_its_fix_the_fixes() -> None:
    flag = explained(NAN, DIVISION)
    assert flag.origin == DIVISION
    assert flag.causes[0] == Cause("numeric_overflow", 0.97, "0 / 0.")
    assert "divide_no_nan" in flag.fixes[0]
    assert len(flag.causes) == 1


@pytest.mark.parametrize("search", [LOCATE, LOCATE_UNDER_XLA], ids=["graph", "xla"])
def test_how_to_find_the_operation_is_not_advised_where_it_is_known(search: str) -> None:
    fast = (Cause("learning_rate_too_large", 0.9, "grew"), *NAN.causes)
    fixes = ("Lower the rate.", f"Guard the operation. {search}", search)
    flag = dataclasses.replace(NAN, causes=fast, fixes=fixes)
    for operation in ("RealDiv", "Exp"):  # of which the first leads the causes, the second does not
        found = explained(flag, dataclasses.replace(DIVISION, operation=operation))
        assert not any("enable_check_numerics" in fix for fix in found.fixes)
        assert "Guard the operation." in found.fixes and "Lower the rate." in found.fixes


def test_what_made_the_values_large_goes_on_leading_before_the_operation_that_overflowed() -> None:
    fast = (Cause("learning_rate_too_large", 0.9, "grew"), *NAN.causes)
    flag = explained(
        dataclasses.replace(NAN, causes=fast), dataclasses.replace(DIVISION, operation="Exp")
    )
    assert [c.id for c in flag.causes] == ["learning_rate_too_large", "numeric_overflow"]
    assert flag.fixes[0] == "Guard the operation."
    assert flag.causes[1].confidence <= flag.causes[0].confidence


def test_weights_of_zero_lead_before_the_relu_to_which_they_give_zero() -> None:
    zeros = Cause("zero_initialization", 0.95, "left/kernel starts at zero everywhere.")
    flag = dataclasses.replace(NAN, rule="zero_gradient", causes=(zeros,))

    relu = explained(flag, Origin("Relu", "left", "backward", "model.py", 42, summary="0."))

    assert relu.causes == (zeros,)
    assert relu.origin is not None


@pytest.mark.parametrize(
    "change",
    [{"rule": "disconnected_gradient"}, {"first_step": 30}, {"variables": ("other/kernel",)}],
)
def test_an_origin_of_another_flag_is_left_alone(change: dict[str, object]) -> None:
    assert explained(NAN, DIVISION, **change).origin is None


def test_a_flag_that_has_grown_since_keeps_its_origin() -> None:
    grown = dataclasses.replace(NAN, variables=("dense/kernel", "dense/bias"), last_step=99)
    [flag] = with_origins([grown], [dataclasses.replace(NAN, origin=DIVISION)])
    assert flag.origin == DIVISION


FADING = Flag(
    "vanishing_gradient",
    Severity.CRITICAL,
    ("a/kernel",),
    0,
    40,
    True,
    "It fades.",
    causes=(Cause("saturating_activation", 0.9, "sigmoid"),),
    fixes=("Use relu.",),
)


def test_a_factor_that_shrinks_the_gradient_is_to_be_removed_first() -> None:
    flag = explained(FADING, Origin("Mul", "body", "backward", "model.py", 7, summary="0.001."))
    assert flag.causes == FADING.causes
    assert "Remove the factor" in flag.fixes[0] and flag.fixes[1:] == FADING.fixes


@pytest.mark.parametrize("operation", ["Sigmoid", "MatMul", ""])
def test_why_an_activation_is_flat_or_weights_are_small_the_rule_knows_better(
    operation: str,
) -> None:
    origin = Origin(operation, "body", "backward", path=(PathRow("body", "Sigmoid", "", 0, -3.0),))
    flag = explained(FADING, origin)
    assert (flag.causes, flag.fixes) == (FADING.causes, FADING.fixes)
    assert flag.origin == origin


@pytest.mark.parametrize("lost", [NONE, NONFINITE, ZERO, FADES, GROWS, UNITS])
def test_every_operation_has_a_registered_cause_and_code_to_write_instead(lost: str) -> None:
    assert known(lost)
    for operation in known(lost):
        found = remedy(operation, lost)
        assert found is not None
        assert found.cause in CAUSES or (not found.cause and lost in BY_SIZE)
        assert found.wrong and not found.wrong.endswith(".")
        assert found.fix.endswith(".") and found.fix.count("`") % 2 == 0


def test_an_operation_that_is_not_in_the_table_still_gets_the_advice_of_its_kind() -> None:
    assert remedy("SomethingNew", NONE) is not None
    assert remedy("SomethingNew", ZERO) is None
