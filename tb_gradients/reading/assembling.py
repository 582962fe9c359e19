"""Assemble a run from its points, in the order in which they were written.

In:  the points of a run (frames, contexts, tables, verdicts), from any reader.
Out: ``RunData``, and a sentence for everything that could not be used.
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

from tb_gradients.frames import (
    LARGEST_STEP,
    FloatArray,
    FormatError,
    Recording,
    VariableTable,
)
from tb_gradients.lane import MOST_LOSSES, Lane, joined
from tb_gradients.lane_pack import unpack
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.on_disk import FramesOnDisk, Open, Place, open_local
from tb_gradients.reading.source import (
    NewerFormatError,
    ReadError,
    RunData,
    StoredVerdict,
    check_format,
)


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
    """Table ids and lanes that still count, in the order of steps; see ``latest_timeline``.

    No more than ``MOST_LOSSES`` named losses are kept of a run: the first ones.
    """
    kept: list[tuple[int, Lane]] = []
    damaged: list[str] = []
    names: dict[str, None] = {}
    for pack in packs:
        try:
            table_id, lane = unpack(pack.data)
        except FormatError:
            damaged.append(pack.origin)
            continue
        if not len(lane):
            continue
        for one in lane.named:
            if len(names) < MOST_LOSSES:
                names.setdefault(one.name)
        if any(one.name not in names for one in lane.named):
            lane = lane.with_names(one.name for one in lane.named if one.name in names)
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
