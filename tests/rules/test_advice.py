"""Advice that is code runs: every statement and every argument, on variables of the recorded runs.

The recorded trainings are those of all faulty programs of ``test_trainings.py``.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from store_verdicts import RECORDED, VERDICTS  # noqa: E402

from tb_gradients.frames import VariableTable  # noqa: E402
from tb_gradients.reading.event_files import EventFileSource  # noqa: E402
from tb_gradients.snippets import snippets  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

STORED: dict[str, Any] = json.loads(VERDICTS.read_text(encoding="utf-8"))
FAULTY = sorted(run for run, verdict in STORED.items() if verdict["flags"])

_ARGUMENTS = re.compile(r"\w+=[^=\s]")


def codes(run: str) -> Iterator[tuple[str, str]]:
    """Every piece of code of a run's advice, and whether it is a statement or arguments."""
    for flag in STORED[run]["flags"]:
        for fix in flag["fixes"]:
            for code in snippets(fix):
                yield "statement", code
            for code in re.findall(r"`([^`]+)`", fix):
                if _ARGUMENTS.match(code):
                    yield "arguments", code


def variables_of(table: VariableTable) -> list[Any]:
    return [
        keras.Variable(np.full(v.shape, 0.1, "float32"), dtype=v.dtype, name=f"v{i}")
        for i, v in enumerate(table.variables)
        if v.trainable
    ]


def scope(table: VariableTable) -> dict[str, Any]:
    """The names that the sentences use, as somebody has them who follows the advice."""
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 8)).astype("float32")
    y = random.standard_normal((64, 1)).astype("float32")
    variables = variables_of(table)

    def fit(*arguments: Any, **named: Any) -> None:
        """Takes what ``fit`` takes; 200 epochs are left out."""
        inspect.signature(keras.Model.fit).bind(None, *arguments, **named)

    gradients = [tf.ones(v.shape, v.dtype) for v in variables]
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.scale_loss = lambda loss: loss  # as that of a LossScaleOptimizer
    return {
        "keras": keras,
        "np": np,
        "tf": tf,
        "x": x,
        "y": y,
        "data": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
        "model": types.SimpleNamespace(
            trainable_variables=variables, fit=fit, predict=lambda inputs: inputs[:, :1]
        ),
        "optimizer": optimizer,
        "tape": types.SimpleNamespace(gradient=lambda *_: gradients),
        "gradients": gradients,
        "variables": variables,
        "loss": tf.constant(1.0),
        "layer": keras.layers.Dense(2),
        "block": keras.layers.Dense(8),
        "predictions": y,
        "targets": y[:, 0],
        "monitor": types.SimpleNamespace(step=lambda **_: None),
        "mean": 0.0,
        "std": 1.0,
    }


def use(made: Any, names: dict[str, Any]) -> None:
    """Do with what a call has made what it is for."""
    if isinstance(made, keras.optimizers.Optimizer):
        variables = names["variables"]
        made.apply([keras.ops.ones(v.shape, v.dtype) for v in variables], variables)
    elif isinstance(made, keras.losses.Loss):
        classes = "Sparse" in type(made).__name__
        predictions = np.full((4, 3), 1 / 3, "float32")
        targets = np.arange(4) % 3 if classes else np.eye(4, 3, dtype="float32")
        assert np.isfinite(float(made(targets, predictions)))
    elif isinstance(made, keras.layers.Layer):
        shape = (4, 5, 8) if isinstance(made, (keras.layers.LSTM, keras.layers.GRU)) else (4, 8)
        made(np.ones(shape, "float32"))


@pytest.fixture
def policy() -> Iterator[None]:
    yield
    keras.mixed_precision.set_global_policy("float32")
    tf.debugging.disable_check_numerics()


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(
    "run", [pytest.param(r, marks=pytest.mark.long if i % 2 else ()) for i, r in enumerate(FAULTY)]
)
def test_advice_that_is_code_runs(run: str) -> None:
    pieces = list(dict.fromkeys(codes(run)))
    if not pieces:
        pytest.skip("no advice of this run is code")
    table = EventFileSource(str(RECORDED)).read(run).recordings[-1].table
    for kind, code in pieces:
        names = scope(table)
        if kind == "arguments":
            code = f"dict({code})"
        tree = ast.parse(code)
        if len(tree.body) > 1 or not isinstance(tree.body[0], ast.Expr):
            exec(code, names)
            continue
        made = eval(code, names)
        if kind == "statement":
            use(made, names)
        elif any(name.endswith("_initializer") or name == "activation" for name in made):
            keras.layers.Dense(3, **made)(np.ones((2, 4), "float32"))


def test_most_of_the_faulty_programs_get_code() -> None:
    assert sum(any(codes(run)) for run in FAULTY) >= 0.7 * len(FAULTY)
