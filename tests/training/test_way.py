"""Where on the way from the loss most of a gradient is lost, or that it is at no single place."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from tb_gradients.flags import Origin, PathRow
from tb_gradients.training.origin.way import MOST_ROWS, Passage, Way


@dataclasses.dataclass(frozen=True)
class Operation:
    """As much of one as a way asks of it."""

    type: str
    layer: str = ""
    line: int = 0


def place(operation: Any, within: Any) -> tuple[str, str, int]:
    return operation.layer, "model.py" if operation.line else "", operation.line


def way(*factors: tuple[str, str, int, float]) -> Way:
    """A way of operations, each with layer, line and factor; a mean before, the variable behind."""
    size = 1.0
    passages = [Passage(Operation("Mean"), (), size, size * 0.01, False)]
    size *= 0.01
    for kind, layer, line, factor in factors:
        operation = Operation(kind, layer, line)
        passages.append(Passage(operation, (), size, size * factor, kind == "MatMul"))
        size *= factor
    use = [Passage(Operation("MatMul", "first"), (), size, size * 50, False)]
    read = [Passage(Operation("ReadVariableOp", "first"), (), size * 50, size * 50, False)]
    return Way("first/kernel", tuple(passages + use + read))


HEAD = ("MatMul", "head", 0, 0.5)


def test_one_factor_dominates_a_way_of_ordinary_layers() -> None:
    found = way(HEAD, ("Relu", "b", 0, 0.7), ("Mul", "body", 7, 1e-4), ("Relu", "a", 0, 0.7))
    dominant = found.dominant(place, grows=False)
    assert dominant is not None and dominant.operation.line == 7
    assert found.dominant(place, grows=True) is None


def test_a_line_that_is_passed_many_times_is_one_place() -> None:
    found = way(HEAD, *[("Sigmoid", "cell", 12, 0.2)] * 8)
    dominant = found.dominant(place, grows=False)
    assert dominant is not None and dominant.operation == Operation("Sigmoid", "cell", 12)


def test_of_many_equal_layers_none_dominates() -> None:
    found = way(HEAD, *[("Sigmoid", f"layer{i}", 0, 0.2) for i in range(8)])
    assert found.dominant(place, grows=False) is None
    assert found.changes(grows=False)
    rows = found.rows(place)
    assert [row.layer for row in rows][1:] == ["head", *(f"layer{i}" for i in range(8)), "first"]
    assert rows[1].log10_size == pytest.approx(math.log10(0.005))


def test_a_small_loss_and_the_use_of_the_variable_itself_are_at_no_fault() -> None:
    found = way(("Mul", "", 3, 1e-6), HEAD, ("Relu", "b", 0, 0.7))
    assert found.dominant(place, grows=False) is None
    assert not found.changes(grows=False)


def test_the_operation_that_the_gradient_ends_at_is_the_place() -> None:
    found = way(HEAD, ("Sigmoid", "b", 0, 0.1), ("Relu", "a", 0, 0.0), ("Tanh", "c", 0, 0.5))
    dominant = found.dominant(place, grows=False)
    assert dominant is not None and dominant.operation.type == "Relu"
    assert found.rows(place)[-1].log10_size == -math.inf


def test_growth_counts_from_the_loss_on() -> None:
    dominant = way(("Exp", "", 3, 1e4), HEAD).dominant(place, grows=True)
    assert dominant is not None and dominant.operation.type == "Exp"


def test_a_long_way_keeps_its_ends_and_its_largest_changes() -> None:
    small = [("Relu", f"layer{i}", 0, 0.99) for i in range(100)]
    rows = way(HEAD, *small[:50], ("Mul", "body", 7, 1e-3), *small[50:]).rows(place)
    assert len(rows) == MOST_ROWS
    assert (rows[0].operation, rows[-1].layer) == ("Mean", "first")
    assert any(row.layer == "body" for row in rows)


def test_a_path_is_reported_in_one_line() -> None:
    sizes = [-0.5, -2.0, -400.0, -math.inf]
    rows = tuple(PathRow(f"d{i}", "Relu", "", 0, size) for i, size in enumerate(sizes))
    origin = Origin("", path=rows)
    assert origin.path_text() == "loss 1 → d0 0.32 → d1 0.01 → d2 1e-400 → d3 0"
    assert str(origin) == "on the whole way from the loss"
    assert Origin.from_proto(origin.to_proto()) == origin
    assert origin.to_json()["path"][-1]["log10_size"] == "-Infinity"
    assert "…" in Origin("", path=rows * 3).path_text()
