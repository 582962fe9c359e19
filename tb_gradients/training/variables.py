"""What is known of the variables of a model and of its run, before the first step.

In:  a Keras model, or any variables; an optimizer.
Out: a ``VariableTable`` in network order, and the key that finds a variable's row.
Does not know about steps, statistics or files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import inspect
import itertools
import math
import numbers
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.frames import RunContext, Variable, VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.judging.learning_rates import CHANGED, OWN_OPTIMIZER, OWN_RATE
from tb_gradients.training import replicas

Layer = Any

_NORMALIZATIONS = ("BatchNormalization", "GroupNormalization", "InstanceNormalization")
"""Layers that subtract a mean over the batch or over each channel's positions: a constant
per channel added before them changes nothing. (LayerNormalization subtracts the mean over
the channels and keeps a bias' differences between them.)"""

_SHAPE_ONLY = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Identity")
"""Layers between another layer and its activation or normalisation that change neither."""

_ACTIVATIONS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
}


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
    successors = parts.run("the order of the layers", _successors, model) or {}
    time_steps = parts.run("the time steps of recurrent layers", _time_steps, model) or {}
    paths: dict[str, int] = {}
    described = []
    for variable in variables:
        path = getattr(variable, "path", None) or variable.name.split(":")[0]
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
    run = parts.run("the description of the run", _run_context, model, optimizer, run_facts)
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
    following = _following(layer, successors)
    unit_axis = _unit_axis(shape, role, layer)
    facts = {}
    if following:
        facts["followed_by"] = following
    if layer is not None:
        facts.update(_layer_facts(layer))
        facts.update(_penalty_facts(_layer_setting(layer, attribute, "regularizer")))
    rms, spread = _initial(tensor)
    if rms > 0:
        facts["initial_spread"] = f"{spread:.6g}"
    return Variable(
        path=path,
        shape=shape,
        dtype=tensor.dtype.name,
        module=path.rpartition("/")[0],
        layer_class=type(layer).__name__ if layer is not None else "",
        role=role,
        activation=_activation(layer, following, successors),
        initializer=_class_name(_layer_setting(layer, attribute, "initializer")),
        regularizer=_class_name(_layer_setting(layer, attribute, "regularizer")),
        constraint=_class_name(getattr(variable, "constraint", None)),
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
"""Parts of a name that tell of no weight, also in "kernel_rho": of a scale, or a bit width."""


def _role(path: str, shape: tuple[int, ...], layer: Layer, attribute: str) -> str:
    name = path.rpartition("/")[2].partition("#")[0]
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
    if following in _NORMALIZATIONS and type(layer).__name__ not in _NORMALIZATIONS:
        return True
    return path.endswith("/key/bias")


def _layers_by_key(model: Any) -> dict[Any, tuple[Layer, str]]:
    """Variable key -> (layer that owns it, attribute it is held in)."""
    if model is None:
        return {}
    found: dict[Any, tuple[Layer, str]] = {}
    for layer in _flat_layers(model):
        own = [*_trainable(layer), *_non_trainable(layer)]
        for variable in own:
            name = getattr(variable, "name", "").rpartition("/")[2].partition(":")[0]
            found.setdefault(key_of(variable), (layer, name))
    return found


def _trainable(layer: Layer) -> list[Any]:
    """A layer's own trainable variables; Keras 2 has another name for them."""
    found = getattr(layer, "_trainable_variables", None)
    return list(getattr(layer, "_trainable_weights", []) if found is None else found)


def _non_trainable(layer: Layer) -> list[Any]:
    return [
        v for v in getattr(layer, "_non_trainable_variables", []) if getattr(v, "trainable", True)
    ]


def with_owners(table: VariableTable, owners: Mapping[int, Any], model: Any) -> VariableTable:
    """The same table, telling which of several optimizers each variable belongs to.

    Args:
        owners: row -> Keras optimizer; the run's settings become those of the first row's.
        model: where an optimizer is an attribute of it, that is its name: "d_optimizer".
    """
    attributes = {id(one): name for name, one in _named_optimizers(model)} if model else {}
    optimizers = list({id(owners[row]): owners[row] for row in sorted(owners)}.values())
    names = {id(o): attributes.get(id(o), "").lstrip("_") or o.name for o in optimizers}
    variables = tuple(
        _owned(variable, owners[row], names[id(owners[row])])
        if row in owners
        else dataclasses.replace(variable, optimizer="")
        for row, variable in enumerate(table.variables)
    )
    inners = [getattr(optimizer, "inner_optimizer", optimizer) for optimizer in optimizers]
    listed = [f"{names[id(o)]}: {_class_name(i)}" for o, i in zip(optimizers, inners, strict=True)]
    run = dataclasses.replace(
        table.run,
        **_optimizer_facts(optimizers[0]),
        facts={**table.run.facts, "optimizers": ", ".join(listed)},
    )
    return dataclasses.replace(table, variables=variables, run=run)


def _owned(variable: Variable, optimizer: Any, name: str) -> Variable:
    """The description of a variable that one of several optimizers trains."""
    told = _optimizer_facts(optimizer)
    facts = {**variable.facts, OWN_OPTIMIZER: told["optimizer"]}
    rate = told["optimizer_config"].get("learning_rate", "")
    with contextlib.suppress(ValueError):  # a schedule has no single rate
        facts[OWN_RATE] = f"{float(rate):.6g}"
    return dataclasses.replace(variable, optimizer=name, facts=facts)


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


def optimizers_of(model: Any) -> list[Any]:
    """The optimizers of a compiled model; those under a name of its own (a GAN's) first.

    ``compile`` without ``optimizer`` makes one that such a model never uses.
    """
    main = getattr(model, "optimizer", None)
    found = {id(one): one for _, one in _named_optimizers(model)}
    found.pop(id(main), None)
    listed = [*found.values(), *([main] if main is not None else [])]
    # What a loss-scaling optimizer wraps is watched there.
    inner = [id(getattr(optimizer, "inner_optimizer", None)) for optimizer in listed]
    return [optimizer for optimizer in listed if id(optimizer) not in inner]


def _named_optimizers(model: Any) -> list[tuple[str, Any]]:
    """Names and optimizers that are attributes of a model, or in a list or dictionary of it."""
    named: list[tuple[str, Any]] = []
    for name, value in vars(model).items():
        if isinstance(value, Mapping):
            named += [(f"{name}/{key}", one) for key, one in value.items()]
        elif isinstance(value, (list, tuple)):
            named += [(f"{name}/{number}", one) for number, one in enumerate(value)]
        else:
            named.append((name, value))
    return [(name, one) for name, one in named if is_optimizer(one) or is_legacy(one)]


def is_optimizer(thing: Any) -> bool:
    """Whether it is an optimizer of Keras 3."""
    return hasattr(thing, "apply") and hasattr(thing, "update_step")


def is_legacy(thing: Any) -> bool:
    """Whether it is an optimizer of ``tf_keras``, or inherits from one."""
    modules = [c.__module__.partition(".")[0] for c in type(thing).__mro__]
    return "tf_keras" in modules and hasattr(type(thing), "apply_gradients")


def _flat_layers(model: Any) -> list[Layer]:
    """The model (or each of several) and all layers inside it, however deep."""
    if isinstance(model, (list, tuple)):
        return [layer for one in model for layer in _flat_layers(one)]
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten(include_self=True, recursive=True))
    return [model, *getattr(model, "layers", [])]


def _successors(model: Any) -> dict[int, list[Layer]]:
    """id(layer) -> the layers that consume its output, in Sequential and functional models."""
    following: dict[int, list[Layer]] = {}
    for layer in _flat_layers(model) if model is not None else []:
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


def _following(layer: Layer, successors: Mapping[int, Sequence[Layer]]) -> str:
    """Class of the one layer behind, seen through dropout; "" if there are none or several."""
    for _ in range(8):
        after = successors.get(id(layer), [])
        if layer is None or len(after) != 1:
            return ""
        layer = after[0]
        if type(layer).__name__ not in _SHAPE_ONLY:
            return type(layer).__name__
    return ""


def _activation(layer: Layer, following: str, successors: Mapping[int, Sequence[Layer]]) -> str:
    """The layer's activation, or that of the activation layer behind it."""
    own = _function_name(getattr(layer, "activation", None))
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
            return _function_name(current.activation)
        if kind in _ACTIVATIONS:
            return _ACTIVATIONS[kind]
        if kind not in (*_SHAPE_ONLY, *_NORMALIZATIONS, "LayerNormalization"):
            break
    return own


def _layer_setting(layer: Layer, attribute: str, kind: str) -> Any:
    """``kernel_initializer`` for "kernel", ``embeddings_initializer`` for "embeddings", ..."""
    return getattr(layer, f"{attribute}_{kind}", None)


def _layer_facts(layer: Layer) -> dict[str, str]:
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


def _time_steps(model: Any) -> dict[int, int]:
    """id(cell) -> over how many time steps its recurrent layer runs, where that is fixed."""
    found = {}
    for layer in _flat_layers(model) if model is not None else []:
        cell = getattr(layer, "cell", None)
        shapes = getattr(layer, "_build_shapes_dict", None) or {}
        for shape in shapes.values() if cell is not None else ():
            if isinstance(shape, (tuple, list)) and len(shape) == 3 and shape[1]:
                found[id(cell)] = int(shape[1])
    return found


def _penalty_facts(regularizer: Any) -> dict[str, str]:
    """The strengths of an L1, L2 or L1L2 penalty: the rules compute its gradient from them."""
    facts = {}
    for name in ("l1", "l2"):
        value = getattr(regularizer, name, None)
        try:
            if value is not None and float(value) > 0:
                facts[name] = f"{float(value):.6g}"
        except (TypeError, ValueError):  # a penalty of somebody's own with another meaning
            continue
    return facts


def _function_name(function: Any) -> str:
    if function is None:
        return ""
    return str(getattr(function, "__name__", type(function).__name__))


def _class_name(thing: Any) -> str:
    return "" if thing is None else type(thing).__name__


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


def _run_context(model: Any, optimizer: Any, facts: Mapping[str, Any]) -> RunContext:
    context: dict[str, Any] = {**_optimizer_facts(optimizer), "versions": _versions()}
    if isinstance(model, (list, tuple)):
        model = model[0] if len(model) == 1 else None
    if model is not None:
        context["loss"] = _loss_text(getattr(model, "loss", None))
        context["precision"] = str(getattr(getattr(model, "dtype_policy", None), "name", ""))
        context["jit_compile"] = getattr(model, "jit_compile", False) is True
        context["steps_per_execution"] = int(getattr(model, "steps_per_execution", 1) or 1)
        context["facts"] = _head_facts(model)
    changed = _changed_settings(getattr(optimizer, "inner_optimizer", optimizer))
    context["facts"] = {**context.get("facts", {}), CHANGED: ",".join(changed)}
    strategy = replicas.strategy_of(optimizer)
    name = type(strategy).__name__
    context["strategy"] = "" if name.startswith("_Default") else name
    context["replicas"] = int(strategy.num_replicas_in_sync)
    context["facts"].update(facts.get("facts", {}))
    context.update({name: value for name, value in facts.items() if name != "facts"})
    return RunContext(**context)


def _optimizer_facts(optimizer: Any) -> dict[str, Any]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return {
        "optimizer": _class_name(inner),
        "optimizer_config": _scalars_of(inner),
        "accumulation_steps": int(getattr(inner, "gradient_accumulation_steps", None) or 0),
    }


def _scalars_of(optimizer: Any) -> dict[str, str]:
    try:
        config = optimizer.get_config()
    except Exception:  # not every optimizer is serializable; its class is known all the same
        return {}
    scalars = (str, int, float, bool)
    return {k: str(v) for k, v in config.items() if v is None or isinstance(v, scalars)}


def _changed_settings(optimizer: Any) -> list[str]:
    """Names of the settings, but for name and learning rate, that are not the class's defaults."""
    try:
        config = optimizer.get_config()
        defaults = {k: p.default for k, p in inspect.signature(type(optimizer)).parameters.items()}
    except Exception:  # a class that has neither: nothing is known to be kept
        return []
    scalars = (str, int, float, bool)
    return [
        name
        for name, value in config.items()
        if name not in ("name", "learning_rate") and name in defaults
        if isinstance(value, scalars) and value != defaults[name]
    ]


def _loss_text(loss: Any) -> str:
    if loss is None:
        return ""
    if isinstance(loss, (list, tuple)):
        return ", ".join(_loss_text(item) for item in loss)
    if isinstance(loss, Mapping):
        return ", ".join(f"{name}: {_loss_text(item)}" for name, item in loss.items())
    if isinstance(loss, str):
        return loss
    if hasattr(loss, "get_config"):
        settings = getattr(loss, "_fn_kwargs", None) or getattr(loss, "fn_kwargs", None) or {}
        from_logits = settings.get("from_logits")
        name = type(loss).__name__
        return name if from_logits is None else f"{name}(from_logits={from_logits})"
    return _function_name(loss)


_SCALING = (
    "Rescaling",
    "Normalization",
    "BatchNormalization",
    "LayerNormalization",
    "UnitNormalization",
)
"""Layers that bring inputs of any scale to a usual one."""

_PASSING = ("InputLayer", "Reshape", "Flatten", "Permute", "ZeroPadding2D", *_SHAPE_ONLY)
"""Layers in front that leave the values alone (random augmentation, too, is passed over)."""

_PASSING_OPERATIONS = (
    *("cast", "reshape", "transpose", "squeeze", "stack", "concat", "concatenate"),
    *("expanddims", "getitem"),
)
"""Operations of a functional model that leave them alone; by name, in small letters."""


def _head_facts(model: Any) -> dict[str, str]:
    """The end of the model, where it meets the loss, and what stands at its beginning."""
    facts = {}
    for layer in _front(model):
        kind = type(layer).__name__
        operation = _operation(layer)
        if operation in _PASSING_OPERATIONS or kind in _PASSING or kind.startswith("Random"):
            continue
        facts["first_layer"] = kind
        # `x / 255`, or a function of one's own: that is how inputs are scaled by hand.
        if kind in (*_SCALING, "Lambda") or operation:
            facts["input_scaling"] = kind
        break
    tail = _tail(model)
    heads = [layer for layer in tail if hasattr(layer, "units") or hasattr(layer, "filters")]
    # What a layer of one's own at the end makes of its input, nobody knows.
    if not heads or not all(_is_known(layer) for layer in tail[: tail.index(heads[0])]):
        return facts
    activations = [name for layer in reversed(tail) if (name := _own_activation(layer))]
    units = getattr(heads[0], "units", None) or getattr(heads[0], "filters", None)
    return {**facts, **_head(heads[0].name, activations, units)}


def head_facts(variable: Variable, activations: Sequence[str]) -> dict[str, str]:
    """The end of the model, told by a variable of the last layer, and what stands behind it."""
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
    return kind in _ACTIVATIONS or kind in _PASSING or hasattr(layer, "activation")


def _own_activation(layer: Layer) -> str:
    """The activation that this layer itself applies; "" for none."""
    kind = type(layer).__name__
    name = _ACTIVATIONS.get(kind) or _function_name(getattr(layer, "activation", None))
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

    Known for Sequential models and for functional ones of one output. (What a ``call`` of one's own
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


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("tensorflow", "tensorflow-cpu", "keras", "numpy", "tb-gradients"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def trainable_variables(models: Iterable[Any]) -> list[Any]:
    """All trainable variables of some models, each once, in network order."""
    seen: dict[Any, Any] = {}
    for model in models:
        for variable in model.trainable_variables:
            seen.setdefault(key_of(variable), variable)
    return list(seen.values())
