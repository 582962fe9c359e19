"""The oldest versions that are allowed train, too; scripts/versions.py runs all of the tests."""

from __future__ import annotations

import subprocess
import sys

import environment
import pytest
import versions

CHOSEN = "every_way or several_steps or loss_scal or accumulation or embedding or late or eager"
"""Where versions differ: what takes a minute, of a suite that takes ten."""

pytestmark = [pytest.mark.smoke, pytest.mark.slow]


def test_fit_is_watched_in_the_oldest_versions() -> None:
    base = versions.suitable_python()
    if base is None:
        pytest.skip("needs Python 3.12 or older")
    files = ["tests/training/test_callback.py", "tests/training/test_legacy.py"]
    done = subprocess.run(
        [sys.executable, "scripts/versions.py", "oldest", "-n", "0", "-k", CHOSEN, *files],
        cwd=environment.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
