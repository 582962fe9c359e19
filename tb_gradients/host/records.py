"""A file of TFRecords on a local disk, written without holding the interpreter.

In:  byte strings.
Out: a file that ends with a whole record, whatever happens to the disk or the process.
Does not know what is in a record. The format is in ``reading/event_files.py``.

TensorFlow's writer would do, but its ``flush`` keeps Python's interpreter locked while the disk
takes its time: with a disk that stalls the training would stall, too.
"""

from __future__ import annotations

import contextlib
import os
import struct

from tb_gradients.crc32c import masked_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


class LocalRecords:
    """Appends to a new file; each record is handed to the file system at once."""

    def __init__(self, path: str) -> None:
        """Raises ``OSError`` if the file cannot be made."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        self._file: int | None = os.open(path, flags, 0o666)
        self._end = 0

    def write(self, record: bytes) -> None:
        """Append one record.

        Raises:
            OSError: the disk does not take it. The file ends with the record before it.
        """
        if self._file is None:
            raise ValueError("the file is closed")
        length = _LENGTH.pack(len(record))
        checksums = [_CHECKSUM.pack(masked_crc32c(part)) for part in (length, record)]
        left = memoryview(b"".join([length, checksums[0], record, checksums[1]]))
        size = len(left)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
                os.lseek(self._file, self._end, os.SEEK_SET)
            raise
        self._end += size

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Close the file; may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.close()
