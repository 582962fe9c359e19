"""setuptools' build backend, which asks for Node only when it is needed.

A source archive holds the bundle together with its fingerprint, so building a wheel
from it needs no Node and downloads none. A git checkout has no bundle; there, and when
the system has no suitable Node of its own, one comes as a wheel into pip's isolated
build environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bundle
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that stay as they are)

Settings = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *node_if_needed()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *node_if_needed()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_sdist(config_settings), *node_if_needed()]


def node_if_needed() -> list[str]:
    if bundle.is_fresh() or bundle.system_npm() is not None:
        return []
    return [bundle.NODE_REQUIREMENT]
