"""DeepXDE: a physics-informed network of a differential equation, by ``model.train``.

The optimizer is made by ``compile`` and not kept: pass one of your own, and watch that. A callback
of DeepXDE calls ``monitor.step()``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import deepxde
import numpy as np
import tensorflow as tf

from package_programs.program import Attach, Program, Training

STEPS = 120


class Step(deepxde.callbacks.Callback):  # type: ignore[misc]
    """After each step of the training, one of the monitor."""

    def __init__(self, monitor: Any) -> None:
        super().__init__()
        self.monitor = monitor

    def on_batch_end(self) -> None:
        self.monitor.step()


def build(faulty: bool) -> Training:
    deepxde.config.set_random_seed(0)
    geometry = deepxde.geometry.Interval(-1, 1)

    def equation(x: Any, y: Any) -> Any:
        curvature = deepxde.grad.hessian(y, x)
        return -curvature - np.pi**2 * tf.sin(np.pi * x)

    bound = deepxde.icbc.DirichletBC(geometry, lambda x: 0 * x, lambda _, on: on)
    data = deepxde.data.PDE(geometry, equation, bound, num_domain=32, num_boundary=2)
    start = "zeros" if faulty else "Glorot uniform"
    net = deepxde.nn.FNN([1, 20, 20, 1], "tanh", start)
    model = deepxde.Model(data, net)
    optimizer = tf.keras.optimizers.Adam(1e-2)
    with contextlib.redirect_stdout(io.StringIO()):
        model.compile(optimizer, verbose=0)
    x, y, others = data.train_next_batch()
    model.outputs(False, x)  # makes the variables

    def tape() -> Sequence[Any]:
        with tf.GradientTape() as found:
            loss = tf.reduce_sum(model.outputs_losses_train(x, y, others)[1])
        return found.gradient(loss, net.trainable_variables)

    def train(attach: Attach) -> Sequence[float]:
        with (
            attach.watch(optimizer, model=net) as monitor,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            step = Step(monitor)
            history, _ = model.train(
                iterations=STEPS, display_every=STEPS, callbacks=[step], verbose=0
            )
        return [float(np.sum(losses)) for losses in history.loss_train]

    return Training(net.trainable_variables, STEPS, tape, train)


PROGRAM = Program(
    build,
    fault="all kernels start at zero",
    rule="zero_gradient",
    cause="zero_initialization",
)
