"""Optimizers that break, replace or never move the weights, in real trainings; and the advice.

Each program is faulty by its optimizer alone: the same one with the advice followed is silent.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

import tb_gradients as tbg  # noqa: E402
from tb_gradients.flags import Flag, Severity  # noqa: E402
from tb_gradients.snippets import snippets  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(keras.optimizers, "ScheduleFreeAdamW"),
        reason="what optimizers of an older Keras do to the weights was not measured",
    ),
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

O = keras.optimizers  # noqa: E741

RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 4, 512)
# Pixels, the last of which are always black.
X = np.clip(RANDOM.random((4, 16))[Y] + 0.1 * RANDOM.standard_normal((512, 16)), 0, 1)
X[:, 12:] = 0
X = X.astype("float32")


def train(
    folder: pathlib.Path,
    optimizer: Any,
    policy: str = "float32",
    build: bool = False,
    epochs: int = 8,
    layers: int = 2,
) -> tuple[Flag, ...]:
    """Flags of a training, as they are at its end."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        hidden = [keras.layers.Dense(16, activation="relu") for _ in range(layers)]
        model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(4)])
        if build:
            optimizer.build(model.trainable_variables)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        watch = tbg.GradientHealth(folder, verbose=0)
        model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=[watch])
    finally:
        keras.config.set_dtype_policy("float32")
    (run,) = tbg.load(folder).runs
    return tuple(flag for flag in run.flags if flag.severity >= Severity.WARNING)


def made_by(flag: Flag) -> Any:
    """The optimizer that the advice says."""
    code = next(c for c in snippets(" ".join(flag.fixes)) if c.startswith("keras.optimizers."))
    return eval(code, {"keras": keras})


CASES: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    "Adafactor": (O.Adafactor, "float32", "nonfinite_weight", "optimizer_breaks_weights"),
    "Nadam": (O.Nadam, "bfloat16", "nonfinite_weight", "optimizer_breaks_weights"),
    "Ftrl": (O.Ftrl, "float32", "weights_replaced", "optimizer_replaces_weights"),
    "Adam": (O.Adam, "bfloat16", "update_lost", "low_precision"),
    "averages": (
        lambda: O.Adam(use_ema=True, ema_momentum=0.9999, ema_overwrite_frequency=1),
        "float32",
        "update_too_small",
        "averaged_weights",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if i % 2 else ()) for i, n in enumerate(CASES)]
)
def test_the_optimizer_is_named_and_the_advice_cures(name: str, tmp_path: pathlib.Path) -> None:
    make, policy, rule, cause = CASES[name]

    flags = train(tmp_path / "faulty", make(), policy)

    assert [(flag.rule, flag.causes[0].id) for flag in flags] == [(rule, cause)]
    assert flags[0].first_step <= 1
    assert train(tmp_path / "cured", made_by(flags[0]), policy) == ()


def test_an_optimizer_that_is_built_in_the_step_throws_the_weights_away(
    tmp_path: pathlib.Path,
) -> None:
    (flag,) = train(tmp_path / "faulty", O.ScheduleFreeAdamW(), layers=5)

    assert (flag.rule, flag.causes[0].id) == ("weights_replaced", "optimizer_replaces_weights")
    assert snippets(flag.fixes[0]) == ["optimizer.build(model.trainable_variables)"]
    assert train(tmp_path / "cured", O.ScheduleFreeAdamW(), build=True, layers=5) == ()


def test_a_linear_model_may_start_anywhere(tmp_path: pathlib.Path) -> None:
    assert train(tmp_path, O.Ftrl(0.1), layers=0) == ()
