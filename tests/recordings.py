"""Runs made up for tests, and event files that hold them: no TensorFlow, no training.

In:  a shape and a fault.
Out: tables, frames and flags; event files as the writer makes them.
Does not know about what is tested with them.
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.util import tensor_util

from tb_gradients import schema
from tb_gradients.crc32c import masked_crc32c
from tb_gradients.flags import Cause, Evidence, Flag, Severity
from tb_gradients.frames import (
    CountArray,
    FloatArray,
    Frame,
    RunContext,
    Variable,
    VariableTable,
    pack_histograms,
)
from tb_gradients.lane import Lane
from tb_gradients.lane_pack import pack
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.source import StoredVerdict

START = 1_700_000_000.0
"""Wall time of step 0; one step takes a tenth of a second."""


# --- Tables and frames ----------------------------------------------------------------------


def make_table(layers: int = 3, **run_facts: Any) -> VariableTable:
    """A multi-layer perceptron: a kernel and a bias per layer, in network order."""
    variables = []
    for i in range(layers):
        layer = f"dense_{i}" if i else "dense"
        shared = {"module": layer, "layer_class": "Dense", "activation": "relu", "units": 16}
        variables += [
            Variable(
                f"{layer}/kernel",
                (16, 16),
                role="kernel",
                initializer="GlorotUniform",
                unit_axis=1,
                initial_rms=0.25,
                optimizer="adam",
                **shared,
            ),
            Variable(
                f"{layer}/bias",
                (16,),
                role="bias",
                initializer="Zeros",
                unit_axis=0,
                optimizer="adam",
                **shared,
            ),
        ]
    facts = {"optimizer": "Adam", "loss": "SparseCategoricalCrossentropy", **run_facts}
    return VariableTable(tuple(variables), RunContext(**facts))


def make_frame(
    table: VariableTable, step: int, *, since: int = 1, histograms: bool = False, salt: int = 0
) -> Frame:
    """A healthy frame; the same arguments make the same numbers."""
    random = np.random.default_rng([step, salt])
    n = len(table.variables)
    norm = (0.5 * np.exp(0.1 * random.standard_normal(n))).astype(np.float32)
    columns = {
        "gradient_norm": norm,
        "gradient_mean": 1e-4 * random.standard_normal(n),
        "gradient_min": -0.2 * norm,
        "gradient_max": 0.2 * norm,
        "gradient_zero_share": 0.02 * random.random(n),
        "gradient_nan_count": 0,
        "gradient_inf_count": 0,
        "applied_norm": norm,
        "weight_norm": 4 + 1e-3 * step,
        "weight_nonfinite_count": 0,
        "update_norm": 4e-3,
        "unchanged_share": 0,
        "lost_share": 0,
        "unit_spread": 0.9,
        "dead_unit_share": 0 if step >= 100 else np.nan,
        "dead_unit_age": 0,
        "gradient_norm_max": 1.2 * norm,
        "nonfinite_age": -1,
        "zero_step_share": 0,
        "none_step_share": 0,
    }
    loss = 2.3 * np.exp(-step / 500) + 0.01 * random.standard_normal()
    context = {
        "table_id": table.table_id,
        "window_steps": since,
        "applied_steps": since,
        "skipped_steps": 0,
        "unit_window": 100,
        "loss": loss,
        "loss_mean": loss,
        "loss_min": loss - 0.01,
        "loss_max": loss + 0.01,
        "loss_nonfinite_age": -1,
        "learning_rate": 1e-3,
        "global_norm": np.sqrt(np.sum(norm**2)),
        "loss_scale": 1,
        "inputs_nonfinite": 0,
        "inputs_mean": 0,
        "inputs_std": 1,
        "inputs_max_abs": 4,
        "targets_nonfinite": 0,
    }
    values = np.full((n, len(table.statistics)), np.nan, np.float32)
    for name, column in columns.items():
        if name in table.statistics:
            values[:, table.statistics.index(name)] = column
    vector = np.array([context.get(name, np.nan) for name in table.context], np.float32)
    return Frame(
        step,
        START + step / 10,
        values,
        vector,
        make_histograms(table, step) if histograms else None,
    )


def make_histograms(table: VariableTable, step: int) -> CountArray:
    """Normally distributed gradients of 256 elements; bin 0 holds the step, to be found again."""
    counts = np.zeros((len(table.variables), schema.HISTOGRAM_BINS), np.uint16)
    random = np.random.default_rng(step)
    for row in counts:
        values = 0.01 * random.standard_normal(256)
        octave = np.floor(np.log2(np.abs(values))).astype(int) - schema.HISTOGRAM_LOWEST_EXPONENT
        sign = np.where(values > 0, schema.BIN_POSITIVE, schema.BIN_NEGATIVE)
        np.add.at(row, sign + octave, 1)
    counts[:, schema.BIN_ZERO] = step % 65536
    return counts


def make_frames(
    table: VariableTable, steps: Iterable[int], *, histograms_every: int = 0, salt: int = 0
) -> list[Frame]:
    """Healthy frames at rising steps."""
    frames = []
    before = None
    for step in steps:
        since = 1 if before is None else step - before
        wanted = bool(histograms_every) and step % histograms_every == 0
        frames.append(make_frame(table, step, since=since, histograms=wanted, salt=salt))
        before = step
    return frames


def with_value(
    frame: Frame, table: VariableTable, statistic: str, value: Any, rows: Any = slice(None)
) -> Frame:
    """The frame with one statistic set."""
    values = frame.values.copy()
    values[rows, table.statistics.index(statistic)] = value
    return dataclasses.replace(frame, values=values)


def turn_nonfinite(frames: Sequence[Frame], table: VariableTable, since: int) -> list[Frame]:
    """All gradients NaN from a step on; one Inf a step earlier; then nothing finite is left."""
    faulty = []
    for frame in frames:
        if frame.step == since - 1:
            frame = with_value(frame, table, "gradient_inf_count", 1, 0)
            frame = with_value(frame, table, "nonfinite_age", 0, 0)
        elif frame.step >= since:
            frame = with_value(frame, table, "gradient_nan_count", 256)
            frame = with_value(frame, table, "weight_nonfinite_count", 256)
            frame = with_value(frame, table, "nonfinite_age", 0)
            for statistic in ("gradient_norm", "applied_norm", "weight_norm", "gradient_norm_max"):
                frame = with_value(frame, table, statistic, 0)
            for statistic in ("gradient_min", "gradient_max", "gradient_mean", "unit_spread"):
                frame = with_value(frame, table, statistic, np.nan)
        faulty.append(frame)
    return faulty


def turn_zero(
    frames: Sequence[Frame], table: VariableTable, rows: Any, since: int = 0
) -> list[Frame]:
    """The gradients of some variables exactly zero from a step on."""
    faulty = []
    for frame in frames:
        if frame.step >= since:
            for statistic in ("gradient_norm", "applied_norm", "gradient_min", "gradient_max"):
                frame = with_value(frame, table, statistic, 0, rows)
            frame = with_value(frame, table, "gradient_zero_share", 1, rows)
            frame = with_value(frame, table, "zero_step_share", 1, rows)
            frame = with_value(frame, table, "dead_unit_share", 1, rows)
        faulty.append(frame)
    return faulty


def turn_missing(frames: Sequence[Frame], table: VariableTable, rows: Any) -> list[Frame]:
    """No gradient at all for some variables: the graph does not reach them."""
    faulty = []
    for frame in frames:
        for statistic in table.statistics:
            if statistic.startswith(("gradient", "applied", "unit")):
                frame = with_value(frame, table, statistic, np.nan, rows)
        faulty.append(with_value(frame, table, "none_step_share", 1, rows))
    return faulty


def make_flag(
    rule: str = "zero_gradient",
    *,
    severity: Severity = Severity.CRITICAL,
    variables: Sequence[str] = ("dense/kernel",),
    first_step: int = 10,
    last_step: int = 99,
    is_open: bool = True,
) -> Flag:
    """A flag with one of everything, and numbers that JSON has no word for."""
    return Flag(
        rule=rule,
        severity=severity,
        variables=tuple(variables),
        first_step=first_step,
        last_step=last_step,
        open=is_open,
        summary=f"{variables[0]} is faulty since step {first_step}.",
        evidence=(Evidence("zero_step_share", 1.0, 0.99), Evidence("worst_norm", float("inf"))),
        causes=(Cause("dead_relu", 0.8, "All units of the layer are silent."),),
        fixes=("Lower the learning rate.",),
    )


# --- Event files ----------------------------------------------------------------------------


def write_good_and_nan(folder: pathlib.Path) -> pathlib.Path:
    """A healthy run "good" and a run "nan" with a NaN from step 30 on; gives the folder."""
    table = make_table()
    frames = make_frames(table, range(120))
    write_run(folder / "good", table, frames)
    write_run(folder / "nan", table, turn_nonfinite(frames[:60], table, 30))
    return folder


def write_run(
    folder: pathlib.Path,
    table: VariableTable,
    frames: Iterable[Frame],
    *,
    flags: Sequence[Flag] | None = None,
    verdict: StoredVerdict | None = None,
    name: str = "events.out.tfevents.1700000000.host.1.0.v2",
) -> pathlib.Path:
    """One event file with a table, frames, and at the end a verdict if ``flags`` are given."""
    frames = list(frames)
    first = frames[0].step if frames else 0
    if flags is not None:
        last = frames[-1].step if frames else -1
        verdict = StoredVerdict(tuple(flags), (), last, len(frames))
    events = [file_version(), table_event(table, first)]
    events += [frame_event(frame, table) for frame in frames]
    if verdict is not None:
        events.append(verdict_event(verdict, max(verdict.last_step, 0)))
    return write_events(folder, events, name=name)


def write_events(
    folder: pathlib.Path,
    events: Iterable[Any],
    *,
    name: str = "events.out.tfevents.1700000000.host.1.0.v2",
) -> pathlib.Path:
    """Append events to a file, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("ab") as stream:
        stream.writelines(as_record(event.SerializeToString()) for event in events)
    return path


def as_record(data: bytes) -> bytes:
    """Bytes in a TFRecord's frame."""
    length = struct.pack("<Q", len(data))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return length + next(checksums) + data + next(checksums)


def file_version() -> Any:
    return event_pb2.Event(wall_time=START, file_version="brain.Event:2")


def table_event(
    table: VariableTable, step: int = 0, *, format_version: int = schema.FORMAT_VERSION
) -> Any:
    message = pb.VariableTable.FromString(table.to_bytes())
    message.format_version = format_version
    value = _value(schema.TAG_TABLE, message.SerializeToString(), format_version)
    return _event(step, START + step / 10, value)


def frame_event(frame: Frame, table: VariableTable) -> Any:
    values = [
        _value(schema.TAG_FRAMES, frame.values),
        _value(schema.TAG_CONTEXT, frame.context),
    ]
    if frame.histograms is not None:
        packed = pack_histograms(frame.histograms, table.table_id)
        values.append(_value(schema.TAG_HISTOGRAMS, packed))
    return _event(frame.step, frame.wall_time, *values)


def lane_event(lane: Lane, table: VariableTable) -> Any:
    value = _value(schema.TAG_LANE, pack(lane, table.table_id))
    return _event(lane.last_step, START + lane.last_step / 10, value)


def verdict_event(verdict: StoredVerdict, step: int) -> Any:
    return _event(step, START + step / 10, _value(schema.TAG_FLAGS, verdict.to_bytes()))


def scalar_event(tag: str, step: int, value: float) -> Any:
    """What somebody else's ``tf.summary.scalar`` writes."""
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=summary_pb2.DATA_CLASS_SCALAR,
    )
    tensor = tensor_util.make_tensor_proto(np.float32(value))
    summary = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
    return _event(step, START + step / 10, summary)


def _event(step: int, wall_time: float, *values: Any) -> Any:
    summary = summary_pb2.Summary(value=values)
    return event_pb2.Event(step=step, wall_time=wall_time, summary=summary)


def _value(
    tag: str, content: bytes | FloatArray, format_version: int = schema.FORMAT_VERSION
) -> Any:
    plugin_data = summary_pb2.SummaryMetadata.PluginData(
        plugin_name=schema.PLUGIN_NAME,
        content=pb.PluginData(format_version=format_version).SerializeToString(),
    )
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=plugin_data, data_class=summary_pb2.DATA_CLASS_TENSOR
    )
    return summary_pb2.Summary.Value(
        tag=tag, tensor=tensor_util.make_tensor_proto(content), metadata=metadata
    )
