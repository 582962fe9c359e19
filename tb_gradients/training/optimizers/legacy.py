"""Observe the optimizers of ``tf_keras`` (Keras 2).

In:  an optimizer of ``tf_keras``, and what its ``apply_gradients`` is called with.
Out: gradients, variables and an ``OptimizerView``, as a Keras 3 optimizer gives them.
Does not know how anything is measured; does not import ``tf_keras``.

This covers both generations of its optimizers: those since TensorFlow 2.11, and
``tf_keras.optimizers.legacy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.optimizers.hook import Hook, clipping_of
from tb_gradients.training.origin.request import request_of_graph
from tb_gradients.training.probe.pending import OptimizerView


class LegacyHook(Hook):
    """Stands in for ``optimizer.apply_gradients``."""

    method = "apply_gradients"

    def view(self, gradients: Sequence[Any]) -> tuple[OptimizerView, Sequence[Any]]:
        return _view_of(self.optimizer, list(gradients))

    def __call__(  # type: ignore[override]  # it stands in for another method
        self, grads_and_vars: Any, *arguments: Any, **options: Any
    ) -> Any:
        pairs = list(grads_and_vars)
        gradients, variables = [g for g, _ in pairs], [v for _, v in pairs]
        request = request_of_graph()
        if request is not None:
            return request.add(gradients, variables)
        pending = self._before(self, gradients, variables)
        result = self._original(pairs, *arguments, **options)
        if pending is not None:
            self._after(pending)
        return result


def _view_of(optimizer: Any, gradients: list[Any]) -> tuple[OptimizerView, list[Any]]:
    """How to read an optimizer, and the gradients as Keras 3 would pass them.

    Here ``LossScaleOptimizer`` gets unscaled gradients, so they are scaled again, by a power of
    two, which is exact. Its ``iterations`` also count skipped steps.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    scale = getattr(optimizer, "loss_scale", None)
    updates = None
    if scale is not None:
        values = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        finite = [tf.reduce_all(tf.math.is_finite(v)) for v in values if v is not None]
        applied = tf.reduce_all(finite)
        counts = iter((tf.zeros([2], tf.int64), tf.repeat(tf.cast(applied, tf.int64), 2)))
        updates = counts.__next__  # read before and after the update
        gradients = [None if g is None else _scaled(g, scale) for g in gradients]
    view = OptimizerView(
        updates=updates,
        learning_rate=_learning_rate(inner),
        loss_scale=None if scale is None else lambda: scale,
        clipping=clipping_of(inner),
    )
    return view, gradients


def _scaled(gradient: Any, scale: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        values = _scaled(gradient.values, scale)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(scale, gradient.dtype)


def _learning_rate(optimizer: Any) -> Any:
    """Of this step; the public attribute still has that of the step before. None: it has none."""
    if hasattr(optimizer, "_decayed_lr"):  # tf_keras.optimizers.legacy
        try:
            return tf.convert_to_tensor(optimizer._decayed_lr(tf.float32))
        except (KeyError, AttributeError):  # it has no hyperparameter of that name
            return None
    rate = getattr(optimizer, "_learning_rate", None)
    if rate is None:
        return None
    return tf.convert_to_tensor(rate(optimizer.iterations) if callable(rate) else rate)
