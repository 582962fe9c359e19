"""Units of a gated recurrence are compared gate by gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tb_gradients as tbg
from tb_gradients.flags import Flag, Severity
from tb_gradients.frames import Variable
from tb_gradients.host.sampling import Layout, sample_of
from tb_gradients.judging.networks import gates

L = keras.layers
X = np.random.default_rng(0).standard_normal((128, 6, 4)).astype("float32")


def flags_of(kind: str, folder: Path, **options: Any) -> dict[str, Flag]:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            L.Input(X.shape[1:]),
            getattr(L, kind)(8, return_sequences=True, name="first", **options),
            getattr(L, kind)(8, name="second", **options),
            L.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse", jit_compile=False)
    health = tbg.GradientHealth(folder, every=1, histograms=False, verbose=0)
    model.fit(X, X[:, 0, :1], batch_size=16, epochs=4, verbose=0, callbacks=[health])
    return {flag.rule: flag for flag in health.report}


@pytest.mark.parametrize("kind", ["GRU", pytest.param("LSTM", marks=pytest.mark.slow)])
def test_a_constant_start_of_all_gates_is_seen(kind: str, tmp_path: Path) -> None:
    same = keras.initializers.Constant(0.1)

    flag = flags_of(kind, tmp_path, kernel_initializer=same, recurrent_initializer=same)[
        "symmetric_units"
    ]

    assert flag.severity == Severity.CRITICAL
    assert any("first" in path for path in flag.variables)
    assert "All 8 units of each gate" in flag.summary


@pytest.mark.parametrize("kind", ["GRU", pytest.param("LSTM", marks=pytest.mark.slow)])
def test_the_usual_start_is_not(kind: str, tmp_path: Path) -> None:
    assert "symmetric_units" not in flags_of(kind, tmp_path)


def kernel(shape: tuple[int, ...], layer_class: str) -> Variable:
    return Variable(
        "kernel",
        shape=shape,
        unit_axis=1,
        units=shape[1],
        layer_class=layer_class,
    )


@pytest.mark.parametrize(
    ("shape", "layer_class", "count"),
    [
        ((4, 32), "LSTMCell", 4),
        ((4, 24), "GRUCell", 3),
        ((4, 4), "LSTMCell", 1),  # a single unit is not compared with the other gates'
        ((4, 30), "LSTMCell", 1),
        ((4, 32), "Dense", 1),
    ],
)
def test_only_weights_of_gates_of_several_units_have_groups(
    shape: tuple[int, ...], layer_class: str, count: int
) -> None:
    variable = kernel(shape, layer_class)

    assert gates(variable) == count
    assert sample_of(0, variable).gates == count


def test_rows_of_a_sample_are_those_of_its_gates() -> None:
    samples = (sample_of(0, kernel((2, 8), "LSTMCell")), sample_of(1, kernel((2, 8), "Dense")))
    layout = Layout(0, samples, (), (0, 1), (), {}, False, False, ("float32", "float32"))

    starts, lengths, firsts = layout.unit_rows

    assert lengths.tolist() == [2] * 8 + [8] * 2
    assert starts.tolist() == [*range(0, 16, 2), 16, 24]
    assert firsts.tolist() == [0, 8]


def test_a_sample_that_leaves_units_out_has_no_groups() -> None:
    assert sample_of(0, kernel((64, 40_000), "LSTMCell")).gates == 1
