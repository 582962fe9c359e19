"""Check the arguments of a new monitor, before a folder is created.

In:  the arguments of ``watch``, ``GradientMonitor`` and ``GradientHealth``.
Out: nothing, or an error of one line that says what to pass.
Does not know what the arguments are for; rules and cadences check their own.
"""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.flags import Severity

LONGEST_NAME = 100
"""Letters in the name of a loss: it is written with every part of the dense lane."""


def check_folder(log_dir: Any) -> None:
    """Raise TypeError if this is not a folder name."""
    if not isinstance(log_dir, (str, os.PathLike)):
        raise TypeError(
            f"log_dir must be the folder of this run, such as 'logs/run1', not {_shown(log_dir)}"
        )


def check_settings(
    *,
    histograms: Any,
    activations: Any,
    stop_on: Any,
    on_flag: Any,
    explain: Any,
    explain_bytes: Any,
    verbose: Any,
    **_: Any,
) -> None:
    """Raise TypeError or ValueError for settings of a wrong type or value."""
    for name, value in (("histograms", histograms), ("activations", activations)):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, not {_shown(value)}")
    if stop_on is not None:
        if not isinstance(stop_on, str):
            known = ", ".join(repr(severity.label) for severity in Severity)
            raise TypeError(f"stop_on must be None or one of {known}, not {_shown(stop_on)}")
        Severity.parse(stop_on)
    if on_flag is not None and not callable(on_flag):
        raise TypeError(f"on_flag must be a function of one Flag, not {_shown(on_flag)}")
    if explain not in (True, False, "lines"):
        raise ValueError(f'explain must be True, False or "lines", not {_shown(explain)}')
    if isinstance(explain_bytes, bool) or not isinstance(explain_bytes, (int, np.integer)):
        raise TypeError(f"explain_bytes must be a number of bytes, not {_shown(explain_bytes)}")
    if isinstance(verbose, str) or verbose not in (0, 1):
        raise ValueError(f"verbose must be 0 (silent) or 1, not {_shown(verbose)}")


def check_watched(model: Any, variables: Any) -> None:
    """Raise TypeError or ValueError for arguments without variables."""
    if model is not None:
        models = list(model) if isinstance(model, (list, tuple)) else [model]
        for one in models or [model]:
            if not hasattr(one, "trainable_variables"):
                raise TypeError(
                    f"model must be a Keras model, or a list of them, not {_shown(one)}; "
                    "for anything else pass its variables=[...]"
                )
    if variables is None:
        return
    if hasattr(variables, "shape") or not isinstance(variables, Iterable) or _text(variables):
        raise TypeError(f"variables must be a list of variables, not {_shown(variables)}")
    for one in variables if not hasattr(variables, "__next__") else ():
        if not (hasattr(one, "shape") and hasattr(one, "dtype") and hasattr(one, "assign")):
            raise TypeError(f"variables must hold TensorFlow or Keras variables, not {_shown(one)}")


def check_order(optimizer: Any) -> None:
    """Raise TypeError if the first two arguments of ``watch`` are swapped."""
    if isinstance(optimizer, (str, os.PathLike)):
        raise TypeError(
            "watch takes the optimizer first, then the folder: watch(optimizer, 'logs/run1')"
        )


def is_loss(value: Any) -> bool:
    """Whether it can be the loss of a step: a number, or a tensor or array of numbers."""
    if tf.is_tensor(value):
        return _holds_numbers(value.dtype)
    if isinstance(value, (numbers.Real, np.ndarray, np.generic)):
        return getattr(value, "dtype", np.dtype(float)).kind in "biuf"
    dtype = getattr(value, "dtype", None)
    return dtype is not None and hasattr(value, "assign") and _holds_numbers(tf.as_dtype(dtype))


@functools.cache  # asked in every step
def _holds_numbers(dtype: tf.DType) -> bool:
    return bool(dtype.is_floating or dtype.is_integer)


def check_losses(losses: Any) -> None:
    """Raise TypeError unless these are losses by name."""
    if not isinstance(losses, Mapping):
        raise TypeError(
            'monitor.step(losses=...) takes losses by name, such as {"mse": mse, "kl": kl}, not '
            f"{_shown(losses)}"
        )


def check_named_loss(name: Any, loss: Any) -> None:
    """Raise TypeError or ValueError unless this can be one of ``losses=``."""
    if not isinstance(name, str):
        raise TypeError(f"monitor.step(losses=...) takes names that are text, not {_shown(name)}")
    if not name or len(name) > LONGEST_NAME:
        raise ValueError(
            f"a name in monitor.step(losses=...) has 1 to {LONGEST_NAME} letters, not {len(name)}"
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name!r} in monitor.step(losses=...) is no text: {error}") from None
    if not is_loss(loss):
        raise TypeError(
            f"monitor.step(losses={{{name!r}: ...}}) takes a scalar tensor or a number, "
            f"not {type(loss).__name__}"
        )


def is_count(value: Any) -> bool:
    """Whether it can be the number of a step: a whole number, or a scalar tensor or variable."""
    if isinstance(value, numbers.Integral):
        return not isinstance(value, bool)
    return is_loss(value) and not isinstance(value, float) and np.ndim(value) == 0


def _text(value: Any) -> bool:
    return isinstance(value, (str, bytes, Mapping))


def _shown(value: Any) -> str:
    """Kind and beginning of what was passed; of an object only the kind."""
    kind = type(value).__name__
    if value is None:
        return kind
    plain = isinstance(value, (str, bytes, bool, int, float))
    return f"{value!r:.40}" if plain else f"an object of type {kind}"
