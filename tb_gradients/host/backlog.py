"""A queue of jobs that a background thread does, so that the training does not wait for them.

In:  jobs, in order.
Out: the same jobs done, in order, a few at a time.
Does not know what the jobs are.

While the training computes on a device or waits for it, its thread releases the interpreter to this
one. Several jobs in a row are cheaper: done one by one, each has to load its data into the cache
again after a training step, which doubles its time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Backlog:
    """Waiting jobs. No two of them run at the same time.

    Args:
        after: done when no job waits any more; must not raise.

    Attributes:
        lock: held while jobs run.
        seconds: of processor time that the thread has spent on jobs.
    """

    TOGETHER = 8
    """So many waiting jobs are done at once."""

    SECONDS = 0.1
    """No job waits longer than this, in seconds."""

    LENGTH = 64
    """With more waiting jobs, ``add`` does them itself, so that they do not fill the memory."""

    LATEST = 0.25
    """Also if one has waited longer than this, in seconds, because the thread cannot keep up: so
    much is lost if the process is killed."""

    def __init__(self, after: Job | None = None) -> None:
        self.lock = threading.RLock()
        self.seconds = 0.0
        self._after = after
        self._jobs: deque[tuple[float, Job]] = deque()
        self._some, self._enough = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = self._running = False

    def add(self, job: Job, *, wait: bool) -> None:
        """Do a job, after those that were added before.

        Args:
            job: must not raise.
            wait: return when it is done; otherwise at once.
        """
        now = time.monotonic()
        self._jobs.append((now, job))
        if wait or len(self._jobs) > self.LENGTH or self._oldest() < now - self.LATEST:
            self.run()
            return
        if self._thread is None:
            self._closed = False
            self._thread = threading.Thread(target=self._loop, name="tb_gradients", daemon=True)
            self._thread.start()
        self._some.set()
        if len(self._jobs) >= self.TOGETHER:
            self._enough.set()

    def run(self) -> None:
        """Do all waiting jobs now; from within a job, nothing."""
        with self.lock:
            if self._running:
                return
            self._running = True
            try:
                while self._jobs:
                    self._jobs.popleft()[1]()
                if self._after is not None:
                    self._after()
            finally:
                self._running = False

    def _oldest(self) -> float:
        """When the first job that waits was added; it may have been taken just now."""
        try:
            return self._jobs[0][0]
        except IndexError:
            return math.inf

    def close(self) -> None:
        """Do all waiting jobs and end the thread; ``add`` starts a new one."""
        self.run()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closed = True
            self._some.set()
            self._enough.set()
            thread.join()

    def _loop(self) -> None:
        while True:
            self._some.wait()
            self._enough.wait(self.SECONDS)
            self._some.clear()
            self._enough.clear()
            if self._closed:
                return
            start = time.thread_time()
            self.run()
            self.seconds += time.thread_time() - start
