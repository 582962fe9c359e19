"""Every entry of the table of operations, run: it loses the gradient as it is said to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_gradients.judging.operations import NONE, NONFINITE, ZERO, known

Case = tuple[Callable[[Any], Any], Any]
"""A function of x, and x; a matrix is the diagonal one of x."""

raw = tf.raw_ops
X = [0.3, -0.7, 2.0]

CUTS: dict[str, Case] = {
    "StopGradient": (tf.stop_gradient, X),
    "ArgMax": (lambda x: tf.argmax(x), X),
    "ArgMin": (lambda x: tf.argmin(x), X),
    "TopKV2": (lambda x: tf.math.top_k(x).indices, X),
    "InTopKV2": (lambda x: tf.math.in_top_k([1], x[None], 1), X),
    "Multinomial": (lambda x: tf.random.categorical(x[None], 1), X),
    "Round": (tf.round, X),
    "Rint": (tf.math.rint, X),
    "Floor": (tf.floor, X),
    "Ceil": (tf.math.ceil, X),
    "FloorDiv": (lambda x: x // 0.5, X),
    "Less": (lambda x: x < 1.0, X),
    "LessEqual": (lambda x: x <= 1.0, X),
    "Greater": (lambda x: x > 1.0, X),
    "GreaterEqual": (lambda x: x >= 1.0, X),
    "Equal": (lambda x: tf.equal(x, 2.0), X),
    "NotEqual": (lambda x: tf.not_equal(x, 2.0), X),
    "ApproximateEqual": (lambda x: raw.ApproximateEqual(x=x, y=2 * x), X),
    "LogicalAnd": (lambda x: tf.logical_and(x > 0, x < 1), X),
    "LogicalOr": (lambda x: tf.logical_or(x > 0, x < 1), X),
    "LogicalNot": (lambda x: tf.logical_not(x > 0), X),
    "Where": (lambda x: tf.where(x), X),
    "Cast": (lambda x: tf.cast(x, tf.int32), X),
    "Bitcast": (lambda x: tf.bitcast(x, tf.int32), X),
    "Bucketize": (lambda x: raw.Bucketize(input=x, boundaries=[0.0, 1.0]), X),
    "LowerBound": (lambda x: tf.searchsorted([0.0, 1.0], x), X),
    "UpperBound": (lambda x: tf.searchsorted([0.0, 1.0], x, side="right"), X),
    "OneHot": (lambda x: tf.one_hot(tf.cast(x, tf.int32), 3), X),
    "PyFunc": (lambda x: tf.numpy_function(np.sin, [x], tf.float32), X),
    "PyFuncStateless": (lambda x: tf.numpy_function(np.sin, [x], tf.float32, stateful=False), X),
    "UniqueV2": (lambda x: raw.UniqueV2(x=x, axis=tf.zeros([0], tf.int32)).idx, X),
    "Unique": (lambda x: tf.unique(x).idx, X),
}

BREAKS: dict[str, Case] = {
    "RealDiv": (lambda x: x / x, [0.0, 1.0]),
    "Div": (lambda x: raw.Div(x=x, y=x), [0.0, 1.0]),
    "Reciprocal": (tf.math.reciprocal, [0.0, 1.0]),
    "Xdivy": (lambda x: tf.math.xdivy(1.0 + x, x), [0.0, 1.0]),
    "FloorMod": (lambda x: tf.math.floormod(x, x), [0.0, 1.0]),
    "Sqrt": (tf.sqrt, [0.0, 1.0]),
    "Rsqrt": (tf.math.rsqrt, [0.0, 1.0]),
    "EuclideanNorm": (tf.math.reduce_euclidean_norm, [0.0, 0.0]),
    "Log": (tf.math.log, [0.0, 1.0]),
    "Xlogy": (lambda x: tf.math.xlogy(1.0 + x, x), [0.0, 1.0]),
    "Log1p": (tf.math.log1p, [-1.0, 1.0]),
    "Xlog1py": (lambda x: tf.math.xlog1py(2.0 + x, x), [-1.0, 1.0]),
    "Exp": (tf.exp, [1000.0, 1.0]),
    "Expm1": (tf.math.expm1, [1000.0, 1.0]),
    "Sinh": (tf.sinh, [1000.0, 1.0]),
    "Cosh": (tf.cosh, [1000.0, 1.0]),
    "Pow": (lambda x: x**0.5, [0.0, 1.0]),
    "Softmax": (tf.nn.softmax, [-np.inf, -np.inf]),
    "LogSoftmax": (tf.nn.log_softmax, [-np.inf, -np.inf]),
    "Acos": (tf.acos, [1.0, 0.0]),
    "Asin": (tf.asin, [1.0, 0.0]),
    "Acosh": (tf.acosh, [1.0, 2.0]),
    "Atanh": (tf.atanh, [1.0, 0.0]),
    "Erfinv": (tf.math.erfinv, [1.0, 0.0]),
    "Ndtri": (tf.math.ndtri, [1.0, 0.5]),
    "Atan2": (lambda x: tf.atan2(x, x), [0.0, 1.0]),
    "Qr": (lambda x: tf.linalg.qr(tf.linalg.diag(x))[0], [0.0, 1.0]),
    "Cholesky": (lambda x: tf.linalg.cholesky(tf.linalg.diag(x)), [-1.0, 1.0]),
    "MatrixDeterminant": (lambda x: tf.linalg.det(tf.linalg.diag(x)), [1e30, 1e30]),
    "Lgamma": (tf.math.lgamma, [0.0, 1.0]),
    "Digamma": (tf.math.digamma, [0.0, 1.0]),
    "Cumprod": (tf.math.cumprod, [1e30, 1e30]),
    "Prod": (tf.reduce_prod, [1e30, 1e30]),
}

RAISES: dict[str, Case] = {
    "LogMatrixDeterminant": (lambda x: tf.linalg.slogdet(tf.linalg.diag(x))[1], [0.0, 1.0]),
    "MatrixInverse": (lambda x: tf.linalg.inv(tf.linalg.diag(x)), [0.0, 1.0]),
    "MatrixSolve": (lambda x: tf.linalg.solve(tf.linalg.diag(x), x[:, None]), [0.0, 1.0]),
    "CheckNumerics": (lambda x: tf.debugging.check_numerics(x, "x"), [np.nan, 1.0]),
}
"""On a CPU these end the program; on a GPU, or under XLA, they give NaN."""

ZEROS: dict[str, Case] = {
    "Relu": (tf.nn.relu, [-1.0, -2.0]),
    "Relu6": (tf.nn.relu6, [-1.0, 7.0]),
    "Sigmoid": (tf.sigmoid, [200.0, 300.0]),
    "Tanh": (tf.tanh, [200.0, 300.0]),
    "Softmax": (lambda x: tf.nn.softmax(x)[0], [500.0, -500.0]),
    "LogSoftmax": (lambda x: tf.nn.log_softmax(x)[0], [500.0, -500.0]),
    "Erf": (tf.math.erf, [200.0, 300.0]),
    "ClipByValue": (lambda x: raw.ClipByValue(t=x, clip_value_min=0.0, clip_value_max=1.0), [5.0]),
    "Minimum": (lambda x: tf.minimum(x, 1.0), [5.0, 6.0]),
    "Maximum": (lambda x: tf.maximum(x, 9.0), [5.0, 6.0]),
    "Sign": (tf.sign, [1.0, -1.0]),
    "Mul": (lambda x: x * tf.zeros_like(x), [1.0, 2.0]),
    "SelectV2": (lambda x: tf.where(x > 9.0, x, 1.0), [1.0, 2.0]),
    "Select": (lambda x: raw.Select(condition=x > 9.0, x=x, y=x * 0.0 + 1.0), [1.0, 2.0]),
}


def run(case: Case) -> tuple[set[str], Any, Any]:
    """The operations of the forward pass, its result, and its gradient."""
    function, values = case
    x = tf.constant(values, tf.float32)

    @tf.function(autograph=False)
    def step(x: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = function(x)
        gradient = None if not result.dtype.is_floating else tape.gradient(result, x)
        return result, gradient

    traced = step.get_concrete_function(x)
    types = {operation.type for operation in traced.graph.get_operations()}
    result, gradient = traced(x)
    return types, result, gradient


@pytest.mark.parametrize("operation", CUTS)
def test_it_has_no_gradient(operation: str) -> None:
    types, _, gradient = run(CUTS[operation])
    assert operation in types
    assert gradient is None


@pytest.mark.parametrize("operation", BREAKS)
def test_result_or_gradient_is_not_finite(operation: str) -> None:
    types, result, gradient = run(BREAKS[operation])
    assert operation in types
    assert not (np.isfinite(result).all() and np.isfinite(gradient).all())


@pytest.mark.parametrize("operation", RAISES)
def test_it_ends_the_program_on_a_cpu(operation: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(RAISES[operation])


@pytest.mark.parametrize("operation", ZEROS)
def test_its_gradient_is_zero(operation: str) -> None:
    types, result, gradient = run(ZEROS[operation])
    assert operation in types
    assert np.isfinite(result).all()
    assert np.count_nonzero(gradient) == 0


def test_the_whole_table_is_run() -> None:
    unread = {"", "ReadVariableOp", "ResourceGather", "AssignVariableOp"}
    assert set(known(NONE)) - unread == set(CUTS)
    assert set(known(NONFINITE)) == {*BREAKS, *RAISES}
    assert set(known(ZERO)) == set(ZEROS)
