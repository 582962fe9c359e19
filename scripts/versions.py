"""Run the tests that train in other versions of TensorFlow and Keras, each in an environment.

    python3 scripts/versions.py                    # all of them
    python3 scripts/versions.py oldest             # one
    python3 scripts/versions.py oldest -k xla      # options and files go to pytest

The newest release is that of .venv, too, see test.py.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import environment

NIGHTLY = "nightly"
"""What will be the next version; it brings nightly versions of Keras and TensorBoard."""

VERSIONS = {
    # The oldest of everything that pyproject.toml allows.
    "oldest": (
        "tensorflow==2.16.*",
        "tensorboard==2.16.*",
        "keras==3.0.*",
        "numpy==1.23.5; python_version < '3.12'",
        "protobuf==3.20.3",
        "scikit-learn==1.3.*",
    ),
    # With the newest Keras that they take.
    "2.16": ("tensorflow==2.16.*", "tensorboard==2.16.*"),
    "2.18": ("tensorflow==2.18.*", "tensorboard==2.18.*"),
    "2.21": ("tensorflow==2.21.*", "tensorboard==2.21.*"),
    NIGHTLY: ("tf-nightly",),
}
NEWEST_PYTHON = (3, 12)
"""The last one for which all these versions of TensorFlow are built."""

TESTED_WITH = (
    "hypothesis",
    "matplotlib",
    "pandas",
    "playwright",
    "pyarrow",
    "pytest",
    "pytest-xdist",
    "scikit-learn",
)
"""The extra "test", without what it asks for of the package itself."""

TESTS = ("tests/training", "tests/reading", "tests/plugin", "tests/test_demo.py")


def suitable_python() -> str | None:
    """A Python for which there are such versions of TensorFlow: this one, or one on the path."""
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable
    for minor in range(NEWEST_PYTHON[1], 9, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", "import venv"]).returncode == 0:
            return found
    return None


def prepare(version: str, base: str) -> Path:
    """The Python of the environment of a version, installed if it is not there yet."""
    tensorflow, *others = VERSIONS[version]
    if version == NIGHTLY:
        # Its distributions have other names. What asks for them by the usual names would bring a
        # second TensorBoard into the same folder.
        return environment.install(
            environment.VENV / f"version-{version}",
            [tensorflow, *TESTED_WITH],
            ["--no-deps", "--editable", str(environment.ROOT), "tf_keras-nightly"],
            base=base,
        )
    keras_2 = tensorflow.replace("tensorflow", "tf_keras")
    if sys.platform == "linux" and platform.machine() == "x86_64":
        tensorflow = tensorflow.replace("tensorflow", "tensorflow-cpu")  # a smaller download
    return environment.install(
        environment.VENV / f"version-{version}",
        ["--editable", f"{environment.ROOT}[test]", tensorflow, *others],
        ["--no-deps", keras_2],  # which asks for `tensorflow`, whatever has brought its files
        base=base,
    )


def main() -> int:
    arguments = sys.argv[1:]
    chosen = [arguments.pop(0)] if arguments and arguments[0] in VERSIONS else list(VERSIONS)
    base = suitable_python()
    if base is None:
        sys.exit("There is no Python 3.12 or older here, which these versions need.")
    files = [] if any(name.startswith("tests/") for name in arguments) else TESTS
    failing = []
    for version in chosen:
        python = str(prepare(version, base))
        pytest = [python, "-m", "pytest", "-n", "auto", "--dist", "loadfile"]
        if environment.call([*pytest, *files, *arguments]) != 0:
            failing.append(version)
    print(f"Failed: {', '.join(failing)}" if failing else "All tests passed.")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
