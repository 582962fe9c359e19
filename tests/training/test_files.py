"""Each run has a separate folder, even if many processes begin there at once."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tb_gradients.training.files import claimed, steps_in

NAME = f"events.out.tfevents.1.5.{socket.gethostname()}.%d.gradient_health"


def folder_for(folder: pathlib.Path, step: int, *, taken: bool = False) -> str:
    with claimed(str(folder), step, taken=taken) as chosen:
        return os.path.relpath(chosen, folder)


def test_an_empty_folder_is_taken_as_it_is(tmp_path: pathlib.Path) -> None:
    assert folder_for(tmp_path, 0) == "."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "chosen"), [(0, "run_2"), (40, ".")], ids=["anew", "goes on"])
def test_a_folder_with_a_run_goes_to_who_goes_on_with_it(
    step: int, chosen: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / (NAME % os.getpid())).write_bytes(b"")

    assert folder_for(tmp_path, step) == chosen


def test_numbers_that_are_taken_are_passed_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / (NAME % os.getpid())).write_bytes(b"")
    (tmp_path / "run_2").mkdir()

    assert folder_for(tmp_path, 0) == "run_3"


def test_two_that_begin_at_once_do_not_share_a_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".tb_gradients_claim.elsewhere.7").write_bytes(b"")

    assert folder_for(tmp_path, 0) == "run_2"


def test_nor_do_two_monitors_of_one_process(tmp_path: pathlib.Path) -> None:
    assert folder_for(tmp_path, 40, taken=True) == "run_2"


def test_a_folder_in_which_another_process_writes_is_left_to_it(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / (NAME % other.pid)).write_bytes(b"")
        meanwhile = folder_for(tmp_path, 40)
        other.communicate(b"\n")

    assert meanwhile == "run_2"
    assert folder_for(tmp_path, 40) == "."


def test_of_a_folder_without_a_run_there_are_no_steps(tmp_path: pathlib.Path) -> None:
    assert steps_in(str(tmp_path)) == 0
