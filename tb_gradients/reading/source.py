"""A run as it is read, from event files or from a data provider.

In:  the points of a run (frames, contexts, tables, verdicts) in the order in which
     they were written, from any reader.
Out: ``RunData``: recordings on one strictly rising step axis, and what went wrong.
Does not know about files, TensorBoard, rules or HTTP.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.flags import Flag, RuleError, RuleState, verdict_of
from tb_gradients.frames import (
    LARGEST_STEP,
    CountArray,
    FloatArray,
    FormatError,
    Frame,
    Recording,
    VariableTable,
    unpack_histograms,
)
from tb_gradients.lane import Lane, joined, spread
from tb_gradients.lane_pack import unpack
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.on_disk import FramesOnDisk, Open, Place, open_local


class ReadError(ValueError):
    """Nothing usable could be read; the message is one sentence with the remedy."""


class NoSuchRunError(ReadError):
    """There is no run of that name, or not yet."""


class NewerFormatError(FormatError):
    """Written by a version whose data this one would misread."""


@dataclasses.dataclass(frozen=True)
class StoredVerdict:
    """The verdict that the writer judged live and stored beside its frames.

    Attributes:
        flags: ranked worst first, as the live engine had them.
        errors: rules that raised and were switched off, and other parts of the monitor that
            failed.
        last_step: the step of the last frame that was judged.
        frames: how many frames were judged.
        rules: how far each rule had judged the run; none: an older version has written it.
        undecided: why it was too early for a verdict; "" if it was not.
        fingerprint: of the rules and of what they were shown; "" if that is not known.
    """

    flags: tuple[Flag, ...] = ()
    errors: tuple[RuleError, ...] = ()
    last_step: int = -1
    frames: int = 0
    rules: tuple[RuleState, ...] = ()
    undecided: str = ""
    fingerprint: str = ""

    @property
    def verdict(self) -> str:
        """One of ``flags.VERDICTS``."""
        return verdict_of(self.flags, self.undecided)

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredVerdict:
        """Read a serialized ``FlagList``.

        Raises:
            FormatError: the bytes are no flag list; ``NewerFormatError``: a newer one.
        """
        message = pb.FlagList()
        try:
            message.ParseFromString(data)
            check_format(message.format_version)
            return cls(
                flags=tuple(Flag.from_proto(flag) for flag in message.flags),
                errors=tuple(RuleError.from_proto(e) for e in message.errors if e.message),
                last_step=message.last_step,
                frames=message.frames,
                rules=tuple(RuleState.from_proto(state) for state in message.rules),
                undecided=message.undecided,
                fingerprint=message.fingerprint,
            )
        except FormatError:
            raise
        except Exception as error:  # the protobuf runtimes disagree on the exception's module
            raise FormatError(f"unreadable flag list: {error}") from error

    def to_bytes(self) -> bytes:
        """A serialized ``FlagList``: the inverse of ``from_bytes``."""
        return pb.FlagList(
            format_version=schema.FORMAT_VERSION,
            flags=[flag.to_proto() for flag in self.flags],
            errors=[error.to_proto() for error in self.errors],
            last_step=self.last_step,
            frames=self.frames,
            rules=[state.to_proto() for state in self.rules],
            undecided=self.undecided,
            fingerprint=self.fingerprint,
        ).SerializeToString(deterministic=True)


@dataclasses.dataclass(frozen=True)
class HistogramFrame:
    """All variables' histograms at one step, still packed: most are never looked at."""

    step: int
    wall_time: float
    packed: bytes

    def unpack(self) -> tuple[int, CountArray]:
        """The table id and uint16 [variables, bins]; ``FormatError`` if unreadable."""
        return unpack_histograms(self.packed)


@dataclasses.dataclass(frozen=True)
class RunData:
    """One run, without its histograms.

    Attributes:
        run: path of the run's folder relative to the log directory; "." for itself.
        recordings: consecutive frames of one variable table each; steps rise strictly
            over all of them. A table that comes back opens a new recording.
        wall_times: float64, seconds since the epoch, one per frame of all recordings.
        verdict: what the writer judged while training, if it stored anything.
        sampled: frames that were written are missing here.
        errors: sentences about what could not be read.
    """

    run: str
    recordings: tuple[Recording, ...] = ()
    wall_times: npt.NDArray[np.float64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.float64)
    )
    verdict: StoredVerdict | None = None
    sampled: bool = False
    errors: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(len(recording) for recording in self.recordings)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """int64 [frames]: the steps of all recordings."""
        parts = [recording.steps for recording in self.recordings]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def each_frame(self) -> Iterator[tuple[VariableTable, Frame]]:
        """The frames in order, each with its table and its part of the lane; no histograms."""
        times = iter(self.wall_times.tolist())
        for recording in self.recordings:
            for frame in recording.each_frame():
                yield recording.table, dataclasses.replace(frame, wall_time=next(times))

    @property
    def unreadable(self) -> str | None:
        """Why nothing of the run could be read; ``None`` if something was, or nothing is there."""
        return None if self.frames or not self.errors else self.errors[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable the run ever had: the last table's in order, then those it lost."""
        tables = [recording.table for recording in reversed(self.recordings)]
        return tuple(dict.fromkeys(path for table in tables for path in table.paths))

    @property
    def lane(self) -> Lane | None:
        """The dense lane of the whole run, one column for each of ``variables``; None: it has none.

        A variable is not seen where another variable table, without it, held.
        """
        column = {path: i for i, path in enumerate(self.variables)}
        parts = [
            spread(r.lane, [column[path] for path in r.table.paths], len(column))
            for r in self.recordings
            if r.lane is not None and len(r.lane)
        ]
        return joined(parts) if parts else None

    @property
    def stored_flags(self) -> tuple[Flag, ...]:
        """What the writer judged, of whatever part of the run."""
        return () if self.verdict is None else self.verdict.flags

    @property
    def left_out(self) -> tuple[RuleError, ...]:
        """Parts of the monitor, other than rules, that failed while training: whoever judges the
        frames anew has to name them, too.
        """
        errors = () if self.verdict is None else self.verdict.errors
        return tuple(error for error in errors if not error.rule)

    def covering_verdict(self, fingerprint: str | None = None) -> StoredVerdict | None:
        """The stored verdict if it speaks for the whole run.

        A writer that resumed a run may have judged only its own part of it; its verdict
        is silent about what the part before did. It then has to be judged again.

        Args:
            fingerprint: of the verdict that judging the run again would give. The stored one then
                has to be that, on the same frames to the last one: neither older rules, nor
                other thresholds, nor numbers that were left out since.
        """
        if self.verdict is None or not covers(self.verdict, self.steps):
            return None
        if fingerprint is not None:
            same = bool(fingerprint) and fingerprint == self.verdict.fingerprint
            if not same or self.errors or self.sampled:
                return None
        return self.verdict


class Source(Protocol):
    """Where runs come from."""

    def runs(self) -> list[str]:
        """Names of the runs that hold our data, sorted."""
        ...

    def read(self, run: str) -> RunData:
        """A run without its histograms; ``ReadError`` if it cannot be used at all."""
        ...

    def histograms(self, run: str) -> list[HistogramFrame]:
        """The histograms of a run, by rising step."""
        ...


# --- From points to a run -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Point:
    """One float32 array of a time series, or where it is.

    ``origin`` names the file it is from; it is empty where there is none to name.
    """

    step: int
    wall_time: float
    value: FloatArray | Place
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class Message:
    """A serialized message, and the file it is from as in ``Point``."""

    data: bytes
    origin: str = ""


# What a reader has found passes through the next three functions, and the table through
# `VariableTable.from_bytes`: behind them every number is one that the rest can reckon with.


def check_date(step: int, wall_time: float) -> None:
    """Raise ``FormatError`` for a step or a time that cannot be."""
    if abs(step) > LARGEST_STEP:
        raise FormatError(f"its step cannot be {step}")
    if not math.isfinite(wall_time):
        raise FormatError(f"its time cannot be {wall_time}")


def point_of(step: int, wall_time: float, array: Any, origin: str = "") -> Point:
    """A point of a time series of numbers.

    Raises:
        FormatError: a step or a time that cannot be, or an array of something else than floats.
    """
    check_date(step, wall_time)
    numbers = np.asarray(array)
    if numbers.dtype.kind != "f":
        raise FormatError(f"its numbers are {numbers.dtype}, not float32")
    return Point(step, wall_time, numbers.astype(np.float32, copy=False), origin)


def bytes_of(array: Any) -> bytes:
    """The one byte string of a scalar; ``FormatError`` if it is something else."""
    values = np.asarray(array)
    if values.size != 1 or not isinstance(values.item(), bytes):
        raise FormatError("it holds no message")
    return bytes(values.item())


class _Dated(Protocol):
    @property
    def step(self) -> int: ...


_Dated_T = TypeVar("_Dated_T", bound=_Dated)


def latest_timeline(points: Iterable[_Dated_T]) -> list[_Dated_T]:
    """Points in the order of writing -> points that still count, steps strictly rising.

    A step that comes again means that training went back (a restart, a resume from an
    older checkpoint): what was written at that step and later is from an abandoned
    timeline. This is what TensorBoard's Rust loader does by itself; its Python loader
    hands out everything, so that without this the two would show different runs.

    Goes by the order of writing, not by the clock: a clock set back by a second during
    training must not make frames look as if they came from before.
    """
    kept: list[_Dated_T] = []
    for point in points:
        while kept and kept[-1].step >= point.step:
            kept.pop()
        kept.append(point)
    return kept


def covers(verdict: StoredVerdict, steps: Iterable[int]) -> bool:
    """Whether a verdict was judged on all frames up to its last step."""
    return verdict.frames >= sum(1 for step in steps if step <= verdict.last_step)


def check_format(version: int) -> None:
    """Raise ``NewerFormatError`` for data which this version would misread."""
    if version > schema.FORMAT_VERSION:
        raise NewerFormatError(
            f"written in format {version}, this version reads up to "
            f"{schema.FORMAT_VERSION}; upgrade with: pip install -U tb-gradients"
        )


def check_metadata(run: str, content: bytes) -> None:
    """``ReadError`` if the plugin data of a tag's metadata name a newer format."""
    try:
        check_format(_format_of(content))
    except NewerFormatError as error:
        raise _too_new(run, error) from error


@functools.lru_cache(maxsize=16)
def _format_of(content: bytes) -> int:
    """The format that plugin data name; 0 if they are somebody else's: the table's own decides."""
    message = pb.PluginData()
    try:
        message.ParseFromString(content)
    except Exception:
        return 0
    return int(message.format_version)


def _too_new(run: str, error: NewerFormatError) -> ReadError:
    return ReadError(f"Run {run!r} was {error}.")


def assemble(
    run: str,
    *,
    tables: Iterable[Message],
    frames: Iterable[Point],
    contexts: Iterable[Point],
    verdicts: Sequence[Message] = (),
    lanes: Iterable[Message] = (),
    sampled: bool = False,
    errors: Iterable[str] = (),
    open_file: Open = open_local,
) -> RunData:
    """Join what belongs together: frames with their context, and both with their table.

    Args:
        tables: serialized ``VariableTable``s.
        frames: float32 [variables, statistics] in the order of writing.
        contexts: float32 [context columns] in the order of writing.
        verdicts: serialized ``FlagList``s in the order of writing; the last one counts.
        lanes: serialized ``LanePack``s in the order of writing.
        open_file: opens the files of frames that were left there.

    Raises:
        ReadError: the run was written in a newer format.
    """
    problems = list(errors)
    known = _tables(run, tables, problems)
    by_step = {point.step: point for point in latest_timeline(contexts)}
    usable: list[_Usable] = []
    left_out: collections.Counter[tuple[str, str]] = collections.Counter()
    for point in latest_timeline(frames):
        context = by_step.get(point.step)
        row = None if context is None else context.value
        table = None if not isinstance(row, np.ndarray) else _table_of(row, known)
        if row is None or table is None:
            left_out[point.origin, "their variable table was not found"] += 1
        elif point.value.shape != (len(table.variables), len(table.statistics)):
            left_out[point.origin, "their shape does not fit their variable table"] += 1
        else:
            usable.append(_Usable(table, point, row))
    wrong: collections.Counter[tuple[str, str]] = collections.Counter()
    recordings = [_recording(part, open_file, wrong) for part in _segments(usable)]
    for (origin, why), count in left_out.items():
        problems.append(_located(origin, f"Frames left out because {why}: {count}."))
    for (origin, name), count in wrong.items():
        problems.append(
            _located(origin, f"Frames in which {name} cannot be and is left out: {count}.")
        )
    return RunData(
        run=run,
        recordings=_with_lanes(recordings, _lanes(lanes, problems)),
        wall_times=np.array([frame.point.wall_time for frame in usable], np.float64),
        verdict=_last_verdict(run, verdicts, problems),
        sampled=sampled,
        errors=tuple(problems),
    )


def _located(origin: str, sentence: str) -> str:
    """A sentence with the file that it is about."""
    return f"{origin}: {sentence[0].lower()}{sentence[1:]}" if origin else sentence


def _tables(run: str, serialized: Iterable[Message], problems: list[str]) -> list[VariableTable]:
    tables: dict[int, VariableTable] = {}
    for message in serialized:
        try:
            table = _table(message.data)
        except NewerFormatError as error:
            raise _too_new(run, error) from error
        except FormatError as error:
            problems.append(_located(message.origin, f"A variable table was left out: {error}."))
        else:
            tables[table.table_id] = table
    return list(tables.values())


def _table(data: bytes) -> VariableTable:
    message = pb.VariableTable()
    with contextlib.suppress(Exception):  # then `from_bytes` says what is wrong
        message.ParseFromString(data)
    check_format(message.format_version)
    return VariableTable.from_bytes(data)


def _table_of(context: FloatArray, tables: Sequence[VariableTable]) -> VariableTable | None:
    # Columns go by name, and the names are the table's: so every table is asked
    # whether this vector names it. There is one table in nearly every run.
    for table in tables:
        if context.shape != (len(table.context),) or "table_id" not in table.context:
            continue
        if context[table.context.index("table_id")] == table.table_id:
            return table
    return None


class _Usable(NamedTuple):
    """A frame with its table and its context."""

    table: VariableTable
    point: Point
    context: Any


def _segments(frames: Sequence[_Usable]) -> Iterator[Sequence[_Usable]]:
    """Consecutive frames of one table."""
    start = 0
    for end in range(1, len(frames) + 1):
        if end == len(frames) or frames[end].table.table_id != frames[start].table.table_id:
            yield frames[start:end]
            start = end


def _recording(
    frames: Sequence[_Usable], open_file: Open, wrong: collections.Counter[tuple[str, str]]
) -> Recording:
    """The frames of one table, with NaN for what cannot be: ``wrong`` counts it, by file and name.

    They stay on disk if they are there.
    """
    table = frames[0].table
    parts = [frame.point.value for frame in frames]
    places = [part for part in parts if isinstance(part, Place)]
    values: Any
    outside: Any
    if len(places) == len(parts):
        outside = np.array([table.impossible(place.range).any(axis=0) for place in places])
        values = FramesOnDisk(places, open_file, table.ranges if outside.any() else None)
    else:
        values = np.stack([_numbers(part, open_file) for part in parts])
        impossible = table.impossible(values)
        outside = impossible.any(axis=1)
        values[impossible] = np.nan
    context = np.stack([frame.context for frame in frames])
    of_context = table.impossible_context(context)
    context[of_context] = np.nan
    for names, found in ((table.statistics, outside), (table.context, of_context)):
        for row, column in np.argwhere(found):
            wrong[frames[row].point.origin, names[column]] += 1
    steps = np.array([frame.point.step for frame in frames], np.int64)
    return Recording(table, steps, values, context)


def _numbers(value: FloatArray | Place, open_file: Open) -> FloatArray:
    return FramesOnDisk([value], open_file)[0] if isinstance(value, Place) else value


def _lanes(packs: Iterable[Message], problems: list[str]) -> list[tuple[int, Lane]]:
    """Table ids and lanes that still count, in the order of steps; see ``latest_timeline``."""
    kept: list[tuple[int, Lane]] = []
    damaged: list[str] = []
    for pack in packs:
        try:
            table_id, lane = unpack(pack.data)
        except FormatError:
            damaged.append(pack.origin)
            continue
        if not len(lane):
            continue
        begin = int(lane.first[0])
        while kept and kept[-1][1].last_step >= begin:
            earlier, before = kept.pop()
            if len(before := before.before(begin)):
                kept.append((earlier, before))
                break
        kept.append((table_id, lane))
    if damaged:
        sentence = f"Damaged parts of the dense lane were left out: {len(damaged)}."
        problems.append(_located(damaged[0], sentence))
    return kept


def _with_lanes(
    recordings: Sequence[Recording], lanes: Sequence[tuple[int, Lane]]
) -> tuple[Recording, ...]:
    """Each recording with the steps up to its last frame, the last one with all later ones."""
    result = []
    begin = -1
    for number, recording in enumerate(recordings):
        final = number == len(recordings) - 1
        end = np.iinfo(np.int64).max if final else int(recording.steps[-1])
        parts = []
        for table_id, lane in lanes:
            if table_id == recording.table.table_id:
                start = int(np.searchsorted(lane.first, begin, side="right"))
                stop = int(np.searchsorted(lane.first, end, side="right"))
                parts.append(lane[start:stop])
        begin = end
        parts = [lane for lane in parts if lane.low.shape[1] == len(recording.table.variables)]
        result.append(dataclasses.replace(recording, lane=joined(parts)) if parts else recording)
    return tuple(result)


def _last_verdict(
    run: str, verdicts: Sequence[Message], problems: list[str]
) -> StoredVerdict | None:
    if not verdicts:
        return None
    try:
        return StoredVerdict.from_bytes(verdicts[-1].data)
    except NewerFormatError as error:
        raise _too_new(run, error) from error
    except FormatError as error:
        origin = verdicts[-1].origin
        problems.append(_located(origin, f"The stored verdict was left out: {error}."))
        return None


def frames_are_missing(data: RunData) -> bool:
    """Whether frames are missing between those that are there.

    Every frame says how many steps lie between it and the frame before it as it was
    written; where the step numbers say more, a sampling reader dropped some. One such
    gap in a run may also be a resume from a later checkpoint, so one is not enough.
    """
    gaps = 0
    steps = data.steps
    windows = [r.context_value("window_steps") for r in data.recordings]
    if len(steps) > 1:
        with np.errstate(invalid="ignore"):  # NaN: not measured, says nothing
            gaps = int(np.count_nonzero(np.diff(steps) > np.concatenate(windows)[1:]))
    return gaps > 1
