"""Bins read off the bits are those of floor(log2 |x|), and no element is lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from probing import MODES, ProbedVariables

from tb_gradients import schema
from tb_gradients.training.histograms import SAMPLE_ELEMENTS, bins_of, histograms


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
    bins = bins_of(tf.constant(values, tf.float32)).numpy()
    assert list(bins) == [reference_bin(value) for value in values]


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_histograms_count_every_element_of_small_tensors(dtype: str, xla: bool) -> None:
    values = [0.0, -0.0, 1.0, 1.5, -2.0, 0.25, math.nan, math.inf, -math.inf]
    tensors = [tf.constant(values, dtype), tf.zeros([3, 4], dtype)]
    binned = tf.function(lambda: histograms(tensors, None), jit_compile=xla)
    counts = binned().numpy()
    expected = np.zeros((2, schema.HISTOGRAM_BINS), int)
    for value in values:
        expected[0, reference_bin(value)] += 1
    expected[1, schema.BIN_ZERO] = 12
    np.testing.assert_array_equal(counts, expected)


def test_a_float64_beyond_float32_is_large_and_not_infinite() -> None:
    counts = histograms([tf.constant([1e300, -1e300], tf.float64)], None).numpy()[0]
    assert counts[schema.BIN_POSITIVE_INF] == counts[schema.BIN_NEGATIVE_INF] == 0
    assert counts[schema.BIN_NEGATIVE - 1] == 1  # the highest positive octave


@pytest.mark.parametrize("mode", MODES)
def test_without_histograms_the_frames_are_the_same(mode: str) -> None:
    frames = []
    for with_histograms in (True, False):
        probed = ProbedVariables([np.ones((2, 3), "f")], mode, with_histograms=with_histograms)
        probed.step([np.full((2, 3), 0.5, "f")], [np.full((2, 3), -0.1, "f")])
        frames += probed.frames()
    with_them, without = frames
    np.testing.assert_equal(without.rows, with_them.rows)
    assert with_them.histograms is not None
    assert without.histograms is None


def test_the_loss_scale_is_taken_out() -> None:
    counts = histograms([tf.constant([1024.0])], tf.constant(1024.0)).numpy()[0]
    assert counts[reference_bin(1.0)] == 1


def test_a_large_tensor_is_sampled_evenly() -> None:
    half = SAMPLE_ELEMENTS * 4
    values = tf.concat([tf.fill([half], 1.0), tf.fill([half], -4.0)], 0)
    counts = histograms([values], None).numpy()[0]
    assert counts.sum() <= SAMPLE_ELEMENTS
    assert counts[reference_bin(1.0)] == counts[reference_bin(-4.0)] == SAMPLE_ELEMENTS // 2
