"""The demo's verdicts are right: each sick case is given its rule, cause and variable, and
the healthy one is left alone; from the live engine and from the files alike.
"""

from __future__ import annotations

import argparse
import pathlib

import pytest

import tb_gradients as tbg
from tb_gradients import demo

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", demo.CASES, ids=lambda case: case.name)
def test_each_case_is_given_the_right_verdict(case: demo.Case, tmp_path: pathlib.Path) -> None:
    flags = case.train(str(tmp_path / case.name))
    assert case.verdict_is_right(flags), [str(flag) for flag in flags]
    (run,) = tbg.load(tmp_path).runs
    assert tuple(run.flags) == tuple(flags)


def test_a_wrong_verdict_would_be_noticed() -> None:
    healthy, sick = demo.CASES[0], demo.CASES[1]
    flag = tbg.Flag("dead_units", tbg.Severity.WARNING, ("a/kernel",), 0, 1, True, "")
    assert not healthy.verdict_is_right([flag])
    assert not sick.verdict_is_right([])
    assert not sick.verdict_is_right([flag])


def test_runs_of_an_earlier_demo_are_not_mixed_with_new_ones(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "healthy").mkdir()
    (tmp_path / "healthy" / "events.out.tfevents.1").write_bytes(b"")
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    assert demo.run(parser.parse_args(["--logdir", str(tmp_path)])) == 2
    assert "remove it, or give another --logdir" in capsys.readouterr().err
