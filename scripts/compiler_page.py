"""Write docs/guide/nan.md: which operations give NaN, in a graph and under XLA.

    python scripts/compiler_page.py

Every row is run with the TensorFlow and Keras that are installed: once eagerly, once in a
``tf.function`` and once in one compiled by XLA, in float32, float16 and bfloat16, on the CPU.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "nan.md"

MODES = ("eager", "graph", "XLA")
DTYPES = ("float32", "float16", "bfloat16")
NAN, INF = math.nan, math.inf


@dataclasses.dataclass(frozen=True)
class Case:
    """One operation at one input.

    Attributes:
        code: the operation of ``x``, as it is written in a program; it is what is run.
        x: its input.
        instead: what to write instead.
        upstream: the gradient that arrives at the result: 0 where the result is not used by
            the loss, as behind a mask.
    """

    code: str
    x: tuple[float, ...]
    instead: str
    upstream: float = 1.0


@dataclasses.dataclass(frozen=True)
class Group:
    """Cases that go wrong in one way."""

    title: str
    text: str
    cases: tuple[Case, ...]


SAFE_NORM = "`tf.sqrt(tf.reduce_sum(x * x) + 1e-12)`"
SAFE_X = "Make the input safe first: `safe = tf.where(x > 0, x, 1.0)`, then `tf.where(x > 0, f(safe), 0.0)`."

GROUPS = (
    Group(
        "An infinite slope that nothing uses",
        "The slope of these operations is infinite at 0. Where the loss does not use the result, the "
        "gradient that arrives is exactly 0. TensorFlow's gradient functions of `sqrt`, `rsqrt` and "
        "`reciprocal` then return 0. XLA computes 0 × ∞, which is NaN. The operators `/` and `**` "
        "and `tf.math.log` give NaN in both.",
        (
            Case("tf.sqrt(x)", (0.0, 1.0), "`tf.sqrt(x + 1e-12)`", 0.0),
            Case("tf.math.rsqrt(x)", (0.0, 1.0), "`tf.math.rsqrt(x + 1e-12)`", 0.0),
            Case("tf.math.reciprocal(x)", (0.0, 1.0), "`tf.math.divide_no_nan(1.0, x)`", 0.0),
            Case("1 / x", (0.0, 1.0), "`tf.math.divide_no_nan(1.0, x)`", 0.0),
            Case("x ** 0.5", (0.0, 1.0), "`tf.sqrt(x + 1e-12)`", 0.0),
            Case("tf.math.log(x)", (0.0, 1.0), "`tf.math.log(x + 1e-7)`", 0.0),
            Case("tf.norm(x)", (0.0, 0.0), SAFE_NORM, 0.0),
        ),
    ),
    Group(
        "The branch that `tf.where` does not take",
        "`tf.where` computes both branches. The gradient of the branch that was not taken is "
        "multiplied by 0. Whether that is NaN depends on the operation, and on the compiler.",
        (
            Case("tf.where(x > 0, tf.sqrt(x), 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x > 0, tf.math.rsqrt(x), 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x > 0, tf.math.reciprocal(x), 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x > 0, 1 / x, 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x > 0, x ** 0.5, 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x > 0, tf.math.log(x), 0 * x)", (0.0, -1.0, 1.0), SAFE_X),
            Case("tf.where(x < 10, tf.exp(x), x)", (1000.0, 1.0), "`tf.exp(tf.minimum(x, 10.0))`"),
        ),
    ),
    Group(
        "Norms and spreads of nothing",
        "A norm has no slope at zero, and a standard deviation has none where all values are equal: "
        "blank rows, padding, constant columns, batches of one.",
        (
            Case("tf.norm(x)", (0.0, 0.0), SAFE_NORM),
            Case(
                "tf.math.reduce_std(x)",
                (0.1, 0.1, 0.1, 0.1, 0.1),
                "`tf.sqrt(tf.math.reduce_variance(x) + 1e-12)`",
            ),
            Case(
                "tf.math.reduce_std(x)", (0.0, 0.0), "`tf.sqrt(tf.math.reduce_variance(x) + 1e-12)`"
            ),
            Case("tf.math.reduce_euclidean_norm(x)", (0.0, 0.0), SAFE_NORM),
            Case(
                "tf.math.l2_normalize(x)",
                (0.0, 0.0),
                "`x / tf.maximum(tf.norm(x), 1e-3)` behind a mask of the blank rows",
            ),
            Case("keras.ops.normalize(x[None])", (0.0, 0.0), "mask blank rows before"),
            Case("keras.layers.UnitNormalization()(x[None])", (0.0, 0.0), "mask blank rows before"),
            Case(
                "keras.losses.cosine_similarity(tf.ones_like(x), x)",
                (0.0, 0.0),
                "mask blank rows before",
            ),
            Case(
                "tf.clip_by_global_norm([x], 1.0)[0][0]",
                (0.0, 0.0),
                "differentiate before the gradients are clipped",
            ),
        ),
    ),
    Group(
        "Where a NaN disappears",
        "A NaN in the data does not always reach the loss. Then the loss is finite, and the gradient "
        "is not, or is that of another element.",
        (
            Case(
                "tf.reduce_max(x)", (1.0, NAN, 0.0), "check the data: `tf.debugging.check_numerics`"
            ),
            Case(
                "keras.layers.GlobalMaxPooling1D()(x[None, :, None])",
                (1.0, NAN, 0.0),
                "check the data",
            ),
            Case(
                'tf.nn.max_pool1d(x[None, :, None], 3, 3, "VALID")',
                (1.0, NAN, 0.0),
                "check the data",
            ),
            Case("tf.maximum(x, 0.0)", (NAN, 2.0), "check the data"),
            Case("tf.nn.relu(x)", (NAN, 1.0), "check the data"),
            Case("tf.clip_by_value(x, 0.0, 1.0)", (NAN, 0.5), "check the data"),
            Case(
                "tf.math.multiply_no_nan(x, tf.zeros_like(x))",
                (INF, 1.0),
                "intended: it is what the function is for",
            ),
        ),
    ),
    Group(
        "Masks of minus infinity",
        "A softmax over nothing but masked entries is 0 / 0. A cross-entropy multiplies the label 0 "
        "with a logarithm of -∞.",
        (
            Case(
                "tf.nn.softmax(x)",
                (-INF, -INF),
                "mask with `-1e9`, and mask the result of fully masked rows",
            ),
            Case("tf.reduce_logsumexp(x)", (-INF, -INF), "mask with `-1e9`"),
            Case("tf.math.cumulative_logsumexp(x)", (-INF, 0.0), "mask with `-1e9`"),
            Case(
                "tf.nn.softmax_cross_entropy_with_logits(labels=tf.constant([0.0, 1.0], x.dtype), logits=x)",
                (-INF, 0.0),
                "mask with `-1e9`",
            ),
            Case("tf.nn.silu(x)", (-INF, 0.0), "mask with `-1e9`"),
        ),
    ),
    Group(
        "Too large, too small",
        "The formula leaves the range of the dtype; the function that computes both steps at once "
        "does not.",
        (
            Case("tf.math.log(1 + tf.exp(x))", (1000.0, -1000.0), "`tf.nn.softplus(x)`"),
            Case("tf.math.log(tf.sigmoid(x))", (1000.0, -1000.0), "`tf.math.log_sigmoid(x)`"),
            Case("x * tf.math.log(x)", (0.0, 1.0), "`tf.math.xlogy(x, x)`"),
            Case("x / x", (0.0, 1.0), "`tf.math.divide_no_nan(x, x)`"),
            Case("tf.norm(x)", (1e30, 1e30), "scale first; the gradient is 0, not NaN"),
            Case("tf.nn.gelu(x, approximate=True)", (256.0, 1.0), "the exact one: `tf.nn.gelu(x)`"),
            Case(
                "keras.losses.binary_crossentropy(tf.ones_like(x), x)",
                (0.0, 1.0),
                "`from_logits=True`, and no sigmoid in the last layer",
            ),
        ),
    ),
    Group(
        "Corners of the domain",
        "At the ends of their domain these functions have an infinite slope, or none.",
        (
            Case("tf.acos(x)", (1.0, 0.0), "`tf.acos(tf.clip_by_value(x, -0.9999, 0.9999))`"),
            Case("tf.atan2(x, x)", (0.0, 1.0), "add a small number to one argument"),
            Case("tf.math.log1p(x)", (-1.0, 0.0), "`tf.math.log1p(tf.maximum(x, -0.9999))`"),
            Case("tf.pow(x, 0 * x)", (0.0, 1.0), "`tf.ones_like(x)` where the exponent is 0"),
            Case("tf.pow(x, 1.5)", (-1.0, 1.0), "`tf.sign(x) * tf.abs(x) ** 1.5`"),
        ),
    ),
    Group(
        "Finite, and not what the formula says",
        "No NaN, so nothing warns.",
        (
            Case("tf.nn.selu(x)", (0.0, 1.0), "nothing to change; the slope at exactly 0 differs"),
            Case(
                "tf.math.cumprod(x)",
                (2.0, 0.0, 3.0),
                "by hand the gradient is 1, 8, 0: use `tf.exp(tf.cumsum(tf.math.log(x)))` of positive numbers",
            ),
            Case("tf.reduce_prod(x)", (2.0, 0.0, 3.0), "nothing to change: 0, 6, 0 is right"),
            Case(
                "tf.clip_by_value(x, 0.0, 1.0)",
                (0.0, 1.0, 2.0),
                "nothing to change; the gradient passes at the bounds, and not beyond",
            ),
            Case(
                "keras.losses.binary_crossentropy(tf.zeros_like(x), x)",
                (3.0, -2.0),
                "outputs outside of 0 to 1 have no gradient: `from_logits=True`",
            ),
            Case(
                "keras.losses.mean_squared_logarithmic_error(tf.ones_like(x), x)",
                (-3.0, -2.0),
                "negative outputs have no gradient: end with `softplus`",
            ),
            Case("tf.gather(x, [5])", (1.0, 2.0), "check the indices: XLA reads the last element"),
            Case(
                "keras.losses.sparse_categorical_crossentropy(tf.constant([5]), tf.nn.softmax(x[None]))",
                (1.0, 0.0),
                "check the labels: as many outputs as classes",
            ),
        ),
    ),
)


HEAD = """<!-- Written by scripts/compiler_page.py, which runs every row. -->

# NaN: which operation, and which compiler

Keras compiles the training step with XLA where there is a GPU (`jit_compile="auto"`). The same line
of code can then give NaN in one place and not in the other. So a NaN that appears only on the GPU
need not be a fault of the GPU.

Each cell shows the result and then the gradient, `result; gradient`, with one number for each element
of `x`. "upstream 0" means that the loss does not use the result. Measured on the CPU with TensorFlow
{tensorflow} and Keras {keras}, in float32. The end of the page lists what differs in 16 bits.

To find the operation in your program: `tb-gradients check` names the first variable and step, and
`tf.debugging.enable_check_numerics()` the operation. The latter does not work under XLA.
"""

HALF = """## In 16 bits

Small constants are the usual reason: 1e-12 is 0 in float16, and 1 - 1e-7 is 1 in both dtypes. Listed
are the rows that are NaN, infinite, zero or an error where float32 is not, or the other way round.
"""

MANY = 70_000
SUMS = (
    (
        "tf.reduce_sum(x)",
        "the result is above 65504, the largest float16: `tf.cast(x, tf.float32)`",
    ),
    ("tf.reduce_mean(x)", "`tf.reduce_mean(tf.cast(x, tf.float32))`"),
    (
        "tf.raw_ops.BiasAddGrad(out_backprop=x[:, None])",
        "the gradient of each bias of a Dense or convolutional layer; keep these layers in float32 "
        "where the batch has many rows, steps or pixels",
    ),
    (
        "tf.math.unsorted_segment_sum(x, tf.zeros(tf.size(x), tf.int32), 1)",
        "the gradient of an embedding row that occurs often; keep embeddings in float32",
    ),
)
"""Operations of MANY ones, and what to write instead."""

SUMS_HEAD = """### Sums of {many} ones

A running sum in bfloat16 stops growing at 256, and in float16 at 2048: adding 1 is rounded away.
Which operations sum in float32, and round once at the end, depends on the operation and the compiler.
The count of the elements is a number of the same dtype, too, and infinite in float16.

| operation | float16, graph | float16, XLA | bfloat16, graph | bfloat16, XLA | write instead |
|---|---|---|---|---|---|
"""

COLUMNS = ("| operation | `x` | eager, graph | XLA | write instead |", "|---|---|---|---|---|")


def result(case: Case, mode: str, dtype: str) -> str:
    """What the operation and its gradient give, as the page shows it: ``value; gradient``."""
    operation = _compiled(case.code)

    def differentiated(x: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = operation(x)
        upstream = tf.cast(tf.fill(tf.shape(value), case.upstream), value.dtype)
        gradient = tape.gradient(value, x, output_gradients=upstream)
        return value, tf.convert_to_tensor(gradient)  # of a gather it is IndexedSlices

    function: Callable[[Any], tuple[Any, Any]] = differentiated
    if mode != "eager":
        function = tf.function(differentiated, jit_compile=mode == "XLA", autograph=False)
    try:
        value, gradient = function(tf.constant(case.x, dtype))
    except (tf.errors.OpError, TypeError, ValueError):
        return "an error"
    return f"{_numbers(value)}; {_numbers(gradient)}"


def _numbers(tensor: Any) -> str:
    values = np.asarray(tf.cast(tensor, tf.float32), np.float64).ravel()
    words = [_number(float(value)) for value in values]
    if len(words) > 1 and len(set(words)) == 1:
        return f"all {words[0]}"
    return ", ".join(words)


def _number(value: float) -> str:
    if math.isnan(value):
        return "**NaN**"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value + 0.0:.4g}" if abs(value) < 1e4 else f"{value:.1e}"  # no sign of zero


def _row(case: Case, dtype: str) -> tuple[str, ...]:
    return tuple(result(case, mode, dtype) for mode in MODES)


def _cells(row: Sequence[str]) -> str:
    eager, graph, xla = row
    plain = eager if eager == graph else f"eager {eager}; graph {graph}"
    return f"{plain} | {'the same' if xla == graph else xla}"


def rows(dtype: str) -> list[str]:
    """The rows of the tables, in a dtype."""
    return [_table_row(case, _row(case, dtype)) for group in GROUPS for case in group.cases]


def page() -> str:
    """The text of docs/guide/nan.md."""
    lines = [HEAD.format(tensorflow=tf.__version__, keras=keras.__version__)]
    half: dict[str, list[str]] = {dtype: [] for dtype in DTYPES[1:]}
    for group in GROUPS:
        lines += [f"## {group.title}", "", group.text, "", *COLUMNS]
        for case in group.cases:
            full = _row(case, "float32")
            lines.append(_table_row(case, full))
            for dtype, listed in half.items():
                row = _row(case, dtype)
                if _kinds(row) != _kinds(full):
                    listed.append(_table_row(case, row))
        lines.append("")
    lines.append(HALF)
    for dtype, listed in half.items():
        lines += [f"### {dtype}", "", *COLUMNS, *listed, ""]
    lines += [SUMS_HEAD.format(many=f"{MANY:,}") + "\n".join(sums())]
    return "\n".join(lines).rstrip() + "\n"


def sums() -> list[str]:
    """The rows of the table of sums."""
    made = []
    for code, instead in SUMS:
        cells = []
        for dtype in DTYPES[1:]:
            for mode in MODES[1:]:
                function = tf.function(_compiled(code), jit_compile=mode == "XLA", autograph=False)
                cells.append(_numbers(function(tf.ones(MANY, dtype))))
        made.append(f"| `{code}` | {' | '.join(cells)} | {instead} |")
    return made


def _compiled(code: str) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = eval(f"lambda x: {code}", {"tf": tf, "keras": keras})
    return function


def _table_row(case: Case, row: Sequence[str]) -> str:
    x = ", ".join(_number(value).strip("*") for value in case.x)
    x += ", upstream 0" if case.upstream == 0 else ""
    return f"| `{case.code}` | {x} | {_cells(row)} | {case.instead} |"


def _kinds(row: Sequence[str]) -> list[list[str]]:
    """The row with every finite number but zero left out: rounding is no difference."""
    return [
        [
            word
            if not word.replace(".", "")
            .replace("-", "")
            .replace("e", "")
            .replace("+", "")
            .isdigit()
            or float(word) == 0
            else "finite"
            for word in cell.replace(";", " ;").replace(",", " ").split()
        ]
        for cell in row
    ]


def main() -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
