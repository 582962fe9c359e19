"""Runs that were read, kept until they change, so that polling is cheap.

In:  a data provider source (made per request) and the name of a run.
Out: ``LoadedRun``: its view, its verdict, its histograms.
Does not know about HTTP. Safe for TensorBoard's threaded server: a run is read by one
request at a time, and the others wait for that instead of reading it again.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from tb_gradients import schema
from tb_gradients.flags import Flag
from tb_gradients.plugin.judging import Judgement, RunJudge
from tb_gradients.plugin.view import RunView
from tb_gradients.reading.data_provider import Outline, Stamp, no_such_run
from tb_gradients.reading.source import HistogramFrame, ReadError, RunData

MOST_BYTES = 512 << 20
"""What the runs at hand may take, those asked for last; the last one is kept whatever its size."""

AT_HAND = 4
"""So many runs are at hand: those that somebody compares."""

MOST_OTHER_BYTES = 64 << 20
"""What all kept runs may take once there are more. Reading a run of 100 variables again takes a
twentieth of a second."""

GLANCE_BYTES = 4 << 20
"""What a first look at a large run may take: some fifty frames of a thousand variables."""

MOST_GLANCES = 4
"""First looks that are kept, for the questions that follow them."""

JUDGING_SECONDS = 1.0
"""How long the list of runs may spend on judging runs whose writer stored no verdict."""


class StampedSource(Protocol):
    """What is needed of a ``DataProviderSource``."""

    def stamps(
        self, run: str | None = None, *, among: Collection[str] | None = None
    ) -> dict[str, Stamp]: ...
    def read(self, run: str) -> RunData: ...
    def glance(self, run: str, most_bytes: int) -> RunData | None: ...
    def histograms(self, run: str) -> list[HistogramFrame]: ...
    def outlines(self, runs: Sequence[str]) -> dict[str, Outline]: ...


class StaleRevisionError(LookupError):
    """The run is no longer as it was when the client first asked for it."""


class LoadedRun:
    """One state of a run; its expensive parts are made when first asked for."""

    def __init__(self, stamp: Stamp, data: RunData, judge: RunJudge | None = None) -> None:
        """``judge`` may have judged an earlier state of the run, and is then faster."""
        self.stamp = stamp
        self.judge = judge or RunJudge()
        self.view = RunView(data)
        self.revision = _digest((stamp, data.frames, len(self.view.variables)))
        self._judging = threading.Lock()
        self._reading = threading.Lock()
        self._judgement: Judgement | None = None
        self._histograms: list[HistogramFrame] | None = None

    @property
    def nbytes(self) -> int:
        """Memory that its numbers take."""
        packed = sum(len(frame.packed) for frame in self._histograms or ())
        return self.view.nbytes + packed

    def judgement(self) -> Judgement:
        """The writer's verdict where it covers the run, else the rules' own."""
        judgement = self.judgement_before(math.inf)
        assert judgement is not None, "there was all the time in the world"
        return judgement

    def judgement_within(self, seconds: float) -> Judgement | None:
        """The same, or ``None`` if it takes longer; it then has come some way."""
        return self.judgement_before(self.judge.clock() + seconds)

    def judgement_before(self, deadline: float) -> Judgement | None:
        """The same, or ``None`` if it takes longer than until that time of the clock.

        Who is in a hurry does not wait for another request that is judging the run either.
        """
        if not self._judging.acquire(blocking=deadline == math.inf):
            return None
        try:
            if self._judgement is None:
                self._judgement = self.judge.judgement(self.view.data, deadline)
            return self._judgement
        finally:
            self._judging.release()

    def histograms(self, source: StampedSource) -> list[HistogramFrame]:
        with self._reading:
            if self._histograms is None:
                frames = source.histograms(self.view.data.run)
                self._histograms = self.view.usable_histograms(frames)
            return self._histograms


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A line of the list of runs.

    Attributes:
        flags: ``None`` while nobody has judged the run.
        error: why nobody ever will, a sentence.
        undecided: why too little was seen to call it healthy; "" if it was enough.
        mark: changes when the run does.
        newest: wall time of the newest frame, in seconds since the epoch; NaN: there is none.
        loss: the last one; NaN: none was measured.
        settings: what the program set, by name.
    """

    run: str
    steps: tuple[int, ...]
    variables: int
    flags: tuple[Flag, ...] | None
    error: str | None = None
    undecided: str = ""
    mark: str = ""
    newest: float = math.nan
    loss: float = math.nan
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


_NO_OUTLINE = Outline((), 0, None)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def _newest(stamp: Stamp) -> float:
    """Wall time of the newest frame."""
    return next((time for tag, _, time in stamp if tag == schema.TAG_CONTEXT), math.nan)


class RunStore:
    """The runs of all experiments that were asked for, the least recent ones dropped."""

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._loading: dict[tuple[str, str], threading.Lock] = {}
        self._loaded: collections.OrderedDict[tuple[str, str], LoadedRun] = (
            collections.OrderedDict()
        )
        self._glances: collections.OrderedDict[tuple[str, str], LoadedRun] = (
            collections.OrderedDict()
        )
        self._outlines: dict[tuple[str, str], tuple[Stamp, Outline]] = {}
        self._found: dict[tuple[str, str], tuple[Stamp, tuple[Flag, ...], str]] = {}

    def load(
        self, source: StampedSource, experiment: str, run: str, revision: str | None = None
    ) -> LoadedRun:
        """The run as it is now, read again only if it has changed.

        With ``revision``, the run in that state: answers of several requests fit together.

        Raises:
            ReadError: there is no such run, or it cannot be read.
            StaleRevisionError: the run is no longer in that state.
        """
        key = (experiment, run)
        if revision is not None:
            for loaded in (self._kept(key), self._glances.get(key)):
                if loaded is not None and loaded.revision == revision:
                    return loaded
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            # The stamp is taken before reading: what comes in between is read twice, not lost.
            stamp = source.stamps(run).get(run)
            if stamp is None:
                raise no_such_run(run)
            loaded = self._kept(key)
            if loaded is None or loaded.stamp != stamp:
                judge = loaded.judge if loaded is not None else RunJudge(self._clock)
                loaded = LoadedRun(stamp, source.read(run), judge)
                self._keep(key, loaded)
        if revision is not None and loaded.revision != revision:
            raise StaleRevisionError(f"Run {run!r} has new data; ask for the run again.")
        return loaded

    def glance(self, source: StampedSource, experiment: str, run: str) -> LoadedRun | None:
        """Some frames of a large run that is not kept yet: there is something to see at once.

        Its revision can be asked for as that of a whole run; its verdict is the writer's, or
        none. ``None``: the run is kept, or small enough to be read at once.

        Raises:
            ReadError: there is no such run, or it cannot be read.
        """
        key = (experiment, run)
        stamp = source.stamps(run).get(run)
        if stamp is None:
            raise no_such_run(run)
        kept = self._kept(key)
        if kept is not None and kept.stamp == stamp:
            return None
        data = source.glance(run, GLANCE_BYTES)
        if data is None:
            return None
        loaded = LoadedRun(stamp, data)
        with self._lock:
            self._glances[key] = loaded
            self._glances.move_to_end(key)
            while len(self._glances) > MOST_GLANCES:
                self._glances.popitem(last=False)
        return loaded

    def state(
        self, source: StampedSource, experiment: str, among: Collection[str] | None = None
    ) -> str:
        """Changes when what ``summaries`` says of these runs does, but for the judging.

        It takes a few microseconds per hundred frames, and reads nothing.
        """
        return _digest((experiment, sorted(source.stamps(among=among).items())))

    def summaries(
        self,
        source: StampedSource,
        experiment: str,
        seconds: float = JUDGING_SECONDS,
        among: Collection[str] | None = None,
    ) -> list[RunSummary]:
        """Every run in one line, by name; or those among these names.

        Runs whose writer stored a verdict cost next to nothing. Others are judged one
        after the other, for so many seconds per call: who has no flags then gets them
        when asked again.
        """
        stamps = source.stamps(among=among)
        outlines = self._fresh_outlines(source, experiment, stamps)
        deadline = self._clock() + seconds
        summaries = []
        for run in sorted(stamps):
            outline = outlines.get(run, _NO_OUTLINE)
            found: tuple[tuple[Flag, ...] | None, str] = None, ""
            error = None
            try:
                if outline.verdict is not None:
                    found = outline.verdict.flags, outline.verdict.undecided
                else:
                    found = self._judged(source, experiment, run, stamps[run], deadline)
            except ReadError as unreadable:
                error = str(unreadable)
            flags, undecided = found
            summaries.append(
                RunSummary(
                    run,
                    outline.steps,
                    outline.variables,
                    flags,
                    error,
                    undecided,
                    _digest(stamps[run]),
                    _newest(stamps[run]),
                    outline.loss,
                    outline.settings,
                )
            )
        return summaries

    def _fresh_outlines(
        self, source: StampedSource, experiment: str, stamps: dict[str, Stamp]
    ) -> dict[str, Outline]:
        with self._lock:
            kept = {run: self._outlines.get((experiment, run)) for run in stamps}
        fresh = {
            run: entry[1]
            for run, entry in kept.items()
            if entry is not None and entry[0] == stamps[run]
        }
        changed = source.outlines([run for run in stamps if run not in fresh])
        with self._lock:
            for run, outline in changed.items():
                self._outlines[experiment, run] = (stamps[run], outline)
        return {**fresh, **changed}

    def _judged(
        self, source: StampedSource, experiment: str, run: str, stamp: Stamp, deadline: float
    ) -> tuple[tuple[Flag, ...] | None, str]:
        """Flags, and why the run is undecided; no flags: there was no time."""
        key = (experiment, run)
        with self._lock:
            entry = self._found.get(key)
        if entry is not None and entry[0] == stamp:
            return entry[1:]
        if self._clock() >= deadline:
            return None, ""
        loaded = self.load(source, experiment, run)
        if (reason := loaded.view.data.unreadable) is not None:
            raise ReadError(reason)
        judgement = loaded.judgement_before(deadline)
        if judgement is None:
            return None, ""
        with self._lock:
            self._found[key] = (loaded.stamp, judgement.flags, judgement.undecided)
        return judgement.flags, judgement.undecided

    def _kept(self, key: tuple[str, str]) -> LoadedRun | None:
        with self._lock:
            loaded = self._loaded.get(key)
            if loaded is not None:
                self._loaded.move_to_end(key)
            return loaded

    def _keep(self, key: tuple[str, str], loaded: LoadedRun) -> None:
        with self._lock:
            self._loaded[key] = loaded
            self._loaded.move_to_end(key)
            total = sum(other.nbytes for other in self._loaded.values())
            while len(self._loaded) > 1 and total > self._allowed(len(self._loaded)):
                _, dropped = self._loaded.popitem(last=False)
                total -= dropped.nbytes

    def _allowed(self, runs: int) -> int:
        """Bytes that so many runs may take."""
        return self._most_bytes if runs <= AT_HAND else min(self._most_bytes, MOST_OTHER_BYTES)
