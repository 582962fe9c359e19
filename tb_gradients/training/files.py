"""Choose the folder of a run, and open its event file, on whatever file system TensorFlow knows.

In:  the ``log_dir`` that the user gave.
Out: the folder to write to, and an open file of records in it.
Does not know what is written.
"""

from __future__ import annotations

import os
from typing import cast

import tensorflow as tf

from tb_gradients import schema
from tb_gradients.host.writer import FILE_SUFFIX, RecordFile


def open_records(path: str) -> RecordFile:
    """A new file of TFRecords."""
    return cast(RecordFile, tf.io.TFRecordWriter(path))


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
