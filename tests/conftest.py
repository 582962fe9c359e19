"""Shared by all tests. Being here puts this folder on the path: ``import recordings``."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    parser.addoption(
        "--seeds",
        type=int,
        default=1,
        help="train the pairs of faulty and repaired programs with so many seeds (default: 1)",
    )


def pytest_generate_tests(metafunc: Any) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))
