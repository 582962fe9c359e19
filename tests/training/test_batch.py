"""What is said of a batch is what a slow, plain NumPy version says: eager, graph and XLA; any
rank, dtype and number of tensors; and no batch, however odd, makes it raise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from probing import MODES
from recorder import separation

from tb_gradients import schema
from tb_gradients.training.probe.batch import QUARTILE_ROWS, Batch, columns
from tb_gradients.training.probe.given import inputs_of, tensors_of

NAN = math.nan
generator = np.random.default_rng(0)


# --- The reference --------------------------------------------------------------------------


def reference(
    inputs: Sequence[Any] = (), targets: Sequence[Any] = (), predictions: Sequence[Any] = ()
) -> dict[str, float]:
    """All columns of a batch of at most 1,024 rows and 256 features, 32 rows for quartiles."""
    row = dict.fromkeys(NAMES, NAN)
    for side in (inputs, targets):
        if side and np.ndim(side[0]):
            row["samples"] = len(side[0])
    if inputs:
        row.update(reference_moments("inputs", inputs))
        row.update(reference_features([rows_of(x) for x in inputs]))
    if targets:
        row.update(reference_moments("targets", targets))
        row["targets_spread"] = reference_spread(targets)
        balances = [reference_classes(t) for t in targets]
        measured = [b for b in balances if not math.isnan(b[1])]
        if measured:
            best = max(measured, key=lambda b: b[1])
            row["targets_classes"], row["targets_majority_share"] = best
    if predictions:
        row.update(reference_moments("predictions", predictions))
        row["predictions_spread"] = reference_spread(predictions)
    if len(targets) == len(predictions) == 1:
        row["predictions_separation"] = separation(targets[0], predictions[0])
    return {name: row[name] for name in NAMES}


def reference_spread(tensors: Sequence[Any]) -> float:
    """Over the samples, root mean square over all else."""
    stds = []
    for tensor in tensors:
        shape = np.shape(tensor) or (1,)
        for column in np.float64(tensor).reshape(shape[0], math.prod(shape[1:])).T:
            column = column[np.isfinite(column)]
            if column.size > 1:
                stds.append(column.std())
    return math.sqrt(np.mean(np.square(stds))) if stds else NAN


def reference_moments(side: str, tensors: Sequence[Any]) -> dict[str, float]:
    flat = np.concatenate([np.float64(t).ravel() for t in tensors])
    finite = flat[np.isfinite(flat)]
    result = {f"{side}_nonfinite": float(flat.size - finite.size)}
    if finite.size:
        result[f"{side}_mean"] = finite.mean()
        result[f"{side}_std"] = finite.std()
        result[f"{side}_max_abs"] = np.abs(finite).max()
        result[f"{side}_min"], result[f"{side}_max"] = finite.min(), finite.max()
    return result


def rows_of(tensor: Any) -> np.ndarray:
    tensor = np.float64(tensor)
    if tensor.ndim < 2:
        return tensor.reshape(-1, 1)
    return tensor.reshape(math.prod(tensor.shape[:-1]), tensor.shape[-1])


def reference_features(tables: Sequence[np.ndarray]) -> dict[str, float]:
    stds, outliers, constant = [], [], []
    for table in tables:
        for column in table.T:
            finite = column[np.isfinite(column)]
            if finite.size > 1:
                constant.append(float(finite.min() == finite.max()))
            ordered = np.sort(finite)
            if finite.size < 8:
                continue
            last = finite.size - 1
            first, median, third = (ordered[i] for i in (last // 4, last // 2, 3 * last // 4))
            if third > first:
                stds.append(finite.std())
                outliers.append(np.abs(finite - median).max() / (third - first))
    return {
        "inputs_scale_ratio": max(stds) / min(stds) if stds else NAN,
        "inputs_constant_share": float(np.mean(constant)) if constant else NAN,
        "inputs_outlier": max(outliers) if outliers else NAN,
    }


def reference_classes(target: Any) -> tuple[float, float]:
    target = np.float64(target)
    if not target.size or not np.isfinite(target).all() or (target != np.floor(target)).any():
        return NAN, NAN
    if target.ndim > 1 and target.shape[-1] > 1:
        table = target.reshape(-1, target.shape[-1])
        if np.isin(table, (0, 1)).all() and (table.sum(axis=1) == 1).all():
            target = table.argmax(axis=1)
    _, counts = np.unique(target, return_counts=True)
    return float(len(counts)), counts.max() / target.size


NAMES = tuple(
    name
    for name in schema.context_names()
    if name.startswith(("inputs_", "targets_", "predictions_", "samples"))
)


# --- Measuring ------------------------------------------------------------------------------


def measured(
    mode: str = "eager",
    inputs: Sequence[Any] = (),
    targets: Sequence[Any] = (),
    predictions: Sequence[Any] = (),
    unknown: bool = False,
) -> dict[str, float]:
    """The columns, with the batch size unknown when traced if so wanted."""
    names: list[str] = []

    def measure(*sides: Any) -> Any:
        found = columns(Batch(None, *sides), xla=mode == "xla")
        names[:] = found
        return list(found.values())

    sides = [[tf.convert_to_tensor(t) for t in side] for side in (inputs, targets, predictions)]
    if mode != "eager":
        signature = None
        if unknown:
            signature = [
                [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in side] for side in sides
            ]
        measure = tf.function(measure, signature, jit_compile=mode == "xla", autograph=False)
    values = measure(*sides)
    return dict.fromkeys(NAMES, NAN) | {
        name: float(value) for name, value in zip(names, values, strict=True)
    }


def assert_agrees(got: dict[str, float], expected: dict[str, float]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if math.isnan(value):
            assert math.isnan(got[name]), f"{name}: {got[name]}, not measured expected"
        else:
            # A mean cancels: its error is that of the magnitudes.
            side = name.partition("_")[0]
            size = max(abs(expected.get(f"{side}_max", 0)), expected.get(f"{side}_max_abs", 0))
            size = size if name.endswith(("mean", "std", "spread")) else 0
            # Devices flush what is below the smallest normal number.
            absolute = max(2e-6 * size, 1.2e-38)
            assert got[name] == pytest.approx(value, rel=1e-4, abs=absolute), name


def assert_measured_right(mode: str = "eager", **sides: Any) -> dict[str, float]:
    got = measured(mode, **sides)
    sides.pop("unknown", None)
    assert_agrees(got, reference(**sides))
    return got


DTYPES = "float16 bfloat16 float32 float64 bool uint8 uint16 uint32 uint64 int8 int16 int32 int64"


def normal(*shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype("float32")


# --- Ways of running, shapes, dtypes --------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_every_column_in_every_way_of_running_a_step(mode: str) -> None:
    x = normal(32, 20) * np.logspace(-3, 3, 20, dtype="float32")
    x[:, 4] = 2.5
    x[3, 7] = np.nan
    y = generator.integers(0, 5, 32)
    row = assert_measured_right(
        mode, inputs=[x], targets=[y], predictions=[normal(32, 5)], unknown=True
    )
    # Of two classes; of the host; of a first layer that scales the inputs.
    of_others = ["predictions_separation", "inputs_nonfinite_age"]
    of_others += ["inputs_scaled_max_abs", "inputs_scaled_nonfinite"]
    assert [name for name, value in row.items() if math.isnan(value)] == of_others


@pytest.mark.parametrize(
    "shape", [(30,), (30, 1), (30, 7), (4, 8, 3), (2, 4, 4, 3), (2, 2, 2, 4, 5)]
)
def test_tables_sequences_and_images(shape: tuple[int, ...]) -> None:
    """The quartiles are those of up to 32 rows, so the shapes here have no more."""
    assert_measured_right(inputs=[normal(*shape)], predictions=[normal(*shape)])


@pytest.mark.parametrize("dtype", DTYPES.split())
def test_every_dtype_of_targets(dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    y = generator.integers(0, 2 if dtype == "bool" else 4, 24).astype(kind)
    row = assert_measured_right(targets=[y])
    assert row["targets_classes"] == (2 if dtype == "bool" else 4)


@pytest.mark.parametrize("mode", MODES)
def test_several_inputs_are_measured_side_by_side(mode: str) -> None:
    assert_measured_right(
        mode, inputs=[normal(30, 3), 100 * normal(30), np.ones((30, 2), "float32")], unknown=True
    )


def test_inputs_of_unequal_length_count_each_with_its_own_rows() -> None:
    short, none = np.float32([[1, 2]]), np.zeros((0, 3), "float32")
    row = measured(inputs=[normal(30, 3), short, none])
    assert row["inputs_constant_share"] == pytest.approx(2 / 5)
    assert row["inputs_nonfinite"] == 0


@pytest.mark.parametrize("magnitude", [1e-30, 1e-12, 1e12, 1e30])
def test_magnitudes_whose_squares_leave_float32(magnitude: float) -> None:
    x = (magnitude * normal(30, 4)).astype("float32")
    assert_measured_right(inputs=[x], targets=[x + magnitude], predictions=[x])


def test_features_of_all_magnitudes_at_once() -> None:
    x = normal(30, 3) * np.float32([1e-10, 1, 1e10])
    row = assert_measured_right(inputs=[x])
    assert 1e19 < row["inputs_scale_ratio"] < 1e21


def test_what_leaves_float32_is_clipped() -> None:
    row = measured(inputs=[np.full((10, 2), 1e300)])
    assert row["inputs_max_abs"] == np.finfo(np.float32).max
    assert row["inputs_nonfinite"] == 0


# --- A bounded sample -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_of_a_large_batch_a_sample_is_measured_and_every_element_is_checked(mode: str) -> None:
    x = normal(3000, 700)
    x[1, 1], x[2, 2] = np.inf, 50  # neither is in the sample
    row = measured(mode, inputs=[x], targets=[x], predictions=[x], unknown=True)
    assert row["inputs_nonfinite"] == row["targets_nonfinite"] == 1
    assert row["inputs_max_abs"] == row["targets_max"] == row["predictions_max"] == 50
    sample = x[::3, ::3]
    for side in ("inputs", "targets", "predictions"):
        assert row[f"{side}_std"] == pytest.approx(sample.std(), rel=1e-3)
    assert row["inputs_scale_ratio"] == pytest.approx(
        max(sample.std(axis=0)) / min(sample.std(axis=0)), rel=1e-3
    )
    assert 2 < row["inputs_outlier"] < 10


def test_wide_one_hot_targets_are_read_in_whole_rows() -> None:
    y = np.eye(3000, dtype="float32")[generator.integers(0, 20, 500)]
    row = measured(targets=[y])
    assert 10 <= row["targets_classes"] <= 20
    assert 1 / 20 <= row["targets_majority_share"] < 0.3


# --- What the columns show ------------------------------------------------------------------


def test_an_outlier_stands_out_and_heavy_tails_do_not() -> None:
    x = normal(128, 20)
    assert measured(inputs=[x])["inputs_outlier"] < 5
    assert measured(inputs=[np.exp(x)])["inputs_outlier"] < 50
    x[77, 3] = 1000
    assert measured(inputs=[x])["inputs_outlier"] > 300


def test_a_single_pixel_stands_out_of_images_with_a_black_border() -> None:
    x = np.zeros((32, 8, 8, 1), "float32")
    x[:, 1:-1, 1:-1] = generator.random((32, 6, 6, 1))
    assert measured(inputs=[x])["inputs_outlier"] < 10
    x[::4, 3, 2] = 1e6
    assert measured(inputs=[x])["inputs_outlier"] > 1e5


def test_sparse_features_have_no_scale_and_no_outlier() -> None:
    x = (generator.random((128, 50)) < 0.05).astype("float32")
    x[5, 5] = 200
    row = measured(inputs=[x])
    assert math.isnan(row["inputs_outlier"])
    assert math.isnan(row["inputs_scale_ratio"])
    assert row["inputs_constant_share"] < 0.1


def test_constant_features_are_counted_whatever_their_value() -> None:
    x = normal(100, 6)
    x[:, 1], x[:, 2], x[:, 3] = 0.1, 0, -1e30
    x[7, 3] = np.nan
    assert measured(inputs=[x])["inputs_constant_share"] == 0.5


TARGETS = {
    "integers": (np.int64([3, 3, 3, 0, 7, 3]), 3, 4 / 6),
    "a column of integers": (np.int32([[1], [1], [0]]), 2, 2 / 3),
    "whole numbers in floating point": (np.float32([0, 1, 2, 2]), 3, 1 / 2),
    "0 and 1": (np.float32([[0], [1], [0], [0]]), 2, 3 / 4),
    "-1 and 1": (np.float32([-1, 1, -1, -1, -1]), 2, 4 / 5),
    "one class": (np.ones(9, "float32"), 1, 1),
    "one-hot": (np.eye(10, dtype="float32")[[4, 4, 4, 1]], 2, 3 / 4),
    "one-hot integers": (np.eye(3, dtype="int32")[[0, 1, 2, 2]], 3, 1 / 2),
    "one-hot positions": (np.eye(4, dtype="float32")[[[0, 1], [0, 0]]], 2, 3 / 4),
    "several labels": (np.float32([[0, 0, 0], [1, 1, 0], [0, 0, 0]]), 2, 7 / 9),
    "tokens": (np.int32([[5, 6, 7], [5, 5, 9]]), 4, 1 / 2),
    "measurements": (np.float32([0.5, 1.5, 2.0]), NAN, NAN),
    "with a gap": (np.float32([0, 1, NAN]), NAN, NAN),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_the_balance_of_classes(kind: str) -> None:
    target, classes, share = TARGETS[kind]
    row = assert_measured_right(targets=[target])
    assert row["targets_classes"] == pytest.approx(classes, nan_ok=True)
    assert row["targets_majority_share"] == pytest.approx(share, nan_ok=True)


def test_of_several_targets_the_least_balanced_speaks() -> None:
    row = assert_measured_right(
        targets=[np.int32([0, 1, 2, 3]), np.int32([1, 1, 1, 0]), normal(4, 2)]
    )
    assert (row["targets_classes"], row["targets_majority_share"]) == (2, 0.75)


def test_predictions_that_ignore_the_sample_have_no_spread() -> None:
    same = np.broadcast_to(normal(1, 5), (20, 5)).copy()
    row = measured(predictions=[same])
    assert row["predictions_spread"] == 0
    assert row["predictions_std"] > 0.1
    assert math.isnan(measured(predictions=[same[:1]])["predictions_spread"])


def test_targets_that_do_not_depend_on_the_sample_have_no_spread() -> None:
    same = np.broadcast_to(normal(1, 5), (20, 5)).copy()
    row = measured(targets=[same])
    assert row["targets_spread"] == 0
    assert row["targets_std"] > 0.1


# --- Which inputs are numbers -----------------------------------------------------------------


def model_of(*first: Any) -> keras.Model:
    """A model with one input per given layer, which takes it."""
    inputs = [keras.Input((6,), name=f"input_{i}") for i in range(len(first))]
    outputs = [layer(x) for layer, x in zip(first, inputs, strict=True)]
    return keras.Model(inputs, outputs)


def test_without_a_model_the_type_distinguishes_numbers_from_identifiers() -> None:
    tokens = generator.integers(0, 255, (8, 6))
    pixels, images = tokens.astype("uint8"), tokens.reshape(2, 2, 2, 6)
    chosen = inputs_of((tokens, pixels, images, normal(3)))
    assert [id(x) for x in chosen[:2]] == [id(pixels), id(images)]
    assert len(chosen) == 3


def test_the_layer_that_takes_an_input_distinguishes_numbers_from_identifiers() -> None:
    layers = keras.layers
    dense, embedding = layers.Dense(2), layers.Embedding(9, 2)
    behind_others = keras.Sequential([layers.Dropout(0.1), layers.Flatten()])
    integers = np.zeros((4, 6), "int64")
    x = [integers + i for i in range(3)]
    chosen = inputs_of(x, model_of(dense, embedding, behind_others))
    assert [int(t[0, 0]) for t in chosen] == [0]
    floats = [t.astype("float32") for t in x]
    assert [int(t[0, 0]) for t in inputs_of(floats, model_of(dense, embedding, dense))] == [0, 2]
    named = {"input_1": integers + 1, "input_0": integers}
    assert [int(t[0, 0]) for t in inputs_of(named, model_of(dense, embedding))] == [0]


def test_integers_are_numbers_for_a_dense_layer_behind_a_flattening_one() -> None:
    model = keras.Sequential(
        [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    assert len(inputs_of(np.zeros((4, 28, 28), "int64"), model)) == 1


def test_ragged_and_sparse_inputs_are_left_out_and_lists_of_numbers_are_a_batch() -> None:
    ragged, sparse = tf.ragged.constant([[1.0], [1.0, 2.0]]), tf.sparse.eye(3)
    assert tensors_of({"a": ragged, "b": sparse, "c": None, "d": np.array(["a"])}) == []
    (batch,) = tensors_of([[1, 2, 3], [4, 5, 6.5]])
    assert batch.shape == (2, 3)


# --- Odd batches ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((0, 4), "float32"),
        np.zeros((4, 0), "float32"),
        np.zeros((0, 3, 0, 2), "float32"),
        np.zeros(0, "int32"),
        np.float32(3),
        np.full((9, 2), NAN, "float32"),
        np.full((9, 2), np.inf, "float32"),
    ],
    ids=lambda odd: f"{odd.dtype} {odd.shape} {odd.ravel()[:1]}",
)
def test_empty_scalar_and_broken_batches_are_not_measured_and_do_not_raise(
    odd: np.ndarray,
) -> None:
    row = assert_measured_right(targets=[odd])
    assert row["targets_nonfinite"] == (0 if np.isfinite(odd).all() else odd.size)
    if odd.dtype != np.int32:
        assert_measured_right(inputs=[odd, odd], predictions=[odd])


@pytest.mark.parametrize("shape", [(0, 4), (9, 4)], ids=["empty", "all NaN"])
def test_odd_batches_under_xla(shape: tuple[int, ...]) -> None:
    odd = np.full(shape, NAN, "float32")
    assert_measured_right("xla", inputs=[odd, odd], targets=[odd], predictions=[odd], unknown=True)


def test_tensors_of_unknown_rank_do_not_raise() -> None:
    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec(None, tf.int32)])
    def measure(x: Any, y: Any) -> Any:
        return columns(Batch(None, [x], [x, y], [x]))

    row = measure(tf.constant(normal(10, 3)), tf.constant([1, 1, 2]))
    assert float(row["inputs_constant_share"]) == 0
    assert float(row["targets_classes"]) == 2


def test_strings_and_complex_numbers_are_left_out() -> None:
    row = measured(inputs=[np.array(["a", "b"])], targets=[np.ones(3, "complex64")])
    assert all(map(math.isnan, row.values()))


@pytest.mark.parametrize("mode", MODES)
def test_a_tiny_feature_beside_one_of_zeros_keeps_its_deviation(mode: str) -> None:
    row = assert_measured_right(mode, inputs=[np.float32([[5e-25, 0], [0, 0]])])
    assert row["inputs_std"] > 0


FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False) | st.sampled_from(
    [0.0, 1.0, -1.0, NAN, math.inf]
)
# The reference takes quartiles over all rows.
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5).filter(
    lambda shape: math.prod(shape[:-1]) <= QUARTILE_ROWS
)


@settings(max_examples=50, deadline=None)
@given(
    x=arrays.arrays(np.float32, SHAPES, elements=FLOATS),
    y=arrays.arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, 1.0, 2.0, -1.0, NAN])),
)
def test_whatever_the_batch_the_numbers_are_right(x: np.ndarray, y: np.ndarray) -> None:
    assert_measured_right(inputs=[x], targets=[y], predictions=[x])
