"""A second ``fit`` trains with the monitor what it trains without it, whatever was set between."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import tb_gradients as tbg

layers = keras.layers


class OwnStep(keras.Sequential):
    """A training step of the user's."""

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.losses.mean_squared_error(y, self(x, training=True)))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def make_model(kind: type[keras.Sequential] = keras.Sequential) -> keras.Model:
    base = keras.Sequential(
        [
            keras.Input((None, 6)),
            layers.Dense(8, "tanh", name="inner"),
            layers.BatchNormalization(name="norm"),
        ],
        name="base",
    )
    return kind(
        [
            keras.Input((None, 6)),
            base,
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.2, seed=3),
            layers.Dense(4, "tanh", name="middle"),
            layers.Dense(1, name="head"),
        ]
    )


class Swap(keras.callbacks.Callback):
    """Replaces the optimizer, which Keras notices with the next trace only."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer = keras.optimizers.SGD(0.5)


def set_trainable(name: str, value: bool) -> Callable[[keras.Model], None]:
    def change(model: keras.Model) -> None:
        model.get_layer(name).trainable = value

    return change


def swap(model: keras.Model) -> None:
    model.optimizer = keras.optimizers.SGD(0.5)


def look(model: keras.Model) -> None:
    model.summary(print_fn=lambda *_, **__: None)
    model.evaluate(np.zeros((4, 3, 6), "float32"), np.zeros((4, 1), "float32"), verbose=0)


def look_and_freeze(model: keras.Model) -> None:
    look(model)
    model.get_layer("base").trainable = False


def nothing(model: keras.Model) -> None:
    pass


CHANGES: dict[str, tuple[Callable[[keras.Model], None], Callable[[keras.Model], None]]] = {
    "freeze": (nothing, look_and_freeze),
    "unfreeze": (set_trainable("base", False), set_trainable("base", True)),
    "steps per execution": (nothing, lambda model: setattr(model, "steps_per_execution", 3)),
    "jit_compile": (nothing, lambda model: setattr(model, "jit_compile", True)),
    "optimizer": (nothing, swap),
    "nothing": (nothing, nothing),
}


def trained(
    change: str,
    watched: str,
    folder: pathlib.Path,
    kind: type[keras.Sequential] = keras.Sequential,
    second_length: int = 3,
    callbacks: Callable[[], list[Any]] = list,
) -> list[Any]:
    keras.utils.set_random_seed(5)
    before, between = CHANGES[change]
    model = make_model(kind)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    before(model)
    generator = np.random.default_rng(1)

    def fit(number: int, length: int) -> None:
        x = generator.normal(size=(24, length, 6)).astype("float32")
        y = x[:, 0, :1] * x[:, 1, 1:2]
        health = []
        if watched == "both" or (watched == "second" and number == 2):
            health = [tbg.GradientHealth(folder / str(number), every=2, verbose=0)]
        model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[*callbacks(), *health])

    fit(1, 3)
    between(model)
    fit(2, second_length)
    return [np.asarray(weight) for weight in model.get_weights()]


def assert_harmless(
    folder: pathlib.Path, change: str, watched: str = "second", **options: Any
) -> None:
    bare = trained(change, "none", folder, **options)
    weights = trained(change, watched, folder, **options)
    for a, b in zip(bare, weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(name, marks=pytest.mark.long if number % 2 else ())
        for number, name in enumerate(CHANGES)
        if name != "nothing"
    ],
)
def test_a_second_fit_trains_the_same(change: str, tmp_path: pathlib.Path) -> None:
    assert_harmless(tmp_path, change)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["unfreeze", "optimizer"])
def test_so_does_one_after_a_fit_with_a_monitor(change: str, tmp_path: pathlib.Path) -> None:
    assert_harmless(tmp_path, change, "both")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["freeze"])
def test_data_of_another_shape(change: str, tmp_path: pathlib.Path) -> None:
    """They are traced anew, also by Keras: what is frozen since then is frozen for them."""
    assert_harmless(tmp_path, change, second_length=5)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["unfreeze"])
def test_a_train_step_of_the_users(change: str, tmp_path: pathlib.Path) -> None:
    assert_harmless(tmp_path, change, kind=OwnStep)


@pytest.mark.slow
def test_a_callback_that_replaces_the_optimizer(tmp_path: pathlib.Path) -> None:
    assert_harmless(tmp_path, "nothing", "both", callbacks=lambda: [Swap()])


def test_what_is_frozen_by_the_earlier_trace_is_named(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained("unfreeze", "second", tmp_path)
    assert "takes effect" not in caplog.text
    assert "base/inner/kernel" in caplog.text
    (run,) = tbg.load(tmp_path).runs
    (flag,) = [flag for flag in run.flags if flag.rule == "frozen_weight"]
    assert flag.severity == tbg.Severity.WARNING
    assert all("base/" in path for path in flag.variables)
    assert "Compile again after changing `trainable`" in flag.fixes[0]
    assert run.errors == ()


def test_what_is_trained_by_the_earlier_trace_is_measured(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained("freeze", "second", tmp_path)
    assert "still trained" in caplog.text
    (run,) = tbg.load(tmp_path).runs
    assert len(run.variables) == 8
    assert not [flag for flag in run.flags if flag.rule == "frozen_weight"]
