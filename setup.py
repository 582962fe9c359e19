"""Packs the browser bundle into everything that is built from this checkout.

Metadata and tool settings are in pyproject.toml; here is only what has to be *done*:
before the package's files are collected (for a wheel, an editable install or a source
archive) the bundle is built if it is missing or older than its sources. No wheel
without a bundle can come out of this: a failure to build it ends the build.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError

sys.path.insert(0, str(Path(__file__).resolve().parent / "build_backend"))
import bundle


def ensure_bundle() -> None:
    try:
        bundle.ensure()
    except bundle.BundleError as error:
        # setuptools prints errors of its own kind as one line, without a traceback.
        raise BaseError(str(error)) from error


class BuildPy(build_py):
    """Wheels and editable installs."""

    def run(self) -> None:
        ensure_bundle()
        super().run()


class Sdist(sdist):
    """Source archives carry the bundle, so that they install without Node."""

    def run(self) -> None:
        ensure_bundle()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
