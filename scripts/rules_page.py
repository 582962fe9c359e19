"""Write docs/rules.md, the manual of the rules, from their docstrings.

    .venv/bin/python scripts/rules_page.py

A test compares the page with the docstrings, so it cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tb_gradients.judging import rule_book

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rules.md"

INTRODUCTION = """\
<!-- Written by scripts/rules_page.py from the docstrings in tb_gradients/rules/. -->

# Rules

What can be flagged, what decides it, and what to try. `tb-gradients rules` prints the same
pages. Every threshold can be set and every rule switched off:

```python
tbg.GradientHealth("logs/run1", rules={"dead_units": False})
```
"""


def page() -> str:
    """The whole page, as Markdown."""
    book = rule_book()
    parts = [INTRODUCTION, *map(_rule, book["rules"]), _causes(book["causes"])]
    return "\n".join(parts)


def _rule(rule: dict[str, Any]) -> str:
    return "\n".join(_rule_lines(rule))


def _rule_lines(rule: dict[str, Any]) -> Iterator[str]:
    yield f"## {rule['title']}\n"
    yield f"`{rule['id']}`, highest severity: {rule['severity']}\n"
    yield f"{rule['summary']}\n"
    yield f"**Why it matters:** {rule['why']}\n"
    yield f"**Definition:** {rule['definition']}\n"
    yield "**Try:**\n"
    yield from (f"* {fix}" for fix in rule["fixes"])
    yield f"\n**No finding when:** {rule['silent_when']}\n"
    if rule["thresholds"]:
        yield "| threshold | default | because |"
        yield "|---|---|---|"
        yield from (
            f"| `{threshold['name']}` | {threshold['value']:g} | {threshold['reason']} |"
            for threshold in rule["thresholds"]
        )
        yield ""


def _causes(causes: list[dict[str, Any]]) -> str:
    lines = ["## Causes\n", "| cause | what it means |", "|---|---|"]
    lines += [f"| `{cause['id']}` | {cause['title']}. {cause['summary']} |" for cause in causes]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{PAGE} is written.")
