"""Write frames, tables, histograms and flags as a standard TensorBoard event file.

In:  plain data (``Frame``, ``VariableTable``, ``Flag``).
Out: one event file in a folder of its own, written by a background thread.
Does not know about training steps, devices, rules or TensorFlow.

One event per frame, all its tags inside. Who opens the file is given (``training.files`` does it
with TensorFlow, which knows remote file systems, too); it is flushed whenever the queue runs
empty, and ten times a second. So a process that is killed loses at most what was still in the
queue, and leaves a readable file. What SIGTERM asks for is in ``endings``.

Nobody waits for the disk but the thread: where it takes in less than is written, frames are left
out once ``MOST_WAITING_BYTES`` wait, and that is reported once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from tb_gradients import schema
from tb_gradients.flags import Flag, RuleError, RuleState
from tb_gradients.frames import Frame, VariableTable, pack_histograms
from tb_gradients.lane import Lane, without_gaps
from tb_gradients.lane_pack import pack
from tb_gradients.proto import event_pb2
from tb_gradients.proto import gradient_health_pb2 as pb

MOST_WAITING_BYTES = 64 << 20
"""Of frames that wait for the disk. Further ones are left out: a training step never waits."""

OVERHEAD_BYTES = 1 << 10
"""What a frame that waits takes besides its numbers."""

FLUSH_SECONDS = 0.1
"""The file is not flushed less often than this while there is something to write."""

FILE_SUFFIX = ".gradient_health"
"""End of the name of our event files: it distinguishes them from those of other writers."""

_DT_FLOAT, _DT_STRING = 1, 7
_DATA_CLASS_TENSOR = 2


logger = logging.getLogger("tb_gradients")


class RecordFile(Protocol):
    """An open file of TFRecords."""

    def write(self, record: bytes) -> None:
        """Append one record: its length, its checksums and its bytes."""

    def flush(self) -> None:
        """Flush what was written to the file system."""

    def close(self) -> None:
        """Flush and close."""


OpenRecords = Callable[[str], RecordFile]
"""Opens a new file of records at a path."""


class EventWriter:
    """Appends to a new event file in ``folder``; thread-safe.

    A failure in the background (a full disk, a folder that was removed) is raised, once, by the
    next call. Who opens a writer closes it: what is in the queue at exit is lost.

    Attributes:
        path: of the file.
        left_out: how many frames, and parts of the dense lane, the disk was too slow for.
    """

    def __init__(self, folder: str | pathlib.Path, open_records: OpenRecords) -> None:
        folder = os.fspath(folder).rstrip("/")
        began = f"{_later_than_others(folder):.6f}"
        name = f"events.out.tfevents.{began}.{socket.gethostname()}.{os.getpid()}{FILE_SUFFIX}"
        self.path = f"{folder}/{name}"
        self._file = open_records(self.path)
        self._described: set[str] = set()
        self._error: Exception | None = None
        self._queue: queue.SimpleQueue[tuple[Callable[[], None], int] | None] = queue.SimpleQueue()
        self._waiting = 0  # bytes
        self._lock = threading.Lock()
        self.left_out = 0
        self._reported_gone = False
        self._thread = threading.Thread(target=self._run, name="tb_gradients writer", daemon=True)
        self._thread.start()
        self._closed = False
        self._put(lambda: self._record(0, {}, file_version="brain.Event:2"))

    def table(self, table: VariableTable, step: int) -> None:
        self._put(lambda: self._record(step, {schema.TAG_TABLE: _text(table.to_bytes())}))

    def frame(self, frame: Frame, table_id: int) -> None:
        def write() -> None:
            values = {
                schema.TAG_FRAMES: _floats(frame.values),
                schema.TAG_CONTEXT: _floats(frame.context),
            }
            if frame.histograms is not None:
                values[schema.TAG_HISTOGRAMS] = _text(pack_histograms(frame.histograms, table_id))
            self._record(frame.step, values, wall_time=frame.wall_time)

        arrays = (frame.values, frame.context, frame.histograms)
        self._put(write, sum(array.nbytes for array in arrays if array is not None))

    def lane(self, lane: Lane, table_id: int) -> None:
        def write() -> None:  # compressed on this thread
            for part in without_gaps(lane):
                self._record(part.last_step, {schema.TAG_LANE: _text(pack(part, table_id))})

        self._put(write, lane.low.nbytes + lane.high.nbytes + lane.marks.nbytes)

    def findings(self, step: int, summary: event_pb2.Summary) -> None:
        """The flags as a standard summary; like the flags it is never left out."""
        event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
        self._put(lambda: self._file.write(event.SerializeToString()))

    def summary(self, frame: Frame, summary: event_pb2.Summary) -> None:
        """Standard summaries of a frame; nothing is written if there are none."""
        if summary.value:
            event = event_pb2.Event(wall_time=frame.wall_time, step=frame.step, summary=summary)
            data = event.SerializeToString()
            self._put(lambda: self._file.write(data), len(data))

    def flags(
        self,
        flags: Iterable[Flag],
        errors: Iterable[RuleError],
        step: int,
        frames: int,
        rules: Iterable[RuleState] = (),
        undecided: str = "",
        fingerprint: str = "",
        own_rules: str = "",
    ) -> None:
        message = pb.FlagList(
            format_version=schema.FORMAT_VERSION,
            flags=[flag.to_proto() for flag in flags],
            errors=[error.to_proto() for error in errors],
            last_step=step,
            frames=frames,
            rules=[state.to_proto() for state in rules],
            undecided=undecided,
            fingerprint=fingerprint,
            own_rules=own_rules,
        )
        data = message.SerializeToString()
        self._put(lambda: self._record(step, {schema.TAG_FLAGS: _text(data)}))

    def flush(self) -> None:
        """Return when everything is in the file."""
        done = threading.Event()

        def finish() -> None:
            try:
                self._settle()
            except Exception as error:  # before the caller goes on, so that it is reported
                self._error = error
            done.set()

        self._put(finish)
        done.wait()
        self._raise()

    def close(self) -> None:
        """Write out and close; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        for end in (self._settle, self._file.close):  # the thread leaves what came last unsettled
            try:
                end()
            except Exception as error:
                self._error = self._error or error
        self._raise()

    def _put(self, action: Callable[[], None], size: int | None = None) -> None:
        """Hand something to the thread; what has a size is left out where too much waits."""
        self._raise()
        if self._closed:
            raise ValueError("the event file is closed")
        size = 0 if size is None else size + OVERHEAD_BYTES
        with self._lock:
            fits = not size or not self._waiting or self._waiting + size <= MOST_WAITING_BYTES
            if fits:
                self._waiting += size
                self._queue.put((action, size))
                return
        self.left_out += 1
        if self.left_out == 1:
            logger.warning(
                "tb_gradients: %s takes in less than is written; frames are left out until it has "
                "caught up. A larger `every=` writes less",
                os.path.dirname(self.path),
            )

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        settled = time.monotonic()
        while (item := self._queue.get()) is not None:
            action, size = item
            try:
                action()
                if self._queue.empty() or time.monotonic() - settled > FLUSH_SECONDS:
                    self._settle()
                    settled = time.monotonic()
            except Exception as error:
                self._error = error
            with self._lock:
                self._waiting -= size

    def _settle(self) -> None:
        """Flush; raise if the file is gone: one can write for ever to a file without a name."""
        self._file.flush()
        gone = "://" not in self.path and not os.path.exists(self.path)
        if gone and not self._reported_gone:
            self._reported_gone = True
            raise FileNotFoundError(f"{self.path} was removed while it was written to")

    def _record(
        self,
        step: int,
        values: Mapping[str, Any],
        wall_time: float | None = None,
        file_version: str | None = None,
    ) -> None:
        event = event_pb2.Event(
            wall_time=time.time() if wall_time is None else wall_time, step=step
        )
        if file_version is not None:
            event.file_version = file_version
        for tag, tensor in values.items():
            value = event.summary.value.add(tag=tag, tensor=tensor)
            if tag not in self._described:  # readers keep a tag's first metadata
                self._described.add(tag)
                value.metadata.CopyFrom(_metadata())
        self._file.write(event.SerializeToString())


def _later_than_others(folder: str) -> float:
    """The time for a file's name: now, and behind that of every file of ours in the folder.

    Readers go by it, and a clock may have been set back since.
    """
    now = time.time()
    if "://" in folder:
        return now
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            parts = name.split(".")  # events.out.tfevents.SECONDS.MICROSECONDS.HOST...
            if name.endswith(FILE_SUFFIX) and len(parts) > 5:
                with contextlib.suppress(ValueError):
                    now = max(now, float(f"{parts[3]}.{parts[4]}") + 1e-6)
    return now


def _metadata() -> event_pb2.SummaryMetadata:
    content = pb.PluginData(format_version=schema.FORMAT_VERSION).SerializeToString()
    return event_pb2.SummaryMetadata(
        plugin_data=event_pb2.PluginData(plugin_name=schema.PLUGIN_NAME, content=content),
        data_class=_DATA_CLASS_TENSOR,
    )


def _floats(array: Any) -> event_pb2.Tensor:
    array = np.ascontiguousarray(array, dtype="<f4")
    dimensions = [event_pb2.TensorShape.Dim(size=size) for size in array.shape]
    return event_pb2.Tensor(
        dtype=_DT_FLOAT,
        tensor_shape=event_pb2.TensorShape(dim=dimensions),
        tensor_content=array.tobytes(),
    )


def _text(data: bytes) -> event_pb2.Tensor:
    return event_pb2.Tensor(
        dtype=_DT_STRING, tensor_shape=event_pb2.TensorShape(), string_val=[data]
    )
