"""The public names are those that `__init__` lists: no more, no fewer, and all documented."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tb_gradients

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


@pytest.mark.parametrize("name", sorted(set(tb_gradients.__all__) - {"__version__"}))
def test_every_public_name_is_in_the_manual(name: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any(name in page.read_text(encoding="utf-8") for page in pages)
