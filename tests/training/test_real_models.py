"""Models of real sizes: every variable is measured, and no part of the monitor fails.

All architectures of ``keras.applications``: ``python benchmarks/architectures.py``.
"""

from __future__ import annotations

import pathlib

import architectures
import keras
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "xla"),
    [
        ("MobileNetV3Small", False),  # depthwise kernels of more than 8,192 elements
        ("text-lstm-1000", False),
        ("text-lstm-8000", True),
        ("text-mean-50257", False),
        ("text-mean-250000", True),
        ("text-tied-250000", False),
    ],
)
def test_every_variable_is_measured(name: str, xla: bool, tmp_path: pathlib.Path) -> None:
    make = architectures.models()[name]
    assert architectures.problems(make, str(tmp_path), jit_compile=xla) == []


def test_all_of_keras_are_listed() -> None:
    listed = set(architectures.models())
    assert {"EfficientNetB0", "NASNetLarge", "Xception"} <= listed
    assert {f"text-lstm-{size}" for size in architectures.VOCABULARIES} <= listed
    assert all(hasattr(keras.applications, name) for name in listed if name[0].isupper())
