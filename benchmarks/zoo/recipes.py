"""A training program as data, and the one function that trains any of them.

In:  a ``Recipe``, a seed, a folder.
Out: the recorded run in that folder, and the skill that the model reached.
Does not know which recipes are faulty.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

import tb_gradients as tbg
from zoo.architectures import ARCHITECTURES
from zoo.data import DATA, Array, Data

Loop = Literal["fit", "xla", "eager", "executions", "loop", "hand"]
Apply = Literal["all", "nothing", "head", "copies"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that makes a training program, but the seed.

    Attributes:
        data, architecture, options: what is trained on what; options go to the architecture.
        corrupt: changes the data that are trained on (not those that skill is measured on).
        prepare: changes the built model: freezes layers, sets weights.
        optimizer, rate, optimizer_options: class name in ``keras.optimizers``, learning rate
            or schedule maker, other arguments.
        loss: makes the loss; ``None`` for the task's usual one. Gets whether outputs are logits.
        objective: changes the value of the loss, in a custom training loop.
        head: whether the last layer gives logits or probabilities.
        loop: how the steps are made: ``fit`` in a graph, under XLA, eagerly, several steps per
            execution; a custom training loop with ``watch``; an update written by hand.
        apply: which gradients such a loop applies: all of them; those of the head; none; or,
            by hand, to copies of the variables.
        loss_scaling: whether a custom training loop in mixed_float16 scales its loss.
        pretrain: steps trained before with Adam at 1e-2, unobserved.
        target: the skill that a healthy program reaches.
    """

    data: str
    architecture: str = "dense"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    corrupt: Callable[[Data, np.random.Generator], Data] | None = None
    prepare: Callable[[Any], None] | None = None
    optimizer: str = "Adam"
    rate: Any = 3e-3
    optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: Callable[[bool], Any] | None = None
    objective: Callable[[Any], Any] | None = None
    head: str = "logits"
    loop: Loop = "fit"
    apply: Apply = "all"
    class_weight: Mapping[int, float] | None = None
    precision: str = "float32"
    loss_scaling: bool = True
    batch: int = 32
    steps: int = 200
    pretrain: int = 0
    target: float = 0.5

    def but(self, **changes: Any) -> Recipe:
        """The recipe with some fields changed; ``options`` are added to those it has."""
        for name in ("options", "optimizer_options"):
            if name in changes:
                changes[name] = {**getattr(self, name), **changes[name]}
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        skill: 1 perfect, 0 no better than a constant prediction, NaN when predictions are.
        steps: made.
    """

    skill: float
    steps: int


# --- training -------------------------------------------------------------------------------


def train(recipe: Recipe, seed: int, folder: str | os.PathLike[str]) -> Outcome:
    """Train once, recorded at every step; the same seed gives the same run."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        data = DATA[recipe.data]()
        model = ARCHITECTURES[recipe.architecture](data, recipe.head, **recipe.options)
        train_on = data
        if recipe.corrupt is not None:
            train_on = recipe.corrupt(data, np.random.default_rng(seed))
        if recipe.pretrain:
            _pretrain(model, recipe, data)
        if recipe.prepare is not None:
            recipe.prepare(model)
        steps = _LOOPS[recipe.loop](model, recipe, train_on, os.fspath(folder))
        return Outcome(skill(recipe, data, _predict(model, data.x)), steps)
    finally:
        keras.config.set_dtype_policy(before)


def _predict(model: Any, x: Array) -> Array:
    parts = [np.asarray(model(x[i : i + 512], training=False)) for i in range(0, len(x), 512)]
    return np.concatenate(parts).astype(np.float64)


def make_loss(recipe: Recipe, data: Data) -> Any:
    logits = recipe.head == "logits"
    if recipe.loss is not None:
        return recipe.loss(logits)
    if data.task in ("classes", "steps"):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    if data.task == "binary":
        return keras.losses.BinaryCrossentropy(from_logits=logits)
    return keras.losses.MeanSquaredError()


def make_optimizer(recipe: Recipe) -> Any:
    rate = recipe.rate() if callable(recipe.rate) else recipe.rate
    optimizer = getattr(keras.optimizers, recipe.optimizer)(rate, **recipe.optimizer_options)
    if recipe.precision == "mixed_float16" and recipe.loop == "loop" and recipe.loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _pretrain(model: Any, recipe: Recipe, data: Data) -> None:
    model.compile(keras.optimizers.Adam(1e-2), make_loss(recipe, data))
    _fit(model, data, recipe, recipe.pretrain, [])


def _fit(model: Any, data: Data, recipe: Recipe, steps: int, callbacks: list[Any]) -> int:
    per_epoch = math.ceil(len(data.x) / recipe.batch)
    epochs = math.ceil(steps / per_epoch)
    model.fit(
        data.x,
        data.y,
        batch_size=recipe.batch,
        epochs=epochs,
        class_weight=recipe.class_weight,
        verbose=0,
        callbacks=callbacks,
    )
    return epochs * per_epoch


QUIET: dict[str, Any] = {"every": 1, "histograms": False, "verbose": 0}


def without_rules() -> dict[str, Any]:
    """Settings that switch all rules off: recordings are judged afterwards."""
    from tb_gradients.judging.registry import make_rules

    return {rule.id: False for rule in make_rules(None)}


def _train_by_fit(model: Any, recipe: Recipe, data: Data, folder: str) -> int:
    model.compile(
        make_optimizer(recipe),
        make_loss(recipe, data),
        run_eagerly=recipe.loop == "eager",
        jit_compile=recipe.loop == "xla",
        steps_per_execution=8 if recipe.loop == "executions" else 1,
    )
    # Else the step is traced twice, as the first trace would create variables.
    model.optimizer.build(model.trainable_variables)
    health = tbg.GradientHealth(folder, rules=without_rules(), **QUIET)
    return _fit(model, data, recipe, recipe.steps, [health])


def _batches(data: Data, recipe: Recipe) -> Any:
    batches = tf.data.Dataset.from_tensor_slices((data.x, data.y))
    batches = batches.shuffle(len(data.x)).batch(recipe.batch, drop_remainder=True)
    return batches.repeat().take(recipe.steps)


def _train_by_loop(model: Any, recipe: Recipe, data: Data, folder: str) -> int:
    """A custom training loop, watched: the optimizer is given what ``recipe.apply`` says."""
    optimizer, loss_of = make_optimizer(recipe), make_loss(recipe, data)
    variables = model.trainable_variables
    chosen = [v for v in variables if recipe.apply == "all" or v.path.startswith("head")]
    optimizer.build(chosen)
    monitor = tbg.watch(optimizer, folder, model=model, rules=without_rules(), **QUIET)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = _objective(recipe, model, loss_of, x, y)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, chosen)
        optimizer.apply(gradients, chosen)
        return loss

    return _run(step, monitor, data, recipe)


def _train_by_hand(model: Any, recipe: Recipe, data: Data, folder: str) -> int:
    """Gradient descent written by hand; ``apply`` says whether it forgets the update."""
    loss_of, variables = make_loss(recipe, data), model.trainable_variables
    rate = recipe.rate() if callable(recipe.rate) else recipe.rate
    monitor = tbg.GradientMonitor(
        folder, variables=variables, model=model, rules=without_rules(), **QUIET
    )

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = _objective(recipe, model, loss_of, x, y)
        gradients = tape.gradient(loss, variables)
        with monitor.observe(gradients, variables):
            for variable, gradient in zip(variables, gradients, strict=True):
                if gradient is None or recipe.apply == "nothing":
                    continue
                if recipe.apply == "copies":
                    _ = variable - rate * gradient  # a new tensor; the variable stays
                elif recipe.apply == "all" or variable.path.startswith("head"):
                    variable.assign_sub(rate * tf.convert_to_tensor(gradient))
        return loss

    return _run(step, monitor, data, recipe)


def _objective(recipe: Recipe, model: Any, loss_of: Any, x: Any, y: Any) -> Any:
    loss = loss_of(y, model(x, training=True))
    if model.losses:
        loss += tf.add_n(model.losses)
    return loss if recipe.objective is None else recipe.objective(loss)


def _run(step: Any, monitor: Any, data: Data, recipe: Recipe) -> int:
    count = 0
    with monitor:
        for x, y in _batches(data, recipe):
            monitor.step(loss=step(x, y), inputs=x, targets=y)
            count += 1
    return count


_LOOPS: dict[str, Callable[[Any, Recipe, Data, str], int]] = {
    "fit": _train_by_fit,
    "xla": _train_by_fit,
    "eager": _train_by_fit,
    "executions": _train_by_fit,
    "loop": _train_by_loop,
    "hand": _train_by_hand,
}


# --- how well did it go? --------------------------------------------------------------------


def skill(recipe: Recipe, data: Data, outputs: Array) -> float:
    """What the model knows, on the clean data: 1 all, 0 as little as a constant.

    Regression: the coefficient of determination. Classes: (accuracy - share of the most
    frequent class) / (1 - that share). Binary: twice the balanced accuracy minus 1.
    """
    y = data.y
    if not np.isfinite(outputs).all():
        return math.nan
    if data.task == "regression":
        residual = ((outputs.reshape(y.shape) - y) ** 2).sum()
        return float(1 - residual / ((y - y.mean(0)) ** 2).sum())
    if data.task == "binary":
        positive = outputs.reshape(y.shape) > (0 if recipe.head == "logits" else 0.5)
        right = [float((positive[y == value] == value).mean()) for value in (0, 1)]
        return sum(right) - 1
    guess = float(np.bincount(y.ravel()).max() / y.size)
    accuracy = float((outputs.argmax(-1) == y).mean())
    return (accuracy - guess) / (1 - guess)
