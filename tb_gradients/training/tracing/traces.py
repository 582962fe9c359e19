"""Read settings from a traced training function that are stored nowhere else.

In:  the training function of a Keras model.
Out: its traces, the variables that they write, and how many steps an execution of them makes.
Does not know about Keras' models, probes or tables.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.variables import key_of
from tb_gradients.training.tracing.graph_reading import function_named

Graph = Any

_WRITES = ("Assign", "ResourceApply", "ResourceSparseApply", "ResourceScatter")


def functions_in(function: Any) -> list[Any]:
    """The ``tf.function``s that a Python function calls, by its closure; the outer ones first."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        one = waiting.pop(0)
        is_traced = hasattr(one, "_list_all_concrete_functions")
        if id(one) in seen or not (is_traced or inspect.isroutine(one)):
            continue
        seen.add(id(one))
        if is_traced:
            found.append(one)
            one = one.python_function
        waiting.append(getattr(one, "__wrapped__", None))
        for cell in getattr(one, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # an empty one
                waiting.append(cell.cell_contents)
    return found


def concrete_functions(function: Any) -> list[Any]:
    """All traces of the ``tf.function``s in it, each one's oldest first."""
    return [trace for one in functions_in(function) for trace in one._list_all_concrete_functions()]


def steps_of(trace: Any) -> int:
    """Steps per execution of a traced loop over an iterator."""
    for operation in trace.graph.get_operations():
        if operation.type in ("While", "StatelessWhile"):
            for inner in _called(operation, trace.graph, ("cond",)):
                for one in inner.get_operations():
                    limit = tf.get_static_value(one.inputs[1]) if one.type == "Less" else None
                    if limit is not None:
                        return int(limit)
    return 1


def written_by(trace: Any) -> set[Any]:
    """Keys of the variables that a trace assigns."""
    keys = {id(variable.handle): key_of(variable) for variable in trace.graph.variables}
    captured = {id(inner): keys.get(id(outer)) for outer, inner in trace.graph.captures}
    return _written(trace.graph, captured)


def _written(graph: Graph, handles: Mapping[int, Any]) -> set[Any]:
    """The same of a graph, and of the functions that its operations call.

    Args:
        handles: id of a tensor -> key of the variable that it is the handle of.
    """
    found: set[Any] = set()
    for operation in graph.get_operations():
        inputs = [handles.get(id(tensor)) for tensor in operation.inputs]
        if not any(key is not None for key in inputs):
            continue
        if operation.type.startswith(_WRITES):
            found.add(inputs[0])
        for inner in _called(operation, graph, ("f", "then_branch", "else_branch", "body")):
            # The first inputs of some operations are conditions: those of the function are last.
            given = inputs[len(inputs) - len(inner.inputs) :]
            pairs = zip(inner.inputs, given, strict=False)
            found |= _written(inner, {id(tensor): key for tensor, key in pairs})
    return found - {None}


def _called(operation: Any, graph: Graph, attributes: tuple[str, ...]) -> Iterator[Graph]:
    for name in attributes:
        with contextlib.suppress(ValueError):  # it has no such attribute
            inner = function_named(graph, operation.get_attr(name).name)
            if inner is not None:
                yield inner
