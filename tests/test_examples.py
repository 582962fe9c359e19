"""Each example runs as its first lines say, and has the verdict that it is about."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import tb_gradients as tbg

keras = pytest.importorskip("keras")

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
ALONE = {"distributed.py"}
"""These set up TensorFlow's devices, which a process does once."""
OFTEN = {"ci_gate.py", "custom_loop.py", "own_rule.py"}
"""The others use what other tests train, and run once a week."""
FINDINGS = {"own_rule.py": {"large_weights"}}
"""What is found in an example that is not healthy."""

slow = pytest.mark.slow


def test_there_are_ten_scripts_and_two_notebooks_and_the_readme_lists_them() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| .+ \| \[(.+)\]\((.+)\) \|$", text, re.MULTILINE)
    assert all(name == target for name, target in listed)
    assert sorted(name for name, _ in listed) == sorted([*SCRIPTS, *NOTEBOOKS])
    assert (len(SCRIPTS), len(NOTEBOOKS)) == (10, 2)


@pytest.fixture(name="policy")
def _policy() -> Iterator[None]:
    """A program may set the policy of all layers, and counts their names from the start."""
    keras.utils.clear_session()
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def run_script(name: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``python examples/NAME FOLDER`` would."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    script = str(EXAMPLES / name)
    if name in ALONE:
        subprocess.run([sys.executable, script, str(folder)], check=True)
        return
    monkeypatch.setattr(sys, "argv", [script, str(folder)])
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0  # noqa: PT017 - a program that ends well may say so


@slow
@pytest.mark.filterwarnings("ignore")  # those of Keras are not the example's
@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(
    "name",
    [name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in SCRIPTS],
)
def test_a_script_has_the_verdict_that_it_is_about(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_script(name, tmp_path / "logs", monkeypatch)
    (run,) = tbg.load(tmp_path / "logs").runs
    loud = {flag.rule for flag in run.flags if flag.severity >= "warning"}
    assert loud == FINDINGS.get(name, set())
    assert run.verdict != "undecided"
    if name in ("custom_loop.py", "gan.py"):
        assert len(run.losses) == 2


def read_notebook(name: str) -> Any:
    return pytest.importorskip("nbformat").read(EXAMPLES / name, as_version=4)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_its_outputs(name: str) -> None:
    code = [cell for cell in read_notebook(name).cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def executed(name: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    notebook = read_notebook(name)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return notebook


def data_of(notebook: Any, kind: str) -> list[str]:
    """Everything of a kind that the cells show, in order."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out.data[kind] for out in outputs if kind in out.get("data", {})]


@slow
@pytest.mark.filterwarnings("ignore")  # those of Jupyter
def test_the_notebook_of_a_training_shows_a_line_and_both_verdicts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = data_of(executed("train.ipynb", tmp_path, monkeypatch), "text/html")
    assert "tb_gradients: step" in pages[0]
    assert any("dead_units" in page for page in pages)
    assert "healthy" in pages[-1]
    runs = {run.run: run.verdict for run in tbg.load(tmp_path / "logs").runs}
    assert runs == {"dead": "critical", "repaired": "healthy"}


@slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_about_logs_shows_verdict_pictures_and_table(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("pandas")
    notebook = executed("read_logs.ipynb", tmp_path, monkeypatch)
    assert len(data_of(notebook, "image/png")) == 4
    pages = data_of(notebook, "text/html")
    assert any("vanishing_gradient" in page for page in pages)
    assert "update_ratio" in pages[-1]
