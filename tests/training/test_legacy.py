"""Models and optimizers of ``tf_keras`` (Keras 2) give the numbers that those of Keras 3 give."""

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

generator = np.random.default_rng(0)
X = generator.normal(size=(80, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
WEIGHTS = [generator.normal(0, 0.5, shape) for shape in [(6, 8), (8,), (8, 2), (2,)]]


@pytest.fixture(scope="module")
def tf_keras() -> Any:
    return pytest.importorskip("tf_keras", exc_type=ImportError)


def make_model(package: Any, optimizer: Any, **compiled: Any) -> Any:
    dense, sizes = package.layers.Dense, {"input_shape": (6,)}
    model = package.Sequential(
        [dense(8, "relu", name="a", **sizes), dense(2, name="b")]
        if package is not keras
        else [keras.Input((6,)), dense(8, "relu", name="a"), dense(2, name="b")]
    )
    model.set_weights(WEIGHTS)
    loss = package.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compiled)
    return model


def fit(model: Any, folder: pathlib.Path, x: Any = X, **options: Any) -> tuple[Recording, Any]:
    health = tbg.GradientHealth(folder, verbose=0, **{"every": 1, **options})
    model.fit(x, Y, batch_size=8, shuffle=False, callbacks=[health], verbose=0)
    (recording,) = EventFileSource(str(folder)).read(".").recordings
    return recording, health


def assert_same(got: Recording, expected: Recording) -> None:
    assert got.table.paths == tuple(path.partition("/")[2] for path in expected.table.paths)
    np.testing.assert_array_equal(got.steps, expected.steps)
    np.testing.assert_allclose(got.values, expected.values, rtol=2e-3, atol=1e-5)
    for column in ("loss", "learning_rate", "applied_steps", "targets_mean", "global_norm"):
        np.testing.assert_allclose(
            got.context_value(column), expected.context_value(column), rtol=1e-3, err_msg=column
        )


@pytest.mark.parametrize(
    ("generation", "how"),
    [
        ("since 2.11", {"run_eagerly": True}),
        ("since 2.11", {}),
        ("since 2.11", {"jit_compile": True}),
        ("before 2.11", {}),
    ],
    ids=["eager", "graph", "xla", "graph before 2.11"],
)
def test_fit_gives_the_numbers_of_keras_3(
    tmp_path: pathlib.Path, tf_keras: Any, generation: str, how: dict[str, Any]
) -> None:
    optimizers = tf_keras.optimizers
    if generation == "before 2.11":
        optimizers = optimizers.legacy

    def make(package: Any, optimizers: Any) -> Any:
        decay = package.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
        optimizer = optimizers.SGD(decay, momentum=0.5, global_clipnorm=0.3)
        return make_model(package, optimizer, **how)

    expected, _ = fit(make(keras, keras.optimizers), tmp_path / "keras")
    got, health = fit(make(tf_keras, optimizers), tmp_path / "tf_keras")
    assert_same(got, expected)
    assert got.table.variables[0].activation == "relu"
    assert [v.layer_class for v in got.table.variables] == ["Dense"] * 4
    assert health.report == ()


def test_optimizers_under_names_of_their_own_are_found(
    tmp_path: pathlib.Path, tf_keras: Any
) -> None:
    layers = tf_keras.layers

    class Pair(tf_keras.Model):  # type: ignore[misc, name-defined]
        """As a GAN: two parts, an optimizer for each, none given to ``compile``."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = [tf_keras.Sequential([layers.Input((6,)), layers.Dense(3)]) for _ in "ab"]

        def compile(self, optimizers: Any) -> None:
            super().compile()
            self.first_optimizer, self.others = optimizers[0], {"second": optimizers[1]}

        def train_step(self, data: Any) -> Any:
            optimizers = self.first_optimizer, self.others["second"]
            for part, optimizer in zip(self.parts, optimizers, strict=True):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(part(data) - 1.0))
                gradients = tape.gradient(loss, part.trainable_variables)
                optimizer.apply_gradients(zip(gradients, part.trainable_variables, strict=True))
            return {"loss": loss}

    model = Pair()
    model.compile([tf_keras.optimizers.Adam(1e-2), tf_keras.optimizers.SGD(1e-2)])
    model.fit(X, batch_size=8, callbacks=[tbg.GradientHealth(tmp_path, verbose=0)], verbose=0)
    (recording,) = EventFileSource(str(tmp_path)).read(".").recordings
    assert np.isfinite(recording.statistic("gradient_norm")).all()
    owners = [variable.optimizer for variable in recording.table.variables]
    assert owners == ["first_optimizer"] * 2 + ["others/second"] * 2


def test_a_loop_of_ones_own(tmp_path: pathlib.Path, tf_keras: Any) -> None:
    optimizer = tf_keras.optimizers.Adam(1e-2)
    x, y = tf.constant(X), tf.constant(Y)
    model = make_model(tf_keras, optimizer)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    before = [w.numpy() for w in model.trainable_variables]
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        monitor.step(loss=step())
    (recording,) = EventFileSource(str(tmp_path)).read(".").recordings
    moved = [np.linalg.norm(w - b) for w, b in zip(model.get_weights(), before, strict=True)]
    np.testing.assert_allclose(recording.statistic("update_norm")[0], moved, rtol=1e-4)
    monitor.detach()
    assert "apply_gradients" not in optimizer.__dict__


def unit_rows(h: Any) -> Any:
    return h / tf.norm(h, axis=-1, keepdims=True)


def rounded(h: Any) -> Any:
    return tf.round(h)


@pytest.mark.parametrize(
    ("function", "operation"), [(unit_rows, "RealDiv"), (rounded, "Round")], ids=["nan", "none"]
)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_line_where_a_gradient_is_lost_is_named(
    tmp_path: pathlib.Path, tf_keras: Any, function: Any, operation: str, xla: bool
) -> None:
    layers = tf_keras.layers

    class Body(layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return function(inputs)

    parts = [layers.Dense(3, use_bias=False, name="first"), Body(name="body"), layers.Dense(1)]
    model = tf_keras.Sequential([layers.Input((6,)), *parts])
    model.compile(tf_keras.optimizers.SGD(0.01), "mse", jit_compile=xla)
    x = X.copy()
    x[50] = 0.0
    health = tbg.GradientHealth(tmp_path, verbose=0)
    model.fit(x, Y, batch_size=8, shuffle=False, callbacks=[health], verbose=0)
    [origin] = [flag.origin for flag in health.report if flag.origin is not None]
    assert (origin.operation, origin.layer) == (operation, "body")
    assert pathlib.Path(origin.file) == pathlib.Path(__file__)
    assert origin.line == function.__code__.co_firstlineno + 1


@pytest.mark.parametrize("generation", ["since 2.11", "before 2.11"])
def test_the_loss_scale_is_taken_out_and_skipped_steps_are_known(
    tmp_path: pathlib.Path, tf_keras: Any, generation: str
) -> None:
    optimizers = tf_keras.optimizers
    if generation == "before 2.11":
        optimizers = optimizers.legacy
    x = 100 * X  # so that the first scaled gradients overflow
    scaling = tf_keras.mixed_precision.LossScaleOptimizer(
        optimizers.SGD(1e-3), initial_scale=2.0**127
    )
    scaled, health = fit(make_model(tf_keras, scaling), tmp_path / "scaled", x)
    plain, _ = fit(make_model(tf_keras, optimizers.SGD(1e-3)), tmp_path / "plain", x)
    skipped = scaled.context_value("skipped_steps")
    first = int(np.argmin(skipped))  # the first step that was applied
    assert 0 < first < 10
    np.testing.assert_array_equal(skipped[:first], 1)
    np.testing.assert_array_equal(scaled.statistic("update_norm")[:first], 0)
    expected = plain.statistic("gradient_norm").max()
    assert np.all(scaled.statistic("gradient_norm")[first] < 10 * expected)
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]


def test_without_a_keras_optimizer_the_way_out_is_named(tmp_path: pathlib.Path) -> None:
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.1)
    with pytest.raises(TypeError, match="observe"):
        tbg.watch(optimizer, tmp_path)


def test_another_backend_of_keras_is_refused_with_the_remedy(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND"):
        tbg.GradientHealth(tmp_path)
    with pytest.raises(RuntimeError, match="KERAS_BACKEND"):
        tbg.watch(keras.optimizers.SGD(0.1), tmp_path)
