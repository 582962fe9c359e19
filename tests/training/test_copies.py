"""The flags of a copy of a monitor stay known to its original, even after the copy is gone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from recordings import make_flag

from tb_gradients.training.copies import Copy, monitor_of


class Monitor:
    """What a copy needs of a monitor."""

    def __init__(self, log_dir: str, *, every: int) -> None:
        self.log_dir, self.every = log_dir, every
        self.report: tuple[Any, ...] = ()


def test_a_copy_is_a_new_monitor_with_the_same_settings() -> None:
    made = monitor_of(Monitor, "logs", {"every": 3})
    assert (made.log_dir, made.every) == ("logs", 3)


def test_the_flags_of_a_copy_are_those_it_has_now() -> None:
    monitor: Any = Monitor("logs", every=1)
    one = Copy(weakref.ref(monitor))
    assert one.report() == ()
    monitor.report = (make_flag(),)
    assert one.report() == (make_flag(),)


def test_the_flags_of_a_copy_that_is_gone_are_its_last_ones() -> None:
    monitor: Any = Monitor("logs", every=1)
    one = Copy(weakref.ref(monitor))
    one.last = (make_flag(),)
    del monitor
    gc.collect()
    assert one.report() == (make_flag(),)
