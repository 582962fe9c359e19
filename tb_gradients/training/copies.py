"""Copies of a monitor, which tuners of hyperparameters make for each trial.

In:  a monitor, or the settings of one.
Out: a new monitor; the flags of a copy, even after it is gone.
Does not know what a monitor does.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tb_gradients.flags import Flag

if TYPE_CHECKING:
    from tb_gradients.training.monitor import GradientMonitor


@dataclasses.dataclass
class Copy:
    """A copy of a monitor, as the original sees it: the monitor, or its last report."""

    monitor: weakref.ref[GradientMonitor]
    last: tuple[Flag, ...] = ()

    def report(self) -> tuple[Flag, ...]:
        monitor = self.monitor()
        return self.last if monitor is None else monitor.report


def monitor_of(kind: Callable[..., Any], log_dir: str, settings: Mapping[str, Any]) -> Any:
    """A new monitor with these settings."""
    return kind(log_dir, **settings)
