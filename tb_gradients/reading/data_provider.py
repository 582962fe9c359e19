"""Read runs through TensorBoard's data provider: what the tab's back end has to use.

In:  a provider, the request's context and experiment.
Out: ``RunData`` per run, and cheap stamps that tell whether a run has changed.
Does not know about files, rules or HTTP.

What the provider does that a reader has to live with: it may have sampled the series
(``--samples_per_plugin``), cannot be asked for a range of steps, refuses answers over
256 MiB in its fast mode, and with the other loader hands out steps twice after a restart.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.data import provider as tb_provider

from tb_gradients import schema
from tb_gradients.frames import FormatError
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.source import (
    HistogramFrame,
    Point,
    ReadError,
    RunData,
    StoredVerdict,
    assemble,
    check_metadata,
    covers,
    frames_are_missing,
    latest_timeline,
)

_ALL = 1 << 62  # 0 would mean "no points at all", and None is refused
_MOST_BYTES = 240 << 20  # the fast loader's limit is 256 MiB, with what surrounds the numbers
_FIRST_RETRY = 2048

Stamp = tuple[tuple[str, int, float], ...]
"""What a run's series say of themselves; a run whose stamp is unchanged is unchanged."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outline:
    """What the list of runs shows of one run.

    Attributes:
        verdict: what the writer judged live, if that covers the whole run; else ``None``.
    """

    steps: tuple[int, ...]
    variables: int
    verdict: StoredVerdict | None


class DataProviderSource:
    """One experiment of a data provider, seen with one request's rights."""

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
            keeps_all: TensorBoard was started so that it keeps every step of ours.
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

    def stamps(self, run: str | None = None) -> dict[str, Stamp]:
        """Stamp of every run that holds our data, or of one; nothing is read for it.

        Raises:
            ReadError: ``run`` was asked for and has a newer format.
        """
        only = None if run is None else tb_provider.RunTagFilter(runs=[run])
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
        tables = [_bytes(datum) for datum in self._series(run, schema.TAG_TABLE)]
        affordable = self._most_bytes // max(_largest_frame(tables), 1)
        frames = self._series(run, schema.TAG_FRAMES, at_most=max(affordable, 1))
        # After the frames: a run that grows meanwhile then has contexts to spare, not to miss.
        contexts = self._series(run, schema.TAG_CONTEXT)
        verdicts = self._series(run, schema.TAG_FLAGS, at_most=1)
        lanes = self._series(run, schema.TAG_LANE)
        data = assemble(
            run,
            tables=tables,
            frames=map(_point, frames),
            contexts=map(_point, contexts),
            verdicts=[_bytes(datum) for datum in verdicts],
            lanes=[_bytes(datum) for datum in lanes],
        )
        newest = max((datum.step for datum in frames), default=-1)
        shortened = len(frames) < sum(1 for datum in contexts if datum.step <= newest)
        # Two series of which a part was refused may well be equally long.
        shortened = shortened or self._refused
        sampled = shortened or (not self._keeps_all and frames_are_missing(data))
        return dataclasses.replace(data, sampled=sampled)

    def glance(self, run: str, most_bytes: int) -> RunData | None:
        """Some of the frames of a large run, evenly or not: as many as these bytes hold.

        Much faster than ``read``, and no ground to judge on. The last frame is among them.
        ``None``: ``read`` is as good, because the run has no more than four times as many.

        Raises:
            ReadError: the run was written in a newer format.
        """
        tables = [_bytes(datum) for datum in self._series(run, schema.TAG_TABLE)]
        affordable = max(most_bytes // max(_largest_frame(tables), 1), 1)
        contexts = self._series(run, schema.TAG_CONTEXT)
        if len(contexts) <= 4 * affordable:
            return None
        steps = [int(datum.step) for datum in latest_timeline(contexts)]
        verdicts = self._series(run, schema.TAG_FLAGS, at_most=1)
        return assemble(
            run,
            tables=tables,
            frames=map(_point, self._series(run, schema.TAG_FRAMES, at_most=affordable)),
            contexts=map(_point, contexts),
            # Held against all steps: the few that are read here, any verdict would cover.
            verdicts=[_bytes(verdicts[-1])] if _covering_verdict(verdicts, steps) else [],
        )

    def histograms(self, run: str) -> list[HistogramFrame]:
        """The histograms of a run, by rising step, still packed."""
        return latest_timeline(
            HistogramFrame(int(datum.step), float(datum.wall_time), _bytes(datum))
            for datum in self._series(run, schema.TAG_HISTOGRAMS)
        )

    def outlines(self, runs: Sequence[str]) -> dict[str, Outline]:
        """What the list of runs shows, without reading frames: 10 ms per 1,000 of them."""
        if not runs:
            return {}
        last = self._read(runs, [schema.TAG_TABLE, schema.TAG_FLAGS], at_most=1)
        contexts = self._read(runs, [schema.TAG_CONTEXT])
        outlines: dict[str, Outline] = {}
        for run in runs:
            points = latest_timeline(contexts.get(run, {}).get(schema.TAG_CONTEXT, ()))
            steps = tuple(int(point.step) for point in points)
            tags = last.get(run, {})
            outlines[run] = Outline(
                steps,
                _count_variables(tags.get(schema.TAG_TABLE, ())),
                _covering_verdict(tags.get(schema.TAG_FLAGS, ()), steps),
            )
        return outlines

    def _series(self, run: str, tag: str, *, at_most: int = _ALL) -> Sequence[Any]:
        return self._read([run], [tag], at_most=at_most).get(run, {}).get(tag, ())

    def _read(
        self, runs: Sequence[str], tags: Sequence[str], *, at_most: int = _ALL
    ) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        """``read_tensors``, with fewer points where the answer would be too large.

        The last point of a series is always among those that are kept.
        """
        while True:
            try:
                answer: Mapping[str, Mapping[str, Sequence[Any]]] = self._provider.read_tensors(
                    **self._where,
                    downsample=at_most,
                    run_tag_filter=tb_provider.RunTagFilter(runs=runs, tags=tags),
                )
                return answer
            except Exception as error:
                if at_most == 1 or not _is_too_large(error):
                    raise
                self._refused = True
                at_most = max(1, min(at_most, _FIRST_RETRY) // 2)
                _log.info("%s of %s: too large, reading %d points", tags, runs, at_most)


def no_such_run(run: str) -> ReadError:
    """The error for a run that TensorBoard does not have, or not yet."""
    return ReadError(
        f"There is no run {run!r} with gradient-health data. "
        "TensorBoard may still be loading it: reload in a moment."
    )


def _is_too_large(error: Exception) -> bool:
    # A gRPC error, told by its looks: this module need not know that gRPC is behind it.
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") == "RESOURCE_EXHAUSTED"


def _point(datum: Any) -> Point:
    return Point(int(datum.step), float(datum.wall_time), np.asarray(datum.numpy, dtype=np.float32))


def _bytes(datum: Any) -> bytes:
    return bytes(datum.numpy.item())


def _largest_frame(tables: Iterable[bytes]) -> int:
    """Bytes of one frame; of the largest, when the variables changed."""
    sizes = [0]
    for data in tables:
        message = _parsed_table(data)
        if message is not None:
            sizes.append(4 * len(message.variables) * len(message.statistics))
    return max(sizes)


def _count_variables(points: Sequence[Any]) -> int:
    message = _parsed_table(_bytes(points[-1])) if points else None
    return len(message.variables) if message is not None else 0


def _parsed_table(data: bytes) -> pb.VariableTable | None:
    # The message alone: building the Python objects of 1,000 variables costs ten times more.
    message = pb.VariableTable()
    try:
        message.ParseFromString(data)
    except Exception:  # the protobuf runtimes disagree on its module; reading the run reports it
        return None
    return message


def _covering_verdict(points: Sequence[Any], steps: Sequence[int]) -> StoredVerdict | None:
    if not points:
        return None
    try:
        verdict = StoredVerdict.from_bytes(_bytes(points[-1]))
    except FormatError:  # reading the run reports it
        return None
    return verdict if covers(verdict, steps) else None
