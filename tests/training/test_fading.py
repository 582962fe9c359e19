"""The way of a gradient that fades is measured in a repeated step, and stored with its flag."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.console import Console
from tb_gradients.documents import html_document, junit_document
from tb_gradients.flags import Origin, Severity
from tb_gradients.judging.operations import FADES, GROWS, UNITS
from tb_gradients.training.origin.cuts import Cuts
from tb_gradients.training.origin.describing import origin_of_way, place_in
from tb_gradients.training.origin.fading import switched_units, way_to
from tb_gradients.training.origin.repeating import Kept
from tb_gradients.training.origin.request import Request, request_of_graph
from tb_gradients.training.origin.traced import layers_of

layers = keras.layers
LIMIT = 2**30
X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


class Body(layers.Layer):
    """A layer of the user's own: a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(name="body")
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def network(parts: Sequence[Any]) -> keras.Model:
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((6,)), *parts, layers.Dense(1, name="head")])


def kept_of(model: keras.Model) -> tuple[Kept, Any]:
    """A step of a model, to be repeated, and its loss."""
    variables = model.trainable_variables

    def step(x: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(model(x, training=True) - x[:, :1]))
        request = request_of_graph()
        assert request is not None
        request.add(tape.gradient(loss, variables), variables)

    request = Request({}, layers_of(model))
    request.trace(step, (X,), {})
    [traced] = request.steps
    return Kept(traced, request.batch(traced) or [], {}, True), Cuts(traced).loss


def origin_of(model: keras.Model, variable: int, lost: str) -> Origin:
    kept, loss = kept_of(model)
    path = kept.step.paths[variable]
    way = way_to(kept, loss, path, LIMIT)
    assert way is not None and way.path == path
    if lost == UNITS:
        switched = switched_units(kept, loss, way, LIMIT)
        return origin_of_way(kept.step, way, lost, switched and switched.passage, switched)
    return origin_of_way(
        kept.step, way, lost, way.dominant(place_in(kept.step), grows=lost == GROWS)
    )


def faint(h: Any) -> Any:
    centred = h - tf.reduce_mean(h)
    return centred * 1e-5


def steep(h: Any) -> Any:
    return tf.pow(10.0 + tf.abs(h), 4.0)


@pytest.mark.parametrize(
    ("function", "lost", "operation"), [(faint, FADES, "Mul"), (steep, GROWS, "Pow")]
)
def test_the_line_that_most_of_the_change_is_at_is_named(
    function: Any, lost: str, operation: str
) -> None:
    hidden = [layers.Dense(8, activation="relu", name=name) for name in "abc"]
    origin = origin_of(network([hidden[0], Body(function), *hidden[1:]]), 0, lost)
    assert (origin.operation, origin.layer, origin.phase) == (operation, "body", "backward")
    assert origin.line and pathlib.Path(origin.file).name == pathlib.Path(__file__).name
    assert next(row.layer for row in origin.path if row.layer) == "head"
    assert origin.path[-1].layer == "a"
    assert any(row.line == origin.line and row.operation == operation for row in origin.path)


def test_sizes_far_below_the_squares_of_float32_are_measured() -> None:
    origin = origin_of(network([Body(lambda h: h * 1e-30), layers.Dense(4, name="a")]), 0, FADES)
    smallest = min(row.log10_size for row in origin.path)
    assert -40 < smallest < -28


def test_a_shortcut_is_followed_where_most_of_the_gradient_comes_through() -> None:
    inputs = keras.Input((6,))
    first = layers.Dense(6, name="first")(inputs)
    faded = Body(lambda h: tf.tanh(h * 1e-4))(first)
    outputs = layers.Dense(1, name="head")(layers.Add()([first, faded]))
    origin = origin_of(keras.Model(inputs, outputs), 0, FADES)
    assert "body" not in [row.layer for row in origin.path]
    assert not origin.operation


@pytest.mark.parametrize(
    ("activation", "bias", "operation"), [("relu", -30.0, "Relu"), ("tanh", 30.0, "Tanh")]
)
def test_the_activation_that_switches_units_off_is_named(
    activation: str, bias: float, operation: str
) -> None:
    start = keras.initializers.Constant(np.repeat([bias, 0.0], 4))
    part = layers.Dense(8, activation=activation, bias_initializer=start, name="off")
    origin = origin_of(network([part, layers.Dense(5, name="next")]), 0, UNITS)
    assert (origin.operation, origin.layer) == (operation, "off")
    assert origin.share == 0.5 and "4 of 8 units" in origin.summary


def test_of_eager_steps_the_same_path_is_given_on_request(tmp_path: pathlib.Path) -> None:
    model = network([layers.Dense(8, activation="sigmoid", name=f"d{i}") for i in range(8)])
    optimizer = keras.optimizers.SGD(0.01)

    def step(x: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - x[:, :1]))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        for _ in range(60):
            step(tf.constant(X))
            monitor.step()
        found = monitor.explain(step, X)
        [flag] = [flag for flag in monitor.flags if flag.rule == "vanishing_gradient"]
    assert flag.origin is not None and flag.origin == found.of(flag)
    assert [row.layer for row in flag.origin.path][-8:] == [f"d{7 - i}" for i in range(8)]
    assert found.lost[flag.variables[0]] == FADES
    assert "fades on its way from the loss" in str(found)
    assert f"path   {flag.origin.path_text()}" in str(found)


def test_a_stack_of_sigmoids_has_a_path_and_no_operation_in_every_document(
    tmp_path: pathlib.Path,
) -> None:
    model = network([layers.Dense(16, activation="sigmoid", name=f"d{i}") for i in range(8)])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    x = np.tile(X, (60, 1))
    health = tbg.GradientHealth(tmp_path, verbose=0)
    model.fit(x, x[:, :1], batch_size=16, verbose=0, callbacks=[health])
    report = tbg.load(tmp_path)
    [flag] = [f for f in report.runs[0].flags if f.rule == "vanishing_gradient"]
    origin = flag.origin
    assert origin is not None and not origin.operation and not origin.file
    assert "per layer over 9 layers" in origin.summary
    assert flag.causes[0].id == "saturating_activation"
    assert [row.layer for row in origin.path][-9:] == ["head", *(f"d{7 - i}" for i in range(8))]
    sizes = [row.log10_size for row in origin.path][-9:-1]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < -4
    text = origin.path_text()
    assert text.startswith("loss 1 → ") and "head" in text and "d0" in text
    assert text in " ".join(Console(width=96).report(report).split())
    assert f"path: {text}" in junit_document(report, Severity.CRITICAL)
    page = html_document(report, "A title")
    assert "<td>d0</td>" in page and "<meter" in page
