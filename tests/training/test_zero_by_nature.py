"""Gradients that are zero by the shape of the data: no loud flag, and the true reason.

Each kind has a twin in which the same weights could learn: nothing is flagged there, or a fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag, Severity

L = keras.layers

RANDOM = np.random.default_rng(0)
ROWS, STEPS, FEATURES, CLASSES = 256, 4, 8, 3
X = RANDOM.standard_normal((ROWS, STEPS, FEATURES)).astype("float32")
Y = X.reshape(ROWS, -1)[:, :6].reshape(ROWS, 2, CLASSES).sum(1).argmax(-1)


def flags_of(model: Any, folder: Path, x: Any, y: Any = Y, **compiled: Any) -> dict[str, Flag]:
    """Loud flags and those of ``info``, by rule, of 5 epochs."""
    options: dict[str, Any] = {
        "optimizer": keras.optimizers.Adam(1e-2),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "jit_compile": False,
    }
    model.compile(**{**options, **compiled})
    health = tbg.GradientHealth(folder, every=1, histograms=False, verbose=0)
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[health])
    return {flag.rule: flag for flag in health.report}


def loud(flags: dict[str, Flag]) -> list[str]:
    return [rule for rule, flag in flags.items() if flag.severity >= Severity.WARNING]


def layers_of(flag: Flag) -> set[str]:
    return {path.split("/")[-2] for path in flag.variables}


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(1)


@pytest.mark.parametrize(
    "kind", ["GRU", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("LSTM", "SimpleRNN"))]
)
def test_a_recurrence_over_one_time_step_is_an_info_that_says_so(kind: str, tmp_path: Path) -> None:
    x = X.reshape(ROWS, 1, -1)
    model = keras.Sequential([L.Input(x.shape[1:]), getattr(L, kind)(16), L.Dense(CLASSES)])

    flags = flags_of(model, tmp_path, x)

    assert loud(flags) == []
    flag = flags["zero_gradient"]
    assert [path.rpartition("/")[2] for path in flag.variables] == ["recurrent_kernel"]
    assert flag.causes[0].id == "axis_of_length_one"
    assert "one time step" in flag.causes[0].summary


def test_over_several_time_steps_nothing_is_flagged(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input(X.shape[1:]), L.GRU(16), L.Dense(CLASSES)])

    assert "zero_gradient" not in flags_of(model, tmp_path, X)


def attention(x: Any, **options: Any) -> Any:
    inputs = L.Input(x.shape[1:])
    hidden = L.Dense(16, activation="relu")(inputs)
    hidden = hidden + L.MultiHeadAttention(2, 8, name="attention", **options)(hidden, hidden)
    return keras.Model(inputs, L.Dense(CLASSES, name="head")(L.Flatten()(hidden)))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("options", [{}, pytest.param({"dropout": 0.1}, marks=pytest.mark.slow)])
def test_query_and_key_of_an_attention_over_one_position_are_an_info(
    options: dict[str, Any], tmp_path: Path
) -> None:
    x = X.reshape(ROWS, 1, -1)

    flags = flags_of(attention(x, **options), tmp_path, x)

    assert loud(flags) == []
    assert flags["zero_gradient"].causes[0].id == "axis_of_length_one"
    assert layers_of(flags["zero_gradient"]) <= {"query", "key"}


def test_over_several_positions_they_learn(tmp_path: Path) -> None:
    assert "zero_gradient" not in flags_of(attention(X), tmp_path, X)


def pooled(axis: int) -> Any:
    inputs = L.Input(X.shape[1:])
    hidden = L.Dense(16, activation="relu")(inputs)
    weights = L.Softmax(axis=axis)(L.Dense(1, name="score")(hidden))
    return keras.Model(inputs, L.Dense(CLASSES)(keras.ops.sum(hidden * weights, axis=1)))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_a_softmax_over_the_wrong_axis_is_a_warning_with_the_fix(tmp_path: Path) -> None:
    flags = flags_of(pooled(-1), tmp_path, X)

    assert loud(flags) == ["zero_gradient"]
    flag = flags["zero_gradient"]
    assert layers_of(flag) == {"score"} or set(flag.variables) == {"score/kernel", "score/bias"}
    assert flag.causes[0].id == "axis_of_length_one"
    assert "`axis`" in flag.fixes[0]


def test_over_the_other_axis_nothing_is_flagged(tmp_path: Path) -> None:
    assert loud(flags_of(pooled(1), tmp_path, X)) == []


class Quantized(L.Layer):  # type: ignore[misc]
    """A dense layer with learnt bit widths of its inputs, all equal at the start."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.dense = L.Dense(units)

    def build(self, shape: Any) -> None:
        self.f = self.add_weight(
            shape=(1, int(shape[-1]), 2), initializer=keras.initializers.Constant(6.0), name="f"
        )
        self.dense.build((*shape[:-1], 2 * shape[-1]))

    def call(self, x: Any) -> Any:
        scale = keras.ops.power(2.0, self.f)
        x = keras.ops.expand_dims(x, -1) * scale
        x = (x + keras.ops.stop_gradient(keras.ops.round(x) - x)) / scale
        self.add_loss(1e-4 * keras.ops.sum(self.f))
        return self.dense(keras.ops.reshape(x, (-1, 2 * x.shape[1])))


def test_bit_widths_that_start_equal_are_no_units_that_stay_equal(tmp_path: Path) -> None:
    x = X.reshape(ROWS, -1) * (np.arange(STEPS * FEATURES) > 15)  # half of them carry nothing
    model = keras.Sequential([L.Input((STEPS * FEATURES,)), Quantized(16), L.Dense(CLASSES)])
    y = X.reshape(ROWS, -1)[:, -3:].argmax(-1)

    assert "symmetric_units" not in flags_of(model, tmp_path, x, y)


class ByHand(L.Layer):  # type: ignore[misc]
    """A dense layer written by hand, whose weight has a name that says nothing."""

    def build(self, shape: Any) -> None:
        self.f = self.add_weight(
            shape=(int(shape[-1]), 16), initializer=keras.initializers.Constant(0.1), name="f"
        )

    def call(self, x: Any) -> Any:
        return keras.ops.tanh(keras.ops.matmul(x, self.f))


def test_a_weight_that_multiplies_the_signal_is_flagged_whatever_its_name(tmp_path: Path) -> None:
    x = X.reshape(ROWS, -1)
    model = keras.Sequential([L.Input((x.shape[1],)), ByHand(), ByHand(), L.Dense(1)])

    flags = flags_of(model, tmp_path, x, x[:, :1], loss="mse")

    assert flags["symmetric_units"].severity == Severity.CRITICAL


def held(x: Any, constraint: str | None) -> Any:
    inputs = L.Input(x.shape[1:])
    free = L.Dense(1)(L.Dense(16, activation="tanh")(inputs))
    falling = L.Dense(1, use_bias=False, kernel_constraint=constraint, name="positive")
    return keras.Model(inputs, free + falling(keras.ops.abs(inputs) - 0.8))


def test_what_a_constraint_holds_at_its_bound_is_not_frozen(tmp_path: Path) -> None:
    x = X.reshape(ROWS, -1)[:, :4]
    y = x[:, :1] - 0.5 * (np.abs(x) - 0.8).sum(1, keepdims=True)

    flags = flags_of(held(x, "non_neg"), tmp_path, x, y, loss="mse")

    assert loud(flags) == []


def test_what_no_update_reaches_is_frozen_with_a_constraint_too(tmp_path: Path) -> None:
    x = X.reshape(ROWS, -1)[:, :4]
    model, optimizer = held(x, "non_neg"), keras.optimizers.Adam(1e-2)
    monitor = tbg.watch(optimizer, tmp_path, model=model, every=1, histograms=False, verbose=0)
    chosen = [v for v in model.trainable_variables if "positive" not in v.path]
    optimizer.build(chosen)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - x[:, :1]))
        optimizer.apply(tape.gradient(loss, chosen), chosen)
        return loss

    with monitor:
        for _ in range(40):
            monitor.step(loss=step())

    [flag] = [flag for flag in monitor.report if flag.rule == "frozen_weight"]
    assert flag.variables == ("positive/kernel",)
