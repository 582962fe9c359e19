"""Read runs straight from TensorBoard event files: every frame, no sampling.

In:  a log directory, local or behind a scheme such as "gs://".
Out: ``RunData`` per run, a run being a folder with event files that hold our tags.
Does not know about rules. Does not import TensorBoard or TensorFlow for local folders.

TensorBoard's ``EventFileLoader`` is not used, because it imports TensorFlow if that is installed
(seconds), computes checksums at 5 MB/s otherwise, stops at the first damaged record, and allocates
as much memory as a record claims. A TFRecord file can be read in one loop::

    uint64 length | uint32 masked CRC of length | data | uint32 masked CRC of data
"""

from __future__ import annotations

import dataclasses
import math
import os
import posixpath
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from tb_gradients import schema
from tb_gradients.crc32c import masked_crc32c
from tb_gradients.frames import MOST_DIMENSIONS, FloatArray, FormatError
from tb_gradients.proto import event_pb2
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
from tb_gradients.reading.on_disk import Place
from tb_gradients.reading.source import HistogramFrame, ReadError, RunData

_OUR_SUFFIX = f".{schema.PLUGIN_NAME}"  # of every file that our writer makes
_EVENT_FILE_MARK = "tfevents"  # as TensorBoard decides (io_wrapper.IsTensorFlowEventsFile)
_OUR_PREFIX = f"{schema.PLUGIN_NAME}/".encode()
_OUR_TAGS = tuple(tag.encode() for tag in schema.TAGS)
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")

LONGEST_RECORD = 1 << 28
"""Bytes: a frame of two million variables. TensorBoard's fast loader has the same limit."""

_AT_ONCE = 1 << 20
_DT_FLOAT, _DT_STRING = 1, 7


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

    def __reduce__(self) -> tuple[type[EventFileSource], tuple[str]]:
        """Another process opens the folder again."""
        return type(self), (self._logdir,)

    def runs(self) -> list[str]:
        """Folders with one of our records, or with one of our files that is damaged or cannot be
        opened; sorted, "." first.
        """
        return sorted(
            (
                run
                for folder, run, names in self._files.walk(self._logdir)
                if self._holds_ours(_paths(folder, names))
            ),
            key=lambda run: (run != ".", run),
        )

    def read(self, run: str, *, on_disk: bool = False) -> RunData:
        """All frames of a run; damage is skipped and reported in ``RunData.errors``.

        Args:
            on_disk: the numbers stay in the files, and are read when they are asked for: a run of
                any size then takes little memory. See ``FramesOnDisk``.

        Raises:
            ReadError: no such run, or one written in a newer format.
        """
        found = self._values(run, on_disk)
        return assemble(
            run,
            open_file=self._files.open,
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

    def size(self, run: str) -> int:
        """Bytes of a run's event files, as far as that is known at once; 0 if it is not."""
        folder = self._folder(run)
        return sum(self._files.size(path) for path in _paths(folder, self._files.names(folder)))

    def _folder(self, run: str) -> str:
        folder = self._logdir if run == "." else posixpath.join(self._logdir, run)
        if not self._files.is_folder(folder):
            raise ReadError(f"There is no run {run!r} below {self._logdir!r}.")
        return folder

    def _values(self, run: str, on_disk: bool = False) -> _Found:
        folder = self._folder(run)
        found = _Found()
        for path in _paths(folder, self._files.names(folder)):
            name = posixpath.basename(path)
            refused: list[Exception] = []
            for position, record in self._records(path, found.errors):
                try:
                    where = (path, position) if on_disk else None
                    found.add_event(run, record, name, where)
                except ReadError:
                    raise
                except Exception as error:  # the checksum holds, so it was written like this
                    refused.append(error)
            if refused:
                found.errors.append(
                    f"{name}: records left out: {len(refused)}. The first is no event of ours: "
                    f"{refused[0]}."
                )
        return found

    def _holds_ours(self, files: list[str]) -> bool:
        for path in files:
            errors: list[str] = []
            if any(True for _ in self._records(path, errors)):
                return True
            if errors and path.endswith(_OUR_SUFFIX):  # `read` reports it
                return True
        return False

    def _records(self, path: str, errors: list[str]) -> Iterator[tuple[int, bytes]]:
        try:
            if not path.endswith(_OUR_SUFFIX):
                with self._files.open(path) as stream:
                    if not _mentions_us(stream):
                        return
            with self._files.open(path) as stream:
                yield from our_records(stream, posixpath.basename(path), errors)
        except OSError as error:  # removed or locked in the meantime: the other files still count
            errors.append(f"{posixpath.basename(path)} could not be read: {error}.")


def _paths(folder: str, names: Iterable[str]) -> list[str]:
    """The event files among the names, oldest first: their names begin with the time."""
    return [posixpath.join(folder, name) for name in sorted(names) if _EVENT_FILE_MARK in name]


def our_records(stream: IO[bytes], name: str, errors: list[str]) -> Iterator[tuple[int, bytes]]:
    """The records of an event file that mention one of our tags, and where each begins.

    A record cut short at the end is normal (the writer is still writing, or was killed) and
    ends the file without an error. A record whose checksum is wrong is skipped; one whose *length*
    is wrong, or beyond ``LONGEST_RECORD``, ends the file, because nothing says where the next one
    starts. Both are added to ``errors``. Other people's records are skipped unparsed and unchecked.
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
        if length > LONGEST_RECORD:
            errors.append(
                f"{name} has a record of {length} bytes at byte {position}; what follows was "
                "not read."
            )
            break
        body = _read(stream, length + _CHECKSUM.size)
        if len(body) < length + _CHECKSUM.size:
            break
        record = body[:length]
        if _is_ours(record):
            if masked_crc32c(record) == _CHECKSUM.unpack(body[length:])[0]:
                yield position + _HEADER.size, record
            else:
                damaged.append(position)
        position += _HEADER.size + len(body)
    if damaged:
        errors.append(f"{name} is damaged at byte {damaged[0]}; records left out: {len(damaged)}.")


def _mentions_us(stream: IO[bytes]) -> bool:
    """Whether any of our tags may be in a file: most files in a log folder are other people's, and
    may hold gigabytes in millions of records."""
    end = b""
    while part := stream.read(_AT_ONCE):
        if _OUR_PREFIX in end + part[: len(_OUR_PREFIX)] or _OUR_PREFIX in part:
            return True
        end = part[-len(_OUR_PREFIX) :]
    return False


def _read(stream: IO[bytes], size: int) -> bytes:
    """Up to ``size`` bytes, without allocating memory for bytes that do not exist."""
    parts = []
    while size > 0 and (part := stream.read(min(size, _AT_ONCE))):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_ours(record: bytes) -> bool:
    return _OUR_PREFIX in record and any(tag in record for tag in _OUR_TAGS)


@dataclasses.dataclass
class _Found:
    """Our values of one run, by tag, in the order of writing."""

    tables: list[Message] = dataclasses.field(default_factory=list)
    frames: list[Point] = dataclasses.field(default_factory=list)
    contexts: list[Point] = dataclasses.field(default_factory=list)
    verdicts: list[Message] = dataclasses.field(default_factory=list)
    lanes: list[Message] = dataclasses.field(default_factory=list)
    histograms: list[HistogramFrame] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)

    def add_event(
        self, run: str, record: bytes, origin: str, where: tuple[str, int] | None = None
    ) -> None:
        """Add the values of an event.

        Args:
            where: the file, and the place in it where the record begins: the numbers of a frame are
                left there.

        Raises:
            ReadError: it was written in a newer format.
            Exception: it is not an event, or its values are impossible.
        """
        event = event_pb2.Event.FromString(record)
        check_date(event.step, event.wall_time)
        for value in event.summary.value:
            if value.tag not in schema.TAGS or not value.HasField("tensor"):
                continue
            check_metadata(run, value.metadata.plugin_data.content)
            array = _array(value.tensor)
            if value.tag == schema.TAG_FRAMES:
                point = point_of(event.step, event.wall_time, array, origin)
                if where is not None and array.ndim == 2:
                    place = _place(where, record, value.tensor.tensor_content, array)
                    point = dataclasses.replace(point, value=place or array)
                self.frames.append(point)
            elif value.tag == schema.TAG_CONTEXT:
                self.contexts.append(point_of(event.step, event.wall_time, array, origin))
            elif value.tag == schema.TAG_HISTOGRAMS:
                packed = bytes_of(array)
                self.histograms.append(HistogramFrame(event.step, event.wall_time, packed))
            elif value.tag == schema.TAG_TABLE:
                self.tables.append(Message(bytes_of(array), origin))
            elif value.tag == schema.TAG_LANE:
                self.lanes.append(Message(bytes_of(array), origin))
            else:
                self.verdicts.append(Message(bytes_of(array), origin))


def _place(where: tuple[str, int], record: bytes, content: bytes, array: Any) -> Place | None:
    """Where the numbers of a frame are, if they lie in the file as they are in memory."""
    at = record.find(content) if content else -1
    return None if at < 0 else Place.of(where[0], where[1] + at, array)


def _array(tensor: event_pb2.Tensor) -> Any:
    """A tensor as an array, which takes no more memory than it takes in the file.

    (A tensor may hold one number and a shape of any size to be filled with it. Our writer never
    does this; ``tensorboard.util.tensor_util`` would fill it.)

    Raises:
        FormatError: not of float32 or bytes, or of another number of elements than its shape's.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim[: MOST_DIMENSIONS + 1])
    values: Any
    if tensor.dtype == _DT_FLOAT and len(tensor.tensor_content) % 4 == 0:
        content = np.frombuffer(tensor.tensor_content, "<f4")
        values = content if content.size else np.array(tensor.float_val, "<f4")
    elif tensor.dtype == _DT_STRING:
        values = np.array(tensor.string_val, object)
    else:
        raise FormatError(f"a tensor of type {tensor.dtype}")
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0 or math.prod(shape) != values.size:
        raise FormatError("a tensor whose shape does not fit its elements")
    array: FloatArray = values.reshape(shape)
    return array


# --- File systems ----------------------------------------------------------------------------


class _Local:
    """Local folders through the standard library, which needs no slow import."""

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def open(self, path: str) -> IO[bytes]:
        # Opening a named pipe would wait for its writer, and a device may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is not a regular file")
        return Path(path).open("rb", buffering=1 << 20)

    def size(self, path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError:
            return 0

    def names(self, folder: str) -> list[str]:
        return [path.name for path in Path(folder).iterdir()]

    def walk(self, root: str) -> Iterator[tuple[str, str, list[str]]]:
        """Folder, run name and names of files, for the root and every folder below it."""
        os.scandir(root).close()  # `walk` ignores folders that it may not list
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
    """Other file systems through the module that TensorBoard uses for them."""

    def __init__(self, gfile: Any) -> None:
        self._gfile = gfile

    def exists(self, path: str) -> bool:
        return bool(self._gfile.exists(path))

    def is_folder(self, path: str) -> bool:
        return bool(self._gfile.isdir(path))

    def open(self, path: str) -> IO[bytes]:
        stream: IO[bytes] = self._gfile.GFile(path, "rb")
        return stream

    def size(self, path: str) -> int:
        return 0  # a request for each file

    def names(self, folder: str) -> list[str]:
        return list(self._gfile.listdir(folder))

    def walk(self, root: str) -> Iterator[tuple[str, str, list[str]]]:
        for folder, _, names in self._gfile.walk(root):
            run = posixpath.relpath(folder.rstrip("/"), root.rstrip("/"))
            yield folder, run, list(names)


def _remote(path: str) -> _Remote:
    # TensorFlow if it is installed (only it supports gs:// and hdfs://), else TensorBoard's
    # stub (s3:// and all that fsspec supports).
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
