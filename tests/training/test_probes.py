"""Several optimizers under one monitor: one frame per step, each variable's owner known."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training.optimizers.settings import optimizers_of

layers = keras.layers
BATCH, STEPS = 8, 12
REAL = np.random.default_rng(0).normal(size=(BATCH * STEPS, 2)).astype("float32")
NOISE = tf.constant(np.random.default_rng(1).normal(size=(BATCH, 3)), tf.float32)
NORM = schema.statistic_names().index("gradient_norm")


class Gan(keras.Model):
    """The usual way: two optimizers, a train step of its own.

    Args:
        critic_updates: of the discriminator, for each one of the generator.
    """

    def __init__(self, critic_updates: int = 1) -> None:
        super().__init__()
        keras.utils.set_random_seed(0)
        self.critic_updates = critic_updates
        self.generator = keras.Sequential(
            [keras.Input((3,)), layers.Dense(6, "tanh"), layers.Dense(2)], name="generator"
        )
        self.discriminator = keras.Sequential(
            [keras.Input((2,)), layers.Dense(6, "tanh"), layers.Dense(1)], name="discriminator"
        )
        self.built = True

    def compile(self, d_optimizer: Any, g_optimizer: Any, **others: Any) -> None:
        super().compile(**others)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, inputs: Any) -> Any:
        return self.generator(inputs)

    def train_step(self, real: Any) -> Any:
        noise = NOISE  # XLA has another generator than graphs
        for _ in range(self.critic_updates):
            with tf.GradientTape() as tape:
                truth, fake = self.discriminator(real), self.discriminator(self.generator(noise))
                d_loss = self.loss_of(tf.ones_like(truth), truth)
                d_loss += self.loss_of(tf.zeros_like(fake), fake)
            variables = self.discriminator.trainable_variables
            self.d_optimizer.apply(tape.gradient(d_loss, variables), variables)
        with tf.GradientTape() as tape:
            fake = self.discriminator(self.generator(noise))
            g_loss = self.loss_of(tf.ones_like(fake), fake)
        variables = self.generator.trainable_variables
        self.g_optimizer.apply(tape.gradient(g_loss, variables), variables)
        return {"loss": g_loss}


def fit(gan: Gan, folder: pathlib.Path | None, every: Any = 1, **compiled: Any) -> Any:
    compiled.setdefault("jit_compile", False)
    d_optimizer, g_optimizer = keras.optimizers.Adam(1e-2), keras.optimizers.SGD(1e-1)
    gan.compile(d_optimizer, g_optimizer, **compiled)
    health = [] if folder is None else [tbg.GradientHealth(folder, every=every, verbose=0)]
    gan.fit(REAL, batch_size=BATCH, shuffle=False, callbacks=health, verbose=0)
    return health[0] if health else None


def recording(folder: pathlib.Path) -> Recording:
    (result,) = EventFileSource(str(folder)).read(".").recordings
    return result


def norms_by_hand(folder: pathlib.Path) -> np.ndarray:
    """[steps, variables] of a run that is watched by one monitor per optimizer."""
    gan = Gan()
    gan.compile(keras.optimizers.Adam(1e-2), keras.optimizers.SGD(1e-1), run_eagerly=True)
    monitors = [
        tbg.watch(optimizer, folder / name, model=part, every=1, verbose=0)
        for name, optimizer, part in (
            ("g", gan.g_optimizer, gan.generator),
            ("d", gan.d_optimizer, gan.discriminator),
        )
    ]
    for start in range(0, len(REAL), BATCH):
        gan.train_step(tf.constant(REAL[start : start + BATCH]))
        for monitor in monitors:
            monitor.step()
    for monitor in monitors:
        monitor.close()
    parts = [recording(folder / name).values[:, :, NORM] for name in ("g", "d")]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(
    "how",
    [{}, {"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}],
    ids=["graph", "xla", "eager", "4 per execution"],
)
def test_a_gan_has_one_frame_per_step_with_all_its_variables(
    tmp_path: pathlib.Path, how: dict[str, Any]
) -> None:
    expected = norms_by_hand(tmp_path / "apart")
    fit(Gan(), tmp_path / "gan", **how)
    run = recording(tmp_path / "gan")
    assert list(run.steps) == list(range(STEPS))
    assert [path.split("/")[0] for path in run.table.paths] == ["generator"] * 4 + [
        "discriminator"
    ] * 4
    np.testing.assert_allclose(run.values[:, :, NORM], expected, rtol=1e-3, atol=1e-6)
    total = run.context[:, schema.context_names().index("global_norm")]
    np.testing.assert_allclose(total, np.sqrt((expected**2).sum(axis=1)), rtol=1e-3)


def test_each_variable_names_its_optimizer(tmp_path: pathlib.Path) -> None:
    fit(Gan(), tmp_path)
    table = recording(tmp_path).table
    assert [v.optimizer for v in table.variables] == ["g_optimizer"] * 4 + ["d_optimizer"] * 4
    assert table.run.facts["optimizers"] == "g_optimizer: SGD, d_optimizer: Adam"


class Kept(Gan):
    """Its optimizers are in a dictionary, or in a list."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.kept = kept

    def compile(self, d_optimizer: Any, g_optimizer: Any, **others: Any) -> None:
        keras.Model.compile(self, **others)
        both = {"d": d_optimizer, "g": g_optimizer}
        self.optimizers = both if self.kept == "dictionary" else list(both.values())
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def d_optimizer(self) -> Any:
        return self.optimizers["d" if self.kept == "dictionary" else 0]

    @property
    def g_optimizer(self) -> Any:
        return self.optimizers["g" if self.kept == "dictionary" else 1]


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        ("dictionary", ["optimizers/g", "optimizers/d"]),
        ("list", ["optimizers/1", "optimizers/0"]),
    ],
)
def test_optimizers_in_a_dictionary_or_list_are_found(
    tmp_path: pathlib.Path, kept: str, names: list[str]
) -> None:
    fit(Kept(kept), tmp_path)
    run = recording(tmp_path)
    assert [variable.optimizer for variable in run.table.variables] == np.repeat(names, 4).tolist()
    assert not np.isnan(run.values[:, :, NORM]).any()


def test_no_learning_rate_is_given_where_there_are_two(tmp_path: pathlib.Path) -> None:
    fit(Gan(), tmp_path)
    rates = recording(tmp_path).context[:, schema.context_names().index("learning_rate")]
    assert np.isnan(rates).all()


@pytest.mark.parametrize("every", [1, 3])
def test_several_updates_of_the_critic_are_still_one_step(
    tmp_path: pathlib.Path, every: int
) -> None:
    fit(Gan(critic_updates=3), tmp_path, every=every)
    run = recording(tmp_path)
    assert list(run.steps) == list(range(0, STEPS, every))
    seen = np.isfinite(run.values[:, :, NORM])
    assert seen[:, :4].all()
    assert seen[:, 4:].all()


def test_weights_are_the_same_with_and_without(tmp_path: pathlib.Path) -> None:
    bare, watched = Gan(), Gan()
    fit(bare, None)
    fit(watched, tmp_path)
    for a, b in zip(bare.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def two_layers() -> list[Any]:
    keras.utils.set_random_seed(0)
    return [
        keras.Sequential([keras.Input((2,)), layers.Dense(2, name=name)], name=name)
        for name in ("first", "second")
    ]


def alternating(
    monitor: Any, parts: list[Any], optimizers: list[Any], steps: int = STEPS, turn: int = 1
) -> None:
    """The parts of the model are updated in turns of so many steps."""

    @tf.function
    def step(x: Any, index: int) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(parts[1](parts[0](x)) - 1.0))
        variables = parts[index].trainable_variables
        optimizers[index].apply(tape.gradient(loss, variables), variables)
        return loss

    for number in range(steps):
        monitor.step(loss=step(tf.constant(REAL[:BATCH]), number // turn % 2))
    monitor.close()


def test_alternating_optimizers_share_the_steps(tmp_path: pathlib.Path) -> None:
    parts = two_layers()
    optimizers = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)]
    monitor = tbg.watch(optimizers, tmp_path, model=parts, every=1, verbose=0)
    alternating(monitor, parts, optimizers)
    run = recording(tmp_path)
    assert list(run.steps) == list(range(STEPS))
    seen = np.isfinite(run.values[:, :, NORM])
    for number, row in enumerate(seen):
        assert list(row) == [number % 2 == 0] * 2 + [number % 2 == 1] * 2
    assert not [flag for flag in monitor.flags if flag.rule == "disconnected_gradient"]


@pytest.mark.parametrize("every", ["auto", 7])
def test_where_optimizers_take_long_turns_every_loss_has_its_step(
    tmp_path: pathlib.Path, every: Any
) -> None:
    parts = two_layers()
    optimizers = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)]
    monitor = tbg.watch(optimizers, tmp_path, model=parts, every=every, verbose=0)
    alternating(monitor, parts, optimizers, steps=90, turn=10)
    lane = tbg.load(tmp_path).runs[0].lane
    assert list(lane.steps) == list(range(90))
    assert np.isfinite(lane.loss).all()
    # Whose step an update was is known as long as one optimizer is applied at every step.
    known = np.isfinite(lane.norms).any(axis=1)
    assert known[:7].all()
    assert not known[20:].any()


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("every", [1, 5])
def test_one_optimizer_that_updates_two_parts_in_turn_is_seen_in_both(
    tmp_path: pathlib.Path, every: int, graph: bool
) -> None:
    parts, optimizer = two_layers(), keras.optimizers.SGD(0.1)
    optimizer.build([v for part in parts for v in part.trainable_variables])

    def step(x: Any) -> Any:
        for part in parts:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(parts[1](parts[0](x)) - 1.0))
            variables = part.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    step = tf.function(step) if graph else step
    monitor = tbg.watch(optimizer, tmp_path, model=parts, every=every, verbose=0)
    for _ in range(STEPS):
        monitor.step(loss=step(tf.constant(REAL[:BATCH])))
    monitor.close()
    run = recording(tmp_path)
    assert list(run.steps) == list(range(0, STEPS, every))
    assert np.isfinite(run.values[:, :, NORM]).all()


def test_updates_that_leave_some_variables_out_are_of_one_part(tmp_path: pathlib.Path) -> None:
    parts, optimizer = two_layers(), keras.optimizers.SGD(0.1)
    both = [v for part in parts for v in part.trainable_variables]
    optimizer.build(both)
    monitor = tbg.watch(optimizer, tmp_path, model=parts, every=1, verbose=0)
    for number in range(STEPS):
        variables = both if number % 3 else parts[1].trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(parts[1](parts[0](tf.constant(REAL[:BATCH]))) - 1.0))
        optimizer.apply(tape.gradient(loss, variables), variables)
        monitor.step(loss=loss)
    monitor.close()
    run = recording(tmp_path)
    assert list(run.steps) == list(range(STEPS))
    seen = np.isfinite(run.values[:, :, NORM])
    assert [bool(row[:2].all()) for row in seen] == [bool(n % 3) for n in range(STEPS)]
    assert seen[:, 2:].all()


def test_an_optimizer_wrapped_for_loss_scaling_is_watched_once() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.own = keras.optimizers.SGD()
    model.compile(keras.optimizers.LossScaleOptimizer(model.own), "mse")
    assert optimizers_of(model) == [model.optimizer]


def test_several_optimizers_need_the_variables_named(tmp_path: pathlib.Path) -> None:
    optimizers = [keras.optimizers.SGD(), keras.optimizers.Adam()]
    with pytest.raises(ValueError, match="model=\\[generator, discriminator\\]"):
        tbg.watch(optimizers, tmp_path)
