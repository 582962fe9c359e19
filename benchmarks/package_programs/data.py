"""Data that a small model learns in a few epochs."""

from __future__ import annotations

from typing import Any

import numpy as np


def classes(rows: int, features: int = 16, count: int = 4) -> tuple[Any, Any]:
    """Clusters: float32 [rows, features], and the number of each row's cluster."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(count, features))
    labels = generator.integers(0, count, rows)
    x = centres[labels] + 0.5 * generator.normal(size=(rows, features))
    return x.astype("float32"), labels


def curve(rows: int, features: int = 4) -> tuple[Any, Any]:
    """A smooth function: float32 [rows, features] between 0 and 1, and float32 [rows, 1]."""
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(rows, features))
    y = np.sin(3 * x[:, :1]) + x[:, 1:2] ** 2 + 0.05 * generator.normal(size=(rows, 1))
    return x.astype("float32"), y.astype("float32")
