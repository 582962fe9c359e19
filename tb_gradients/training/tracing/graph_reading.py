"""Read what a traced graph says: what depends on what, which variables are read, what it calls.

In:  operations and tensors of a step's graph, while it is traced or afterwards.
Out: operations, captured tensors, graphs of functions.
Does not add anything to a graph (``graphs`` does), or know what is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tb_gradients.training.model.variables import native

Tensor = Any
_T = TypeVar("_T")

SAME = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "EnsureShape", "Transpose")
"""Operations that do not change values."""

_BACKWARD = ("gradient_tape/", "gradients/")
"""Scopes in which TensorFlow puts the operations of a tape and of ``tf.gradients``."""


def graph_of(gradients: Sequence[Any]) -> Any:
    """The graph in which gradients are computed; None of eager ones."""
    tensors = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    tensors = [tensor for tensor in tensors if tensor is not None]
    return tensors[0].graph if tensors and tf.is_symbolic_tensor(tensors[0]) else None


def ancestors(operations: Iterable[Any], ends: frozenset[str] = frozenset()) -> set[Any]:
    """The operations, and all that they depend on.

    Args:
        ends: types of operations of which nothing that they depend on is given.
    """
    found: set[Any] = set()
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            if operation.type not in ends:
                waiting.extend(tensor.op for tensor in operation.inputs)
    return found


def is_backward(operation: Any) -> bool:
    """Whether a tape, or ``tf.gradients``, has made an operation."""
    name = operation.name
    return name.startswith(_BACKWARD) or "/gradient_tape/" in name


def captured(tensor: Tensor) -> Tensor:
    """What a function has captured, through the functions around it; else the tensor itself."""
    while (graph := getattr(tensor, "graph", None)) is not None:
        found = [outer for outer, inner in getattr(graph, "captures", ()) if inner is tensor]
        if not found:
            break
        tensor = found[0]
    return tensor


def outermost(tensor: Tensor) -> int:
    """id of what a function has captured; a key of ``by_handle`` if that is a variable."""
    return id(captured(tensor))


def by_handle(variables: Sequence[Any], values: Iterable[_T]) -> Mapping[int, _T]:
    """id of what functions capture of each variable -> its value, of values in the same order."""
    handles = (id(getattr(native(variable), "handle", variable)) for variable in variables)
    return dict(zip(handles, values, strict=True))


def function_named(graph: Any, name: str) -> Any:
    """The graph of a function that a graph knows; None: it does not."""
    while graph is not None:
        found = graph._get_function(name)
        if found is not None:
            return getattr(found, "graph", None)
        graph = getattr(graph, "outer_graph", None)
    return None


def with_bodies(operations: Iterable[Any], seen: set[int] | None = None) -> Iterable[Any]:
    """Operations, and those of the functions that they call, each function once.

    Args:
        seen: ids of the graphs that have been given already.
    """
    seen = set() if seen is None else seen
    for operation in operations:
        yield operation
        for value in operation.node_def.attr.values():
            names = [value.func.name] if value.func.name else [f.name for f in value.list.func]
            for name in names:
                body = function_named(operation.graph, name)
                if body is not None and id(body) not in seen:
                    seen.add(id(body))
                    yield from with_bodies(body.get_operations(), seen)
