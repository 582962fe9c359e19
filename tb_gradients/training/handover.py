"""Hand tensors of a step that XLA compiles to a function that runs after it.

In:  a step's gradients and updates, and a few small tensors, inside the compiled step.
Out: the same tensors, outside.
Does not know what is computed from them.

Statistics inside a compiled step multiply its compilation, four- to tenfold for small models.
So a compiled step that is to be sampled only copies what they are computed from into variables,
and is measured afterwards, by an ordinary graph.

Little may be handed over as it is: a gradient would become a value of its own, and an update
that XLA contracts with the product before it (the gradient of a normalisation's scale, a clipped
one) would round twice instead of once. What is put between is fused element-wise with what
computes the gradient, as is the update, so neither changes how the other is rounded. Small
tensors are concatenated to one vector, since each variable of a step costs a microsecond or two.
Of a large one the concatenation would cost ten times the copy (XLA asks for every element which
part it is of); those go through a choice that is only known when the step runs, or as they are if
they come out of a product, which is fused with nothing.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tb_gradients.training import replicas

Tensor = Any


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

    def put(self, name: str, tensor: Tensor, at_most: int | None = None) -> None:
        """Keep a tensor; inside the compiled step.

        Args:
            at_most: of a tensor whose size depends on the batch, how many elements it can have.
        """
        flat = tf.reshape(tensor, [-1])
        if at_most is not None:  # the length of the variable is the switch, so it stays the same
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
        """What was kept under that name, flat; None if nothing was. Outside of the step."""
        if name not in self._variables:
            return None
        flat = tf.ensure_shape(self._variables[name].value(), [self._sizes[name]])
        size = self.get(f"{name}_size")
        return flat if size is None else flat[: tf.cast(size[0], tf.int32)]

    def set_open(self, is_open: bool) -> None:
        """Let the next steps fill the variables, or not; closed they hold no memory."""
        if is_open != self._open:
            self._open = is_open
            for name, variable in self._variables.items():
                variable.assign(tf.zeros([self._length(name)], variable.dtype))

    def _length(self, name: str) -> int:
        return self._sizes[name] if self._open else 0

    def put_large(self, name: str, tensor: Tensor) -> None:
        """Keep a large tensor: as it is or by a choice of which XLA does not know the outcome."""
        if not _is_product(tensor):
            tensor = tf.where(self._always.value(), tensor, tf.zeros_like(tensor))
        self.put(name, tensor)


def _is_product(tensor: Tensor) -> bool:
    """Whether XLA makes a value of its own of a tensor in any case."""
    operation = tensor.op
    while operation.type in ("Identity", "Reshape"):
        operation = operation.inputs[0].op
    return operation.type in ("MatMul", "Conv2DBackpropFilter")
