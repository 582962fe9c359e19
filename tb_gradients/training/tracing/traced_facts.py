"""Collect the facts about a run that only its traced training step shows.

In:  gradients, loss and predictions of a step, while it is traced.
Out: a variable table that is completed by these facts.
Does not know about statistics, frames or files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tb_gradients.frames import VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.judging.learning import WEIGHTED
from tb_gradients.judging.networks import SIGN, STOPPED
from tb_gradients.judging.words import ADDED_LOSS
from tb_gradients.training.model.model_ends import head_facts
from tb_gradients.training.model.variables import key_of
from tb_gradients.training.tracing.added_losses import in_added_losses
from tb_gradients.training.tracing.broadcasts import broadcast_difference
from tb_gradients.training.tracing.heads import Head, head_of
from tb_gradients.training.tracing.stops import behind_a_sign, stopped_before
from tb_gradients.training.tracing.topology import (
    Graph,
    graph_of_step,
    has_softmax_of_one,
    with_facts,
    with_graph,
)


class TracedFacts:
    """The facts so far.

    Args:
        parts: notes what fails.

    Attributes:
        weighted: samples or classes have weights, so the loss is not that of its name.
    """

    def __init__(self, parts: Parts) -> None:
        self.weighted = False
        self._parts = parts
        self._head: Head | None = None
        self._broadcast: tuple[str, str] | None = None
        self._graph: Graph | None = None
        self._graph_leads = False
        self._added: set[Any] = set()
        self._stopped: set[Any] = set()
        self._flat: set[Any] = set()

    def forget_graph(self) -> None:
        """The variables have changed."""
        self._graph = None

    def read_step(
        self,
        gradients: Sequence[Any],
        loss: Any,
        table: VariableTable | None,
        watched: Sequence[Any],
        model: Any,
    ) -> None:
        """Read the graph of the step that computes these gradients."""
        run = self._parts.run
        if self._broadcast is None:
            self._broadcast = run("the search for broadcasts", broadcast_difference, gradients)
        if table is not None:
            run("the graph of the step", self._read_graph, gradients, loss, table, watched, model)
        if any(gradient is None for gradient in gradients):
            models = model if isinstance(model, (list, tuple)) else [model]
            self._added |= (
                run("the added losses", in_added_losses, models, gradients, watched) or set()
            )

    def _read_graph(
        self,
        gradients: Sequence[Any],
        loss: Any,
        table: VariableTable,
        watched: Sequence[Any],
        model: Any,
    ) -> None:
        """Which variable feeds which, and what else only the traced step shows."""
        # The model itself does not show which of several outputs count in the loss.
        several = loss is not None and len(getattr(model, "outputs", None) or ()) > 1
        needed = not table.nodes or several
        if not (needed or _has_unknown_roles(table) or has_softmax_of_one(gradients)):
            return
        graph = graph_of_step(watched, gradients, loss)
        # Of several optimizers the last one sees what was computed for all of them.
        if graph is not None and (self._graph is None or len(graph.of) >= len(self._graph.of)):
            self._graph, self._graph_leads = graph, needed

    def read_head(self, predictions: Any, watched: Sequence[Any]) -> None:
        """Find the last layer in the graph of the predictions."""
        run = self._parts.run
        self._head = run("the end of the model", head_of, predictions, watched)
        self._stopped |= (
            run("the way to the predictions", stopped_before, predictions, watched) or set()
        )
        self._flat |= run("the signs on the way", behind_a_sign, predictions, watched) or set()

    def complete(self, table: VariableTable, watched: Sequence[Any]) -> VariableTable:
        """The table with these facts: the loss, the graph, and the end of a custom model."""
        facts = dict(table.run.facts)
        if self.weighted:
            facts[WEIGHTED] = "True"
        if self._head is not None and "head" not in facts:
            facts.update(head_facts(table.variables[self._head.row], self._head.activations))
        if self._broadcast is not None:
            facts["broadcast"] = " and ".join(self._broadcast)
        keys = [key_of(variable) for variable in watched]
        if self._graph is not None:
            table = with_facts(table, keys, self._graph.facts)
        table = with_facts(table, keys, {key: {ADDED_LOSS: "True"} for key in self._added})
        table = with_facts(table, keys, {key: {STOPPED: "True"} for key in self._stopped})
        table = with_facts(table, keys, {key: {SIGN: "True"} for key in self._flat})
        if self._graph_leads:
            table = with_graph(table, keys, self._graph)
        if facts != table.run.facts:
            table = dataclasses.replace(table, run=dataclasses.replace(table.run, facts=facts))
        return table


def _has_unknown_roles(table: VariableTable) -> bool:
    """Whether a weight of a layer may multiply a signal, or scale or round one."""
    return any(v.role == "other" and v.layer_class and v.units > 1 for v in table.variables)
