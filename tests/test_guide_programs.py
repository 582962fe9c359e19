"""The programs of the guide find what the guide says, and nothing loud once they are repaired."""

from __future__ import annotations

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import re

import pytest

pytest.importorskip("tensorflow")

import guide_programs
from guide_programs import Case

CASES = [case for page in guide_programs.pages() for case in guide_programs.cases(page)]
slow = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore")  # what the faults of the programs cause elsewhere


def named(text: str) -> set[tuple[str, str]]:
    """Severities with rules, and likeliest causes: what does not depend on the last digits."""
    flags = re.findall(r"^  (critical|warning|info): (\w+) \(", text, re.MULTILINE)
    causes = re.findall(r"^    (cause): (\w+) \(", text, re.MULTILINE)
    return {*flags, *causes}


LONG = pytest.mark.long
OFTEN = ("zero_gradients.md", "missing_gradients.md", "custom_loops.md")
"""Of these pages the first program runs each time, all others once a week."""


def loud(text: str) -> set[str]:
    return {what for what, _ in named(text)} & {"critical", "warning"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.page}-{case.title}")
def test_every_page_shows_a_finding_and_a_repair_that_ends_it(case: Case) -> None:
    assert named(case.printed)
    assert not loud(case.printed_then)
    assert not named(case.printed) & named(case.printed_then)


@slow
@quiet
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.page}-{case.title}",
            marks=() if case.page in OFTEN and not (before and before.page == case.page) else LONG,
        )
        for before, case in itertools.pairwise([None, *CASES])
    ],
)
def test_a_program_prints_what_the_page_says(case: Case) -> None:
    told = "run: python scripts/guide_programs.py"
    assert named(guide_programs.printed_by(case.program)) == named(case.printed), told
    assert loud(guide_programs.printed_by(case.repaired)) == set(), told


def test_a_repair_changes_the_lines_of_its_program() -> None:
    program = "a = 1\nb = 2\nc = 3\n"
    assert (
        guide_programs.repaired(program, "-b = 2\n+b = 5\n+d = 6\n")
        == "a = 1\nb = 5\nd = 6\nc = 3\n"
    )
    with pytest.raises(ValueError, match="is in the program 0 times"):
        guide_programs.repaired(program, "-x = 2\n+b = 5\n")
