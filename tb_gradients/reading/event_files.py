"""Read runs straight from TensorBoard event files: every frame, no sampling.

In:  a log directory, local or behind a scheme such as "gs://".
Out: ``RunData`` per run, a run being a folder with event files that hold our tags.
Does not know about rules, nor about TensorBoard's own loaders; does not import
TensorFlow for local folders.

Why not TensorBoard's ``EventFileLoader``: it imports TensorFlow where that is installed
(seconds), and where it is not, its checksums run at 5 MB/s. It also ends at the first
damaged record. A TFRecord file is simple enough to be read in one loop::

    uint64 length | uint32 masked CRC of length | data | uint32 masked CRC of data
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from tb_gradients import schema
from tb_gradients.reading.crc32c import masked_crc32c
from tb_gradients.reading.source import (
    HistogramFrame,
    Point,
    ReadError,
    RunData,
    assemble,
    check_metadata,
    latest_timeline,
)

_OUR_SUFFIX = f".{schema.PLUGIN_NAME}"  # of every file that our writer makes
_EVENT_FILE_MARK = "tfevents"  # as TensorBoard decides (io_wrapper.IsTensorFlowEventsFile)
_OUR_PREFIX = f"{schema.PLUGIN_NAME}/".encode()
_OUR_TAGS = tuple(tag.encode() for tag in schema.TAGS)
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class EventFileSource:
    """The runs below a folder, the folder itself being the run "."."""

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        """Raises ``ReadError`` if there is no such folder."""
        self._logdir = os.fspath(logdir)
        self._files = _remote(self._logdir) if "://" in self._logdir else _Local()
        if not self._files.exists(self._logdir):
            raise ReadError(f"There is no folder {self._logdir!r}. Was the path mistyped?")
        if not self._files.is_folder(self._logdir):
            raise ReadError(
                f"{self._logdir!r} is a file. Pass the folder that was given to GradientHealth."
            )

    def runs(self) -> list[str]:
        """Folders with at least one record of ours, or with a file of ours that is damaged or
        cannot be opened, sorted; "." first.
        """
        return sorted(
            (
                run
                for folder, run, names in self._files.walk(self._logdir)
                if self._holds_ours(_paths(folder, names))
            ),
            key=lambda run: (run != ".", run),
        )

    def read(self, run: str) -> RunData:
        """All frames of a run; damage is skipped and reported in ``RunData.errors``.

        Raises:
            ReadError: no such run, or one written in a newer format.
        """
        found = self._values(run)
        return assemble(
            run,
            tables=found.tables,
            frames=found.frames,
            contexts=found.contexts,
            verdicts=found.verdicts,
            lanes=found.lanes,
            errors=found.errors,
        )

    def histograms(self, run: str) -> list[HistogramFrame]:
        """The histograms of a run, by rising step, still packed."""
        return latest_timeline(self._values(run).histograms)

    def _values(self, run: str) -> _Found:
        folder = self._logdir if run == "." else posixpath.join(self._logdir, run)
        if not self._files.is_folder(folder):
            raise ReadError(f"There is no run {run!r} below {self._logdir!r}.")
        found = _Found()
        for path in _paths(folder, self._files.names(folder)):
            for record in self._records(path, found.errors):
                try:
                    found.add_event(run, record)
                except ReadError:
                    raise
                except Exception as error:  # the checksum holds, so it was written like this
                    name = posixpath.basename(path)
                    found.errors.append(f"A record of {name} is no event: {error}.")
        return found

    def _holds_ours(self, files: list[str]) -> bool:
        for path in files:
            errors: list[str] = []
            if any(True for _ in self._records(path, errors)):
                return True
            if errors and path.endswith(_OUR_SUFFIX):  # for `read` to tell
                return True
        return False

    def _records(self, path: str, errors: list[str]) -> Iterator[bytes]:
        try:
            with self._files.open(path) as stream:
                yield from our_records(stream, posixpath.basename(path), errors)
        except OSError as error:  # removed or locked meanwhile: the other files still count
            errors.append(f"{posixpath.basename(path)} could not be read: {error}.")


def _paths(folder: str, names: Iterable[str]) -> list[str]:
    """The event files among the names, oldest first: their names begin with the time."""
    return [posixpath.join(folder, name) for name in sorted(names) if _EVENT_FILE_MARK in name]


def our_records(stream: IO[bytes], name: str, errors: list[str]) -> Iterator[bytes]:
    """The records of an event file that mention one of our tags.

    A record cut short at the end is normal (the writer is at it, or was killed) and ends
    the file silently. A record whose checksum is wrong is skipped; one whose *length* is
    wrong ends the file, because nothing says where the next one starts. Both are added to
    ``errors``. Other people's records are skipped unparsed and unchecked.
    """
    position = 0
    damaged: list[int] = []
    while header := stream.read(_HEADER.size):
        if len(header) < _HEADER.size:
            break
        length, header_checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != header_checksum:
            errors.append(f"{name} is damaged at byte {position}; what follows was not read.")
            break
        body = stream.read(length + _CHECKSUM.size)
        if len(body) < length + _CHECKSUM.size:
            break
        record = body[:length]
        if _is_ours(record):
            if masked_crc32c(record) == _CHECKSUM.unpack(body[length:])[0]:
                yield record
            else:
                damaged.append(position)
        position += _HEADER.size + len(body)
    if damaged:
        errors.append(f"{name} is damaged at byte {damaged[0]}; records left out: {len(damaged)}.")


def _is_ours(record: bytes) -> bool:
    return _OUR_PREFIX in record and any(tag in record for tag in _OUR_TAGS)


@dataclasses.dataclass
class _Found:
    """Our values of one run, by tag, in the order of writing."""

    tables: list[bytes] = dataclasses.field(default_factory=list)
    frames: list[Point] = dataclasses.field(default_factory=list)
    contexts: list[Point] = dataclasses.field(default_factory=list)
    verdicts: list[bytes] = dataclasses.field(default_factory=list)
    lanes: list[bytes] = dataclasses.field(default_factory=list)
    histograms: list[HistogramFrame] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)

    def add_event(self, run: str, record: bytes) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.util import tensor_util

        event = event_pb2.Event.FromString(record)
        for value in event.summary.value:
            if value.tag not in schema.TAGS or not value.HasField("tensor"):
                continue
            check_metadata(run, value.metadata.plugin_data.content)
            array = tensor_util.make_ndarray(value.tensor)
            if value.tag == schema.TAG_FRAMES:
                self.frames.append(_point(event, array))
            elif value.tag == schema.TAG_CONTEXT:
                self.contexts.append(_point(event, array))
            elif value.tag == schema.TAG_HISTOGRAMS:
                self.histograms.append(
                    HistogramFrame(event.step, event.wall_time, bytes(array.item()))
                )
            elif value.tag == schema.TAG_TABLE:
                self.tables.append(bytes(array.item()))
            elif value.tag == schema.TAG_LANE:
                self.lanes.append(bytes(array.item()))
            else:
                self.verdicts.append(bytes(array.item()))


def _point(event: Any, array: Any) -> Point:
    return Point(event.step, event.wall_time, np.asarray(array, np.float32))


# --- Where files are ------------------------------------------------------------------------


class _Local:
    """Local folders through the standard library: nothing to import, nothing to wait for."""

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def open(self, path: str) -> IO[bytes]:
        return Path(path).open("rb", buffering=1 << 20)

    def names(self, folder: str) -> list[str]:
        return [path.name for path in Path(folder).iterdir()]

    def walk(self, root: str) -> Iterator[tuple[str, str, list[str]]]:
        """Folder, run name and names of files, for the root and every folder below it."""
        os.scandir(root).close()  # `walk` passes over in silence what it may not list
        seen: set[str] = set()  # links are followed as TensorBoard does, circles are not
        for folder, children, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                children.clear()
                continue
            seen.add(real)
            run = os.path.relpath(folder, root).replace(os.sep, "/")
            yield folder, run, names


class _Remote:
    """Other file systems through the shim that TensorBoard itself uses for them."""

    def __init__(self, gfile: Any) -> None:
        self._gfile = gfile

    def exists(self, path: str) -> bool:
        return bool(self._gfile.exists(path))

    def is_folder(self, path: str) -> bool:
        return bool(self._gfile.isdir(path))

    def open(self, path: str) -> IO[bytes]:
        stream: IO[bytes] = self._gfile.GFile(path, "rb")
        return stream

    def names(self, folder: str) -> list[str]:
        return list(self._gfile.listdir(folder))

    def walk(self, root: str) -> Iterator[tuple[str, str, list[str]]]:
        for folder, _, names in self._gfile.walk(root):
            run = posixpath.relpath(folder.rstrip("/"), root.rstrip("/"))
            yield folder, run, list(names)


def _remote(path: str) -> _Remote:
    # TensorFlow where it is installed (it alone knows gs:// and hdfs://), else
    # TensorBoard's stub (s3:// and whatever fsspec knows).
    from tensorboard.compat import tf

    try:
        gfile = tf.io.gfile
        gfile.exists(path)
    except Exception as error:
        raise ReadError(
            f"{path!r} cannot be opened ({error}). Install what its file system needs, "
            "or copy the folder to a local disk."
        ) from error
    return _Remote(gfile)
