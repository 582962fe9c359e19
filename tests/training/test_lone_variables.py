"""Variables that belong to no layer: a Gaussian whose mean is cut off, or is a factor of zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag

DATA = tf.constant(np.random.default_rng(0).normal(1.0, 0.5, (64, 4)), tf.float32)


def flags_of(folder: Path, share: Any) -> dict[str, Flag]:
    """Fit a Gaussian by its likelihood and a prior; ``share``: of the mean, what the data sees."""
    mean = tf.Variable(tf.zeros((4, 1)), name="mean")
    scale = tf.Variable(tf.ones((4, 1)), name="scale")
    optimizer = keras.optimizers.Adam(0.05)
    variables = [mean, scale]

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            misfit = tf.square((DATA - tf.transpose(share(mean))) / tf.transpose(scale))
            prior = tf.reduce_mean(tf.square(mean)) + tf.reduce_mean(tf.square(scale))
            loss = tf.reduce_mean(misfit) + tf.reduce_mean(tf.math.log(scale**2)) + 0.1 * prior
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    monitor = tbg.watch(
        optimizer, folder, variables=variables, every=1, histograms=False, verbose=0
    )
    with monitor:
        for _ in range(60):
            monitor.step(loss=step())
    return {flag.rule: flag for flag in monitor.report}


def nothing_of(mean: Any) -> Any:
    return 0.0 * mean


@pytest.mark.parametrize(
    "share", [tf.stop_gradient, pytest.param(nothing_of, marks=pytest.mark.slow)]
)
def test_a_mean_that_is_cut_off_is_not_blamed_for_its_start_at_zero(
    share: Any, tmp_path: Path
) -> None:
    flag = flags_of(tmp_path, share)["zero_gradient"]

    assert flag.variables == ("mean",)
    assert flag.causes[0].id == "non_differentiable_operation"


def test_a_mean_that_the_data_moves_is_not_flagged(tmp_path: Path) -> None:
    assert "zero_gradient" not in flags_of(tmp_path, tf.identity)
