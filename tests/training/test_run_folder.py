"""A run claims its folder once, before its first frame, and hides no run that is there."""

from __future__ import annotations

import logging
import pathlib
import socket

import pytest

from tb_gradients.training.files import LogDirError
from tb_gradients.training.run_folder import RunFolder


def with_a_run(folder: pathlib.Path) -> pathlib.Path:
    name = f"events.out.tfevents.1.5.{socket.gethostname()}.0.gradient_health"
    (folder / name).write_bytes(b"")
    return folder


def test_an_empty_folder_is_that_of_the_run(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path / "logs")
    with folder.claim(0, taken=False):
        assert folder.path == str(tmp_path / "logs")


@pytest.mark.parametrize(
    ("expected", "level"), [(False, logging.WARNING), (True, logging.INFO)], ids=["alone", "tuner"]
)
def test_beside_another_run_a_new_folder_is_made_and_named_in_the_log(
    expected: bool, level: int, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(with_a_run(tmp_path))
    folder.expects_others = expected
    with caplog.at_level(logging.INFO, "tb_gradients"), folder.claim(0, taken=False):
        pass
    assert folder.path == str(tmp_path / "run_2")
    (record,) = caplog.records
    assert record.levelno == level
    assert folder.path in record.getMessage()
    assert folder.log_dir == str(tmp_path)


def test_a_folder_is_claimed_once(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.claim(0, taken=False):
        with_a_run(tmp_path)
    with folder.claim(0, taken=False):
        assert folder.path == str(tmp_path)


def test_a_claim_that_fails_is_made_again(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(ZeroDivisionError), folder.claim(0, taken=False):
        raise ZeroDivisionError
    with_a_run(tmp_path)
    with folder.claim(0, taken=False):
        assert folder.path == str(tmp_path / "run_2")


def test_what_cannot_be_written_to_is_an_error_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogDirError):
        RunFolder(tmp_path / "file" / "logs")
