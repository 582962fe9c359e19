"""What benchmarks/packages.py calls right, and that everything of a package is there."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import packages
import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "package_programs"

CAUSE = ["learning_rate_too_large", 0.9, "It is 5."]


def seen(**changed: Any) -> dict[str, Any]:
    """What a package gives where everything is right."""
    flag = {"rule": "update_too_large", "severity": "critical", "variables": ["bert/kernel"]}
    return {
        "losses": [2.0, 0.5],
        "steps": 60,
        "frames": 60,
        "paths": ["bert/kernel", "bert/bias", "pooler"],
        "variables": 3,
        "with_gradient": 2,
        "measured": 2,
        "difference": 1e-6,
        "identical": True,
        "errors": [],
        "healthy": [],
        "faulty": [{**flag, "first_step": 3, "causes": [CAUSE]}],
        "planted": ["rate 5", "update_too_large", "learning_rate_too_large", "bert"],
        **changed,
    }


def flag(**changed: Any) -> dict[str, Any]:
    return {**seen()["faulty"][0], **changed}


def test_a_package_with_which_everything_works_has_no_problem() -> None:
    assert list(packages.problems(seen())) == []
    row = dict(zip(packages.HEADS, packages.row_of("keras-hub", seen()), strict=True))
    assert row["frames"] == "60 of 60"
    assert row["variables"] == "2 of 2"
    assert row["told"] == "update_too_large, learning_rate_too_large"


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"losses": [0.5, 0.5]}, "does not learn"),
        ({"losses": [0.5, float("nan")]}, "does not learn"),
        ({"frames": 59}, "59 frames of 60"),
        ({"paths": ["bert/kernel"]}, "1 of 3 variables"),
        ({"measured": 1}, "1 of 2 gradients"),
        ({"difference": None}, "other gradients than a tape"),
        ({"difference": 0.01}, "differs from that of a tape"),
        ({"identical": False}, "the weights differ"),
        ({"errors": ["The monitor stopped."]}, "The monitor stopped."),
        ({"healthy": [flag(severity="warning")]}, "the healthy training has warning"),
        ({"faulty": []}, "no flag"),
        ({"faulty": [flag(rule="dead_units")]}, "the fault is not told"),
        ({"faulty": [flag(severity="info")]}, "the fault is not told"),
        ({"faulty": [flag(variables=["head/kernel"])]}, "the fault is not told"),
        ({"faulty": [flag(causes=[["dying_relu", 0.9, ""], CAUSE])]}, "the fault is not told"),
    ],
)
def test_what_is_not_as_it_should_be_is_a_problem(changed: dict[str, Any], part: str) -> None:
    [problem] = packages.problems(seen(**changed))
    assert part in problem


def test_an_info_about_the_healthy_training_is_no_problem() -> None:
    assert list(packages.problems(seen(healthy=[flag(severity="info")]))) == []


def test_each_package_is_pinned_and_has_a_program_and_a_place_in_the_manual() -> None:
    page = (ROOT / "docs" / "packages.md").read_text(encoding="utf-8")
    for name, package in packages.PACKAGES.items():
        assert packages.version_of(name), name
        assert all("==" in one for one in (*package.requirements, *package.alone)), name
        source = (PROGRAMS / f"{packages.module_of(name)}.py").read_text(encoding="utf-8")
        targets = [node.targets for node in ast.parse(source).body if isinstance(node, ast.Assign)]
        assert "PROGRAM" in {target.id for [target] in targets if isinstance(target, ast.Name)}
        assert name in page
