"""Observe each update, inside of the training step.

In:  gradients and variables as the optimizer gets them; the loss and what it is computed from.
Out: calls of the probes, which add operations to the step.
Does not know what happens on the host after the step.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.host.parts import Parts
from tb_gradients.training.guard import Guard
from tb_gradients.training.model.model_ends import scaling_of
from tb_gradients.training.model.variables import key_of
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.optimizers.hook import Hook
from tb_gradients.training.origin.explainer import Explainer
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.given import inputs_of, tensors_of
from tb_gradients.training.probe.graphs import symbolic
from tb_gradients.training.probe.pending import OptimizerView
from tb_gradients.training.step_count import StepCount
from tb_gradients.training.tracing.added_losses import losses_of
from tb_gradients.training.watched import Watched


class Updates:
    """The updates of one training, while its step is traced or run.

    Args:
        watched: what is watched.
        parts, guard: of the monitor.
        steps: of the training.
        explainer: keeps what it needs of a traced step.
    """

    def __init__(
        self,
        watched: Watched,
        *,
        parts: Parts,
        guard: Guard,
        steps: StepCount,
        explainer: Explainer,
    ) -> None:
        self._watched = watched
        self._parts, self._guard = parts, guard
        self._steps, self._explainer = steps, explainer
        # Each replica runs in a separate thread.
        self._observed = threading.local()

    def before_apply(self, hook: Hook, gradients: Sequence[Any], variables: Sequence[Any]) -> Any:
        """An optimizer is about to be applied. Returns the argument of ``after``."""

        def before() -> Any:
            read = self._parts.run("the settings of the optimizer", hook.view, gradients)
            view, unscaled = read or (OptimizerView(), gradients)
            return self._before(unscaled, variables, view, hook.optimizer)

        return self._guard.run(before)

    def before(self, gradients: Sequence[Any], variables: Sequence[Any]) -> Any:
        """A hand-written update is about to be made. Returns the argument of ``after``."""
        return self._guard.run(self._before, gradients, variables, OptimizerView())

    def _before(
        self,
        gradients: Sequence[Any],
        variables: Sequence[Any],
        view: OptimizerView,
        optimizer: Any = None,
    ) -> Any:
        watched = self._watched
        watched.prepare(variables)
        watched.widen(variables)
        assert watched.probes is not None
        gradients = [symbolic(gradient) for gradient in gradients]
        batch = getattr(self._observed, "batch", None)
        loss = None if batch is None else batch.loss
        watched.facts.read_step(gradients, loss, watched.table, watched.variables, watched.model)
        found = [watched.rows.get(key_of(variable)) for variable in variables]
        rows = [row for row in found if row is not None]
        probe = watched.probes.of(optimizer and id(optimizer), self._steps.next, rows)
        probe.outputs = watched.outputs
        probe.batch, self._observed.batch = batch, None
        pending = probe.before(gradients, variables, view)
        if pending is not None:
            pending.on_nonfinite = self._explainer.traced(
                gradients,
                variables,
                found,
                watched.table,
                batch,
                watched.model,
                pending.squares,
                self._steps.shown(self._steps.next),
            )
        return probe, pending

    def after(self, pending: Any) -> None:
        """The update was made.

        Args:
            pending: what ``before`` gave.
        """

        def after() -> None:
            probe, kept = pending
            probe.after(kept)

        self._guard.run(after)

    def observe_batch(self, loss: Any, inputs: Any, targets: Any, predictions: Any) -> None:
        """The loss of the next update, and what it is computed from."""
        # Every replica keeps it, even if something fails: they sum the loss together.
        before = getattr(self._observed, "batch", None) or Batch()
        self._observed.batch = Batch(loss)
        if replicas.watches():
            watched, run = self._watched, self._parts.run
            if watched.optimizers:
                watched.prepare(None)
            sides = (
                run("the inputs", inputs_of, inputs, watched.model) or (),
                run("the targets", tensors_of, targets) or (),
                run("the predictions", tensors_of, predictions) or (),
            )
            data = before.data_inputs, before.data_targets
            added = run("the losses of layers", losses_of, [watched.model]) or ()
            scaling = run("the layer that scales the inputs", scaling_of, watched.model) or ()
            self._observed.batch = Batch(loss, *sides, *data, added, scaling)
            if len(sides[-1]) == 1:
                watched.facts.read_head(sides[-1][0], watched.variables)

    def observe_data(self, inputs: Any, targets: Any) -> None:
        """The data of the next step, whose loss may not be seen."""
        if replicas.watches():
            run = self._parts.run
            self._observed.batch = Batch(
                data_inputs=run("the data of the step", tensors_of, inputs) or (),
                data_targets=run("the data of the step", tensors_of, targets) or (),
            )

    def combine(self, gradients: Sequence[Any], variables: Sequence[Any] | None) -> list[Any]:
        """Sum the loss over the replicas. All of them get here, even after a failure.

        Args:
            gradients, variables: of this replica alone.
        """
        if variables is not None and not replicas.watches():
            self._guard.run(self._explainer.traced_beside, gradients, variables)
        batch = getattr(self._observed, "batch", None)
        if batch is None or batch.loss is None:
            return []
        sums = replicas.sum_over_replicas([tf.reduce_mean(batch.loss)])
        self._observed.batch = dataclasses.replace(batch, loss=sums[0])
        return sums
