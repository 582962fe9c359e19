"""Everything that the package is developed with is on the page of licences."""

from __future__ import annotations

import licences
import pytest


@pytest.mark.parametrize("locked", [licences.of_python, licences.of_node])
def test_every_locked_package_is_listed_in_its_version(locked) -> None:  # type: ignore[no-untyped-def]
    text = licences.PAGE.read_text(encoding="utf-8")
    rows = locked()
    assert len(rows) > 100
    missing = [name for name, version, _ in rows if f"| {name} | {version} |" not in text]
    assert missing == [], "run scripts/licences.py"
