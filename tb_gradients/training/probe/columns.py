"""Parts of a frame that are measured alike in a step and after it.

In:  the batch, the layers' outputs, and the sparse gradients of a step.
Out: context columns, statistics of outputs, and finished rows.
Does not know whether XLA compiles the step, except where a sum must be written differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tb_gradients.frames import VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.training.probe import activations, sparse
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.batch import columns as batch_columns
from tb_gradients.training.probe.update_kinds import compute_dtype_of

Tensor = Any


def stacked(columns: Mapping[str, Tensor]) -> Tensor:
    """The values of columns, one after the other."""
    return tf.stack(list(columns.values())) if columns else tf.zeros([0])


def step_columns(
    batch: Batch,
    scale: Tensor | None,
    learning_rate: Tensor | None,
    parts: Parts,
    xla: bool = False,
) -> dict[str, Tensor]:
    """The context columns of a step by itself: float32 scalars by name."""
    columns = batch_columns(batch, xla, parts)
    if batch.loss is not None:
        columns["loss"] = batch.loss
    if scale is not None:
        columns["loss_scale"] = scale
    if learning_rate is not None:
        columns["learning_rate"] = learning_rate
    return {name: tf.cast(value, tf.float32) for name, value in columns.items()}


def layer_columns(
    outputs: Mapping[int, activations.Output], table: VariableTable, parts: Parts
) -> dict[str, Tensor]:
    """Statistics of the layers' outputs: float32 [variables] by name."""
    columns, _ = parts.sound(
        "the outputs",
        lambda rows: activations.columns({row: outputs[row] for row in rows}, len(table.variables)),
        list(outputs),
        table.paths,
    )
    return columns


def sparse_rows(
    gradients: Mapping[int, Any],
    befores: Mapping[int, Tensor],
    afters: Mapping[int, Tensor],
    tables: Mapping[int, Tensor],
    scale: Tensor | None,
    table: VariableTable,
    xla: bool,
) -> list[Tensor]:
    """For each sparse gradient its finished row, and a sample of it for the histogram.

    Args:
        befores, afters: the touched weights, by row.
        tables: samples of the tables of weights, by row.
    """
    parts = []
    for row, weights in tables.items():
        variable, gradient = table.variables[row], gradients[row]
        after = afters[row]
        parts.append(
            sparse.sparse_row(
                gradient,
                tf.broadcast_to(befores[row], tf.shape(after)),
                after,
                weights,
                variable.shape[0],
                scale,
                compute_dtype_of(variable),
                xla,
            )
        )
        parts.append(sparse.sample(gradient.values, scale))
    return parts
