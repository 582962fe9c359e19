"""What an import must not load: TensorFlow takes seconds, and TensorBoard is not for training."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

GUARDED = {"tensorflow", "tensorboard", "keras", "numpy"}


def loaded_by(statement: str) -> set[str]:
    """Which of the guarded packages a fresh Python has loaded after a statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    return GUARDED & {name.partition(".")[0] for name in modules}


def test_importing_the_package_loads_neither_tensorflow_nor_tensorboard() -> None:
    assert loaded_by("import tb_gradients") <= {"numpy"}


@pytest.mark.parametrize("module", ["schema", "frames", "flags", "rules", "cli"])
def test_neither_does_importing(module: str) -> None:
    assert loaded_by(f"import tb_gradients.{module}") <= {"numpy"}


def test_the_loader_that_every_tensorboard_imports_loads_nothing_else() -> None:
    assert loaded_by("import tb_gradients.plugin.loader") <= {"tensorboard"}


@pytest.mark.parametrize("package", ["tensorboard", "numpy"])
def test_this_guard_can_fail(package: str) -> None:
    assert package in loaded_by(f"import tb_gradients, {package}")
