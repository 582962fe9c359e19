"""Whatever a model is made of, and whatever its optimizer does, a frame has the numbers of
NumPy: gradients of a tape, weights before and after the step.
"""

from __future__ import annotations

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

layers = keras.layers
SAMPLES, BATCH, CLASSES = 48, 8, 3
loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(7, "tanh"), layers.Dense(5)])
    inputs = keras.Input((12,))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.ReLU()(inner(inputs))))


def shared() -> keras.Model:
    inputs, twice = keras.Input((12,)), layers.Dense(12, "tanh")
    return keras.Model(inputs, layers.Dense(CLASSES)(twice(twice(inputs))))


def recurrent() -> keras.Model:
    inputs = keras.Input((12,))
    x = layers.LSTM(6, return_sequences=True)(layers.Reshape((4, 3))(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GRU(5)(x)))


def attention() -> keras.Model:
    inputs = keras.Input((12,))
    x = layers.Reshape((4, 3))(inputs)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


def volumes() -> keras.Model:
    """A kernel of rank 5."""
    inputs = keras.Input((12,))
    x = layers.Conv3D(4, (1, 2, 2))(layers.Reshape((1, 2, 2, 3))(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


class Scaled(layers.Layer):
    """One number, a variable of rank 0."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x: Any) -> Any:
        return x * self.factor


def scalar() -> keras.Model:
    return keras.Sequential([keras.Input((12,)), Scaled(), layers.Dense(CLASSES)])


def constrained() -> keras.Model:
    bound = keras.constraints.MaxNorm(0.5)
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(9, "relu", kernel_constraint=bound, kernel_regularizer="l2"),
            layers.Dense(CLASSES),
        ]
    )


class Reference(keras.callbacks.Callback):
    """Gradients of a tape before each step, and the weights around it."""

    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.x, self.y = x, y
        self.gradients: list[list[Any]] = []
        self.befores: list[list[Any]] = []
        self.afters: list[list[Any]] = []

    def now(self) -> list[Any]:
        return [v.numpy().copy() for v in self.model.trainable_variables]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        part = slice(batch * BATCH, (batch + 1) * BATCH)
        with tf.GradientTape() as tape:
            outputs = self.model(self.x[part], training=True)
            loss = loss_of(self.y[part], outputs) + sum(self.model.losses)
        variables = [v.value for v in self.model.trainable_variables]
        gradients = tape.gradient(loss, variables)
        self.gradients.append([tf.convert_to_tensor(g).numpy() for g in gradients])
        self.befores.append(self.now())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.afters.append(self.now())

    def each(self, reduce: Callable[[Any], Any], what: list[list[Any]]) -> Any:
        return np.array([[reduce(x) for x in step] for step in what])

    def updates(self) -> list[list[Any]]:
        steps = zip(self.befores, self.afters, strict=True)
        return [[b - a for a, b in zip(*step, strict=True)] for step in steps]


def data() -> tuple[Any, Any]:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(SAMPLES, 12)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)


def recordings(folder: pathlib.Path) -> tuple[Recording, ...]:
    return tuple(EventFileSource(str(folder)).read(".").recordings)


def train(
    model: keras.Model, folder: Any, health: tbg.GradientHealth | None = None, **compiled: Any
) -> Reference:
    x, y = data()
    reference = Reference(x, y)
    compiled.setdefault("optimizer", keras.optimizers.SGD(0.05))
    model.compile(loss=loss_of, **compiled)
    health = health or tbg.GradientHealth(folder, every=1, verbose=0)
    model.fit(x, y, batch_size=BATCH, shuffle=False, callbacks=[reference, health], verbose=0)
    return reference


def assert_like(run: Recording, reference: Reference) -> None:
    def same(name: str, expected: Any) -> None:
        np.testing.assert_allclose(run.statistic(name), expected, rtol=2e-3, atol=2e-6)

    assert len(run) == SAMPLES // BATCH
    same("gradient_norm", reference.each(np.linalg.norm, flat(reference.gradients)))
    same("gradient_min", reference.each(np.min, reference.gradients))
    same("gradient_max", reference.each(np.max, reference.gradients))
    same("weight_norm", reference.each(np.linalg.norm, flat(reference.afters)))
    same("update_norm", reference.each(np.linalg.norm, flat(reference.updates())))


def flat(what: list[list[Any]]) -> list[list[Any]]:
    return [[np.ravel(x) for x in step] for step in what]


@pytest.mark.parametrize(
    "make", [nested, shared, recurrent, attention, volumes, scalar, constrained]
)
def test_a_model_of_any_make(tmp_path: pathlib.Path, make: Callable[[], keras.Model]) -> None:
    keras.utils.set_random_seed(1)
    model = make()
    reference = train(model, tmp_path, jit_compile=False)
    (run,) = recordings(tmp_path)
    assert run.table.paths == tuple(v.path for v in model.trainable_variables)
    assert_like(run, reference)


OPTIMIZERS = {
    "weight decay": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
    "moving averages": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5),
    "averages that overwrite": lambda: keras.optimizers.SGD(
        0.05, use_ema=True, ema_overwrite_frequency=1
    ),
    "nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("xla", [False, True, "auto"], ids=["graph", "xla", "auto"])
def test_an_optimizer_that_does_more(tmp_path: pathlib.Path, optimizer: str, xla: Any) -> None:
    keras.utils.set_random_seed(1)
    reference = train(nested(), tmp_path, optimizer=OPTIMIZERS[optimizer](), jit_compile=xla)
    (run,) = recordings(tmp_path)
    assert_like(run, reference)


CLIPPING: dict[str, Callable[[Any], Any]] = {
    "clipnorm": lambda g: [x * min(1, 0.05 / np.linalg.norm(x)) for x in g],
    "global_clipnorm": lambda g: [
        x * min(1, 0.05 / np.sqrt(sum(np.sum(y**2) for y in g))) for x in g
    ],
}


@pytest.mark.parametrize("clipping", CLIPPING)
def test_the_norm_before_and_after_clipping(tmp_path: pathlib.Path, clipping: str) -> None:
    keras.utils.set_random_seed(1)
    optimizer = keras.optimizers.SGD(0.05, **{clipping: 0.05})
    reference = train(nested(), tmp_path, optimizer=optimizer)
    (run,) = recordings(tmp_path)
    assert_like(run, reference)
    applied = [CLIPPING[clipping]([np.ravel(x) for x in step]) for step in reference.gradients]
    expected = reference.each(np.linalg.norm, applied)
    np.testing.assert_allclose(run.statistic("applied_norm"), expected, rtol=2e-3)


def test_a_layer_that_is_unfrozen_later(tmp_path: pathlib.Path) -> None:
    model = nested()
    health = tbg.GradientHealth(tmp_path, every=1, verbose=0)
    model.layers[1].trainable = False
    train(model, tmp_path, health)
    model.layers[1].trainable = True
    reference = train(model, tmp_path, health)
    frozen, whole = recordings(tmp_path)
    assert len(frozen.table.paths) == 2
    assert whole.table.paths == tuple(v.path for v in model.trainable_variables)
    assert_like(whole, reference)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_a_model_that_is_loaded_again_goes_on_counting(tmp_path: pathlib.Path) -> None:
    model, steps = nested(), SAMPLES // BATCH
    train(model, tmp_path / "logs", optimizer=keras.optimizers.Adam(1e-2))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x, y = data()
    health = tbg.GradientHealth(tmp_path / "logs", every=1, verbose=0)
    loaded.fit(x, y, batch_size=BATCH, callbacks=[health], verbose=0)
    runs = recordings(tmp_path / "logs")
    assert [int(step) for run in runs for step in run.steps] == list(range(2 * steps))


def test_a_relative_folder_with_files_of_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tf.summary.create_file_writer("logs/train").as_default():
        tf.summary.scalar("loss", 1.0, step=0)
    (other,) = (tmp_path / "logs/train").iterdir()
    train(nested(), "logs/train")
    assert other.exists()
    assert len(recordings(tmp_path / "logs/train/gradient_health")) == 1
