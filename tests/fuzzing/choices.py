"""Random choices that bytes make, so that a fuzzer that changes bytes changes choices.

In:  bytes.
Out: numbers and items, the same for the same bytes; the first of all once no byte is left.
Does not know what is chosen.
"""

from __future__ import annotations

from typing import Any


class Choices:
    """What ``mutations.Random`` asks for."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def random(self) -> float:
        """At least 0, and less than 1."""
        return self._number(2) / 0x10000

    def randrange(self, stop: int) -> int:
        """At least 0, and less than ``stop``."""
        return self._number((stop.bit_length() + 7) // 8) % stop

    def choice(self, items: Any) -> Any:
        return items[self.randrange(len(items))]

    def _number(self, size: int) -> int:
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "big")
