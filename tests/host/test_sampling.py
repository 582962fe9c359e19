"""Which elements are looked at: all of small variables, an even sample of large ones."""

from __future__ import annotations

import math

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


@st.composite
def variables(draw: st.DrawFn) -> Variable:
    """Of up to 30 million elements, with units along any axis or none; often of one unit."""
    sizes = st.sampled_from([1, 2, 3, 7, 28, 64, 300]) | st.integers(1, 5000)
    shape: list[int] = []
    for _ in range(draw(st.integers(0, 4))):
        most = 30_000_000 // math.prod(shape)
        shape.append(min(draw(sizes | st.integers(1, most)), most))
    axis = draw(st.integers(-1, len(shape) - 1))
    return Variable("v", tuple(shape), unit_axis=axis, units=shape[axis] if axis >= 0 else 0)


LIMITS = st.sampled_from([FEWEST_ELEMENTS, 2 * FEWEST_ELEMENTS, SAMPLE_ELEMENTS, WHOLE_ELEMENTS])


@given(variables(), LIMITS)
def test_a_sample_is_of_its_size_and_whole_where_that_is_all(made: Variable, limit: int) -> None:
    sample = sample_of(0, made, limit)
    down, across = sample.strides
    taken = len(range(0, sample.rows, down)), len(range(0, sample.units, across))
    assert taken == sample.sampled_shape
    assert sample.size == taken[0] * taken[1]
    assert sample.whole == (made.elements <= limit)
    wanted = min(limit, SAMPLE_ELEMENTS)
    assert sample.whole or wanted / 2.5 <= sample.size <= 2 * wanted


@given(variables(), LIMITS)
def test_a_sample_is_spread_over_all_of_its_variable(made: Variable, limit: int) -> None:
    """What lies behind the last row or unit that is taken is less than one stride."""
    sample = sample_of(0, made, limit)
    for count, stride, taken in zip(
        (sample.rows, sample.units), sample.strides, sample.sampled_shape, strict=True
    ):
        last = (taken - 1) * stride
        assert 0 <= last < count <= last + stride


@given(variables())
def test_a_sample_has_many_rows_and_many_units_where_there_are(made: Variable) -> None:
    sample = sample_of(0, made)
    rows, units = sample.sampled_shape
    assert rows >= min(sample.rows, FEWEST_ROWS) / 2
    assert units >= min(sample.units, FEWEST_ROWS) / 2


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        pytest.param((8000, 16), -1, id="Embedding(8000, 16)"),
        pytest.param((26 * 26 * 32, 1), 1, id="Flatten, Dense(1)"),
        pytest.param((5, 5, 672, 1), -1, id="a depthwise kernel of EfficientNetB0"),
        pytest.param((3, 3, 1536, 1), -1, id="a depthwise kernel of Xception"),
        pytest.param((4, 41, 125, 1), 3, id="one unit and a stride that becomes smaller"),
    ],
)
def test_a_large_variable_of_one_unit_is_sampled(shape: tuple[int, ...], axis: int) -> None:
    for limit in (FEWEST_ELEMENTS, 2048, SAMPLE_ELEMENTS, WHOLE_ELEMENTS):
        sample = sample_of(0, Variable("v", shape, unit_axis=axis, units=1), limit)
        rows, units = sample.sampled_shape
        assert units == 1
        assert rows >= min(limit, SAMPLE_ELEMENTS) / 2


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
