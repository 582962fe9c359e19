"""What an optimizer gets besides the model's variables is watched, too."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.reading.event_files import EventFileSource

layers = keras.layers
generator = np.random.default_rng(0)
X = tf.constant(generator.normal(size=(32, 6)), tf.float32)
Y = tf.reduce_sum(X[:, :2], 1, keepdims=True)
MODES = ("eager", "graph", "xla")


def make_model() -> keras.Model:
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(1)])


def loop(
    folder: pathlib.Path, mode: str, fault: str = "", steps: int = 60, **watched: Any
) -> tuple[Any, tbg.GradientMonitor]:
    model, optimizer = make_model(), keras.optimizers.Adam(0.01)
    temperature = tf.Variable(1.5, name="temperature")
    number = tf.Variable(0)

    def step() -> Any:
        number.assign_add(1)
        with tf.GradientTape() as tape:
            used = tf.stop_gradient(temperature) if fault == "cut" else temperature
            factor = tf.where(number > 30, np.nan, 1.0) if fault == "nan" else 1.0
            error = tf.reduce_mean((model(X, training=True) - Y) ** 2)
            loss = error + tf.reduce_mean((used * factor - 1.0) ** 2)
        variables = [*model.trainable_variables, temperature]
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    with tbg.watch(optimizer, folder, model=model, every=1, verbose=0, **watched) as monitor:
        for _ in range(steps):
            monitor.step(step())
    assert monitor.errors == ()
    (recording,) = EventFileSource(str(folder)).read(".").recordings
    return recording, monitor


@pytest.mark.parametrize("mode", MODES)
def test_a_learnt_temperature(mode: str, tmp_path: pathlib.Path) -> None:
    recording, monitor = loop(tmp_path, mode, steps=8, activations=True)
    assert recording.table.paths[-1] == "temperature"
    assert len(recording) == 8
    assert np.isfinite(recording.statistic("update_norm")).all()
    assert np.isfinite(recording.statistic("activation_rms")[:, 0]).all()
    assert recording.statistic("gradient_norm")[0, -1] == pytest.approx(1.0)
    assert not [flag for flag in monitor.report if flag.severity >= tbg.Severity.WARNING]


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.parametrize(
    ("fault", "rule"), [("cut", "disconnected_gradient"), ("nan", "nonfinite_gradient")]
)
def test_its_faults_are_found(fault: str, rule: str, tmp_path: pathlib.Path) -> None:
    _, monitor = loop(tmp_path, "graph", fault)
    found = [flag for flag in monitor.report if flag.rule == rule]
    assert found
    assert "temperature" in found[0].variables


class Weighted(keras.Sequential):
    """Its ``train_step`` learns the weight of a term of the loss."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            error = tf.reduce_mean((self(x, training=True) - y) ** 2)
            loss = tf.exp(-self.share) * error + self.share
        variables = [*self.trainable_variables, self.share]
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def test_a_train_step_of_the_users(tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(2)
    model = Weighted([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    share = keras.Variable(0.0, name="share")
    model.__dict__["share"] = share  # not tracked: Keras does not know of it
    optimizer = keras.optimizers.SGD(0.01)
    model.compile(optimizer, jit_compile=False)
    optimizer.build([*model.trainable_variables, share])
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.fit(X.numpy(), Y.numpy(), batch_size=8, epochs=3, verbose=0, callbacks=[health])
    (recording,) = EventFileSource(str(tmp_path)).read(".").recordings
    assert health.errors == ()
    assert len(recording) == 12
    assert recording.table.paths[-1] == "share"
    assert (recording.statistic("update_norm")[:, -1] > 0).all()


def test_what_comes_later_is_named(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.01)
    late = tf.Variable(1.0, name="late")
    optimizer.build([*model.trainable_variables, keras.Variable(1.0)])
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        for number in range(6):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(X) - Y) ** 2) + late**2
            variables = list(model.trainable_variables)
            gradients = tape.gradient(loss, [*variables, late])
            with monitor.observe(gradients[:-1], variables):
                pass
            if number > 2:
                with monitor.observe(gradients[-1:], [late]):
                    late.assign_sub(0.1 * gradients[-1])
            monitor.step(loss)
    (error,) = monitor.errors
    assert "late" in str(error)
    assert "variables=[...]" in str(error)
