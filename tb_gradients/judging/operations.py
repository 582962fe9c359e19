"""What goes wrong in which TensorFlow operation, and what to write instead.

In:  the type of an operation, and how a gradient was lost in it.
Out: ``Remedy``: what is wrong in a few words, the cause that it is, and the repaired code.
Does not know about graphs or TensorFlow: an operation is its name.

``python scripts/compiler_page.py`` measures many of these operations; ``docs/guide/nan.md`` has the
numbers.
"""

from __future__ import annotations

import dataclasses

NONE, NONFINITE, ZERO = "none", "nonfinite", "zero"
"""How a gradient is lost: there is none; it is NaN or infinite; it is exactly zero."""

FADES, GROWS, UNITS = "fades", "grows", "units"
"""How its size goes wrong on the way from the loss: it falls, it rises, or it is next to nothing in
a part of the units."""


@dataclasses.dataclass(frozen=True)
class Remedy:
    """What to do about one operation.

    Attributes:
        wrong: what happens in it, as the end of a sentence that begins with its name.
        fix: what to write instead; code in backticks.
        cause: id of the cause that it is; "": none by itself.
        singular: it is undefined, or has no finite slope, at the values that were there. Otherwise
            the values were too large for it, and what made them large may be elsewhere.
    """

    wrong: str
    fix: str
    cause: str
    singular: bool = True


_NO_GRADIENT = "non_differentiable_operation"
_OVERFLOW = "numeric_overflow"


def _cut(wrong: str, fix: str) -> Remedy:
    return Remedy(wrong, fix, _NO_GRADIENT)


_COMPARISON = _cut(
    "gives true or false, which has no gradient",
    "Replace the comparison by a smooth one: `tf.sigmoid(steepness * (x - limit))`.",
)
_ROUNDING = _cut(
    "has no gradient: it is constant between its steps",
    "Let the gradient pass (straight-through): `x + tf.stop_gradient(tf.round(x) - x)`.",
)
_INTEGER = _cut(
    "gives an integer, which has no gradient",
    "Keep the value a float on the way to the loss; where an index is needed, use a softmax as "
    "weights: `tf.linalg.matvec(table, tf.nn.softmax(logits), transpose_a=True)`.",
)
_CHOICE = _cut(
    "gives an index, which has no gradient",
    "Use the probabilities: `tf.nn.softmax(logits / temperature)`. In the forward pass only, one "
    "may be hard: `soft + tf.stop_gradient(hard - soft)`.",
)
_PYTHON = _cut(
    "leaves TensorFlow for Python, where there is no gradient",
    "Write the function with TensorFlow operations, or give it a gradient with "
    "`tf.custom_gradient`. `tf.py_function` has a gradient if all that it does is TensorFlow.",
)
_LOOKUP = _cut(
    "finds positions, which have no gradient",
    "Interpolate between the neighbours: `w * tf.gather(y, i + 1) + (1 - w) * tf.gather(y, i)` "
    "with `w = (x - tf.gather(edges, i)) / step`.",
)

_CUTS = {
    "StopGradient": _cut(
        "ends the back-propagation on purpose",
        "Remove `tf.stop_gradient`, or set `trainable = False` of what lies before it if it is "
        "meant.",
    ),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopKV2", "InTopKV2", "Multinomial"), _CHOICE),
    **dict.fromkeys(("Round", "Rint", "Floor", "Ceil", "FloorDiv"), _ROUNDING),
    **dict.fromkeys(
        ("Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual", "ApproximateEqual"),
        _COMPARISON,
    ),
    **dict.fromkeys(("LogicalAnd", "LogicalOr", "LogicalNot", "Where"), _COMPARISON),
    "Cast": _INTEGER,
    "Bitcast": _INTEGER,
    "Bucketize": _LOOKUP,
    **dict.fromkeys(("LowerBound", "UpperBound"), _LOOKUP),
    "OneHot": _cut(
        "takes integers, which have no gradient",
        "Use `tf.nn.softmax(logits)` in place of the one-hot vector of `tf.argmax(logits)`; "
        "to keep it hard in the forward pass: `soft + tf.stop_gradient(hard - soft)`.",
    ),
    **dict.fromkeys(("PyFunc", "PyFuncStateless"), _PYTHON),
    "Unique": _cut("has no gradient", "Find the unique values of the data before the training."),
    "UniqueV2": _cut("has no gradient", "Find the unique values of the data before the training."),
    "IdentityN": _cut(
        "has a gradient of its own (`tf.custom_gradient`), which gives `None` here",
        "Return a gradient for this argument, too, from the function that computes it.",
    ),
    "AssignVariableOp": _cut(
        "keeps the value in a variable, which the gradient does not follow",
        "Use the value itself in the loss, not the variable that it was assigned to.",
    ),
}

_UNUSED = {
    "": Remedy(
        "is read nowhere in the step",
        "Call its layer in the model's `call()`, or delete it, or set its `trainable = False`.",
        "unused_variable",
    ),
    **dict.fromkeys(
        ("ReadVariableOp", "ResourceGather"),
        Remedy(
            "is read, and nothing of it reaches the loss",
            "Use what the layer gives in the loss, or set its `trainable = False`.",
            "unused_variable",
        ),
    ),
}
"""Not operations that cut: there is no way to the loss at all."""

_ANY_CUT = _cut(
    "has no gradient",
    "Replace it by a differentiable operation, or give it a gradient with `tf.custom_gradient`.",
)

SAFE_BRANCH = (
    "Before `tf.where` make the argument safe, not the result: "
    "`tf.where(x > 0, f(tf.where(x > 0, x, 1.0)), 0.0)`."
)

_DIVISION = Remedy(
    "divides by zero",
    "Divide where the divisor is not zero: `tf.math.divide_no_nan(x, y)`, or `x / (y + 1e-7)`. "
    + SAFE_BRANCH,
    _OVERFLOW,
)
_ROOT = Remedy(
    "has no finite slope at 0, and no value below it",
    "Keep away from 0: `tf.sqrt(x + 1e-12)`; of a norm: "
    "`tf.sqrt(tf.reduce_sum(x * x, -1, keepdims=True) + 1e-12)` instead of `tf.norm(x)`; of a "
    "spread: `tf.sqrt(tf.math.reduce_variance(x) + 1e-12)`. " + SAFE_BRANCH,
    _OVERFLOW,
)
_LOGARITHM = Remedy(
    "has no finite value at 0",
    "Add a small number: `tf.math.log(x + 1e-7)`; for x log(y): `tf.math.xlogy(x, y)`; of a "
    "probability use a loss with `from_logits=True`. " + SAFE_BRANCH,
    _OVERFLOW,
)
_EXPONENTIAL = Remedy(
    "leaves the range of the dtype",
    "Bound its argument, `tf.exp(tf.minimum(x, 20.0))`, or use the function that computes both "
    "steps at once: `tf.nn.softplus`, `tf.reduce_logsumexp`, `tf.nn.softmax`.",
    _OVERFLOW,
    singular=False,
)
_POWER = Remedy(
    "has no value for a negative base, no finite slope at 0, and of a large base the slope leaves "
    "the range of the dtype",
    "Keep the base positive: `tf.pow(tf.maximum(x, 1e-12), p)`; of an even power write the "
    "product: `x * x`; of a square root `tf.sqrt(x + 1e-12)`. In float16 use the exact GELU; the "
    "approximate one cubes its input. " + SAFE_BRANCH,
    _OVERFLOW,
)
_SOFTMAX = Remedy(
    "is 0 / 0 in a row of which every entry is masked with -inf",
    "Mask with a large finite number, `logits + (1.0 - mask) * -1e9`, and mask the result of rows "
    "that are masked as a whole: `probabilities * tf.reduce_max(mask, -1, keepdims=True)`.",
    _OVERFLOW,
)
_CORNER = Remedy(
    "has no finite slope at the ends of its domain, and no value outside",
    "Keep the argument inside: `tf.acos(tf.clip_by_value(x, -0.9999, 0.9999))`.",
    _OVERFLOW,
)
_FACTOR = Remedy(
    "needs a matrix that is not singular (Cholesky: one that is positive definite)",
    "Add a small number to its diagonal: `x + 1e-6 * tf.eye(n)`.",
    _OVERFLOW,
)
_LARGE = Remedy(
    "leaves the range of the dtype",
    "The values before it are too large: scale the inputs, lower the learning rate, or normalise "
    "between the layers.",
    _OVERFLOW,
    singular=False,
)
_FACTORIAL = Remedy(
    "has a pole at zero and at negative integers",
    "Keep the argument positive: `tf.math.lgamma(tf.maximum(x, 1e-6))`.",
    _OVERFLOW,
)

_BREAKS = {
    **dict.fromkeys(("RealDiv", "Div", "Reciprocal", "FloorMod", "Xdivy"), _DIVISION),
    **dict.fromkeys(("Sqrt", "Rsqrt", "EuclideanNorm"), _ROOT),
    "Log": _LOGARITHM,
    "Xlogy": _LOGARITHM,
    "Log1p": Remedy(
        "has no finite value at -1",
        "Keep the argument above -1: `tf.math.log1p(tf.maximum(x, -0.9999))`.",
        _OVERFLOW,
    ),
    "Xlog1py": _LOGARITHM,
    **dict.fromkeys(("Exp", "Expm1", "Sinh", "Cosh"), _EXPONENTIAL),
    "Pow": _POWER,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _SOFTMAX),
    **dict.fromkeys(("Acos", "Asin", "Acosh", "Atanh", "Erfinv", "Ndtri"), _CORNER),
    "Atan2": Remedy(
        "has no direction where both arguments are 0",
        "Add a small number to one of them: `tf.atan2(y, x + 1e-7)`, or take the angle of the "
        "others: `tf.atan2(y, tf.where(both_zero, 1.0, x))`.",
        _OVERFLOW,
    ),
    **dict.fromkeys(
        (
            "Cholesky",
            "Qr",
            "MatrixInverse",
            "MatrixSolve",
            "MatrixDeterminant",
            "LogMatrixDeterminant",
        ),
        _FACTOR,
    ),
    **dict.fromkeys(("Lgamma", "Digamma"), _FACTORIAL),
    **dict.fromkeys(
        ("Cumprod", "Prod"),
        Remedy(
            "multiplies until the product leaves the range of the dtype, and its gradient "
            "divides by the factors",
            "Add logarithms: `tf.exp(tf.cumsum(tf.math.log(x + 1e-7)))` of positive numbers.",
            _OVERFLOW,
        ),
    ),
    "IdentityN": Remedy(
        "has a gradient of its own (`tf.custom_gradient`), which is not finite here",
        "Correct the function that computes it: guard its divisions, logarithms and roots.",
        _OVERFLOW,
    ),
    "CheckNumerics": _LARGE,
}

_FLAT = Remedy(
    "is flat at the values that were there",
    "Normalise or scale what goes into it; in hidden layers use `relu` or `gelu`.",
    "saturating_activation",
)
_BOUND = Remedy(
    "passes no gradient where its bound is what it gives",
    "Widen the bounds, or bound smoothly: `tf.tanh(x)`.",
    "saturating_activation",
)

_ZEROS = {
    "Relu": Remedy(
        "is zero for every negative input, and so is its slope",
        "Use `leaky_relu` or `gelu`, He initialisation, or a lower learning rate.",
        "dying_relu",
    ),
    "Relu6": Remedy(
        "is flat below 0 and above 6",
        "Use `leaky_relu` or `gelu`, He initialisation, or a lower learning rate.",
        "dying_relu",
    ),
    **dict.fromkeys(("Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Erf"), _FLAT),
    **dict.fromkeys(("ClipByValue", "Minimum", "Maximum"), _BOUND),
    "IdentityN": Remedy(
        "has a gradient of its own (`tf.custom_gradient`), which is zero here",
        "Correct the function that computes the gradient, or let it pass: `lambda dy: dy`.",
        _NO_GRADIENT,
    ),
    "Sign": Remedy(
        "has the slope zero everywhere",
        "Use `tf.tanh(steepness * x)`, or let the gradient pass: "
        "`x + tf.stop_gradient(tf.sign(x) - x)`.",
        _NO_GRADIENT,
    ),
    "Mul": Remedy(
        "multiplies by zero",
        "Look at the other factor: a mask, a weight or a coefficient is exactly 0.",
        "loss_ignores_parameters",
    ),
    "SelectV2": Remedy(
        "takes the other branch everywhere",
        "Look at the condition: it was the same for every element.",
        "loss_ignores_parameters",
    ),
    "Select": Remedy(
        "takes the other branch everywhere",
        "Look at the condition: it was the same for every element.",
        "loss_ignores_parameters",
    ),
}


def _resized(wrong: str, fix: str, *, own: bool = True) -> Remedy:
    """A change of size, which is none of the causes.

    Args:
        own: the operation itself makes it; otherwise the weights do, and why is to be found.
    """
    return Remedy(wrong, fix, "", singular=own)


_PRODUCTS = ("MatMul", "BatchMatMulV2", "Einsum", "Conv1D", "Conv2D", "Conv3D", "BiasAdd")

_FADES = {
    **dict.fromkeys(("Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Erf", "Softsign"), _FLAT),
    **dict.fromkeys(("ClipByValue", "Minimum", "Maximum"), _BOUND),
    **dict.fromkeys(
        ("Mul", "RealDiv", "Div", "DivNoNan"),
        _resized(
            "multiplies the gradient by a small factor",
            "Remove the factor, or make up for it in the initial scale of the layer behind it.",
        ),
    ),
    **dict.fromkeys(
        _PRODUCTS,
        _resized(
            "multiplies the gradient by small weights",
            "Start with weights that keep the size of the gradient: `glorot_uniform`, or "
            "`he_normal` before a ReLU.",
            own=False,
        ),
    ),
    **dict.fromkeys(
        ("Pow", "Square", "Exp", "Log", "Log1p", "Reciprocal", "Sqrt"),
        _resized(
            "has a slope near 0 at the values that were there",
            "Scale what goes into it to a range in which it is steep, or normalise before it.",
        ),
    ),
}

_GROWS = {
    **dict.fromkeys(
        ("Mul", "RealDiv", "Div", "DivNoNan", "Reciprocal"),
        _resized(
            "multiplies the gradient by a large factor",
            "Remove the factor; a divisor near 0 needs a lower bound: `x / tf.maximum(y, 1e-3)`.",
        ),
    ),
    **dict.fromkeys(
        _PRODUCTS,
        _resized(
            "multiplies the gradient by large weights",
            "Start with smaller weights: `glorot_uniform`; or normalise between the layers.",
            own=False,
        ),
    ),
    **dict.fromkeys(
        ("Sqrt", "Rsqrt", "Log", "Pow", "Acos", "Asin", "Atanh"),
        _resized(
            "has a slope that is very steep at the values that were there",
            "Keep the argument away from the point where the slope is infinite: "
            "`tf.sqrt(x + 1e-3)`.",
        ),
    ),
    **dict.fromkeys(
        ("SelfAdjointEigV2", "Svd"),
        _resized(
            "divides by the differences of eigenvalues or singular values, of which two are close",
            "Use the values and not the vectors in the loss, or move the values apart: "
            "`x + tf.linalg.diag(1e-3 * tf.range(3.0))`.",
        ),
    ),
    **dict.fromkeys(
        ("Exp", "Expm1", "Sinh", "Cosh", "Square", "Cumprod", "Prod"),
        _resized(
            "grows the faster, the larger its argument",
            "Bound its argument: `tf.exp(tf.minimum(x, 5.0))`.",
        ),
    ),
}

_TABLES = {
    NONE: ({**_CUTS, **_UNUSED}, _ANY_CUT),
    NONFINITE: (_BREAKS, _LARGE),
    ZERO: (_ZEROS, None),
    FADES: (_FADES, None),
    GROWS: (_GROWS, None),
    UNITS: ({**_FADES, **_ZEROS}, None),
}


def remedy(operation: str, lost: str) -> Remedy | None:
    """What to do about an operation in which a gradient was lost; None: nothing is known.

    Args:
        operation: type of the operation of the forward pass; "": a variable that nothing reads.
        lost: ``NONE``, ``NONFINITE``, ``ZERO``, ``FADES``, ``GROWS`` or ``UNITS``.
    """
    table, other = _TABLES[lost]
    return table.get(operation, other)


def known(lost: str) -> tuple[str, ...]:
    """The operations of which something is known, in the order of the table."""
    return tuple(_TABLES[lost][0])
