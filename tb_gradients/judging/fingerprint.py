"""What a verdict depends on, as a short text: who has the same one would judge the same.

In:  rules with their thresholds; the variable tables, steps and lane blocks that they were shown.
Out: a text that changes when one of them does; "" where that cannot be known.
Does not know what was found. The numbers of frames have checksums of their own in the file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import inspect
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.judging.base import Rule

PARTS = ("flags.py", "frames.py", "inert.py", "lane.py", "schema.py", "judging", "rules")
"""Files and folders of the package that decide what is found, and in which words."""

_FRAME = struct.Struct("<2q")
NO_LANE = -1
"""Blocks of a frame that came without a lane, which is not a lane without new blocks."""


class Shown:
    """A checksum of what an engine was shown, frame by frame."""

    def __init__(self) -> None:
        self.checksum = 0
        self._table: VariableTable | None = None
        self._described = b""

    def add(self, table: VariableTable, frame: Frame) -> None:
        """The next frame."""
        blocks = NO_LANE if frame.lane is None else len(frame.lane)
        self._add(table, _FRAME.pack(frame.step, blocks))

    def add_recording(self, recording: Recording) -> None:
        """The frames of a recording, each with the lane that belongs to it."""
        if not len(recording):
            return
        blocks = np.full(len(recording), NO_LANE, np.int64)
        if recording.lane is not None:
            blocks = np.diff(recording.lane_ends, prepend=0)
        frames = np.stack([recording.steps, blocks], axis=1).astype("<i8")
        self._add(recording.table, frames.tobytes())

    def _add(self, table: VariableTable, frames: bytes) -> None:
        if table is not self._table:
            self._table, described = table, table.to_bytes()
            if described != self._described:
                self._described = described
                self.checksum = zlib.crc32(described, self.checksum)
        self.checksum = zlib.crc32(frames, self.checksum)

    def fingerprint(self, rules: Sequence[Rule]) -> str:
        """Of the verdict of these rules on what was shown."""
        judged_by = of_rules(rules)
        return f"{judged_by}-{self.checksum:08x}" if judged_by else ""


def of_recordings(recordings: Iterable[Recording], rules: Sequence[Rule]) -> str:
    """The fingerprint of ``judge(recordings, rules)``, without judging anything."""
    shown = Shown()
    for recording in recordings:
        shown.add_recording(recording)
    return shown.fingerprint(rules)


def of_rules(rules: Iterable[Rule]) -> str:
    """Of the rules, their thresholds, and the code that applies them; "" if it cannot be read."""
    known = _of_package()
    digest = hashlib.sha256(known.encode())
    for rule in rules:
        module = type(rule).__module__
        thresholds = {name: getattr(rule, name) for name in sorted(rule.thresholds())}
        digest.update(f"{module}.{type(rule).__qualname__} {thresholds}\n".encode())
        if not module.startswith("tb_gradients."):
            try:
                digest.update(inspect.getsource(sys.modules[module]).encode())
            except (OSError, TypeError, KeyError):
                return ""
    return digest.hexdigest()[:16] if known else ""


@functools.cache
def _of_package() -> str:
    digest = hashlib.sha256()
    package = importlib.resources.files("tb_gradients")
    for part in PARTS:
        place = package / part
        files = [place] if place.is_file() else sorted(place.iterdir(), key=lambda file: file.name)
        sources = [file for file in files if file.name.endswith(".py")]
        if not sources:  # compiled modules alone
            return ""
        for file in sources:
            digest.update(file.name.encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()
