"""``model.fit`` in one line: eager, graph, XLA, several steps per execution, mixed precision,
accumulation, frozen layers, late-built models, custom train steps, several fits.
"""

from __future__ import annotations

import copy
import pathlib
import pickle
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import TwoLayers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tb_gradients as tbg
from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.host.schedule import AutoSchedule
from tb_gradients.reading.event_files import EventFileSource

layers = keras.layers
generator = np.random.default_rng(0)
X = generator.normal(size=(80, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def make_model(**compiled: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="relu", name="a"), layers.Dense(2, name="b")]
    )
    compiled.setdefault("optimizer", keras.optimizers.SGD(0.1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, **compiled)
    return model


def fit(
    model: keras.Model, folder: pathlib.Path, x: Any = X, epochs: int = 1, **options: Any
) -> Any:
    """Ten batches per epoch, in order."""
    health = tbg.GradientHealth(folder, **{"every": 1, "verbose": 0, **options})
    model.fit(x, Y, batch_size=8, epochs=epochs, shuffle=False, callbacks=[health], verbose=0)
    return health


def recording(folder: pathlib.Path) -> Recording:
    (result,) = EventFileSource(str(folder)).read(".").recordings
    return result


@pytest.mark.parametrize(
    "how",
    [
        {"run_eagerly": True},
        {"jit_compile": False},
        {"jit_compile": True},
        {"steps_per_execution": 4},
    ],
    ids=["eager", "graph", "xla", "4 per execution"],
)
def test_every_way_of_running_a_step_gives_the_same_numbers(
    tmp_path: pathlib.Path, how: dict[str, Any]
) -> None:
    model = make_model(**how)
    fit(make_model(run_eagerly=True), tmp_path / "reference")
    fit(model, tmp_path / "run")
    if int(model.optimizer.iterations.numpy()) != 10:
        pytest.skip("this Keras counts the last, shorter execution wrong")
    expected, got = recording(tmp_path / "reference"), recording(tmp_path / "run")
    assert list(got.steps) == list(range(10))
    np.testing.assert_allclose(got.values, expected.values, rtol=2e-3, atol=1e-5)
    loss = got.context_value("loss")
    np.testing.assert_allclose(loss, expected.context_value("loss"), rtol=1e-4)


def test_a_compiled_execution_of_several_steps_has_a_frame_of_its_last(
    tmp_path: pathlib.Path,
) -> None:
    fit(make_model(run_eagerly=True), tmp_path / "reference")
    fit(make_model(steps_per_execution=3, jit_compile=True), tmp_path / "run")
    expected, got = recording(tmp_path / "reference"), recording(tmp_path / "run")
    assert list(got.steps) == [2, 5, 8, 9]
    assert list(got.context_value("window_steps")) == [3, 3, 3, 1]
    norms, largest = expected.statistic("gradient_norm"), got.statistic("gradient_norm_max")
    windows = [norms[0:3], norms[3:6], norms[6:9], norms[9:]]
    np.testing.assert_allclose(largest, [w.max(0) for w in windows], rtol=2e-3)
    names = list(got.table.statistics)
    of_its_step = [
        names.index(column.name)
        for column in schema.STATISTICS
        if column.scope == "step" and column.name in names
    ]
    np.testing.assert_allclose(
        got.values[:, :, of_its_step],
        expected.values[got.steps][:, :, of_its_step],
        rtol=2e-3,
        atol=1e-5,
    )
    loss = expected.context_value("loss")
    np.testing.assert_allclose(got.context_value("loss"), loss[got.steps], rtol=1e-4)
    means = [loss[0:3].mean(), loss[3:6].mean(), loss[6:9].mean(), loss[9]]
    np.testing.assert_allclose(got.context_value("loss_mean"), means, rtol=1e-4)


def test_the_loss_of_each_step_is_that_of_its_batch(tmp_path: pathlib.Path) -> None:
    model = make_model(optimizer=keras.optimizers.SGD(0.0))
    fit(model, tmp_path)
    losses = recording(tmp_path).context_value("loss")
    for i, loss in enumerate(losses):
        batch = slice(8 * i, 8 * i + 8)
        assert loss == pytest.approx(model.evaluate(X[batch], Y[batch], verbose=0), rel=1e-5)


def test_sgd_moves_weights_by_rate_times_gradient(tmp_path: pathlib.Path) -> None:
    fit(make_model(), tmp_path)
    run = recording(tmp_path)
    ratio = run.statistic("update_norm") / run.statistic("gradient_norm")
    np.testing.assert_allclose(ratio, 0.1, rtol=1e-3)
    np.testing.assert_allclose(run.context_value("learning_rate"), 0.1)


def test_inputs_and_targets_are_described(tmp_path: pathlib.Path) -> None:
    x = X.copy()
    x[3, 2] = np.nan
    fit(make_model(), tmp_path, x)
    run = recording(tmp_path)
    assert run.context_value("inputs_nonfinite")[0] == 1
    assert run.context_value("inputs_std")[1] == pytest.approx(X[8:16].std(), rel=1e-4)
    assert run.context_value("targets_mean")[1] == pytest.approx(Y[8:16].mean())


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_features_classes_and_predictions_are_described(tmp_path: pathlib.Path, xla: bool) -> None:
    x = X * np.float32([1, 1, 1, 1000, 1, 1])
    x[:, 5] = 7
    fit(make_model(jit_compile=xla), tmp_path, x)
    run = recording(tmp_path)
    assert (run.context_value("inputs_scale_ratio") > 300).all()
    np.testing.assert_allclose(run.context_value("inputs_constant_share"), 1 / 6, rtol=1e-6)
    batches = Y.reshape(10, 8)
    expected = [max(np.mean(batch), 1 - np.mean(batch)) for batch in batches]
    np.testing.assert_allclose(run.context_value("targets_majority_share"), expected, rtol=1e-6)
    np.testing.assert_array_equal(run.context_value("targets_classes"), 2)
    spread = run.context_value("predictions_spread")
    assert np.isnan(spread).all() if xla else (spread > 1).all()


def test_missing_values_are_named_as_the_cause(tmp_path: pathlib.Path) -> None:
    x = X.copy()
    x[43] = np.nan  # in the sixth batch
    health = fit(make_model(), tmp_path, x, every=100)
    flag = next(flag for flag in health.report if flag.rule == "nonfinite_gradient")
    assert flag.first_step == 5
    assert flag.severity is tbg.Severity.CRITICAL
    assert flag.causes[0].id == "nonfinite_inputs"


def test_loss_scaling_is_taken_out_and_skipped_steps_are_known(tmp_path: pathlib.Path) -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(1e-3), initial_scale=2.0**127
    )
    x = 100 * X  # so that the first scaled gradients overflow
    health = fit(make_model(optimizer=optimizer), tmp_path / "scaled", x)
    fit(make_model(optimizer=keras.optimizers.SGD(1e-3)), tmp_path / "plain", x)
    scaled, plain = recording(tmp_path / "scaled"), recording(tmp_path / "plain")
    skipped = scaled.context_value("skipped_steps")
    first = int(np.argmin(skipped))  # the first step that was applied
    assert 0 < first < 10
    np.testing.assert_array_equal(scaled.statistic("update_norm")[:first], 0)
    expected = plain.statistic("gradient_norm")
    assert np.all(scaled.statistic("gradient_norm")[first] < 10 * expected.max())
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}], ids=str)
def test_a_gradient_is_unscaled_by_the_scale_that_it_carries(
    tmp_path: pathlib.Path, how: dict[str, Any]
) -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=8, dynamic_growth_steps=3
    )
    fit(make_model(optimizer=optimizer, **how), tmp_path / "scaled")
    fit(make_model(), tmp_path / "plain")
    scaled, plain = recording(tmp_path / "scaled"), recording(tmp_path / "plain")
    np.testing.assert_array_equal(
        scaled.context_value("loss_scale"), 8 * 2.0 ** (scaled.steps // 3)
    )
    for name in ("gradient_norm", "gradient_max", "gradient_norm_max"):
        np.testing.assert_allclose(scaled.statistic(name), plain.statistic(name), rtol=1e-4)


def test_accumulation_applies_every_kth_step(tmp_path: pathlib.Path) -> None:
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=5)
    health = fit(make_model(optimizer=optimizer), tmp_path, epochs=6)
    run = recording(tmp_path)
    applied = run.context_value("applied_steps")
    np.testing.assert_array_equal(applied, [float(step % 5 == 4) for step in run.steps])
    moved = (run.statistic("update_norm") > 0).all(axis=1)
    np.testing.assert_array_equal(moved, applied == 1)
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]


def test_accumulating_under_a_loss_scale_skips_nothing(tmp_path: pathlib.Path) -> None:
    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=5)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8)
    x = X.copy()
    x[16:24] = np.inf  # the third step is skipped
    fit(make_model(optimizer=optimizer), tmp_path / "skipped", x, epochs=3)
    run = recording(tmp_path / "skipped")
    skipped, applied = run.context_value("skipped_steps"), run.context_value("applied_steps")
    np.testing.assert_array_equal(skipped, run.steps % 10 == 2)
    made = np.cumsum(1 - skipped)
    np.testing.assert_array_equal(applied, (made % 5 == 0) & (skipped == 0))


def test_accumulating_under_a_loss_scale_is_no_fault(tmp_path: pathlib.Path) -> None:
    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=5)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8)
    health = fit(make_model(optimizer=optimizer), tmp_path, epochs=6)
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]


def test_a_frozen_layer_is_left_out(tmp_path: pathlib.Path) -> None:
    model = make_model()
    model.get_layer("a").trainable = False
    model.compile("sgd", model.loss)
    health = fit(model, tmp_path)
    assert all("b/" in path for path in recording(tmp_path).table.paths)
    assert health.report == ()


def test_an_embedding_is_judged_by_its_touched_rows(tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(5000, 8),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = generator.zipf(1.4, (80, 4)).clip(max=4999)
    health = fit(model, tmp_path, tokens, epochs=3)
    zero = recording(tmp_path).statistic("gradient_zero_share")
    assert (zero[:, 0] < 0.5).all()
    assert not [flag for flag in health.report if flag.severity >= tbg.Severity.WARNING]


def test_an_embedding_in_a_compiled_step_may_have_an_uneven_last_batch(
    tmp_path: pathlib.Path,
) -> None:
    tokens = generator.integers(0, 30, (80, 4))
    for name, how in (("eager", {"run_eagerly": True}), ("xla", {"jit_compile": True})):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                layers.Embedding(30, 600),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, **how)
        health = tbg.GradientHealth(tmp_path / name, every=1, verbose=0)
        model.fit(tokens, Y, 32, 2, shuffle=False, callbacks=[health], verbose=0)
    expected, got = recording(tmp_path / "eager"), recording(tmp_path / "xla")
    assert list(got.steps) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(got.values, expected.values, rtol=2e-3, atol=1e-5)
    counts = [
        [pack.unpack()[1].sum() for pack in EventFileSource(str(tmp_path / name)).histograms(".")]
        for name in ("eager", "xla")
    ]
    assert counts[0] == counts[1]


def test_a_subclassed_model_that_is_built_late(tmp_path: pathlib.Path) -> None:
    model = TwoLayers()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, tmp_path)
    run = recording(tmp_path)
    assert len(run) == 10
    assert run.table.variables[0].activation == "relu"


def test_weights_that_exist_from_the_first_step_on_have_a_size_at_the_start(
    tmp_path: pathlib.Path,
) -> None:
    """A ``Sequential`` without an ``Input`` makes its weights while its step is traced."""
    model = keras.Sequential(
        [
            layers.Dense(8, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(8, kernel_initializer=keras.initializers.Constant(0.3)),
            layers.Dense(2, kernel_initializer="zeros"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, tmp_path)
    random, constant, zero = (v for v in recording(tmp_path).table.variables if v.role == "kernel")
    fan_in = random.elements / random.units
    assert random.initial_rms == pytest.approx((2 / fan_in) ** 0.5, rel=0.5)
    assert constant.initial_rms == pytest.approx(0.3, rel=0.02)
    assert float(constant.facts["initial_spread"]) == 0
    assert zero.initial_rms == 0


class OneOutput(keras.Model):  # type: ignore[misc]
    """What the models below train, each in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.head(x)


class OwnStep(OneOutput):
    """A train_step that computes its loss by itself."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x)[:, 0] - tf.cast(y, tf.float32)))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def test_a_custom_train_step_gives_its_loss_in_the_logs(tmp_path: pathlib.Path) -> None:
    model = OwnStep()
    model.compile("adam")
    fit(model, tmp_path)
    run = recording(tmp_path)
    assert len(run) == 10
    assert np.isfinite(run.context_value("loss")).all()


class OwnLoss(OneOutput):
    """A loss of somebody's own, whose arguments have other names than those of Keras."""

    def compute_loss(self, inputs: Any, targets: Any, outputs: Any, weights: Any = None) -> Any:
        return tf.reduce_mean(tf.square(outputs[:, 0] - tf.cast(targets, tf.float32)))


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
def test_a_loss_of_ones_own_gets_its_arguments_as_keras_gives_them(
    tmp_path: pathlib.Path, eager: bool
) -> None:
    model = OwnLoss()
    model.compile("adam", run_eagerly=eager)
    try:
        model.fit(X, Y, verbose=0)
    except TypeError:
        pytest.skip("this Keras gives them by name")
    fit(model, tmp_path)
    run = recording(tmp_path)
    assert len(run) == 10
    assert np.isfinite(run.context_value("loss")).all()
    np.testing.assert_allclose(run.context_value("targets_mean")[0], Y[:8].mean())


class SeveralLosses(OwnStep):
    """``compute_loss`` gives a dictionary, and the train step adds it up."""

    def compute_loss(self, y: Any, y_pred: Any) -> Any:
        error = y_pred[:, 0] - tf.cast(y, tf.float32)
        return {"square": tf.reduce_mean(error**2), "size": tf.reduce_mean(tf.abs(error))}

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = sum(self.compute_loss(y, self(x)).values())
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
def test_of_several_losses_the_one_in_the_logs_counts(tmp_path: pathlib.Path, eager: bool) -> None:
    model = SeveralLosses()
    model.compile("adam", run_eagerly=eager)
    fit(model, tmp_path)
    run = recording(tmp_path)
    assert len(run) == 10
    assert np.isfinite(run.context_value("loss")).all()


class Accumulating(keras.Model):  # type: ignore[misc]
    """Applies the sum of four gradients, in a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(2)
        self.head.build((None, 6))
        self.built = True
        self.count = tf.Variable(0, trainable=False)
        self.sums = [tf.Variable(tf.zeros(v.shape)) for v in self.head.trainable_variables]

    def call(self, x: Any) -> Any:
        return self.head(x)

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x))
        variables = self.head.trainable_variables
        for total, gradient in zip(self.sums, tape.gradient(loss, variables), strict=True):
            total.assign_add(gradient)
        self.count.assign_add(1)

        def apply() -> int:
            self.optimizer.apply([total.value() for total in self.sums], variables)
            for total in self.sums:
                total.assign(tf.zeros_like(total))
            return 0

        tf.cond(self.count % 4 == 0, apply, lambda: 0)
        return {"loss": loss}


def test_gradients_accumulated_by_hand_have_a_loss_too(tmp_path: pathlib.Path) -> None:
    model = Accumulating()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    model.optimizer.build(model.head.trainable_variables)
    fit(model, tmp_path, epochs=2)
    run = recording(tmp_path)
    assert list(run.steps) == list(range(5))  # updates
    assert np.isfinite(run.context_value("loss")).all()


def test_of_many_callbacks_one_after_the_other_only_the_last_is_called(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = []
    monkeypatch.setattr(tbg.GradientMonitor, "observe_batch", lambda *_: reported.append(1))
    model = make_model()
    for _ in range(3):
        health = tbg.GradientHealth(tmp_path, verbose=0)
        health.set_model(model)
        health.on_train_begin()
    model.compute_loss(x=X, y=tf.constant(Y), y_pred=model(X))
    assert len(reported) == 1


def test_a_second_fit_goes_on_where_the_first_ended(tmp_path: pathlib.Path) -> None:
    model = make_model()
    health = tbg.GradientHealth(tmp_path, every=5, verbose=0)
    for _ in range(2):
        model.fit(X, Y, batch_size=8, shuffle=False, callbacks=[health], verbose=0)
    assert list(recording(tmp_path).steps) == [0, 5, 10, 15]


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_last_step_is_a_frame_however_sparse_they_are(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, xla: bool
) -> None:
    monkeypatch.setattr(AutoSchedule, "next_due", lambda self, step, *_: 3 * step + 10)
    model = make_model(jit_compile=xla)
    health = fit(model, tmp_path, every="auto", epochs=2)
    assert list(recording(tmp_path).steps) == [0, 10, 19]
    model.fit(X, Y, batch_size=8, epochs=3, initial_epoch=2, callbacks=[health], verbose=0)
    assert list(recording(tmp_path).steps) == [0, 10, 19, 29]


def test_short_fits_one_after_the_other_have_no_frame_each(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoSchedule, "next_due", lambda self, step, *_: step + 50)
    model = make_model()
    health = fit(model, tmp_path, every="auto", epochs=6)
    for _ in range(8):  # as an agent does after every step of its world
        model.fit(X[:8], Y[:8], callbacks=[health], verbose=0)
    for _ in range(2):
        model.fit(X, Y, batch_size=8, epochs=2, callbacks=[health], verbose=0)
    assert list(recording(tmp_path).steps) == [0, 50, 59, 87, 107]
    assert len(list(tmp_path.iterdir())) == 3


class Restoring(keras.callbacks.Callback):  # type: ignore[misc]
    """Goes on where an earlier training ended, as ``BackupAndRestore`` does."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.optimizer.iterations.assign(20)


@pytest.mark.parametrize("first", [True, False])
def test_a_training_that_a_callback_restores_goes_on_counting(
    tmp_path: pathlib.Path, first: bool
) -> None:
    health = tbg.GradientHealth(tmp_path, every=5, activations=True, verbose=0)
    callbacks = [health, Restoring()] if first else [Restoring(), health]
    make_model().fit(X, Y, batch_size=8, callbacks=callbacks, verbose=0)
    assert list(recording(tmp_path).steps) == [20, 25]
    assert np.isfinite(recording(tmp_path).statistic("activation_rms")[:, 0]).all()


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_end_of_data_of_unknown_length_is_no_step(tmp_path: pathlib.Path, xla: bool) -> None:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda *_: True)
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    make_model(jit_compile=xla).fit(data, epochs=3, shuffle=False, callbacks=[health], verbose=0)
    run = recording(tmp_path)
    assert list(run.steps) == list(range(30))
    assert (run.context_value("window_steps") == 1).all()
    assert (run.statistic("zero_step_share") == 0).all()
    np.testing.assert_allclose(run.context_value("loss_min"), run.context_value("loss"))


def test_a_model_trained_before_is_watched_all_the_same(tmp_path: pathlib.Path) -> None:
    model = make_model()
    model.fit(X, Y, batch_size=8, verbose=0)
    fit(model, tmp_path, every=5)
    assert list(recording(tmp_path).steps) == [10, 15]


def test_evaluation_between_epochs_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    model = make_model()
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=2, validation_data=(X, Y), callbacks=[health], verbose=0)
    assert list(recording(tmp_path).steps) == list(range(20))


def test_training_stops_when_asked_to(tmp_path: pathlib.Path) -> None:
    model = make_model()
    x = X.copy()
    x[43] = np.nan
    health = fit(model, tmp_path, x, stop_on="critical")
    assert model.stop_training
    assert recording(tmp_path).steps[-1] == 5
    assert health.report


def test_the_summary_says_why_and_what_to_change(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(make_model(optimizer=keras.optimizers.SGD(1e-12)), tmp_path, epochs=4, verbose=1)
    summary = capsys.readouterr().out.partition("tb_gradients: 1 flag")[2].splitlines()
    assert "critical: update_too_small" in summary[1]
    assert summary[2].startswith("    cause: learning_rate_too_small (")
    assert summary[3].startswith("    try:   Raise the learning rate: `keras.optimizers.SGD(")


def test_the_summary_names_the_command_that_opens_the_tab(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    health = tbg.GradientHealth(tmp_path, every=5)
    make_model().fit(X, Y, batch_size=8, callbacks=[health], verbose=0)
    assert f"tensorboard --logdir {tmp_path}" in capsys.readouterr().out


def test_the_command_can_be_pasted_whatever_the_name_of_the_folder(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    health = tbg.GradientHealth(tmp_path / "first run", every=5)
    make_model().fit(X, Y, batch_size=8, callbacks=[health], verbose=0)
    assert f"tensorboard --logdir '{tmp_path}/first run'" in capsys.readouterr().out


def test_an_unwritable_folder_is_one_clear_error_before_training(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to the log folder"):
        tbg.GradientHealth(tmp_path / "file" / "run")


@pytest.mark.parametrize("weights", [None, {0: 1.0, 1: 5.0}])
def test_the_run_shows_whether_its_loss_is_weighted(
    tmp_path: pathlib.Path, weights: dict[int, float] | None
) -> None:
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    make_model().fit(X, Y, batch_size=8, class_weight=weights, callbacks=[health], verbose=0)
    assert ("weighted_loss" in recording(tmp_path).table.run.facts) == (weights is not None)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_has_the_settings_and_a_run_of_its_own(tmp_path: pathlib.Path, copied: Any) -> None:
    health = tbg.GradientHealth(tmp_path, every=5, verbose=0)
    for model in (make_model(), make_model()):
        one = copied(health)
        model.fit(X, Y, batch_size=8, callbacks=[one], verbose=0)
        assert one.monitor.frames == 2
    assert health.monitor.frames == 0


def runs_in(folder: pathlib.Path) -> dict[str, list[int]]:
    """Steps of each run below a folder."""
    source = EventFileSource(str(folder))
    return {run: list(source.read(run).steps) for run in source.runs()}


def test_a_new_training_in_a_used_folder_is_a_run_beside_the_earlier_one(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        health = tbg.GradientHealth(tmp_path, every=5, verbose=0)
        make_model().fit(X, Y, batch_size=8, callbacks=[health], verbose=0)

    assert runs_in(tmp_path) == {".": [0, 5], "run_2": [0, 5], "run_3": [0, 5]}
    assert [f"{tmp_path} holds a run of 10 steps already" in t for t in caplog.messages] == [
        True
    ] * 2
    assert str(tmp_path / "run_3") in caplog.messages[-1]
    assert health.monitor.folder == str(tmp_path / "run_3")


def test_a_training_that_goes_on_with_a_new_callback_stays_in_its_folder(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model()
    for _ in range(2):
        health = tbg.GradientHealth(tmp_path, every=5, verbose=0)
        model.fit(X, Y, batch_size=8, shuffle=False, callbacks=[health], verbose=0)

    assert runs_in(tmp_path) == {".": [0, 5, 10, 15]}
    assert caplog.messages == []


def test_two_monitors_that_write_at_the_same_time_are_two_runs(tmp_path: pathlib.Path) -> None:
    variables = [tf.Variable([1.0]), tf.Variable([1.0])]
    monitors = [
        tbg.GradientMonitor(tmp_path, variables=[variable], every=1, verbose=0)
        for variable in variables
    ]
    for step in range(7, 10):
        for monitor, variable in zip(monitors, variables, strict=True):
            with monitor.observe([tf.constant([0.1])], [variable]):
                variable.assign_sub([0.1])
            monitor.step(step=step)
    for monitor in monitors:
        monitor.close()

    assert runs_in(tmp_path) == {".": [7, 8, 9], "run_2": [7, 8, 9]}


def test_the_original_reports_what_its_copies_have_found(tmp_path: pathlib.Path) -> None:
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    x = X.copy()
    x[:] = np.nan
    for inputs in (x, X):
        trial = copy.deepcopy([health])
        make_model().fit(inputs, Y, batch_size=8, callbacks=trial, verbose=0)
        del trial

    assert [flag.severity.label for flag in health.report][:1] == ["critical"]
    assert health.monitor.flags == ()
    assert tbg.load(tmp_path).runs[0].verdict == "critical"
    assert list(runs_in(tmp_path)) == [".", "run_2"]


def test_with_summaries_other_viewers_show_the_run(tmp_path: pathlib.Path) -> None:
    health = tbg.GradientHealth(tmp_path, every=5, verbose=0, summaries=True)
    model = make_model()
    model.fit(X, Y, batch_size=8, callbacks=[health], verbose=0)

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    path = recording(tmp_path).table.paths[0]
    scalars = events.Scalars(f"gradient_norm/{path}")
    np.testing.assert_array_equal(
        [event.value for event in scalars], recording(tmp_path).statistic("gradient_norm")[:, 0]
    )
    assert f"gradients/{path}" in events.Tags()["histograms"]


def test_summaries_that_cannot_be_are_refused_before_a_folder_is_made(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match="no statistic 'norm'"):
        tbg.GradientHealth(tmp_path / "run", summaries=["norm"])
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("monitor_first", [True, False])
def test_another_learning_rate_is_seen_at_once_wherever_the_callback_stands(
    monitor_first: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Frames that cost more than they may: all others are those of the coarsest schedule.
    monkeypatch.setattr(AutoSchedule, "ALLOWANCE", (0.0, 0.0))
    health = tbg.GradientHealth(tmp_path, verbose=0)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 if epoch < 4 else 0.1)
    callbacks = [health, scheduler] if monitor_first else [scheduler, health]
    make_model().fit(X, Y, batch_size=8, epochs=6, callbacks=callbacks, verbose=0)

    frames = recording(tmp_path).steps.tolist()

    changed = 40 + monitor_first  # read after the first batch
    # 32 and 48 are frames of every schedule.
    assert [step for step in frames if 32 < step < 48] == list(range(changed, 48))
    assert {*range(changed, changed + 8)} <= set(frames)
