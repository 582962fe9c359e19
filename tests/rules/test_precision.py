"""The verdict does not depend on the dtype that layers compute in: float32 or bfloat16."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from test_trainings import CASES, HEALTHY, Program, judged  # noqa: E402

from tb_gradients.flags import Severity  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PROGRAMS = {
    "healthy": HEALTHY["head that starts at zero"],
    "zero": CASES["loss multiplied by zero"].faulty,
    "dead": CASES["ReLUs dead by their bias"].faulty,
    "too slow": CASES["Adam at 1e-10"].faulty,
}


def reported(program: Program, policy: str) -> list[tuple[str, Severity, tuple[str, ...]]]:
    """Rule, severity and variables of the flags of a training under a dtype policy."""

    def under_policy() -> object:
        keras.mixed_precision.set_global_policy(policy)
        try:
            return program()
        finally:
            keras.mixed_precision.set_global_policy("float32")

    return [(f.rule, f.severity, f.variables) for f in judged(under_policy)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long if i % 2 else ()) for i, n in enumerate(PROGRAMS)],
)
def test_computing_in_bfloat16_changes_no_verdict(name: str) -> None:
    program = PROGRAMS[name]

    assert reported(program, "mixed_bfloat16") == reported(program, "float32")
