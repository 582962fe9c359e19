"""The rows of the last steps reach the host once, in order; what was overwritten is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_gradients.host.window import HEADER, UNKNOWN
from tb_gradients.training.probe.ring import RING_STEPS, Ring

WIDTH = HEADER + 1


class Steps:
    """Steps that leave their number in the last column of their row."""

    def __init__(self, first: int = 0) -> None:
        self.number = tf.Variable(first, dtype=tf.int64)
        self.ring = Ring(self.number, first, WIDTH)

    def make(self, count: int, value: float | None = None, xla: bool = False) -> None:
        for _ in range(count):
            step = self.number.value()
            last = tf.cast(step, tf.float32) if value is None else tf.constant(value)
            self.ring.put(step, tf.concat([tf.zeros([HEADER]), last[None]], 0), [0], xla)
            self.number.assign_add(1)

    def read(self) -> None:
        self.ring.read()


def numbers(taken: list[tuple[int, Any]]) -> list[float]:
    return [float(row[-1]) for _, rows in taken for row in rows]


@pytest.mark.parametrize("xla", [False, True])
def test_each_row_comes_once_and_in_order(xla: bool) -> None:
    steps = Steps(5)
    steps.make(3, xla=xla)
    steps.read()
    steps.make(2, xla=xla)
    steps.read()

    assert numbers(steps.ring.take_until(7)) == [5, 6]
    assert numbers(steps.ring.take_until(100)) == [7, 8, 9]
    assert steps.ring.take_until(100) == []
    assert (steps.ring.counted, steps.ring.next_step()) == (10, 10)


def test_rows_that_were_overwritten_are_unknown_and_counted() -> None:
    steps = Steps()
    steps.make(RING_STEPS + 3)
    steps.read()

    lost, kept = steps.ring.take_until(RING_STEPS + 3)
    assert lost[0] == 0
    assert np.asarray(lost[1]).shape == (3, WIDTH)
    assert (np.asarray(lost[1]) == np.float32(UNKNOWN)).all()
    assert numbers([kept]) == list(range(3, RING_STEPS + 3))


def test_a_row_on_the_device_can_be_read_alone() -> None:
    steps = Steps()
    steps.make(3)
    assert float(steps.ring.row(tf.constant(1, tf.int64))[-1]) == 1


def test_a_number_that_is_not_finite_gives_alarm_until_the_owner_resets_it() -> None:
    steps = Steps()
    steps.make(1)
    steps.read()
    assert not steps.ring.alarm
    steps.make(1, np.nan)
    steps.make(1)
    steps.read()
    assert steps.ring.alarm


def test_it_is_read_before_it_is_overwritten_however_many_updates_a_step_makes() -> None:
    steps = Steps()
    for _ in range(40):  # three updates for each step that the loop reports
        steps.make(3)
        if steps.ring.follow(1):
            steps.read()
    steps.read()
    assert numbers(steps.ring.take_until(10**6)) == list(range(120))
    assert not steps.ring.one_by_one


def test_rows_that_came_with_a_frame_need_no_reading() -> None:
    steps = Steps()
    steps.ring.follow(2)
    steps.ring.receive(np.ones((2, WIDTH)))
    assert (steps.ring.counted, steps.ring.waited) == (2, 0)
    assert numbers(steps.ring.take_until(2)) == [1, 1]
