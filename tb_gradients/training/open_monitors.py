"""The monitors of this process that have an open file: close them when the process ends.

In:  monitors, when they open and close their file.
Out: which other monitors are writing; at the end, closed files.
Does not know what is written.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tb_gradients.training.monitor import GradientMonitor

OPEN: weakref.WeakSet[GradientMonitor] = weakref.WeakSet()
"""Monitors with an open file. (``fit`` does not end its callbacks when it raises.)"""


if hasattr(os, "register_at_fork"):  # a child process must not close files of its parent
    os.register_at_fork(after_in_child=OPEN.clear)


@atexit.register
def _close_all() -> None:
    for monitor in list(OPEN):
        monitor.close()
