"""Choose the tensors that are measured of what a step was given.

In:  inputs, targets or predictions: nested structures of anything.
Out: their dense tensors; of inputs those that are numbers, not identifiers.
Does not know what is measured of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any


def tensors_of(structure: Any) -> list[Tensor]:
    """The dense tensors and arrays of a nested structure; ragged and sparse ones are left out."""
    leaves = tf.nest.flatten(structure)
    if len(leaves) > 1 and all(isinstance(leaf, (int, float)) for leaf in leaves):
        leaves = [np.asarray(structure)]  # a batch written as lists of numbers
    return [
        leaf
        for leaf in leaves
        if isinstance(leaf, (tf.Tensor, tf.Variable))
        or (isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf")
    ]


def inputs_of(structure: Any, model: Any = None) -> list[Tensor]:
    """Those of ``tensors_of`` the inputs that are numbers, not identifiers such as tokens.

    A model of layers shows it by the layer that takes an input: an embedding takes identifiers,
    a dense or convolutional layer numbers, whatever their type. Otherwise floating-point
    numbers are numbers, and so are bytes and integers in four or more axes, which are images.
    """
    tensors = tensors_of(structure)
    symbols = _symbolic_inputs(model)
    if isinstance(structure, dict):
        takers = [_takes_numbers(symbols.get(name)) for name in sorted(structure)]
    else:
        takers = [_takes_numbers(symbol) for symbol in symbols.values()]
    if len(takers) != len(tensors):
        takers = [None] * len(tensors)
    return [
        tensor
        for tensor, numbers in zip(tensors, takers, strict=True)
        if (_looks_like_numbers(tensor) if numbers is None else numbers)
    ]


def _looks_like_numbers(tensor: Tensor) -> bool:
    dtype = tf.as_dtype(tensor.dtype)
    if not dtype.is_integer or dtype == tf.uint8:
        return True
    return (tf.TensorShape(tensor.shape).rank or 0) >= 4


def _symbolic_inputs(model: Any) -> dict[str, Any]:
    """Name -> Keras tensor of the inputs of a functional or sequential model, in order."""
    try:
        return {symbol.name: symbol for symbol in model.inputs}
    except Exception:  # a subclassed model, one that is not built, or none
        return {}


_PASSING = ("Flatten", "Reshape", "Permute", "Masking", "Dropout", "GaussianNoise", "ZeroPadding")
_NUMERIC = ("Dense", "Conv", "Normalization", "Rescaling", "LSTM", "GRU", "RNN", "Pooling")


def _takes_numbers(symbol: Any) -> bool | None:
    """Whether the layers behind a symbolic input take numbers; None: nobody knows."""
    if symbol is None:
        return None
    answers: set[bool | None] = set()
    waiting, seen = [_operation(symbol._keras_history)], set()
    while waiting:
        operation = waiting.pop()
        for node in operation._outbound_nodes:
            layer = _operation(node)
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            name = type(layer).__name__
            if "Embedding" in name or name in ("IntegerLookup", "CategoryEncoding", "Hashing"):
                answers.add(False)
            elif any(part in name for part in _PASSING):
                waiting.append(layer)
            else:
                answers.add(True if any(part in name for part in _NUMERIC) else None)
    return answers.pop() if len(answers) == 1 else None


def _operation(place: Any) -> Any:
    """The layer of a node or of a tensor's history, which Keras 2 has under another name."""
    return place.operation if hasattr(place, "operation") else place.layer
