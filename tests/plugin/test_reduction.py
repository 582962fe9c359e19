"""Pictures of a matrix: fewer columns, one byte a value, nothing faulty lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from tb_gradients.frames import FloatArray
from tb_gradients.plugin import reduction

MATRICES = st_np.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.integers(1, 4)),
    elements=st.one_of(
        st.just(float("nan")), st.just(0.0), st.floats(-(2.0**100), 2.0**100, width=32)
    ),
)


def unpacked(packed: bytes, variables: int) -> tuple[tuple[float, ...], FloatArray, FloatArray]:
    """Header, smallest and largest values [columns, variables], as the tab decodes them."""
    header = reduction.HEADER.unpack_from(packed)
    kind, _, _, columns, least, most = header
    planes = np.frombuffer(packed, np.uint8, offset=reduction.HEADER.size)
    low, high = planes.reshape(2, variables, columns).astype(float)
    return header, _values(low.T, kind, least, most), _values(high.T, kind, least, most)


def _values(codes: FloatArray, kind: int, least: float, most: float) -> FloatArray:
    if kind == 2:
        sign, depth = np.where(codes > 128, 1, -1), np.where(codes > 128, codes - 129, 128 - codes)
        found = sign * np.exp(np.log(least) + depth / 126 * np.log(most / least))
    elif kind == 1:
        found = np.exp(np.log(least) + (codes - 2) / 253 * np.log(most / least))
    else:
        found = least + (codes - 2) / 253 * (most - least)
    return np.where(codes == 0, np.nan, np.where(codes == 1, 0, found))


@given(MATRICES, st.integers(1, 30))
def test_a_column_keeps_its_extremes(values: FloatArray, columns: int) -> None:
    low, high = reduction.extremes(values, columns)
    edges = reduction.column_edges(len(values), columns)
    for column, (first, end) in enumerate(itertools.pairwise(edges)):
        for variable in range(values.shape[1]):
            part = values[first:end, variable]
            known = part[~np.isnan(part)]
            found = [low[column, variable], high[column, variable]]
            expected = [known.min(), known.max()] if known.size else [np.nan, np.nan]
            np.testing.assert_array_equal(found, expected)


@given(MATRICES, st.integers(1, 30))
def test_a_picture_is_right_to_a_level_and_keeps_zero_and_missing(
    values: FloatArray, columns: int
) -> None:
    header, low, high = unpacked(reduction.pack(values, columns, 7, share=False), values.shape[1])
    assert header[1:4] == (7, len(values), min(columns, len(values)))
    for found, expected in zip((low, high), reduction.extremes(values, columns), strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(
            np.sign(np.nan_to_num(found)), np.sign(np.nan_to_num(expected))
        )
        seen = np.nan_to_num(expected) != 0
        if seen.any():
            level = np.log(header[5] / header[4]) / 126
            error = np.log(np.abs(found[seen]) / np.abs(expected[seen].astype(float)))
            assert np.abs(error).max() <= level / 2 + 1e-5


def test_one_faulty_step_in_a_thousand_is_still_in_the_picture() -> None:
    values = np.full((1000, 2), 1e-3, np.float32)
    values[617, 1] = 50
    _, _, high = unpacked(reduction.pack(values, 20, 0, share=False), 2)
    assert high.max() == pytest.approx(50)
    assert np.flatnonzero(high[:, 1] > 1).tolist() == [617 * 20 // 1000]


def test_nearly_all_is_not_all_and_nearly_none_is_not_none() -> None:
    shares = np.array([[0.0, 1e-6, 0.9999, 1.0]], np.float32)
    low, _ = unpacked(reduction.pack(shares, 1, 0, share=True), 4)[1:]
    codes = reduction.codes(shares, "linear", 0, 1)[0]
    assert codes[0] == reduction.ZERO
    assert codes[1] > reduction.ZERO
    assert low[0, 3] == 1
    assert low[0, 2] < 1


def test_marks_of_a_column_are_those_of_any_of_its_frames() -> None:
    marks = np.zeros((10, 3), np.uint8)
    marks[4, 2], marks[3, 2] = 1 | 2, 1 | 4
    assert reduction.any_of(marks, 2).tolist() == [[0, 0, 1 | 2 | 4], [0, 0, 0]]


def test_a_run_without_frames_has_an_empty_picture() -> None:
    nothing = np.zeros((0, 3), np.float32)
    header, low, _ = unpacked(reduction.pack(nothing, 10, 0, share=False), 3)
    assert header[2:4] == (0, 0)
    assert low.shape == (0, 3)
    assert reduction.any_of(nothing.astype(np.uint8), 10).shape == (0, 3)
