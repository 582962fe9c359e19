"""Which elements are looked at: all of small variables, an even sample of large ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_gradients.frames import Variable
from tb_gradients.host.sampling import (
    COARSE_ELEMENTS,
    FEWEST_ELEMENTS,
    FEWEST_ROWS,
    HUGE_ELEMENTS,
    MODEL_ELEMENTS,
    SAMPLE_ELEMENTS,
    WHOLE_ELEMENTS,
    Sample,
    in_order,
    sample_limit,
    sample_of,
)


def variable(*shape: int) -> Variable:
    return Variable("v", shape, unit_axis=len(shape) - 1, units=shape[-1] if shape else 0)


SHAPES = st.lists(st.integers(1, 300), max_size=4) | st.tuples(
    st.integers(1, 5000), st.integers(1, 5000)
)


@given(SHAPES)
def test_a_sample_is_of_its_size_and_whole_where_that_is_all(shape: Sequence[int]) -> None:
    sample = sample_of(0, variable(*shape))
    elements = int(np.prod(shape, dtype=np.int64))
    down, across = sample.strides
    taken = len(range(0, sample.rows, down)), len(range(0, sample.units, across))
    assert taken == sample.sampled_shape
    assert sample.size == taken[0] * taken[1]
    assert sample.whole == (elements <= WHOLE_ELEMENTS)
    assert sample.whole or SAMPLE_ELEMENTS / 4 <= sample.size <= 2 * SAMPLE_ELEMENTS


@given(SHAPES)
def test_a_sample_has_many_rows_and_many_units_where_there_are(shape: Sequence[int]) -> None:
    sample = sample_of(0, variable(*shape))
    rows, units = sample.sampled_shape
    assert rows >= min(sample.rows, FEWEST_ROWS) / 2
    assert units >= min(sample.units, FEWEST_ROWS) / 2


@pytest.mark.parametrize("period", [2, 3, 4, 28, 32, 96])
@pytest.mark.parametrize("rows", [784, 3072, 9216, 150_528])
def test_no_phase_of_a_period_is_left_out(rows: int, period: int) -> None:
    """The columns of a picture, its channels, heads."""
    sample = sample_of(0, variable(rows, 512))
    taken = np.arange(0, rows, sample.strides[0]) % period
    # As many phases as a random choice of as many rows would hit at the least.
    assert len(np.unique(taken)) >= min(period, len(taken)) / 2


@pytest.mark.parametrize(
    "shape", [(9000, 160), (2**21,), (3, 3, 512, 512), (2**20 + 1, 2), (512, 50_000), (4, 2**19)]
)
def test_the_sample_of_a_huge_variable_is_a_part_of_its_coarse_rows(shape: tuple[int, ...]) -> None:
    sample = sample_of(0, variable(*shape))
    assert sample.elements > HUGE_ELEMENTS
    assert sample.strides[0] % sample.coarse == 0
    rows = -(-sample.rows // sample.coarse)
    assert rows >= min(sample.rows, FEWEST_ROWS) / 2
    assert rows <= 2 * FEWEST_ROWS or rows * sample.units <= 1.5 * COARSE_ELEMENTS


def test_many_variables_have_smaller_samples() -> None:
    few, many = [variable(256, 256)] * 10, [variable(256, 256)] * 100
    assert sample_limit(few) == WHOLE_ELEMENTS
    assert sample_limit(many) * 100 <= MODEL_ELEMENTS
    assert sample_limit(many * 100) == FEWEST_ELEMENTS


def test_small_ones_of_one_shape_stand_together_and_complex_ones_last() -> None:
    small, other, large = Sample(5, (3,), 0), Sample(1, (4,), 0), sample_of(2, variable(300, 300))
    twin, strange = Sample(3, (3,), 0), Sample(0, (3,), 0, "complex64")
    assert in_order([strange, small, large, other, twin]) == (twin, small, other, large, strange)
