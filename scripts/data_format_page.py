"""Write the tables of docs/data_format.md from the columns that tb_gradients/schema.py declares.

    .venv/bin/python scripts/data_format_page.py

The text between the tables is written by hand. A test compares the tables with the schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tb_gradients import schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data_format.md"

TABLES = {
    "STATISTICS": schema.STATISTICS,
    "DERIVED": schema.DERIVED,
    "CONTEXT": schema.CONTEXT,
}


def page(text: str) -> str:
    """The page with its tables as the schema has them."""
    for name, columns in TABLES.items():
        begin, end = f"<!-- table {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE.name} has no place for the table {name}")
        text = f"{before}{begin}{_table(columns)}{end}{after}"
    return text


def _table(columns: Iterable[schema.Column]) -> str:
    lines = ["| column | unit | scope | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.unit} | {c.scope} | {c.meaning} |" for c in columns]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(f"{PAGE} is written.")
