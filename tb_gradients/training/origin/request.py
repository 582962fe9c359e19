"""Trace a step function in a graph of its own, and note its updates in place of making them.

In:  the function of a training step, and its arguments.
Out: ``Request``: a ``TracedStep`` for each update, and the values of the arguments.
Does not run anything, or know what is asked of the step.

A hook, or ``observe``, that is called while such a graph is traced gives its gradients to the
request and does nothing else: the optimizer makes no slots, counts no step, changes no weight.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.model.variables import key_of
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.origin.traced import Replica, TracedStep, of_replica, trace
from tb_gradients.training.probe.graphs import symbolic, unobserved
from tb_gradients.training.tracing.graph_reading import graph_of, with_bodies

Tensor = Any

_MARK = "_tb_gradients_request"

_SIDE_EFFECTS = {
    "PrintV2": "tf.print",
    "PyFunc": "Python functions",
    "EagerPyFunc": "Python functions",
    "PyFuncStateless": "Python functions",
    "IteratorGetNext": "drawing from a data set",
    "LookupTableInsertV2": "changes of tables",
    "LookupTableImportV2": "changes of tables",
    "WriteFile": "writing of files",
    "WriteSummary": "summaries",
    "WriteScalarSummary": "summaries",
    "WriteHistogramSummary": "summaries",
    "WriteImageSummary": "summaries",
    "CollectiveReduceV2": "exchange between replicas",
    "CollectiveReduceV3": "exchange between replicas",
    "NcclAllReduce": "exchange between replicas",
}
"""Operations that would be noticed outside of the step, and what they do."""

_ASSIGNMENTS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")


class Request:
    """What one traced step would update.

    Attributes:
        steps: one per update, in the order of the function; of several replicas the first one's.
        xla: the function is compiled.

    Args:
        paths: ``key_of`` a variable -> its path in the table.
        layers: names of the model's layers.
    """

    def __init__(self, paths: Mapping[Any, str], layers: frozenset[str]) -> None:
        self.steps: list[TracedStep] = []
        self._beside: list[Replica] = []
        self._paths, self._layers = paths, layers
        self._graph: Any = None
        self._values: dict[int, Any] = {}

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def add(self, gradients: Sequence[Any], variables: Sequence[Any] | None) -> None:
        """An update that the function would make."""
        if variables is None:
            return
        if not replicas.watches():
            replica = of_replica(gradients, variables)
            self._beside += [] if replica is None else [replica]
            return
        gradients = [symbolic(gradient) for gradient in gradients]
        graph = graph_of(gradients) or tf.compat.v1.get_default_graph()
        paths = [self._paths.get(key_of(v)) or _name_of(v) for v in variables]
        if any(set(paths) == set(step.paths) for step in self.steps):
            return
        with graph.as_default():
            step = trace(gradients, variables, paths, None, self._layers)
        if step is not None:
            self.steps.append(step)

    def trace(self, function: Callable[..., Any], arguments: Any, named: Mapping[str, Any]) -> None:
        """Trace the function; see ``explain`` of the monitor for the errors."""
        name = getattr(function, "__name__", type(function).__name__)
        python = getattr(function, "python_function", function)
        _check_arguments(python, name, arguments, named)
        flat = tf.nest.flatten((arguments, dict(named)), expand_composites=True)
        places = [i for i, value in enumerate(flat) if tf.is_tensor(value) or _is_array(value)]
        tensors = [tf.convert_to_tensor(flat[i]) for i in places]

        step = _converted(function)

        def traced(*given: Tensor) -> None:
            setattr(tf.compat.v1.get_default_graph(), _MARK, self)
            filled = list(flat)
            for place, tensor in zip(places, given, strict=True):
                filled[place] = tensor
            packed = tf.nest.pack_sequence_as(
                (arguments, dict(named)), filled, expand_composites=True
            )
            given_arguments, given_named = packed
            step(*given_arguments, **given_named)

        kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's may be global
        try:
            with unobserved():
                concrete = tf.function(
                    traced,
                    autograph=False,
                    jit_compile=getattr(function, "_jit_compile", None),
                ).get_concrete_function(*(_spec(tensor) for tensor in tensors))
        except Exception as error:
            text = str(error).strip().rpartition("\n")[2].strip()  # the first lines are a stack
            raise RuntimeError(
                f"explain could not trace {name}, which must compute with tensors alone, as in a "
                f"tf.function: {type(error).__name__}: {text}"
            ) from error
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002
        self._graph = concrete.graph
        self._values = {
            id(inner): tensor for inner, tensor in zip(concrete.graph.inputs, tensors, strict=False)
        }
        if not self.steps:
            raise ValueError(
                f"{name} makes no update that this monitor sees: pass the function that calls "
                "apply_gradients of the watched optimizer, or monitor.observe, itself"
            )

    def beside(self, step: TracedStep) -> list[TracedStep]:
        """One of ``steps`` as the other replicas make it."""
        others = (replica.step(step) for replica in self._beside)
        return [other for other in others if other is not None]

    def batch(self, step: TracedStep) -> list[Any] | None:
        """Values of ``step.sources``; None: the function draws its batch itself."""
        values = [self._values.get(id(tensor)) for tensor in step.sources]
        return None if any(value is None for value in values) else values

    def skipped(self) -> tuple[str, ...]:
        """What the function does besides, and what was not done here."""
        done = [operation.type for operation in with_bodies(self._graph.get_operations())]
        found = {_SIDE_EFFECTS[kind] for kind in done if kind in _SIDE_EFFECTS}
        assigned = sum(kind in _ASSIGNMENTS for kind in done)
        many = "an assignment" if assigned == 1 else f"{assigned} assignments"
        return (*([f"{many} to variables"] if assigned else []), *sorted(found))


def request_of_graph() -> Request | None:
    """The request for which the present graph is traced; None: it is the training's own."""
    if tf.executing_eagerly():
        return None
    graph: Any = tf.compat.v1.get_default_graph()
    while graph is not None:
        found = getattr(graph, _MARK, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
        graph = getattr(graph, "outer_graph", None)
    return None


def _converted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as ``tf.function`` calls it: Python's ``if`` and ``for`` over tensors work."""
    python: Callable[..., Any] = getattr(function, "python_function", function)
    if not getattr(function, "_autograph", True):
        return python
    try:
        from tensorflow.python.autograph.core import ag_ctx
        from tensorflow.python.autograph.impl import api

        enabled = ag_ctx.ControlStatusCtx(ag_ctx.Status.ENABLED)
        converted: Callable[..., Any] = api.tf_convert(python, enabled, user_requested=True)
        return converted
    except Exception:  # not public: without it only such statements fail
        return python


def _check_arguments(
    function: Callable[..., Any], name: str, arguments: Any, named: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one of C has none
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise TypeError(
            f"explain calls {name}{signature} with the arguments that follow it: {error}"
        ) from None


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic))


def _spec(tensor: Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _name_of(variable: Any) -> str:
    return str(getattr(variable, "path", None) or variable.name).partition(":")[0]
