"""kgcnn: a graph convolutional network that classifies the nodes of one graph, by ``fit``."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from kgcnn.layers.conv import GCN

from package_programs.data import classes
from package_programs.keras_training import fitted
from package_programs.program import Program, Training

NODES, EDGES, EPOCHS, DEPTH = 120, 600, 100, 10


def graph() -> tuple[dict[str, Any], Any]:
    """Nodes that mostly touch nodes of their own class, scaled as in Kipf and Welling."""
    x, y = classes(NODES)
    generator = np.random.default_rng(1)
    ends = generator.integers(0, NODES, (20 * EDGES, 2))
    same = y[ends[:, 0]] == y[ends[:, 1]]
    ends = ends[same | (generator.uniform(size=len(ends)) < 0.02)][:EDGES]
    loops = np.arange(NODES)[:, None].repeat(2, 1)
    pairs = np.concatenate([ends, ends[:, ::-1], loops])
    degree = np.bincount(pairs[:, 0], minlength=NODES)
    weights = 1 / np.sqrt(degree[pairs[:, 0]] * degree[pairs[:, 1]])
    return {
        "nodes": x[None],
        "weights": weights[None, :, None].astype("float32"),
        "pairs": pairs.T[None].astype("int64"),
    }, y[None]


def build(faulty: bool) -> Training:
    x, y = graph()
    given = {
        name: keras.Input(array.shape[1:], name=name, dtype=array.dtype.name)
        for name, array in x.items()
    }
    # The layers take the nodes of one graph without an axis for the batch.
    one = keras.layers.Lambda(lambda some: [part[0] for part in some])
    nodes, weights, pairs = one([given["nodes"], given["weights"], given["pairs"]])
    depth, activation = (DEPTH, "sigmoid") if faulty else (2, "relu")
    for _ in range(depth):
        nodes = GCN(16, activation=activation)([nodes, weights, pairs])
    outputs = keras.layers.Dense(4)(nodes)
    outputs = keras.layers.Lambda(lambda part: part[None])(outputs)
    model = keras.Model(given, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    return fitted(model, x, y, batch=1, epochs=EPOCHS)


PROGRAM = Program(
    build,
    fault="ten layers with sigmoid",
    rule="vanishing_gradient",
    cause="saturating_activation",
)
