"""Hand tensors of a step that XLA compiles to a function that runs after it.

In:  a step's gradients and updates, and a few small tensors, inside the compiled step.
Out: the same tensors, outside.
Does not know what is computed from them.

Statistics inside a compiled step multiply its compilation, four- to tenfold for small models.
So a compiled step that is to be sampled only copies what they are computed from into variables,
and the statistics run afterwards as an ordinary graph.

Nothing may be handed over as it is: a gradient would become a value of its own, and an update
that XLA contracts with the product before it (the gradient of a normalisation's scale, a clipped
one) would round twice instead of once. What is put between is fused element-wise with what
computes the gradient, as is the update, so neither changes how the other is rounded. Small
tensors are concatenated to one vector, since each variable of a step costs a microsecond or two.
Of a large one the concatenation would cost ten times the copy (XLA asks for every element which
part it is of); those go through a choice that is only known when the step runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients.training import replicas
from tb_gradients.training.measuring import as_real

Tensor = Any

LARGE_ELEMENTS = 16_384
"""Tensors above this size are handed over one by one: 13 ns per element of a concatenation
then are more than what one more variable costs."""

ALIGNED_ELEMENTS = 16
"""Parts of a vector begin at multiples of 64 bytes: TensorFlow then slices without a copy."""


class Handover:
    """Variables that hold what a compiled step leaves, while the handover is open.

    XLA compiles a program for every shape of what it reads, and shapes are constants to it. So
    the *length* of these variables is the switch: as long as the tensors, the step fills them;
    of length zero, whatever only they need is gone from the program before it is compiled. (A
    branch instead would cost copies of all it could read, at every step.)
    """

    def __init__(self, is_open: bool) -> None:
        self._open = is_open
        self._variables: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        with tf.init_scope():
            # A variable, because XLA would see through a constant.
            self._always = replicas.make_variable(tf.constant(True), "always")

    def put(self, name: str, tensor: Tensor) -> None:
        """Keep a tensor of static shape; inside the compiled step."""
        flat = tf.reshape(tensor, [-1])
        if name not in self._variables:
            self._sizes[name] = int(flat.shape[0])
            with tf.init_scope():
                self._variables[name] = replicas.make_variable(
                    tf.zeros([self._length(name)], tensor.dtype), name, shape=[None]
                )
        variable = self._variables[name]
        variable.assign(flat[: tf.shape(variable.read_value())[0]])

    def get(self, name: str) -> Tensor | None:
        """What was kept under that name, flat; None if nothing was. Outside of the step."""
        if name not in self._variables:
            return None
        return tf.ensure_shape(self._variables[name].read_value(), [self._sizes[name]])

    def set_open(self, is_open: bool) -> None:
        """Let the next steps fill the variables, or not; closed they hold no memory."""
        if is_open != self._open:
            self._open = is_open
            for name, variable in self._variables.items():
                variable.assign(tf.zeros([self._length(name)], variable.dtype))

    def _length(self, name: str) -> int:
        return self._sizes[name] if self._open else 0

    def put_all(self, name: str, tensors: Mapping[int, Tensor]) -> None:
        """Keep float tensors of static shapes, the small ones as one vector per dtype."""
        large, small = _by_size(tensors)
        for row, tensor in large.items():
            real = as_real(tensor)
            kept = tf.where(self._always.read_value(), real, tf.zeros_like(real))
            self.put(f"{name}_{row}", kept)
        for dtype, layout in _layouts(small).items():
            parts = []
            for row, start, end in layout:
                part = tf.reshape(as_real(small[row]), [-1])
                parts.append(part)
                if padding := -(end - start) % ALIGNED_ELEMENTS:
                    parts.append(tf.zeros([padding], part.dtype))
            self.put(f"{name}_{dtype}", tf.concat(parts, 0))

    def get_all(self, name: str, like: Mapping[int, Any]) -> dict[int, Tensor]:
        """The tensors of ``put_all`` again, flat; ``like`` has their ``TensorSpec``."""
        large, small = _by_size(like)
        found = {row: self.get(f"{name}_{row}") for row in large}
        for dtype, layout in _layouts(small).items():
            flat = self.get(f"{name}_{dtype}")
            assert flat is not None
            for row, start, end in layout:
                found[row] = flat[start:end]
        return {row: found[row] for row in like}


def like(tensors: Mapping[int, Tensor]) -> dict[int, Any]:
    """The argument of ``get_all`` for what ``put_all`` was given."""
    return {row: tf.TensorSpec.from_tensor(tensor) for row, tensor in tensors.items()}


def _by_size(tensors: Mapping[int, Any]) -> tuple[dict[int, Any], dict[int, Any]]:
    """The large ones and the small ones."""
    large = {r: t for r, t in tensors.items() if t.shape.num_elements() > LARGE_ELEMENTS}
    return large, {row: tensor for row, tensor in tensors.items() if row not in large}


def _layouts(tensors: Mapping[int, Any]) -> dict[str, list[tuple[int, int, int]]]:
    """dtype of the vector -> (row, start, end) of each tensor in it."""
    layouts: dict[str, list[tuple[int, int, int]]] = {}
    for row, tensor in tensors.items():
        # complex128 has a float64 magnitude, see as_real
        wide = tensor.dtype in (tf.float64, tf.complex128)
        layout = layouts.setdefault("float64" if wide else "float32", [])
        end = layout[-1][2] if layout else 0
        start = -(-end // ALIGNED_ELEMENTS) * ALIGNED_ELEMENTS
        layout.append((row, start, start + int(np.prod(tensor.shape, dtype=np.int64))))
    return layouts
