"""The rule book: one declaration per rule, and settings that are checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tb_gradients import schema
from tb_gradients.judging import all_rules, make_rules, rule_book
from tb_gradients.judging.base import Rule
from tb_gradients.judging.causes import CAUSES, cause
from tb_gradients.rules.update_too_large import UpdateTooLarge
from tb_gradients.rules.update_too_small import UpdateTooSmall

FIRST_TEN = {
    "nonfinite_gradient",
    "nonfinite_weight",
    "nonfinite_loss",
    "disconnected_gradient",
    "zero_gradient",
    "symmetric_units",
    "dead_units",
    "frozen_weight",
    "update_too_small",
    "vanishing_gradient",
}


def test_the_rules_of_the_design_are_found() -> None:
    ids = [rule.id for rule in all_rules()]

    assert set(ids) >= FIRST_TEN
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_a_rule_is_a_page_of_the_manual(rule: type[Rule]) -> None:
    page = rule.page()

    assert page.summary.endswith(".")
    for text in (page.why, page.definition, page.silent_when, *page.fixes):
        assert len(text) > 10
    assert page.title
    assert all(reason for _, _, reason in page.thresholds)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_a_rule_needs_columns_that_exist(rule: type[Rule]) -> None:
    for name in rule.needs:
        assert schema.column(name)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_a_rule_names_a_picture_of_columns_that_exist(rule: type[Rule]) -> None:
    picture = rule.picture
    for name in filter(None, (picture.statistic, *(picture.chart or ()))):
        assert schema.column(name)
    if picture.statistic:
        assert picture.statistic in {c.name for c in (*schema.STATISTICS, *schema.DERIVED)}
    units = {schema.column(name).unit for name in picture.chart or ()}
    assert len(units) <= 2, "a chart has two scales at most"


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_a_rule_follows_rules_and_causes_that_exist(rule: type[Rule]) -> None:
    for entry in (*rule.follows, *rule.comes_of):
        other, colon, kind = entry.partition(":")
        assert other in {known.id for known in all_rules()} - {rule.id}
        assert not colon or kind in CAUSES


def test_the_healthy_ranges_are_the_thresholds_of_the_rules() -> None:
    found = {(one["statistic"], one["against"]): one for one in rule_book()["ranges"]}

    ratio = found["update_ratio", ""]
    assert (ratio["above"], ratio["below"]) == (
        UpdateTooSmall.ratio.default,
        UpdateTooLarge.ratio.default,
    )
    assert ratio["rules"] == ["update_too_large", "update_too_small"]
    for statistic, _ in found:
        assert statistic in {c.name for c in (*schema.STATISTICS, *schema.DERIVED)}
    for one in found.values():
        low, high = one["usual"] or (one["above"], one["below"])
        assert low is None or high is None or one["above"] <= low < high <= one["below"]


def test_a_page_without_a_section_is_refused() -> None:
    class Mute(all_rules()[0]):  # type: ignore[misc]
        """It says something.

        Why it matters: for the test.
        """

    with pytest.raises(ValueError, match="lacks Definition, Try, Silent when"):
        Mute.page()


def test_the_rule_book_is_json() -> None:
    book = json.loads(json.dumps(rule_book(), allow_nan=False))

    assert {"id", "title", "severity", "summary", "why", "definition", "fixes", "silent_when"} <= (
        book["rules"][0].keys()
    )
    assert {kind["id"] for kind in book["causes"]} == set(CAUSES)


def test_a_cause_must_be_registered() -> None:
    with pytest.raises(KeyError):
        cause("bad_luck", 0.5, "It happens.")


def test_a_threshold_can_be_set_and_the_default_stays() -> None:
    rule = next(r for r in make_rules({"dead_units": {"share": 0.8}}) if r.id == "dead_units")
    other = next(r for r in make_rules() if r.id == "dead_units")

    assert rule.settings == {"share": 0.8}
    assert (rule.share, other.share) == (0.8, 0.5)  # type: ignore[attr-defined]


def test_a_rule_can_be_switched_off() -> None:
    ids = {rule.id for rule in make_rules({"dead_units": False, "zero_gradient": True})}

    assert ids == {rule.id for rule in all_rules()} - {"dead_units"}


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"dead_unit": False}, "known: .*dead_units"),
        ({"dead_units": {"shaer": 0.8}}, "known: share, deviations, early_steps, nearly_all"),
        ({"dead_units": {"share": "0.8"}}, "must be a number"),
        ({"dead_units": {"share": True}}, "must be a number"),
        ({"dead_units": {"share": float("nan")}}, "must be a number"),
        ({"zero_gradient": {"steps": 2.5}}, "must be a whole number"),
        ({"dead_units": None}, "must be False or a mapping"),
        (["dead_units"], "must be a mapping"),
    ],
)
def test_wrong_settings_name_what_is_right(settings: Any, reported: str) -> None:
    with pytest.raises(ValueError, match=reported):
        make_rules(settings)
