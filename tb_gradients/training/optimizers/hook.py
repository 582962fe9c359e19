"""Wrap an optimizer's ``apply``: same arguments and effect, but each update is observed.

In:  a Keras optimizer, and functions to call around each update.
Out: gradients and variables as ``apply`` gets them, before and after the update, with the
     sum over all replicas in place of one replica's gradients.
Does not know about statistics, frames, schedules or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.variables import native
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.optimizers.settings import is_optimizer
from tb_gradients.training.origin.request import request_of_graph
from tb_gradients.training.probe.pending import OptimizerView

Before = Callable[["Hook", Sequence[Any], Sequence[Any]], Any]
"""(hook, gradients, variables) -> argument of ``after``; None: do not call it."""


class Hook:
    """Observes one optimizer instance until ``detach``.

    Args:
        optimizer: a Keras 3 optimizer.
        before, after: called around each update, while it is traced or run; on several
            replicas, only by the observing one. They must not raise.
        combine: called by every one of several replicas, with its own gradients and variables, to
            sum further tensors; returns the sums.
    """

    method = "apply"

    def __init__(
        self,
        optimizer: Any,
        before: Before,
        after: Callable[[Any], Any],
        combine: Callable[[Sequence[Any], Sequence[Any] | None], Sequence[Any]],
    ) -> None:
        earlier = optimizer.__dict__.get(self.method)
        if isinstance(earlier, Hook):  # an earlier monitor: replaced, not stacked
            earlier.detach()
        self.optimizer = optimizer
        self._before, self._after, self._combine = before, after, combine
        self._sum = replicas.SharedSum(optimizer)
        self._original = getattr(optimizer, self.method)
        # Not through __setattr__: Keras would try to track it.
        optimizer.__dict__[self.method] = self

    @property
    def attached(self) -> bool:
        """Whether the optimizer calls this hook; another one may have replaced it."""
        return self.optimizer.__dict__.get(self.method) is self

    def detach(self) -> None:
        """Restore the optimizer; functions that are already traced do not change."""
        if self.attached:
            self._sum.detach()
            if getattr(self._original, "__self__", None) is self.optimizer:
                del self.optimizer.__dict__[self.method]
            else:  # another wrapper, older than ours
                self.optimizer.__dict__[self.method] = self._original

    def view(self, gradients: Sequence[Any]) -> tuple[OptimizerView, Sequence[Any]]:
        """How to read the optimizer, and the gradients, still scaled by the loss scale."""
        return view_of(self.optimizer), gradients

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        grads = list(grads)
        variables = trainable_variables
        if variables is None:
            variables = getattr(self.optimizer, "_trainable_variables", None)
        if variables is not None:
            variables = list(variables)
            trainable_variables = variables if trainable_variables is not None else None
        request = request_of_graph()
        if request is not None:
            return request.add(grads, variables)
        gradients, pending, sums = grads, None, []
        if replicas.several():
            gradients = self._sum.sum(grads)
            sums = [*gradients, *self._combine(grads, variables)]
        if variables is not None and replicas.watches():
            pending = self._before(self, gradients, variables)
        result = self._original(grads, trainable_variables)
        if sums:
            self._sum.end_step(sums)
        if pending is not None:
            self._after(pending)
        return result


def require_keras(optimizer: Any) -> None:
    """Raise an error that names the remedy if the optimizer cannot be hooked."""
    if not is_optimizer(optimizer):
        raise TypeError(
            f"{type(optimizer).__name__} is not an optimizer of Keras; for updates without one "
            "use GradientMonitor.observe(gradients, variables)"
        )
    require_tensorflow()


def require_tensorflow() -> None:
    """Raise RuntimeError if Keras uses another backend."""
    import keras  # here, because hand-written updates do not need it

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"tb_gradients watches TensorFlow, and Keras runs on {backend!r} here; set the "
            'environment variable KERAS_BACKEND to "tensorflow" before Keras is imported'
        )


def view_of(optimizer: Any) -> OptimizerView:
    """How to read an optimizer, for the probe."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    scaling = hasattr(optimizer, "dynamic_scale") or hasattr(optimizer, "initial_scale")
    static_scale = getattr(optimizer, "loss_scale_factor", None)
    scale = None
    if scaling:

        def scale() -> Any:
            if optimizer.built:
                return native(optimizer.dynamic_scale)
            return tf.constant(float(optimizer.initial_scale))
    elif static_scale:

        def scale() -> Any:
            return tf.constant(float(static_scale))

    conditional = scaling or getattr(inner, "gradient_accumulation_steps", None)
    clipping = clipping_of(inner)
    if clipping and replicas.several():  # Keras clips each replica's gradient by itself
        clipping = {"per_replica": 0.0}
    return OptimizerView(
        updates=(lambda: _updates(inner)) if conditional else None,
        learning_rate=learning_rate_of(optimizer),
        loss_scale=scale,
        clipping=clipping,
    )


def learning_rate_of(optimizer: Any) -> Any:
    """As it is before the step; None: the optimizer has none, or parts with their own."""
    try:
        rate = optimizer.learning_rate
    except AttributeError:
        return None
    return tf.convert_to_tensor(native(rate))


def parts_of(optimizer: Any) -> list[Any]:
    """The optimizers that one delegates its variables to: those of a ``MultiOptimizer``.

    Raises:
        ValueError: it has not chosen them yet.
    """
    if type(optimizer).__name__ != "MultiOptimizer" or not is_optimizer(optimizer):
        return [optimizer]
    parts = list(optimizer.optimizers)
    if not parts or not (optimizer.built or hasattr(optimizer._optimizer_map, "values")):
        raise ValueError(
            "this MultiOptimizer chooses its optimizers when it is built: call "
            "optimizer.build(model.trainable_variables) before it is watched"
        )
    return parts


def trained_by(optimizer: Any) -> list[Any]:
    """The variables that an optimizer was built for; none before."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(inner, "_trainable_variables", None) or ())


def clipping_of(optimizer: Any) -> dict[str, float]:
    """The limits that an optimizer clips its gradients to."""
    # No assignment expression: AutoGraph reads this and would warn the user about it.
    limits = {
        name: getattr(optimizer, name, None)
        for name in ("clipnorm", "global_clipnorm", "clipvalue")
    }
    return {name: float(limit) for name, limit in limits.items() if limit is not None}


def _updates(optimizer: Any) -> Any:
    """The number of steps so far, and of updates: one every few steps with gradient accumulation.

    (A step that is skipped because of non-finite gradients never reaches this optimizer.)
    """
    made = tf.cast(native(_counter(optimizer)), tf.int64)
    return tf.stack([made, made // (getattr(optimizer, "gradient_accumulation_steps", None) or 1)])


def _counter(optimizer: Any) -> Any:
    """The variable that counts steps; in the first Keras 3 that is ``iterations`` itself."""
    counter = getattr(optimizer, "_iterations", None)
    return optimizer.iterations if counter is None else counter


def steps_made(optimizer: Any) -> int:
    """Steps made before, by a resumed optimizer; with gradient accumulation, micro-steps."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return int(replicas.local(native(_counter(inner))).numpy())
