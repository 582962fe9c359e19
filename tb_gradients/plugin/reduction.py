"""Reduce a matrix that is too large to send to the resolution of the picture.

In:  float32 [steps, variables].
Out: bytes, with as many levels as the picture has colours and fewer columns than steps.
Does not know about HTTP, runs or statistics.

A column stands for several neighbouring frames and keeps their smallest and largest value,
never a mean: one faulty step in a thousand must still be seen.
"""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import FloatArray

ByteArray = npt.NDArray[np.uint8]
Kind = Literal["linear", "log", "signed"]

KINDS: tuple[Kind, ...] = ("linear", "log", "signed")
HEADER = struct.Struct("<4I2f")
"""Kind, first frame, number of frames, columns; smallest and largest magnitude."""

MISSING, ZERO, FIRST = 0, 1, 2
"""Codes: not measured; exactly zero; the first of the codes that rise with the value."""
_STEPS = 255 - FIRST
_NEGATIVE_STEPS = 126
"""A signed scale has 2 ... 128 below zero and 129 ... 255 above: 126 steps each."""


def column_edges(frames: int, columns: int) -> npt.NDArray[np.int64]:
    """First frame of each column, and the number of frames as last: [columns + 1]."""
    columns = max(1, min(columns, frames))
    return np.arange(columns + 1, dtype=np.int64) * frames // columns


def extremes(values: FloatArray, columns: int) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest measured value of each column, both [columns, variables].

    NaN where a variable was measured at none of the column's frames.
    """
    if len(values) == 0:
        return values, values
    starts = column_edges(len(values), columns)[:-1]
    # fmin and fmax take the other value where one is NaN: what is measured counts.
    return np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)


def any_of(marks: ByteArray, columns: int) -> ByteArray:
    """The bits that any frame of the column has; uint8 [columns, variables]."""
    if len(marks) == 0:
        return marks
    starts = column_edges(len(marks), columns)[:-1]
    joined: ByteArray = np.bitwise_or.reduceat(marks, starts)
    return joined


def pack(values: FloatArray, columns: int, first: int, *, share: bool) -> bytes:
    """Header, then two planes of codes [variables, columns]: smallest and largest values.

    Each row of a plane is one variable over time, which is what compresses best.

    Args:
        values: [frames, variables] from frame `first` of the run on.
        columns: as many at most.
        share: the values lie in [0, 1].
    """
    low, high = extremes(values, columns)
    kind = _kind(values, share=share)
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
    least, most = (magnitudes.min(), magnitudes.max()) if magnitudes.size else (0.1, 1.0)
    if kind == "linear":
        least, most = 0.0, 1.0
    header = HEADER.pack(KINDS.index(kind), first, len(values), len(low), least, most)
    planes = [codes(part, kind, float(least), float(most)).T for part in (low, high)]
    return header + b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)


def _kind(values: FloatArray, *, share: bool) -> Kind:
    if share:
        return "linear"
    return "signed" if bool((values < 0).any()) else "log"


def codes(values: FloatArray, kind: Kind, least: float, most: float) -> ByteArray:
    """One byte per value; see ``HEADER`` for the scale and ``MISSING`` for the codes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "linear":
            depth = (values - least) / (most - least)
        else:
            span = np.log(most / least) if most > least else 1.0
            # The logarithm first: the ratio itself may be too large for float32.
            depth = (np.log(np.abs(values)) - np.log(least)) / span
        depth = np.clip(depth, 0, 1)
        if kind == "signed":
            near = np.round(depth * _NEGATIVE_STEPS)
            coded = np.where(values < 0, FIRST + _NEGATIVE_STEPS - near, 129 + near)
        else:
            coded = FIRST + np.round(depth * _STEPS)
        # 99.97 % is not all: only what is at the end of a share may get its code.
        if kind == "linear":
            coded = np.where((values < most) & (coded == 255), 254, coded)
    coded = np.where(np.isnan(values), MISSING, np.where(values == 0, ZERO, coded))
    packed: ByteArray = coded.astype(np.uint8)
    return packed
