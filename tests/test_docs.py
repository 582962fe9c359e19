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


def test_every_module_is_in_the_tree_of_the_design() -> None:
    """But rules, which are documented in a page of their own, and what is generated."""
    package = ROOT / "tb_gradients"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    names = {
        path.stem
        for path in modules
        if path.name != "__init__.py" and path.parts[0] not in ("rules", "proto")
    }
    assert len(names) > 100
    assert undocumented(names, "design.md") == []


def test_every_file_that_the_design_names_exists() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:host|judging|reading|plugin|training)/[\w/]+\.py)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / "tb_gradients" / name).exists()] == []


def test_every_key_of_the_rule_book_is_documented() -> None:
    book = rule_book()
    thresholds = [threshold for page in book["rules"] for threshold in page["thresholds"]]
    keys = {key for item in (*book["rules"], *book["causes"], *thresholds) for key in item}
    assert undocumented(keys, "http_api.md") == []


def test_this_check_can_fail() -> None:
    assert undocumented(["no_such_rule"], "design.md") == ["no_such_rule"]


PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page whose file or heading does not exist; code has none."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    broken = []
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: 3\n[a](#one-two-3) [b](#four) [c](none.md) [d](page.md#one)\n")
    assert broken_links(page) == ["#four", "none.md", "page.md#one"]


def test_the_readme_links_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT).as_posix() for page in sorted(DOCS.rglob("*.md"))]
    assert [page for page in pages if f"]({page})" not in text] == []


def test_every_promise_names_a_test_that_exists() -> None:
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 15
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
