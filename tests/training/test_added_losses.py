"""What layers add with ``add_loss``, and a training step of the user's own leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.flags import Flag

X = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")


class LearnedPrior(keras.layers.Layer):  # type: ignore[misc]
    """Passes its inputs on; a scale that only its penalty reads is learnt."""

    def build(self, shape: Any) -> None:
        self.tau = self.add_weight(name="tau", shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        self.add_loss(0.01 * tf.reduce_mean(tf.square(x) * tf.exp(-self.tau) + self.tau))
        return x


class Ignored(keras.layers.Layer):  # type: ignore[misc]
    """Reads a weight whose product is used nowhere."""

    def build(self, shape: Any) -> None:
        self.tau = self.add_weight(name="tau", shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        tf.reduce_sum(x * self.tau)
        return x


class Regression(keras.Model):  # type: ignore[misc]
    def __init__(self, middle: Any, whole: bool) -> None:
        super().__init__()
        self.first, self.middle, self.head = keras.layers.Dense(8), middle, keras.layers.Dense(1)
        self.whole = whole

    def call(self, x: Any) -> Any:
        return self.head(self.middle(self.first(x)))

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
            if self.whole:
                loss += sum(self.losses)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def flags_of(middle: Any, folder: Path, whole: bool = False, **compiled: Any) -> list[Flag]:
    keras.utils.set_random_seed(0)
    model = Regression(middle, whole)
    model(X[:2])
    model.compile(keras.optimizers.Adam(1e-3), **{"jit_compile": False, **compiled})
    health = tbg.GradientHealth(folder, every=1, histograms=False, verbose=0)
    model.fit(X, X[:, :1], batch_size=16, epochs=5, verbose=0, callbacks=[health])
    return [flag for flag in health.report if flag.rule == "disconnected_gradient"]


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_losses_that_the_train_step_leaves_out_are_the_cause(
    jit_compile: bool, tmp_path: Path
) -> None:
    [flag] = flags_of(LearnedPrior(), tmp_path, jit_compile=jit_compile)

    assert [path.rpartition("/")[2] for path in flag.variables] == ["tau"]
    assert flag.causes[0].id == "losses_not_added"
    assert "`loss += sum(model.losses)`" in flag.fixes[0]


def test_with_them_nothing_is_flagged(tmp_path: Path) -> None:
    assert flags_of(LearnedPrior(), tmp_path, whole=True) == []


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_what_no_added_loss_reads_has_another_cause(tmp_path: Path) -> None:
    [flag] = flags_of(Ignored(), tmp_path)

    assert "losses_not_added" not in {cause.id for cause in flag.causes}
