"""A training in a notebook that is really executed: one line that is replaced, and rich outputs."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of Jupyter

TRAINING = """
import keras, numpy as np, tb_gradients as tbg
x = np.random.default_rng(0).normal(size=(320, 4)).astype("float32")
model = keras.Sequential([keras.layers.Dense(8, activation="relu", kernel_initializer="zeros"),
                          keras.layers.Dense(1)])
model.compile("sgd", "mse", jit_compile=False)
health = tbg.GradientHealth("logs")
model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=[health])
"""


def test_a_notebook_shows_one_line_and_a_summary(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), *sys.path]))
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(text)
            for text in (TRAINING, "health", "tbg.load('logs').runs[0]", "health.report[0]")
        ]
    )
    resources: Any = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources
    ).execute()
    training, *others = notebook.cells
    shown = [out for out in training.outputs if out.output_type == "display_data"]
    (line,) = [out.data["text/html"] for out in shown]
    assert "tb_gradients: step 79: critical: " in line
    printed = "".join(out.text for out in training.outputs if out.get("name") == "stdout")
    assert printed.count("tb_gradients: ") == 1  # the summary alone
    assert "%tensorboard --logdir logs" in printed
    for cell in others:
        (result,) = cell.outputs
        assert "critical" in result.data["text/html"]
        assert len(result.data["text/plain"]) < 120
