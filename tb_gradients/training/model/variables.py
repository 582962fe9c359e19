"""Build the variable table of a run before its first step.

In:  a Keras model, or any variables; an optimizer.
Out: a ``VariableTable`` in network order, and the key that finds a variable's row.
Does not know about steps, statistics or files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.frames import RunContext, Variable, VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.judging.learning_rates import OWN_OPTIMIZER, OWN_RATE
from tb_gradients.judging.networks import GATES, NORMALIZED
from tb_gradients.judging.recurrences import RADIUS
from tb_gradients.training.model.layers import (
    NORMALIZATIONS,
    activation_of,
    class_name,
    flat_layers,
    layer_behind,
    layer_facts,
    layer_setting,
    penalty_facts,
    successors_of,
    time_steps_of,
    values_normalized,
)
from tb_gradients.training.model.modules import module_paths
from tb_gradients.training.model.run_context import run_context
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.optimizers.settings import named_optimizers, optimizer_facts

Layer = Any


INITIAL_ELEMENTS = 2**20
"""Of a larger variable the size at the start is that of an evenly strided sample."""


def native(variable: Any) -> Any:
    """The ``tf.Variable`` behind a Keras variable (or the variable itself)."""
    value = getattr(variable, "value", None)
    return variable if value is None or callable(value) else value


def key_of(variable: Any) -> Any:
    """A key by which a variable is found again, whichever wrapper it comes in."""
    variable = native(variable)
    container = getattr(variable, "_distributed_container", None)
    if container is None:
        container = getattr(getattr(variable, "handle", None), "_distributed_container", None)
    if callable(container):
        variable = container() or variable
    return getattr(variable, "_unique_id", None) or id(variable)


def make_table(
    variables: Sequence[Any],
    model: Any = None,
    optimizer: Any = None,
    *,
    parts: Parts | None = None,
    **run_facts: Any,
) -> VariableTable:
    """Describe variables (in the given order, which should be network order) and the run.

    Args:
        variables: Keras or TensorFlow variables.
        model: the Keras model they belong to, if there is one, or several in a list: gives
            layers and activations.
        optimizer: a Keras optimizer, if there is one.
        parts: where it is noted what fails, and is left out.
        run_facts: further fields of ``RunContext``, such as ``steps_per_epoch``.
    """
    parts = Parts() if parts is None else parts
    layers = parts.run("the layers of the variables", _layers_by_key, model) or {}
    successors = parts.run("the order of the layers", successors_of, model) or {}
    time_steps = parts.run("the time steps of recurrent layers", time_steps_of, model) or {}
    held = parts.run("names of attributes", module_paths, variables, model, key_of) or {}
    paths: dict[str, int] = {}
    described = []
    for variable in variables:
        path = getattr(variable, "path", None) or variable.name.split(":")[0]
        if key_of(variable) not in layers:
            path = held.get(key_of(variable), path)
        paths[path] = paths.get(path, 0) + 1
        if paths[path] > 1:  # two hand-made variables of one name stay two rows
            path = f"{path}#{paths[path]}"
        layer, attribute = layers.get(key_of(variable), (None, ""))
        try:
            one = _describe(variable, path, layer, attribute, successors, optimizer)
        except Exception as error:
            parts.leave_out("the description", error, path)
            tensor = native(variable)
            one = Variable(path, tuple(int(d) for d in tensor.shape), tensor.dtype.name)
        if id(layer) in time_steps:
            facts = {**one.facts, "time_steps": str(time_steps[id(layer)])}
            one = dataclasses.replace(one, facts=facts)
        described.append(one)
    run = parts.run("the description of the run", run_context, model, optimizer, run_facts)
    return VariableTable(tuple(described), run=run or RunContext(**run_facts))


def _describe(
    variable: Any,
    path: str,
    layer: Layer,
    attribute: str,
    successors: Mapping[int, Sequence[Layer]],
    optimizer: Any,
) -> Variable:
    tensor = native(variable)
    shape = tuple(int(d) for d in tensor.shape)
    role = _role(path, shape, layer, attribute)
    behind = layer_behind(layer, successors)
    following = class_name(behind)
    unit_axis = _unit_axis(shape, role, layer)
    facts = {}
    if following:
        facts["followed_by"] = following
    normalized = values_normalized(layer) or values_normalized(behind)
    if normalized:
        facts[NORMALIZED] = str(normalized)
    if layer is not None:
        facts.update(layer_facts(layer))
        facts.update(penalty_facts(layer_setting(layer, attribute, "regularizer")))
    rms, spread = _initial(tensor)
    if rms > 0:
        facts["initial_spread"] = f"{spread:.6g}"
        if role == "recurrent_kernel" and len(shape) == 2:
            facts[RADIUS] = f"{_spectral_radius(tensor, layer):.3g}"
    return Variable(
        path=path,
        shape=shape,
        dtype=tensor.dtype.name,
        module=path.rpartition("/" if "/" in path else ".")[0],
        layer_class=type(layer).__name__ if layer is not None else "",
        role=role,
        activation=activation_of(layer, following, successors),
        initializer=class_name(layer_setting(layer, attribute, "initializer")),
        regularizer=class_name(layer_setting(layer, attribute, "regularizer")),
        constraint=class_name(getattr(variable, "constraint", None)),
        trainable=bool(getattr(variable, "trainable", True)),
        unit_axis=unit_axis,
        units=shape[unit_axis] if unit_axis >= 0 else 0,
        optimizer=getattr(optimizer, "name", "") or "",
        initial_rms=rms,
        analytically_zero=_analytically_zero(role, path, layer, following),
        facts=facts,
    )


_SCALES = frozenset(
    {"scale", "rho", "sigma", "std", "stddev", "variance", "logvar", "temperature", "threshold"}
    | {"bits", "bitwidth"}
)
"""Parts of a name that name no weight, also in "kernel_rho": of a scale, or a bit width."""


def _role(path: str, shape: tuple[int, ...], layer: Layer, attribute: str) -> str:
    name = path.rpartition("/")[2].rpartition(".")[2].partition("#")[0]
    if type(layer).__name__ == "Embedding" or "embedding" in name:
        return "embedding"
    if "recurrent_kernel" in name:
        return "recurrent_kernel"
    if "bias" in name or name == "beta":
        return "bias"
    if name in ("gamma", "alpha") or _SCALES.intersection(name.split("_")):
        return "scale"
    if "kernel" in name:
        return "kernel"
    # A hand-made matrix is a kernel for all that the rules ask; a vector is a bias or a scale.
    return "kernel" if layer is None and len(shape) >= 2 else "other"


def _unit_axis(shape: tuple[int, ...], role: str, layer: Layer) -> int:
    """Axis whose slices are output units; -1 where there are none."""
    if not shape or role == "embedding" or 0 in shape:
        return -1
    if role == "kernel" and len(shape) >= 2 and "Transpose" in type(layer).__name__:
        return len(shape) - 2  # [..., output, input]
    return len(shape) - 1


def _analytically_zero(role: str, path: str, layer: Layer, following: str) -> bool:
    """Biases whose gradient is zero by construction, so that zero says nothing.

    A constant added before a normalisation is subtracted again; one added to every key of
    a softmax attention moves all scores of a query alike, and softmax ignores that.
    """
    if role != "bias":
        return False
    if following in NORMALIZATIONS and type(layer).__name__ not in NORMALIZATIONS:
        return True
    return path.endswith("/key/bias")


def _layers_by_key(model: Any) -> dict[Any, tuple[Layer, str]]:
    """Variable key -> (layer that owns it, attribute it is held in)."""
    if model is None:
        return {}
    found: dict[Any, tuple[Layer, str]] = {}
    for layer in flat_layers(model):
        own = [*own_trainable(layer), *_non_trainable(layer)]
        for variable in own:
            name = getattr(variable, "name", "").rpartition("/")[2].partition(":")[0]
            found.setdefault(key_of(variable), (layer, name))
    return found


def own_trainable(layer: Layer) -> list[Any]:
    """A layer's own trainable variables; Keras 2 has another name for them."""
    found = getattr(layer, "_trainable_variables", None)
    return list(getattr(layer, "_trainable_weights", []) if found is None else found)


def _non_trainable(layer: Layer) -> list[Any]:
    return [
        v for v in getattr(layer, "_non_trainable_variables", []) if getattr(v, "trainable", True)
    ]


def with_owners(table: VariableTable, owners: Mapping[int, Any], model: Any) -> VariableTable:
    """The same table, with which of several optimizers each variable belongs to.

    Args:
        owners: row -> Keras optimizer; the run's settings become those of the first row's.
        model: where an optimizer is an attribute of it, that is its name: "d_optimizer".
    """
    attributes = {id(one): name for name, one in named_optimizers(model)} if model else {}
    optimizers = list({id(owners[row]): owners[row] for row in sorted(owners)}.values())
    names = {id(o): attributes.get(id(o), "").lstrip("_") or o.name for o in optimizers}
    variables = tuple(
        _owned(variable, owners[row], names[id(owners[row])])
        if row in owners
        else dataclasses.replace(variable, optimizer="")
        for row, variable in enumerate(table.variables)
    )
    inners = [getattr(optimizer, "inner_optimizer", optimizer) for optimizer in optimizers]
    listed = [f"{names[id(o)]}: {class_name(i)}" for o, i in zip(optimizers, inners, strict=True)]
    run = dataclasses.replace(
        table.run,
        **optimizer_facts(optimizers[0]),
        facts={**table.run.facts, "optimizers": ", ".join(listed)},
    )
    return dataclasses.replace(table, variables=variables, run=run)


def _owned(variable: Variable, optimizer: Any, name: str) -> Variable:
    """The description of a variable that one of several optimizers trains."""
    known = optimizer_facts(optimizer)
    facts = {**variable.facts, OWN_OPTIMIZER: known["optimizer"]}
    rate = known["optimizer_config"].get("learning_rate", "")
    with contextlib.suppress(ValueError):  # a schedule has no single rate
        facts[OWN_RATE] = f"{float(rate):.6g}"
    return dataclasses.replace(variable, optimizer=name, facts=facts)


def with_variable_facts(
    table: VariableTable, variables: Sequence[Any], keys: Collection[Any], facts: Mapping[str, str]
) -> VariableTable:
    """The same table, with facts of some of its variables.

    Args:
        variables: of the table, in its order.
        keys: of those that have the facts.
    """
    described = [
        dataclasses.replace(one, facts={**one.facts, **facts}) if key_of(v) in keys else one
        for one, v in zip(table.variables, variables, strict=True)
    ]
    return dataclasses.replace(table, variables=tuple(described)) if keys else table


STAYED = 0.5
"""A first step that changes a weight by a smaller share leaves its size about what it was."""


def with_initial_scales(
    table: VariableTable, variables: Sequence[Any], moved: Sequence[float]
) -> VariableTable:
    """The same table, with the sizes at the start that could not be read before the first step.

    A layer that is built while the step is traced, as in a ``Sequential`` without an ``Input``,
    has no values until the first step runs: its weights are read behind that step.

    Args:
        moved: per variable, by how much of its size that step changed it; NaN: not known.
    """
    described = list(table.variables)
    for row, (variable, share) in enumerate(zip(described, moved, strict=True)):
        initializer = variable.initializer.lower()
        if variable.initial_rms or initializer in ("", "zeros") or not share < STAYED:
            continue
        rms, spread = _initial(native(variables[row]))
        if not 0 < rms < math.inf:
            continue
        spread = 0.0 if initializer in ("ones", "constant") else spread
        facts = {**variable.facts, "initial_spread": f"{spread:.6g}"}
        described[row] = dataclasses.replace(variable, initial_rms=rms, facts=facts)
    return dataclasses.replace(table, variables=tuple(described))


def initial_size(tensor: Any) -> float:
    """The RMS of the weights as ``Variable.initial_rms`` has it, of their values now."""
    return _initial(tensor)[0]


def _initial(tensor: Any) -> tuple[float, float]:
    """RMS of the weights, and their standard deviation relative to it (0: all are equal)."""
    try:
        flat = tf.reshape(replicas.local(tensor), [-1])
        stride = -(-int(flat.shape[0]) // INITIAL_ELEMENTS)
        values = tf.cast(flat[:: max(stride, 1)], tf.float64).numpy()
    except Exception:  # a symbolic or sharded variable: the rules do without
        return 0.0, 0.0
    if not values.size:
        return 0.0, 0.0
    rms = float(np.sqrt(np.mean(np.square(values))))
    return rms, float(np.std(values)) / rms if rms else 0.0


POWERS = 64
"""Products of which the second half shows how fast a matrix enlarges a vector."""


def _spectral_radius(kernel: Any, layer: Layer) -> float:
    """Of the square matrix from which a recurrent layer computes its new state.

    The matrices of gates lie side by side; the third one is the candidate, in LSTM and GRU.
    """
    matrix = np.asarray(tf.cast(replicas.local(kernel), tf.float64))
    units = matrix.shape[0]
    if type(layer).__name__ in GATES:
        matrix = matrix[:, 2 * units : 3 * units]
    vector = np.random.default_rng(0).standard_normal((1, units))
    sizes: list[float] = []
    for _ in range(POWERS):
        vector = vector @ matrix
        sizes.append(float(np.linalg.norm(vector)))
        if not sizes[-1] > 0:
            return 0.0
        vector /= sizes[-1]
    return float(np.exp(np.mean(np.log(sizes[POWERS // 2 :]))))


def trainable_variables(models: Iterable[Any]) -> list[Any]:
    """All trainable variables of some models, each once, in network order."""
    seen: dict[Any, Any] = {}
    for model in models:
        for variable in model.trainable_variables:
            seen.setdefault(key_of(variable), variable)
    return list(seen.values())
