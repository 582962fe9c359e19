"""The verdict of a real training does not depend on the unit of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from test_trainings import classifier, judged, mlp, softmax  # noqa: E402

from tb_gradients.flags import Severity  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

MODELS: dict[str, tuple[Callable[[], Any], float]] = {
    "healthy": (softmax, 1.0),
    "deep sigmoid": (
        lambda: mlp("sigmoid", 8, 32, 4, "softmax", kernel_initializer="glorot_uniform"),
        1.0,
    ),
    "dead": (
        lambda: mlp("relu", 2, 32, 4, "softmax", bias_initializer=keras.initializers.Constant(-9)),
        1.0,
    ),
    "too slow": (softmax, 1e-8),
}
OPTIMIZERS: dict[str, Callable[[float, float], Any]] = {
    "SGD": lambda speed, factor: keras.optimizers.SGD(0.05 * speed / factor),
    # Epsilon is in the unit of the gradient, too.
    "Adam": lambda speed, factor: keras.optimizers.Adam(1e-3 * speed, epsilon=1e-7 * factor),
}


def reported(
    model: str, optimizer: str, factor: float
) -> list[tuple[str, Severity, tuple[str, ...]]]:
    build, speed = MODELS[model]
    program = classifier(
        build,
        optimizer=lambda: OPTIMIZERS[optimizer](speed, factor),
        objective=lambda loss: factor * loss,
        steps=100,
    )
    return [(f.rule, f.severity, f.variables) for f in judged(program)]


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        pytest.param(model, optimizer, marks=pytest.mark.long if (i + j) % 4 else ())
        for i, model in enumerate(MODELS)
        for j, optimizer in enumerate(OPTIMIZERS)
    ],
)
def test_scaling_the_loss_and_the_rate_changes_no_verdict(model: str, optimizer: str) -> None:
    usual = reported(model, optimizer, 1.0)

    assert bool(usual) == (model != "healthy")
    for factor in (1e-3, 1e3):
        assert reported(model, optimizer, factor) == usual
