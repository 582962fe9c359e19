"""Facts of a traced step complete the variable table; what the model says itself is not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tb_gradients.host.parts import Parts
from tb_gradients.training.model.variables import make_table
from tb_gradients.training.tracing.traced_facts import TracedFacts

X, COLUMN, TARGETS = tf.ones([4, 3]), tf.ones([4, 1]), tf.ones([4])


def facts_of(loss_of: Callable[[Any], Any], weighted: bool = False) -> tuple[Any, Parts]:
    """The completed facts of the run of a linear model, and what failed."""
    kernel = tf.Variable(tf.ones([3, 1]), name="kernel")
    parts = Parts()
    facts = TracedFacts(parts)
    facts.weighted = weighted
    table = make_table([kernel], None)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            predictions = tf.sigmoid(X @ kernel)
            loss = loss_of(predictions)
        facts.read_head(predictions, [kernel])
        facts.read_step(tape.gradient(loss, [kernel]), loss, table, [kernel], None)

    step.get_concrete_function()
    return facts.complete(table, [kernel]).run.facts, parts


def test_the_end_of_a_model_that_nothing_describes_is_read_from_the_step() -> None:
    facts, parts = facts_of(lambda predictions: tf.reduce_mean(tf.square(predictions - COLUMN)))
    assert facts["head_activation"] == "sigmoid"
    assert "broadcast" not in facts
    assert parts.errors == ()


def test_a_difference_that_is_broadcast_is_a_fact_of_the_run() -> None:
    facts, _ = facts_of(lambda predictions: tf.reduce_mean(tf.square(predictions - TARGETS)))
    assert facts["broadcast"] == "(4, 1) and (4,)"


@pytest.mark.parametrize("weighted", [False, True])
def test_a_weighted_loss_is_not_that_of_its_name(weighted: bool) -> None:
    from tb_gradients.judging.learning import WEIGHTED

    facts, _ = facts_of(tf.reduce_mean, weighted)
    assert (WEIGHTED in facts) is weighted


def test_a_reading_that_fails_costs_its_facts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("broken on purpose")

    name = "tb_gradients.training.tracing.traced_facts.head_of"
    monkeypatch.setattr(name, fail)
    facts, parts = facts_of(lambda predictions: tf.reduce_mean(tf.square(predictions - TARGETS)))
    assert "head" not in facts
    assert "broadcast" in facts
    assert [error.rule for error in parts.errors] == [""]
