"""Inputs that are nearly right: messages, records and files with some of their parts changed.

In:  a source of random choices, and a valid input.
Out: a changed one.
Does not know which reader it is for, or what a right answer is.

A reader that gets random bytes refuses them at its first check. So a valid message is taken, and
some of its fields, found through its descriptor, get other values: those at the ends of their
range first. Of a compressed field the content is changed, and compressed again.
"""

from __future__ import annotations

import contextlib
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError

from tb_gradients import schema
from tb_gradients.crc32c import masked_crc32c
from tb_gradients.proto import gradient_health_pb2 as pb


class Random(Protocol):
    """What is used of ``random.Random``; Hypothesis has one that it can simplify."""

    def random(self) -> float: ...
    def randrange(self, stop: int) -> int: ...
    def choice(self, items: Any) -> Any: ...


INTEGERS = (
    0, 1, -1, 2, 3, 7, 64, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53,
    2**53 + 1, 2**61, 2**62, 2**63 - 1, -(2**63), 10**18,
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-38, 1e30, 3.4e38, -3.4e38, 2.0**24, 2.0**53, 1e300,
    math.nan, math.inf, -math.inf, -2.0, 1e18,
)  # fmt: skip
TEXTS = (
    "", "a", "dense/kernel", "dense_1/bias", "é" * 3, "x" * 300, "../../etc", "C:\\x", "=1+1",
    "\x00", "\x1b[31mred", "\u202egpj", "<script>alert(1)</script>", "]]>&amp;'\"", "a\nb", "{}",
    "`x`", "table_id", "gradient_norm", "window_steps", "relu",
    "critical", "warning", "info", "healthy",
)  # fmt: skip

_RANGES = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def changed(random: Random, message: Any, times: int = 1) -> Any:
    """A copy of a protobuf message in which some fields have other values."""
    copy = type(message).FromString(message.SerializeToString())
    for _ in range(times):
        _change(random, copy)
    return copy


def _change(random: Random, message: Any) -> None:
    field = random.choice(message.DESCRIPTOR.fields)
    name = field.name
    is_message = field.cpp_type == Field.CPPTYPE_MESSAGE
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, name)[random.choice(TEXTS)] = random.choice(TEXTS)
        return
    if hasattr(getattr(message, name), "append"):
        _change_list(random, getattr(message, name), field, is_message)
    elif not is_message:
        setattr(message, name, _value(random, field, getattr(message, name)))
    elif random.random() < 0.1:
        message.ClearField(name)
    else:
        _change(random, getattr(message, name))


def _change_list(random: Random, items: Any, field: Any, is_message: bool) -> None:
    what = random.randrange(5)
    at = random.randrange(len(items)) if len(items) else 0
    if what == 0 and len(items):
        del items[at]
    elif what == 1 and len(items):  # twice
        items.extend([items[at]])
    elif what == 2 and not is_message:
        items.append(_value(random, field, b"" if field.type == Field.TYPE_BYTES else 0))
    elif what == 3 and random.random() < 0.2:
        del items[:]
    elif len(items):
        if is_message:
            _change(random, items[at])
        else:
            items[at] = _value(random, field, items[at])
    elif is_message:
        items.add()


def _value(random: Random, field: Any, old: Any) -> Any:
    kind = field.cpp_type
    if field.type == Field.TYPE_BYTES:
        return changed_bytes(random, old)
    if kind == Field.CPPTYPE_STRING:
        return random.choice(TEXTS)
    if kind == Field.CPPTYPE_BOOL:
        return not old
    if kind in (Field.CPPTYPE_FLOAT, Field.CPPTYPE_DOUBLE):
        return random.choice(FLOATS)
    if kind == Field.CPPTYPE_ENUM:
        return random.randrange(30)
    low, high = _RANGES[kind]
    number = old + random.choice((-1, 1)) if random.random() < 0.3 else random.choice(INTEGERS)
    return min(max(number, low), high)


def changed_bytes(random: Random, data: bytes) -> bytes:
    """Other bytes; of a zlib stream one with another content, mostly."""
    if random.random() < 0.7:
        try:
            content = zlib.decompress(data)
        except zlib.error:
            pass
        else:
            return zlib.compress(damaged(random, content), 1)
    return damaged(random, data)


def damaged(random: Random, data: bytes) -> bytes:
    """Bytes that are cut, lengthened, overwritten, or of which one bit is another."""
    what = random.randrange(6)
    at = random.randrange(len(data) + 1)
    if what == 0:
        return data[:at]
    if what == 1:
        return data + data[at:]
    if what == 2:
        return data[:at] + bytes(random.randrange(200)) + data[at:]
    if what == 3:
        return data[:at] + struct.pack("<f", random.choice(FLOATS[:10])) + data[at + 4 :]
    if what == 4 and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
    return data[:at] + b"\xff" * 8 + data[at + 8 :]


# --- Events -----------------------------------------------------------------------------------


def changed_event(random: Random, event: Any) -> Any:
    """An event with other contents: of the message inside one of its tensors, or of its own."""
    copy = type(event).FromString(event.SerializeToString())
    values = copy.summary.value
    if not len(values) or random.random() < 0.3:
        _change(random, copy)
        return copy
    value = values[random.randrange(len(values))]
    inside = MESSAGES.get(value.tag)
    if inside is None and value.tensor.tensor_content:
        value.tensor.tensor_content = _changed_floats(random, value.tensor.tensor_content)
    elif inside is None or not len(value.tensor.string_val):
        _change(random, copy)
    else:
        content = value.tensor.string_val[0]
        message = inside()
        with contextlib.suppress(DecodeError):  # it was damaged before
            message.ParseFromString(content)
            content = changed(random, message).SerializeToString()
        if random.random() < 0.2:
            content = damaged(random, content)
        value.tensor.string_val[0] = content
    return copy


def _changed_floats(random: Random, content: bytes) -> bytes:
    numbers = bytearray(content)
    for _ in range(1 + random.randrange(3)):
        at = 4 * random.randrange(len(numbers) // 4)
        numbers[at : at + 4] = struct.pack("<f", _as_float32(random.choice(FLOATS)))
    return bytes(numbers)


def _as_float32(number: float) -> float:
    return math.copysign(math.inf, number) if abs(number) > 3.41e38 else number


MESSAGES = {
    schema.TAG_TABLE: pb.VariableTable,
    schema.TAG_HISTOGRAMS: pb.HistogramPack,
    schema.TAG_FLAGS: pb.FlagList,
    schema.TAG_LANE: pb.LanePack,
}


# --- Files ------------------------------------------------------------------------------------


def changed_file(random: Random, events: Sequence[Any]) -> bytes:
    """An event file of which some events, records or bytes are others."""
    made = list(events)
    for _ in range(1 + random.randrange(3)):
        at = random.randrange(len(made))
        what = random.randrange(10)
        if what == 0:
            del made[at]
        elif what == 1:
            made.insert(random.randrange(len(made) + 1), made[at])
        elif what < 9:
            made[at] = changed_event(random, made[at])
        if not made:
            return b""
    records = [record(event.SerializeToString()) for event in made]
    if random.random() < 0.2:
        at = random.randrange(len(records))
        length = random.choice((0, 1, 2**20, 2**31, 2**40, 2**63, 2**64 - 1))
        records[at] = record(made[at].SerializeToString(), length)
    data = b"".join(records)
    return damaged(random, data) if random.random() < 0.2 else data


def record(data: bytes, length: int | None = None) -> bytes:
    """Bytes in a TFRecord's frame, which may give another length; its checksums are right."""
    header = struct.pack("<Q", len(data) if length is None else length)
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (header, data)]
    return header + checksums[0] + data + checksums[1]
