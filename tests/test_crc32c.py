"""The fast checksum is the slow one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as reference

from tb_gradients import crc32c as module
from tb_gradients.crc32c import crc32c, masked_crc32c


@pytest.fixture(autouse=True)
def _without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_library", lambda: None)


def test_the_check_value_of_the_standard_comes_out() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=700))
def test_it_agrees_with_tensorboards_loop_over_bytes(data: bytes) -> None:
    assert crc32c(data) == reference.crc32c(data)
    assert masked_crc32c(data) == reference.masked_crc32c(data)


@pytest.mark.parametrize(
    "length", [63, 64, 65, 127, 128, 192, 64 * 37, 64 * 64 - 1, 64 * 64 + 1, 64 * 1024 + 1]
)
def test_it_agrees_at_and_around_whole_blocks(length: int) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    assert crc32c(data[:length]) == reference.crc32c(data[:length])


def test_one_flipped_bit_changes_it() -> None:
    data = bytearray(range(256)) * 20
    before = crc32c(bytes(data))
    data[1234] ^= 1
    assert crc32c(bytes(data)) != before


def test_an_installed_library_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_library", lambda: lambda data: len(data))
    assert crc32c(b"123") == 3
