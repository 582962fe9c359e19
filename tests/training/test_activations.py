"""Outputs of layers: found in every kind of model, measured like a plain NumPy version does."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.frames import Recording
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training.probe.activations import COLUMNS, SLOPES, Output, statistics_of

layers = keras.layers
generator = np.random.default_rng(0)
X = generator.normal(size=(80, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def measured(output: Any, activation: str, unit_axis: int = -1, xla: bool = False) -> Any:
    output = np.asarray(output)

    @tf.function(jit_compile=xla)
    def measure(tensor: Any) -> Any:
        return statistics_of(Output(tensor, activation, unit_axis % max(output.ndim, 1)))

    return measure(tf.constant(output)).numpy()


# --- Statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("activation", SLOPES)
def test_a_unit_is_saturated_where_the_slope_is_flat_for_most_samples(
    activation: str, xla: bool
) -> None:
    """The slope is that of the function itself, by automatic differentiation."""
    if not hasattr(keras.activations, activation):
        pytest.skip("this Keras does not have it")
    scale = np.float32([0.1, 1, 3, 10, 30, 100, 300, 1000])
    scale = -scale if activation == "softplus" else scale  # flat below only
    z = tf.Variable(generator.normal(size=(200, 8)).astype("float32") * scale + scale / 2)
    with tf.GradientTape() as tape:
        a = keras.activations.get(activation)(z)
    slope = tape.gradient(a, z).numpy()
    if activation == "relu6":
        slope = np.where(z.numpy() <= 0, 1, slope)
    largest = {"sigmoid": 0.25, "hard_sigmoid": 1 / 6}.get(activation, 1.0)
    share = np.mean(slope < 1e-3 * largest, axis=0)
    rms, dead, saturated = measured(a, activation, xla=xla)
    assert saturated == np.mean(share > 0.5)
    assert 0 < saturated < 1
    assert rms == pytest.approx(np.sqrt(np.mean(np.square(a))), rel=1e-5)
    assert dead == np.mean((a.numpy() == 0).all(axis=0))


def test_a_unit_is_dead_if_it_is_zero_for_every_sample_and_position() -> None:
    a = np.maximum(generator.normal(size=(5, 4, 4, 8)), 0).astype("float32")
    a[..., :3] = 0
    a[2, 1, 1, 2] = 1e-3
    assert measured(a, "relu")[1] == 2 / 8
    assert measured(np.moveaxis(a, -1, 1), "relu", unit_axis=1)[1] == 2 / 8


def test_of_many_samples_none_is_missed_by_the_dead_share() -> None:
    a = np.zeros((50_000, 2), np.float32)
    a[12_345, 1] = 1
    assert measured(a, "relu")[1] == 0.5


def test_functions_of_all_units_together_have_neither_dead_nor_saturated_ones() -> None:
    rms, dead, saturated = measured([[1.0, 0.0], [1.0, 0.0]], "softmax")
    assert rms == pytest.approx(math.sqrt(0.5))
    assert math.isnan(dead)
    assert math.isnan(saturated)


def test_a_relu_is_not_called_saturated() -> None:
    assert math.isnan(measured(np.zeros((9, 3), np.float32), "relu")[2])
    assert measured(np.zeros((9, 3), np.float32), "relu6")[2] == 0


@pytest.mark.parametrize("shape", [(0, 3), (3,), (), (2, 0)])
def test_outputs_without_samples_or_units_are_not_measured(shape: tuple[int, ...]) -> None:
    values = measured(np.zeros(shape, np.float32), "tanh")
    assert math.isnan(values[1])


def test_of_broken_outputs_the_finite_elements_are_measured() -> None:
    rms, dead, saturated = measured(np.float32([[np.nan, 1], [3, np.inf], [3, -1]]), "tanh")
    assert rms == pytest.approx(math.sqrt(20 / 4))
    assert dead == 0
    assert 0 <= saturated <= 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_outputs_in_sixteen_bits_do_not_overflow(dtype: str) -> None:
    a = tf.cast(tf.fill([4, 3], 30_000.0), dtype)
    assert float(statistics_of(Output(a, "relu", 1))[0]) == pytest.approx(30_000, rel=1e-2)


# --- In models ------------------------------------------------------------------------------


def recording(folder: pathlib.Path) -> Recording:
    (result,) = EventFileSource(str(folder)).read(".").recordings
    return result


def rows(run: Recording, column: str) -> dict[str, float]:
    """Layer -> last value, of the rows where it is measured."""
    values = run.statistic(column)[-1]
    return {
        path.split("/")[-2]: float(value)
        for path, value in zip(run.table.paths, values, strict=True)
        if not math.isnan(value)
    }


def fit(model: keras.Model, folder: pathlib.Path, x: Any = X, **compiled: Any) -> Recording:
    """Ten batches at a learning rate of zero: the model afterwards is that of every step."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, **compiled)
    health = tbg.GradientHealth(folder, every=1, activations=True, verbose=0)
    model.fit(x, Y, batch_size=8, shuffle=False, callbacks=[health], verbose=0)
    assert not any("call" in layer.__dict__ for layer in model._flatten_layers())
    if int(model.optimizer.iterations.numpy()) != 10:
        pytest.skip("this Keras counts the last, shorter execution wrong")
    run = recording(folder)
    assert len(run) == 10
    return run


def chain() -> list[Any]:
    return [
        layers.Dense(8, "tanh", name="own"),
        layers.Dense(7, name="bare"),
        layers.LayerNormalization(name="between"),
        layers.Dropout(0.0, name="nothing"),
        layers.ReLU(name="relu"),
        layers.Dense(2, name="head"),
    ]


CHAIN = ("own", "bare", "between", "nothing", "relu", "head")


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), *chain()])


def functional() -> keras.Model:
    first, *middle, last = chain()
    x = keras.Input((6,))
    return keras.Model(x, last(keras.Sequential(middle)(first(x))))


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.parts = chain()

    def call(self, x: Any, training: bool = False) -> Any:
        for layer in self.parts:
            x = layer(x)
        return x


@pytest.mark.parametrize("make", [sequential, functional, Subclassed])
@pytest.mark.parametrize(
    "how",
    [{"run_eagerly": True}, {}, {"jit_compile": True}, {"steps_per_execution": 4}],
    ids=["eager", "graph", "xla", "4 per execution"],
)
def test_the_row_of_a_kernel_has_the_output_behind_its_activation(
    tmp_path: pathlib.Path, make: Callable[[], keras.Model], how: dict[str, Any]
) -> None:
    if make is not sequential and how.get("jit_compile"):
        pytest.skip("takes long, and is compiled like the others")
    model = make()
    run = fit(model, tmp_path, **how)
    found = {layer.name: layer for layer in model._flatten_layers()}
    x, outputs = X[-8:], {}
    for name in CHAIN:
        outputs[name] = x = np.asarray(found[name](x))
    rms = {name: np.sqrt(np.mean(np.square(a))) for name, a in outputs.items()}
    expected = {"own": rms["own"], "bare": rms["relu"], "head": rms["head"]}
    assert rows(run, "activation_rms") == pytest.approx(expected, rel=1e-4)
    assert rows(run, "activation_saturated_share") == {"own": 0}
    assert rows(run, "activation_dead_share").keys() == {"own", "bare", "head"}


def test_what_runs_in_loops_is_left_alone(tmp_path: pathlib.Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Reshape((6, 1)),
            layers.LSTM(4, return_sequences=True),
            layers.RNN(layers.GRUCell(3)),
            layers.Dense(2, name="head"),
        ]
    )
    assert rows(fit(model, tmp_path), "activation_rms").keys() == {"head"}


def test_saturated_units_are_seen_in_fit(tmp_path: pathlib.Path) -> None:
    wide = keras.initializers.RandomNormal(stddev=100, seed=0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(30, "tanh", kernel_initializer=wide), layers.Dense(2)]
    )
    run = fit(model, tmp_path)
    assert (run.statistic("activation_saturated_share")[:, 0] > 0.95).all()


def test_evaluation_between_epochs_is_not_mistaken_for_training(tmp_path: pathlib.Path) -> None:
    model = sequential()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    health = tbg.GradientHealth(tmp_path, every=1, activations=True, verbose=0)
    data = (1000 * X, Y)
    model.fit(X, Y, batch_size=8, epochs=2, validation_data=data, callbacks=[health], verbose=0)
    saturated = recording(tmp_path).statistic("activation_saturated_share")[:, 0]
    assert (saturated == 0).all()


def test_a_loop_of_ones_own(tmp_path: pathlib.Path) -> None:
    model, optimizer = sequential(), keras.optimizers.SGD(0.1)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    with tbg.watch(optimizer, tmp_path, model=model, activations=True, verbose=0) as monitor:
        step(X, Y)
        monitor.step()
    assert rows(recording(tmp_path), "activation_rms").keys() == {"own", "bare", "head"}
    assert "call" not in model.layers[0].__dict__


def test_without_the_option_no_layer_is_touched(tmp_path: pathlib.Path) -> None:
    model = sequential()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    touched = []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda *_, **__: touched.append("call" in model.layers[0].__dict__)
    )
    callbacks = [tbg.GradientHealth(tmp_path, every=1, verbose=0), spy]
    model.fit(X, Y, batch_size=8, callbacks=callbacks, verbose=0)
    assert touched == [False] * 10
    for column in COLUMNS:
        assert np.isnan(recording(tmp_path).statistic(column)).all()


def test_unscaled_inputs_saturate_a_tanh_and_scaled_ones_do_not(tmp_path: pathlib.Path) -> None:
    pixels = generator.integers(0, 256, (320, 40)).astype("float32")
    y = (pixels[:, :20].sum(axis=1) > pixels[:, 20:].sum(axis=1)).astype("int32")
    flags = {}
    for name, x in (("faulty", pixels), ("repaired", pixels / 127.5 - 1)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((40,)), *(layers.Dense(16, "tanh") for _ in range(3)), layers.Dense(2)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01), loss)
        health = tbg.GradientHealth(tmp_path / name, every=2, activations=True, verbose=0)
        model.fit(x, y, batch_size=32, epochs=20, callbacks=[health], verbose=0)
        flags[name] = {flag.rule: flag for flag in health.report}
    assert "saturated_units" not in flags["repaired"]
    faulty = flags["faulty"]["saturated_units"]
    assert any("kernel" in path for path in faulty.variables)
    assert "unscaled_inputs" in [cause.id for cause in faulty.causes]
