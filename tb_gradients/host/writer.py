"""Write frames, tables, histograms and flags as a standard TensorBoard event file.

In:  plain data (``Frame``, ``VariableTable``, ``Flag``).
Out: one event file in a folder of its own, written by a background thread.
Does not know about training steps, devices or rules.

One event per frame, all its tags inside. Records go through TensorFlow's own record
writer, so whatever file system it knows works; the file is flushed whenever the queue runs
empty. So a process that is killed, by SIGTERM or by SIGKILL, loses at most what was still in
the queue, and leaves a readable file; there is no signal handler that could get into the way
of somebody else's.
"""

from __future__ import annotations

import os
import pathlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.flags import Flag, RuleError
from tb_gradients.frames import Frame, VariableTable, pack_histograms
from tb_gradients.proto import gradient_health_pb2 as pb

QUEUE_LENGTH = 64
"""Frames that may wait; a slower disk then slows the frames (never the plain steps) down."""

_FILE_SUFFIX = ".gradient_health"
_DT_FLOAT, _DT_STRING = 1, 7
_DATA_CLASS_TENSOR = 2


class LogDirError(OSError):
    """The log folder cannot be written to; the message says what to do."""


def choose_folder(log_dir: str | os.PathLike[str]) -> str:
    """The folder to write to, absolute: ``log_dir``, or one below it where somebody else writes.

    Of two live event files in one folder TensorBoard's Python loader follows only the
    last, so a folder with a stranger's event file is left to the stranger.

    Raises:
        LogDirError: the folder cannot be made or written to.
    """
    folder = os.fspath(log_dir)
    if not folder:
        raise LogDirError("log_dir is empty; give a folder such as 'logs/run1'")
    if "://" not in folder:
        folder = os.path.abspath(folder)  # the program may change its folder while it trains
    try:
        tf.io.gfile.makedirs(folder)
        names = tf.io.gfile.listdir(folder)
        if any("tfevents" in n and not n.endswith(_FILE_SUFFIX) for n in names):
            folder = folder.rstrip("/") + "/" + schema.PLUGIN_NAME
            tf.io.gfile.makedirs(folder)
        probe = folder.rstrip("/") + f"/.tb_gradients_{os.getpid()}"
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise LogDirError(
            f"cannot write to the log folder {folder!r} ({reason.strip()}); "
            "pass a folder that this user may write to"
        ) from None
    return folder


class EventWriter:
    """Appends to a new event file in ``folder``; thread-safe.

    A failure in the background (a full disk, a folder that was removed) is raised, once, by the
    next call. Who opens a writer closes it: what is in the queue at exit is lost.
    """

    def __init__(self, folder: str | pathlib.Path) -> None:
        name = (
            f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
            f"{_FILE_SUFFIX}"
        )
        self.path = os.fspath(folder).rstrip("/") + "/" + name
        self._file = tf.io.TFRecordWriter(self.path)
        self._described: set[str] = set()
        self._error: Exception | None = None
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._told_gone = False
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

        self._put(write)

    def flags(
        self, flags: Iterable[Flag], errors: Iterable[RuleError], step: int, frames: int
    ) -> None:
        message = pb.FlagList(
            format_version=schema.FORMAT_VERSION,
            flags=[flag.to_proto() for flag in flags],
            errors=[pb.RuleError(**error.to_json()) for error in errors],
            last_step=step,
            frames=frames,
        )
        data = message.SerializeToString()
        self._put(lambda: self._record(step, {schema.TAG_FLAGS: _text(data)}))

    def flush(self) -> None:
        """Return when all that was handed in is in the file."""
        done = threading.Event()

        def finish() -> None:
            try:
                self._settle()
            except Exception as error:  # before the caller goes on, so that it is told
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

    def _put(self, action: Callable[[], None]) -> None:
        self._raise()
        if self._closed:
            raise ValueError("the event file is closed")
        self._queue.put(action)

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                action()
                if self._queue.empty():
                    self._settle()
            except Exception as error:
                self._error = error

    def _settle(self) -> None:
        """Flush; raise if the file is gone: one can write for ever to a file without a name."""
        self._file.flush()
        gone = "://" not in self.path and not os.path.exists(self.path)
        if gone and not self._told_gone:
            self._told_gone = True
            raise FileNotFoundError(f"{self.path} was removed while it was written to")

    def _record(
        self,
        step: int,
        values: Mapping[str, Any],
        wall_time: float | None = None,
        file_version: str | None = None,
    ) -> None:
        event = tf.compat.v1.Event(
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


def _metadata() -> Any:
    content = pb.PluginData(format_version=schema.FORMAT_VERSION).SerializeToString()
    return tf.compat.v1.SummaryMetadata(
        plugin_data={"plugin_name": schema.PLUGIN_NAME, "content": content},
        data_class=_DATA_CLASS_TENSOR,
    )


def _floats(array: Any) -> Any:
    array = np.ascontiguousarray(array, dtype="<f4")
    tensor = _tensor_proto(_DT_FLOAT, array.shape)
    tensor.tensor_content = array.tobytes()
    return tensor


def _text(data: bytes) -> Any:
    tensor = _tensor_proto(_DT_STRING, ())
    tensor.string_val.append(data)
    return tensor


def _tensor_proto(dtype: int, shape: Iterable[int]) -> Any:
    tensor = tf.make_tensor_proto(0.0)
    tensor.Clear()
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor
