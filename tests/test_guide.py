"""The guide's tables say what TensorFlow and Keras do, in the versions that they name."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import re
from types import ModuleType
from typing import Any

import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

import compiler_page  # noqa: E402
import optimizers_page  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # NumPy's, of the constants that float16 cannot hold: that is what the rows are about.
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
]


def measured_with(page: ModuleType) -> set[str]:
    """The version numbers that a page names."""
    return set(re.findall(r"\d+\.\d+\.\d+", page.PAGE.read_text(encoding="utf-8")))


def needs_the_versions_of(page: ModuleType) -> None:
    here = {tf.__version__, keras.__version__}
    if not here <= measured_with(page):
        pytest.skip(f"the page was measured with {measured_with(page)}, here is {here}")


def test_every_optimizer_does_to_the_weights_what_its_row_says() -> None:
    needs_the_versions_of(optimizers_page)
    assert optimizers_page.PAGE.read_text(encoding="utf-8") == optimizers_page.page(), (
        "run: python scripts/optimizers_page.py"
    )


def test_every_operation_gives_what_its_row_says_in_float32() -> None:
    needs_the_versions_of(compiler_page)
    lines = set(compiler_page.PAGE.read_text(encoding="utf-8").splitlines())
    missing = [row for row in compiler_page.rows("float32") if row not in lines]
    assert missing == [], "run: python scripts/compiler_page.py"


def test_that_check_can_fail() -> None:
    case = compiler_page.Case("tf.sqrt(x)", (4.0,), "")
    assert compiler_page.result(case, "eager", "float32") == "2; 0.25"
    assert compiler_page.result(case, "graph", "float16") == "2; 0.25"


@pytest.mark.parametrize(
    ("optimizer", "dtype", "settings"),
    [
        ("Adam", "bfloat16", {"beta_2": 0.9}),
        ("Nadam", "bfloat16", {"beta_2": 0.9}),
        ("Lamb", "bfloat16", {"beta_2": 0.9}),
        ("ScheduleFreeAdamW", "bfloat16", {"beta_2": 0.9}),
        ("Muon", "bfloat16", {"learning_rate": 0.1}),
        ("Adagrad", "bfloat16", {"learning_rate": 0.1}),
        ("Adamax", "float16", {"epsilon": 1e-4}),
        ("ScheduleFreeAdamW", "float16", {"epsilon": 1e-4}),
        ("Adafactor", "float32", {"epsilon_1": 1e-15}),
        ("Adafactor", "float16", {"epsilon_1": 1e-4}),
    ],
)
def test_the_way_out_that_the_page_names_trains(
    optimizer: str, dtype: str, settings: dict[str, float]
) -> None:
    kind = getattr(keras.optimizers, optimizer, None)
    if kind is None:
        pytest.skip(f"Keras {keras.__version__} has no {optimizer}")

    def change(gradient: Any) -> float:
        return optimizers_page.moved(lambda: kind(**settings), dtype, gradient, 3)

    assert 0 < change(optimizers_page.GRADIENT) < optimizers_page.REPLACED
    assert change(optimizers_page.ZEROS) < optimizers_page.REPLACED  # and not NaN
