"""Recorded runs in the formats of other programs: ``tb-gradients export``.

In:  runs as a reader gives them.
Out: standard summaries in event files, or a table as CSV, JSON or Parquet.
Does not know about the rules, or about command-line arguments.

The table has a row for each variable at each frame, and a column for each statistic, stored or
derived; behind them one for each loss that ``step(losses=...)`` was given. What was not measured is
empty (CSV), null (JSON, Parquet).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.host.records import LocalRecords
from tb_gradients.proto import event_pb2
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import RunData
from tb_gradients.summaries import Summaries, findings_of, values_of

FORMATS = ("tensorboard", "csv", "json", "parquet")

COLUMNS = (*schema.statistic_names(), *(column.name for column in schema.DERIVED))
"""Columns of the table, behind "run", "step", "wall_time" and "variable"."""


class ExportError(ValueError):
    """What was asked for cannot be written; the message says why, and what to do."""


# --- A table --------------------------------------------------------------------------------


def columns_of(runs: Iterable[RunData]) -> tuple[str, ...]:
    """Columns of the table behind "variable": ``COLUMNS``, then the named losses of all runs."""
    names = dict.fromkeys(name for data in runs for name in data.named_losses)
    return (*COLUMNS, *(schema.named_loss(name).name for name in names))


def tables(data: RunData, losses: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Name of a column -> its values, frame after frame; a table for each stretch of frames.

    Args:
        losses: columns of named losses, which are the same for all variables of a frame.

    "run" and "variable" are lists of strings, "step" is int64, "wall_time" float64 (seconds since
    the epoch), and the statistics are float32.
    """
    begin = 0
    for recording in data.recordings:
        frames, variables = len(recording), len(recording.table.variables)
        times = data.wall_times[begin : begin + frames]
        begin += frames
        columns: dict[str, Any] = {
            "run": [data.run] * (frames * variables),
            "step": np.repeat(recording.steps, variables),
            "wall_time": np.repeat(times, variables),
            "variable": list(recording.table.paths) * frames,
        }
        for name in COLUMNS:
            columns[name] = recording.statistic(name).ravel()
        unknown = np.full(frames, np.nan, np.float32)
        for name in losses:
            own = recording.named_losses.get(name.removeprefix(schema.NAMED_LOSSES), unknown)
            columns[name] = np.repeat(own, variables)
        yield columns


def write_csv(runs: Sequence[RunData], stream: IO[str]) -> None:
    """The table as CSV, with a line of names first."""
    writer = csv.writer(stream, lineterminator="\n")
    names = columns_of(runs)
    writer.writerow(["run", "step", "wall_time", "variable", *map(_text_cell, names)])
    for data in runs:
        for table in tables(data, names[len(COLUMNS) :]):
            columns = [
                [*map(_text_cell, table["run"])],
                table["step"].tolist(),
                table["wall_time"].tolist(),
                [*map(_text_cell, table["variable"])],
                *(map(_number_cell, table[name].tolist()) for name in names),
            ]
            writer.writerows(zip(*columns, strict=True))


def _text_cell(text: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _number_cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.7g}"


def write_json(runs: Sequence[RunData], stream: IO[str]) -> None:
    """The runs as one JSON object, a matrix [frames, variables] for each statistic.

    Infinities, which JSON does not have, are the strings "inf" and "-inf".
    """
    document = {
        "schema": 1,
        "runs": [
            {"run": data.run, "recordings": [*map(_recording_json, data.recordings)]}
            for data in runs
        ],
    }
    json.dump(document, stream, allow_nan=False, indent=1)
    stream.write("\n")


def _recording_json(recording: Recording) -> dict[str, Any]:
    return {
        "steps": recording.steps.tolist(),
        "variables": list(recording.table.paths),
        "statistics": {name: _numbers(recording.statistic(name)) for name in COLUMNS},
        "context": {
            name: _numbers(recording.context_value(name)) for name in schema.context_names()
        },
        "losses": {name: _numbers(values) for name, values in recording.named_losses.items()},
    }


def _numbers(array: Any) -> Any:
    """Nested lists, without what JSON lacks; None for a column of which nothing was measured."""
    if np.isnan(array).all():
        return None
    if np.isfinite(array).all():
        return array.tolist()
    listed = array.astype(object)
    listed[np.isnan(array)] = None
    listed[np.isposinf(array)] = "inf"
    listed[np.isneginf(array)] = "-inf"
    return listed.tolist()


def write_parquet(runs: Sequence[RunData], path: str) -> None:
    """The table as a Parquet file.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ExportError("Parquet needs pyarrow: pip install pyarrow") from None
    kinds = {"run": pyarrow.string(), "step": pyarrow.int64(), "wall_time": pyarrow.float64()}
    kinds["variable"] = pyarrow.string()
    names = columns_of(runs)
    kinds |= {name: pyarrow.float32() for name in names}
    types = pyarrow.schema(list(kinds.items()))
    with pyarrow.parquet.ParquetWriter(path, types) as writer:
        for data in runs:
            for table in tables(data, names[len(COLUMNS) :]):
                arrays = [
                    pyarrow.array(table[name], kind, from_pandas=True)  # NaN is null
                    for name, kind in kinds.items()
                ]
                writer.write_table(pyarrow.table(arrays, schema=types))


# --- Standard summaries ---------------------------------------------------------------------


def write_summaries(
    source: EventFileSource, data: RunData, folder: pathlib.Path, wanted: Summaries
) -> pathlib.Path:
    """The standard summaries of a run, as ``summaries=`` would have written them.

    Args:
        folder: of the run; made if it is missing.

    Returns:
        The event file.

    Raises:
        ExportError: the folder has an event file already.
    """
    if any("tfevents" in path.name for path in folder.glob("*")):
        raise ExportError(f"{str(folder)!r} has event files already. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    packed = {item.step: item for item in source.histograms(data.run)}
    begin = float(data.wall_times[0]) if len(data.wall_times) else 0.0
    path = folder / f"events.out.tfevents.{int(begin):010d}.tb-gradients.{os.getpid()}.0"
    unfinished = folder / "unfinished"
    records = LocalRecords(str(unfinished))
    try:
        records.write(
            event_pb2.Event(wall_time=begin, file_version="brain.Event:2").SerializeToString()
        )
        for table, frame in data.each_frame():
            if (item := packed.get(frame.step)) is not None:
                table_id, counts = item.unpack()
                if table_id == table.table_id:
                    frame = dataclasses.replace(frame, histograms=counts)
            summary = event_pb2.Summary(value=values_of(table, frame, wanted))
            _write(records, frame.wall_time, frame.step, summary)
        if data.verdict is not None and len(data.wall_times):
            findings = findings_of(data.verdict.flags, data.verdict.undecided)
            _write(records, float(data.wall_times[-1]), int(data.steps[-1]), findings)
    finally:
        records.close()
    unfinished.rename(path)
    return path


def _write(records: LocalRecords, time: float, step: int, summary: event_pb2.Summary) -> None:
    records.write(event_pb2.Event(wall_time=time, step=step, summary=summary).SerializeToString())


# --- All of a folder ------------------------------------------------------------------------


def export(
    logdir: str,
    kind: str,
    output: str | None,
    *,
    run: str = "",
    summaries: Summaries | None = None,
    stdout: IO[str] | None = None,
) -> str:
    """Write the runs below a folder in another format.

    Args:
        kind: one of ``FORMATS``.
        output: a folder for "tensorboard", else a file; None: ``stdout``, for text formats.
        run: a regular expression; runs whose name contains no match are left out.
        summaries: which summaries are written ("tensorboard").

    Returns:
        A sentence about what was written.

    Raises:
        ExportError: there is nothing to write, or the output cannot be as asked for.
        ReadError: the folder cannot be read.
        OSError: the output cannot be written.
    """
    source = EventFileSource(logdir)
    try:
        pattern = re.compile(run)
    except re.error as error:
        raise ExportError(f"--run {run!r} is no regular expression: {error}") from None
    names = [name for name in source.runs() if pattern.search(name)]
    runs = [data for data in map(source.read, names) if data.recordings]
    if not runs:
        raise ExportError(f"there are no frames to export below {logdir!r}")
    if kind == "tensorboard":
        if output is None:
            raise ExportError("--to tensorboard needs --output FOLDER")
        for data in runs:
            folder = pathlib.Path(output, *data.run.split("/"))
            write_summaries(source, data, folder, summaries or Summaries())
        return f"{len(runs)} runs were written: tensorboard --logdir {output}"
    if kind == "parquet" and output is None:
        raise ExportError("--to parquet needs --output FILE")
    if output is None:
        assert stdout is not None
        _TEXT[kind](runs, stdout)
        return ""
    target = pathlib.Path(output)
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        if kind == "parquet":
            write_parquet(runs, str(unfinished))
        else:
            with unfinished.open("w", encoding="utf-8", newline="") as stream:
                _TEXT[kind](runs, stream)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return f"{len(runs)} runs were written to {output}"


_TEXT: dict[str, Callable[[Sequence[RunData], IO[str]], None]] = {
    "csv": write_csv,
    "json": write_json,
}
