"""Set up .venv and look at the code without running it: lint, format, types, front end.

    python3 scripts/check.py

All checks run, also after one has failed; the front end's include its unit tests.
"""

from __future__ import annotations

import sys

import environment

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "frontend": ["build_backend/bundle.py", "--run", "check"],
}


def failing_checks() -> list[str]:
    """Run all checks; the names of those that failed."""
    python = str(environment.prepare("dev,demo", node=True))
    return [name for name, command in CHECKS.items() if environment.call([python, *command]) != 0]


def main() -> int:
    failing = failing_checks()
    print(f"Failed: {', '.join(failing)}" if failing else "All checks passed.")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
