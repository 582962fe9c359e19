"""The dense lane as bytes.

In:  a ``Lane``, or the bytes of a ``LanePack`` from an event file.
Out: the other of them.
Does not know about TensorBoard, files or rules.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import LARGEST_COUNT, LARGEST_STEP, FormatError, inflated
from tb_gradients.lane import (
    COUNTS,
    FINITE_LOSSES,
    MEAN,
    MOST_LOSSES,
    CodeArray,
    FloatArray,
    Lane,
    NamedLoss,
)
from tb_gradients.proto import gradient_health_pb2 as pb


def pack(lane: Lane, table_id: int) -> bytes:
    """A serialized ``LanePack`` of one or more blocks, one behind the other without a gap."""
    single = bool((lane.spans == 1).all() and (lane.due == lane.first).all())
    codes = [lane.low] if single else [lane.low, lane.high]
    message = pb.LanePack(
        table_id=table_id,
        first_step=int(lane.first[0]),
        spans=[] if single else lane.spans.tolist(),
        behind=[] if single else (lane.due - lane.first - lane.spans + 1).tolist(),
        blocks=len(lane),
        norms=_compressed(b"".join(_planes(some) for some in codes)),
        marks=_compressed(_columns(lane.marks)) if (lane.marks.any()) else b"",
        counts=_compressed(_columns(lane.counts.astype("<u4"))),
        losses=_compressed(_columns(_losses(lane.losses, single)))
        if lane.counts[:, FINITE_LOSSES].any()
        else b"",
    )
    if lane.named:
        message.loss_names.extend(one.name for one in lane.named)
        counts = b"".join(_columns(one.counts.astype("<u4")) for one in lane.named)
        losses = b"".join(_columns(_losses(one.losses, single)) for one in lane.named)
        message.named_counts, message.named_losses = _compressed(counts), _compressed(losses)
    return message.SerializeToString()


def unpack(data: bytes) -> tuple[int, Lane]:
    """The table id and the blocks of what ``pack`` wrote.

    Raises:
        FormatError: not a lane pack.
    """
    message = pb.LanePack()
    try:
        message.ParseFromString(data)
        _check_steps(message)
        count, single = message.blocks, not message.spans
        counts = _from_columns(message.counts, "<u4", count, COUNTS).astype(np.int64)
        codes = _from_planes(inflated(message.norms), count, 1 if single else 2)
        variables = codes[0].shape[1]
        spans = np.ones(count, np.int64) if single else np.array(message.spans, np.int64)
        first = message.first_step + np.cumsum(spans) - spans
        behind = np.zeros(count, np.int64) if single else np.array(message.behind, np.int64)
        marks = np.zeros((count, variables), np.uint8)
        if message.marks:
            marks = _from_columns(message.marks, "u1", count, variables)
        losses = np.full((count, 3), np.nan, np.float32)
        if message.losses:
            losses[:] = _from_columns(message.losses, "<f4", count, 1 if single else 3)
        due = first + spans - 1 + behind
        named = _named(message, count, 1 if single else 3)
        lane = Lane(first, spans, due, codes[0], codes[-1], marks, counts, losses, named)
        arrays = (getattr(lane, f.name) for f in dataclasses.fields(lane) if f.name != "named")
        if not all(len(array) == count for array in arrays):
            raise ValueError("its parts are of different lengths")
    except Exception as error:  # the protobuf runtimes disagree on the exception's module
        raise FormatError(f"unreadable lane: {error}") from error
    return message.table_id, lane


def _check_steps(message: pb.LanePack) -> None:
    """Raise ``FormatError`` for steps that cannot be."""
    if abs(message.first_step) > LARGEST_STEP:
        raise FormatError(f"it cannot begin at step {message.first_step}")
    if min(message.spans, default=1) < 1 or min(message.behind, default=0) < 0:
        raise FormatError("it has blocks without a step")
    if sum(message.spans) + sum(message.behind) > LARGEST_COUNT:
        raise FormatError("it has more steps than can be")


def _named(message: pb.LanePack, blocks: int, columns: int) -> tuple[NamedLoss, ...]:
    """The first ``MOST_LOSSES`` of the losses with names; one name stands for one of them."""
    names = list(message.loss_names)
    if not names:
        return ()
    counts = _from_columns(message.named_counts, "<u4", blocks, 2 * len(names))
    losses = _from_columns(message.named_losses, "<f4", blocks, columns * len(names))
    found: dict[str, NamedLoss] = {}
    for i, name in enumerate(names):
        if name not in found and len(found) < MOST_LOSSES:
            one = NamedLoss.unknown(name, blocks)
            one.counts[:] = counts[:, 2 * i : 2 * i + 2]
            one.losses[:] = losses[:, columns * i : columns * (i + 1)]
            found[name] = one
    return tuple(found.values())


def _losses(losses: FloatArray, single: bool) -> FloatArray:
    return losses[:, MEAN:] if single else losses


def _compressed(data: bytes) -> bytes:
    return zlib.compress(data, 1)


def _columns(array: npt.NDArray[Any]) -> bytes:
    """Column after column: what changes little from step to step lies together."""
    return bytes(array.T.tobytes())


def _from_columns(data: bytes, dtype: str, rows: int, columns: int) -> Any:
    flat = np.frombuffer(inflated(data), dtype)
    return flat.reshape(columns, rows).T.astype(dtype.lstrip("<"))


def _planes(codes: CodeArray) -> bytes:
    """Differences from step to step, variable after variable: all high bytes, then all low ones."""
    differences = np.diff(codes, axis=0, prepend=np.uint16(0)).T
    pairs = np.ascontiguousarray(differences, "<u2").view(np.uint8).reshape(-1, 2)
    high, low = pairs[:, 1], pairs[:, 0]
    return high.tobytes() + low.tobytes()


def _from_planes(data: bytes, rows: int, matrices: int) -> list[CodeArray]:
    parts = np.frombuffer(data, np.uint8).reshape(matrices, 2, -1, rows).astype(np.uint16)
    differences = (parts[:, 0] << 8) | parts[:, 1]
    codes = np.cumsum(differences, axis=2, dtype=np.uint16)
    return [np.ascontiguousarray(matrix.T) for matrix in codes]
