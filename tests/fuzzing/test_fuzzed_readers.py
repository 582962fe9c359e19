"""Nothing that a file or an address says makes a reader fail in another way than it documents.

``benchmarks/fuzzing.py`` tries the same a million times.
"""

from __future__ import annotations

import logging
import pathlib
import random
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mutations
import readers
from choices import Choices

from tb_gradients import schema
from tb_gradients.frames import FormatError
from tb_gradients.proto import gradient_health_pb2 as pb

INPUTS = {
    "table": 1500,
    "histograms": 2500,
    "lane": 2500,
    "verdict": 2000,
    "metadata": 1000,
    "records": 300,
    "folder": 40,
    "data over HTTP": 60,
    "questions over HTTP": 300,
}
"""How many changed inputs each reader gets here."""


@pytest.mark.slow
@pytest.mark.parametrize("reader", readers.ALL)
def test_a_changed_input_is_read_or_refused(reader: str) -> None:
    seed = st.integers(0, 2**64 - 1)
    patient = settings(
        max_examples=INPUTS[reader],
        deadline=None,
        database=None,
        derandomize=True,  # a build is red for what was changed; the benchmark looks further
        suppress_health_check=list(HealthCheck),
    )

    @patient
    @given(seed)
    def try_it(seed: int) -> None:
        readers.ALL[reader](random.Random(seed))

    logging.disable(logging.CRITICAL)  # what the plugin writes to TensorBoard's log
    try:
        try_it()
    finally:
        logging.disable(logging.NOTSET)


KEPT = sorted((pathlib.Path(__file__).parent / "corpus").glob("*/*"))


def test_every_kept_input_is_read_or_refused() -> None:
    """Those with which ``benchmarks/guided_fuzzing.py`` has reached new lines."""
    assert KEPT
    named = {name.replace(" ", "_"): read for name, read in readers.ALL.items()}
    for path in KEPT:
        named[path.parent.name](Choices(path.read_bytes()))


def test_every_reader_is_tried() -> None:
    assert set(INPUTS) == set(readers.ALL)


def test_an_input_is_really_changed() -> None:
    """A fuzzer that changes nothing finds nothing."""
    for name, message in readers.MESSAGES.items():
        before = message.SerializeToString()
        made = {mutations.changed(random.Random(i), message).SerializeToString() for i in range(50)}
        assert len(made - {before}) > (1 if name == "metadata" else 20), name
    files = {mutations.changed_file(random.Random(i), readers.EVENTS) for i in range(20)}
    assert len(files) > 15


def test_a_reader_that_trusts_a_size_is_found(monkeypatch: Any) -> None:
    def trusting(data: bytes) -> tuple[int, Any]:
        try:
            message = pb.HistogramPack.FromString(data)
            counts = np.frombuffer(zlib.decompress(message.counts), np.uint16)
        except Exception as error:
            raise FormatError("refused") from error
        return message.table_id, counts.reshape(-1, schema.HISTOGRAM_BINS)

    monkeypatch.setattr(readers, "unpack_histograms", trusting)
    with pytest.raises(ValueError, match="reshape"):
        any(map(readers.read_histograms, map(random.Random, range(500))))
