"""What can be met in a run, a report or an address is explained in the manual."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import data_format_page
import pytest
import rules_page
from tensorboard.plugins import base_plugin

from tb_gradients import schema
from tb_gradients.judging import rule_book
from tb_gradients.plugin.plugin import GradientHealthPlugin

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def undocumented(names: Iterable[str], page: str) -> list[str]:
    """The names that a page of the manual does not show as code."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    words = set(re.findall(r"[\w/]+", " ".join([*blocks, *spans])))
    return sorted(set(names) - words)


def test_every_rule_and_cause_is_in_the_manual() -> None:
    book = rule_book()
    assert undocumented([item["id"] for item in book["rules"] + book["causes"]], "rules.md") == []


def test_the_manual_of_the_rules_says_what_their_docstrings_say() -> None:
    assert rules_page.PAGE.read_text(encoding="utf-8") == rules_page.page(), (
        "run: python scripts/rules_page.py"
    )


def test_every_tag_is_in_the_manual() -> None:
    assert undocumented(schema.TAGS, "data_format.md") == []


@pytest.mark.parametrize("columns", ["STATISTICS", "DERIVED", "CONTEXT"])
def test_every_number_is_in_the_manual(columns: str) -> None:
    names = [column.name for column in getattr(schema, columns)]
    assert undocumented(names, "data_format.md") == []


def test_the_tables_of_the_data_format_say_what_the_schema_says() -> None:
    text = data_format_page.PAGE.read_text(encoding="utf-8")
    assert text == data_format_page.page(text), "run: python scripts/data_format_page.py"


def test_every_route_is_in_the_manual() -> None:
    context = base_plugin.TBContext(data_provider=mock.Mock(), sampling_hints={})
    routes = [route.strip("/") for route in GradientHealthPlugin(context).get_plugin_apps()]
    named = [route.partition(".")[0] for route in routes if "*" not in route]
    assert undocumented(named, "http_api.md") == []


def test_every_key_of_the_rule_book_is_documented() -> None:
    book = rule_book()
    thresholds = [threshold for page in book["rules"] for threshold in page["thresholds"]]
    keys = {key for item in (*book["rules"], *book["causes"], *thresholds) for key in item}
    assert undocumented(keys, "http_api.md") == []


def test_this_check_can_fail() -> None:
    assert undocumented(["no_such_rule"], "design.md") == ["no_such_rule"]


PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
