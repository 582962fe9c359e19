"""What an import must not load, and which room of the package may import which.

TensorFlow takes seconds, and TensorBoard is not for training. The rooms: ``schema ← frames, flags
← judging ← rules``, ``judging ← host ← training``, ``judging ← reading ← {plugin, cli}``.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tb_gradients"
WORDS = {
    "schema",
    "crc32c",
    "frames",
    "flags",
    "html_outputs",
    "inert",
    "lane",
    "lane_pack",
    "proto",
    "snippets",
    "summaries",
}
MAY_IMPORT = {
    "judging": WORDS | {"judging", "rules"},  # the registry looks through the folder of the rules
    "rules": WORDS - {"proto"} | {"judging"},
    "host": WORDS | {"judging", "host"},
    "training": WORDS | {"judging", "host", "training"},
    "reading": WORDS | {"judging", "reading"},
    "plugin": WORDS | {"judging", "reading", "plugin"},
}
FRAMEWORKS = {
    "judging": set(),
    "rules": set(),
    "host": set(),
    "training": {"tensorflow", "keras", "tf_keras"},
    "reading": {"tensorboard"},
    "plugin": {"tensorboard", "werkzeug"},
}
"""What a room may import beyond NumPy, protobuf and the standard library."""

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


@pytest.mark.parametrize("module", ["schema", "frames", "flags", "judging", "rules", "cli"])
def test_neither_does_importing(module: str) -> None:
    assert loaded_by(f"import tb_gradients.{module}") <= {"numpy"}


def test_the_loader_that_every_tensorboard_imports_loads_nothing_else() -> None:
    assert loaded_by("import tb_gradients.plugin.loader") <= {"tensorboard"}


@pytest.mark.parametrize("package", ["tensorboard", "numpy"])
def test_this_guard_can_fail(package: str) -> None:
    assert package in loaded_by(f"import tb_gradients, {package}")


def imported_by(source: str) -> set[str]:
    """Full names of all modules that a source file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def misplaced(room: str, source: str) -> set[str]:
    """Imports of a file that its room has no business with."""
    allowed = MAY_IMPORT[room] | {"__version__"}
    others = {"tensorflow", "keras", "tf_keras", "tensorboard", "werkzeug"} - FRAMEWORKS[room]
    wrong = set()
    for name in imported_by(source):
        package, _, rest = name.partition(".")
        if package in others or (package == "tb_gradients" and rest.split(".")[0] not in allowed):
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_every_room_imports_only_what_lies_before_it(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    wrong = {file.name: misplaced(room, file.read_text()) for file in files}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_folder_of_the_rules_holds_rules_and_nothing_else() -> None:
    from tb_gradients.judging import all_rules

    assert {file.stem for file in (PACKAGE / "rules").glob("*.py")} - {"__init__"} == {
        rule.id for rule in all_rules()
    }


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("host", "import tensorflow as tf"),
        ("host", "from tb_gradients.training.files import open_records"),
        ("rules", "from tb_gradients.host import statistics"),
        ("judging", "def f():\n    import keras"),
        ("training", "from tb_gradients import cli"),
    ],
)
def test_that_guard_can_fail(room: str, line: str) -> None:
    assert misplaced(room, line)
