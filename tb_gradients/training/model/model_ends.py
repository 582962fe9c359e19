"""Find the first and the last layers of a model: how inputs are scaled, which layer is the head.

In:  a Keras model.
Out: facts for the variable table.
Does not know about gradients or losses. (``heads`` finds the head in a traced step instead.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_gradients.frames import Variable
from tb_gradients.judging.data_scales import NEGATIVE, SCALING
from tb_gradients.training.model.layers import ACTIVATIONS, SHAPE_ONLY, function_name

Layer = Any

_SCALING = (
    "Rescaling",
    "Normalization",
    "BatchNormalization",
    "LayerNormalization",
    "UnitNormalization",
)
"""Layers that bring inputs of any scale to a usual one."""


_PASSING = ("InputLayer", "Reshape", "Flatten", "Permute", "ZeroPadding2D", *SHAPE_ONLY)
"""Layers in front that leave the values alone (random augmentation, too, is passed over)."""


_PASSING_OPERATIONS = (
    *("cast", "reshape", "transpose", "squeeze", "stack", "concat", "concatenate"),
    *("expanddims", "getitem"),
)
"""Operations of a functional model that leave them alone; by name, in small letters."""


def ends_of(model: Any) -> dict[str, str]:
    """The end of the model, where it meets the loss, and what stands at its beginning."""
    facts = {}
    for layer in _front(model):
        kind = type(layer).__name__
        operation = _operation(layer)
        if operation in _PASSING_OPERATIONS or kind in _PASSING or kind.startswith("Random"):
            continue
        facts["first_layer"] = kind
        # `x / 255`, or a custom function: inputs that are scaled by hand.
        if kind in (*_SCALING, "Lambda") or operation:
            facts[SCALING] = kind
            least = np.asarray(getattr(layer, "variance", None) if kind == "Normalization" else 1.0)
            if least.dtype.kind == "f" and least.size and least.min() < 0:
                facts[NEGATIVE] = f"{float(least.min()):.3g}"
        break
    tail = _tail(model)
    heads = [layer for layer in tail if hasattr(layer, "units") or hasattr(layer, "filters")]
    # It is not known what a custom layer at the end does to its input.
    if not heads or not all(_is_known(layer) for layer in tail[: tail.index(heads[0])]):
        return facts
    activations = [name for layer in reversed(tail) if (name := _own_activation(layer))]
    units = getattr(heads[0], "units", None) or getattr(heads[0], "filters", None)
    return {**facts, **_head(heads[0].name, activations, units)}


def scaling_of(model: Any) -> tuple[np.ndarray, ...]:
    """What the first layer of a model subtracts from its input, and what it divides by then.

    Of Keras' Normalization and Rescaling; empty for any other first layer.
    """
    layer: Any = next(
        (one for one in _front(model) if type(one).__name__ not in ("InputLayer",)), None
    )
    kind = type(layer).__name__
    if not type(layer).__module__.startswith("keras.") or getattr(layer, "invert", False):
        return ()
    if kind == "Normalization" and getattr(layer, "variance", None) is not None:
        with np.errstate(invalid="ignore"):  # of a negative variance: NaN, as the layer gives
            deviation = np.sqrt(np.asarray(layer.variance, np.float32))
        return np.asarray(layer.mean, np.float32), np.maximum(deviation, SMALLEST_DEVIATION)
    if kind == "Rescaling":
        scale, offset = (np.asarray(v, np.float32) for v in (layer.scale, layer.offset))
        return (-offset / scale, 1 / scale) if scale.all() else ()
    return ()


SMALLEST_DEVIATION = 1e-7
"""What Normalization divides by at least: the epsilon of Keras."""


def head_facts(variable: Variable, activations: Sequence[str]) -> dict[str, str]:
    """The end of the model: the layer of this variable, and the activations behind it."""
    name = variable.module.rpartition("/")[2]
    return _head(name, activations, variable.units or variable.shape[-1])


def _head(name: str, activations: Sequence[str], units: int | None) -> dict[str, str]:
    facts = {
        "head": name,
        "head_activation": activations[-1] if activations else "linear",
        "head_activations": ",".join(activations),
    }
    return facts if units is None else {**facts, "head_units": str(units)}


def _is_known(layer: Layer) -> bool:
    """Whether a layer behind the head is an activation, or leaves the values alone."""
    kind = type(layer).__name__
    return kind in ACTIVATIONS or kind in _PASSING or hasattr(layer, "activation")


def _own_activation(layer: Layer) -> str:
    """The activation that this layer itself applies; "" for none."""
    kind = type(layer).__name__
    name = ACTIVATIONS.get(kind) or function_name(getattr(layer, "activation", None))
    return "" if name == "linear" else name


def _front(model: Any) -> list[Layer]:
    """The layers, and the operations between them, from the input on, as far as they are one chain;
    of models within the model (a pretrained base, a block of augmentation) their layers."""
    chain = getattr(model, "operations", None) or getattr(model, "layers", [])
    return [
        inner
        for layer in chain
        for inner in (_front(layer) if hasattr(layer, "get_layer") else [layer])
    ]


def _operation(layer: Layer) -> str:
    """Name of what is no layer, but an operation in a functional model; "" for a layer."""
    kind = type(layer).__name__
    if kind in ("TFOpLambda", "SlicingOpLambda"):  # those of Keras 2
        return str(layer.name).rpartition(".")[2].replace("_", "")
    return "" if hasattr(layer, "trainable") else kind.lower()


def _tail(model: Any) -> list[Layer]:
    """The last layer with weights and what stands behind it, the last one first.

    Known for Sequential models and for functional ones of one output. (What a custom ``call``
    makes of its layers is not written anywhere.)
    """
    layer: Any = None
    if type(model).__name__ == "Sequential":
        chain = list(getattr(model, "layers", []))
    else:
        outputs = getattr(model, "outputs", None) or []
        if len(outputs) != 1:
            return []
        chain = []
        layer = getattr(getattr(outputs[0], "_keras_history", None), "operation", None)
        while layer is not None:
            chain.insert(0, layer)
            if getattr(layer, "weights", None):
                break
            parents = [
                parent.operation
                for node in getattr(layer, "_inbound_nodes", [])[-1:]
                for parent in getattr(node, "parent_nodes", [])
            ]
            layer = parents[0] if len(parents) == 1 else None
    if not chain:
        return []
    if hasattr(chain[-1], "layers"):
        return _tail(chain[-1])
    found: list[Layer] = []
    for layer in reversed(chain):
        found.append(layer)
        if getattr(layer, "weights", None):
            break
    return found
