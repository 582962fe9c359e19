"""Observe what a Keras model computes its loss from, while ``fit`` traces a step.

In:  a model, and who wants to know.
Out: calls with the loss, and the data that it was computed from, in the graph of the step.
Does not know what is made of them.

Both functions put a wrapper on the instance. Arguments and results are passed on untouched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_LOSS_ARGUMENTS = ("x", "y", "y_pred", "sample_weight", "training")
"""Of ``compute_loss``, in the order in which Keras gives them."""

_ORIGINAL = "_tb_gradients_original"


def observe_loss(model: Any, report: Callable[..., None]) -> None:
    """See what ``compute_loss`` sees.

    Args:
        report: called with loss, inputs, targets, predictions, and whether samples are weighted.
    """
    original = _original(model, "compute_loss")

    @functools.wraps(original)
    def compute_loss(*arguments: Any, **named: Any) -> Any:
        loss = original(*arguments, **named)
        # By position, because a custom model may give them other names.
        given = {**dict(zip(_LOSS_ARGUMENTS, arguments, strict=False)), **named}
        if given.get("training", True) and tf.is_tensor(loss):
            x, y, predictions = given.get("x"), given.get("y"), given.get("y_pred")
            report(loss, x, y, predictions, given.get("sample_weight") is not None)
        return loss

    _put(model, "compute_loss", original, compute_loss)


def observe_data(model: Any, report: Callable[[Any, Any], None]) -> None:
    """See what a ``train_step`` that is not Keras' own gets: it need not call ``compute_loss``.

    Args:
        report: called with inputs and targets; of data that are no tuple, as a dictionary is none,
            nobody knows which of them are targets: they are all inputs.
    """
    original = _original(model, "train_step")
    module = getattr(original, "__module__", None) or ""
    if module.partition(".")[0] in ("keras", "tf_keras"):
        return

    @functools.wraps(original)
    def train_step(*arguments: Any, **named: Any) -> Any:
        for data in [*arguments, *named.values()][:1]:
            parts = list(data) if isinstance(data, (tuple, list)) else [data]
            report(parts[0] if parts else None, parts[1] if len(parts) > 1 else None)
        return original(*arguments, **named)

    _put(model, "train_step", original, train_step)


def _original(model: Any, name: str) -> Any:
    """The method without a wrapper of ours: a model may be fitted a thousand times."""
    method = getattr(model, name)
    return getattr(method, _ORIGINAL, method)


def _put(model: Any, name: str, original: Any, wrapper: Any) -> None:
    setattr(wrapper, _ORIGINAL, original)
    model.__dict__[name] = wrapper
