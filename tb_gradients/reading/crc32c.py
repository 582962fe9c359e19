"""The checksum where it was before the writer needed it, too: see ``tb_gradients.crc32c``."""

from __future__ import annotations

from tb_gradients.crc32c import crc32c, masked_crc32c

__all__ = ["crc32c", "masked_crc32c"]
