"""Batches that a training loop hands over, until it is known whether a frame needs them.

In:  inputs, targets and predictions of a step, as the loop has them.
Out: the context columns of a frame of that step.
Does not know about the probe, schedules or files.

Nothing is read before a frame asks for it. The frame of a step that is due asks at once; one
that a non-finite gradient forced is found later, so the batches of some steps are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.training.batch import Batch, columns, inputs_of, tensors_of

KEPT_BYTES = 2**24
"""Size of the batches that are kept besides the latest: arrays that the loop may have dropped."""


class RecentBatches:
    """The batches of the latest steps.

    Args:
        model: the Keras model, if there is one: tells numbers from identifiers.
    """

    def __init__(self, model: Any = None) -> None:
        self._model = model
        self._waiting: deque[tuple[int, Any, int]] = deque()
        self._bytes = 0
        self._functions: dict[Any, Callable[..., Any]] = {}

    def add(self, step: int, inputs: Any, targets: Any, predictions: Any) -> None:
        """Keep what belongs to a step; forget what is too long ago."""
        sides = (inputs, targets, predictions)
        size = sum(_bytes_of(leaf) for leaf in tf.nest.flatten(sides))
        self._waiting.append((step, sides, size))
        self._bytes += size
        while self._bytes - size > KEPT_BYTES:
            self._bytes -= self._waiting.popleft()[2]

    def fill(self, step: int, context: np.ndarray) -> None:
        """Put what is known of the batch of a step into its context vector.

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
        """Forget all: no frame of a step up to now is waiting."""
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
                lambda *sides: columns(Batch(None, *sides)), signature, autograph=False
            ).get_concrete_function()
        return {name: float(value) for name, value in self._functions[key](*tensors).items()}


def _bytes_of(leaf: Any) -> int:
    if isinstance(leaf, tf.Tensor):
        return int(np.prod(leaf.shape, dtype=np.int64)) * int(leaf.dtype.size)
    return int(getattr(leaf, "nbytes", 0))
