"""What a traced training step says of itself: what was computed forward, and what became the loss.

In:  the gradients and variables of an update, while the step is traced.
Out: ``TracedStep``: operations of the forward pass, the loss, and where each variable is read.
Does not know what is asked of it.

Nothing is read before somebody asks: while the step is traced, only references are kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.variables import key_of, native
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.probe.graphs import in_xla
from tb_gradients.training.tracing.graph_reading import (
    ancestors,
    by_handle,
    captured,
    function_named,
    is_backward,
    outermost,
)

Tensor = Any

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
"""Operations that call a function whose body can be looked into."""

BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
"""Operations that call one of several functions: ``tf.cond``, ``tf.switch_case``."""

DRAWN = ("IteratorGetNext", "OptionalGetValue")
"""Operations that draw a batch from a data set."""

CANDIDATES = 6
"""Values of each kind that are tried for the loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class TracedStep:
    """References to one update of a step, as it was traced.

    Attributes:
        graph: of the function in which the update is.
        end: number of the graph's operations before the update.
        gradients: one per variable; None where there is none.
        variables: of the update.
        paths: of the variables in the table.
        keys: ``key_of`` the variables.
        loss: what ``compute_loss`` gave, if it is known.
        layers: names of the model's layers.
        sources: what the step gets from outside but variables: its batch.
        captures: handles of the variables that it reads before the update, and of tables.
        xla: whether the step is compiled.
    """

    graph: Any
    end: int
    gradients: tuple[Any, ...]
    variables: tuple[Any, ...]
    paths: tuple[str, ...]
    keys: tuple[Any, ...] = ()
    loss: Tensor | None = None
    layers: frozenset[str] = frozenset()
    sources: tuple[Tensor, ...] = ()
    captures: tuple[Any, ...] = ()
    xla: bool = False

    @functools.cached_property
    def operations(self) -> list[Any]:
        """Those before the update, in the order of their making: each behind what feeds it."""
        return list(self.graph.get_operations()[: self.end])

    @functools.cached_property
    def backward(self) -> set[Any]:
        """Operations that compute the gradients, and nothing else."""
        return {op for op in ancestors(g.op for g in self.known) if is_backward(op)}

    @property
    def known(self) -> list[Tensor]:
        """The gradients that there are, as tensors."""
        found = [g.values if isinstance(g, tf.IndexedSlices) else g for g in self.gradients]
        return [tensor for tensor in found if tensor is not None]

    @functools.cached_property
    def forward(self) -> list[Any]:
        """Operations before the first one of the back-propagation."""
        found = []
        for operation in self.operations:
            if operation in self.backward:
                break
            found.append(operation)
        return found

    @functools.cached_property
    def losses(self) -> list[Tensor]:
        """What may have been differentiated, the likeliest first.

        The last values of the forward pass that nothing in it reads, then the last ones that
        something reads: a metric, say. (What was computed beside the loss is among them.)
        """
        forward = set(self.forward)
        used = {t.ref() for op in self.forward for t in op.inputs}
        found = [
            op.outputs[0]
            for op in reversed(self.forward)
            # (The gradient's own beginning, ones of the shape of the loss, has no input.)
            if op.inputs and op.outputs and op.outputs[0].dtype.is_floating
            if op.outputs[0].shape.rank in (0, 1, None)
        ]
        ends = [tensor for tensor in found if tensor.ref() not in used]
        others = [tensor for tensor in found if tensor.ref() in used and tensor.shape.rank == 0]
        if self.loss is not None and self.loss.op in forward:
            others.insert(0, self.loss)
        return [*ends[:CANDIDATES], *others[:CANDIDATES]]

    @functools.cached_property
    def handles(self) -> Mapping[int, str]:
        """id of what is captured of a variable -> its path."""
        return by_handle(self.variables, self.paths)

    @functools.cached_property
    def without_gradient(self) -> frozenset[str]:
        """Paths of the variables that have none."""
        pairs = zip(self.gradients, self.paths, strict=True)
        return frozenset(path for gradient, path in pairs if gradient is None)

    def variable_of(self, tensor: Tensor) -> str:
        """Path of the variable that a resource is; "": of none of them."""
        return self.handles.get(outermost(tensor), "")

    @functools.cached_property
    def scopes(self) -> Mapping[str, str]:
        """Scope of operations -> the layer whose variables are read in it."""
        found: dict[str, str] = {}
        for operation in self.operations:
            for tensor in operation.inputs:
                if tensor.dtype == tf.resource and (path := self.variable_of(tensor)):
                    parts = path.split("/")
                    layer = next((p for p in reversed(parts[:-1]) if p in self.layers), "")
                    for scope in operation.name.split("/")[:-1]:
                        if layer and layer in (scope, _without_number(scope)):
                            found[scope] = layer
        return found

    def layer_of(self, operation: Any) -> str:
        """Name of the innermost layer in whose call an operation was made; "": not known.

        Keras and TensorFlow number scopes, and Keras numbers layers: ``dense_1`` may be either.
        """
        for scope in reversed(operation.name.split("/")[:-1]):
            if scope in self.scopes:
                return self.scopes[scope]
            of = [n for n in (scope, _without_number(scope)) if n in self.layers]
            if of:
                return of[0] if len(of) == 1 else ""
        return ""


@dataclasses.dataclass(frozen=True, eq=False)
class Replica:
    """References to the gradients of a replica that does not observe.

    Attributes:
        graph, end: as those of ``TracedStep``.
        gradients: of this replica alone; None where there is none.
        variables: the copies that the replica has.
        keys: ``key_of`` the variables that these are copies of.
    """

    graph: Any
    end: int
    gradients: tuple[Any, ...]
    variables: tuple[Any, ...]
    keys: tuple[Any, ...]

    def step(self, observed: TracedStep) -> TracedStep | None:
        """The same step as this replica makes it; None: the observed one is another."""
        if self.graph is not observed.graph or set(self.keys) != set(observed.keys):
            return None
        paths = dict(zip(observed.keys, observed.paths, strict=True))
        return dataclasses.replace(
            observed,
            end=self.end,
            gradients=self.gradients,
            variables=self.variables,
            paths=tuple(paths[key] for key in self.keys),
            keys=self.keys,
            loss=None,
        )


def _without_number(scope: str) -> str:
    base, _, number = scope.rpartition("_")
    return base if number.isdigit() else ""


def trace(
    gradients: Sequence[Any],
    variables: Sequence[Any],
    paths: Sequence[str],
    loss: Tensor | None,
    layers: frozenset[str],
) -> TracedStep | None:
    """Keep what there is of an update that is being traced; None: it is not, it runs."""
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    if loss is not None and getattr(loss, "graph", None) is not graph:
        loss = None
    operations = graph.get_operations()
    found = [captured(outer) for outer, _ in graph.captures if outer.dtype == tf.resource]
    return TracedStep(
        graph,
        len(operations),
        tuple(gradients),
        tuple(variables),
        tuple(paths),
        tuple(key_of(variable) for variable in variables),
        loss,
        layers,
        _sources(graph, operations),
        tuple(handle for handle in found if getattr(handle, "graph", None) is None),
        in_xla(),
    )


def _sources(graph: Any, operations: Iterable[Any]) -> tuple[Tensor, ...]:
    """What a step is given, and what it draws from a data set."""
    inside = {id(inner): outer for outer, inner in graph.captures}
    given = [
        tensor
        for tensor in graph.inputs
        if tensor.dtype not in (tf.resource, tf.variant)
        and getattr(inside.get(id(tensor), tensor), "graph", None) is not None
    ]
    drawn = [operation for operation in operations if operation.type in DRAWN]
    return (*given, *(tensor for operation in drawn for tensor in operation.outputs))


def of_replica(gradients: Sequence[Any], variables: Sequence[Any]) -> Replica | None:
    """Keep what there is of the gradients of the present replica; None: they are not traced."""
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    return Replica(
        graph,
        len(graph.get_operations()),
        tuple(gradients),
        tuple(replicas.copy_of_replica(native(variable)) for variable in variables),
        tuple(key_of(variable) for variable in variables),
    )


def kind_of(handle: Any) -> Any:
    """Type of the values of a captured variable; None: it is a table, or something else."""
    data = getattr(handle, "_handle_data", None)
    if data is None or not data.is_set or len(data.shape_and_type) != 1:
        return None
    return tf.as_dtype(data.shape_and_type[0].dtype)


def has_shape_of(handle: Any, value: Tensor) -> bool:
    """Whether a value has the shape that a variable was declared with."""
    shape = tf.TensorShape(handle._handle_data.shape_and_type[0].shape)
    return bool(shape.is_compatible_with(value.shape))


def layers_of(model: Any) -> frozenset[str]:
    """Names of all layers within a model of Keras, or within several."""
    models = model if isinstance(model, (list, tuple)) else [model]
    flat = [m._flatten_layers() for m in models if hasattr(m, "_flatten_layers")]
    return frozenset(layer.name for some in flat for layer in some)


def body_of(operation: Any) -> Any:
    """The graph of the function that an operation calls; None: it cannot be looked into."""
    if operation.type not in CALLS:
        return None
    return function_named(operation.graph, operation.get_attr("f").name)


def side_taken(operation: Any, value: Any) -> int:
    """Number of the side that a branch takes.

    Args:
        value: of the operation's first input.
    """
    if operation.type in ("If", "StatelessIf"):
        return 0 if value else 1
    last = len(operation.get_attr("branches")) - 1
    return int(value) if 0 <= int(value) <= last else last  # as TensorFlow does


def sides_of(operation: Any) -> list[Any]:
    """The graphs that a branch chooses from, as ``side_taken`` counts; []: it is no branch."""
    if operation.type not in BRANCHES:
        return []
    if operation.type in ("If", "StatelessIf"):
        names = [operation.get_attr(side).name for side in ("then_branch", "else_branch")]
    else:
        names = [side.name for side in operation.get_attr("branches")]
    sides = [function_named(operation.graph, name) for name in names]
    inputs = len(operation.inputs) - 1  # the first one chooses
    known = all(side is not None and len(side.inputs) == inputs for side in sides)
    return sides if known else []
