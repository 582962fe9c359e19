"""Pass tensors out of a step that XLA compiles, to a function that runs after the step.

In:  a step's gradients and updates, and a few small tensors, inside the compiled step.
Out: the same tensors, outside.
Does not know what is computed from them.

Statistics inside a compiled step make its compilation four to ten times slower for small models.
So a compiled step that is sampled only copies their inputs into variables; an ordinary graph
computes the statistics afterwards.

Most tensors cannot be copied directly: XLA would then materialise the gradient, and an update that
it contracts with the product before it (the gradient of a normalisation's scale, a clipped one)
would round twice instead of once. The operation in between is fused element-wise with the
computation of the gradient, as the update is, so neither changes how the other is rounded. Small
tensors are concatenated to one vector, because each variable of a step costs one or two
microseconds. For a large tensor the concatenation would cost ten times the copy (XLA checks for
every element which part it belongs to). Large tensors go through a selection that is only known
when the step runs, or directly if they are the result of a product, which is fused with nothing.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tb_gradients.training.optimizers import replicas

Tensor = Any


class Handover:
    """Variables that hold tensors of a compiled step, while the handover is open.

    XLA compiles a program for every combination of input shapes, and treats shapes as constants. So
    the *length* of these variables is the switch: if they are as long as the tensors, the step
    fills them; if their length is zero, everything that only they need is removed before
    compilation. (A branch would copy all that it could read, at every step.)
    """

    def __init__(self, is_open: bool) -> None:
        self._open = is_open
        self._variables: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        with tf.init_scope():
            # A variable, because XLA would fold a constant.
            self._always = replicas.make_variable(tf.constant(True), "always")

    def put(self, name: str, tensor: Tensor, at_most: int | None = None) -> None:
        """Keep a tensor; inside the compiled step.

        Args:
            at_most: of a tensor whose size depends on the batch, how many elements it can have.
        """
        flat = tf.reshape(tensor, [-1])
        if at_most is not None:  # the length is the switch, so it must stay the same
            self.put(f"{name}_size", tf.cast(tf.shape(flat), tf.float32))
            padded = tf.pad(flat, [[0, at_most - tf.size(flat)]])
            flat = tf.ensure_shape(padded, [at_most])
        if name not in self._variables:
            self._sizes[name] = int(flat.shape[0])
            with tf.init_scope():
                self._variables[name] = replicas.make_variable(
                    tf.zeros([self._length(name)], tensor.dtype), name, shape=[None]
                )
        variable = self._variables[name]
        variable.assign(flat[: tf.shape(variable.value())[0]])

    def get(self, name: str) -> Tensor | None:
        """The tensor that was kept under that name, flat, or None. Call it outside of the step."""
        if name not in self._variables:
            return None
        flat = tf.ensure_shape(self._variables[name].value(), [self._sizes[name]])
        size = self.get(f"{name}_size")
        return flat if size is None else flat[: tf.cast(size[0], tf.int32)]

    def set_open(self, is_open: bool) -> None:
        """Whether the next steps fill the variables; closed, they use no memory."""
        if is_open != self._open:
            self._open = is_open
            for name, variable in self._variables.items():
                variable.assign(tf.zeros([self._length(name)], variable.dtype))

    def _length(self, name: str) -> int:
        return self._sizes[name] if self._open else 0

    def put_large(self, name: str, tensor: Tensor) -> None:
        """Keep a large tensor: directly, or through a selection whose result XLA does not know."""
        if not _is_product(tensor):
            tensor = tf.where(self._always.value(), tensor, tf.zeros_like(tensor))
        self.put(name, tensor)


def _is_product(tensor: Tensor) -> bool:
    """Whether XLA materialises a tensor in any case."""
    operation = tensor.op
    while operation.type in ("Identity", "Reshape"):
        operation = operation.inputs[0].op
    return operation.type in ("MatMul", "Conv2DBackpropFilter")
