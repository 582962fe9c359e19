"""The demo's verdicts are right: each faulty case is given its rule, cause and variable, and
the healthy one is left alone; from the live engine and from the files alike. A second demo
shows the runs that are there; what cannot run is reported before anything is trained.
"""

from __future__ import annotations

import argparse
import pathlib
import socket
from collections.abc import Sequence

import pytest

import tb_gradients as tbg
from tb_gradients import demo


@pytest.mark.slow
@pytest.mark.parametrize("case", demo.CASES, ids=lambda case: case.name)
def test_each_case_is_given_the_right_verdict(case: demo.Case, tmp_path: pathlib.Path) -> None:
    flags = case.train(str(tmp_path / case.name))
    assert case.verdict_is_right(flags), [str(flag) for flag in flags]
    (run,) = tbg.load(tmp_path).runs
    assert tuple(run.flags) == tuple(flags)


def test_the_readme_shows_the_line_at_which_the_demo_divides_by_a_norm() -> None:
    lines = pathlib.Path(demo.__file__).read_text(encoding="utf-8").splitlines()
    [at] = [i for i, line in enumerate(lines, 1) if "/ tf.norm(" in line]
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    assert f"where     demo.py:{at}  {lines[at - 1].strip()}" in readme.read_text(encoding="utf-8")


def test_a_wrong_verdict_would_be_noticed() -> None:
    healthy, faulty = demo.CASES[0], demo.CASES[1]
    flag = tbg.Flag("dead_units", tbg.Severity.WARNING, ("a/kernel",), 0, 1, True, "")
    assert not healthy.verdict_is_right([flag])
    assert not faulty.verdict_is_right([])
    assert not faulty.verdict_is_right([flag])


def options(folder: pathlib.Path, *others: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(["--logdir", str(folder), *others])


def made_up(folder: pathlib.Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "events.out.tfevents.1").write_bytes(b"")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were trained into, by a demo of two cases that train nothing."""
    folders: list[str] = []

    def train(folder: str) -> Sequence[tbg.Flag]:
        folders.append(pathlib.Path(folder).name)
        return []

    cases = tuple(demo.Case(name, "a test", train) for name in ("one", "two"))
    monkeypatch.setattr(demo, "CASES", cases)
    return folders


def test_a_second_demo_shows_the_runs_that_are_there(
    tmp_path: pathlib.Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made_up(tmp_path, "one", "two")
    assert demo.run(options(tmp_path)) == 0
    assert trained == []
    assert "--again trains them again" in capsys.readouterr().out


def test_a_demo_trains_again_where_that_is_asked_for_and_touches_no_other_run(
    tmp_path: pathlib.Path, trained: list[str]
) -> None:
    made_up(tmp_path, "one", "two", "mine")
    assert demo.run(options(tmp_path, "--again")) == 0
    assert trained == ["one", "two"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("others", [(), ("--again",)])
def test_a_demo_does_not_mix_its_runs_with_others(
    tmp_path: pathlib.Path,
    trained: list[str],
    capsys: pytest.CaptureFixture[str],
    others: tuple[str, ...],
) -> None:
    made_up(tmp_path, "mine")
    assert demo.run(options(tmp_path, *others)) == 2
    assert trained == []
    assert "give another --logdir" in capsys.readouterr().err


def test_a_port_in_use_is_reported_before_anything_is_trained(
    tmp_path: pathlib.Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as busy:
        busy.bind(("localhost", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert demo.run(options(tmp_path, "--serve", "--port", str(port))) == 2
    assert trained == []
    assert f"port {port} is in use" in capsys.readouterr().err


def test_the_address_is_printed_once_the_port_answers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([False, False, True])
    printed: list[str] = []

    class Process:
        returncode = None

        def __init__(self, command: Sequence[str]) -> None:
            assert "tensorboard.main" in command

        def poll(self) -> None:
            printed.append(capsys.readouterr().out)

        def wait(self) -> None:
            self.returncode = -2

    monkeypatch.setattr(demo.subprocess, "Popen", Process)
    monkeypatch.setattr(demo, "_answers", lambda port: next(answers))
    monkeypatch.setattr(demo.time, "sleep", lambda seconds: None)
    assert demo._serve(tmp_path, 6006) == 0
    assert "http://" not in "".join(printed)
    assert "http://localhost:6006/#gradient_health" in capsys.readouterr().out
