"""The recent losses and batches of a custom training loop, kept until a frame may need them.

In:  loss, inputs, targets and predictions of a step, as ``step`` was given them.
Out: the context columns of a frame of that step.
Does not know about the probe, schedules or files.

Nothing is read before a frame needs it. A frame that is due needs it at once. A frame that a
non-finite gradient has forced is found later, so the batches of some steps are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.host.parts import Parts
from tb_gradients.training.model.variables import native
from tb_gradients.training.probe.batch import Batch, columns
from tb_gradients.training.probe.given import inputs_of, tensors_of

KEPT_LOSSES = 4096
"""The most losses that are kept for one frame, which may stand for many steps."""

KEPT_BYTES = 2**24
"""Bytes of batches that are kept besides the latest one."""


class RecentBatches:
    """The batches of the latest steps.

    Args:
        model: the Keras model, if known: shows which inputs are numbers and which identifiers.
        parts: notes what fails.
    """

    def __init__(self, model: Any = None, parts: Parts | None = None) -> None:
        self._model, self._parts = model, Parts() if parts is None else parts
        self._waiting: deque[tuple[int, Any, int]] = deque()
        self._bytes = 0
        self._functions: dict[Any, Callable[..., Any]] = {}

    def add(self, step: int, inputs: Any, targets: Any, predictions: Any) -> None:
        """Keep the batch of a step; drop old batches."""
        sides = (inputs, targets, predictions)
        size = sum(_bytes_of(leaf) for leaf in tf.nest.flatten(sides))
        self._waiting.append((step, sides, size))
        self._bytes += size
        while self._bytes - size > KEPT_BYTES:
            self._bytes -= self._waiting.popleft()[2]

    def fill(self, step: int, context: np.ndarray) -> None:
        """Write what is known about the batch of a step into its context vector.

        Args:
            context: float32 [context columns]; what is not NaN there stays.
        """
        for sides in (sides for at, sides, _ in self._waiting if at == step):
            for name, value in self._measure(sides).items():
                at = schema.context_names().index(name)
                if np.isnan(context[at]):
                    context[at] = value

    def __bool__(self) -> bool:
        """Whether any are kept."""
        return bool(self._waiting)

    def clear(self) -> None:
        """Drop all batches: no frame of a step up to now is waiting."""
        self._waiting.clear()
        self._bytes = 0

    def _measure(self, sides: Sequence[Any]) -> dict[str, float]:
        inputs, targets, predictions = sides
        chosen = inputs_of(inputs, self._model), tensors_of(targets), tensors_of(predictions)
        tensors = [[tf.convert_to_tensor(t) for t in side] for side in chosen]
        # One trace for all batches, whatever their length; concrete, so that TensorFlow does not
        # warn of the fifth monitor in a process that it traces too often.
        signature = [
            [tf.TensorSpec([None] * t.shape.rank, t.dtype) for t in side] for side in tensors
        ]
        key = tuple(tuple((t.shape.rank, t.dtype) for t in side) for side in tensors)
        if key not in self._functions:
            self._functions[key] = tf.function(
                lambda *sides: columns(Batch(None, *sides), parts=self._parts),
                signature,
                autograph=False,
            ).get_concrete_function()
        return {name: float(value) for name, value in self._functions[key](*tensors).items()}


class RecentLosses:
    """The losses of the steps since the last frame: the latest ``KEPT_LOSSES`` of them."""

    def __init__(self) -> None:
        self._given: deque[tuple[int, Any]] = deque(maxlen=KEPT_LOSSES)
        self._read: list[tuple[int, float]] = []

    def add(self, step: int, loss: Any) -> None:
        """Keep the loss of a step, unread: reading it waits for the device."""
        self._given.append((step, loss))

    def take(self) -> list[tuple[int, Any]]:
        """Steps and losses since the last call, unread."""
        losses = list(self._given)
        self._given.clear()
        return losses

    def fill(
        self, step: int, context: np.ndarray, taken: Iterable[tuple[int, Any]]
    ) -> list[tuple[int, float]]:
        """Write the losses up to a frame's step into its context, unless the step contained them.

        Args:
            context: float32 [context columns].
            taken: what ``take`` gave, in order; of later steps it is kept for the next frame.

        Returns:
            Steps and losses, up to the frame's step.

        Raises:
            TypeError: something else than a loss was given.
        """
        window = self.until(step, taken)
        column = schema.context_names().index
        if not window or not np.isnan(context[column("loss_mean")]):
            return window
        finite = [value for _, value in window if np.isfinite(value)]
        context[column("loss")] = window[-1][1]
        broken = [s for s, value in window if not np.isfinite(value)]
        context[column("loss_nonfinite_age")] = step - broken[0] if broken else -1
        if finite:
            context[column("loss_mean")] = np.mean(finite)
            context[column("loss_min")] = min(finite)
            context[column("loss_max")] = max(finite)
        return window

    def until(self, step: int, taken: Iterable[tuple[int, Any]]) -> list[tuple[int, float]]:
        """Steps and losses up to a step, read; later ones are kept."""
        self._read += [(s, _number(loss)) for s, loss in taken]
        window = [(s, value) for s, value in self._read if s <= step]
        self._read = [(s, value) for s, value in self._read if s > step]
        return window


class RecentNamedLosses:
    """The losses with names of the steps since the last frame, each like ``RecentLosses``."""

    def __init__(self) -> None:
        self._recent: dict[str, RecentLosses] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._recent

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._recent)

    def add(self, step: int, losses: Mapping[str, Any]) -> None:
        """Keep the losses of a step, unread."""
        for name, loss in losses.items():
            self._recent.setdefault(name, RecentLosses()).add(step, loss)

    def take(self) -> dict[str, list[tuple[int, Any]]]:
        """Steps and losses of each name since the last call, unread."""
        return {name: recent.take() for name, recent in self._recent.items()}

    def until(
        self, step: int, taken: Mapping[str, Iterable[tuple[int, Any]]]
    ) -> dict[str, list[tuple[int, float]]]:
        """Steps and losses of each name up to a step, read; later ones are kept."""
        recent = tuple(self._recent.items())  # the training may add a name meanwhile
        return {name: one.until(step, taken.get(name, ())) for name, one in recent}


def _number(loss: Any) -> float:
    """A loss as a number; of a tensor the mean."""
    value = native(loss)
    if isinstance(value, (int, float, np.generic, np.ndarray)) or tf.is_tensor(value):
        return float(np.mean(np.asarray(value)))
    raise TypeError(
        f"monitor.step(loss=...) takes a scalar tensor or a number, not {type(loss).__name__}"
    )


def _bytes_of(leaf: Any) -> int:
    if isinstance(leaf, tf.Tensor):
        return int(np.prod(leaf.shape, dtype=np.int64)) * int(leaf.dtype.size)
    return int(getattr(leaf, "nbytes", 0))
