"""Reports on many runs at once, made in several processes.

In:  a log directory, the names of its runs, and how each is to be judged.
Out: a ``RunReport`` per run, in the order of the names.
Does not know how a run is read or judged.

A process that dies takes down the run it was judging and no other. Ctrl-C ends them all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from tb_gradients.reading.report import RunReport, report_on

BYTES_PER_PROCESS = 32 << 20
"""Of event files: for less it does not pay to start a process, which takes 0.3 s."""


def processes_for(size: int, runs: int) -> int:
    """How many processes so many bytes of so many runs are worth, on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, runs, size // BYTES_PER_PROCESS))


class _Worker:
    """One process, and the run that it judges."""

    def __init__(self, logdir: str, settings: Mapping[str, Any]) -> None:
        # Not forked: the parent may have threads. A fresh one loads no TensorFlow.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.run: str | None = None
        self.process = context.Process(
            target=_work, args=(theirs, logdir, dict(settings)), daemon=True
        )
        with _ctrl_c_waits():
            self.process.start()
        theirs.close()

    def judge(self, run: str) -> None:
        """Begin with a run."""
        self.run = run
        with contextlib.suppress(OSError):  # it has died, which `result` reports
            self.pipe.send(run)

    def result(self) -> RunReport | None:
        """The report on its run; ``None``: the process has died."""
        try:
            return cast(RunReport, self.pipe.recv())
        except (EOFError, OSError):
            return None

    def end(self, *, at_once: bool = False) -> int | None:
        """Stop the process; its exit code.

        Args:
            at_once: also in the middle of a run.
        """
        self.pipe.close()
        self.process.join(0.0 if at_once else 0.2)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        return self.process.exitcode


def reports(
    logdir: str,
    runs: Sequence[str],
    processes: int,
    settings: Mapping[str, Any],
    progress: Callable[[int], None],
) -> list[RunReport]:
    """The reports on some runs.

    Args:
        processes: how many work at once.
        settings: arguments of ``report_on``.
        progress: called with the number of runs that are done, whenever it rises.
    """
    waiting = list(reversed(runs))
    found: dict[str, RunReport] = {}
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                worker = _Worker(logdir, settings)
                workers[worker.pipe] = worker
                worker.judge(waiting.pop())
            for pipe in wait(list(workers)):
                worker = workers[cast(Connection, pipe)]
                assert worker.run is not None
                report = worker.result()
                if report is None:
                    del workers[worker.pipe]
                    sentence = f"The process that judged it ended with status {worker.end()}."
                    report = RunReport.without_verdict(worker.run, sentence)
                elif waiting:
                    worker.judge(waiting.pop())
                else:
                    del workers[worker.pipe]
                    worker.end()
                found[report.run] = report
                progress(len(found))
    finally:
        for worker in workers.values():
            worker.end(at_once=True)
    return [found[run] for run in runs]


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C within the context comes behind it, and never in a process that is started in it.

    A terminal sends it to all processes. One that is half started would print a traceback, because
    of Ctrl-C or of a parent that has stopped in the middle of telling it what to do.
    """
    if threading.current_thread() is not threading.main_thread():  # which sees it alone
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    blocks = hasattr(signal, "pthread_sigmask")  # not on Windows; a child inherits what is blocked
    if blocks:
        resource_tracker.ensure_running()  # else the first process starts it, which unblocks
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _work(pipe: Connection, logdir: str, settings: dict[str, Any]) -> None:
    """What a process does until nobody asks it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    from tb_gradients.reading.event_files import EventFileSource

    source = EventFileSource(logdir)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(report_on(source, pipe.recv(), **settings))
