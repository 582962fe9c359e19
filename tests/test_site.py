"""The documentation builds as a site: no broken link, no page left out, every public name in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tb_gradients

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_names_everything_public(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr

    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    homes = tb_gradients._HOMES
    assert [name for name in homes if f'id="{homes[name]}.{name}"' not in reference] == []
    assert "fonts.googleapis" not in reference  # nothing comes from another host
