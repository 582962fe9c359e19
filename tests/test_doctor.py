"""What keeps TensorBoard or the tab from working is named with its remedy, without a wait."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tb_gradients import cli, doctor

GOOD = {
    "tensorboard": "2.21.0",
    "numpy": "2.4.6",
    "protobuf": "6.31.1",
    "tensorflow-cpu": "2.21.0",
    "keras": "3.15.1",
}


@dataclasses.dataclass
class Point:
    """An entry point."""

    name: str = "gradient_health"
    value: str = "tb_gradients.plugin.loader:Loader"
    dist: Any = None


@pytest.fixture(name="installed")
def _installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what is installed; everything is in order until a test changes it."""
    state: dict[str, Any] = {"versions": dict(GOOD), "points": [Point()], "pkg_resources": True}

    def version(package: str) -> str:
        if package not in state["versions"]:
            raise importlib.metadata.PackageNotFoundError(package)
        return str(state["versions"][package])

    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        if name == "pkg_resources":
            return state["pkg_resources"] or None
        return real(name, package)

    requires = ["protobuf!=4.24.0,>=3.19.6", "numpy>=1.12.0", "protobuf<2; extra == 'x'"]
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: state["points"])
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(pathlib.Path, "is_file", lambda path: True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    return state


def problems() -> list[doctor.Finding]:
    return [finding for finding in doctor.examine() if finding.problem]


def test_nothing_is_wrong_where_nothing_is(installed: Any, capsys: Any) -> None:
    assert problems() == []
    assert cli.main(["doctor"]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("versions", "words", "remedy"),
    [
        ({"tensorboard": None}, "not installed", "pip install 'tensorboard>=2.16'"),
        ({"tensorboard": "2.10.0"}, "older than 2.16", "pip install -U 'tensorboard>=2.16'"),
        ({"tensorboard": "2.16.2"}, "a NumPy before 2", 'pip install "numpy<2"'),
        ({"protobuf": "3.19.1"}, "too old", "pip install -U 'protobuf>=3.20.3'"),
        ({"tensorflow": "2.21.0"}, "the same files", "pip uninstall -y tensorflow tensorflow-cpu"),
        ({"tensorflow-cpu": "2.15.0"}, "older than 2.16", "'tensorflow-cpu>=2.16'"),
        ({"keras": "2.15.0"}, "older than 3", "pip install -U 'keras>=3'"),
    ],
)
def test_a_version_that_does_not_work_is_named(
    installed: Any, versions: dict[str, str | None], words: str, remedy: str, capsys: Any
) -> None:
    for name, version in versions.items():
        if version is None:
            del installed["versions"][name]
        else:
            installed["versions"][name] = version
    (finding,) = problems()
    assert words in finding.problem
    assert remedy in finding.remedy
    assert cli.main(["doctor"]) == 1
    assert "PROBLEM" in capsys.readouterr().out


def test_an_old_tensorboard_without_pkg_resources_is_named(installed: Any) -> None:
    installed["versions"]["tensorboard"] = "2.20.0"
    installed["pkg_resources"] = False
    (finding,) = problems()
    assert "pkg_resources" in finding.problem
    assert finding.remedy == 'pip install "setuptools<82"'


def test_a_protobuf_older_than_tensorboard_asks_for_is_named(
    installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["protobuf>=5.27,<8"])
    installed["versions"]["protobuf"] = "4.25.8"
    (finding,) = problems()
    assert "asks for >=5.27,<8" in finding.problem
    assert finding.remedy == "pip install -U 'protobuf>=5.27,<8'"
    installed["versions"]["protobuf"] = "8.0.0"
    assert "asks for" in problems()[0].problem


def test_a_package_that_is_only_on_the_path_is_named(installed: Any) -> None:
    installed["points"] = []
    (finding,) = problems()
    assert "does not find the plugin" in finding.problem
    installed["points"] = [Point(), Point(value="other.plugin:Loader")]
    assert "Several distributions" in problems()[0].problem


def test_a_tensorboard_of_another_environment_is_named(
    installed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    program = tmp_path / "tensorboard"
    program.write_text("#!/elsewhere/python\n")
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    (finding,) = problems()
    assert "another environment" in finding.problem
    assert sys.executable in finding.remedy
    program.write_text(f"#!{sys.executable}\n")
    assert problems() == []


def test_the_tab_that_is_not_built_is_named(
    installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pathlib.Path, "is_file", lambda path: False)
    (finding,) = problems()
    assert "not built" in finding.problem


def test_it_loads_neither_tensorflow_nor_tensorboard() -> None:
    program = (
        "import sys; from tb_gradients.cli import main; main(['doctor']); "
        "sys.exit(len({'tensorflow', 'tensorboard', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TensorBoard" in done.stdout
