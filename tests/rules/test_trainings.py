"""Real trainings, small and short: a faulty program gets its rule and its cause, its twin nothing.

The numbers come from the slow NumPy recorder, so that a fault of the device code cannot
make a rule look right.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from recorder import record  # noqa: E402

from tb_gradients.flags import Flag, Severity  # noqa: E402
from tb_gradients.frames import Recording  # noqa: E402
from tb_gradients.judging import judge  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # Keras says so by itself, once per layer and process.
    pytest.mark.filterwarnings(r"ignore:[\s\S]*You are using a softmax over axis:UserWarning"),
]

L, optimizers = keras.layers, keras.optimizers

RANDOM = np.random.default_rng(1)
X = RANDOM.standard_normal((512, 8)).astype("float32")
LINEAR = (X @ RANDOM.standard_normal((8, 1)) + 0.3 * RANDOM.standard_normal((512, 1))).astype("f")
CLASSES = np.argmax(X[:, :4], 1).astype("int32")
BINARY = (X[:, :1] + 0.5 * X[:, 1:2] > 0).astype("float32")
TOKENS = np.minimum(RANDOM.zipf(1.4, size=(512, 12)), 199).astype("int32")
COMMON = (TOKENS[:, :1] > 2).astype("float32")
SERIES = RANDOM.standard_normal((256, 12, 4)).astype("float32")
SUMS = SERIES[:, :, 0].sum(1, keepdims=True)
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]
SPARSE = np.where(RANDOM.random((512, 1)) < 0.02, 0, LINEAR).astype("float32")
CROWD = RANDOM.standard_normal((4096, 8)).astype("float32")
RARE = (np.arange(4096) < 82).astype("float32")[:, np.newaxis]
CROWD += 0.25 * RARE  # overlaps with the others: guessing "no" is hard to beat
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")

BLOBS = np.repeat(np.arange(4, dtype="int32"), 128)
PIXELS = 255 * np.clip(
    RANDOM.random((4, 64))[BLOBS] + 0.25 * RANDOM.standard_normal((512, 64)), 0, 1
).astype("float32")
OUTLIERS = X.copy()
OUTLIERS[::100, 3] = 1000.0
COLUMNS = (X * np.logspace(0, 3, 8) + 500).astype("float32")
LONG = RANDOM.standard_normal((2000, 150, 1)).astype("float32")

Program = Callable[[], dict[int, Recording]]


def mlp(act: str, depth: int, width: int, out: int, head: str | None = None, **k: Any) -> Any:
    return keras.Sequential(
        [
            *[L.Dense(width, activation=act, **k) for _ in range(depth)],
            L.Dense(
                out, activation=head, kernel_initializer=k.get("kernel_initializer", "he_normal")
            ),
        ]
    )


def regression(model: Callable[[], Any], **options: Any) -> Program:
    data = options.pop("x", X), options.pop("y", LINEAR)

    def train() -> dict[int, Recording]:
        made = dict(options)
        if "optimizer" in made:
            made["optimizer"] = made["optimizer"]()  # an optimizer belongs to one training
        return record(model(), *data, every=CADENCES, **made).recordings

    return train


def classifier(model: Callable[[], Any], **options: Any) -> Program:
    options = {"y": CLASSES, "loss": "sparse_categorical_crossentropy", **options}
    return regression(model, **options)


def binary(model: Callable[[], Any], **options: Any) -> Program:
    return regression(model, **{"y": BINARY, "loss": "binary_crossentropy", **options})


class Round(L.Layer):
    def call(self, x: Any) -> Any:
        return tf.round(x)


class Forgetful(keras.Model):
    """Builds a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lost, self.last = L.Dense(8, activation="relu"), L.Dense(8), L.Dense(1)
        self.lost.build((None, 8))

    def call(self, x: Any) -> Any:
        return self.last(self.first(x))


class LogOfZero(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -y_true * tf.math.log(tf.nn.relu(y_pred))


class ExpOfLogits(keras.losses.Loss):
    """Cross-entropy by its formula, which overflows."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        powers = tf.exp(500.0 * y_pred)
        return -tf.math.log(tf.reduce_sum(y_true * powers, -1) / tf.reduce_sum(powers, -1))


class ZeroByZero(keras.losses.Loss):
    """Distance over size of the target, which may be zero."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return tf.abs(y_true * (y_pred - y_true)) / tf.abs(y_true)


class LogOfProduct(keras.losses.Loss):
    """Large times small: the product of the factors leaves the range, their sum would not."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        likelihood = 1e-30 * tf.nn.sigmoid(y_pred) * 1e-20
        return -tf.math.log(1e10 * likelihood)


class SumOfLogs(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -tf.math.log_sigmoid(y_pred) + 115.0 - 23.0


class LogOfPositive(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -y_true * tf.math.log(tf.nn.sigmoid(y_pred) + 1e-6)


class Argmax(L.Layer):
    def call(self, x: Any) -> Any:
        return tf.one_hot(tf.argmax(x, -1), x.shape[-1])


class Stop(L.Layer):
    def call(self, x: Any) -> Any:
        return tf.stop_gradient(x)


def residual(blocks: int, width: int) -> Any:
    """As deep and as narrow, with a way round every two layers."""
    inputs = L.Input((8,))
    x = L.Dense(width)(inputs)
    for _ in range(blocks):
        inner = L.Dense(width, "leaky_relu", kernel_initializer="he_normal")(x)
        x = L.add([x, L.Dense(width, kernel_initializer="zeros")(inner)])
    return keras.Model(inputs, L.Dense(1)(x))


def frozen(model: Any, layers: int) -> Any:
    for layer in model.layers[:layers]:
        layer.trainable = False
    return model


def with_nan(data: Any) -> Any:
    data = data.copy()
    data[100:140, 0] = np.nan
    return data


@dataclasses.dataclass(frozen=True)
class Case:
    """A faulty program, what must be said of it, and the same program repaired.

    Several rules or causes, joined by "|": any one of them.
    """

    faulty: Program
    rule: str
    cause: str
    repaired: Program
    variable: str = ""


def relu() -> Any:
    return mlp("relu", 2, 32, 1)


def softmax() -> Any:
    return mlp("relu", 2, 32, 4, "softmax")


def two_layers(bias: float) -> Any:
    """Two ReLU layers; the bias of the first starts at this value."""
    start = keras.initializers.Constant(bias)
    return keras.Sequential(
        [
            L.Dense(32, "relu", name="first", bias_initializer=start),
            L.Dense(32, "relu"),
            L.Dense(1),
        ]
    )


SHORT = {"steps": 60}
CASES = {
    "loss multiplied by zero": Case(
        regression(relu, objective=lambda loss: loss * 0.0, **SHORT),
        "zero_gradient",
        "loss_ignores_parameters",
        regression(relu, **SHORT),
    ),
    "all zeros at the start, ReLU": Case(
        classifier(lambda: mlp("relu", 2, 32, 4, "softmax", kernel_initializer="zeros"), **SHORT),
        "zero_gradient",
        "zero_initialization",
        classifier(softmax, **SHORT),
        "dense/kernel",
    ),
    "all zeros at the start, sigmoid": Case(
        classifier(
            lambda: mlp("sigmoid", 1, 32, 4, "softmax", kernel_initializer="zeros"), **SHORT
        ),
        "symmetric_units",
        "zero_initialization",
        classifier(lambda: mlp("sigmoid", 1, 32, 4, "softmax"), **SHORT),
        "dense/kernel",
    ),
    "all the same at the start": Case(
        classifier(
            lambda: mlp(
                "tanh", 2, 32, 4, "softmax", kernel_initializer=keras.initializers.Constant(0.1)
            ),
            **SHORT,
        ),
        "symmetric_units",
        "constant_initialization",
        classifier(lambda: mlp("tanh", 2, 32, 4, "softmax"), **SHORT),
        "dense/kernel",
    ),
    "deep sigmoid stack, SGD": Case(
        classifier(
            lambda: mlp("sigmoid", 8, 32, 4, "softmax", kernel_initializer="glorot_uniform"),
            optimizer=lambda: optimizers.SGD(0.1),
        ),
        "vanishing_gradient",
        "saturating_activation",
        classifier(lambda: mlp("relu", 8, 32, 4, "softmax", kernel_initializer="he_normal")),
        "dense/kernel",
    ),
    "deep sigmoid stack, Adam": Case(
        classifier(
            lambda: mlp("sigmoid", 9, 32, 4, "softmax", kernel_initializer="glorot_uniform")
        ),
        "vanishing_gradient",
        "saturating_activation",
        classifier(lambda: mlp("relu", 9, 32, 4, "softmax", kernel_initializer="he_normal")),
        "dense/kernel",
    ),
    "deep and narrow": Case(
        regression(lambda: mlp("leaky_relu", 24, 3, 1, kernel_initializer="glorot_uniform")),
        "vanishing_gradient",
        "deep_narrow_network",
        regression(lambda: residual(12, 3)),
        "dense/kernel",
    ),
    "ReLUs dead by their bias": Case(
        regression(
            lambda: mlp("relu", 2, 32, 1, bias_initializer=keras.initializers.Constant(-9.0)),
            **SHORT,
        ),
        "dead_units",
        "dying_relu",
        regression(lambda: mlp("leaky_relu", 2, 32, 1), **SHORT),
    ),
    "the first of two ReLU layers dead by its bias": Case(
        regression(lambda: two_layers(-9.0), **SHORT),
        "dead_units",
        "dying_relu",
        regression(lambda: two_layers(0.0), **SHORT),
        "first/kernel",
    ),
    "Adam at 1e-10": Case(
        classifier(softmax, optimizer=lambda: optimizers.Adam(1e-10), **SHORT),
        "update_too_small",
        "learning_rate_too_small",
        classifier(softmax, optimizer=lambda: optimizers.Adam(1e-3), **SHORT),
        "dense/kernel",
    ),
    "SGD at 1e-10, loss not seen": Case(
        classifier(softmax, optimizer=lambda: optimizers.SGD(1e-10), see_loss=False, **SHORT),
        "update_too_small",
        "learning_rate_too_small",
        classifier(softmax, optimizer=lambda: optimizers.SGD(1e-2), see_loss=False, **SHORT),
        "dense/kernel",
    ),
    "missing values in the inputs": Case(
        regression(relu, x=with_nan(X), **SHORT),
        "nonfinite_gradient",
        "nonfinite_inputs",
        regression(relu, x=np.nan_to_num(with_nan(X)), **SHORT),
    ),
    "missing values in the targets": Case(
        regression(relu, y=with_nan(LINEAR), **SHORT),
        "nonfinite_gradient",
        "nonfinite_targets",
        regression(relu, y=np.nan_to_num(with_nan(LINEAR)), **SHORT),
    ),
    "learning rate far too large": Case(
        regression(lambda: mlp("linear", 2, 16, 1), optimizer=lambda: optimizers.SGD(1.0), **SHORT),
        # Norms are known at every step, updates at frames only.
        "update_too_large|exploding_gradient",
        "learning_rate_too_large",
        regression(
            lambda: mlp("linear", 2, 16, 1), optimizer=lambda: optimizers.SGD(1e-3), **SHORT
        ),
    ),
    "logarithm of zero": Case(
        regression(relu, y=1 + np.abs(LINEAR), loss=LogOfZero(), **SHORT),
        "nonfinite_gradient",
        "numeric_overflow",
        regression(relu, y=1 + np.abs(LINEAR), loss=LogOfPositive(), **SHORT),
    ),
    "rounding on the way": Case(
        regression(
            lambda: keras.Sequential([L.Dense(16), L.Dense(16), Round(), L.Dense(1)]), **SHORT
        ),
        "disconnected_gradient",
        "non_differentiable_operation",
        regression(lambda: keras.Sequential([L.Dense(16), L.Dense(16), L.Dense(1)]), **SHORT),
        "dense/kernel",
    ),
    "a layer that is not called": Case(
        regression(Forgetful, **SHORT),
        "disconnected_gradient",
        "unused_variable",
        regression(lambda: mlp("relu", 1, 8, 1), **SHORT),
        "dense_1/kernel",
    ),
    "gradients that are not applied": Case(
        regression(relu, apply=lambda step: False, **SHORT),
        "frozen_weight",
        "update_not_applied",
        regression(relu, **SHORT),
        "dense/kernel",
    ),
    "an optimizer that knows only the head": Case(
        regression(relu, apply_to=lambda variable: "dense_2" in variable.path, **SHORT),
        "frozen_weight",
        "update_not_applied",
        regression(relu, **SHORT),
        "dense/kernel",
    ),
}

CASES |= {
    "exponentials that overflow": Case(
        classifier(lambda: mlp("relu", 2, 32, 4), y=ONE_HOT, loss=ExpOfLogits(), **SHORT),
        "nonfinite_gradient",
        "numeric_overflow",
        classifier(
            lambda: mlp("relu", 2, 32, 4),
            y=ONE_HOT,
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            **SHORT,
        ),
    ),
    "zero by zero": Case(
        regression(relu, y=SPARSE, loss=ZeroByZero(), **SHORT),
        "nonfinite_gradient",
        "numeric_overflow",
        regression(relu, y=SPARSE, loss="mae", **SHORT),
    ),
    "ReLUs dead by a large step": Case(
        classifier(softmax, optimizer=lambda: optimizers.SGD(30.0), **SHORT),
        "dead_units|update_too_large|exploding_gradient|zero_gradient",
        "dying_relu|learning_rate_too_large",
        classifier(softmax, optimizer=lambda: optimizers.SGD(0.05), **SHORT),
    ),
    "one class in fifty": Case(
        binary(
            lambda: mlp("relu", 2, 16, 1, "sigmoid"),
            x=CROWD,
            y=RARE,
            optimizer=lambda: optimizers.SGD(0.3),
            batch=128,
            steps=200,
        ),
        "not_learning",
        "class_imbalance",
        binary(
            lambda: mlp("relu", 2, 16, 1, "sigmoid"),
            x=np.concatenate([CROWD, np.repeat(CROWD[RARE[:, 0] > 0], 40, 0)]),
            y=np.concatenate([RARE, np.repeat(RARE[RARE[:, 0] > 0], 40, 0)]),
            optimizer=lambda: optimizers.Adam(0.01),
            steps=200,
        ),
    ),
    "pixels of 0..255 into tanh": Case(
        classifier(
            lambda: mlp("tanh", 2, 32, 4, "softmax"),
            x=PIXELS,
            y=BLOBS,
            steps=120,
            optimizer=lambda: optimizers.SGD(1e-4),
        ),
        "saturated_units",
        "unscaled_inputs",
        classifier(
            lambda: mlp("tanh", 2, 32, 4, "softmax"),
            x=PIXELS / 255 - 0.5,
            y=BLOBS,
            steps=120,
            optimizer=lambda: optimizers.SGD(0.1),
        ),
        "dense/kernel",
    ),
    "Adam at 10": Case(
        regression(lambda: mlp("tanh", 2, 32, 1), optimizer=lambda: optimizers.Adam(10.0), **SHORT),
        "exploding_gradient|update_too_large",
        "learning_rate_too_large",
        regression(lambda: mlp("tanh", 2, 32, 1), optimizer=lambda: optimizers.Adam(0.01), **SHORT),
    ),
    "a learning rate that decays too early": Case(
        classifier(
            softmax,
            optimizer=lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.01, 5, 0.3)),
            steps=200,
        ),
        "update_too_small",
        "learning_rate_too_small",
        classifier(
            softmax,
            optimizer=lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 100, 0.5)),
            steps=200,
        ),
        "dense/kernel",
    ),
    "an outlier of 1000 in a feature": Case(
        regression(relu, x=OUTLIERS, optimizer=lambda: optimizers.SGD(0.01), steps=150),
        "bad_data",
        "input_outliers",
        regression(
            relu, x=np.clip(OUTLIERS, -4, 4), optimizer=lambda: optimizers.Adam(3e-3), steps=150
        ),
    ),
    "a strong L2 penalty": Case(
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", kernel_regularizer=keras.regularizers.L2(1.0)),
            optimizer=lambda: optimizers.SGD(0.05),
            steps=150,
        ),
        "regularizer_dominates",
        "strong_regularization",
        classifier(
            lambda: mlp(
                "relu", 2, 32, 4, "softmax", kernel_regularizer=keras.regularizers.L2(1e-4)
            ),
            optimizer=lambda: optimizers.SGD(0.05),
            steps=150,
        ),
        "dense/kernel",
    ),
    "bfloat16 variables": Case(
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", dtype="bfloat16"),
            optimizer=lambda: optimizers.Adam(1e-5),
            **SHORT,
        ),
        "update_lost",
        "low_precision",
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", dtype="mixed_bfloat16"),
            optimizer=lambda: optimizers.Adam(1e-3),
            **SHORT,
        ),
        "dense/kernel",
    ),
    "softmax on one unit": Case(
        binary(lambda: mlp("relu", 2, 16, 1, "softmax"), **SHORT),
        "model_mismatch",
        "loss_output_mismatch",
        binary(lambda: mlp("relu", 2, 16, 1, "sigmoid"), **SHORT),
    ),
    "softmax twice": Case(
        classifier(
            lambda: keras.Sequential([*mlp("relu", 2, 32, 4, "softmax").layers, L.Softmax()]),
            **SHORT,
        ),
        "model_mismatch",
        "loss_output_mismatch",
        classifier(softmax, **SHORT),
    ),
    "clipping far below the norm": Case(
        classifier(
            softmax, optimizer=lambda: optimizers.SGD(0.05, global_clipnorm=1e-4), steps=100
        ),
        "clipping_dominates",
        "clipping_too_tight",
        classifier(softmax, optimizer=lambda: optimizers.SGD(0.05, global_clipnorm=1.0), steps=100),
    ),
    "targets that never vary": Case(
        regression(relu, y=LINEAR * 0 + 3.5, optimizer=lambda: optimizers.Adam(3e-3), steps=120),
        "bad_data",
        "constant_targets",
        regression(relu, optimizer=lambda: optimizers.Adam(3e-3), steps=120),
    ),
    "inputs that never vary": Case(
        classifier(softmax, x=X * 0 + 1, steps=100),
        "bad_data",
        "constant_inputs",
        classifier(softmax, steps=100),
    ),
    "targets beyond the output's range": Case(
        regression(lambda: mlp("relu", 2, 16, 1, "sigmoid"), y=LINEAR * 5 + 20, **SHORT),
        "bad_data",
        "loss_output_mismatch",
        regression(lambda: mlp("relu", 2, 16, 1), **SHORT),
    ),
    "weights that start a thousand times too small": Case(
        classifier(
            lambda: mlp(
                "tanh",
                4,
                32,
                4,
                "softmax",
                kernel_initializer=keras.initializers.RandomNormal(stddev=3e-4),
            ),
            optimizer=lambda: optimizers.SGD(0.01),
            steps=120,
        ),
        "poor_initialization|vanishing_gradient|zero_gradient",
        "initialization_scale|saturating_activation",
        classifier(
            lambda: mlp("tanh", 4, 32, 4, "softmax", kernel_initializer="glorot_uniform"),
            optimizer=lambda: optimizers.SGD(0.1),
            steps=120,
        ),
    ),
    "a simple recurrence over 150 steps": Case(
        binary(
            lambda: keras.Sequential([L.SimpleRNN(8), L.Dense(1, activation="sigmoid")]),
            x=LONG,
            y=(LONG[:, 0, :1] > 0).astype("f"),
            steps=150,
            optimizer=lambda: optimizers.Adam(0.02),
        ),
        "vanishing_gradient",
        "long_recurrence",
        binary(
            lambda: keras.Sequential([L.GRU(8), L.Dense(1, activation="sigmoid")]),
            x=LONG[:, :5],
            y=(LONG[:, 0, :1] > 0).astype("f"),
            steps=150,
            optimizer=lambda: optimizers.Adam(0.02),
        ),
    ),
}

CASES |= {
    "deep tanh stack": Case(
        classifier(
            lambda: mlp(
                "tanh",
                12,
                16,
                4,
                "softmax",
                kernel_initializer=keras.initializers.RandomNormal(0, 0.1),
            ),
            optimizer=lambda: optimizers.SGD(0.1),
        ),
        "vanishing_gradient",
        "saturating_activation",
        classifier(
            lambda: mlp("relu", 12, 32, 4, "softmax", kernel_initializer="he_normal"),
        ),
        "dense/kernel",
    ),
    "columns as measured into sigmoid, squared error": Case(
        binary(
            lambda: mlp("sigmoid", 2, 32, 1, "sigmoid"),
            x=COLUMNS,
            loss="mse",
            steps=150,
            optimizer=lambda: optimizers.SGD(0.1),
        ),
        "saturated_units|vanishing_gradient",
        "unscaled_inputs",
        binary(
            lambda: mlp("sigmoid", 2, 32, 1, "sigmoid"),
            x=X,
            loss="mse",
            steps=150,
            optimizer=lambda: optimizers.Adam(0.02),
        ),
        "dense/kernel",
    ),
    "1e10 against 1e-30 in one product": Case(
        regression(relu, loss=LogOfProduct(), **SHORT),
        "nonfinite_gradient",
        "numeric_overflow|numeric_underflow",
        regression(relu, loss=SumOfLogs(), **SHORT),
    ),
    "a strong L1 penalty": Case(
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", kernel_regularizer=keras.regularizers.L1(0.5)),
            optimizer=lambda: optimizers.Adam(0.005),
            steps=200,
        ),
        "regularizer_dominates",
        "strong_regularization",
        classifier(
            lambda: mlp(
                "relu", 2, 32, 4, "softmax", kernel_regularizer=keras.regularizers.L1(1e-5)
            ),
            optimizer=lambda: optimizers.Adam(0.005),
            steps=200,
        ),
        "dense/kernel",
    ),
    "argmax on the way": Case(
        regression(
            lambda: keras.Sequential([L.Dense(16), L.Dense(16), Argmax(), L.Dense(1)]), **SHORT
        ),
        "disconnected_gradient",
        "non_differentiable_operation",
        regression(lambda: keras.Sequential([L.Dense(16), L.Dense(16), L.Dense(1)]), **SHORT),
        "dense_1/kernel",
    ),
    "stop_gradient on the way": Case(
        regression(
            lambda: keras.Sequential([L.Dense(16), L.Dense(16), Stop(), L.Dense(1)]), **SHORT
        ),
        "disconnected_gradient",
        "non_differentiable_operation",
        regression(lambda: keras.Sequential([L.Dense(16), L.Dense(16), L.Dense(1)]), **SHORT),
        "dense_1/kernel",
    ),
    "float16 variables": Case(
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", dtype="float16"),
            optimizer=lambda: optimizers.SGD(1e-4),
            **SHORT,
        ),
        "update_lost",
        "low_precision",
        classifier(
            lambda: mlp("relu", 2, 32, 4, "softmax", dtype="mixed_float16"),
            optimizer=lambda: optimizers.SGD(1e-2),
            **SHORT,
        ),
        "dense/kernel",
    ),
    "an update by hand at 1e-10": Case(
        classifier(softmax, by_hand=1e-10, **SHORT),
        "update_too_small",
        "learning_rate_too_small",
        classifier(softmax, by_hand=0.05, **SHORT),
        "dense/kernel",
    ),
}

HEALTHY = {
    "two sigmoid layers that learn": binary(
        lambda: mlp("sigmoid", 2, 32, 1, "sigmoid"), optimizer=lambda: optimizers.Adam(0.01)
    ),
    "batch normalisation": binary(
        lambda: keras.Sequential(
            [L.Dense(32), L.BatchNormalization(), L.ReLU(), L.Dense(1, activation="sigmoid")]
        )
    ),
    "embedding of Zipf tokens": binary(
        lambda: keras.Sequential(
            [L.Embedding(200, 8), L.GlobalAveragePooling1D(), L.Dense(1, activation="sigmoid")]
        ),
        x=TOKENS,
        y=COMMON,
    ),
    "GRU": regression(lambda: keras.Sequential([L.GRU(8), L.Dense(1)]), x=SERIES, y=SUMS, steps=60),
    "XOR": binary(
        lambda: mlp("tanh", 1, 8, 1, "sigmoid"),
        x=XOR,
        y=np.array([[0], [1], [1], [0]], "float32"),
        optimizer=lambda: optimizers.Adam(0.05),
    ),
    "linear regression past convergence": regression(
        lambda: mlp("relu", 0, 0, 1), y=X[:, :1], optimizer=lambda: optimizers.SGD(0.3), steps=300
    ),
    "dropout and L2": classifier(
        lambda: keras.Sequential(
            [
                L.Dense(64, activation="relu", kernel_regularizer="l2"),
                L.Dropout(0.6),
                L.Dense(4, activation="softmax"),
            ]
        )
    ),
    "fine-tuning at 1e-5": classifier(softmax, optimizer=lambda: optimizers.Adam(1e-5)),
    "one batch overfitted": regression(
        relu, x=X[:16], y=LINEAR[:16], optimizer=lambda: optimizers.Adam(0.01), steps=300
    ),
    "a classifier past convergence": classifier(
        softmax, x=X[:64], y=CLASSES[:64], optimizer=lambda: optimizers.Adam(0.02), steps=300
    ),
    "hinge loss down to zero": regression(
        relu, y=BINARY * 2 - 1, loss="hinge", optimizer=lambda: optimizers.Adam(0.02), steps=300
    ),
    "gradient accumulation": regression(relu, apply=lambda step: step % 4 == 3),
    "head that starts at zero": classifier(
        lambda: keras.Sequential(
            [
                L.Dense(32, activation="relu"),
                L.Dense(4, activation="softmax", kernel_initializer="zeros"),
            ]
        )
    ),
    "warm-up from zero": regression(
        relu,
        optimizer=lambda: optimizers.Adam(
            optimizers.schedules.CosineDecay(0.0, 60, warmup_target=1e-2, warmup_steps=60)
        ),
    ),
    "cosine schedule down to zero": regression(
        relu,
        optimizer=lambda: optimizers.Adam(optimizers.schedules.CosineDecay(1e-2, 100)),
        steps=200,
    ),
    "unscaled targets": regression(relu, y=LINEAR * 1000 + 5000),
    "batches of one": regression(relu, batch=1),
    "a frozen base": classifier(
        lambda: frozen(softmax(), 2), optimizer=lambda: optimizers.Adam(0.01)
    ),
    "convolutions": classifier(
        lambda: keras.Sequential(
            [
                L.Reshape((8, 8, 1)),
                L.Conv2D(8, 3, activation="relu"),
                L.Flatten(),
                L.Dense(4, "softmax"),
            ]
        ),
        x=PIXELS / 255,
        y=BLOBS,
    ),
}


CADENCES = (1, 10)
"""Frames at every step, and at every tenth: the verdict must be the same."""


def judged(program: Program, cadence: int = 1, seed: int = 0) -> tuple[Flag, ...]:
    verdict = judge([trained(program, seed)[cadence]])
    assert verdict.errors == ()
    return verdict.flags


@functools.lru_cache(maxsize=2)
def trained(program: Program, seed: int = 0) -> dict[int, Recording]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return program()


def alarms(flags: tuple[Flag, ...]) -> list[str]:
    return [str(flag) for flag in flags if flag.severity >= Severity.WARNING]


# What all of them recorded is judged in tests/judging/test_stored_verdicts.py.
SOME_CASES = [
    pytest.param(name, marks=pytest.mark.long if number % 2 else ())
    for number, name in enumerate(CASES)
]


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("name", SOME_CASES)
def test_the_faulty_program_gets_its_rule_and_its_cause(name: str, seed: int, cadence: int) -> None:
    case = CASES[name]

    flags = judged(case.faulty, cadence, seed)

    flag = next(flag for flag in flags if flag.rule in case.rule.split("|"))
    assert flag.severity >= Severity.WARNING
    assert flag.causes[0].id in case.cause.split("|")
    assert flag.fixes
    steps = int(trained(case.faulty, seed)[1].steps[-1]) + 1
    assert flag.first_step <= (60 if "early" in name else 0.2 * steps)
    assert not case.variable or any(path.endswith(case.variable) for path in flag.variables)
    # One fault is one flag. (A batch with an outlier is rarely that of a sparse frame: the NaN
    # may be reported before one was seen.)
    assert len(alarms(flags)) == 1 or ("outlier" in name and cadence > 1)


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("name", SOME_CASES)
def test_the_repaired_program_is_silent(name: str, seed: int, cadence: int) -> None:
    assert alarms(judged(CASES[name].repaired, cadence, seed)) == []


@pytest.mark.parametrize("name", ["learning rate far too large", "Adam at 10"])
def test_steps_that_are_too_large_are_reported_before_the_nan_that_they_end_in(name: str) -> None:
    flags = judged(CASES[name].faulty)
    steps = {flag.rule: flag.first_step for flag in flags}

    nan = [step for rule, step in steps.items() if rule.startswith("nonfinite")]
    large = [steps[rule] for rule in ("update_too_large", "exploding_gradient") if rule in steps]
    assert min(large) <= min(nan, default=10**9)


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_program_is_silent(name: str, cadence: int) -> None:
    assert alarms(judged(HEALTHY[name], cadence)) == []
