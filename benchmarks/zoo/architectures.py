"""Small models of every common kind, as functions of the data and a few options.

In:  ``Data`` and keyword options (activation, initializer, depth, ...).
Out: a built ``keras.Model`` whose last layer fits the task: logits, or probabilities.
Does not know about faults: a fault is an option like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from zoo.data import Data

layers = keras.layers
Tensor = Any
Model = Any

ARCHITECTURES: dict[str, Callable[..., Model]] = {}


def _architecture(make: Callable[..., Model]) -> Callable[..., Model]:
    ARCHITECTURES[make.__name__] = make
    return make


HEADS = {"classes": "softmax", "steps": "softmax", "binary": "sigmoid", "regression": "linear"}
"""What turns the last layer's outputs into the task's predictions."""


def _input(data: Data) -> Tensor:
    return keras.Input(data.x.shape[1:], dtype="int32" if data.vocabulary else None)


def _regularizer(l1: float, l2: float) -> Any:
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


def _initializer(initializer: Any) -> Any:
    """A fresh one for each layer: ("normal", 0.5) and ("constant", 0.1) are short forms."""
    if isinstance(initializer, tuple):
        kind, value = initializer
        if kind == "normal":
            return keras.initializers.RandomNormal(stddev=value)
        return keras.initializers.Constant(value)
    return initializer


def _norm(kind: str | None) -> list[Any]:
    if kind == "batch":
        return [layers.BatchNormalization()]
    return [layers.LayerNormalization()] if kind == "layer" else []


def _chain(x: Tensor, parts: Sequence[Any]) -> Tensor:
    for part in parts:
        x = part(x)
    return x


def _head(
    x: Tensor,
    data: Data,
    head: str,
    initializer: Any = "glorot_uniform",
    head_activation: str | None = None,
    **others: Any,
) -> Tensor:
    """The last layer; always computed in float32, as mixed precision wants it."""
    if head_activation is None:
        head_activation = HEADS[data.task] if head == "probabilities" else "linear"
    dtype = "float32" if keras.config.dtype_policy().name.startswith("mixed") else None
    return layers.Dense(
        data.classes,
        activation=head_activation,
        kernel_initializer=_initializer(initializer),
        dtype=dtype,
        name="head",
        **others,
    )(x)


@_architecture
def dense(
    data: Data,
    head: str,
    *,
    widths: Sequence[int] = (32, 32),
    activation: str = "relu",
    initializer: Any = "he_normal",
    bias: Any = "zeros",
    norm: str | None = None,
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    before: Sequence[Callable[[], Any]] = (),
    before_head: Sequence[Callable[[], Any]] = (),
    head_initializer: Any = "glorot_uniform",
    **head_options: Any,
) -> Model:
    """A stack of dense layers; no widths: a linear model."""
    x = inputs = _input(data)
    for make in before:
        x = make()(x)
    if len(inputs.shape) > 2:
        x = layers.Flatten()(x)
    for i, width in enumerate(widths):
        x = layers.Dense(
            width,
            kernel_initializer=_initializer(initializer),
            bias_initializer=_initializer(bias),
            kernel_regularizer=_regularizer(l1, l2),
            name=f"dense_{i}",
        )(x)
        x = _chain(x, [*_norm(norm), layers.Activation(activation, name=f"act_{i}")])
        if dropout:
            x = layers.Dropout(dropout)(x)
    for make in before_head:
        x = make()(x)
    penalty = _regularizer(l1, l2)
    outputs = _head(x, data, head, head_initializer, kernel_regularizer=penalty, **head_options)
    return keras.Model(inputs, outputs)


@_architecture
def fused(
    data: Data,
    head: str,
    *,
    widths: Sequence[int] = (32, 32),
    activation: str = "relu",
    initializer: Any = "he_normal",
    bias: Any = "zeros",
    before_head: Sequence[Callable[[], Any]] = (),
    head_initializer: Any = "glorot_uniform",
    **head_options: Any,
) -> Model:
    """Dense layers that hold their activation themselves, as most programs write it."""
    x = inputs = _input(data)
    for i, width in enumerate(widths):
        x = layers.Dense(
            width,
            activation=activation,
            kernel_initializer=_initializer(initializer),
            bias_initializer=_initializer(bias),
            name=f"dense_{i}",
        )(x)
    for make in before_head:
        x = make()(x)
    return keras.Model(inputs, _head(x, data, head, head_initializer, **head_options))


@_architecture
def residual(
    data: Data,
    head: str,
    *,
    depth: int = 6,
    width: int = 32,
    activation: str = "relu",
    norm: str | None = None,
    last_initializer: Any = "he_normal",
) -> Model:
    """Dense residual blocks; ``last_initializer="zeros"``: they start as the identity."""
    inputs = _input(data)
    x = layers.Dense(width, name="stem")(inputs)
    for i in range(depth):
        y = _chain(x, [*_norm(norm), layers.Activation(activation)])
        y = layers.Dense(width, kernel_initializer=last_initializer, name=f"block_{i}")(y)
        x = layers.Add()([x, y])
    return keras.Model(inputs, _head(layers.Activation(activation)(x), data, head))


@_architecture
def cnn(
    data: Data,
    head: str,
    *,
    filters: Sequence[int] = (8, 16),
    activation: str = "relu",
    initializer: Any = "he_normal",
    bias: Any = "zeros",
    norm: str | None = None,
    dropout: float = 0.0,
    l2: float = 0.0,
    pool: str = "flatten",
    before: Sequence[Callable[[], Any]] = (),
    before_head: Sequence[Callable[[], Any]] = (),
    head_initializer: Any = "glorot_uniform",
    **head_options: Any,
) -> Model:
    x = inputs = _input(data)
    for make in before:
        x = make()(x)
    for i, count in enumerate(filters):
        x = layers.Conv2D(
            count,
            3,
            padding="same",
            strides=2 if i == 1 else 1,
            kernel_initializer=_initializer(initializer),
            bias_initializer=_initializer(bias),
            kernel_regularizer=_regularizer(0, l2),
            name=f"conv_{i}",
        )(x)
        x = _chain(x, [*_norm(norm), layers.Activation(activation, name=f"act_{i}")])
    x = layers.Flatten()(x) if pool == "flatten" else layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    for make in before_head:
        x = make()(x)
    return keras.Model(inputs, _head(x, data, head, head_initializer, **head_options))


@_architecture
def resnet(data: Data, head: str, *, blocks: int = 2, width: int = 8) -> Model:
    """Convolutional residual blocks whose last normalisation starts at zero."""
    inputs = _input(data)
    x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    for i in range(blocks):
        y = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"block_{i}_a")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"block_{i}_b")(y)
        y = layers.BatchNormalization(gamma_initializer="zeros")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, _head(layers.GlobalAveragePooling2D()(x), data, head))


CELLS = {"lstm": layers.LSTM, "gru": layers.GRU, "simple": layers.SimpleRNN}


@_architecture
def recurrent(
    data: Data,
    head: str,
    *,
    cell: str = "lstm",
    units: int = 16,
    depth: int = 1,
    embedding: int = 16,
    bidirectional: bool = False,
    before_head: Sequence[Callable[[], Any]] = (),
    head_initializer: Any = "glorot_uniform",
    **options: Any,
) -> Model:
    x = inputs = _input(data)
    if data.vocabulary:
        x = layers.Embedding(data.vocabulary, embedding, name="embedding")(x)
    for i in range(depth):
        every_step = i < depth - 1 or data.task == "steps"
        fresh = {k: _initializer(v) for k, v in options.items()}
        part = CELLS[cell](units, return_sequences=every_step, name=f"{cell}_{i}", **fresh)
        x = (layers.Bidirectional(part) if bidirectional else part)(x)
    for make in before_head:
        x = make()(x)
    return keras.Model(inputs, _head(x, data, head, head_initializer))


@_architecture
def bag(
    data: Data,
    head: str,
    *,
    embedding: int = 8,
    width: int = 16,
    activation: str = "relu",
    initializer: Any = "he_normal",
    bias: Any = "zeros",
    embedding_initializer: Any = "uniform",
    before_head: Sequence[Callable[[], Any]] = (),
    **head_options: Any,
) -> Model:
    """The mean of embeddings, then a dense layer: sparse gradients."""
    inputs = _input(data)
    x = layers.Embedding(
        data.vocabulary,
        embedding,
        embeddings_initializer=_initializer(embedding_initializer),
        name="embedding",
    )(inputs)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dense(
        width,
        activation=activation,
        kernel_initializer=_initializer(initializer),
        bias_initializer=_initializer(bias),
        name="dense_0",
    )(x)
    for make in before_head:
        x = make()(x)
    return keras.Model(inputs, _head(x, data, head, **head_options))


@_architecture
def transformer(
    data: Data,
    head: str,
    *,
    blocks: int = 2,
    width: int = 16,
    heads: int = 2,
    norm_first: bool = True,
    dropout: float = 0.0,
    activation: str = "gelu",
    initializer: Any = "glorot_uniform",
) -> Model:
    """Attention and feed-forward blocks; causal where every position is predicted."""
    inputs = _input(data)
    length = data.x.shape[1]
    if data.vocabulary:
        x = layers.Embedding(data.vocabulary, width, name="embedding")(inputs)
    else:
        x = layers.Dense(width, name="embedding")(inputs)
    positions = layers.Embedding(length, width, name="positions")
    x = x + positions(keras.ops.arange(length))
    for i in range(blocks):
        y = layers.LayerNormalization()(x) if norm_first else x
        y = layers.MultiHeadAttention(
            heads, width // heads, kernel_initializer=initializer, name=f"attention_{i}"
        )(y, y, use_causal_mask=data.task == "steps")
        y = layers.Dropout(dropout)(y) if dropout else y
        x = layers.Add()([x, y])
        x = x if norm_first else layers.LayerNormalization()(x)
        y = layers.LayerNormalization()(x) if norm_first else x
        y = layers.Dense(
            2 * width, activation=activation, kernel_initializer=initializer, name=f"up_{i}"
        )(y)
        y = layers.Dense(width, kernel_initializer=initializer, name=f"down_{i}")(y)
        x = layers.Add()([x, y])
        x = x if norm_first else layers.LayerNormalization()(x)
    if norm_first:
        x = layers.LayerNormalization()(x)
    if data.task != "steps":
        x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, _head(x, data, head))


@_architecture
def autoencoder(
    data: Data,
    head: str,
    *,
    widths: Sequence[int] = (32, 12, 32),
    activation: str = "relu",
    initializer: Any = "he_normal",
    bias: Any = "zeros",
    before_head: Sequence[Callable[[], Any]] = (),
    **head_options: Any,
) -> Model:
    """Dense, to a bottleneck and back."""
    return dense(
        data,
        head,
        widths=widths,
        activation=activation,
        initializer=initializer,
        bias=bias,
        before_head=before_head,
        **head_options,
    )


@_architecture
def conv_autoencoder(data: Data, head: str, *, filters: int = 8, activation: str = "relu") -> Model:
    inputs = _input(data)
    x = layers.Conv2D(filters, 3, strides=2, padding="same", activation=activation, name="down")(
        inputs
    )
    x = layers.Conv2D(filters, 3, padding="same", activation=activation, name="middle")(x)
    x = layers.Conv2DTranspose(
        filters, 3, strides=2, padding="same", activation=activation, name="up"
    )(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", name="head")(x))


@_architecture
def wide_and_deep(data: Data, head: str, *, width: int = 32) -> Model:
    inputs = _input(data)
    deep = layers.Dense(width, activation="relu", name="dense_0")(inputs)
    deep = layers.Dense(width, activation="relu", name="dense_1")(deep)
    return keras.Model(inputs, _head(layers.Concatenate()([inputs, deep]), data, head))


@_architecture
def low_rank(data: Data, head: str, *, width: int = 32, rank: int = 4) -> Model:
    """A frozen layer with a low-rank correction that starts at zero, as LoRA does."""
    inputs = _input(data)
    base = layers.Dense(width, name="base", trainable=False)(inputs)
    down = layers.Dense(rank, use_bias=False, name="lora_a")(inputs)
    up = layers.Dense(width, use_bias=False, kernel_initializer="zeros", name="lora_b")(down)
    x = layers.Activation("relu")(layers.Add()([base, up]))
    return keras.Model(inputs, _head(x, data, head))


class Forgetful(keras.Model):  # type: ignore[misc]
    """Makes a hidden layer, and never calls it."""

    def __init__(self, features: int, units: int, width: int) -> None:
        super().__init__()
        self.hidden = layers.Dense(width, activation="relu", name="hidden")
        self.hidden.build((None, features))
        self.head = layers.Dense(units, name="head")
        self.head.build((None, features))
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        return self.head(x)


@_architecture
def forgetful(data: Data, head: str, *, width: int = 32, **others: Any) -> Model:
    del head, others
    return Forgetful(data.x.shape[1], data.classes, width)


@_architecture
def siamese(data: Data, head: str, *, width: int = 32) -> Model:
    """One layer applied to both halves of the columns: shared weights."""
    inputs = _input(data)
    half = data.x.shape[1] // 2
    shared = layers.Dense(width, activation="relu", name="shared")
    first, second = shared(inputs[:, :half]), shared(inputs[:, half : 2 * half])
    x = layers.Concatenate()([first, second, layers.Multiply()([first, second])])
    return keras.Model(inputs, _head(layers.Dense(width, "relu", name="dense_0")(x), data, head))
