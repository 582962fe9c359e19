"""What one monitor watches: a table of variables, with the probes that measure them.

In:  a model or variables, the optimizers, and what the first step shows.
Out: a variable table, and ``Probes`` for it. Both are made anew when the variables change.
Does not know about frames that were taken, or files.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.judging.freezing import FROZEN_WHEN_TRACED
from tb_gradients.training.guard import Guard
from tb_gradients.training.model.variables import (
    key_of,
    make_table,
    trainable_variables,
    with_initial_scales,
    with_owners,
    with_variable_facts,
)
from tb_gradients.training.optimizers.hook import steps_made, trained_by
from tb_gradients.training.pacing import Pacing
from tb_gradients.training.probe.activations import Outputs
from tb_gradients.training.probe.probe import Probe
from tb_gradients.training.probe.probes import Probes
from tb_gradients.training.step_count import StepCount
from tb_gradients.training.tracing.topology import graph_of_model, with_graph
from tb_gradients.training.tracing.traced_facts import TracedFacts
from tb_gradients.training.weights import Weights

MIN_UNIT_WINDOW, MAX_UNIT_WINDOW = 20, 100
"""A unit counts as dead after one epoch without gradient, within these bounds: fewer batches
do not cover the data, and more only delay the answer."""


class Watched:
    """The variables of one monitor, which are known with the first update at the latest.

    Args:
        model: of Keras, several of them, or None.
        variables: those that the user named, inputs first; None: those of the model, or of the
            first update.
        activations: whether the outputs of the model's layers are observed.
        parts, guard: of the monitor.
        steps, pacing: of the training; a new table may change the number of the next step.
        on_wait, on_full: see ``Fetcher``.
        before_change: called before the table changes: frames that wait belong to the one before.
        on_change: called with the new table.

    Attributes:
        optimizers: those that are hooked.
        table: None until the variables are known.
        variables: of the table, in its order.
        rows: ``key_of`` a variable -> its row.
        columns: statistics of the probes that are columns of the table.
        probes: None until the variables are known.
        outputs: of the model's layers, where they are observed.
        facts: what only the traced step shows.
        weights: of the variables, between steps.
    """

    def __init__(
        self,
        model: Any,
        variables: Sequence[Any] | None,
        *,
        activations: bool,
        parts: Parts,
        guard: Guard,
        steps: StepCount,
        pacing: Pacing,
        on_wait: Callable[[int], None],
        on_full: Callable[[], None],
        before_change: Callable[[], None],
        on_change: Callable[[VariableTable], None],
    ) -> None:
        self.model = model
        self.optimizers: list[Any] = []
        self.table: VariableTable | None = None
        self.variables: Sequence[Any] = ()
        self.rows: dict[Any, int] = {}
        self.columns: list[int] = []
        self.probes: Probes | None = None
        self.outputs: Outputs | None = None
        self.facts = TracedFacts(parts)
        self.weights = Weights()
        self._named = None if variables is None else list(variables)
        self._activations = activations
        self._parts, self._guard = parts, guard
        self._steps, self._pacing = steps, pacing
        self._on_wait, self._on_full = on_wait, on_full
        self._before_change, self._on_change = before_change, on_change
        self._not_trained: set[Any] = set()
        self._others: list[Any] = []
        self._run_facts: dict[str, Any] = {}

    @property
    def needs_names(self) -> bool:
        """Whether neither a model nor the user says what the variables are."""
        return self._named is None and self.model is None

    @property
    def is_trainable(self) -> bool:
        """Whether the model, if there is one, has a trainable variable."""
        return self.model is None or bool(trainable_variables(_listed(self.model)))

    @property
    def is_built(self) -> bool:
        """Whether there is a model, and its variables exist."""
        if self.model is None:
            return False
        return all(getattr(one, "built", False) for one in _listed(self.model))

    def describe_run(self, **facts: Any) -> None:
        """Add facts about the run that the variables do not show (fields of ``RunContext``)."""
        self._run_facts.update(facts)

    def change_model(self, model: Any, not_trained: Iterable[Any]) -> None:
        """From now on, watch this model.

        Args:
            not_trained: variables that were made trainable after the step was traced.
        """
        self._not_trained = {key_of(variable) for variable in not_trained}
        self._others = []
        self.model, self.probes = model, None

    def prepare(self, variables: Sequence[Any] | None) -> None:
        """Make table and probes, once the variables are known."""
        if self.probes is not None:
            return
        watched = self._named
        if watched is None and self.model is not None:
            watched = [*trainable_variables(_listed(self.model)), *self._others]
        if not watched:
            watched = None if variables is None else list(variables)
        if not watched:
            return
        self._before_change()
        self.variables = watched
        self.weights.watch(watched)
        with tf.init_scope():
            table = self.table = self._make_table(watched)
            # A model that is compiled again has an optimizer that counts from 0 again.
            first = max([self._steps.next, *(steps_made(one) for one in self.optimizers)])
            self._steps.go_to(first)
            self._steps.per_call = max(table.run.steps_per_execution, 1)
            keys = [key_of(variable) for variable in watched]
            self.rows = {key: row for row, key in enumerate(keys)}
            self.probes, self._steps.reported = Probes(self._probe_maker(table, keys)), 0
            self._pacing.arm(self.probes, first)
            if self._activations and self.model is not None and self.outputs is None:
                self._guard.part("the layers' outputs", self._watch_outputs, table, self.rows)
        self._on_change(table)

    def _make_table(self, watched: Sequence[Any]) -> VariableTable:
        optimizers = self.optimizers[:1]
        table = make_table(watched, self.model, *optimizers, parts=self._parts, **self._run_facts)
        frozen = {FROZEN_WHEN_TRACED: "True"}
        table = with_variable_facts(table, watched, self._not_trained, frozen)
        self.facts.forget_graph()
        graph = self._parts.run("the graph of the model", graph_of_model, self.model)
        table = with_graph(table, [key_of(variable) for variable in watched], graph)
        names = [
            name
            for name in schema.statistic_names()
            if self._activations or not name.startswith("activation_")
        ]
        self.columns = [schema.statistic_names().index(name) for name in names]
        return dataclasses.replace(table, statistics=tuple(names))

    def _probe_maker(self, table: VariableTable, keys: Sequence[Any]) -> Callable[[int], Probe]:
        """First step -> a probe of the table."""
        frames = -(-self._steps.per_call // (self._pacing.interval or 1))
        epoch = table.run.steps_per_epoch

        def make_probe(step: int) -> Probe:
            return Probe(
                table,
                keys,
                first_step=step,
                slots=min(frames, 64) + 1,
                unit_window=min(max(epoch, MIN_UNIT_WINDOW), MAX_UNIT_WINDOW),
                parts=self._parts,
                on_wait=self._on_wait,
                on_full=self._on_full if self._steps.per_call == 1 else None,
            )

        return make_probe

    def widen(self, variables: Sequence[Any]) -> None:
        """Watch what an optimizer gets besides the model's variables, too."""
        others = [v for v in variables if key_of(v) not in self.rows]
        if not others or self._named is not None or self.model is None:
            return
        assert self.probes is not None
        if self.probes.used:
            error = ValueError("pass all variables to watch: variables=[...]")
            for variable in others:
                name = getattr(variable, "path", variable.name)
                self._parts.leave_out("what a later update trains besides the model", error, name)
            return
        known = [v for optimizer in self.optimizers for v in trained_by(optimizer)]
        keys = {key_of(v) for v in self._others}
        for variable in [*others, *known]:
            if key_of(variable) not in self.rows and key_of(variable) not in keys:
                keys.add(key_of(variable))
                self._others.append(variable)
        self.probes = None
        self.prepare(None)

    def recount(self) -> None:
        """Before the first step: start at the step that the optimizer was restored to."""
        made = max((steps_made(optimizer) for optimizer in self.optimizers), default=0)
        if self.probes is not None and made > self._steps.next:
            self.probes = None
            self.forget_outputs()
            self.prepare(None)

    def _watch_outputs(self, table: VariableTable, rows: Mapping[Any, int]) -> None:
        kernels = {k: r for k, r in rows.items() if table.variables[r].role == "kernel"}
        note = functools.partial(self._guard.part, "the layers' outputs")
        self.outputs = Outputs(_listed(self.model), kernels, note)
        self.outputs.attach()

    def forget_outputs(self) -> None:
        """Observe the layers' outputs no more; a new table observes them anew."""
        if self.outputs is not None:
            self.outputs.detach()
            self.outputs = None

    # --- after the first step ----------------------------------------------------------

    def complete_table(self) -> None:
        """Add what the first step has shown: facts of the step, and the owner of each variable."""
        assert self.probes is not None and self.table is not None
        self.table = self.facts.complete(self.table, self.variables)
        hooked = {id(optimizer): optimizer for optimizer in self.optimizers}
        owners = {row: hooked[o] for row, o in self.probes.owners().items() if o in hooked}
        if len(hooked) > 1 and owners:
            model = None if isinstance(self.model, (list, tuple)) else self.model
            self.table = with_owners(self.table, owners, model)

    def read_late_weights(self, frame: Frame) -> None:
        """Read the initial weights of layers that were built while the first step was traced.

        Args:
            frame: the first one, of the first step.
        """
        assert self.table is not None
        weight, update = (
            frame.values[:, self.table.statistics.index(name)]
            for name in ("weight_norm", "update_norm")
        )
        with np.errstate(all="ignore"):
            moved = (update / weight).tolist()
        self.table = with_initial_scales(self.table, self.variables, moved)


def _listed(model: Any) -> list[Any]:
    return list(model) if isinstance(model, (list, tuple)) else [model]
