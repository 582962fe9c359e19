"""A file of records is what TensorFlow would have written, and always ends with a whole one."""

from __future__ import annotations

import pathlib
import resource

import pytest
import tensorflow as tf

from tb_gradients.host.records import LocalRecords


def test_the_bytes_are_those_of_tensorflow(tmp_path: pathlib.Path) -> None:
    records = [b"", b"a", bytes(range(256)) * 300]
    ours, theirs = LocalRecords(str(tmp_path / "ours")), tf.io.TFRecordWriter(f"{tmp_path}/theirs")
    for record in records:
        ours.write(record)
        theirs.write(record)
    ours.close()
    ours.close()
    theirs.close()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    with pytest.raises(ValueError, match="closed"):
        ours.write(b"")


def test_a_record_that_the_disk_does_not_take_leaves_no_part_of_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "records"
    records = LocalRecords(str(path))
    records.write(bytes(100))
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            records.write(bytes(100))
        assert path.read_bytes() == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    records.write(b"again")
    records.close()
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert found == [bytes(100), b"again"]
