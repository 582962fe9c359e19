"""The origin is found in what a step calls: loops, own gradients, functions."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Origin

X = np.concatenate([np.random.default_rng(0).normal(size=(3, 4)), np.zeros((1, 4))]).astype("f")


def explained(function: Callable[[Any], Any], folder: pathlib.Path) -> tuple[str, Origin | None]:
    """How the gradient of a kernel before a function is lost, and where."""
    kernel = tf.Variable(tf.ones([4, 4]), name="kernel")
    bias = tf.Variable(tf.ones([4]), name="bias")

    def step(x: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(function(x @ kernel) + bias)
        gradients = tape.gradient(loss, [kernel, bias])
        with monitor.observe(gradients, [kernel, bias]):
            kernel.assign_sub(tf.zeros_like(kernel))

    with tbg.GradientMonitor(folder, variables=[kernel, bias], verbose=0) as monitor:
        found = monitor.explain(step, X)
    return found.lost.get("kernel", ""), found.get("kernel")


def few(i: Any, _: Any) -> Any:
    return i < 2


def looped_roots(h: Any) -> Any:
    return tf.while_loop(few, lambda i, s: (i + 1, tf.sqrt(s)), (0, tf.abs(h)))[1]


def scanned(h: Any) -> Any:
    return tf.scan(lambda s, row: s + row / tf.norm(row), h, tf.zeros([4]))


@tf.custom_gradient
def divided(x: Any) -> Any:
    return tf.identity(x), lambda dy: dy / tf.reduce_sum(tf.abs(x), axis=-1, keepdims=True)


def own(h: Any) -> Any:
    return divided(h)


@tf.custom_gradient
def silent(x: Any) -> Any:
    return tf.identity(x), tf.zeros_like


def own_zero(h: Any) -> Any:
    return silent(h)


@tf.function
def rounded(x: Any) -> Any:
    return tf.round(x)


@tf.function
def outer(x: Any) -> Any:
    return rounded(x) * 2.0


def nested(h: Any) -> Any:
    return outer(h)


def low(h: Any) -> Any:
    """True, which no graph knows."""
    return tf.reduce_sum(h) < 1e9


def branch(h: Any) -> Any:
    return tf.cond(low(h), lambda: tf.math.log(tf.abs(h)), lambda: tf.round(h))


def branch_within(h: Any) -> Any:
    def inner() -> Any:
        return tf.cond(low(-h), lambda: tf.sqrt(tf.abs(h)), lambda: h)

    return tf.cond(low(h), inner, lambda: h)


def case(h: Any) -> Any:
    return tf.switch_case(tf.cast(low(h), tf.int32), [lambda: h, lambda: tf.abs(h) ** 0.25])


@tf.function
def chosen(h: Any) -> Any:
    if low(h):
        y = tf.abs(h)
        y = tf.math.log(y)
    else:
        y = h
    return y


def rounded_branch(h: Any) -> Any:
    return tf.cond(low(h), lambda: tf.round(h), lambda: tf.round(h) + 1.0)


def switched_off(h: Any) -> Any:
    return tf.cond(low(h), lambda: tf.nn.relu(-1.0 - tf.abs(h)), lambda: h)


def guarded(h: Any) -> Any:
    """Of the other side nothing is run."""
    python = lambda: tf.numpy_function(lambda v: v, [h], tf.float32)  # noqa: E731
    return tf.cond(low(h), lambda: tf.sqrt(tf.abs(h)), python)


@pytest.mark.parametrize(
    ("function", "lost", "operations", "named"),
    [
        (looped_roots, "nonfinite", {"While", "StatelessWhile"}, looped_roots),
        (scanned, "nonfinite", {"While", "StatelessWhile"}, scanned),
        (own, "nonfinite", {"IdentityN"}, own),
        (own_zero, "zero", {"IdentityN"}, own_zero),
        (nested, "none", {"Round"}, rounded),
        (branch, "nonfinite", {"Log"}, branch),
        (branch_within, "nonfinite", {"Sqrt"}, branch_within),
        (case, "nonfinite", {"Pow"}, case),
        (chosen, "nonfinite", {"Log"}, chosen),
        (rounded_branch, "none", {"Round"}, rounded_branch),
        (switched_off, "zero", {"Relu"}, switched_off),
        (guarded, "nonfinite", {"Sqrt"}, guarded),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_call_or_what_it_calls_is_named(
    tmp_path: pathlib.Path, function: Any, lost: str, operations: set[str], named: Any
) -> None:
    how, origin = explained(function, tmp_path)
    assert how == lost
    assert origin is not None and origin.operation in operations
    code = getattr(named, "python_function", named).__code__
    assert pathlib.Path(origin.file).name == pathlib.Path(__file__).name
    assert code.co_firstlineno < origin.line <= max(line or 0 for *_, line in code.co_lines())


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_nothing_is_lost_in_a_side_that_is_not_taken(tmp_path: pathlib.Path, xla: bool) -> None:
    @tf.function(jit_compile=xla)
    def function(h: Any) -> Any:
        return tf.cond(low(h), lambda: 2.0 * h, lambda: tf.round(tf.math.log(tf.abs(h))))

    assert explained(function, tmp_path) == ("", None)


def test_gradients_that_a_library_defines_itself_are_made_again(tmp_path: pathlib.Path) -> None:
    """``tf.nn.silu`` has one; without it nothing before such a layer would be looked at."""

    def function(h: Any) -> Any:
        return tf.nn.silu(tf.sqrt(h))

    how, origin = explained(function, tmp_path)
    assert how == "nonfinite" and origin is not None
    assert origin.operation == "Sqrt"
