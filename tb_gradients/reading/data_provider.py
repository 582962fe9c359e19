"""Read runs through TensorBoard's data provider, as the tab's back end must.

In:  a provider, the request's context and experiment.
Out: ``RunData`` per run, and cheap stamps that show whether a run has changed.
Does not know about files, rules or HTTP.

Limits of the provider: it may have sampled the series (``--samples_per_plugin``), cannot return a
range of steps, refuses answers over 256 MiB in its fast mode, and with the other loader returns
steps twice after a restart.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tensorboard import errors as tb_errors
from tensorboard.data import provider as tb_provider

from tb_gradients import schema
from tb_gradients.frames import FormatError
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.assembling import (
    Message,
    Point,
    assemble,
    bytes_of,
    check_date,
    check_metadata,
    latest_timeline,
    point_of,
)
from tb_gradients.reading.settings import last_loss, settings_of
from tb_gradients.reading.source import (
    HistogramFrame,
    NoSuchRunError,
    ReadError,
    RunData,
    StoredVerdict,
    covers,
    frames_are_missing,
)

_ALL = 1 << 62  # 0 would mean "no points at all", and None is refused
_MOST_BYTES = 240 << 20  # the fast loader's limit is 256 MiB, with what surrounds the numbers
_FIRST_RETRY = 2048

OUTLINES_AT_ONCE = 16
"""Runs whose contexts are read together: each point is an object until its step is known."""

Stamp = tuple[tuple[str, int, float], ...]
"""The metadata of a run's series (tag, last step, last wall time); a run whose stamp is unchanged
is unchanged."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outline:
    """What the list of runs shows of one run.

    Attributes:
        verdict: that of the writer, if it covers the whole run; else ``None``.
        loss: the last one; NaN: none was measured.
        settings: what the program set, by name.
    """

    steps: tuple[int, ...]
    variables: int
    verdict: StoredVerdict | None
    loss: float = math.nan
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


class DataProviderSource:
    """One experiment of a data provider, with the permissions of one request."""

    def __init__(
        self,
        provider: Any,
        context: Any,
        experiment_id: str,
        *,
        keeps_all: bool = False,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        """
        Args:
            keeps_all: TensorBoard was started so that it keeps all of our steps.
            most_bytes: size from which on frames are read down-sampled.
        """
        self._provider = provider
        self._where = {
            "ctx": context,
            "experiment_id": experiment_id,
            "plugin_name": schema.PLUGIN_NAME,
        }
        self._keeps_all = keeps_all
        self._refused = False
        self._most_bytes = most_bytes

    def stamps(
        self, run: str | None = None, *, among: Collection[str] | None = None
    ) -> dict[str, Stamp]:
        """Stamp of every run that holds our data, or of some; nothing is read for it.

        Args:
            run: of this one alone.
            among: of these, as far as they exist.

        Raises:
            ReadError: ``run`` was asked for and has a newer format.
        """
        runs = among if run is None else [run]
        only = None if runs is None else tb_provider.RunTagFilter(runs=runs)
        listed = self._provider.list_tensors(**self._where, run_tag_filter=only)
        stamps: dict[str, Stamp] = {}
        for name, tags in listed.items():
            ours = {tag: series for tag, series in tags.items() if tag in schema.TAGS}
            if run is not None:
                for series in ours.values():
                    check_metadata(name, series.plugin_content)
            if ours:
                stamps[name] = tuple(
                    sorted((tag, s.max_step, s.max_wall_time) for tag, s in ours.items())
                )
        return stamps

    def runs(self) -> list[str]:
        return sorted(self.stamps())

    def read(self, run: str) -> RunData:
        """All frames that TensorBoard kept of a run.

        Raises:
            ReadError: no such run, or one written in a newer format.
        """
        if run not in self.stamps(run):
            raise no_such_run(run)
        self._refused = False
        problems: list[str] = []
        tables = _messages(self._series(run, schema.TAG_TABLE), problems)
        affordable = self._most_bytes // max(_largest_frame(tables), 1)
        frames = self._series(run, schema.TAG_FRAMES, at_most=max(affordable, 1))
        # After the frames: a run that grows in the meantime then has more contexts, not fewer.
        contexts = self._series(run, schema.TAG_CONTEXT)
        verdicts = self._series(run, schema.TAG_FLAGS, at_most=1)
        lanes = self._series(run, schema.TAG_LANE)
        data = assemble(
            run,
            tables=tables,
            frames=_usable(frames, _point, problems),
            contexts=_usable(contexts, _point, problems),
            verdicts=_messages(verdicts, problems),
            lanes=_messages(lanes, problems),
            errors=problems,
        )
        newest = max((datum.step for datum in frames), default=-1)
        shortened = len(frames) < sum(1 for datum in contexts if datum.step <= newest)
        # Two series of which a part was refused may have the same length.
        shortened = shortened or self._refused
        sampled = shortened or (not self._keeps_all and frames_are_missing(data))
        return dataclasses.replace(data, sampled=sampled)

    def glance(self, run: str, most_bytes: int) -> RunData | None:
        """Some of the frames of a large run, perhaps unevenly: as many as these bytes hold.

        Much faster than ``read``, but not enough to judge. The last frame is among them.
        ``None``: use ``read``, because the run has at most four times as many frames.

        Raises:
            ReadError: the run was written in a newer format.
        """
        problems: list[str] = []
        tables = _messages(self._series(run, schema.TAG_TABLE), problems)
        affordable = max(most_bytes // max(_largest_frame(tables), 1), 1)
        contexts = self._series(run, schema.TAG_CONTEXT)
        if len(contexts) <= 4 * affordable:
            return None
        steps = [int(datum.step) for datum in latest_timeline(contexts)]
        verdicts = self._series(run, schema.TAG_FLAGS, at_most=1)
        return assemble(
            run,
            tables=tables,
            frames=_usable(
                self._series(run, schema.TAG_FRAMES, at_most=affordable), _point, problems
            ),
            contexts=_usable(contexts, _point, problems),
            # Compared with all steps: any verdict would cover the few that are read here.
            verdicts=(_messages(verdicts, problems) if _covering_verdict(verdicts, steps) else []),
            errors=problems,
        )

    def histograms(self, run: str) -> list[HistogramFrame]:
        """The histograms of a run, by rising step, still packed."""
        # Left-out histograms are gaps in the picture; no message is needed.
        return latest_timeline(_usable(self._series(run, schema.TAG_HISTOGRAMS), _histograms, []))

    def outlines(self, runs: Sequence[str]) -> dict[str, Outline]:
        """What the list of runs shows, without reading frames: 10 ms per 1,000 of them.

        Runs that cannot be read have none; reading them says why.
        """
        try:
            return self._outlines(runs)
        except ReadError:
            if len(runs) < 2:
                return {}
        alone = (
            self.outlines([run]) for run in runs
        )  # one that cannot be read must not hide the others
        return {run: outline for outlines in alone for run, outline in outlines.items()}

    def _outlines(self, runs: Sequence[str]) -> dict[str, Outline]:
        parts = [runs[i : i + OUTLINES_AT_ONCE] for i in range(0, len(runs), OUTLINES_AT_ONCE)]
        return {run: one for part in parts for run, one in self._some_outlines(part).items()}

    def _some_outlines(self, runs: Sequence[str]) -> dict[str, Outline]:
        last = self._read(runs, [schema.TAG_TABLE, schema.TAG_FLAGS], at_most=1)
        contexts = self._read(runs, [schema.TAG_CONTEXT])
        outlines: dict[str, Outline] = {}
        for run in runs:
            points = contexts.get(run, {}).get(schema.TAG_CONTEXT, ())
            points = latest_timeline(_usable(points, _point, []))
            steps = tuple(point.step for point in points)
            tags = last.get(run, {})
            table = _last_table(tags.get(schema.TAG_TABLE, ()))
            values = [point.value for point in points]
            outlines[run] = Outline(
                steps,
                len(table.variables),
                _covering_verdict(tags.get(schema.TAG_FLAGS, ()), steps),
                last_loss(table.context, values),
                settings_of(table, values),
            )
        return outlines

    def _series(self, run: str, tag: str, *, at_most: int = _ALL) -> Sequence[Any]:
        return self._read([run], [tag], at_most=at_most).get(run, {}).get(tag, ())

    def _read(
        self, runs: Sequence[str], tags: Sequence[str], *, at_most: int = _ALL
    ) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        """``read_tensors``, with fewer points if the answer would be too large.

        The last point of a series is always among those that are kept.

        Raises:
            ReadError: TensorBoard cannot read what is in the file. (It decodes all points of a
                run when one of them is asked for.)
        """
        while True:
            try:
                answer: Mapping[str, Mapping[str, Sequence[Any]]] = self._provider.read_tensors(
                    **self._where,
                    downsample=at_most,
                    run_tag_filter=tb_provider.RunTagFilter(runs=runs, tags=tags),
                )
                return answer
            except tb_errors.PublicError:  # no permission, or no such experiment
                raise
            except Exception as error:
                if at_most == 1 or not _is_too_large(error):
                    _log.info("%s of %s cannot be read", tags, runs, exc_info=True)
                    raise ReadError(
                        f"TensorBoard cannot read run {', '.join(map(repr, runs))} "
                        f"({type(error).__name__}: {error}). Is its event file damaged? "
                        "`tb-gradients check` reads what is left."
                    ) from error
                self._refused = True
                at_most = max(1, min(at_most, _FIRST_RETRY) // 2)
                _log.info("%s of %s: too large, reading %d points", tags, runs, at_most)


def no_such_run(run: str) -> NoSuchRunError:
    """The error for a run that TensorBoard does not have, or not yet."""
    return NoSuchRunError(
        f"There is no run {run!r} with gradient-health data. "
        "TensorBoard may still be loading it: reload in a moment."
    )


def _is_too_large(error: Exception) -> bool:
    # A gRPC error, recognised by its attributes, so that gRPC need not be imported.
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") == "RESOURCE_EXHAUSTED"


def _point(datum: Any) -> Point:
    return point_of(int(datum.step), float(datum.wall_time), datum.numpy)


def _message(datum: Any) -> Message:
    return Message(bytes_of(datum.numpy))


def _histograms(datum: Any) -> HistogramFrame:
    step, wall_time = int(datum.step), float(datum.wall_time)
    check_date(step, wall_time)
    return HistogramFrame(step, wall_time, bytes_of(datum.numpy))


_T = TypeVar("_T")


def _usable(data: Iterable[Any], make: Callable[[Any], _T], problems: list[str]) -> list[_T]:
    """Each usable point, converted; ``problems`` gets how many were left out, and why."""
    made: list[_T] = []
    refused: list[FormatError] = []
    for datum in data:
        try:
            made.append(make(datum))
        except FormatError as error:
            refused.append(error)
    if refused:
        sentence = f"Records left out: {len(refused)}. Of the first {refused[0]}."
        if sentence not in problems:  # an event has a frame and its context
            problems.append(sentence)
    return made


def _messages(data: Iterable[Any], problems: list[str]) -> list[Message]:
    return _usable(data, _message, problems)


def _largest_frame(tables: Iterable[Message]) -> int:
    """Bytes of one frame; of the largest, when the variables changed."""
    sizes = [0]
    for table in tables:
        message = _parsed_table(table.data)
        if message is not None:
            sizes.append(4 * len(message.variables) * len(message.statistics))
    return max(sizes)


def _last_table(points: Sequence[Any]) -> pb.VariableTable:
    """An empty one where there is none that can be read."""
    tables = _messages(points[-1:], [])
    message = _parsed_table(tables[0].data) if tables else None
    return pb.VariableTable() if message is None else message


def _parsed_table(data: bytes) -> pb.VariableTable | None:
    # The message alone: building the Python objects of 1,000 variables costs ten times more.
    message = pb.VariableTable()
    try:
        message.ParseFromString(data)
    except Exception:  # the protobuf runtimes disagree on its module; reading the run reports it
        return None
    return message


def _covering_verdict(points: Sequence[Any], steps: Sequence[int]) -> StoredVerdict | None:
    messages = _messages(points[-1:], [])
    if not messages:
        return None
    try:
        verdict = StoredVerdict.from_bytes(messages[0].data)
    except FormatError:  # reading the run reports it
        return None
    return verdict if covers(verdict, steps) else None
