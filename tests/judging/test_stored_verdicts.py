"""Recorded trainings get the verdicts that were stored: a change of one is a decision, no accident.

``python tests/store_verdicts.py`` stores them anew; the difference shows what a change has changed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from store_verdicts import VERDICTS, verdicts

STORED: dict[str, Any] = json.loads(VERDICTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(verdicts()))  # as they are when stored
    return found


def test_at_least_sixty_trainings_are_stored() -> None:
    assert len(STORED) >= 60
    assert any(run["flags"] for run in STORED.values())
    assert not all(run["flags"] for run in STORED.values())


def test_every_recorded_training_has_a_stored_verdict(judged: dict[str, Any]) -> None:
    assert set(judged) == set(STORED)


@pytest.mark.parametrize("run", sorted(STORED))
def test_a_recorded_training_gets_the_verdict_that_is_stored(
    run: str, judged: dict[str, Any]
) -> None:
    assert judged[run] == STORED[run]
