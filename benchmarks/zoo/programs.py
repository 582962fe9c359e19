"""The programs: every healthy one, and beside them (``faults``) every faulty one.

In:  nothing.
Out: ``programs()``: name, how to train it, and what is known of it.
Does not know how programs are run or judged.

A name is base recipe + twist: "digits-mlp+cosine". The half of the zoo that a program belongs
to follows from its name alone; thresholds may be looked at on the half "tuning" only.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras

from zoo import special
from zoo.recipes import Outcome, Recipe, train

Half = Literal["tuning", "held back"]
Train = Callable[[int, "str | os.PathLike[str]"], Outcome]

schedules = keras.optimizers.schedules
layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Expected:
    """What must be said of a faulty program.

    Attributes:
        rules: acceptable ones; the first is the primary one, the others show the same fault.
        causes: acceptable ones.
        variables: patterns (``fnmatch``) of the variables to be named, any of them; empty:
            the fault is in no variable.
        first_step: from which on it is faulty.
    """

    rules: tuple[str, ...]
    causes: tuple[str, ...]
    variables: tuple[str, ...] = ()
    first_step: int = 0


@dataclasses.dataclass(frozen=True)
class Program:
    """One training program of the zoo.

    Attributes:
        train: (seed, folder) -> outcome.
        target: the skill that a healthy one reaches.
        expected: ``None`` for a healthy one.
        twin: name of the healthy program that a faulty one is measured against.
        fault: what is wrong with it.
    """

    name: str
    train: Train
    target: float = 0.5
    expected: Expected | None = None
    twin: str = ""
    fault: str = ""

    @property
    def faulty(self) -> bool:
        return self.expected is not None

    @property
    def half(self) -> Half:
        return half_of(self.name)


def half_of(name: str) -> Half:
    """By the name's hash, so that it never changes as programs come and go."""
    return "tuning" if hashlib.sha256(name.encode()).digest()[0] % 2 else "held back"


def program(name: str, recipe: Recipe, **fields: Any) -> Program:
    return Program(name, functools.partial(train, recipe), recipe.target, **fields)


# --- healthy: one recipe per architecture and data set --------------------------------------


def _xor_head(**options: Any) -> Mapping[str, Any]:
    return {"widths": (8,), "activation": "tanh", "initializer": "glorot_uniform", **options}


BASES: dict[str, Recipe] = {
    # dense
    "digits-mlp": Recipe("digits", target=0.8),
    "digits-fused": Recipe("digits", "fused", target=0.8, head="probabilities"),
    "digits-deep": Recipe("digits", options={"widths": (48,) * 6}, target=0.8),
    "digits-tanh": Recipe(
        "digits", "fused", {"activation": "tanh", "initializer": "glorot_uniform"}, target=0.8
    ),
    "digits-sigmoid": Recipe(
        "digits",
        "fused",
        {"activation": "sigmoid", "initializer": "glorot_uniform"},
        rate=2e-2,
        target=0.8,
    ),
    "digits-selu": Recipe(
        "digits",
        options={"widths": (32,) * 10, "activation": "selu", "initializer": "lecun_normal"},
        rate=1e-3,
        target=0.7,
    ),
    "digits-batchnorm": Recipe("digits", options={"norm": "batch"}, target=0.8),
    "digits-layernorm": Recipe("digits", options={"norm": "layer"}, target=0.8),
    "digits-residual": Recipe("digits", "residual", {"depth": 8, "norm": "layer"}, target=0.8),
    "digits-softmax": Recipe("digits", options={"widths": ()}, rate=2e-2, target=0.8),
    "wine-mlp": Recipe("wine", "fused", batch=16, target=0.85),
    "iris-mlp": Recipe("iris", "fused", batch=16, rate=1e-2, target=0.8),
    "iris-sgd": Recipe("iris", optimizer="SGD", rate=5e-2, batch=16, target=0.6),
    "cancer-mlp": Recipe("cancer", "fused", head="probabilities", target=0.85),
    "cancer-logistic": Recipe("cancer", options={"widths": ()}, rate=2e-2, target=0.85),
    "diabetes-mlp": Recipe("diabetes", "fused", target=0.4),
    "diabetes-linear": Recipe("diabetes", options={"widths": ()}, rate=2e-2, target=0.4),
    "friedman-mlp": Recipe("friedman", "fused", rate=1e-2, target=0.75),
    "friedman-wide": Recipe("friedman", "wide_and_deep", rate=1e-2, target=0.75),
    "line-regression": Recipe("line", options={"widths": ()}, optimizer="SGD", rate=5e-2),
    "blobs-mlp": Recipe("blobs", "fused", rate=1e-2, target=0.55),
    "circles-mlp": Recipe("circles", "fused", rate=1e-2, target=0.8),
    "moons-sigmoid": Recipe(
        "moons",
        "fused",
        {"activation": "sigmoid", "initializer": "glorot_uniform", "widths": (16, 16)},
        head="probabilities",
        rate=3e-2,
        target=0.7,
    ),
    "moons-residual": Recipe("moons", "residual", {"depth": 4, "width": 16}, target=0.8),
    "xor-tanh": Recipe("xor", options=_xor_head(), rate=5e-2, batch=4, target=0.9),
    "one-hot-mlp": Recipe("one_hot_columns", "fused", rate=1e-2, target=0.7),
    "rare-mlp": Recipe("rare", "fused", rate=1e-2, steps=280, target=0.5),
    "zero-or-not": Recipe("zero_or_not", "fused", head="probabilities", target=0.8),
    "friedman-siamese": Recipe("friedman", "siamese", rate=1e-2, target=0.6),
    # convolutions
    "digits-cnn": Recipe("digit_images", "cnn", target=0.75),
    "digits-cnn-batchnorm": Recipe("digit_images", "cnn", {"norm": "batch"}, target=0.75),
    "stripes-cnn": Recipe("stripes", "cnn", {"pool": "mean"}, rate=1e-2, target=0.75),
    "stripes-resnet": Recipe("stripes", "resnet", rate=1e-2, target=0.6),
    "boxes-cnn": Recipe("boxes", "cnn", rate=3e-3, target=0.7),
    # sequences
    "sums-lstm": Recipe("sums", "recurrent", {"cell": "lstm"}, rate=1e-2, target=0.6),
    "sums-gru": Recipe("sums", "recurrent", {"cell": "gru"}, rate=1e-2, target=0.6),
    "sums-simple": Recipe("sums", "recurrent", {"cell": "simple"}, rate=3e-3, target=0.6),
    "recall-gru-stack": Recipe(
        "recall", "recurrent", {"cell": "gru", "depth": 2}, rate=1e-2, target=0.7
    ),
    "recall-lstm-stack": Recipe(
        "recall", "recurrent", {"cell": "lstm", "depth": 2}, rate=1e-2, target=0.7
    ),
    "recall-bidirectional": Recipe(
        "recall", "recurrent", {"cell": "gru", "bidirectional": True, "units": 8}, rate=1e-2
    ),
    "sine-gru": Recipe("sine", "recurrent", {"cell": "gru"}, rate=1e-2, target=0.8),
    "digit-rows-lstm": Recipe("digit_rows", "recurrent", {"cell": "lstm"}, rate=1e-2, target=0.6),
    "topics-bag": Recipe("topics", "bag", rate=1e-2, target=0.6),
    "zipf-bag": Recipe("zipf", "bag", rate=2e-2, target=0.5),
    "topics-gru": Recipe("topics", "recurrent", {"cell": "gru"}, rate=1e-2, target=0.5),
    "counting-gru": Recipe("next_token", "recurrent", {"cell": "gru"}, rate=2e-2, target=0.4),
    "counting-transformer": Recipe(
        "next_token", "transformer", {"blocks": 2}, rate=1e-2, target=0.4
    ),
    "topics-transformer": Recipe("topics", "transformer", {"blocks": 2}, rate=3e-3, target=0.5),
    "topics-transformer-post": Recipe(
        "topics", "transformer", {"blocks": 1, "norm_first": False}, rate=3e-3, target=0.5
    ),
    "digit-rows-transformer": Recipe(
        "digit_rows", "transformer", {"blocks": 2}, rate=5e-3, target=0.6
    ),
    # of real sizes: large embeddings, and a large kernel of one unit
    "library-lstm": Recipe("library", "recurrent", {"cell": "lstm"}, rate=1e-2, target=0.5),
    "library-bag": Recipe("library", "bag", {"embedding": 32}, rate=1e-2, target=0.5),
    "library-transformer": Recipe("library", "transformer", {"blocks": 1}, rate=3e-3, target=0.5),
    "large-library-bag": Recipe("large_library", "bag", {"embedding": 32}, rate=1e-2, target=0.5),
    "large-library-gru": Recipe(
        "large_library", "recurrent", {"cell": "gru"}, rate=1e-2, target=0.5
    ),
    "disc-cnn": Recipe("disc_or_ring", "cnn", {"filters": (32,)}, rate=1e-3, target=0.5),
    # reconstruction
    "digits-autoencoder": Recipe(
        "digit_pixels", "autoencoder", {"activation": "elu"}, rate=5e-3, steps=300, target=0.4
    ),
    "stripes-autoencoder": Recipe("moving_images", "conv_autoencoder", rate=5e-3, target=0.3),
    "long-recall-gru": Recipe(
        "long_recall", "recurrent", {"cell": "gru", "units": 24}, rate=1e-2, steps=360, target=0.5
    ),
    # corrections to a frozen layer
    "digits-low-rank": Recipe("digits", "low_rank", rate=1e-2, target=0.7),
}


# --- healthy: the same with a twist ---------------------------------------------------------


def _freeze_first(model: Any) -> None:
    for layer in [layer for layer in model.layers if layer.weights][:-1]:
        layer.trainable = False


def _cosine(rate: float, steps: int = 200) -> Callable[[], Any]:
    return lambda: schedules.CosineDecay(rate, steps)


def _warm_up(rate: float, steps: int = 60) -> Callable[[], Any]:
    return lambda: schedules.CosineDecay(0.0, 200, warmup_target=rate, warmup_steps=steps)


def _steps_down(rate: float) -> Callable[[], Any]:
    return lambda: schedules.PiecewiseConstantDecay([100, 160], [rate, rate / 10, rate / 100])


def _cyclic(rate: float) -> Callable[[], Any]:
    return lambda: schedules.CosineDecayRestarts(rate, 50)


TWISTS: dict[str, tuple[Callable[[Recipe], Recipe], tuple[str, ...]]] = {
    # optimizers
    "sgd": (
        lambda r: r.but(optimizer="SGD", rate=0.1, steps=300, target=0.5),
        ("digits-mlp", "cancer-mlp", "digits-cnn-batchnorm", "wine-mlp", "friedman-mlp"),
    ),
    "momentum": (
        lambda r: r.but(optimizer="SGD", rate=2e-2, optimizer_options={"momentum": 0.9}),
        ("digits-mlp", "digits-cnn", "digits-batchnorm", "sums-gru", "digits-residual"),
    ),
    "rmsprop": (
        lambda r: r.but(optimizer="RMSprop"),
        ("digits-mlp", "sums-lstm", "topics-bag", "boxes-cnn"),
    ),
    "adamw": (
        lambda r: r.but(optimizer="AdamW", optimizer_options={"weight_decay": 0.01}),
        ("digits-mlp", "counting-transformer", "digits-cnn"),
    ),
    "slow-adam": (
        lambda r: r.but(rate=3e-4, steps=500),
        ("digits-mlp", "cancer-mlp", "wine-mlp"),
    ),
    "slow-sgd": (
        lambda r: r.but(optimizer="SGD", rate=2e-2, steps=500, target=0.4),
        ("digits-mlp", "cancer-mlp", "blobs-mlp"),
    ),
    "adagrad": (lambda r: r.but(optimizer="Adagrad", rate=5e-2), ("topics-bag", "digits-mlp")),
    "lion": (lambda r: r.but(optimizer="Lion", rate=1e-3), ("digits-mlp", "topics-transformer")),
    "nadam": (lambda r: r.but(optimizer="Nadam"), ("cancer-mlp",)),
    "adafactor": (lambda r: r.but(optimizer="Adafactor", rate=3e-2, steps=300), ("digits-mlp",)),
    "ema": (
        lambda r: r.but(
            optimizer_options={"use_ema": True, "ema_overwrite_frequency": 20}, target=0.5
        ),
        ("digits-mlp", "friedman-mlp"),
    ),
    # schedules
    "cosine": (
        lambda r: r.but(rate=_cosine(r.rate)),
        ("digits-mlp", "friedman-mlp", "digits-cnn", "sums-gru"),
    ),
    "warm-up": (
        lambda r: r.but(rate=_warm_up(2 * r.rate)),
        ("digits-mlp", "topics-transformer", "counting-transformer", "digits-autoencoder"),
    ),
    "steps-down": (
        lambda r: r.but(rate=_steps_down(r.rate)),
        ("digits-mlp", "digits-cnn-batchnorm", "wine-mlp"),
    ),
    "cyclic": (lambda r: r.but(rate=_cyclic(2 * r.rate)), ("digits-mlp", "friedman-mlp")),
    # clipping, accumulation, noise
    "clip-norm": (
        lambda r: r.but(optimizer_options={"global_clipnorm": 1.0}),
        ("sums-lstm", "topics-transformer", "digits-mlp", "counting-gru"),
    ),
    "clip-always": (  # by design: Adam does not care for the scale
        lambda r: r.but(optimizer_options={"clipnorm": 0.05}),
        ("digits-mlp", "counting-transformer"),
    ),
    "accumulate": (
        lambda r: r.but(
            optimizer_options={"gradient_accumulation_steps": 4},
            steps=2 * r.steps,
            rate=2 * r.rate,
            batch=16,
        ),
        ("digits-mlp", "friedman-mlp", "digits-cnn", "topics-bag"),
    ),
    "dropout-l2": (
        lambda r: r.but(options={"dropout": 0.5, "l2": 1e-3}, target=0.5, steps=300),
        ("digits-mlp", "digits-cnn", "digits-deep"),
    ),
    "tiny-batch": (
        lambda r: r.but(batch=1, rate=r.rate / 4, steps=400, target=r.target - 0.25),
        ("digits-mlp", "friedman-mlp", "cancer-mlp", "iris-mlp"),
    ),
    "large-batch": (
        lambda r: r.but(batch=256, rate=2 * r.rate),
        ("digits-mlp", "digits-cnn", "friedman-mlp"),
    ),
    # long, or hardly at all
    "long": (
        lambda r: r.but(rate=3 * r.rate, steps=700),
        ("wine-mlp", "cancer-logistic", "circles-mlp", "xor-tanh"),
    ),
    "fine-tune": (
        lambda r: r.but(pretrain=200, rate=1e-5, steps=150),
        ("digits-mlp", "digits-cnn", "cancer-mlp", "topics-bag", "friedman-mlp"),
    ),
    "frozen-base": (
        lambda r: r.but(prepare=_freeze_first, rate=2e-2, target=0.5),
        ("digits-mlp", "digits-cnn", "digits-tanh"),
    ),
    # precision and loops
    "mixed-float16": (
        lambda r: r.but(precision="mixed_float16"),
        ("digits-mlp", "digits-cnn", "topics-bag"),
    ),
    "mixed-bfloat16": (
        lambda r: r.but(precision="mixed_bfloat16"),
        ("digits-mlp", "digits-cnn-batchnorm", "friedman-mlp"),
    ),
    "xla": (lambda r: r.but(loop="xla", steps=100, target=0.3), ("digits-mlp",)),
    "eager": (
        lambda r: r.but(loop="eager", steps=60, rate=1e-2, target=0.5),
        ("digits-mlp", "wine-mlp"),
    ),
    "executions": (lambda r: r.but(loop="executions"), ("digits-mlp", "digits-cnn")),
    "loop": (
        lambda r: r.but(loop="loop"),
        ("digits-mlp", "digits-cnn", "sums-gru", "topics-bag", "digits-autoencoder"),
    ),
    "hand": (
        lambda r: r.but(loop="hand", rate=0.1, steps=300, target=0.5),
        ("digits-mlp", "cancer-mlp", "line-regression"),
    ),
    # losses of another scale
    "loss-times-1000": (
        lambda r: r.but(loop="loop", objective=lambda loss: 1000 * loss),
        ("digits-mlp", "friedman-mlp"),
    ),
    "loss-times-0.001": (
        lambda r: r.but(loop="loop", objective=lambda loss: 1e-3 * loss),
        ("digits-mlp", "friedman-mlp"),
    ),
    "zero-head": (
        lambda r: r.but(options={"head_initializer": "zeros"}),
        ("digits-mlp", "digits-cnn", "friedman-mlp"),
    ),
    "zero-blocks": (
        lambda r: r.but(options={"last_initializer": "zeros"}),
        ("digits-residual", "moons-residual"),
    ),
}


def _on(base: str, **changes: Any) -> Recipe:
    return BASES[base].but(**changes)


def _rescale() -> Any:
    return layers.Rescaling(1 / 255)


def _as_image() -> Any:
    return layers.Reshape((8, 8, 1))


LONERS: dict[str, Recipe] = {
    "digits-bytes-rescaled": _on("digits-mlp", data="digits_raw", options={"before": (_rescale,)}),
    "digits-bytes-batchnorm": _on(
        "digits-mlp", data="digits_raw", options={"before": (layers.BatchNormalization,)}
    ),
    "stripes-bytes-rescaled": _on(
        "stripes-cnn", data="stripes_raw", options={"before": (_rescale,)}, steps=300
    ),
    "wine-columns-batchnorm": Recipe(
        "wine_raw", options={"before": (layers.BatchNormalization,)}, batch=16, target=0.8
    ),
    "diabetes-unscaled-targets": _on(
        "diabetes-mlp", data="diabetes_unscaled", rate=5e-2, steps=420, target=0.3
    ),
    "prices": _on("friedman-mlp", data="prices", rate=5e-2, steps=400, target=0.5),
    "prices-linear": Recipe(
        "prices", options={"widths": ()}, optimizer="SGD", rate=1e-2, steps=300, target=0.5
    ),
    "one-batch": _on("digits-mlp", data="one_batch", rate=1e-2, steps=300, target=0.95),
    "one-batch-cnn": _on(
        "digits-cnn",
        data="one_batch",
        options={"before": (_as_image,)},
        rate=1e-2,
        target=0.95,
    ),
    "noisy-labels": _on("blobs-mlp", data="noisy_labels", target=0.35),
    "rare-weighted": _on(
        "rare-mlp", data="hidden_rare", class_weight={0: 1.0, 1: 30.0}, target=0.4
    ),
    "cancer-hinge": _on(
        "cancer-logistic", loss=lambda _: keras.losses.Hinge(), rate=2e-2, target=0.8
    ),
    "friedman-mae": _on(
        "friedman-mlp", loss=lambda _: keras.losses.MeanAbsoluteError(), target=0.7
    ),
    "friedman-huber": _on("friedman-mlp", loss=lambda _: keras.losses.Huber(), target=0.7),
    "digits-smoothed": _on(
        "zero-or-not",
        loss=lambda logits: keras.losses.BinaryCrossentropy(logits, label_smoothing=0.1),
        target=0.7,
    ),
    "digits-autoencoder-sigmoid": _on("digits-autoencoder", options={"head_activation": "sigmoid"}),
    "digits-elu": _on("digits-mlp", options={"activation": "elu", "widths": (64, 32, 16)}),
    "digits-gelu": _on("digits-mlp", options={"activation": "gelu"}),
    "digits-swish-bn": _on("digits-mlp", options={"activation": "swish", "norm": "batch"}),
    "digits-wide": _on("digits-mlp", options={"widths": (256,)}),
    "digits-narrow": _on("digits-mlp", options={"widths": (8,)}, rate=1e-2, target=0.6),
    "digits-funnel": _on("digits-mlp", options={"widths": (64, 32, 16, 8)}, rate=5e-3, target=0.6),
    "digits-tanh-deep": _on("digits-tanh", options={"widths": (32,) * 6}, target=0.7),
    "sums-lstm-deep": _on("sums-lstm", options={"depth": 3}, target=0.5),
    "sine-simple": _on("sine-gru", options={"cell": "simple"}, rate=5e-3),
}


SPECIALS: dict[str, tuple[Train, float]] = {
    "two-outputs": (special.two_outputs, 0.6),
    "two-outputs-weighted": (
        functools.partial(special.two_outputs, weights={"digit": 1.0, "parity": 0.3}),
        0.5,
    ),
    "gan": (special.gan, 0.6),
    "gan-slow-generator": (functools.partial(special.gan, generator_rate=1e-3), 0.5),
    "alternating-tasks": (special.alternating, 0.4),
    "variational-autoencoder": (special.variational_autoencoder, 0.3),
}


def healthy() -> list[Program]:
    found = [program(name, recipe) for name, recipe in {**BASES, **LONERS}.items()]
    found += [
        program(f"{base}+{twist}", change(BASES[base]))
        for twist, (change, bases) in TWISTS.items()
        for base in bases
    ]
    found += [Program(name, run, target) for name, (run, target) in SPECIALS.items()]
    return found


def recipe_of(name: str) -> Recipe:
    """The recipe of a healthy program, by its name.

    Raises:
        KeyError: there is none of that name that has a recipe.
    """
    base, _, twist = name.partition("+")
    if twist:
        return TWISTS[twist][0](BASES[base])
    return {**BASES, **LONERS}[name]


def programs() -> list[Program]:
    """All of them, by name: healthy and faulty.

    Raises:
        ValueError: two have the same name, or a twin is missing.
    """
    from zoo.faults import faulty

    found = [*healthy(), *faulty()]
    names = {p.name for p in found}
    if len(names) < len(found):
        raise ValueError("two programs have the same name")
    missing = {p.twin for p in found if p.faulty} - names
    if missing:
        raise ValueError(f"no such twin: {sorted(missing)}")
    return sorted(found, key=lambda p: p.name)
