"""The dense lane as a chart needs it: extremes of every column, and nothing non-finite is lost."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import make_frames, make_table

from tb_gradients.frames import Recording
from tb_gradients.lane import NONE, Lane, codes_of
from tb_gradients.plugin import dense

TABLE = make_table(2)


def decoded(data: bytes) -> dict[str, Any]:
    """What ``docs/http_api.md`` says of the bytes."""
    count, _ = struct.unpack_from("<2I", data)
    steps = np.frombuffer(data, "<f8", 2 * count, 8).reshape(2, count)
    floats = np.frombuffer(data, "<f4", 5 * count, 8 + 16 * count).reshape(5, count)
    marks = np.frombuffer(data, np.uint8, count, 8 + 36 * count)
    assert len(data) == 8 + 37 * count
    names = ("norm_low", "norm_high", "loss_low", "loss_high", "moved")
    return {
        "first": steps[0],
        "last": steps[1],
        **dict(zip(names, floats, strict=True)),
        "marks": marks,
    }


def lane_of(norms: Any, losses: Any, applied: Any = None) -> Lane:
    norms = np.asarray(norms, np.float32).reshape(len(norms), -1)
    moved = np.ones(len(norms)) if applied is None else applied
    return Lane.of_steps(0, codes_of(np.square(norms)), moved, losses)


EVERYTHING = (-math.inf, math.inf)


@given(
    norms=st.lists(st.one_of(st.floats(1e-3, 1e3), st.just(math.nan)), min_size=1, max_size=80),
    most=st.integers(1, 100),
)
def test_no_extreme_and_nothing_nonfinite_is_lost(norms: list[float], most: int) -> None:
    losses = np.arange(len(norms), dtype=np.float32)
    found = decoded(dense.columns(lane_of(norms, losses), most, EVERYTHING))

    assert 1 <= len(found["first"]) <= most
    assert found["first"][0] == 0
    assert found["last"][-1] == len(norms) - 1
    assert (found["first"][1:] == found["last"][:-1] + 1).all()
    for i, (first, last) in enumerate(zip(found["first"], found["last"], strict=True)):
        part = np.array(norms[int(first) : int(last) + 1])
        assert found["marks"][i] == (dense.GRADIENT if np.isnan(part).any() else 0)
        known = part[~np.isnan(part)]
        if known.size:
            assert found["norm_low"][i] == pytest.approx(known.min(), rel=1e-3)
            assert found["norm_high"][i] == pytest.approx(known.max(), rel=1e-3)
        else:
            assert np.isnan([found["norm_low"][i], found["norm_high"][i]]).all()
        assert found["loss_low"][i] == first
        assert found["loss_high"][i] == last


def test_a_range_has_its_own_resolution() -> None:
    lane = lane_of(np.ones(1000), np.ones(1000), np.arange(1000) % 4 == 0)
    assert len(decoded(dense.columns(lane, 10, EVERYTHING))["first"]) == 10
    zoomed = decoded(dense.columns(lane, 10, (100, 107)))
    assert zoomed["first"].tolist() == list(range(100, 108))
    assert zoomed["moved"].tolist() == [1, 0, 0, 0] * 2
    assert decoded(dense.columns(lane, 2, (100, 107)))["moved"].tolist() == [0.25, 0.25]
    assert len(decoded(dense.columns(lane, 10, (5000, 6000)))["first"]) == 0


def test_a_loss_that_is_not_finite_is_marked_and_a_gradient_of_none_is_no_number() -> None:
    codes = codes_of(np.ones((3, 1)))
    codes[1] = NONE
    lane = Lane.of_steps(0, codes, np.ones(3), [1, math.inf, math.nan])
    found = decoded(dense.columns(lane, 9, EVERYTHING))
    assert found["marks"].tolist() == [0, dense.LOSS, dense.LOSS]
    assert np.isnan(found["norm_high"]).tolist() == [False, True, False]
    assert np.isnan(found["loss_high"]).tolist() == [False, True, True]


def test_of_several_tables_each_has_its_own_row() -> None:
    other = dataclasses.replace(TABLE, variables=TABLE.variables[::-1])
    recordings = []
    for begin, table in ((0, TABLE), (10, other)):
        squares = np.arange(1, 1 + len(table.variables), dtype=np.float32) ** 2
        lane = Lane.of_steps(begin, codes_of(np.tile(squares, (10, 1))), np.ones(10), np.ones(10))
        frames = make_frames(table, [begin])
        recordings.append(dataclasses.replace(Recording.from_frames(table, frames), lane=lane))
    path = TABLE.variables[1].path
    found = decoded(dense.columns(dense.lane_of(recordings, path), 99, EVERYTHING))
    assert found["norm_high"].tolist() == pytest.approx([2] * 10 + [3] * 10, rel=1e-3)
    nobody = decoded(dense.columns(dense.lane_of(recordings, None), 99, EVERYTHING))
    assert np.isnan(nobody["norm_high"]).all()
    assert nobody["loss_high"].tolist() == [1] * 20
    assert len(decoded(dense.columns(dense.lane_of([], None), 99, EVERYTHING))["first"]) == 0
