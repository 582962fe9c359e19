"""Try the viewer with each TensorBoard, protobuf and NumPy that can be installed together.

    python3 scripts/compatibility.py                # all; prints the table of docs/compatibility.md
    python3 scripts/compatibility.py 2.18           # with one TensorBoard
    python3 scripts/compatibility.py 2.18 6 2       # one cell: TensorBoard, protobuf, NumPy

Each cell is an environment of its own below ``build``, with the wheel and what it requires, and
without TensorFlow. In it ``tb-gradients check`` reads the recorded file of every format, ``doctor``
looks for what keeps TensorBoard from working, and TensorBoard is asked for the tab and its runs.
The versions that train are tried by ``versions.py``. Exit status 1 if a cell is not as expected.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environment  # puts the folder of the next one on the path

# isort: split
import bundle

TENSORBOARD = ("2.16", "2.17", "2.18", "2.19", "2.20", "2.21")
PROTOBUF = ("5", "6", "7")
NUMPY = ("1.26", "2")
NEEDS_SETUPTOOLS = ("2.16", "2.17", "2.18", "2.19", "2.20")
"""They import ``pkg_resources``, which setuptools 82 has dropped and they do not ask for."""
NEEDS_NUMPY_1 = ("2.16",)
"""It uses names that NumPy 2 has dropped, and allows it."""

BUILD = environment.ROOT / "build" / "compatibility"
RECORDED = sorted((environment.ROOT / "tests" / "reading" / "golden").glob("*.tfevents"))
PACKAGES = ("tensorboard", "protobuf", "numpy")

WORKS = "works"
NOT_ALLOWED = "not allowed"
NEEDS_OTHER_NUMPY = "needs NumPy 1, says `doctor`"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Versions that are tried together."""

    tensorboard: str
    protobuf: str
    numpy: str

    @property
    def requirements(self) -> list[str]:
        wanted = [f"tensorboard=={self.tensorboard}.*", f"protobuf=={self.protobuf}.*"]
        wanted += [f"numpy=={self.numpy}.*"]
        return wanted + ["setuptools<82"] * (self.tensorboard in NEEDS_SETUPTOOLS)

    @property
    def home(self) -> Path:
        return BUILD / f"tensorboard-{self.tensorboard}-protobuf-{self.protobuf}-numpy-{self.numpy}"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        program = str(self.home / environment.PROGRAMS.name / command[0])
        return subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=300)


def result_of(cell: Cell, wheel: Path) -> tuple[str, dict[str, str]]:
    """What came of a cell, in a few words, and the versions that were installed."""
    shutil.rmtree(cell.home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(cell.home)], check=True)
    python = str(cell.home / environment.PROGRAMS.name / environment.PYTHON.name)
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    command = [*pip, "install", "--quiet", "--no-compile", str(wheel), *cell.requirements]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode != 0:
        refused = "ResolutionImpossible" in installed.stderr
        return (NOT_ALLOWED if refused else f"pip: {_last_line(installed.stderr)}"), {}
    program = "import importlib.metadata as m; print(*map(m.version, " + repr(PACKAGES) + "))"
    versions = dict(zip(PACKAGES, cell.run("python", "-c", program).stdout.split(), strict=True))
    with tempfile.TemporaryDirectory() as logs:
        for path in RECORDED:
            (Path(logs) / path.stem).mkdir()
            shutil.copy(path, Path(logs) / path.stem / f"events.out.{path.name}")
        steps = (_checked, _served) if _in_order(cell) else (_checked, _diagnosed)
        for step in steps:
            problem = step(cell, logs)
            if problem:
                return problem, versions
    return (WORKS if _in_order(cell) else NEEDS_OTHER_NUMPY), versions


def _in_order(cell: Cell) -> bool:
    return not (cell.tensorboard in NEEDS_NUMPY_1 and cell.numpy.startswith("2"))


def _checked(cell: Cell, logs: str) -> str:
    """What is wrong with ``tb-gradients check``; "" if nothing is."""
    done = cell.run("tb-gradients", "check", logs, "--format", "json", "--fail-on", "never")
    if done.returncode != 0:
        return f"check: {_last_line(done.stderr)}"
    runs = {run["run"]: run for run in json.loads(done.stdout)["runs"]}
    wrong = [
        path.stem
        for path in RECORDED
        if runs[path.stem]["frames"] != 24 or runs[path.stem]["errors"]
    ]
    return f"check: {', '.join(wrong)} is not read" if wrong else ""


def _diagnosed(cell: Cell, logs: str) -> str:
    """What is wrong with the diagnosis of a TensorBoard that cannot work."""
    done = cell.run("tb-gradients", "doctor")
    found = done.returncode == 1 and "numpy<2" in done.stdout
    return "" if found else f"doctor: {_last_line(done.stdout)}"


def _served(cell: Cell, logs: str) -> str:
    done = cell.run("tb-gradients", "doctor")
    if done.returncode != 0:
        return f"doctor: {_last_line(done.stdout)}"
    with _tensorboard(cell, logs) as ask:
        if not ask("plugins_listing", lambda found: found["gradient_health"]["enabled"]):
            return "TensorBoard does not show the tab"
        runs = len(RECORDED)
        if not ask("plugin/gradient_health/runs", lambda found: len(found["runs"]) == runs):
            return "the tab does not show the runs"
    return ""


@contextlib.contextmanager
def _tensorboard(cell: Cell, logs: str) -> Iterator[Any]:
    """A TensorBoard; gives a function that asks for a route until its answer is liked."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(cell.home / environment.PROGRAMS.name / "tensorboard")
    command = [program, "--logdir", logs, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # A proxy that the environment names is not for this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(route: str, liked: Any) -> bool:
        deadline = time.monotonic() + 120
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, KeyError):
                answer = direct.open(f"http://127.0.0.1:{port}/data/{route}", timeout=30)
                if liked(json.load(answer)):
                    return True
            time.sleep(0.3)
        return False

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(timeout=60)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no message"


def _wheel() -> Path:
    bundle.ensure()
    BUILD.mkdir(parents=True, exist_ok=True)
    for old in BUILD.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(environment.ROOT)]
    subprocess.run([*command, "--wheel-dir", str(BUILD)], check=True)
    (path,) = BUILD.glob("*.whl")
    return path


def _table(results: dict[Cell, tuple[str, dict[str, str]]]) -> str:
    """One row for each TensorBoard and NumPy, one column for each protobuf."""
    lines = [
        "| TensorBoard | NumPy | " + " | ".join(f"protobuf {name}" for name in PROTOBUF) + " |",
        "|---" * (2 + len(PROTOBUF)) + "|",
    ]
    for tensorboard, numpy in itertools.product(TENSORBOARD, NUMPY):
        row = [Cell(tensorboard, protobuf, numpy) for protobuf in PROTOBUF]
        known = [results[cell][1] for cell in row if cell in results and results[cell][1]]
        if not any(cell in results for cell in row):
            continue
        names = (
            [known[0][name] for name in ("tensorboard", "numpy")] if known else [tensorboard, numpy]
        )
        cells = []
        for cell in row:
            result, versions = results.get(cell, ("not tried", {}))
            cells.append(f"{versions['protobuf']}: {result}" if versions else result)
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def main() -> int:
    given = dict(zip(("tensorboard", "protobuf", "numpy"), sys.argv[1:], strict=False))
    wanted = {"tensorboard": TENSORBOARD, "protobuf": PROTOBUF, "numpy": NUMPY}
    for name, value in given.items():
        if value not in wanted[name]:
            sys.exit(f"{name} {value} is none of {', '.join(wanted[name])}.")
        wanted[name] = (value,)
    wheel = _wheel()
    results = {}
    for versions in itertools.product(*wanted.values()):
        cell = Cell(*versions)
        results[cell] = result_of(cell, wheel)
        print(f"{cell.home.name}: {results[cell][0]}", file=sys.stderr, flush=True)
        shutil.rmtree(cell.home, ignore_errors=True)
    print(f"Python {platform.python_version()}\n\n{_table(results)}")
    fine = (WORKS, NOT_ALLOWED, NEEDS_OTHER_NUMPY)
    return 0 if all(result in fine for result, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
