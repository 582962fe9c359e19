"""GPflow: a sparse variational Gaussian process, in a custom training loop.

The variables are those of ``tf.Module``s, named by their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
import tf_keras

from package_programs.program import Attach, Program, Training

ROWS, STEPS = 200, 100


def build(faulty: bool) -> Training:
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(ROWS, 1))
    y = np.sin(12 * x) + 0.66 * np.cos(25 * x) + 0.1 * generator.normal(size=(ROWS, 1))
    model = gpflow.models.SVGP(
        gpflow.kernels.Matern52(lengthscales=0.2),
        gpflow.likelihoods.Gaussian(0.1),
        inducing_variable=np.linspace(0, 1, 12)[:, None],
        num_data=ROWS,
    )
    variables = list(model.trainable_variables)
    optimizer = tf_keras.optimizers.Adam(0.02)

    def loss_of() -> Any:
        if not faulty:
            return model.training_loss((x, y))
        mean, variance = model.predict_f(x)
        fit = model.likelihood.variational_expectations(x, tf.stop_gradient(mean), variance, y)
        return model.prior_kl() - tf.reduce_sum(fit)

    def gradients() -> tuple[Any, Sequence[Any]]:
        with tf.GradientTape() as tape:
            loss = loss_of()
        return loss, tape.gradient(loss, variables)

    @tf.function
    def step() -> Any:
        loss, found = gradients()
        optimizer.apply_gradients(zip(found, variables, strict=True))
        return loss

    def train(attach: Attach) -> Sequence[float]:
        losses = []
        with attach.watch(optimizer, model=model) as monitor:
            for _ in range(STEPS):
                losses.append(step())
                monitor.step(loss=losses[-1])
        return [float(loss) for loss in losses]

    return Training(variables, STEPS, lambda: gradients()[1], train)


PROGRAM = Program(
    build,
    fault="`stop_gradient` behind the mean of the posterior",
    rule="zero_gradient",
    cause="non_differentiable_operation",
    variable="q_mu",
)
