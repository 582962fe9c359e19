"""The virtual environment .venv of this checkout: what `demo`, `check` and `test` run in.

In:  a Python 3.10 or newer, a network the first time, and nothing else.
Out: the path of a Python that has the package (editable) and the extras asked for.
Standard library only; it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  (whoever runs this may have any Python)
    sys.exit(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "build_backend"))
import bundle

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")


def prepare(extras: str, *, node: bool = False) -> Path:
    """Bring .venv up to date and return its Python; exit with one sentence if that fails.

    `node` asks for a Node as well, unless the system has a suitable one. Costs nothing
    when pyproject.toml and the front end are as they were the last time.
    """
    wanted = ["--editable", f"{ROOT}[{extras}]"]
    if node and bundle.system_npm() is None:
        wanted.append(bundle.NODE_REQUIREMENT)
    return install(VENV, wanted)


def install(home: Path, *wanted: list[str], base: str = sys.executable) -> Path:
    """Make a virtual environment of the Python `base`, or bring it up to date.

    Each of `wanted` is what one call of `pip install` is given. Returns the Python of the
    environment.
    """
    python = home / PROGRAMS.name / PYTHON.name
    if not _runs(python):
        _create(home, base)
    stamp = home / f"installed-{_digest(wanted)}"
    if not (stamp.exists() and bundle.is_fresh()):
        for arguments in wanted:
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
            if call([*pip, *arguments]) != 0:
                sys.exit("The packages could not be installed; pip says why above.")
        stamp.touch()
    return python


def call(command: list[str]) -> int:
    """Run a command in the checkout, shown first as a shell would, and give its status."""
    print("$", *command, flush=True)
    try:
        return subprocess.run(command, cwd=ROOT).returncode
    except KeyboardInterrupt:  # the command has seen it too, and said what there was to say
        return 130


def _create(home: Path, base: str) -> None:
    print(f"Setting up {home}", flush=True)
    if subprocess.run([base, "-m", "venv", "--clear", str(home)]).returncode != 0:
        sys.exit(
            "Python's venv module does not work here; on Debian and Ubuntu "
            "`apt install python3-venv` brings the missing part."
        )


def _runs(python: Path) -> bool:
    """Whether the environment is whole: its base Python may have gone since."""
    try:
        return subprocess.run([str(python), "-c", "import pip"]).returncode == 0
    except OSError:
        return False


def _digest(wanted: Sequence[list[str]]) -> str:
    content = (ROOT / "pyproject.toml").read_bytes() + repr(wanted).encode()
    return hashlib.sha256(content).hexdigest()[:16]
