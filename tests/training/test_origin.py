"""A flag names the operation, and the line of this file, in which a gradient was lost."""

from __future__ import annotations

import importlib
import inspect
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag, Origin, Severity
from tb_gradients.training.origin import explainer
from tb_gradients.training.origin.explainer import ANSWERS, Explainer
from tb_gradients.training.origin.keeping import Keeper
from tb_gradients.training.origin.lines import is_library, place_of
from tb_gradients.training.origin.ranges import described
from tb_gradients.training.origin.traced import trace

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")
BATCH, STEPS = 4, 16


class Body(layers.Layer):
    """A layer of the user's own: a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(name="body")
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def around(function: Callable[[Any], Any]) -> keras.Model:
    """A small network with a function in its middle."""
    keras.utils.set_random_seed(1)
    parts = [layers.Dense(8, use_bias=False, name="first"), Body(function), layers.Dense(1)]
    return keras.Sequential([keras.Input((6,)), *parts])


def data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, of which sample 50 (in step 12) is zero."""
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 6)).astype(np.float32)
    y = x[:, :1].copy()
    x[50] = 0
    return x, y


def fitted(
    folder: pathlib.Path, function: Any, *, xla: bool = False, epochs: int = 1, **options: Any
) -> list[Flag]:
    """The flags of a short ``fit``, as a reader has them."""
    model = around(function)
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=xla)
    health = tbg.GradientHealth(folder, verbose=0, **options)
    x, y = data()
    fixed: dict[str, Any] = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(x, y, epochs=epochs, callbacks=[health], **fixed)
    return list(tbg.load(folder).runs[0].flags)


def origin_of(flags: list[Flag], rule: str) -> Origin:
    """The origin of the flag of a rule."""
    [flag] = [flag for flag in flags if flag.rule == rule]
    assert flag.origin is not None
    return flag.origin


def assert_line(origin: Origin, function: Callable[..., Any], text: str) -> None:
    """The origin is the line of a function that holds a text."""
    lines, first = inspect.getsourcelines(function)
    [at] = [i for i, line in enumerate(lines) if text in line]
    assert pathlib.Path(origin.file).resolve() == pathlib.Path(__file__).resolve()
    assert origin.line == first + at
    assert origin.code == lines[at].strip()


# --- None ---------------------------------------------------------------------------------


def chosen(h: Any) -> Any:
    index = tf.argmax(h, axis=-1)
    return tf.one_hot(index, 8)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_operation_without_a_gradient_is_named(tmp_path: pathlib.Path, xla: bool) -> None:
    flags = fitted(tmp_path, chosen, xla=xla)
    origin = origin_of(flags, "disconnected_gradient")
    assert (origin.operation, origin.layer, origin.phase) == ("ArgMax", "body", "graph")
    assert_line(origin, chosen, "tf.argmax")
    [flag] = [flag for flag in flags if flag.origin is not None]
    assert flag.causes[0].id == "non_differentiable_operation"
    assert "softmax" in flag.fixes[0]


def sorted_places(h: Any) -> Any:
    places = tf.argsort(h, axis=-1)
    return tf.cast(places, tf.float32)


def test_an_operation_of_which_only_one_output_has_a_gradient_is_named(
    tmp_path: pathlib.Path,
) -> None:
    origin = origin_of(looped(tmp_path, around(sorted_places)), "disconnected_gradient")
    assert origin.operation == "TopKV2"
    assert_line(origin, sorted_places, "tf.argsort")


class Forgetful(keras.Model):
    """One of its layers is never called, or what it gives is not used."""

    def __init__(self, calls: bool) -> None:
        super().__init__()
        self.calls = calls
        self.aside = layers.Dense(2, name="aside")
        self.main = layers.Dense(1, name="main")

    def build(self, shape: Any) -> None:
        self.aside.build(shape)
        self.main.build(shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        if not self.calls:
            return self.main(inputs)
        lost = self.aside(inputs)
        return self.main(inputs) + 0.0 * tf.cast(tf.shape(lost)[0], tf.float32)


def looped(folder: pathlib.Path, model: keras.Model, xla: bool = False) -> list[Flag]:
    """The flags of a short loop, whose step calls another function of the user's."""
    optimizer = keras.optimizers.SGD(0.01)
    predict = tf.function(lambda x: model(x, training=True))

    @tf.function(jit_compile=xla)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(predict(x) - y))
            good = loss < 1.0
        gradients = tape.gradient(loss, model.trainable_variables)
        known = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients(known)
        return loss, good

    x, y = data()
    with tbg.watch(optimizer, folder, model=model, verbose=0) as monitor:
        for at in range(0, len(x), BATCH):
            loss, _ = step(tf.constant(x[at : at + BATCH]), tf.constant(y[at : at + BATCH]))
            monitor.step(loss=loss)
    return list(monitor.flags)


def test_a_variable_that_nothing_reads_is_said_to_be_so(tmp_path: pathlib.Path) -> None:
    model = Forgetful(calls=False)
    model.build((None, 6))
    origin = origin_of(looped(tmp_path, model), "disconnected_gradient")
    assert (origin.operation, origin.layer, origin.file) == ("", "aside", "")
    assert "Nothing in the step reads" in origin.summary


def test_the_line_that_reads_what_nothing_uses_is_named(tmp_path: pathlib.Path) -> None:
    model = Forgetful(calls=True)
    model.build((None, 6))
    origin = origin_of(looped(tmp_path, model), "disconnected_gradient")
    assert "nothing of it reaches the loss" in origin.summary
    assert_line(origin, Forgetful.call, "self.aside(inputs)")


# --- NaN ----------------------------------------------------------------------------------


def normalised(h: Any) -> Any:
    return h / tf.norm(h, axis=-1, keepdims=True)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_operation_that_gives_nan_is_named(tmp_path: pathlib.Path, xla: bool) -> None:
    flags = fitted(tmp_path, normalised, xla=xla)
    origin = origin_of(flags, "nonfinite_gradient")
    assert (origin.operation, origin.layer, origin.phase) == ("RealDiv", "body", "forward")
    assert_line(origin, normalised, "tf.norm")
    assert origin.share == pytest.approx(8 / 32)
    assert origin.outputs[0].endswith("8 NaN") and "8 zeros" in origin.inputs[0]
    assert not origin.only_xla
    [flag] = [flag for flag in flags if flag.origin is not None]
    assert flag.causes[0].id == "numeric_overflow" and "divide_no_nan" in flag.fixes[0]


def test_the_batch_may_be_drawn_in_the_step(tmp_path: pathlib.Path) -> None:
    """Where the function of a step is called with an iterator."""
    model = around(normalised)
    optimizer = keras.optimizers.SGD(0.01)

    @tf.function
    def step(batches: Any) -> None:
        x, y = next(batches)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    batches = iter(tf.data.Dataset.from_tensor_slices(data()).batch(BATCH))
    with tbg.watch(optimizer, tmp_path, model=model, verbose=0) as monitor:
        for _ in range(STEPS):
            step(batches)
            monitor.step()
    origin = origin_of(list(monitor.flags), "nonfinite_gradient")
    assert origin.operation == "RealDiv"
    assert_line(origin, normalised, "tf.norm")


class Inner(Body):
    """Within another layer."""


class Outer(layers.Layer):
    def __init__(self, inner: Any) -> None:
        super().__init__(name="outer")
        self.inner = inner

    def call(self, inputs: Any) -> Any:
        return 2.0 * self.inner(tf.tanh(inputs))


def test_of_layers_within_layers_the_innermost_is_named(tmp_path: pathlib.Path) -> None:
    model = around(Outer(Inner(normalised)))
    origin = origin_of(looped(tmp_path, model), "nonfinite_gradient")
    assert (origin.operation, origin.layer) == ("RealDiv", "body")
    assert_line(origin, normalised, "tf.norm")


def test_of_several_optimizers_each_has_its_step(tmp_path: pathlib.Path) -> None:
    model = around(chosen)
    parts = model.trainable_variables[::2], model.trainable_variables[1::2]
    optimizers = [keras.optimizers.SGD(0.01) for _ in parts]

    @tf.function
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape.gradient(loss, parts)
        for optimizer, part, some in zip(optimizers, parts, gradients, strict=True):
            optimizer.apply_gradients(zip(some, part, strict=True))

    x, y = (array[:BATCH] for array in data())
    with tbg.watch(optimizers, tmp_path, model=model, verbose=0) as monitor:
        for _ in range(3):
            step(x, y)
            monitor.step()
        found = monitor.explain(step, x, y)
    assert len(found.seen) == 3
    origin = origin_of(list(monitor.flags), "disconnected_gradient")
    assert origin.operation == "ArgMax"
    assert [found[path] for path in found] == [origin]


def test_a_line_of_a_package_that_somebody_else_wrote_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    (packages / "somebody").mkdir(parents=True)
    file = packages / "somebody" / "norms.py"
    code = "return x / tf.norm(x, axis=-1, keepdims=True)"
    file.write_text(f"import tensorflow as tf\n\n\ndef unit(x):\n    {code}\n")
    monkeypatch.syspath_prepend(packages)
    unit = importlib.import_module("somebody.norms").unit
    origin = origin_of(looped(tmp_path / "log", around(unit)), "nonfinite_gradient")
    assert (origin.file, origin.line, origin.code) == (str(file), 5, code)


def rooted(h: Any) -> Any:
    size = tf.reduce_sum(h * h, axis=-1, keepdims=True)
    return tf.sqrt(size)


def test_a_gradient_that_breaks_although_the_loss_is_finite_is_found_in_a_loop(
    tmp_path: pathlib.Path,
) -> None:
    origin = origin_of(looped(tmp_path, around(rooted)), "nonfinite_gradient")
    assert (origin.operation, origin.phase) == ("Sqrt", "backward")
    assert_line(origin, rooted, "tf.sqrt")


def untaken(h: Any) -> Any:
    return tf.where(h > 0.0, tf.sqrt(h), 0.0 * h)


def test_what_breaks_under_xla_only_is_said_to(tmp_path: pathlib.Path) -> None:
    origin = origin_of(fitted(tmp_path, untaken, xla=True), "nonfinite_gradient")
    assert (origin.operation, origin.phase, origin.only_xla) == ("Sqrt", "backward", True)
    assert "jit_compile=True" in origin.summary
    assert_line(origin, untaken, "tf.sqrt")


def test_nan_in_the_data_has_no_operation(tmp_path: pathlib.Path) -> None:
    x, y = data()
    x[50, 0] = np.nan
    model = around(lambda h: h)
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    health = tbg.GradientHealth(tmp_path, verbose=0)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[health])
    assert health.report
    assert all(flag.origin is None for flag in health.report)


# --- Zero ---------------------------------------------------------------------------------


def switched_off(h: Any) -> Any:
    shifted = tf.tanh(h) - 2.0
    return tf.nn.relu(shifted)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_the_operation_at_which_the_gradient_becomes_zero_is_named(
    tmp_path: pathlib.Path, xla: bool
) -> None:
    flags = fitted(tmp_path, switched_off, xla=xla)
    origin = origin_of(flags, "zero_gradient")
    assert (origin.operation, origin.layer, origin.phase) == ("Relu", "body", "backward")
    assert_line(origin, switched_off, "tf.nn.relu")
    [flag] = [flag for flag in flags if flag.origin is not None]
    assert "dying_relu" in [c.id for c in flag.causes]


# --- What is kept, and what is not ---------------------------------------------------------


def test_the_text_of_the_line_can_be_left_out(tmp_path: pathlib.Path) -> None:
    origin = origin_of(fitted(tmp_path, normalised, explain="lines"), "nonfinite_gradient")
    assert origin.code == "" and origin.line > 0
    raw = b"".join(file.read_bytes() for file in tmp_path.rglob("*.gradient_health"))
    assert b"tf.norm(h" not in raw


@pytest.mark.parametrize("options", [{"explain": False}, {"explain_bytes": 0}])
def test_it_can_be_switched_off(tmp_path: pathlib.Path, options: dict[str, Any]) -> None:
    flags = fitted(tmp_path, normalised, **options)
    assert flags and all(flag.origin is None for flag in flags)


def test_a_step_that_is_too_large_to_be_repeated_is_still_read(tmp_path: pathlib.Path) -> None:
    flags = fitted(tmp_path, chosen, explain_bytes=0)
    assert origin_of(flags, "disconnected_gradient").operation == "ArgMax"


def test_a_wrong_option_is_an_error_that_names_the_right_ones(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match='True, False or "lines"'):
        tbg.GradientHealth(tmp_path, explain="no")
    with pytest.raises(TypeError, match="number of bytes"):
        tbg.GradientHealth(tmp_path, explain_bytes="2 GB")


def test_a_repetition_that_fails_says_so_in_one_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no way")

    monkeypatch.setattr(explainer, "of_nonfinite", fail)
    flags = fitted(tmp_path, normalised)
    assert flags and all(flag.origin is None for flag in flags)
    [line] = [r.getMessage() for r in caplog.records if "no way" in r.getMessage()]
    assert "the origins of flags" in line and "\n" not in line


@pytest.mark.parametrize("limit", [0, 100, 2**31])
def test_nothing_is_kept_above_the_bound(limit: int) -> None:
    """A batch of 192 bytes, weights of 64; the batch goes once the step was repeated."""
    keeper, weights = Keeper(limit), tf.Variable(tf.ones([4, 4]))
    kept: list[Any] = []

    @tf.function
    def step(x: Any) -> Any:
        gradient = weights * x[:4, :4] / 0.0
        traced = trace([gradient], [weights], ["w"], None, frozenset())
        assert traced is not None
        kept.append((traced, keeper.nonfinite_branch(traced)))
        kept[-1][1](tf.constant(True))
        return gradient

    step.get_concrete_function(tf.TensorSpec([6, 8]))
    keeper.snapshot([kept[-1][0]], 1)
    step(tf.ones([6, 8]))
    assert (keeper.batch() is not None) == (limit >= 192)
    assert bool(keeper.weights(1)[0]) == (limit >= 64)
    keeper.repeated(broke=True)
    step(tf.ones([6, 8]))
    assert keeper.batch() is None


def test_a_run_is_asked_for_a_few_origins_and_for_each_flag_once() -> None:
    searched: list[Flag] = []
    asked = Explainer(True, 0, lambda *_: None, lambda *_: None)
    asked._steps[frozenset()] = object()  # type: ignore[assignment]
    asked._origin = lambda flag: searched.append(flag)  # type: ignore[assignment, method-assign]
    flags = [
        Flag("nonfinite_gradient", Severity.CRITICAL, ("w",), step, step, True, "NaN")
        for step in range(20)
    ]
    asked.ask(flags)
    asked.ask(flags)
    asked.finish(flags)
    assert [flag.first_step for flag in searched] == list(range(ANSWERS))


def test_side_effects_are_not_repeated(tmp_path: pathlib.Path) -> None:
    calls = []

    def noisy(h: Any) -> Any:
        doubled = tf.numpy_function(lambda v: calls.append(1) or v, [h], tf.float32)
        h = h + tf.stop_gradient(tf.reshape(doubled, tf.shape(h)))
        return h / tf.norm(h, axis=-1, keepdims=True)

    fitted(tmp_path, noisy)
    assert len(calls) == STEPS


# --- Lines --------------------------------------------------------------------------------


def test_lines_of_libraries_are_not_the_users() -> None:
    assert all(is_library(module.__file__) for module in (tf, keras, tbg, inspect))
    assert not is_library(__file__)
    assert not is_library(np.__file__), "a package of somebody else counts as the user's"


def test_a_layer_of_keras_in_a_sequential_model_has_no_line() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="inner")])
    traced = tf.function(lambda x: model(x)).get_concrete_function(tf.ones([1, 3]))
    [product] = [op for op in traced.graph.get_operations() if op.type == "MatMul"]
    assert place_of(product).file == ""
    assert place_of(product).function


def test_an_array_is_described_without_its_values() -> None:
    array = np.array([[0.0, 1.5, np.nan], [np.inf, -2.0, 0.0]], np.float32)
    assert described(array) == "float32 [2, 3]: -2 to 1.5, 2 zeros, 1 NaN, 1 Inf"
    assert described(np.zeros(3, np.int64)) == "int64 [3]"


def gelu_of_large_numbers(approximate: bool) -> Any:
    def function(x: Any) -> Any:
        return keras.activations.gelu(1000 * x, approximate=approximate) / 1000

    return function


@pytest.fixture
def float16() -> Iterator[None]:
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_a_loss_scale_that_falls_for_ever_has_the_operation_whose_slope_no_scale_saves(
    float16: None, tmp_path: pathlib.Path
) -> None:
    """The loss is finite in every step; the slope of the cube leaves the range of float16."""
    [flag, *others] = fitted(tmp_path, gelu_of_large_numbers(True), epochs=4)

    assert flag.rule == "loss_scale_collapse"
    assert all(other.follows for other in others)
    assert flag.origin is not None
    assert flag.origin.code == inspect.getsource(gelu_of_large_numbers).splitlines()[2].strip()
    assert (flag.origin.operation, flag.origin.phase) == ("Pow", "backward")
    assert flag.causes[0].id == "numeric_overflow"
    assert "exact GELU" in flag.fixes[0]


@pytest.mark.long
def test_the_exact_one_trains(float16: None, tmp_path: pathlib.Path) -> None:
    flags = fitted(tmp_path, gelu_of_large_numbers(False), epochs=4)

    assert not any(flag.rule == "loss_scale_collapse" for flag in flags)
