"""What the list of runs says of a run: its settings and its last loss."""

from __future__ import annotations

import math

import numpy as np
import recordings as made

from tb_gradients.frames import FloatArray
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.settings import last_loss, settings_of

COLUMNS = ("table_id", "loss", "loss_nonfinite_age")


def context(loss: float, age: float = -1) -> FloatArray:
    return np.array([1, loss, age], np.float32)


def test_the_settings_are_those_that_show_runs_apart_the_most_telling_first() -> None:
    table = made.make_table(3)
    settings = settings_of(pb.VariableTable.FromString(table.to_bytes()))

    assert next(iter(settings)) == "optimizer"
    assert settings["layers"] == "3"
    assert settings["parameters"] == str(sum(v.elements for v in table.variables))
    assert "" not in settings.values()


def test_the_batch_size_is_that_of_the_last_frames_but_not_of_a_smaller_last_batch() -> None:
    table = pb.VariableTable(context=["table_id", "samples"])

    def size(*sizes: float) -> str | None:
        contexts = [np.array([1, size], np.float32) for size in sizes]
        return settings_of(table, contexts).get("batch_size")

    assert size(32, 32, 7) == "32"
    assert size(512, *[64] * 30) == "64"
    assert size(math.nan) is None
    old = pb.VariableTable(context=["table_id"])
    assert "batch_size" not in settings_of(old, [np.ones(1, np.float32)])


def test_the_last_loss_is_the_last_one_measured_or_not_finite() -> None:
    assert last_loss(COLUMNS, [context(0.5), context(0.25), context(math.nan)]) == 0.25
    assert last_loss(COLUMNS, [context(0.5), context(math.nan, age=3)]) == math.inf
    assert math.isnan(last_loss(COLUMNS, [context(math.nan)]))
    assert math.isnan(last_loss(("table_id",), [np.ones(1, np.float32)]))
