"""The same training gets the same verdict, whatever its frames have cost.

``benchmarks/repeats.py`` measures it with real load; here the clock is made up.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

pytest.importorskip("tensorflow")

from tb_gradients.host.schedule import Clock
from tb_gradients.training import pacing

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
import repeats

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

STEP_SECONDS = 0.005


class PricedClock(Clock):
    """Every step takes as long, and every frame costs as much."""

    frame_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._steps = self._taken = 0

    @property
    def counted(self) -> int:
        return self._taken

    @property
    def elapsed(self) -> float:
        return self._steps * STEP_SECONDS + self._taken * self.frame_seconds

    def spent(self, background: float = 0.0) -> float:
        return self._taken * self.frame_seconds

    def step(self, now: float, sampled: bool) -> None:
        self._steps += 1

    def frame(self, seconds: float) -> None:
        self._taken += 1


def test_a_gradient_that_vanishes_is_found_whatever_frames_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "Clock", PricedClock)
    found = []
    for cost in (0.0, 0.2):
        monkeypatch.setattr(PricedClock, "frame_seconds", cost)
        found.append(repeats.repeat("deep sigmoids", busy=cost > 0))

    assert found[0].frames > 3 * found[1].frames
    assert set(found[0].loud) == {"vanishing_gradient"}
    assert len(repeats.same_training(found)) == 2
    assert len(repeats.agreeing(found)) == 2, [one.loud for one in found]
