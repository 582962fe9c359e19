"""The folder and the event file of a run, on whatever file system TensorFlow knows.

In:  the ``log_dir`` that the user gave; the step at which a run begins.
Out: the folder to write to, and an open file of records in it.
Does not know what is written.

For TensorBoard each folder is one run. So if a folder already holds a run, a new training gets a
new folder below it: ``run_2``, ``run_3`` and so on. A training that continues a run stays in its
folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import cast

import tensorflow as tf

from tb_gradients import schema
from tb_gradients.host.records import LocalRecords
from tb_gradients.host.writer import FILE_SUFFIX, RecordFile
from tb_gradients.proto import event_pb2


def open_records(path: str) -> RecordFile:
    """A new file of TFRecords, on whatever file system."""
    if "://" not in path:
        return LocalRecords(path)
    return cast(RecordFile, tf.io.TFRecordWriter(path))


class LogDirError(OSError):
    """The log folder is not writable; the message says what to do."""


def choose_folder(log_dir: str | os.PathLike[str]) -> str:
    """The folder to write to, absolute: ``log_dir``, or one below it if another program writes
    there.

    TensorBoard's Python loader follows only the last of several live event files in a folder, so
    the monitor never shares a folder.

    Raises:
        LogDirError: the folder cannot be made or written to.
    """
    folder = os.fspath(log_dir)
    if not folder:
        raise LogDirError("log_dir is empty; give a folder such as 'logs/run1'")
    if "://" not in folder:
        folder = os.path.abspath(folder)  # the working directory may change during training
    try:
        tf.io.gfile.makedirs(folder)
        names = tf.io.gfile.listdir(folder)
        if any("tfevents" in n and not n.endswith(FILE_SUFFIX) for n in names):
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


@contextlib.contextmanager
def claimed(folder: str, step: int, *, taken: bool) -> Iterator[str]:
    """The folder for a run that begins at a step: this one, or a new one below it.

    Within the context the run must open its event file, by which others see it from then on. Two
    processes that start at the same time see each other's claims, so no run hides the other.

    Args:
        taken: whether another monitor of this process is writing to the folder now.
    """
    me = f"{socket.gethostname()}.{os.getpid()}"
    claim = f"{folder}/{_CLAIM}{me}"
    with tf.io.gfile.GFile(claim, "w") as file:
        file.write("")
    try:
        names = tf.io.gfile.listdir(folder)
        others = [n for n in names if n.startswith(_CLAIM) and n != f"{_CLAIM}{me}"]
        runs = [n for n in names if n.endswith(FILE_SUFFIX)]
        begins_anew = bool(runs) and step == 0
        if others or taken or begins_anew or any(_is_being_written(name) for name in runs):
            yield _new_folder(folder)
        else:
            yield folder
    finally:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(claim)


_CLAIM = ".tb_gradients_claim."


def _is_being_written(name: str) -> bool:
    """Whether the process that wrote an event file is another one on this machine and still
    runs."""
    host, _, process = name.removesuffix(FILE_SUFFIX).rpartition(".")
    if not host.endswith(f".{socket.gethostname()}") or not process.isdigit():
        return False
    if int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)  # signal 0 only checks
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True


def _new_folder(folder: str) -> str:
    """A new folder below this one. It is created here: only one process can create it."""
    for number in itertools.count(2):
        path = f"{folder}/run_{number}"
        if "://" not in path:
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            return path
        if not tf.io.gfile.exists(path):
            tf.io.gfile.makedirs(path)
            return path
    raise AssertionError("unreachable")


_HEADER = struct.Struct("<QI")
_CHECKSUM_BYTES = 4


def steps_in(folder: str) -> int:
    """How many steps the newest run in a folder has made, as far as its event file shows."""
    names = [n for n in tf.io.gfile.listdir(folder) if n.endswith(FILE_SUFFIX)]
    last = 0
    if not names:
        return last
    with tf.io.gfile.GFile(f"{folder}/{max(names)}", "rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, _ = _HEADER.unpack(header)
            record = file.read(length + _CHECKSUM_BYTES)
            if len(record) < length + _CHECKSUM_BYTES:
                break
            last = max(last, event_pb2.Event.FromString(record[:length]).step + 1)
    return last
