"""Find the graph of a model for the variable table: which layer feeds which.

In:  a Functional or Sequential model of Keras; or a training step's graph, while it is traced.
Out: a ``Graph``: the node of each variable, and for each node the nodes that feed it.
Does not know what the graph is needed for.

A model says its graph itself, layer by layer, down into models within it. What the ``call`` of a
layer or custom layer or model does is written nowhere but in the traced step: there a variable
belongs to the operation at which it meets what comes from the data. Operations through which one
value passes unmixed are no nodes, so the graph grows with the layers, not with the operations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tb_gradients.frames import VariableTable
from tb_gradients.training.model.variables import key_of
from tb_gradients.training.tracing.graph_reading import (
    SAME,
    ancestors,
    by_handle,
    graph_of,
    is_backward,
    outermost,
)

Tensor = Any
Model = Any


class Graph(NamedTuple):
    """The graph of a model.

    Attributes:
        of: key of a variable -> the number of its node, from 1.
        fed_by: per node the numbers of those that feed it; the last one is the model's end.
        facts: key of a variable -> what only a traced step shows of it: ``met_in``, the type of the
            operation at which it meets the data; ``softmax_of_one``, if all that comes from it goes
            through a softmax over an axis of length 1, which is 1 whatever it gets: "attention"
            where the result is multiplied as a matrix, else "weights".
    """

    of: Mapping[Any, int]
    fed_by: tuple[tuple[int, ...], ...]
    facts: Mapping[Any, Mapping[str, str]] = {}


def with_graph(table: VariableTable, keys: Sequence[Any], graph: Graph | None) -> VariableTable:
    """The same table, which knows where in the graph its variables are.

    Args:
        keys: of the table's variables, in its order.
    """
    if graph is None or not graph.of:
        return table
    variables = tuple(
        dataclasses.replace(variable, node=graph.of.get(key, 0))
        for variable, key in zip(table.variables, keys, strict=True)
    )
    return dataclasses.replace(table, variables=variables, nodes=graph.fed_by)


def with_facts(
    table: VariableTable, keys: Sequence[Any], facts: Mapping[Any, Mapping[str, str]]
) -> VariableTable:
    """The same table, with what a traced step shows of single variables.

    Args:
        keys: of the table's variables, in its order.
        facts: key of a variable -> its facts.
    """
    if not facts:
        return table
    variables = tuple(
        dataclasses.replace(variable, facts={**variable.facts, **facts.get(key, {})})
        for variable, key in zip(table.variables, keys, strict=True)
    )
    return dataclasses.replace(table, variables=variables)


# --- What a model says ----------------------------------------------------------------------


def graph_of_model(model: Model) -> Graph | None:
    """The graph of a built Functional or Sequential model; None for any other."""
    if isinstance(model, (list, tuple)):
        model = model[0] if len(model) == 1 else None
    if not _is_readable(model):
        return None
    nodes = _Nodes()
    ends = nodes.add_model(model, 0)
    nodes.new(node for node in ends if node)
    return Graph(nodes.of, tuple(tuple(sorted(fed_by)) for fed_by in nodes.fed_by))


def _is_readable(model: Model) -> bool:
    """Whether a model is a chain, or a graph of layers, and nothing else decides what it calls."""
    if model is None:
        return False
    if type(model).__name__ == "Sequential":
        return bool(getattr(model, "layers", None))
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if "Functional" not in kinds or not getattr(model, "operations", None):
        return False
    return not any("call" in vars(k) for k in type(model).__mro__[: _depth(model)])


def _depth(model: Model) -> int:
    """How many classes of the user's own stand before Keras' in the order of inheritance."""
    return [kind.__name__ for kind in type(model).__mro__].index("Functional")


class _Nodes:
    """A graph in the making; numbers of nodes count from 1."""

    def __init__(self) -> None:
        self.of: dict[Any, int] = {}
        self.fed_by: list[set[int]] = []

    def new(self, fed_by: Iterable[int]) -> int:
        self.fed_by.append(set(fed_by))
        return len(self.fed_by)

    def add_model(self, model: Model, entry: int) -> list[int]:
        """Add the layers of a model that a node feeds; gives the nodes of its outputs, in order."""
        if type(model).__name__ == "Sequential":
            ends = [entry]
            for layer in model.layers:
                ends = self.add_layer(layer, ends)
            return ends
        outputs: dict[int, list[int]] = {}

        def source(tensor: Any) -> int | None:
            history = tensor._keras_history
            ends = outputs.get(id(history.operation))
            if ends is None:
                return None
            # What a model within this one gives out comes from different layers of it.
            return ends[history.tensor_index] if history.tensor_index < len(ends) else ends[0]

        late: list[tuple[Any, Any]] = []
        for operation in model.operations:  # in an order in which each comes behind what feeds it
            if type(operation).__name__ == "InputLayer":
                outputs[id(operation)] = [entry]
                continue
            tensors = [t for node in operation._inbound_nodes for t in node.input_tensors]
            sources = [source(tensor) for tensor in tensors]
            outputs[id(operation)] = self.add_layer(
                operation, [s for s in sources if s is not None]
            )
            late += [(operation, t) for t, s in zip(tensors, sources, strict=True) if s is None]
        for operation, tensor in late:  # a layer that is called twice: what stands behind feeds it
            fed_by = source(tensor)
            for node in outputs[id(operation)]:
                if fed_by and node and node != fed_by:
                    self.fed_by[node - 1].add(fed_by)
        return [source(tensor) or 0 for tensor in model.outputs]

    def add_layer(self, layer: Any, fed_by: Sequence[int]) -> list[int]:
        """Add a layer, an operation or a model; gives the nodes of its outputs (0: the data)."""
        feeding = {node for node in fed_by if node}
        passed_on = next(iter(feeding), 0) if len(feeding) < 2 else 0
        if _is_readable(layer):
            # One node in front, so that many inputs of many layers are no edge each.
            return self.add_model(layer, passed_on or (self.new(feeding) if feeding else 0))
        own = getattr(layer, "variables", [])
        if not own and len(feeding) < 2:
            return [passed_on]
        node = self.new(feeding)
        for variable in own:
            self.of.setdefault(key_of(variable), node)
        return [node]


# --- What a traced step says ----------------------------------------------------------------


def graph_of_step(
    variables: Sequence[Any], gradients: Sequence[Any], loss: Tensor | None = None
) -> Graph | None:
    """The graph of a step that is being traced; None of an eager one.

    Args:
        variables: whose nodes are wanted.
        gradients: of this step.
        loss: the value that was differentiated, where it is known: what it does not depend on is no
            part of the graph, and it is the model's end. (Else that stays without anything.)
    """
    graph = graph_of(gradients)
    if graph is None:
        return None
    if loss is not None and (not tf.is_symbolic_tensor(loss) or loss.graph is not graph):
        loss = None
    keys = by_handle(variables, map(key_of, variables))
    return _Reader(keys).read(graph.get_operations(), loss)


def has_softmax_of_one(gradients: Sequence[Any]) -> bool:
    """Whether the step that is being traced has a softmax over an axis of length 1."""
    graph = graph_of(gradients)
    return graph is not None and any(_is_of_one(one) for one in graph.get_operations())


_SOFTMAX = ("Softmax", "LogSoftmax")

PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
_DROPOUT = ("Mul", "SelectV2")


def _is_of_one(operation: Any) -> bool:
    """Whether it is a softmax over an axis of length 1. (A single unit is for `model_mismatch`.)"""
    if operation.type not in _SOFTMAX:
        return False
    shape = operation.inputs[0].shape
    return bool(shape.rank is not None and shape.rank > 2 and shape[-1] == 1)


def _is_attention(softmax: Any) -> bool:
    """Whether what a softmax gives is multiplied as a matrix of attention is."""
    waiting = list(softmax.outputs)
    for _ in range(_LONGEST):
        if not waiting:
            break
        for operation in waiting.pop().consumers():
            if is_backward(operation):
                continue
            if operation.type in PRODUCTS:
                return True
            if operation.type in (*SAME, *_DROPOUT):
                waiting += operation.outputs
    return False


_LONGEST = 16
"""Operations between a softmax and the product that it weighs."""


class _Value(NamedTuple):
    """What is known of a tensor: the node it comes from (0: the data), or the variables alone."""

    node: int
    reads: frozenset[Any] = frozenset()


class _Reader:
    """Goes once through the operations of a graph, each behind those that feed it."""

    def __init__(self, keys: Mapping[int, Any]) -> None:
        self._keys = keys
        self._values: dict[Any, _Value | None] = {}
        self._nodes = _Nodes()
        self._merges: dict[frozenset[int], int] = {}
        self._facts: dict[Any, dict[str, str]] = {}
        self._softmaxes: dict[int, str] = {}

    def read(self, operations: Sequence[Any], loss: Tensor | None) -> Graph:
        wanted = None if loss is None else ancestors([loss.op])
        backward: set[Any] = set()
        for operation in operations:
            if wanted is not None and operation not in wanted:
                continue
            sources = [tensor.op for tensor in operation.inputs]
            if is_backward(operation):
                backward.add(operation)
            elif wanted is None and any(source in backward for source in sources):
                backward.add(operation)  # clipping, and whatever else is done to gradients
            else:
                self._values[operation] = self._value(operation)
        end = self._values.get(loss.op) if loss is not None else None
        self._nodes.new([end.node] if end is not None and end.node else [])
        self._tell_softmaxes()
        fed_by = tuple(tuple(sorted(found)) for found in self._nodes.fed_by)
        return Graph(self._nodes.of, fed_by, self._facts)

    def _tell_softmaxes(self) -> None:
        """Which variables count in nothing but a softmax over an axis of length 1."""
        if not self._softmaxes:
            return
        fed_by = self._nodes.fed_by
        ends = set(range(1, len(fed_by) + 1)).difference(*fed_by) - set(self._softmaxes)
        if fed_by[-1]:
            ends = {len(fed_by)}
        count = self._before(ends)
        for node, kind in self._softmaxes.items():
            before = self._before({node}, through=True)
            for key, of in self._nodes.of.items():
                if of in before and of not in count:
                    self._facts.setdefault(key, {})["softmax_of_one"] = kind

    def _before(self, start: set[int], through: bool = False) -> set[int]:
        """The nodes that these depend on, and these; as far as a softmax of one, or through it."""
        found, waiting = set(start), list(start)
        while waiting:
            node = waiting.pop()
            if not through and node in self._softmaxes:
                continue
            fresh = self._nodes.fed_by[node - 1] - found
            found |= fresh
            waiting += fresh
        return found

    def _value(self, operation: Any) -> _Value | None:
        """What an operation gives; None: constants."""
        read: set[Any] = set()
        known: list[_Value] = []
        for tensor in operation.inputs:
            if tensor.dtype == tf.resource:
                key = self._keys.get(outermost(tensor))
                if key is not None:
                    read.add(key)
            elif (value := self._values.get(tensor.op)) is not None:
                known.append(value)
        if not operation.inputs:
            return None if operation.type in ("Const", "NoOp") else _Value(0)
        for value in known:
            read |= value.reads
        data = [value.node for value in known if not value.reads]
        if data and data[0] and _is_of_one(operation):
            node = self._nodes.new({data[0]})
            self._softmaxes[node] = "attention" if _is_attention(operation) else "weights"
            return _Value(node)
        if operation.type == "ReadVariableOp" or (read and not data):
            return _Value(0, frozenset(read)) if read else None
        if read and _of_scalars(operation):  # a penalty is added to the loss: that is no layer
            return self._merged(data)
        if not read:
            return self._merged(data) if data else None
        for key in read:
            self._facts.setdefault(key, {"met_in": operation.type})
        return _Value(self._met(read, data))

    def _merged(self, data: Sequence[int]) -> _Value:
        sources = frozenset(node for node in data if node)
        if len(sources) < 2:
            return _Value(next(iter(sources), 0))
        if sources not in self._merges:
            self._merges[sources] = self._nodes.new(sources)
        return _Value(self._merges[sources])

    def _met(self, read: set[Any], data: Sequence[int]) -> int:
        """The node at which variables meet what comes from these nodes."""
        fed_by = {node for node in data if node}
        of = self._nodes.of
        before = {of[key] for key in read if key in of}
        if not before:
            node = self._nodes.new(fed_by)
        else:  # used again, as a shared layer is: one node, and all that feeds it
            node = min(before)
            self._nodes.fed_by[node - 1] |= (fed_by | before) - {node}
        for key in read:
            of.setdefault(key, node)
        return node


def _of_scalars(operation: Any) -> bool:
    return all(tensor.shape.rank == 0 for tensor in operation.inputs)
