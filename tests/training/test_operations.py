"""Every entry of the table of operations, run: it loses the gradient as it is said to."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_gradients.judging.operations import (
    FADES,
    GROWS,
    NONE,
    NONFINITE,
    UNITS,
    ZERO,
    known,
    remedy,
)

Case = tuple[Callable[[Any], Any], Any]
"""A function of x, and x; a matrix is the diagonal one of x."""

raw = tf.raw_ops
X = [0.3, -0.7, 2.0]


def _own(gradient: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The identity, with a gradient of its own."""
    return tf.custom_gradient(lambda x: (tf.identity(x), gradient))


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
    "IdentityN": (_own(lambda dy: None), X),
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
    "IdentityN": (_own(lambda dy: dy / 0.0), [1.0, 2.0]),
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
    "IdentityN": (_own(tf.zeros_like), [1.0, 2.0]),
    "Mul": (lambda x: x * tf.zeros_like(x), [1.0, 2.0]),
    "SelectV2": (lambda x: tf.where(x > 9.0, x, 1.0), [1.0, 2.0]),
    "Select": (lambda x: raw.Select(condition=x > 9.0, x=x, y=x * 0.0 + 1.0), [1.0, 2.0]),
}


_COLUMN = tf.constant([[1.0], [1.0], [1.0]])

SMALL: dict[str, Case] = {
    "Sigmoid": (tf.sigmoid, [9.0]),
    "Tanh": (tf.tanh, [9.0]),
    "Softmax": (lambda x: tf.nn.softmax(x)[0], [9.0, 0.0]),
    "LogSoftmax": (lambda x: tf.nn.log_softmax(x)[0], [9.0, 0.0]),
    "Erf": (tf.math.erf, [4.0]),
    "Softsign": (tf.nn.softsign, [99.0]),
    "ClipByValue": (lambda x: raw.ClipByValue(t=x, clip_value_min=0.0, clip_value_max=1.0), [5.0]),
    "Minimum": (lambda x: tf.minimum(x, 1.0), [5.0]),
    "Maximum": (lambda x: tf.maximum(x, 9.0), [5.0]),
    "Mul": (lambda x: x * 1e-4, X),
    "RealDiv": (lambda x: x / 1e4, X),
    "Div": (lambda x: raw.Div(x=x, y=[1e4]), X),
    "DivNoNan": (lambda x: tf.math.divide_no_nan(x, 1e4), X),
    "MatMul": (lambda x: x[None] @ (1e-4 * _COLUMN), X),
    "BatchMatMulV2": (lambda x: x[None, None] @ (1e-4 * _COLUMN[None]), X),
    "Einsum": (lambda x: tf.einsum("i,ij->j", x, 1e-4 * _COLUMN), X),
    "Conv2D": (lambda x: tf.nn.conv2d(x[None, :, None, None], [[[[1e-4]]]], 1, "VALID"), X),
    "Conv3D": (
        lambda x: tf.nn.conv3d(x[None, :, None, None, None], [[[[[1e-4]]]]], [1] * 5, "VALID"),
        X,
    ),
    "Pow": (lambda x: x**4.0, [0.01]),
    "Square": (tf.square, [1e-3]),
    "Exp": (tf.exp, [-9.0]),
    "Log": (tf.math.log, [1e4]),
    "Log1p": (tf.math.log1p, [1e4]),
    "Reciprocal": (tf.math.reciprocal, [1e2]),
    "Sqrt": (tf.sqrt, [1e6]),
}

LARGE: dict[str, Case] = {
    **{
        name: (lambda x, f=SMALL[name][0]: 1e8 * f(x), X)
        for name in ("Mul", "RealDiv", "Div", "DivNoNan", "MatMul", "BatchMatMulV2", "Einsum")
    },
    "Conv2D": (lambda x: tf.nn.conv2d(x[None, :, None, None], [[[[1e4]]]], 1, "VALID"), X),
    "Conv3D": (
        lambda x: tf.nn.conv3d(x[None, :, None, None, None], [[[[[1e4]]]]], [1] * 5, "VALID"),
        X,
    ),
    "Reciprocal": (tf.math.reciprocal, [1e-2]),
    "Sqrt": (tf.sqrt, [1e-8]),
    "Rsqrt": (tf.math.rsqrt, [1e-4]),
    "Log": (tf.math.log, [1e-4]),
    "Pow": (lambda x: x**0.1, [1e-5]),
    "Acos": (tf.acos, [1.0 - 1e-7]),
    "Asin": (tf.asin, [1.0 - 1e-7]),
    "Atanh": (tf.atanh, [1.0 - 1e-7]),
    "Svd": (
        lambda x: tf.linalg.svd(tf.linalg.diag([1.0, 1.0001]) + [[0.0, 1.0], [0.0, 0.0]] * x)[1][0],
        [0.0],
    ),
    "SelfAdjointEigV2": (
        lambda x: tf.linalg.eigh(tf.linalg.diag([1.0, 1.0001]) + x)[1][0, 1],
        [0.0],
    ),
    "Exp": (tf.exp, [9.0]),
    "Expm1": (tf.math.expm1, [9.0]),
    "Sinh": (tf.sinh, [9.0]),
    "Cosh": (tf.cosh, [9.0]),
    "Square": (tf.square, [1e4]),
    "Cumprod": (tf.math.cumprod, [1e2, 1e2, 1e2]),
    "Prod": (tf.reduce_prod, [1e2, 1e2, 1e2]),
}

OF_LAYERS = {"Conv1D", "BiasAdd"}
"""Conv1D is a Conv2D in the graph; the bias of a layer is not looked at alone."""


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


def _masked(x: Any) -> Any:
    return tf.nn.softmax(tf.where([False, False], x, -np.inf))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any, str, str]] = {
    "tf.norm": (tf.norm, [0.0, 0.0], NONFINITE, "Sqrt"),
    "tf.math.reduce_std": (tf.math.reduce_std, [1.0, 1.0], NONFINITE, "Sqrt"),
    "tf.math.l2_normalize": (tf.math.l2_normalize, [0.0, 0.0], GROWS, "Rsqrt"),
    "tf.math.l2_normalize without epsilon": (
        lambda x: tf.math.l2_normalize(x, epsilon=0.0),
        [0.0, 0.0],
        NONFINITE,
        "Rsqrt",
    ),
    "tf.where as a trap": (
        lambda x: tf.where(x > 0.0, tf.math.log(x), 0.0 * x),
        [0.0, 1.0],
        NONFINITE,
        "Log",
    ),
    "softmax of fully masked rows": (_masked, [1.0, 2.0], NONFINITE, "Softmax"),
    "tf.clip_by_value": (lambda x: tf.clip_by_value(x, 0.0, 1.0), [5.0, 6.0], ZERO, "Minimum"),
    "tf.searchsorted": (lambda x: tf.searchsorted([0.0, 1.0], x), X, NONE, "LowerBound"),
    "tf.gather with float indices": (
        lambda x: tf.gather(tf.range(5.0), tf.cast(x, tf.int32)),
        [0.0, 1.0],
        NONE,
        "Cast",
    ),
    "tf.numpy_function": (lambda x: tf.numpy_function(np.sin, [x], tf.float32), X, NONE, "PyFunc"),
}
"""Functions by which users know the operations -> function, x, how the gradient is lost, where."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_several_operations_lose_it_in_one_of_the_table(name: str) -> None:
    function, x, lost, operation = FUNCTIONS[name]
    types, result, gradient = run((function, x))
    assert operation in types and operation in known(lost)
    if lost == NONE:
        assert gradient is None
    elif lost == NONFINITE:
        assert not (np.isfinite(result).all() and np.isfinite(gradient).all())
    elif lost == ZERO:
        assert np.count_nonzero(gradient) == 0
    else:
        assert 50 < np.abs(gradient).max() < np.inf


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


@pytest.mark.parametrize("operation", SMALL)
def test_its_gradient_is_small(operation: str) -> None:
    types, _, gradient = run(SMALL[operation])
    assert operation in types
    assert np.abs(gradient).max() < 0.01


@pytest.mark.parametrize("operation", LARGE)
def test_its_gradient_is_large(operation: str) -> None:
    types, _, gradient = run(LARGE[operation])
    assert operation in types
    assert 50 < np.abs(gradient).max() < np.inf


def test_the_whole_table_is_run() -> None:
    unread = {"", "ReadVariableOp", "ResourceGather", "AssignVariableOp"}
    assert set(known(NONE)) - unread == set(CUTS)
    assert set(known(NONFINITE)) == {*BREAKS, *RAISES}
    assert set(known(ZERO)) == set(ZEROS)
    assert set(known(FADES)) - OF_LAYERS == set(SMALL)
    assert set(known(GROWS)) - OF_LAYERS == set(LARGE)
    assert set(known(UNITS)) == {*known(FADES), *known(ZERO)}


VALUES: dict[str, Any] = {
    "x": [0.0, 1.0, 0.3],  # 0 and 1 are where most of them break
    "y": [0.0, 2.0, 1.0],
    "logits": [[-1.0, 3.0, 0.5], [0.0, 0.0, 0.0]],
    "table": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "probabilities": [[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]],
    "soft": [0.2, 0.5, 0.3],
}
"""What the names in the fixes are; each is differentiated."""

GIVEN: dict[str, Any] = {
    "tf": tf,
    "f": tf.sqrt,
    "n": 3,
    "p": 0.5,
    "temperature": 0.5,
    "steepness": 5.0,
    "limit": 0.5,
    "step": 1.0,
    "hard": tf.constant([0.0, 1.0, 0.0]),
    "mask": tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
    "both_zero": tf.constant([True, False, False]),
    "i": tf.constant([0, 1]),
    "w": tf.constant([0.2, 0.7]),
    "edges": tf.constant([0.0, 1.0, 2.0]),
}

TO_BE_REPLACED = {"call()", "tf.norm(x)", "tf.argmax(logits)"}

OF_A_MATRIX = {"tf.linalg.matvec(table, tf.nn.softmax(logits), transpose_a=True)": {"logits": X}}


def advised() -> list[str]:
    """The expressions that the fixes of the table advise, each once."""
    kinds = (NONE, NONFINITE, ZERO, FADES, GROWS, UNITS)
    fixes = [remedy(name, lost).fix for lost in kinds for name in known(lost)]  # type: ignore[union-attr]
    codes = dict.fromkeys(code for fix in fixes for code in re.findall(r"`([^`]+)`", fix))
    found = []
    for code in codes:
        with contextlib.suppress(SyntaxError):  # an assignment, a setting
            nodes = list(ast.walk(ast.parse(code, mode="eval")))
            if any(isinstance(node, (ast.Call, ast.BinOp)) for node in nodes):
                found.append(code)
    return [code for code in found if code not in TO_BE_REPLACED]


@pytest.mark.parametrize("code", advised())
def test_what_is_advised_runs_and_has_a_finite_gradient(code: str) -> None:
    values = {**VALUES, **OF_A_MATRIX.get(code, {})}
    variables = {name: tf.Variable(value) for name, value in values.items()}
    with tf.GradientTape() as tape:
        result = eval(code, {**GIVEN, **variables})
    gradients = [g for g in tape.gradient(result, list(variables.values())) if g is not None]
    assert np.isfinite(result).all()
    assert gradients
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


def test_enough_is_advised_as_code() -> None:
    assert len(advised()) > 25
