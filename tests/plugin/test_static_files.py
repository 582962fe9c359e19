"""The tab's files are served from a table made at start."""

from __future__ import annotations

import pathlib

from tb_gradients.plugin.bundle import ENTRY, Bundle


def bundle_of(folder: pathlib.Path, **files: str) -> Bundle:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return Bundle(folder)


def test_files_come_with_the_type_that_browsers_insist_on(tmp_path: pathlib.Path) -> None:
    bundle = bundle_of(tmp_path, index__js="export {}", style__css="a {}", index__js__map="{}")
    assert {name: file.mime_type for name, file in bundle.files.items()} == {
        "index.js": "text/javascript",
        "index.js.map": "application/json",
        "style.css": "text/css",
    }


def test_files_of_other_kinds_are_not_served(tmp_path: pathlib.Path) -> None:
    assert set(bundle_of(tmp_path, index__js="", secret__txt="", index__js__sha256="").files) == {
        ENTRY
    }


def test_the_address_of_the_entry_changes_with_its_content(tmp_path: pathlib.Path) -> None:
    before = bundle_of(tmp_path, index__js="1").entry_path
    assert before.startswith("/index.js?v=")
    assert bundle_of(tmp_path, index__js="1").entry_path == before
    assert bundle_of(tmp_path, index__js="2").entry_path != before


def test_without_a_bundle_the_page_says_how_to_get_one(tmp_path: pathlib.Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        bundle = Bundle(folder)
        assert not bundle.built
        script = bundle.files[ENTRY].content.decode()
        assert "export function render()" in script
        assert "is not built" in script
