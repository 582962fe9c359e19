"""A process that is asked to end (SIGTERM) writes first what waits, and then ends by the signal.

In:  what has something to write.
Out: nothing; the status of the process is that of the signal, as without us.
Does not know what is written.

A handler is installed only where nobody else has one, and only while something is open. It sets
the default back and leaves the writing to a thread, which then sends the signal again. The
interrupted code goes on after a while: it may hold a lock that the writing needs. A second SIGTERM
ends the process at once. Python calls handlers on the main thread between two of its instructions:
a call of the device that is running when the signal comes is finished first.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import threading
import types
import weakref
from typing import Protocol

SECONDS = 5.0
"""So long may the writing take."""

PAUSE_SECONDS = 1.0
"""So long is the interrupted code held up, so that the writing has the processor."""


class Waiting(Protocol):
    """Something that has not written everything yet."""

    def flush(self) -> None:
        """Write what waits; must not raise."""
        ...


_waiting: weakref.WeakSet[Waiting] = weakref.WeakSet()


def add(one: Waiting) -> None:
    """From now on it is written before SIGTERM ends the process."""
    _waiting.add(one)
    if threading.current_thread() is threading.main_thread() and _is_free():
        signal.signal(signal.SIGTERM, _handle)


def discard(one: Waiting) -> None:
    """It has nothing to write any more; without others the default is set back."""
    _waiting.discard(one)
    if not _waiting and threading.current_thread() is threading.main_thread():
        _set_back()


def _is_free() -> bool:
    """Whether nobody handles SIGTERM: neither in Python nor, as TensorFlow may, in C."""
    if os.name != "posix" or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    with contextlib.suppress(OSError, ValueError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            name, _, mask = line.partition(":")
            if name == "SigCgt" and int(mask, 16) >> (signal.SIGTERM - 1) & 1:
                return False
    return True


def _set_back() -> None:
    if signal.getsignal(signal.SIGTERM) is _handle:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _handle(number: int, frame: types.FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ending = threading.Thread(target=_end, name="tb_gradients ends")
    ending.start()
    ending.join(PAUSE_SECONDS)


def _end() -> None:
    writing = threading.Thread(target=_write_all, name="tb_gradients writes", daemon=True)
    writing.start()
    writing.join(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _write_all() -> None:
    for one in list(_waiting):
        one.flush()


def _forget() -> None:
    """In a forked child: what is open belongs to the parent."""
    _waiting.clear()
    _set_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
