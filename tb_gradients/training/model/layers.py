"""Read from the layers of a Keras model what the variable table says about them.

In:  a Keras model, or one of its layers.
Out: the layers that follow, activations, initializers, penalties, as plain values.
Does not know about variables, optimizers or the run.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

Layer = Any

NORMALIZATIONS = ("BatchNormalization", "GroupNormalization", "InstanceNormalization")
"""Layers that subtract a mean over the batch or over each channel's positions: a constant
per channel added before them changes nothing. (LayerNormalization subtracts the mean over
the channels and keeps a bias' differences between them.)"""


SHAPE_ONLY = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Identity")
"""Layers between another layer and its activation or normalisation that change neither."""


ACTIVATIONS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
}


def flat_layers(model: Any) -> list[Layer]:
    """The model (or each of several) and all layers inside it, however deep."""
    if isinstance(model, (list, tuple)):
        return [layer for one in model for layer in flat_layers(one)]
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten(include_self=True, recursive=True))
    return [model, *getattr(model, "layers", [])]


def successors_of(model: Any) -> dict[int, list[Layer]]:
    """id(layer) -> the layers that consume its output, in Sequential and functional models."""
    following: dict[int, list[Layer]] = {}
    for layer in flat_layers(model) if model is not None else []:
        operations = getattr(layer, "operations", None) or []
        for operation in operations:
            for node in getattr(operation, "_inbound_nodes", []):
                for parent in getattr(node, "parent_nodes", []):
                    before = following.setdefault(id(parent.operation), [])
                    if operation not in before:
                        before.append(operation)
        if type(layer).__name__ == "Sequential":
            chain = list(layer.layers)
            for first, second in itertools.pairwise(chain):
                before = following.setdefault(id(first), [])
                if second not in before:
                    before.append(second)
    return following


def layer_behind(layer: Layer, successors: Mapping[int, Sequence[Layer]]) -> Layer:
    """The one layer behind, seen through dropout; None if there are none or several."""
    for _ in range(8):
        after = successors.get(id(layer), [])
        if layer is None or len(after) != 1:
            return None
        layer = after[0]
        if type(layer).__name__ not in SHAPE_ONLY:
            return layer
    return None


def values_normalized(layer: Layer) -> int:
    """Of how many values of a sample a normalisation takes the mean, or the size.

    0 for any other layer, and where shapes are not fixed. (BatchNormalization takes it over the
    samples of the batch, too.)
    """
    kind = type(layer).__name__
    if not kind.endswith("Normalization") or kind == "SpectralNormalization":
        return 0
    shape = _input_shape(layer)
    if len(shape) < 2:
        return 0
    axis = getattr(layer, "axis", -1)
    own = {int(a) % len(shape) for a in (axis if isinstance(axis, (tuple, list)) else [axis])}
    over = own
    if kind in ("BatchNormalization", "GroupNormalization"):
        over = set(range(1, len(shape))) - own
    sizes = [shape[a] for a in sorted(over)]
    if kind == "GroupNormalization":
        channels, groups = shape[max(own)], getattr(layer, "groups", 1)
        sizes.append(channels // groups if channels and groups > 0 else 1)
    return math.prod(size or 0 for size in sizes)


def _input_shape(layer: Layer) -> tuple[int | None, ...]:
    """With the axis of the samples; () if it is not known."""
    for shape in (getattr(layer, "_build_shapes_dict", None) or {}).values():
        if isinstance(shape, (tuple, list)):
            return tuple(shape)
    for node in getattr(layer, "_inbound_nodes", [])[:1]:
        given = getattr(node, "input_tensors", [])
        # Of Keras 2 a single input is no list, and a slice of it would be a new operation.
        for tensor in (given if isinstance(given, (list, tuple)) else [given])[:1]:
            return tuple(tensor.shape)
    return ()


def activation_of(layer: Layer, following: str, successors: Mapping[int, Sequence[Layer]]) -> str:
    """The layer's activation, or that of the activation layer behind it."""
    own = function_name(getattr(layer, "activation", None))
    if layer is None or own not in ("", "linear"):
        return own
    current = layer
    for _ in range(8):
        after = successors.get(id(current), [])
        if len(after) != 1:
            break
        current = after[0]
        kind = type(current).__name__
        if kind == "Activation":
            return function_name(current.activation)
        if kind in ACTIVATIONS:
            return ACTIVATIONS[kind]
        if kind not in (*SHAPE_ONLY, *NORMALIZATIONS, "LayerNormalization"):
            break
    return own


def layer_setting(layer: Layer, attribute: str, kind: str) -> Any:
    """``kernel_initializer`` for "kernel", ``embeddings_initializer`` for "embeddings", ..."""
    return getattr(layer, f"{attribute}_{kind}", None)


def layer_facts(layer: Layer) -> dict[str, str]:
    facts = {}
    for name in ("units", "filters", "strides", "padding", "rate", "momentum", "epsilon"):
        value = getattr(layer, name, None)
        if isinstance(value, (numbers.Number, str, tuple)):
            facts[name] = str(value)
    compute_dtype = getattr(layer, "compute_dtype", None)
    if isinstance(compute_dtype, str):
        facts["compute_dtype"] = compute_dtype
    if not getattr(layer, "trainable", True):
        facts["trainable"] = "False"
    return facts


def time_steps_of(model: Any) -> dict[int, int]:
    """id(cell) -> over how many time steps its recurrent layer runs, where that is fixed."""
    found = {}
    for layer in flat_layers(model) if model is not None else []:
        cell = getattr(layer, "cell", None)
        shapes = getattr(layer, "_build_shapes_dict", None) or {}
        for shape in shapes.values() if cell is not None else ():
            if isinstance(shape, (tuple, list)) and len(shape) == 3 and shape[1]:
                found[id(cell)] = int(shape[1])
    return found


def penalty_facts(regularizer: Any) -> dict[str, str]:
    """The strengths of an L1, L2 or L1L2 penalty: the rules compute its gradient from them."""
    facts = {}
    for name in ("l1", "l2"):
        value = getattr(regularizer, name, None)
        try:
            if value is not None and float(value) > 0:
                facts[name] = f"{float(value):.6g}"
        except (TypeError, ValueError):  # a custom penalty with another meaning
            continue
    return facts


def function_name(function: Any) -> str:
    if function is None:
        return ""
    return str(getattr(function, "__name__", type(function).__name__))


def class_name(thing: Any) -> str:
    return "" if thing is None else type(thing).__name__
