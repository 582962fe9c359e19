"""Keep what a step is repeated from: its batch, where its gradient breaks, and weights from before.

In:  an update that is being traced, and calls of the host at frames.
Out: the batch of the first step whose gradient is not finite, and the weights of the last frame.
Does not know how a step is repeated.

A step of a graph gives its batch to the host from the branch that a frame is taken in. What XLA
compiles cannot do so: the function around it keeps a reference to the batch of the latest step in
variables, until a step has broken. Weights are copied on the host, after a frame, and seldom enough
that it takes less than a thousandth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training.optimizers import replicas
from tb_gradients.training.origin.traced import DRAWN, TracedStep, has_shape_of, kind_of
from tb_gradients.training.probe.graphs import branch

Tensor = Any

WEIGHT_BYTES = 2**26
"""Weights of larger models are not copied again and again; then the present ones are used."""

SHARE = 1e-3
"""Of the time of the training that copies of the weights may take."""


COPIED_BYTES = 2**20
"""A batch of at most this is copied at each step, where XLA compiles all that there is; and of a
graph the first one is kept."""


class Keeper:
    """What is kept of the steps of one run.

    Args:
        limit: bytes of a batch that may be kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._batch: tuple[TracedStep, list[Any]] | None = None
        self._any: tuple[TracedStep, list[Any]] | None = None
        self._wanted: Any = None
        self._asked = self._answered = False
        self._slots: dict[tuple[Any, ...], list[Any]] = {}
        self._kept_outside: list[tuple[TracedStep, list[Any]]] = []
        self._broken: Any = None
        self._weights: dict[int, Any] = {}
        self._weights_step = -1
        self._cost = 0.0
        self._copied = float("-inf")

    # --- while a step is traced ---------------------------------------------------------------

    def nonfinite_branch(self, step: TracedStep) -> Callable[[Tensor], None] | None:
        """What gives a step's batch to the host; None: there is nothing to give.

        Call it in the branch of a frame, with whether the loss or a gradient is not finite.
        """
        sources = step.sources
        if step.xla or not sources:
            return None

        with tf.init_scope():
            if self._wanted is None:
                self._wanted = replicas.make_variable(tf.constant(True), "wanted")
        wanted = self._wanted

        def receive(broken: Any, *arrays: Any) -> None:
            size = sum(np.asarray(array).nbytes for array in arrays)
            if size > self._limit or (size > COPIED_BYTES and not broken and not self._asked):
                return
            if broken and self._batch is None and not self._answered:
                self._batch = step, [np.array(array) for array in arrays]
            elif not broken and self._any is None:
                self._any = step, [np.array(array) for array in arrays]

        def keep(broken: Tensor) -> None:
            def give() -> Tensor:
                tf.numpy_function(receive, [broken, *sources], [])
                wanted.assign(False)
                return tf.constant(0)

            branch(broken | wanted.value(), give, lambda: tf.constant(0))

        return keep

    def outside_of_xla(self, step: TracedStep, squares: Tensor) -> None:
        """Let the function around a compiled step keep the batch.

        Args:
            squares: sums of squares of the gradients.
        """
        around: Any = getattr(step.graph, "outer_graph", None)
        sources = _drawn_like(around, step.sources) if hasattr(around, "outer_graph") else []
        if not sources and not _small(step.sources):
            return
        if _bytes_of(step.sources) > self._limit:
            return
        slots = self._slots_for(sources or step.sources, flexible=bool(sources))
        self._kept_outside.append((step, slots))
        broken = self._broken.value()
        self._broken.assign(broken | ~tf.reduce_all(tf.math.is_finite(squares)))

        def put() -> Tensor:
            for slot, tensor in zip(slots, sources, strict=True):
                tf.raw_ops.AssignVariableOp(resource=slot.handle, value=tensor)
            return tf.constant(0)

        if not sources:  # nothing is around it
            self._copy_within(slots, step.sources, broken)
            return
        with around.as_default():
            branch(self._broken.value(), lambda: tf.constant(0), put)

    @staticmethod
    def _copy_within(slots: Sequence[Any], sources: Sequence[Tensor], broken: Tensor) -> None:
        """Copy the batch in the compiled step, unless a step before it has broken.

        The slots have the shape of the batch, so that XLA compiles the step only once.
        """
        for slot, tensor in zip(slots, sources, strict=True):
            slot.assign(tf.where(broken, slot.value(), tensor))

    def _slots_for(self, tensors: Sequence[Tensor], *, flexible: bool) -> list[Any]:
        """Variables for some tensors; TensorFlow traces twice, and allows new ones only once.

        Args:
            flexible: of any shape; a step that XLA compiles would be compiled again for another.
        """
        key = tuple((tensor.dtype, None if flexible else tuple(tensor.shape)) for tensor in tensors)
        with tf.init_scope():
            if self._broken is None:
                self._broken = replicas.make_variable(tf.constant(False), "broken")
            if key not in self._slots:
                self._slots[key] = [
                    replicas.make_variable(
                        tf.zeros([0] if shape is None else shape, dtype),
                        "batch",
                        tf.TensorShape(None) if shape is None else None,
                    )
                    for dtype, shape in key
                ]
        return self._slots[key]

    # --- on the host --------------------------------------------------------------------------

    def snapshot(self, steps: Sequence[TracedStep], number: int) -> None:
        """Copy the weights, as they are before a step, if it is time to.

        Args:
            number: of the step, as flags count.
        """
        now = time.perf_counter()
        if self._batch is not None or now - self._copied < self._cost / SHARE:
            return
        handles = {id(handle): handle for step in steps for handle in step.captures}
        kinds = {key: kind_of(handle) for key, handle in handles.items()}
        values = {
            key: tf.raw_ops.ReadVariableOp(resource=handles[key], dtype=kind)
            for key, kind in kinds.items()
            if kind is not None
        }
        # Variables that are made while the first step is traced hold nothing yet.
        ready = {key for key, value in values.items() if has_shape_of(handles[key], value)}
        if len(ready) < len(values):
            return
        if _bytes_of(values.values()) > min(WEIGHT_BYTES, self._limit):
            self._cost = float("inf")
            return
        self._weights = {key: np.array(value) for key, value in values.items()}
        self._weights_step = number
        self._copied = time.perf_counter()
        self._cost = self._copied - now

    def batch(self) -> tuple[TracedStep, list[Any]] | None:
        """The first step that broke, and its batch; None: it was not kept."""
        if self._batch is not None:
            return self._batch
        for step, slots in reversed(self._kept_outside):  # it is the last trace that runs
            if bool(self._broken.numpy()):
                arrays = [slot.numpy() for slot in slots]
                if all(array.size for array in arrays):
                    return step, arrays
        return None

    def want(self) -> None:
        """Ask for the batch of the next frame; one that is small is there from the first."""
        if self._wanted is not None and self._any is None:
            self._asked = True
            self._wanted.assign(True)

    def any_batch(self) -> tuple[TracedStep, list[Any]] | None:
        """Some step, and its batch; None: it is not there yet, or nothing can be kept."""
        for step, slots in reversed(self._kept_outside):
            arrays = [slot.numpy() for slot in slots]
            if all(array.size for array in arrays):
                return step, arrays
        return self._any or self._batch

    def weights(self, number: int) -> tuple[Mapping[int, Any], bool]:
        """The weights before a step, or before one not long before; whether they are its own."""
        return self._weights, self._weights_step == number

    def repeated(self, broke: bool) -> None:
        """The step of ``batch`` was repeated: its batch is not needed any more.

        Args:
            broke: it broke again. Otherwise the next one that breaks is kept.
        """
        self._batch, self._answered = None, broke


def _small(tensors: Sequence[Tensor]) -> bool:
    """Whether a copy of them at each step is no cost."""
    if not tensors or not all(t.shape.is_fully_defined() for t in tensors):
        return False
    return _bytes_of(tensors) <= COPIED_BYTES


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of those of which the shape is known."""
    sizes = [(t.shape.num_elements(), t.dtype.size) for t in tensors]
    return sum(int(count) * size for count, size in sizes if count is not None)


def _drawn_like(graph: Any, tensors: Sequence[Tensor]) -> list[Tensor]:
    """What a graph draws from its data, where that is what the function in it is called with."""
    operations = graph.get_operations() if hasattr(graph, "get_operations") else []
    for operation in reversed(operations):
        if operation.type in DRAWN:
            outputs = list(operation.outputs)
            same = len(outputs) == len(tensors) and all(
                a.dtype == b.dtype and a.shape.is_compatible_with(b.shape)
                for a, b in zip(outputs, tensors, strict=True)
            )
            return outputs if same else []
    return []
