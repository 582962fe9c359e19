"""Name the variables of a ``tf.Module`` by where the module holds them.

In:  variables, and the module that they belong to, if it is known.
Out: paths of attributes, such as ``kernel.lengthscales``.
Does not know about Keras, tables or optimizers.

TensorFlow calls a variable "Variable" where its program gives it no name, and libraries that keep
their parameters in modules (GPflow, TensorFlow Probability) give none.
"""

from __future__ import annotations

import collections
import gc
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Key = Callable[[Any], Any]


def module_paths(variables: Sequence[Any], model: Any, key_of: Key) -> dict[Any, str]:
    """Key of a variable -> path of attributes in the model, or in the module that holds it.

    Without a module as the model, modules are looked for where names do not distinguish the
    variables.

    Args:
        key_of: finds a variable again.
    """
    models = model if isinstance(model, (list, tuple)) else [model]
    roots = [one for one in models if isinstance(one, tf.Module)]
    keys = {key_of(variable) for variable in variables}
    if not roots and model is None and _alike(variables):
        roots = _roots(keys, key_of)
    found: dict[Any, str] = {}
    for number, root in enumerate(roots):
        prefix = f"{type(root).__name__}{number}." if len(roots) > 1 else ""
        for path, variable in _held(root):
            if key_of(variable) in keys:
                found.setdefault(key_of(variable), prefix + _text(path))
    counts = collections.Counter(found.values())
    return {key: path for key, path in found.items() if counts[path] == 1}


def _alike(variables: Sequence[Any]) -> bool:
    """Whether some have the same name, or that of a variable without one."""
    names = [str(getattr(variable, "name", "")).partition(":")[0] for variable in variables]
    return "Variable" in names or len(set(names)) < len(names)


def _roots(keys: set[Any], key_of: Key) -> list[Any]:
    """The modules that hold the variables, and are in no other one; the one with most first."""
    modules = [one for one in gc.get_objects() if issubclass(type(one), tf.Module)]
    inside = {id(inner) for one in modules for inner in one.submodules}
    roots = [one for one in modules if id(one) not in inside]
    held = [(sum(key_of(v) in keys for v in root.variables), root) for root in roots]
    return [root for count, root in sorted(held, key=lambda each: -each[0]) if count]


def _held(module: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Paths and variables, in the order of the attributes."""
    return list(
        module._flatten(
            predicate=lambda value: isinstance(value, tf.Variable),
            with_path=True,
            expand_composites=True,
        )
    )


def _text(path: Sequence[Any]) -> str:
    """The path as a program writes it, without attributes that are nobody else's business."""
    public = [part for part in path if not str(part).startswith("_")] or list(path)
    text = ""
    for part in public:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text
