"""The schema is the contract: names are unique, every number says what it is."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from reference import reference_row

import tb_gradients
from tb_gradients import schema

ALL = (*schema.STATISTICS, *schema.DERIVED, *schema.CONTEXT)


def test_no_name_is_used_twice() -> None:
    names = [column.name for column in ALL]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("column", ALL, ids=lambda column: column.name)
def test_every_column_says_what_it_is(column: schema.Column) -> None:
    assert column.meaning.endswith(".")
    assert column.unit
    assert schema.column(column.name) is column


def test_the_colours_of_a_statistic_hold_what_trainings_without_a_fault_have() -> None:
    runs = [
        run
        for run in tb_gradients.load(pathlib.Path(__file__).parent / "judging/recorded").runs
        if run.run.endswith(("_healthy", "_repaired"))
    ][::3]
    assert len(runs) >= 20
    for column in (*schema.STATISTICS, *schema.DERIVED):
        if column.span is None:
            assert column.unit == "share"
            continue
        low, high = column.span
        assert high >= 1e4 * low  # of fewer decades, noise would have all colours
        sizes = [np.abs(run[column.name]).ravel() for run in runs]
        measured = [own[own > 0] for own in sizes if (own > 0).any()]
        # The mean of thousands of elements is small by rounding alone: only its large values tell.
        low = low if column.scale == "log" else 0.0
        # Targets that nobody has scaled give gradients of any size.
        held = [low < np.percentile(own, 1) and np.percentile(own, 99) <= high for own in measured]
        assert sum(held) >= 0.9 * len(held), column.name


def test_an_unknown_column_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schema.column("gradient_nrom")


def test_the_bins_of_a_histogram_do_not_overlap() -> None:
    singles = [schema.BIN_ZERO, schema.BIN_NAN, *range(schema.BIN_NAN + 1, schema.BIN_POSITIVE)]
    positive = range(schema.BIN_POSITIVE, schema.BIN_POSITIVE + schema.HISTOGRAM_OCTAVES)
    negative = range(schema.BIN_NEGATIVE, schema.BIN_NEGATIVE + schema.HISTOGRAM_OCTAVES)

    assert [*singles, *positive, *negative] == list(range(schema.HISTOGRAM_BINS))


def test_the_reference_knows_every_statistic_of_a_single_step() -> None:
    row = reference_row([[1.0, -2.0]], [[0.0, 0.0]], [[0.1, 0.2]], unit_axis=1)

    stored = {column.name for column in schema.STATISTICS if column.scope == "step"}
    of_a_layer = {name for name in stored if name.startswith("activation_")}
    assert set(row) == stored - of_a_layer
