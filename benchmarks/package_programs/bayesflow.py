"""bayesflow: a posterior by a coupling flow and a summary network, by the approximator's ``fit``.

The approximator has a ``train_step`` of its own; a workflow makes a new optimizer for each fit, and
passes ``callbacks`` on in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bayesflow
import keras
import numpy as np

from package_programs.keras_training import gradients_of
from package_programs.program import Attach, Program, Training

ROWS, BATCH, EPOCHS = 640, 64, 6


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    theta = generator.normal(size=(ROWS, 2)).astype("float32")
    x = (theta[:, None] + generator.normal(0, 0.5, (ROWS, 6, 2))).astype("float32")
    if faulty:
        x[200, 2, 0] = np.nan  # a simulation that failed, in batch 3
    plain = {"dropout": 0.0}
    approximator = bayesflow.ContinuousApproximator(
        inference_network=bayesflow.networks.CouplingFlow(
            depth=2, subnet_kwargs={"widths": (32, 32), **plain}
        ),
        summary_network=bayesflow.networks.DeepSet(
            summary_dim=4,
            embed_dim=16,
            depth=1,
            mlp_widths=(16,),
            **plain,
        ),
        standardize=None,
    )
    data = {"inference_variables": theta, "summary_variables": x}
    dataset = bayesflow.OfflineDataset(data, batch_size=BATCH, adapter=None, shuffle=False)
    first = {name: keras.ops.convert_to_tensor(array) for name, array in dataset[0].items()}
    approximator.build({name: tuple(array.shape) for name, array in first.items()})
    approximator.compile(optimizer=keras.optimizers.Adam(1e-3))

    def tape() -> Sequence[Any]:
        return gradients_of(
            approximator, lambda: approximator.compute_metrics(**first, stage="training")["loss"]
        )

    def train(attach: Attach) -> Sequence[float]:
        done = approximator.fit(
            dataset=dataset, epochs=EPOCHS, verbose=0, callbacks=attach.callbacks()
        )
        return list(done.history["loss"])

    variables = approximator.trainable_variables
    return Training(variables, ROWS // BATCH * EPOCHS, tape, train)


PROGRAM = Program(
    build,
    fault="one NaN in one simulated data set",
    rule="nonfinite_gradient",
    cause="nonfinite_inputs",
)
