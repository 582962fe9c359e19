"""Frozen layers are called never trained where they are, and only there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tb_gradients.judging.freezing import NEVER_TRAINED
from tb_gradients.training.model.frozen import frozen_facts

L = keras.layers


def model_with(*base: Any) -> Any:
    """A frozen base of these layers, and a head."""
    inner = keras.Sequential([keras.Input((4,)), *base], name="base")
    inner.trainable = False
    return keras.Sequential([keras.Input((4,)), inner, L.Dense(2)])


def test_a_frozen_base_at_its_initial_values_is_named() -> None:
    model = model_with(L.Dense(3), L.BatchNormalization(), L.Dense(3))

    assert frozen_facts(model) == {NEVER_TRAINED: "base"}


def test_one_vector_that_has_moved_tells_of_a_training() -> None:
    model = model_with(L.Dense(3), L.Dense(3))
    model.layers[0].layers[-1].bias.assign(np.array([0.0, 0.0, 0.1]))

    assert frozen_facts(model) == {}


def test_a_base_without_such_vectors_may_have_been_trained() -> None:
    assert frozen_facts(model_with(L.Dense(3, use_bias=False))) == {}


def test_a_base_that_trains_is_not_frozen() -> None:
    model = model_with(L.Dense(3))
    model.layers[0].trainable = True

    assert frozen_facts(model) == {}
