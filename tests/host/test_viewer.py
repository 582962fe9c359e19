"""The message that refers to TensorBoard says what keeps it from starting, if anything does."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import pytest

from tb_gradients.host.viewer import remedy


@pytest.mark.parametrize(
    ("tensorboard", "numpy", "has_pkg_resources", "command"),
    [
        ("2.16.2", "1.26.4", True, ""),
        ("2.16.2", "2.0.1", True, 'pip install "numpy<2"'),
        ("2.16.2", "2.0.1", False, 'pip install "setuptools<82" "numpy<2"'),
        ("2.18.0", "2.0.1", False, 'pip install "setuptools<82"'),
        ("2.20.0", "2.4.6", False, 'pip install "setuptools<82"'),
        ("2.20.0", "2.4.6", True, ""),
        ("2.21.0", "2.4.6", False, ""),
        ("3.0.0a20270101", "2.4.6", False, ""),
        (None, "2.4.6", False, ""),
    ],
)
def test_the_command_is_that_of_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    tensorboard: str | None,
    numpy: str,
    has_pkg_resources: bool,
    command: str,
) -> None:
    def version(package: str) -> str:
        found = {"tensorboard": tensorboard, "numpy": numpy}[package]
        if found is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return found

    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return has_pkg_resources or None if name == "pkg_resources" else real(name, package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert remedy() == command
