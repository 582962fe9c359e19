"""The optimizers of a model with their settings.

In:  a compiled model, or an optimizer of Keras 3 or ``tf_keras``.
Out: optimizers by name; settings as plain values.
Does not know about updates: ``hook`` observes those.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tb_gradients.training.model.layers import class_name


def optimizers_of(model: Any) -> list[Any]:
    """The optimizers of a compiled model; those under a name of its own (a GAN's) first.

    ``compile`` without ``optimizer`` makes one that such a model never uses.
    """
    main = getattr(model, "optimizer", None)
    found = {id(one): one for _, one in named_optimizers(model)}
    found.pop(id(main), None)
    listed = [*found.values(), *([main] if main is not None else [])]
    # What a loss-scaling optimizer wraps is watched there.
    inner = [id(getattr(optimizer, "inner_optimizer", None)) for optimizer in listed]
    return [optimizer for optimizer in listed if id(optimizer) not in inner]


def named_optimizers(model: Any) -> list[tuple[str, Any]]:
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


def optimizer_facts(optimizer: Any) -> dict[str, Any]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return {
        "optimizer": class_name(inner),
        "optimizer_config": _scalars_of(inner),
        "accumulation_steps": int(getattr(inner, "gradient_accumulation_steps", None) or 0),
    }


def _scalars_of(optimizer: Any) -> dict[str, str]:
    config = _config_of(optimizer)
    scalars = (str, int, float, bool)
    return {k: str(v) for k, v in config.items() if v is None or isinstance(v, scalars)}


def _config_of(optimizer: Any) -> Mapping[str, Any]:
    try:
        config = optimizer.get_config()
    except Exception:  # not every optimizer is serializable; its class is known all the same
        return {}
    return config if isinstance(config, Mapping) else {}


def changed_settings(optimizer: Any) -> list[str]:
    """Names of the settings, but for name and learning rate, that are not the class's defaults."""
    config = _config_of(optimizer)
    try:
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
