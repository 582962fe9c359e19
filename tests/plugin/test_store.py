"""Runs are read when they change, and only then."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import pytest
import recordings as made

from tb_gradients import judging
from tb_gradients.frames import Recording
from tb_gradients.plugin import store as stores
from tb_gradients.plugin.store import JUDGING_SECONDS, RunStore, StaleRevisionError
from tb_gradients.reading.data_provider import Outline, Stamp
from tb_gradients.reading.source import HistogramFrame, ReadError, RunData, StoredVerdict

TABLE = made.make_table(1)
HEALTHY = StoredVerdict((), (), last_step=10**6, frames=10**6)


class FakeSource:
    """Runs of some length; counts what is read."""

    def __init__(self, verdict: StoredVerdict | None = HEALTHY, **lengths: int) -> None:
        self.lengths = lengths
        self.verdict = verdict
        self.reads: list[str] = []
        self.outlined: list[str] = []

    def stamps(
        self, run: str | None = None, *, among: Collection[str] | None = None
    ) -> dict[str, Stamp]:
        return {
            name: (("frames", length, 0.0),)
            for name, length in self.lengths.items()
            if run in (None, name) and (among is None or name in among)
        }

    def read(self, run: str) -> RunData:
        self.reads.append(run)
        frames = made.make_frames(TABLE, range(self.lengths[run]))
        times = np.array([frame.wall_time for frame in frames])
        return RunData(run, (Recording.from_frames(TABLE, frames),), times, self.verdict)

    def glance(self, run: str, most_bytes: int) -> RunData | None:
        self.reads.append(f"glance at {run}")
        if self.lengths[run] < 10:
            return None
        frames = made.make_frames(TABLE, [0, self.lengths[run] - 1])
        times = np.array([frame.wall_time for frame in frames])
        return RunData(run, (Recording.from_frames(TABLE, frames),), times, self.verdict)

    def histograms(self, run: str) -> list[HistogramFrame]:
        self.reads.append(f"histograms of {run}")
        return []

    def outlines(self, runs: Sequence[str]) -> dict[str, Outline]:
        self.outlined += runs
        return {run: Outline(tuple(range(self.lengths[run])), 2, self.verdict) for run in runs}


@pytest.fixture(name="judged")
def _judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rules that flag everything; the steps of the frames that they judged."""
    steps: list[int] = []
    engine = mock.create_autospec(judging.Engine)
    engine.return_value.flags = (made.make_flag(),)
    engine.return_value.errors = ()
    engine.return_value.advance.side_effect = lambda frames: steps.extend(f.step for f in frames)
    monkeypatch.setattr(judging, "Engine", engine)
    return steps


def test_an_unchanged_run_is_read_once() -> None:
    store, source = RunStore(), FakeSource(a=3)
    first = store.load(source, "", "a")
    assert store.load(source, "", "a") is first
    assert source.reads == ["a"]


def test_a_run_that_grew_is_read_again_and_has_a_new_revision() -> None:
    store, source = RunStore(), FakeSource(a=3)
    before = store.load(source, "", "a")
    source.lengths["a"] = 4
    after = store.load(source, "", "a")
    assert after.view.data.frames == 4
    assert after.revision != before.revision


def test_a_kept_revision_is_answered_although_the_run_grew() -> None:
    store, source = RunStore(), FakeSource(a=3)
    before = store.load(source, "", "a")
    source.lengths["a"] = 4
    assert store.load(source, "", "a", before.revision) is before


def test_a_revision_that_is_gone_is_refused() -> None:
    store, source = RunStore(), FakeSource(a=3)
    before = store.load(source, "", "a")
    source.lengths["a"] = 4
    store.load(source, "", "a")
    with pytest.raises(StaleRevisionError, match="new data"):
        store.load(source, "", "a", before.revision)


def test_a_large_run_is_glanced_at_and_its_numbers_can_be_asked_for() -> None:
    store, source = RunStore(), FakeSource(a=20)
    glance = store.glance(source, "", "a")
    assert glance is not None
    assert store.load(source, "", "a", glance.revision) is glance
    whole = store.load(source, "", "a")
    assert whole.view.data.frames == 20
    assert whole.revision != glance.revision
    assert store.load(source, "", "a", glance.revision) is glance


def test_a_run_that_is_kept_or_small_is_not_glanced_at() -> None:
    store, source = RunStore(), FakeSource(small=3, a=20)
    assert store.glance(source, "", "small") is None
    store.load(source, "", "a")
    assert store.glance(source, "", "a") is None
    source.lengths["a"] = 21
    assert store.glance(source, "", "a") is not None


def test_few_glances_are_kept() -> None:
    store, source = RunStore(), FakeSource(**dict.fromkeys("abcdef", 20))
    glances = [store.glance(source, "", name) for name in "abcdef"]
    first, last = glances[0], glances[-1]
    assert first is not None
    assert last is not None
    assert store.load(source, "", "f", last.revision) is last
    with pytest.raises(StaleRevisionError):
        store.load(source, "", "a", first.revision)


def test_runs_of_one_name_in_two_experiments_are_kept_apart() -> None:
    store = RunStore()
    store.load(FakeSource(a=3), "1", "a")
    assert store.load(FakeSource(a=5), "2", "a").view.data.frames == 5
    assert store.load(FakeSource(a=3), "1", "a").view.data.frames == 3


def test_an_unknown_run_is_refused() -> None:
    with pytest.raises(ReadError, match="no run 'b'"):
        RunStore().load(FakeSource(a=3), "", "b")


def test_the_run_asked_for_least_recently_is_dropped_first() -> None:
    source = FakeSource(a=100, b=100, c=100)
    size = RunStore().load(source, "", "a").view.nbytes
    store = RunStore(most_bytes=2 * size)
    for run in ("a", "b", "a", "c"):
        store.load(source, "", run)
    source.reads.clear()
    for run in ("c", "a", "b"):
        store.load(source, "", run)
    assert source.reads == ["b"]


def test_more_runs_than_somebody_compares_are_kept_in_less_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = FakeSource(**dict.fromkeys("abcdef", 100))
    size = RunStore().load(source, "", "a").nbytes
    monkeypatch.setattr(stores, "MOST_OTHER_BYTES", 2 * size)
    kept = RunStore(most_bytes=100 * size)
    for run in "abcd":  # at hand
        kept.load(source, "", run)
    source.reads.clear()
    for run in "abcd":
        kept.load(source, "", run)
    assert source.reads == []
    for run in "efabcdef":
        kept.load(source, "", run)
    assert len(source.reads) > 4
    source.reads.clear()
    for run in "fe":  # the last ones still are
        kept.load(source, "", run)
    assert source.reads == []


def test_a_run_larger_than_the_budget_is_kept_all_the_same() -> None:
    store, source = RunStore(most_bytes=1), FakeSource(a=100)
    store.load(source, "", "a")
    store.load(source, "", "a")
    assert source.reads == ["a"]


def test_threads_that_want_the_same_run_read_it_once() -> None:
    store, source = RunStore(), FakeSource(a=3)
    entered = threading.Barrier(8)

    def ask(_: int) -> Any:
        entered.wait()
        return store.load(source, "", "a")

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(ask, range(8)))
    assert source.reads == ["a"]
    assert len({id(run) for run in loaded}) == 1


def test_histograms_are_read_when_asked_for_and_once() -> None:
    store, source = RunStore(), FakeSource(a=3)
    loaded = store.load(source, "", "a")
    assert source.reads == ["a"]
    loaded.histograms(source)
    loaded.histograms(source)
    assert source.reads == ["a", "histograms of a"]


def test_the_writers_verdict_is_preferred() -> None:
    verdict = StoredVerdict((made.make_flag(),), (), 2, 3)
    judgement = RunStore().load(FakeSource(verdict, a=3), "", "a").judgement()
    assert judgement.live
    assert judgement.flags == verdict.flags


def test_without_one_the_run_is_judged_here_and_once(judged: list[int]) -> None:
    loaded = RunStore().load(FakeSource(None, a=3), "", "a")
    assert not loaded.judgement().live
    assert loaded.judgement().flags == (made.make_flag(),)
    assert judged == [0, 1, 2]


def test_only_the_new_frames_of_a_growing_run_are_judged(judged: list[int]) -> None:
    store, source = RunStore(), FakeSource(None, a=3)
    store.load(source, "", "a").judgement()
    source.lengths["a"] = 5
    store.load(source, "", "a").judgement()
    assert judged == [0, 1, 2, 3, 4]


def test_a_verdict_on_a_part_of_the_run_is_not_taken_for_the_whole(judged: list[int]) -> None:
    of_a_part = StoredVerdict((), (), last_step=9, frames=4)
    assert not RunStore().load(FakeSource(of_a_part, a=10), "", "a").judgement().live
    assert judged == list(range(10))


# --- The list of runs -----------------------------------------------------------------------


def test_the_list_reads_no_frames_where_verdicts_are_stored() -> None:
    source = FakeSource(b=3, a=2)
    summaries = RunStore().summaries(source, "")
    assert [(s.run, s.steps, s.variables, s.flags) for s in summaries] == [
        ("a", (0, 1), 2, ()),
        ("b", (0, 1, 2), 2, ()),
    ]
    assert source.reads == []


def test_polling_the_list_reads_only_what_changed() -> None:
    store, source = RunStore(), FakeSource(a=3, b=3)
    store.summaries(source, "")
    source.lengths["b"] = 4
    assert [len(s.steps) for s in store.summaries(source, "")] == [3, 4]
    assert source.outlined == ["a", "b", "b"]


def test_runs_that_vanish_leave_the_list() -> None:
    store, source = RunStore(), FakeSource(a=3, b=3)
    store.summaries(source, "")
    del source.lengths["a"]
    assert [s.run for s in store.summaries(source, "")] == ["b"]


def test_runs_without_a_verdict_are_judged_as_far_as_the_time_reaches(judged: list[int]) -> None:
    ticks = itertools.count(0.0, JUDGING_SECONDS / 3.5)  # a tick per look at the clock
    store = RunStore(clock=lambda: next(ticks))
    source = FakeSource(None, a=1, b=3, c=1)
    answers = []
    while not answers or None in answers[-1]:
        answers.append([summary.flags for summary in store.summaries(source, "")])
    found = (made.make_flag(),)
    assert answers[0] == [found, None, None]
    assert answers[-1] == [found, found, found]
    assert judged == [0, 0, 1, 2, 0], "what was judged in one call is not judged in the next"


def test_a_run_that_another_request_is_judging_does_not_hold_up_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, source = RunStore(), FakeSource(None, a=2)
    listed: list[Any] = []

    def list_meanwhile(_: Any) -> None:
        listed.extend(store.summaries(source, ""))

    engine = mock.create_autospec(judging.Engine)
    engine.return_value.advance.side_effect = list_meanwhile
    monkeypatch.setattr(judging, "Engine", engine)
    store.load(source, "", "a").judgement()
    assert [summary.flags for summary in listed] == [None]


def test_a_run_that_cannot_be_read_does_not_spoil_the_list() -> None:
    source = FakeSource(None, a=1)

    def refuse(run: str) -> RunData:
        raise ReadError("written in format 99")

    source.read = refuse  # type: ignore[method-assign]
    (summary,) = RunStore().summaries(source, "")
    assert summary.flags is None
