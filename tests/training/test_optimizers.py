"""Optimizers of unusual make: made of others, without a learning rate, with sparse vectors."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.frames import Recording
from tb_gradients.reading.event_files import EventFileSource

layers = keras.layers
generator = np.random.default_rng(0)
X = generator.normal(size=(64, 6)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")


def recording(folder: pathlib.Path) -> Recording:
    run = EventFileSource(str(folder)).read(".")
    assert run.left_out == ()
    (found,) = run.recordings
    return found


def make_model() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "tanh", name="hidden"), layers.Dense(1, name="head")]
    )


multi = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15"
)


def make_multi(hidden: Any) -> Any:
    each = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.05), {".*hidden.*": hidden})
    return keras.optimizers.MultiOptimizer(each)


@multi
def test_each_part_of_a_multi_optimizer_has_its_own_rate(tmp_path: pathlib.Path) -> None:
    model = make_model()
    model.compile(make_multi(keras.optimizers.Adam(1e-3)), "mse", jit_compile=False)
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=1, verbose=0, callbacks=[health])
    found = recording(tmp_path)
    assert len(found) == 8
    facts = [variable.facts for variable in found.table.variables]
    assert [one["optimizer_class"] for one in facts] == ["Adam", "Adam", "SGD", "SGD"]
    assert [float(one["learning_rate"]) for one in facts] == [1e-3, 1e-3, 0.05, 0.05]
    update = found.statistic("update_norm")[:, 0] / np.sqrt(48)
    assert (update > 0).all()
    assert update.max() < 1.1e-3  # Adam's step of the kernel, and not SGD's
    np.testing.assert_allclose(
        found.statistic("update_norm")[:, 2], 0.05 * found.statistic("gradient_norm")[:, 2], 1e-3
    )


@multi
def test_a_part_with_a_tiny_rate_is_the_cause(tmp_path: pathlib.Path) -> None:
    model = make_model()
    model.compile(make_multi(keras.optimizers.SGD(1e-12)), "mse", jit_compile=False)
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=10, verbose=0, callbacks=[health])
    (flag,) = [one for one in health.report if one.severity >= tbg.Severity.WARNING]
    assert flag.rule == "update_too_small"
    assert all("hidden" in path for path in flag.variables)
    assert flag.causes[0].id == "learning_rate_too_small"
    assert "1e-12" in flag.causes[0].summary
    assert "try 0.01" in flag.fixes[0]


@multi
def test_a_multi_optimizer_in_a_loop_and_under_a_loss_scale(tmp_path: pathlib.Path) -> None:
    for name, wrap in (("bare", lambda one: one), ("scaled", keras.optimizers.LossScaleOptimizer)):
        model = make_model()
        optimizer = wrap(make_multi(keras.optimizers.Adam(1e-3)))
        with tbg.watch(optimizer, tmp_path / name, model=model, every=1, verbose=0) as monitor:
            for _ in range(3):
                with tf.GradientTape() as tape:
                    loss = optimizer.scale_loss(tf.reduce_mean((model(X) - Y) ** 2))
                variables = model.trainable_variables
                optimizer.apply(tape.gradient(loss, variables), variables)
                monitor.step()
        assert monitor.errors == ()
        assert np.isfinite(recording(tmp_path / name).statistic("update_norm")).all()


@multi
def test_one_that_has_chosen_nothing_yet_is_refused(tmp_path: pathlib.Path) -> None:
    optimizer = keras.optimizers.MultiOptimizer(lambda variable: keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"optimizer.build\(model.trainable_variables\)"):
        tbg.watch(optimizer, tmp_path, model=make_model())


@pytest.mark.parametrize("name", ["offset", "kernel"])
def test_a_vector_that_is_gathered(name: str, tmp_path: pathlib.Path) -> None:
    table = tf.Variable(tf.zeros(10), name=name)
    optimizer = keras.optimizers.Adam(0.05)
    with tbg.watch(optimizer, tmp_path, variables=[table], every=1, verbose=0) as monitor:
        for _ in range(30):
            rows = tf.constant(generator.integers(0, 9, 64))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((tf.gather(table, rows) - tf.cast(rows, tf.float32)) ** 2)
            optimizer.apply([tape.gradient(loss, table)], [table])
            monitor.step(loss=loss)
    found = recording(tmp_path)
    assert len(found) == 30
    assert np.isfinite(found.statistic("gradient_norm")).all()
    assert not (found.statistic("dead_unit_share") > 0).any()


def make_legacy(config: Any) -> Any:
    tf_keras = pytest.importorskip("tf_keras", exc_type=ImportError)

    class WithoutRate(tf_keras.optimizers.legacy.Optimizer):
        """As larq's ``CaseOptimizer``, ``Bop`` and the ``CompositeOptimizer`` of recommenders."""

        def __init__(self) -> None:
            super().__init__("WithoutRate")

        def _resource_apply_dense(self, grad: Any, var: Any, apply_state: Any = None) -> Any:
            return var.assign_sub(0.01 * grad)

        def get_config(self) -> Any:
            return config

    return tf_keras, WithoutRate()


@pytest.mark.parametrize("config", [{}, None], ids=["without a rate", "without a configuration"])
def test_an_optimizer_of_tf_keras_without_a_learning_rate(
    config: Any, tmp_path: pathlib.Path
) -> None:
    tf_keras, optimizer = make_legacy(config)
    model = tf_keras.Sequential(
        [tf_keras.layers.InputLayer((6,)), tf_keras.layers.Dense(4), tf_keras.layers.Dense(1)]
    )
    model.compile(optimizer, "mse")
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=5, verbose=0, callbacks=[health])
    found = recording(tmp_path)
    assert len(found) == 40
    assert np.isnan(found.context_value("learning_rate")).all()
    assert (found.statistic("update_norm")[:, 0] > 0).all()
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]
