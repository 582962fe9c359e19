"""The faulty programs: faults, and the healthy recipes that each is put into.

In:  nothing.
Out: ``faulty()``: programs with what must be said of them, and the twin they are measured against.
Does not know about thresholds.

Acceptable rules and causes were written down from what the fault *is*, before looking at what
the rules say of it: the first rule is the fault's own, the others name the same fault by what
it does next.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from zoo import special
from zoo.data import Data
from zoo.programs import Expected, Program, program, recipe_of
from zoo.recipes import Recipe

layers, ops = keras.layers, keras.ops
schedules = keras.optimizers.schedules

HIDDEN = ("dense_*", "conv_*", "act_*", "gru_*", "lstm_*", "simple_*", "embedding*", "block_*")
"""Everything but the last layer."""
EARLY = ("dense_[0-4]/kernel", "conv_[0-4]/kernel")
EVERY = ("*",)
KERNELS = ("*kernel*", "*embeddings*")

NONFINITE = ("nonfinite_gradient", "nonfinite_loss", "nonfinite_weight")
TOO_LARGE = ("update_too_large", "exploding_gradient", *NONFINITE, "gradient_spike")


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of mistake.

    Attributes:
        name: of the fault; a program's name is base, "!" and this.
        change: makes a healthy recipe faulty.
        expected: what must be said.
        bases: names of healthy programs to be made faulty, which are the twins as well; or pairs
            of recipe and twin, where the repaired program is another one.
    """

    name: str
    change: Callable[[Recipe], Recipe]
    expected: Expected
    bases: Sequence[str | tuple[str, str]]


# --- parts of faults ------------------------------------------------------------------------


def _lambda(function: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: layers.Lambda(function, output_shape=lambda shape: shape)


def _before_head(function: Callable[[Any], Any]) -> Callable[[Recipe], Recipe]:
    return lambda r: r.but(options={"before_head": (_lambda(function),)})


def _one_unit() -> Any:
    return layers.Dense(1)


def _one_hot_of_argmax(x: Any) -> Any:
    return ops.one_hot(ops.argmax(x, -1), x.shape[-1])


def _rows(data: Data, random: np.random.Generator, share: float) -> Any:
    return random.random(len(data.x)) < share


def _in_inputs(value: float, share: float) -> Callable[[Data, np.random.Generator], Data]:
    """Some samples have this value in one of their features."""

    def corrupt(data: Data, random: np.random.Generator) -> Data:
        x = data.x.copy()
        flat = x.reshape(len(x), -1)
        flat[_rows(data, random, share), random.integers(flat.shape[1])] = value
        return dataclasses.replace(data, x=x)

    return corrupt


def _in_targets(value: float, share: float) -> Callable[[Data, np.random.Generator], Data]:
    def corrupt(data: Data, random: np.random.Generator) -> Data:
        y = data.y.copy()
        y[_rows(data, random, share)] = value
        return dataclasses.replace(data, y=y)

    return corrupt


def _scaled(factor: float) -> Callable[[Data, np.random.Generator], Data]:
    return lambda data, _: dataclasses.replace(data, x=data.x * np.float32(factor))


def _zeroed(data: Data, _: np.random.Generator) -> Data:
    return dataclasses.replace(data, x=np.full_like(data.x, 0.5))


def _one_target(data: Data, _: np.random.Generator) -> Data:
    return dataclasses.replace(data, y=np.broadcast_to(data.y[:1], data.y.shape).copy())


def _log_loss(logits: bool) -> Any:
    """Cross-entropy with a logarithm of what may be zero."""
    del logits

    def loss(y: Any, outputs: Any) -> Any:
        y = ops.reshape(ops.cast(y, "int32"), (-1,))
        shares = ops.relu(outputs)
        shares = shares / ops.sum(shares, -1, keepdims=True)
        return -ops.sum(ops.one_hot(y, outputs.shape[-1]) * ops.log(shares), -1)

    return loss


def _naive_softmax_loss(logits: bool) -> Any:
    """Cross-entropy through exponentials that overflow."""
    del logits

    def loss(y: Any, outputs: Any) -> Any:
        y = ops.reshape(ops.cast(y, "int32"), (-1,))
        powers = ops.exp(300.0 * outputs)
        chosen = ops.sum(ops.one_hot(y, outputs.shape[-1]) * powers, -1)
        return -ops.log(chosen / ops.sum(powers, -1))

    return loss


def _decay(rate: float) -> Callable[[], Any]:
    """Ten times smaller every 6 steps: over after 40."""
    return lambda: schedules.ExponentialDecay(rate, 6, 0.1)


# --- the faults -----------------------------------------------------------------------------

_RATE_FREE = ("digits-mlp", "digits-cnn", "sums-gru", "topics-bag", "digits-autoencoder")

FAULTS: tuple[Fault, ...] = (
    # the loss says nothing
    Fault(
        "zero-loss",
        lambda r: r.but(loop="loop", objective=lambda loss: loss * 0.0),
        Expected(("zero_gradient",), ("loss_ignores_parameters",), EVERY),
        ("digits-mlp", "digits-cnn", "sums-gru", "topics-bag", "friedman-mlp"),
    ),
    Fault(
        "round",
        _before_head(ops.round),
        Expected(("disconnected_gradient",), ("non_differentiable_operation",), HIDDEN),
        ("digits-narrow", "friedman-mlp", "sums-gru", "digits-autoencoder"),
    ),
    Fault(
        "argmax",
        _before_head(_one_hot_of_argmax),
        Expected(("disconnected_gradient",), ("non_differentiable_operation",), HIDDEN),
        ("digits-narrow", "friedman-mlp", "recall-gru-stack", "circles-mlp", "digits-cnn"),
    ),
    Fault(
        "stop-gradient",
        _before_head(ops.stop_gradient),
        Expected(("disconnected_gradient",), ("non_differentiable_operation",), HIDDEN),
        ("digits-narrow", "sums-lstm", "stripes-cnn", "topics-bag", "friedman-mlp"),
    ),
    Fault(
        "sign",
        _before_head(ops.sign),
        Expected(("zero_gradient",), ("non_differentiable_operation",), HIDDEN),
        ("digits-narrow", "friedman-mlp"),
    ),
    Fault(
        "one-value",
        lambda r: r.but(options={"before_head": (_one_unit, layers.LayerNormalization)}),
        Expected(("zero_gradient", "dead_units"), ("axis_of_length_one",), HIDDEN),
        ("digits-narrow", "friedman-mlp"),
    ),
    Fault(
        "unused-layer",
        lambda r: r.but(architecture="forgetful"),
        Expected(("disconnected_gradient",), ("unused_variable",), ("hidden/*",)),
        ("circles-mlp", "friedman-mlp", "xor-tanh", "one-hot-mlp"),
    ),
    # initialisation
    Fault(
        "zero-start",
        lambda r: r.but(options={"initializer": "zeros", "head_initializer": "zeros"}),
        Expected(
            ("zero_gradient", "symmetric_units", "dead_units"), ("zero_initialization",), KERNELS
        ),
        ("digits-mlp", "digits-fused", "digits-cnn", "friedman-mlp", "wine-mlp", "digits-tanh"),
    ),
    Fault(
        "constant-start",
        lambda r: r.but(options={"initializer": ("constant", 0.05)}),
        Expected(("symmetric_units",), ("constant_initialization",), HIDDEN),
        ("digits-mlp", "digits-tanh", "circles-mlp", "digits-deep", "cancer-mlp"),
    ),
    Fault(
        "constant-start-all",
        lambda r: r.but(
            options={"initializer": ("constant", 0.1), "head_initializer": ("constant", 0.1)}
        ),
        Expected(("symmetric_units",), ("constant_initialization",), HIDDEN),
        ("digits-sigmoid", "friedman-mlp", "wine-mlp"),
    ),
    Fault(
        "huge-start",
        lambda r: r.but(options={"initializer": ("normal", 3.0)}),
        Expected(
            ("poor_initialization", "exploding_gradient", "dead_units", "not_learning"),
            ("initialization_scale",),
            KERNELS,
        ),
        ("digits-deep", "friedman-mlp", "digits-tanh", "digits-selu"),
    ),
    Fault(
        "tiny-start",
        lambda r: r.but(options={"initializer": ("normal", 1e-3)}, optimizer="SGD", rate=0.1),
        Expected(
            ("poor_initialization", "vanishing_gradient", "not_learning"),
            ("initialization_scale",),
            KERNELS,
        ),
        ("digits-deep", "digits-selu", ("digits-mlp", "digits-mlp+sgd")),
    ),
    # depth
    Fault(
        "deep-sigmoid",
        lambda r: r.but(
            architecture="fused",
            options={
                "widths": (32,) * 8,
                "activation": "sigmoid",
                "initializer": "glorot_uniform",
            },
        ),
        Expected(("vanishing_gradient", "not_learning"), ("saturating_activation",), EARLY),
        ("digits-mlp", "digits-mlp+sgd", "wine-mlp", "cancer-mlp", "friedman-mlp", "circles-mlp"),
    ),
    Fault(
        "deep-tanh",
        lambda r: r.but(
            architecture="fused",
            options={
                "widths": (24,) * 10,
                "activation": "tanh",
                "initializer": ("normal", 0.08),
            },
            optimizer="SGD",
            rate=0.1,
        ),
        Expected(
            ("vanishing_gradient", "poor_initialization", "not_learning"),
            ("saturating_activation", "initialization_scale"),
            EARLY,
        ),
        ("digits-tanh", "blobs-mlp", "friedman-mlp"),
    ),
    Fault(
        "deep-sigmoid-conv",
        lambda r: r.but(
            options={
                "filters": (8,) * 6,
                "activation": "sigmoid",
                "initializer": "glorot_uniform",
            },
        ),
        Expected(("vanishing_gradient", "not_learning"), ("saturating_activation",), EARLY),
        ("digits-cnn", "stripes-cnn", "boxes-cnn"),
    ),
    Fault(
        "deep-narrow",
        lambda r: r.but(
            architecture="fused", options={"widths": (3,) * 20, "activation": "leaky_relu"}
        ),
        Expected(
            ("vanishing_gradient", "not_learning", "dead_units"),
            ("deep_narrow_network",),
            ("dense_*",),
        ),
        ("friedman-mlp", "digits-mlp", "blobs-mlp"),
    ),
    Fault(
        "long-recurrence",
        lambda r: r.but(options={"cell": "simple"}, optimizer="SGD", rate=3e-2),
        Expected(("vanishing_gradient", "not_learning"), ("long_recurrence",), ("simple_*",)),
        ("long-recall-gru",),
    ),
    Fault(
        "exploding-recurrence",
        lambda r: r.but(
            options={
                "cell": "simple",
                "activation": "relu",
                "recurrent_initializer": ("normal", 0.7),
            },
            optimizer="SGD",
            rate=5e-2,
        ),
        Expected(
            ("exploding_gradient", *TOO_LARGE, "poor_initialization"),
            ("learning_rate_too_large", "initialization_scale", "long_recurrence"),
            EVERY,
        ),
        ("sums-simple", "recall-gru-stack", "sine-gru"),
    ),
    # dead and saturated units
    Fault(
        "dead-bias",
        lambda r: r.but(options={"bias": ("constant", -9.0)}),
        Expected(
            ("dead_units", "zero_gradient", "not_learning"), ("dying_relu",), ("*dense*", "conv_*")
        ),
        ("digits-mlp", "digits-cnn", "friedman-mlp", "cancer-mlp", "topics-bag", "digits-funnel"),
    ),
    Fault(
        "dead-by-rate",
        lambda r: r.but(optimizer="SGD", rate=8.0),
        Expected(
            ("dead_units", "update_too_large", *NONFINITE, "exploding_gradient"),
            ("dying_relu", "learning_rate_too_large"),
            EVERY,
        ),
        ("digits-mlp", "digits-cnn", "cancer-mlp", "wine-mlp"),
    ),
    Fault(
        "saturated-pixels",
        lambda r: r.but(
            corrupt=_scaled(255.0),
            options={"activation": "sigmoid", "initializer": ("normal", 1.0)},
        ),
        Expected(
            ("saturated_units", "vanishing_gradient", "bad_data", "dead_units", "not_learning"),
            ("unscaled_inputs", "saturating_activation", "initialization_scale"),
            ("dense_*", "conv_*"),
        ),
        ("digits-mlp", "digits-fused", "digits-cnn", "zero-or-not"),
    ),
    Fault(
        "saturated-columns",
        lambda r: r.but(
            options={"activation": "tanh", "initializer": "glorot_uniform"}, optimizer="SGD"
        ),
        Expected(
            ("saturated_units", "vanishing_gradient", "bad_data", "not_learning", "dead_units"),
            ("unscaled_inputs", "saturating_activation"),
            ("dense_*",),
        ),
        (("wine-raw", "wine-mlp"), ("cancer-raw", "cancer-mlp")),
    ),
    Fault(
        "unscaled-columns",
        lambda r: r.but(optimizer="SGD", rate=1e-2),
        Expected(
            ("bad_data", *TOO_LARGE, "dead_units", "not_learning"),
            ("unscaled_inputs", "learning_rate_too_large"),
        ),
        (("wine-raw", "wine-mlp"), ("cancer-raw", "cancer-mlp")),
    ),
    # learning rate
    Fault(
        "rate-1e-10",
        lambda r: r.but(rate=1e-10),
        Expected(
            ("update_too_small", "frozen_weight", "update_lost"),
            ("learning_rate_too_small",),
            EVERY,
        ),
        (*_RATE_FREE, "counting-transformer", "wine-mlp", "friedman-mlp", "digits-mlp+sgd"),
    ),
    Fault(
        "rate-1e-7",
        lambda r: r.but(rate=1e-7),
        Expected(("update_too_small",), ("learning_rate_too_small",), EVERY),
        ("digits-cnn-batchnorm", "sums-lstm", "digits-mlp+momentum", "cancer-mlp"),
    ),
    Fault(
        "rate-by-hand-1e-10",
        lambda r: r.but(rate=1e-10),
        Expected(
            ("update_too_small", "frozen_weight", "update_lost"),
            ("learning_rate_too_small",),
            EVERY,
        ),
        ("digits-mlp+hand", "cancer-mlp+hand", "line-regression+hand"),
    ),
    Fault(
        "rate-zero",
        lambda r: r.but(rate=0.0),
        Expected(
            ("frozen_weight", "update_too_small"),
            ("learning_rate_too_small", "update_not_applied"),
            EVERY,
        ),
        ("digits-mlp", "boxes-cnn"),
    ),
    Fault(
        "decay-to-nothing",
        lambda r: r.but(rate=_decay(r.rate)),
        Expected(("update_too_small",), ("learning_rate_too_small",), EVERY, first_step=36),
        ("digits-mlp", "digits-cnn", "sums-gru", "friedman-mlp", "counting-gru"),
    ),
    Fault(
        "rate-1",
        lambda r: r.but(rate=1.0),
        Expected(
            ("update_too_large", "dead_units", *TOO_LARGE, "not_learning", "zero_gradient"),
            ("learning_rate_too_large", "dying_relu"),
            EVERY,
        ),
        (*_RATE_FREE, "counting-transformer", "digits-residual", "recall-lstm-stack"),
    ),
    Fault(
        "rate-30",
        lambda r: r.but(rate=30.0),
        Expected(
            ("update_too_large", "dead_units", *TOO_LARGE, "not_learning", "zero_gradient"),
            ("learning_rate_too_large", "dying_relu"),
            EVERY,
        ),
        ("digits-deep", "friedman-mlp", "digits-tanh", "topics-transformer"),
    ),
    Fault(
        "diverging",
        lambda r: r.but(optimizer="SGD", rate=1.0),
        Expected(("update_too_large", *TOO_LARGE), ("learning_rate_too_large",), EVERY),
        ("line-regression", "diabetes-linear", "friedman-mlp", "boxes-cnn", "prices"),
    ),
    Fault(
        "too-much-momentum",
        lambda r: r.but(optimizer="SGD", rate=0.6, optimizer_options={"momentum": 0.99}),
        Expected(
            ("update_too_large", *TOO_LARGE, "dead_units", "not_learning"),
            ("learning_rate_too_large", "dying_relu"),
            EVERY,
        ),
        ("digits-mlp", "digits-cnn", "sums-gru", "cancer-mlp"),
    ),
    # data
    Fault(
        "input-outliers",
        lambda r: r.but(corrupt=_in_inputs(1e6, 0.1)),
        Expected(
            ("bad_data", "gradient_spike", "exploding_gradient", "update_too_large", "dead_units"),
            ("input_outliers",),
        ),
        ("friedman-mlp", "diabetes-linear", "boxes-cnn", "friedman-wide"),
    ),
    Fault(
        "input-outliers-sgd",
        lambda r: r.but(corrupt=_in_inputs(1e4, 0.05), optimizer="SGD", rate=0.03),
        Expected(
            ("bad_data", *TOO_LARGE, "dead_units"),
            ("input_outliers",),
        ),
        ("line-regression", "friedman-mlp", "cancer-mlp+sgd"),
    ),
    Fault(
        "nan-inputs",
        lambda r: r.but(corrupt=_in_inputs(np.nan, 0.01)),
        Expected((*NONFINITE, "bad_data"), ("nonfinite_inputs",)),
        ("digits-mlp", "digits-cnn", "sums-lstm", "cancer-mlp", "friedman-mlp", "diabetes-linear"),
    ),
    Fault(
        "nan-targets",
        lambda r: r.but(corrupt=_in_targets(np.nan, 0.01)),
        Expected((*NONFINITE, "bad_data"), ("nonfinite_targets",)),
        ("friedman-mlp", "diabetes-mlp", "boxes-cnn", "sums-gru", "cancer-mlp"),
    ),
    Fault(
        "constant-inputs",
        lambda r: r.but(corrupt=_zeroed),
        Expected(("bad_data", "not_learning", "symmetric_units"), ("constant_inputs",)),
        ("digits-mlp", "digits-cnn", "cancer-mlp", "sums-gru"),
    ),
    Fault(
        "constant-targets",
        lambda r: r.but(corrupt=_one_target),
        Expected(("bad_data",), ("constant_targets",)),
        ("digits-mlp", "friedman-mlp", "cancer-mlp", "boxes-cnn"),
    ),
    Fault(
        "imbalance",
        lambda r: r.but(class_weight=None),
        Expected(("not_learning", "bad_data"), ("class_imbalance",)),
        ("rare-weighted",),
    ),
    Fault(
        "imbalance-linear",
        lambda r: r.but(class_weight=None, options={"widths": ()}),
        Expected(("not_learning", "bad_data"), ("class_imbalance",)),
        ("rare-weighted",),
    ),
    # arithmetic
    Fault(
        "log-of-zero",
        lambda r: r.but(loss=_log_loss),
        Expected(NONFINITE, ("numeric_overflow", "numeric_underflow"), EVERY),
        ("digits-mlp", "digits-cnn", "wine-mlp", "topics-bag"),
    ),
    Fault(
        "exp-overflow",
        lambda r: r.but(loss=_naive_softmax_loss),
        Expected(NONFINITE, ("numeric_overflow", "numeric_underflow"), EVERY),
        ("digits-mlp", "blobs-mlp", "recall-gru-stack"),
    ),
    Fault(
        "division-by-zero",
        _before_head(lambda x: x / ops.max(x, 0, keepdims=True)),
        Expected(NONFINITE, ("numeric_overflow", "numeric_underflow"), EVERY),
        ("digits-mlp", "friedman-mlp", "digits-cnn"),
    ),
    Fault(
        "square-root-of-zero",
        _before_head(lambda x: ops.sqrt(ops.relu(x))),
        Expected(NONFINITE, ("numeric_overflow", "numeric_underflow"), EVERY),
        ("digits-mlp", "friedman-mlp", "circles-mlp"),
    ),
    Fault(
        "overflowing-product",
        _before_head(lambda x: (x * 1e30) * (x * 1e30) * 1e-30),
        Expected(NONFINITE, ("numeric_overflow", "numeric_underflow"), EVERY),
        ("digits-mlp", "cancer-mlp"),
    ),
    # regularisation and clipping
    Fault(
        "strong-l2",
        lambda r: r.but(architecture="dense", options={"l2": 3.0}),
        Expected(
            ("regularizer_dominates", "not_learning", "dead_units", "vanishing_gradient"),
            ("strong_regularization",),
            KERNELS,
        ),
        ("digits-mlp", "friedman-mlp", "wine-mlp", "cancer-mlp"),
    ),
    Fault(
        "strong-l1",
        lambda r: r.but(architecture="dense", options={"l1": 0.3}),
        Expected(
            ("regularizer_dominates", "not_learning", "dead_units", "vanishing_gradient"),
            ("strong_regularization",),
            KERNELS,
        ),
        ("digits-mlp", "digits-deep", "diabetes-mlp"),
    ),
    Fault(
        "strong-weight-decay",
        lambda r: r.but(optimizer="AdamW", optimizer_options={"weight_decay": 60.0}),
        Expected(
            ("regularizer_dominates", "not_learning", "dead_units", "vanishing_gradient"),
            ("strong_regularization",),
            KERNELS,
        ),
        ("digits-mlp", "sums-gru", "digits-cnn"),
    ),
    Fault(
        "clip-to-nothing",
        lambda r: r.but(optimizer_options={"global_clipnorm": 1e-4}),
        Expected(("clipping_dominates", "update_too_small"), ("clipping_too_tight",), EVERY),
        ("digits-mlp+sgd", "friedman-mlp+sgd", "cancer-mlp+sgd", "digits-mlp+momentum"),
    ),
    # updates
    Fault(
        "update-forgotten",
        lambda r: r.but(apply="nothing", steps=200),
        Expected(("frozen_weight",), ("update_not_applied",), EVERY),
        ("digits-mlp+hand", "line-regression+hand"),
    ),
    Fault(
        "update-of-copies",
        lambda r: r.but(apply="copies", steps=200),
        Expected(("frozen_weight",), ("update_not_applied",), EVERY),
        ("cancer-mlp+hand", "digits-mlp+hand"),
    ),
    Fault(
        "head-only-by-hand",
        lambda r: r.but(loop="hand", apply="head", rate=1e-2, steps=300),
        Expected(("frozen_weight",), ("update_not_applied",), HIDDEN),
        ("digits-narrow", "friedman-mlp", "circles-mlp"),
    ),
    Fault(
        "optimizer-of-the-head",
        lambda r: r.but(loop="loop", apply="head"),
        Expected(
            ("frozen_weight", "disconnected_gradient"),
            ("update_not_applied", "unused_variable"),
            HIDDEN,
        ),
        ("digits-narrow", "sums-gru", "friedman-mlp", "topics-bag"),
    ),
    Fault(
        "accumulation-without-end",
        lambda r: r.but(optimizer_options={"gradient_accumulation_steps": 100_000}),
        Expected(
            ("frozen_weight", "update_too_small"),
            ("update_not_applied",),
            EVERY,
        ),
        ("digits-mlp", "digits-cnn"),
    ),
    # precision
    Fault(
        "bfloat16-variables",
        lambda r: r.but(precision="bfloat16", rate=r.rate / 3),
        Expected(("update_lost",), ("low_precision",), KERNELS),
        (
            "digits-mlp+slow-adam",
            "digits-mlp+slow-sgd",
            "cancer-mlp+slow-sgd",
            "wine-mlp+slow-adam",
            "blobs-mlp+slow-sgd",
        ),
    ),
    Fault(
        "float16-variables",
        lambda r: r.but(precision="float16", rate=r.rate / 10),
        Expected(("update_lost", "update_too_small"), ("low_precision",), KERNELS),
        ("digits-mlp+slow-sgd",),
    ),
    Fault(
        "float16-adam",
        lambda r: r.but(precision="float16"),
        Expected(
            (*NONFINITE, "update_too_large", "gradient_underflow", "update_lost"),
            ("low_precision", "numeric_underflow", "numeric_overflow"),
            EVERY,
        ),
        ("digits-mlp", "friedman-mlp", "digits-cnn"),
    ),
    Fault(
        "no-loss-scale",
        lambda r: r.but(
            precision="mixed_float16",
            loop="loop",
            loss_scaling=False,
            objective=lambda loss: loss * 1e-7,
        ),
        Expected(
            ("gradient_underflow", "zero_gradient", "update_too_small", "dead_units"),
            ("low_precision", "numeric_underflow"),
            EVERY,
        ),
        ("digits-mlp+mixed-float16", "digits-cnn+mixed-float16"),
    ),
    Fault(
        "float16-overflow",
        lambda r: r.but(corrupt=_scaled(3e5)),
        Expected(
            ("loss_scale_collapse", *NONFINITE, "bad_data"),
            ("unscaled_inputs", "numeric_overflow", "low_precision"),
            EVERY,
        ),
        ("digits-mlp+mixed-float16", "digits-cnn+mixed-float16"),
    ),
    # head and loss
    Fault(
        "softmax-of-one",
        lambda r: r.but(head="probabilities", options={"head_activation": "softmax"}),
        Expected(("model_mismatch", "not_learning", "zero_gradient"), ("loss_output_mismatch",)),
        ("cancer-mlp", "circles-mlp", "zero-or-not", "cancer-logistic", "zipf-bag"),
    ),
    Fault(
        "double-softmax",
        lambda r: r.but(options={"head_activation": "softmax"}),
        Expected(("model_mismatch", "not_learning"), ("loss_output_mismatch",)),
        ("topics-bag", "iris-sgd"),
    ),
    Fault(
        "no-softmax",
        lambda r: r.but(head="probabilities", options={"head_activation": "linear"}),
        Expected(
            ("model_mismatch", "not_learning", *TOO_LARGE, "zero_gradient"),
            ("loss_output_mismatch",),
        ),
        ("digits-mlp", "digits-fused", "blobs-mlp", "circles-mlp"),
    ),
    Fault(
        "relu-head",
        lambda r: r.but(options={"head_activation": "relu"}),
        Expected(
            ("model_mismatch", "bad_data", "not_learning", "dead_units", "zero_gradient"),
            ("loss_output_mismatch", "dying_relu"),
            ("head/*",),
        ),
        ("friedman-mlp", "digits-mlp", "diabetes-linear"),
    ),
    Fault(
        "tanh-head",
        lambda r: r.but(options={"head_activation": "tanh"}),
        Expected(
            ("bad_data", "model_mismatch", "saturated_units", "not_learning", "vanishing_gradient"),
            ("loss_output_mismatch", "saturating_activation"),
            ("head/*",),
        ),
        ("prices", "diabetes-unscaled-targets", "prices-linear"),
    ),
    Fault(
        "sigmoid-head",
        lambda r: r.but(options={"head_activation": "sigmoid"}),
        Expected(
            ("bad_data", "model_mismatch", "saturated_units", "not_learning", "vanishing_gradient"),
            ("loss_output_mismatch", "saturating_activation"),
            ("head/*",),
        ),
        ("prices", "diabetes-mlp", "line-regression"),
    ),
)

SPECIALS: tuple[Program, ...] = (
    Program(
        "gan!detached-generator",
        functools.partial(special.gan, detach=True),
        expected=Expected(
            ("disconnected_gradient", "zero_gradient"),
            ("non_differentiable_operation", "loss_ignores_parameters"),
            ("generator*",),
        ),
        twin="gan",
        fault="stop-gradient",
    ),
    Program(
        "gan!still-generator",
        functools.partial(special.gan, generator_rate=1e-10),
        expected=Expected(("update_too_small",), ("learning_rate_too_small",), ("generator*",)),
        twin="gan",
        fault="rate-1e-10",
    ),
    Program(
        "gan!wild-generator",
        functools.partial(special.gan, generator_rate=1.0),
        expected=Expected(
            ("update_too_large", *TOO_LARGE, "dead_units"),
            ("learning_rate_too_large",),
            ("generator*",),
        ),
        twin="gan",
        fault="rate-1",
    ),
    Program(
        "two-outputs!one-ignored",
        functools.partial(special.two_outputs, weights={"digit": 0.0, "parity": 1.0}),
        expected=Expected(
            ("zero_gradient", "disconnected_gradient"),
            ("loss_ignores_parameters", "unused_variable"),
            ("digit/*",),
        ),
        twin="two-outputs",
        fault="zero-loss",
    ),
)

RAW: dict[str, tuple[str, dict[str, Any]]] = {
    "wine-raw": ("wine-mlp", {"data": "wine_raw"}),
    "cancer-raw": ("cancer-mlp", {"data": "cancer_raw"}),
}
"""Recipes that are only ever faulty: data as measured, without any scaling."""


def _base(name: str) -> Recipe:
    if name in RAW:
        base, changes = RAW[name]
        return recipe_of(base).but(**changes)
    return recipe_of(name)


def faulty() -> list[Program]:
    found = list(SPECIALS)
    for fault in FAULTS:
        for base in fault.bases:
            name, twin = base if isinstance(base, tuple) else (base, base)
            found.append(
                program(
                    f"{name}!{fault.name}",
                    fault.change(_base(name)),
                    expected=fault.expected,
                    twin=twin,
                    fault=fault.name,
                )
            )
    return found
