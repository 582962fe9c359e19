"""What goes into the dense lane comes out of it: norms to within 0.08 %, every mark, every loss."""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_gradients import frames
from tb_gradients import lane as lanes
from tb_gradients.frames import FormatError
from tb_gradients.lane import INFINITE, NAN, NONE, UNSEEN, ZERO, Lane
from tb_gradients.lane_pack import pack, unpack
from tb_gradients.proto import gradient_health_pb2 as pb

quick = settings(max_examples=60, deadline=None)
FLOAT32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
SQUARES = st.one_of(
    FLOAT32.map(abs), st.sampled_from([0.0, math.nan, math.inf, 1e-45, 3.4e38, 1.0])
)
STEPS = st.tuples(st.integers(1, 40), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        st.lists(
            st.lists(SQUARES, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ),
        st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=shape[0], max_size=shape[0]),
        st.one_of(st.none(), st.lists(FLOAT32, min_size=shape[0], max_size=shape[0])),
    )
)


def lane_of(
    squares: Any,
    applied: Any = None,
    losses: Any = None,
    first: int = 0,
) -> Lane:
    codes = lanes.codes_of(np.array(squares, np.float32))
    return Lane.of_steps(first, codes, [1] * len(codes) if applied is None else applied, losses)


def arrays_of(lane: Lane) -> dict[str, Any]:
    """All arrays of a lane, by name."""
    found = {f.name: getattr(lane, f.name) for f in dataclasses.fields(Lane) if f.name != "named"}
    for i, one in enumerate(lane.named):
        found |= {f"counts {i} {one.name}": one.counts, f"losses {i} {one.name}": one.losses}
    return found


def same(one: Lane, other: Lane) -> bool:
    mine, theirs = arrays_of(one), arrays_of(other)
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[name], theirs[name], equal_nan="losses" in name) for name in mine
    )


@quick
@given(STEPS)
def test_norms_are_coded_to_within_the_stated_error(steps: tuple) -> None:
    squares = np.array(steps[0], np.float32)
    norms = lane_of(steps[0]).norms.astype(np.float64)
    expected = np.sqrt(squares.astype(np.float64))
    usual = np.isfinite(squares) & (squares > 0)
    np.testing.assert_allclose(norms[usual], expected[usual], rtol=lanes.RELATIVE_ERROR)
    assert (norms[squares == 0] == 0).all()
    assert np.isposinf(norms[~np.isfinite(squares)]).all()


@quick
@given(STEPS)
def test_zero_nan_and_inf_are_kept_apart(steps: tuple) -> None:
    squares = np.array(steps[0], np.float32)
    lane = lane_of(steps[0])
    assert (lane.marked(ZERO) == (squares == 0)).all()
    assert (lane.marked(NAN) == np.isnan(squares)).all()
    assert (lane.marked(INFINITE) == np.isinf(squares)).all()
    assert not lane.marked(NONE).any()
    assert not lane.marked(UNSEEN).any()


@quick
@given(STEPS, st.integers(0, 2**40))
def test_bytes_bring_back_the_same_lane(steps: tuple, first: int) -> None:
    lane = lane_of(*steps, first=first)
    table_id, again = unpack(pack(lane, 7))
    assert table_id == 7
    assert same(lane, again)


@quick
@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_larger_norms_have_larger_codes(one: int, other: int) -> None:
    low, high = sorted(np.float32([one, other]) * np.float32(1e-10))
    codes = lanes.codes_of([low, high])
    assert codes[0] <= codes[1]


def test_none_and_steps_that_were_not_read_have_no_norm() -> None:
    seen = Lane.of_steps(0, np.array([[NONE, UNSEEN]], np.uint16), [1])
    lost = Lane.of_steps(1, np.full((2, 2), UNSEEN, np.uint16), seen=False)
    lane = lanes.joined([seen, lost])
    assert np.isnan(lane.norms).all()
    assert lane.marked(NONE).tolist() == [[True, False], [False, False], [False, False]]
    assert lane.marked(UNSEEN)[1:].all()
    assert np.isnan(lane.loss).all()
    np.testing.assert_array_equal(lane.moved, [1, np.nan, np.nan])
    assert same(unpack(pack(lane, 0))[1], lane)


def test_a_loss_that_is_nan_differs_from_one_that_is_not_known() -> None:
    lane = lane_of([[1.0]] * 3, losses=[0.5, math.nan, math.inf])
    assert lane.loss_nonfinite.tolist() == [False, True, True]
    assert not lane_of([[1.0]] * 3).loss_nonfinite.any()


def test_losses_of_somebody_else_fill_the_steps_that_have_none() -> None:
    known = lane_of([[1.0]] * 2, losses=[3.0, 4.0])
    unknown = lane_of([[1.0]] * 3, first=2)
    lane = lanes.joined([known, unknown]).with_losses(
        [-1, 1, 2, 4, 9], [9.0, 9.0, 5.0, math.nan, 9.0]
    )
    np.testing.assert_array_equal(lane.loss, [3, 4, 5, np.nan, np.nan])
    assert lane.loss_nonfinite.tolist() == [False, False, False, False, True]


def test_named_losses_are_those_of_their_steps() -> None:
    lane = lane_of([[1.0]] * 4, first=3).with_named_losses(
        {"mse": [(2, 9.0), (3, 1.0), (5, math.nan), (6, 4.0), (7, 9.0)], "kl": [(4, 2.0)]}
    )
    mse, kl = lane.named
    np.testing.assert_array_equal(mse.loss, [1, np.nan, np.nan, 4])
    assert mse.nonfinite.tolist() == [False, False, True, False]
    np.testing.assert_array_equal(lane.named_losses["kl"], [np.nan, 2, np.nan, np.nan])
    at = lane.named_losses_at([0, 3, 6, 7])
    np.testing.assert_array_equal(at["mse"], [np.nan, 1, 4, np.nan])
    assert not kl.nonfinite.any()


def test_parts_of_a_lane_may_have_different_named_losses() -> None:
    bare, first = lane_of([[1.0]]), lane_of([[1.0]], first=1).with_named_losses({"a": [(1, 5.0)]})
    second = lane_of([[1.0]], first=2).with_named_losses({"b": [(2, 6.0)], "a": [(2, 7.0)]})
    lane = lanes.joined([bare, first, second])
    np.testing.assert_array_equal(lane.named_losses["a"], [np.nan, 5, 7])
    np.testing.assert_array_equal(lane.named_losses["b"], [np.nan, np.nan, 6])
    assert same(unpack(pack(lane, 0))[1], lane)
    assert list(lane[1:2].named_losses) == ["a", "b"]


# --- Blocks ---------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """As if 32 single steps were all that there is room for; the number of variables."""
    monkeypatch.setattr(lanes, "DENSE_BYTES", 32 * (2 * 3 + 9))
    monkeypatch.setattr(lanes, "BLOCK_STEPS", 4)
    return 3


def steps_of_a_long_run(count: int, seed: int = 0) -> Lane:
    random = np.random.default_rng(seed)
    squares = random.lognormal(size=(count, 3)).astype(np.float32)
    squares[random.random(squares.shape) < 0.01] = np.nan
    squares[random.random(squares.shape) < 0.01] = 0
    lane = lane_of(squares, random.choice([-1, 0, 1], count), random.normal(size=count))
    kl = np.where(random.random(count) < 0.1, np.nan, random.normal(size=count))
    return lane.with_named_losses(
        {"mse": list(enumerate(random.normal(size=count))), "kl": list(enumerate(kl))[::2]}
    )


def test_the_blocks_of_a_long_run_grow_with_it(short: int) -> None:
    lane = lanes.in_blocks(steps_of_a_long_run(256), 0)
    assert [(int(s), int((lane.spans == s).sum())) for s in np.unique(lane.spans)] == [
        (1, 32), (4, 8), (8, 8), (16, 8),
    ]  # fmt: skip
    assert (lane.first % lane.spans == 0).all()
    assert (lane.due == lane.first + lane.spans - 1).all()


def test_a_block_holds_extremes_and_every_mark_of_its_steps(short: int) -> None:
    single = steps_of_a_long_run(256)
    blocks = lanes.in_blocks(single, 0)
    for i, (begin, span) in enumerate(zip(blocks.first, blocks.spans, strict=True)):
        some = single[int(begin) : int(begin + span)]
        np.testing.assert_array_equal(
            blocks.smallest_norms[i], np.fmin.reduce(some.smallest_norms, axis=0)
        )
        np.testing.assert_array_equal(
            blocks.largest_norms[i], np.fmax.reduce(some.largest_norms, axis=0)
        )
        assert (blocks.nonfinite[i] == some.nonfinite.any(axis=0)).all()
        assert (blocks.marked(ZERO)[i] == some.marked(ZERO).any(axis=0)).all()
        assert (blocks.counts[i] == some.counts.sum(axis=0)).all()
        assert blocks.losses[i] == pytest.approx(
            [some.loss.min(), some.loss.max(), some.loss.mean()], rel=1e-5, abs=1e-6
        )
        for named, of_steps in zip(blocks.named, some.named, strict=True):
            known = of_steps.loss[np.isfinite(of_steps.loss)]
            assert (named.counts[i] == of_steps.counts.sum(axis=0)).all()
            assert named.losses[i] == pytest.approx(
                [known.min(), known.max(), known.mean()] if len(known) else [np.nan] * 3,
                rel=1e-5,
                abs=1e-6,
                nan_ok=True,
            )


@quick
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_it_does_not_matter_how_the_steps_came(portions: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "DENSE_BYTES", 32 * (2 * 3 + 9))
        patch.setattr(lanes, "BLOCK_STEPS", 4)
        single = steps_of_a_long_run(sum(portions))
        whole = lanes.in_blocks(single, 0)
        ends = np.cumsum(portions)
        grown = single[:0]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            grown = lanes.in_blocks(lanes.joined([grown, single[int(begin) : int(end)]]), 0)
        for name, expected in arrays_of(whole).items():
            np.testing.assert_allclose(arrays_of(grown)[name], expected, rtol=1e-5, atol=1e-6)
        assert same(unpack(pack(whole, 0))[1], whole)


@quick
@given(st.integers(1, 20_000), st.integers(0, 60))
def test_a_run_of_any_length_takes_less_than_32_megabytes(variables: int, doublings: int) -> None:
    dense = lanes.dense_steps(variables)
    size = dense * (2 * variables + 9)
    for i in range(doublings):
        begin = dense << i
        blocks = begin / lanes.block_size(begin, variables)
        size += blocks * (5 * variables + 12 + 5 * 4)
    assert size < 32 << 20


@quick
@given(st.integers(2, 12), st.integers(0, 3))
def test_a_step_takes_at_most_six_bytes_per_variable(variables: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    squares = np.exp(random.uniform(-80, 80, (128, variables)))  # as incompressible as can be
    lane = lane_of(squares, random.choice([-1, 0, 1], 128), random.normal(size=128))
    assert len(pack(lane, 0xFFFFFF)) + 130 <= 6 * 128 * variables


def test_lanes_are_split_where_steps_are_missing() -> None:
    lane = lanes.joined([lane_of([[1.0]] * 3), lane_of([[1.0]] * 2, first=7)])
    assert [part.first.tolist() for part in lanes.without_gaps(lane)] == [[0, 1, 2], [7, 8]]


def test_variables_that_a_table_lacks_are_not_seen() -> None:
    wide = lanes.spread(lane_of([[1.0, 4.0]]), [2, 0], 3)
    np.testing.assert_allclose(wide.norms, [[2, np.nan, 1]], rtol=1e-3)
    assert wide.marked(UNSEEN).tolist() == [[False, True, False]]


@pytest.mark.parametrize("data", [b"", b"nonsense", pack(lane_of([[1.0]]), 0)[:-4]])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="lane"):
        unpack(data)


NAMED = lane_of([[1.0]] * 3).with_named_losses({"a": [(0, 1.0)], "b": [(1, 2.0)]})


def test_of_a_file_with_too_many_losses_the_first_are_read() -> None:
    given = {f"loss {i}": [(0, float(i))] for i in range(lanes.MOST_LOSSES + 5)}
    many = lane_of([[1.0]]).with_named_losses(given)
    _, lane = unpack(pack(many, 0))
    assert list(lane.named_losses) == list(given)[: lanes.MOST_LOSSES]
    np.testing.assert_array_equal(lane.named[-1].loss, [lanes.MOST_LOSSES - 1])
    _, lane = unpack(_odd(loss_names=["a", "a"]))
    np.testing.assert_array_equal(lane.named_losses["a"], [1, np.nan, np.nan])


def _odd(**fields: Any) -> bytes:
    message = pb.LanePack.FromString(pack(NAMED, 1))
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(message, name)[:] = value
        else:
            setattr(message, name, value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        _odd(first_step=2**62),
        _odd(first_step=-(2**62)),
        _odd(blocks=-1),
        _odd(blocks=2**40),
        _odd(spans=[1, 0, 1], behind=[0, 0, 0]),
        _odd(spans=[1, -5, 1], behind=[0, 0, 0]),
        _odd(spans=[2**62, 2**62, 1], behind=[0, 0, 0]),
        _odd(norms=zlib.compress(bytes(frames.MOST_INFLATED_BYTES + 1))),
        _odd(counts=zlib.compress(bytes(3))),
        _odd(marks=zlib.compress(bytes(60))[:-5]),
        _odd(loss_names=["a"]),
        _odd(loss_names=["a", "b", "c"]),
        _odd(named_counts=b""),
        _odd(named_losses=zlib.compress(bytes(4))),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_a_pack_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        unpack(data)
