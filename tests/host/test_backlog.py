"""What may wait is done soon, in order, once, and never two jobs at a time."""

from __future__ import annotations

import threading
import time

from tb_gradients.host.backlog import Backlog

PATIENCE = 30.0
"""Seconds until a test gives up; none of them takes as long."""


def test_a_job_that_nobody_waits_for_is_done_all_the_same() -> None:
    backlog, done = Backlog(), threading.Event()
    backlog.add(done.set, wait=False)
    assert done.wait(PATIENCE)
    backlog.close()


def test_what_comes_after_comes_once_for_all_jobs_that_wait() -> None:
    found = list[str]()
    backlog = Backlog(after=lambda: found.append("after"))
    with backlog.lock:  # the thread has to wait
        backlog.add(lambda: found.append("first"), wait=False)
        backlog.add(lambda: found.append("second"), wait=True)
    assert found == ["first", "second", "after"]
    backlog.close()


def test_it_is_done_on_another_thread() -> None:
    backlog, found, done = Backlog(), [], threading.Event()
    backlog.add(lambda: found.append(threading.get_ident()), wait=False)
    backlog.add(done.set, wait=False)
    assert done.wait(PATIENCE)
    assert found != [threading.get_ident()]
    backlog.close()


def test_jobs_are_done_in_order_whoever_does_them() -> None:
    backlog, found = Backlog(), list[int]()
    for number in range(500):
        backlog.add(lambda number=number: found.append(number), wait=number % 7 == 0)  # type: ignore[misc]
        if number % 50 == 0:
            time.sleep(Backlog.SECONDS / 4)
    backlog.close()
    assert found == list(range(500))


def test_who_waits_finds_all_jobs_done() -> None:
    backlog, found = Backlog(), list[str]()
    backlog.add(lambda: found.append("first"), wait=False)
    backlog.add(lambda: found.append("second"), wait=True)
    assert found == ["first", "second"]
    backlog.close()


def test_two_threads_never_work_at_the_same_time() -> None:
    backlog, at_work, most = Backlog(), [0], [0]

    def job() -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.002)
        at_work[0] -= 1

    for number in range(40):
        backlog.add(job, wait=number % 10 == 9)
    backlog.close()
    assert most == [1]
    assert at_work == [0]


def test_a_job_may_ask_for_what_waits() -> None:
    """As a user's ``on_flag`` does that reads ``flags``: the other jobs come after it."""
    backlog, found = Backlog(), list[str]()

    def curious() -> None:
        backlog.run()
        found.append("curious")

    backlog.lock.acquire()  # so that the thread does not come first
    backlog.add(curious, wait=False)
    backlog.add(lambda: found.append("other"), wait=False)
    backlog.run()
    backlog.lock.release()
    assert found == ["curious", "other"]
    backlog.close()


def test_more_than_may_wait_is_done_by_who_adds_it() -> None:
    backlog, release = Backlog(), threading.Event()
    backlog.add(lambda: release.wait(PATIENCE), wait=False)  # type: ignore[arg-type, return-value]
    threading.Timer(0.2, release.set).start()
    found: list[int] = []
    for number in range(2 * Backlog.LENGTH):
        backlog.add(lambda number=number: found.append(number), wait=False)  # type: ignore[misc]
    assert release.is_set()
    backlog.close()
    assert found == list(range(2 * Backlog.LENGTH))


def test_after_its_end_it_can_be_used_again() -> None:
    backlog, done = Backlog(), threading.Event()
    backlog.add(lambda: None, wait=False)
    backlog.close()
    backlog.close()
    backlog.add(done.set, wait=False)
    assert done.wait(PATIENCE)
    backlog.close()
