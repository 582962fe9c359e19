"""Write docs/licences.md: the licence of everything that the package is developed with.

    python scripts/licences.py

The names and versions are those of ``scripts/locked.txt`` and ``frontend/package-lock.json``. The
licence of a Python package is what its installed metadata say: run it in .venv.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKED = ROOT / "scripts" / "locked.txt"
PACKAGE_LOCK = ROOT / "frontend" / "package-lock.json"

HEAD = """# Licences

`tb-gradients` is under Apache-2.0. What it needs at run time is listed in
[Reliability](reliability.md#what-it-is-made-of). This page lists what it is built, tested and
documented with, in the locked versions. None of it is part of the wheel. `scripts/licences.py`
writes this page.
"""


def of_python() -> list[tuple[str, str, str]]:
    """Name, version and licence of each locked Python package."""
    lines = LOCKED.read_text(encoding="utf-8").splitlines()
    pinned = [line.split(";")[0].strip().split("==") for line in lines if "==" in line]
    return [(name, version, _licence(name)) for name, version in pinned]


def of_node() -> list[tuple[str, str, str]]:
    """Name, version and licence of each locked package of the front end, each once."""
    packages = json.loads(PACKAGE_LOCK.read_text(encoding="utf-8"))["packages"]
    found = {
        (path.rpartition("node_modules/")[2], about["version"], about.get("license", "not stated"))
        for path, about in packages.items()
        if path
    }
    return sorted(found)


def _licence(name: str) -> str:
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
    classifiers = [
        text.rpartition(":: ")[2]
        for text in about.get_all("Classifier") or ()
        if text.startswith("License :: ") and "::" in text.removeprefix("License :: ")
    ]
    text = about["License-Expression"] or ", ".join(classifiers) or about["License"] or "not stated"
    return text.splitlines()[0].strip()


def page() -> str:
    return "\n".join(
        [
            HEAD,
            "## Python\n",
            _table(of_python()),
            "\n## Front end\n",
            _table(of_node()),
            "",
        ]
    )


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = ["| package | version | licence |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{PAGE} is written.")
