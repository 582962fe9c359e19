"""Training on several replicas: sum their gradients, and let one replica observe.

In:  the gradients that each replica of a ``tf.distribute`` strategy passes to its optimizer.
Out: their sum, which is the gradient of the global batch, and whether this replica observes it.
Does not know about statistics, frames or files.

Each replica's step is traced (or run) in a separate thread, all in the same order. A collective
that one replica enters and another does not would hang the training, or pair with another
collective. So decisions about collectives depend only on facts that are the same in all replicas
and worker processes: never on whether the monitor has failed, or on its schedule.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

SUPPORTED = ("Strategy", "OneDeviceStrategy", "MirroredStrategy", "MultiWorkerMirroredStrategy")
"""Synchronous strategies whose replicas hold a copy of each variable. (What TensorFlow uses
without a strategy has the class ``_DefaultDistributionStrategy``, and one replica.)"""


def strategy_of(optimizer: Any) -> Any:
    """The ``tf.distribute.Strategy`` that an optimizer was made under, or the present one."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return getattr(inner, "_distribution_strategy", None) or tf.distribute.get_strategy()


OLDEST_KERAS = (3, 5)
"""Before this version, Keras creates an optimizer's variables while the step is traced (which fails
for an observed step of several replicas), and does not divide the loss by their number."""


def why_unsupported(strategy: Any) -> str:
    """Why training under this strategy cannot be monitored, and what to do; "" if it can."""
    name = type(strategy).__name__
    if not (
        name in SUPPORTED or name.startswith("_Default") or name == "CollectiveAllReduceStrategy"
    ):
        return (
            f"training under tf.distribute's {name} cannot be monitored: it keeps gradients and "
            "variables in different places. Monitor a run of the same model without it, or under "
            "MirroredStrategy or MultiWorkerMirroredStrategy"
        )
    if strategy.num_replicas_in_sync > 1:
        import keras  # here, since hand-written updates do without

        if tuple(int(part) for part in keras.__version__.split(".")[:2]) < OLDEST_KERAS:
            return (
                f"training on several replicas with Keras {keras.__version__} cannot be monitored; "
                "install Keras 3.5 or newer"
            )
    return ""


def is_chief(strategy: Any) -> bool:
    """Whether this process holds the observing replica."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not isinstance(getattr(resolver, "task_id", None), int):
        return True
    jobs = resolver.cluster_spec().as_dict()
    first = "chief" if "chief" in jobs else "worker"
    return resolver.task_type in (None, first) and resolver.task_id == 0


def several_workers(strategy: Any) -> bool:
    """Whether other processes take part in the training."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None:
        return False
    jobs = resolver.cluster_spec().as_dict()
    return sum(len(tasks) for name, tasks in jobs.items() if name in ("chief", "worker")) > 1


def several() -> bool:
    """Whether this code runs for one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def watches() -> bool:
    """Whether this code runs for the observing replica."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return True
    return bool(tf.get_static_value(context.replica_id_in_sync_group) == 0)


def local(variable: Any) -> Any:
    """This process' first copy of a distributed variable; any other variable as it is."""
    copies = getattr(variable, "values", None)
    return copies[0] if isinstance(copies, tuple) and copies else variable


def copy_of_replica(variable: Any) -> Any:
    """The copy of a distributed variable that the present replica has; any other as it is."""
    copies = getattr(variable, "values", None)
    context = tf.distribute.get_replica_context()
    if not isinstance(copies, tuple) or not copies or context is None:
        return variable
    replica = tf.get_static_value(context.replica_id_in_sync_group)
    return variable if replica is None else copies[int(replica) % len(copies)]


def make_variable(value: Any, name: str, shape: Any = None) -> Any:
    """A variable that exists once, even under a strategy that would mirror it."""
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable

    return ResourceVariable(value, trainable=False, name=f"tb_gradients/{name}", shape=shape)


def sum_over_replicas(tensors: Sequence[Any]) -> list[Any]:
    """The sum of each tensor (or ``IndexedSlices``, or None) over all replicas."""
    present = [tensor for tensor in tensors if tensor is not None]
    context = tf.distribute.get_replica_context()
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present) if present else [])
    return [None if tensor is None else next(sums) for tensor in tensors]


class SharedSum:
    """Sums the gradients of a step once for monitor and optimizer.

    Keras sums the gradients inside of ``apply``, after clipping. If it has not changed them, both
    use one sum, which is communicated once. If it has (clipping, loss scaling), there are two sums.

    Args:
        optimizer: a Keras optimizer; the method that sums is wrapped on this instance.
    """

    NAME = "_all_reduce_sum_gradients"

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._step = threading.local()
        self._original = getattr(optimizer, self.NAME, None)
        self._sink: Any = None
        if self._original is not None:
            optimizer.__dict__[self.NAME] = self._of_optimizer

    def sum(self, gradients: Sequence[Any]) -> list[Any]:
        """The gradients of the global batch; to be called by every replica."""
        sums = sum_over_replicas(gradients)
        self._step.known = {id(one): total for one, total in zip(gradients, sums, strict=True)}
        self._step.gradients = gradients  # keeps them alive, so that their ids stay unique
        return sums

    def end_step(self, sums: Sequence[Any]) -> None:
        """Call it after the step's update; ``sums``: those that were requested in it.

        TensorFlow removes a collective from a graph that does not need its result. A collective
        that only the observing replica needs would then wait for the others for ever.
        """
        self._step.known, self._step.gradients = {}, ()
        with tf.init_scope():
            if self._sink is None:
                self._sink = make_variable(0.0, "sink")
        parts = [s.values if isinstance(s, tf.IndexedSlices) else s for s in sums if s is not None]
        with tf.control_dependencies(parts):
            self._sink.assign(0.0)

    def detach(self) -> None:
        if self._original is not None:
            self._optimizer.__dict__.pop(self.NAME, None)

    def _of_optimizer(self, grads_and_vars: Any) -> Any:
        assert self._original is not None
        grads_and_vars = list(grads_and_vars)
        known = getattr(self._step, "known", {})
        if not known or any(id(gradient) not in known for gradient, _ in grads_and_vars):
            return self._original(grads_and_vars)
        return [(known[id(gradient)], variable) for gradient, variable in grads_and_vars]
