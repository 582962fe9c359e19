"""The public names are those that `__init__` lists: no more, no fewer, and all documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tb_gradients
from tb_gradients.reading.report import RunReport

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_is_sorted_and_names_nothing_twice() -> None:
    assert list(tb_gradients.__all__) == sorted(set(tb_gradients.__all__))


@pytest.mark.parametrize("name", tb_gradients.__all__)
def test_every_listed_name_exists(name: str) -> None:
    assert getattr(tb_gradients, name) is not None


def test_type_checkers_and_the_interpreter_find_the_same_names_in_the_same_modules() -> None:
    tree = ast.parse(Path(tb_gradients.__file__).read_text(encoding="utf-8"))
    seen_by_type_checkers = {
        alias.name: statement.module
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen_by_type_checkers == tb_gradients._HOMES
    assert {*seen_by_type_checkers, "__version__"} == set(tb_gradients.__all__)


def test_dir_shows_names_that_are_not_loaded_yet() -> None:
    assert set(tb_gradients.__all__) <= set(dir(tb_gradients))


def test_a_name_that_does_not_exist_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        tb_gradients.no_such_name  # noqa: B018


GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def names_in(text: str) -> set[str]:
    """The public names that code in a page uses: ``tbg.watch``."""
    return set(re.findall(r"\btbg\.(\w+)", text))


def test_the_guide_and_the_public_names_agree() -> None:
    assert names_in(GUIDE) == set(tb_gradients.__all__) - {"__version__"}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_no_page_uses_a_name_that_is_not_public(page: Path) -> None:
    assert names_in(page.read_text(encoding="utf-8")) <= set(tb_gradients.__all__)


def test_that_check_can_fail() -> None:
    assert names_in("`tbg.no_such_name(1)`") == {"no_such_name"}


RUN = RunReport("run", None, None, 0)


def test_every_attribute_of_a_run_that_the_guide_shows_exists() -> None:
    shown = set(re.findall(r"\brun\.(\w+)", GUIDE))
    assert shown >= {"steps", "variables", "lane", "histogram", "to_pandas", "plot"}
    assert shown <= set(dir(RUN))
