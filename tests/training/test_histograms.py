"""Bins read off the bits are those of floor(log2 |x|), and no element is lost."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from probing import MODES, ProbedVariables

from tb_gradients import schema
from tb_gradients.host.sampling import SAMPLE_ELEMENTS
from tb_gradients.host.statistics import bins_of
from tb_gradients.training.probe.pending import OptimizerView


def reference_bin(value: float) -> int:
    if math.isnan(value):
        return schema.BIN_NAN
    if math.isinf(value):
        return schema.BIN_POSITIVE_INF if value > 0 else schema.BIN_NEGATIVE_INF
    if value == 0:
        return schema.BIN_ZERO
    exponent = math.frexp(abs(value))[1] - 1
    octave = min(max(exponent - schema.HISTOGRAM_LOWEST_EXPONENT, 0), schema.HISTOGRAM_OCTAVES - 1)
    return octave + (schema.BIN_NEGATIVE if value < 0 else schema.BIN_POSITIVE)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_every_float32_falls_into_its_octave(values: list[float]) -> None:
    bins = bins_of(np.array(values, np.float32))
    assert list(bins) == [reference_bin(value) for value in values]


def counts_of(*gradients: Any, mode: str = "graph", **options: Any) -> np.ndarray:
    """The histograms of a frame of these gradients."""
    weights = [np.ones(np.shape(g), np.asarray(g).dtype) for g in gradients]
    probed = ProbedVariables(weights, mode, **options)
    probed.step(list(gradients))
    (frame,) = probed.frames()
    return frame.histograms


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_histograms_count_every_element_of_small_tensors(dtype: str, mode: str) -> None:
    values = [0.0, -0.0, 1.0, 1.5, -2.0, 0.25, math.nan, math.inf, -math.inf]
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    counts = counts_of(np.array(values, kind), np.zeros([3, 4], kind), mode=mode)
    expected = np.zeros((2, schema.HISTOGRAM_BINS), int)
    for value in values:
        expected[0, reference_bin(value)] += 1
    expected[1, schema.BIN_ZERO] = 12
    np.testing.assert_array_equal(counts, expected)


def test_a_float64_beyond_float32_is_large_and_not_infinite() -> None:
    (counts,) = counts_of(np.array([1e300, -1e300]))
    assert counts[schema.BIN_POSITIVE_INF] == counts[schema.BIN_NEGATIVE_INF] == 0
    assert counts[schema.BIN_NEGATIVE - 1] == 1  # the highest positive octave


def test_the_loss_scale_is_taken_out() -> None:
    view = OptimizerView(loss_scale=lambda: tf.constant(1024.0))
    (counts,) = counts_of(np.array([1024.0], np.float32), view=view)
    assert counts[reference_bin(1.0)] == 1


def test_a_large_tensor_is_sampled_evenly() -> None:
    half = SAMPLE_ELEMENTS * 4
    values = np.concatenate([np.full(half, 1.0, np.float32), np.full(half, -4.0, np.float32)])
    (counts,) = counts_of(values)
    assert SAMPLE_ELEMENTS / 2 <= counts.sum() <= 2 * SAMPLE_ELEMENTS
    assert abs(counts[reference_bin(1.0)] - counts[reference_bin(-4.0)]) <= 1


def test_a_sparse_gradient_is_binned_too() -> None:
    probed = ProbedVariables([np.ones((50, 2), np.float32)], "graph")
    values = tf.constant([[1.0, 0.0], [-4.0, 1.0]])
    probed.step([tf.IndexedSlices(values, tf.constant([3, 9]), tf.constant([50, 2]))])
    (frame,) = probed.frames()
    assert frame.histograms[0, reference_bin(1.0)] == 2
    assert frame.histograms[0].sum() == 4
