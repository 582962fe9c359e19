"""The rows of all steps become the dense lane: each step once, in order, whoever made it."""

from __future__ import annotations

import numpy as np

from tb_gradients.host.lane_buffer import LaneBuffer, combined, lane_of
from tb_gradients.host.sampling import Layout
from tb_gradients.host.window import UNKNOWN
from tb_gradients.lane import NONE, UNSEEN, Lane, joined


def layout(number: int, order: tuple[int, ...], none_rows: tuple[int, ...] = ()) -> Layout:
    return Layout(
        number=number,
        samples=(),
        sparse=(),
        order=order,
        none_rows=none_rows,
        clipping={},
        has_loss=number == 0,
        scaled=False,
        compute_dtypes=(),
    )


LAYOUTS = {0: layout(0, (2, 0)), 1: layout(1, (1,), (0,))}


def row(number: int, *squares: float, applied: float = 1, loss: float = 0) -> list[float]:
    return [number, applied, loss, -1, *squares, *[0.0] * (3 - len(squares))]


def rows(*several: list[float]) -> np.ndarray:
    return np.array(several, np.float32)


def test_rows_of_different_updates_go_to_their_variables() -> None:
    lane = lane_of(
        5,
        rows(row(0, 4, 9, loss=0.5), row(1, 16, loss=7), row(0, 0, 1, applied=-1), row(UNKNOWN, 1)),
        LAYOUTS,
        3,
    )
    assert lane.steps.tolist() == [5, 6, 7, 8]
    expected = [[3, np.nan, 2], [np.nan, 4, np.nan], [1, np.nan, 0], [np.nan] * 3]
    np.testing.assert_allclose(lane.norms, expected, rtol=1e-3)
    assert lane.marked(NONE).tolist() == [[False] * 3, [True, False, False]] + [[False] * 3] * 2
    assert lane.marked(UNSEEN)[[1, 3]].tolist() == [[False, False, True], [True] * 3]
    np.testing.assert_array_equal(lane.loss, [0.5, np.nan, 0, np.nan])  # the second has no loss
    np.testing.assert_array_equal(lane.moved, [1, 1, 0, np.nan])


def steps(first: int, count: int, variables: int = 2) -> Lane:
    return Lane.of_steps(first, np.full((count, variables), 1000, np.uint16), [1] * count)


def test_each_step_is_handed_out_once() -> None:
    buffer = LaneBuffer(2, 0)
    taken = []
    for first in range(0, 100, 5):
        buffer.add(steps(first, 5))
        if first % 15 == 10:
            taken.append(buffer.take(first + 2))
    assert taken[0].last_step == 12
    taken.append(buffer.take())
    assert joined(taken).steps.tolist() == list(range(100))
    assert len(buffer.take()) == 0


def test_steps_wait_until_their_block_is_complete() -> None:
    variables = 10_000
    buffer = LaneBuffer(variables, 3)
    buffer.add(steps(3, 600, variables))
    assert len(buffer.take(602)) == 512 + 2  # two blocks of 32 steps
    assert len(buffer.take(602)) == 0
    buffer.add(steps(603, 20, variables))
    (block,) = [buffer.take(3 + 512 + 96 - 1)]
    assert (block.first.tolist(), block.spans.tolist()) == ([3 + 512 + 64], [32])
    rest = buffer.take()
    assert (rest.first.tolist(), rest.spans.tolist()) == ([3 + 512 + 96], [12])
    assert rest.due.tolist() == [3 + 512 + 127]


def test_lanes_of_two_optimizers_are_one() -> None:
    codes = np.full((4, 2), UNSEEN, np.uint16)
    codes[:, 0] = 2000
    one = Lane.of_steps(0, codes, [1] * 4, [1.0, 2.0, 3.0, 4.0])
    codes = np.full((3, 2), UNSEEN, np.uint16)
    codes[:, 1] = 3000
    other = Lane.of_steps(1, codes, [1] * 3)
    lane = combined([other, one])
    assert lane.steps.tolist() == [0, 1, 2, 3]
    assert lane.high.tolist() == [[2000, UNSEEN]] + [[2000, 3000]] * 3
    assert lane.loss.tolist() == [1, 2, 3, 4]
    assert not lane.marked(UNSEEN)[1:].any()
