"""The device's numbers are those of a slow, plain NumPy version: eager, graph and XLA; every
dtype; any rank; NaN, Inf, zeros, subnormals, and magnitudes whose squares leave float32.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from probing import MODES, ProbedVariables
from reference import norm, reference_row, unit_spread

from tb_gradients import schema
from tb_gradients.frames import Variable
from tb_gradients.host.sampling import HUGE_ELEMENTS, SAMPLE_ELEMENTS
from tb_gradients.training.probe.measuring import squares
from tb_gradients.training.probe.pending import OptimizerView

DTYPES = ("float32", "float64", "float16", "bfloat16")
RELATIVE = 2e-5
"""float32 sums of some thousand elements; and both sides round their inputs alike."""


def numpy_dtype(name: str) -> Any:
    return ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)


def assert_rows_agree(row: dict[str, float], expected: dict[str, float], scale: float) -> None:
    for name, value in expected.items():
        got = row[name]
        if math.isnan(value):
            assert math.isnan(got), f"{name}: {got}, not measured expected"
        else:
            # A mean cancels: its error is that of the sum of magnitudes.
            absolute = {"gradient_mean": 1e-6 * scale, "unit_spread": 1e-6}.get(name, 1e-40)
            assert got == pytest.approx(value, rel=RELATIVE, abs=absolute), name


def assert_device_agrees(gradient: Any, weight: Any, update: Any, mode: str) -> dict[str, float]:
    weight = np.asarray(weight)
    probed = ProbedVariables([weight], mode)
    before = probed.variables[0].numpy()
    probed.step([gradient], [update])
    after = probed.variables[0].numpy()
    (frame,) = probed.frames()
    expected = reference_row(
        gradient,
        before,
        after,
        unit_axis=weight.ndim - 1 if weight.ndim else -1,
        smallest_normal=float(ml_dtypes.finfo(weight.dtype).smallest_normal),
    )
    finite = np.asarray(gradient, np.float64)
    finite = np.abs(finite[np.isfinite(finite)])
    assert_rows_agree(frame.rows[0], expected, float(finite.max()) if finite.size else 0.0)
    return frame.rows[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_of_each_dtype(dtype: str, mode: str) -> None:
    generator = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    gradient = (generator.normal(size=(40, 30)) * 1e-2).astype(kind)
    gradient[generator.random(gradient.shape) < 0.3] = 0
    weight = generator.normal(size=(40, 30)).astype(kind)
    update = (1e-3 * generator.normal(size=(40, 30))).astype(kind)
    assert_device_agrees(gradient, weight, update, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (3, 3, 2, 8), (2, 1, 3, 2, 4)]
)
def test_variables_of_rank_zero_to_five(shape: tuple[int, ...], mode: str) -> None:
    generator = np.random.default_rng(1)
    gradient, weight, update = generator.normal(size=(3, *shape)).astype(np.float32)
    assert_device_agrees(gradient, weight, update, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "special",
    [[np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf]],
    ids=["nan", "inf", "minus inf", "all three"],
)
def test_nonfinite_elements_are_counted_and_the_rest_is_measured(
    special: list[float], mode: str
) -> None:
    generator = np.random.default_rng(2)
    gradient, weight, update = generator.normal(size=(3, 20, 10)).astype(np.float32)
    for i, value in enumerate(special):
        gradient[i * 3 + 1, i] = value
    gradient[10:, :] = 0
    row = assert_device_agrees(gradient, weight, update, mode)
    assert row["gradient_nan_count"] + row["gradient_inf_count"] == len(special)


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_of_nothing_but_nan(mode: str) -> None:
    gradient = np.full((4, 3), np.nan, np.float32)
    row = assert_device_agrees(
        gradient, np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32), mode
    )
    assert row["gradient_nan_count"] == 12
    assert math.isnan(row["gradient_mean"])
    assert row["gradient_zero_share"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_nonfinite_weights_are_counted(mode: str) -> None:
    weight = np.array([[1.0, np.nan], [np.inf, 2.0]], np.float32)
    row = assert_device_agrees(
        np.ones((2, 2), np.float32), weight, np.zeros((2, 2), np.float32), mode
    )
    assert row["weight_nonfinite_count"] == 2
    assert row["weight_norm"] == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(4, 3), (200, 100)], ids=["small", "large"])
def test_weights_of_nothing_but_nan_have_no_norm_left(shape: tuple[int, int], mode: str) -> None:
    probed = ProbedVariables([np.ones(shape, np.float32)], mode)
    probed.step([np.ones(shape, np.float32)], [np.full(shape, np.nan, np.float32)])
    (frame,) = probed.frames()
    assert frame.rows[0]["weight_norm"] == 0
    assert frame.rows[0]["weight_nonfinite_count"] == shape[0] * shape[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("magnitude", [1e-34, 1e-10, 1.0, 1e25, 1e36])
def test_magnitudes_whose_squares_leave_float32(magnitude: float, mode: str) -> None:
    generator = np.random.default_rng(3)
    gradient = (generator.normal(size=(30, 20)) * magnitude).astype(np.float32)
    weight = np.zeros((30, 20), np.float32)
    update = (1e-3 * gradient).astype(np.float32)
    if magnitude < 1e-30:  # the update itself would be subnormal, and devices flush those
        update[:] = 0
    assert_device_agrees(gradient, weight, update, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("magnitude", [1e-24, 1.0, 1e24])
def test_large_variables_keep_the_range_too(magnitude: float, mode: str) -> None:
    """Above 65,536 elements the fast way is tried first: it must notice that it does not do."""
    generator = np.random.default_rng(4)
    gradient = (generator.normal(size=(300, 250)) * magnitude).astype(np.float32)
    weight = generator.normal(size=(300, 250)).astype(np.float32)
    probed = ProbedVariables([weight], mode)
    probed.step([gradient], [np.full((300, 250), 1e-3, np.float32)])
    (frame,) = probed.frames()
    row = frame.rows[0]
    assert row["gradient_norm"] == pytest.approx(norm(gradient), rel=RELATIVE)
    assert row["gradient_max"] == pytest.approx(gradient.max())
    assert row["gradient_min"] == pytest.approx(gradient.min())
    assert row["update_norm"] == pytest.approx(1e-3 * math.sqrt(75_000), rel=1e-3)
    assert row["unit_spread"] == pytest.approx(1.0, abs=0.05)  # of a sample


@pytest.mark.parametrize("mode", MODES)
def test_subnormal_gradients_are_no_zeros(mode: str) -> None:
    gradient = np.full((5, 4), 1e-41, np.float32)
    gradient[0, 0] = 0.0
    gradient[1, 1] = -0.0
    probed = ProbedVariables([np.ones((5, 4), np.float32)], mode)
    probed.step([gradient])
    (frame,) = probed.frames()
    assert frame.rows[0]["gradient_zero_share"] == pytest.approx(0.1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_gradients_below_the_range_of_the_layers_dtype_are_subnormal(dtype: str, mode: str) -> None:
    """A mixed policy's gradient is a float32 whose values were computed in 16 bits, scaled."""
    smallest = 2.0**-14 if dtype == "float16" else 2.0**-126
    scaled = np.full((6, 5), 1.0, np.float32)
    scaled[0] = 0.0
    scaled[1], scaled[2, :2] = smallest / 2, -smallest / 4
    scaled[3], scaled[4, 0] = smallest, np.nan
    view = OptimizerView(loss_scale=lambda: tf.constant(2.0**7))
    weight = np.ones((6, 5), np.float32)
    described = Variable("v0", (6, 5), "float32", facts={"compute_dtype": dtype})
    probed = ProbedVariables([weight], mode, view=view, described=[described])
    probed.step([scaled])
    (frame,) = probed.frames()
    unscaled = scaled.astype(np.float64) / 2.0**7
    expected = reference_row(unscaled, weight, weight, smallest_normal=smallest, scale=2.0**7)
    assert expected["gradient_subnormal_share"] == pytest.approx(7 / 24)
    assert frame.rows[0]["gradient_subnormal_share"] == pytest.approx(7 / 24)


def test_a_sparse_gradient_has_subnormal_elements_too() -> None:
    table = np.ones((50, 2), np.float32)
    described = Variable("v0", (50, 2), "float32", facts={"compute_dtype": "float16"})
    probed = ProbedVariables([table], "graph", described=[described])
    values = tf.constant([[1e-6, 1.0], [0.0, 1e-5]])
    probed.step([tf.IndexedSlices(values, tf.constant([3, 9]), tf.constant([50, 2]))])
    (frame,) = probed.frames()
    assert frame.rows[0]["gradient_subnormal_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_variable_is_not_measured_and_disturbs_nobody(mode: str) -> None:
    probed = ProbedVariables([np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32)], mode)
    probed.step([np.zeros((0, 3), np.float32), np.full((2, 3), 2.0, np.float32)])
    (frame,) = probed.frames()
    assert math.isnan(frame.rows[0]["gradient_norm"])
    assert frame.rows[1]["gradient_norm"] == pytest.approx(math.sqrt(24))


@pytest.mark.parametrize("mode", MODES)
def test_equal_shapes_are_reduced_together_and_not_mixed_up(mode: str) -> None:
    generator = np.random.default_rng(5)
    shapes = [(4, 3), (3,), (4, 3), (5,), (3,), (4, 3)]
    gradients = [generator.normal(size=s).astype(np.float32) for s in shapes]
    weights = [generator.normal(size=s).astype(np.float32) for s in shapes]
    updates = [generator.normal(size=s).astype(np.float32) for s in shapes]
    probed = ProbedVariables(weights, mode)
    before = [v.numpy() for v in probed.variables]
    probed.step(gradients, updates)
    (frame,) = probed.frames()
    for i, variable in enumerate(probed.variables):
        expected = reference_row(
            gradients[i], before[i], variable.numpy(), unit_axis=len(shapes[i]) - 1
        )
        assert_rows_agree(frame.rows[i], expected, 1.0)


@pytest.mark.parametrize("mode", MODES)
def test_updates_that_rounding_eats_are_lost(mode: str) -> None:
    weight = np.array([1.0, 1.0, 1e-3, 1.0], np.float32)
    update = np.array([1e-9, 1e-3, 1e-9, 0.0], np.float32)
    gradient = np.array([1.0, 1.0, 1.0, 0.0], np.float32)
    row = assert_device_agrees(gradient, weight, update, mode)
    assert row["unchanged_share"] == 0.5
    assert row["lost_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("mode", MODES)
def test_equal_units_have_no_spread(mode: str) -> None:
    gradient = np.repeat(np.random.default_rng(6).normal(size=(9, 1)), 5, axis=1)
    row = assert_device_agrees(
        gradient.astype(np.float32), np.ones((9, 5), np.float32), np.zeros((9, 5), np.float32), mode
    )
    assert row["unit_spread"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_shares_of_a_large_variable_are_those_of_an_even_sample(mode: str) -> None:
    size = SAMPLE_ELEMENTS * 5
    gradient = np.ones((size // 64, 64), np.float32)
    gradient[::2] = 0
    probed = ProbedVariables([np.ones_like(gradient)], mode)
    probed.step([gradient], [np.zeros_like(gradient)])
    (frame,) = probed.frames()
    assert frame.rows[0]["gradient_zero_share"] == pytest.approx(0.5, abs=0.01)
    assert frame.rows[0]["unchanged_share"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_one_element_of_a_large_variable_keeps_it_from_being_all_zero(mode: str) -> None:
    gradient = np.zeros((SAMPLE_ELEMENTS, 8), np.float32)
    gradient[1234, 5] = 1e-3
    probed = ProbedVariables([np.ones_like(gradient)], mode)
    probed.step([gradient])
    (frame,) = probed.frames()
    assert 0.99 < frame.rows[0]["gradient_zero_share"] < 1


@pytest.mark.parametrize("mode", MODES)
def test_a_sparse_gradient_is_judged_on_its_touched_rows(mode: str) -> None:
    """Row 2 is listed twice: its gradient is the sum, and it is one row."""
    table = np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)
    values = np.array([[1, 2, 3, 4], [10, 0, 0, 0], [5, 5, 5, 5]], np.float32)
    indices = [2, 7, 2]
    update = np.zeros_like(table)
    update[2], update[7] = 0.5, -0.25
    probed = ProbedVariables([table], mode)
    sparse = tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([50, 4]))
    probed.step([sparse], [update])
    (frame,) = probed.frames()
    touched = np.array([[6, 7, 8, 9], [10, 0, 0, 0]], np.float32)
    expected = reference_row(touched, table[[2, 7]], (table + update)[[2, 7]])
    del expected["unit_spread"]
    expected["weight_norm"] = norm(table + update)
    assert_rows_agree(frame.rows[0], expected, 10.0)


@pytest.mark.parametrize("mode", MODES)
def test_scaled_gradients_are_reported_unscaled(mode: str) -> None:
    gradient = np.random.default_rng(8).normal(size=(6, 4)).astype(np.float32)
    view = OptimizerView(loss_scale=lambda: tf.constant(2.0**15))
    probed = ProbedVariables([np.ones((6, 4), np.float32)], mode, view=view)
    probed.step([gradient * 2.0**15])
    (frame,) = probed.frames()
    assert frame.rows[0]["gradient_norm"] == pytest.approx(norm(gradient), rel=RELATIVE)
    assert frame.rows[0]["gradient_norm_max"] == pytest.approx(norm(gradient), rel=RELATIVE)
    assert frame.context["loss_scale"] == 2.0**15


@pytest.mark.parametrize(
    ("clipping", "expected"),
    [
        ({}, [3.0, 4.0]),
        ({"clipnorm": 3.5}, [3.0, 3.5]),
        ({"global_clipnorm": 1.0}, [0.6, 0.8]),
        ({"global_clipnorm": 10.0}, [3.0, 4.0]),
        ({"clipvalue": 5.0}, [3.0, 4.0]),
    ],
)
def test_the_norm_after_clipping_is_that_of_keras(
    clipping: dict[str, float], expected: list[float]
) -> None:
    probed = ProbedVariables(
        [np.ones(1, np.float32)] * 2, "graph", view=OptimizerView(clipping=clipping)
    )
    probed.step([np.array([3.0], np.float32), np.array([4.0], np.float32)])
    (frame,) = probed.frames()
    assert [row["applied_norm"] for row in frame.rows] == pytest.approx(expected)
    assert frame.context["global_norm"] == pytest.approx(5.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", ["clipnorm", "global_clipnorm"])
def test_repeated_rows_are_clipped_before_they_are_summed_as_in_keras(
    limit: str, mode: str
) -> None:
    """The step of SGD at rate 1 is the gradient that Keras has applied."""
    rows = tf.IndexedSlices(tf.ones((9, 2)), tf.constant([0] * 8 + [2]), tf.constant([3, 2]))
    dense = np.array([2.0], np.float32)
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in ((3, 2), (1,))]
    optimizer = keras.optimizers.SGD(1.0, **{limit: 1.5})
    optimizer.build(variables)
    optimizer.apply([rows, tf.constant(dense)], variables)
    expected = [float(np.linalg.norm(v.numpy())) for v in variables]

    starts = [np.zeros((3, 2), np.float32), np.zeros(1, np.float32)]
    probed = ProbedVariables(starts, mode, view=OptimizerView(clipping={limit: 1.5}))
    probed.step([rows, dense])
    (frame,) = probed.frames()
    assert [row["applied_norm"] for row in frame.rows] == pytest.approx(expected, rel=1e-5)
    assert expected[0] > 1.5, "the limit does not bound the step"


def test_of_a_large_table_neither_norm_nor_start_reads_all_of_it() -> None:
    """What is estimated from some of them is right all the same."""
    from tb_gradients.training.model.variables import make_table
    from tb_gradients.training.probe.sparse import TABLE_ELEMENTS, sparse_row, table_sample

    table = tf.Variable(tf.random.stateless_normal([200_000, 16], [1, 2]), name="embeddings")
    sample = table_sample(table)
    assert sample.shape.num_elements() <= TABLE_ELEMENTS
    gradient = tf.IndexedSlices(tf.ones([2, 16]), tf.constant([5, 199_999]), table.shape)
    touched = tf.gather(table, gradient.indices)
    row = sparse_row(gradient, touched, touched, sample, 200_000, None, "float32")
    named = dict(zip(schema.statistic_names(), row.numpy(), strict=True))
    assert named["weight_norm"] == pytest.approx(np.linalg.norm(table.numpy()), rel=0.01)
    (variable,) = make_table([table]).variables
    assert variable.initial_rms == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_the_update_of_a_huge_variable_follows_from_a_sample_of_its_rows(mode: str) -> None:
    generator = np.random.default_rng(9)
    weight = np.ones((9000, 160), np.float32)
    update = (generator.normal(size=weight.shape) * 1e-3).astype(np.float32)
    update[::2] *= 3
    probed = ProbedVariables([weight], mode)
    probed.step([np.full_like(weight, 1e-2)], [update])
    (frame,) = probed.frames()
    assert weight.size > HUGE_ELEMENTS
    assert frame.rows[0]["update_norm"] == pytest.approx(norm(update), rel=0.02)
    assert frame.rows[0]["gradient_norm"] == pytest.approx(12.0, rel=1e-4)
    assert frame.rows[0]["unchanged_share"] == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("broken", [False, True], ids=["finite", "broken"])
def test_sums_and_extremes_of_a_huge_gradient_are_those_of_all_elements(
    broken: bool, mode: str
) -> None:
    """Also where no step may copy it, and where no sample contains them."""
    gradient = np.random.default_rng(11).normal(size=(9000, 160)).astype(np.float32)
    gradient[1234, 56], gradient[4321, 65] = 50.0, -60.0
    if broken:
        gradient[777, :3] = np.nan, np.inf, -np.inf
    probed = ProbedVariables([np.ones_like(gradient), np.ones(3, np.float32)], mode)
    probed.step([gradient, np.ones(3, np.float32)])
    (frame,) = probed.frames()
    assert gradient.size > HUGE_ELEMENTS
    row, finite = frame.rows[0], gradient[np.isfinite(gradient)].astype(np.float64)
    assert row["gradient_nan_count"] == (1 if broken else 0)
    assert row["gradient_inf_count"] == (2 if broken else 0)
    assert (row["gradient_max"], row["gradient_min"]) == (50.0, -60.0)
    assert row["gradient_norm"] == pytest.approx(norm(finite), rel=1e-4)
    assert row["gradient_mean"] == pytest.approx(finite.mean(), abs=1e-5)
    assert row["weight_norm"] == pytest.approx(1200.0)
    assert frame.rows[1]["gradient_norm"] == pytest.approx(math.sqrt(3))


def test_a_gradient_of_more_elements_than_float32_can_count_has_no_infinities() -> None:
    """2**24 + 1 is no float32."""
    gradient = np.full(2**24 + 1, 1e-3, np.float32)
    probed = ProbedVariables([np.ones_like(gradient)], "graph")
    probed.step([gradient])
    (frame,) = probed.frames()
    assert frame.rows[0]["gradient_nan_count"] == frame.rows[0]["gradient_inf_count"] == 0
    assert frame.rows[0]["gradient_mean"] == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize(
    "shape",
    [
        (5000,),
        (70_001,),
        (784, 512),
        (1000, 1001),
        (37, 300),
        (3, 3, 64, 256),
        (2, 90, 300),
        (5003, 7),
        (1, 20_000),
    ],
)
def test_what_xla_folds_is_the_sum_over_every_element_once(shape: tuple[int, ...]) -> None:
    """Whatever is left of a shape that cannot be divided into equal runs."""
    gradient = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape) / np.prod(shape)
    folded = tf.function(lambda tensor: squares(tensor, True), jit_compile=True, autograph=False)
    assert float(folded(gradient)) == pytest.approx(norm(gradient) ** 2, rel=RELATIVE)
    gradient.flat[-1] = np.nan
    assert math.isnan(float(folded(gradient)))


@pytest.mark.parametrize("mode", MODES)
def test_of_complex_variables_the_magnitudes_are_measured(mode: str) -> None:
    weight = np.array([3 + 4j, 1j, 2.0], np.complex64)
    gradient = np.array([1j, 0.0, -1.0], np.complex64)
    update = np.array([0.3 - 0.4j, 0.0, 0.0], np.complex64)
    probed = ProbedVariables([np.ones((2, 2), np.float32), weight], mode)
    probed.step([np.ones((2, 2), np.float32), gradient], [None, update])
    (frame,) = probed.frames()
    row = frame.rows[1]
    assert row["gradient_norm"] == pytest.approx(math.sqrt(2))
    assert row["weight_norm"] == pytest.approx(norm(np.abs(weight + update)))
    assert row["update_norm"] == pytest.approx(0.5)
    assert row["unchanged_share"] == pytest.approx(2 / 3)
    assert frame.rows[0]["gradient_norm"] == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_unit_axis_that_is_not_the_last_is_heeded(mode: str) -> None:
    """As that of a transposed convolution's kernel, of a small and of a large variable."""
    generator = np.random.default_rng(10)
    shapes = [(3, 5, 4), (3, 5, 4), (40, 60, 30)]
    described = [
        Variable(f"v{i}", shape, role="kernel", unit_axis=1, units=shape[1])
        for i, shape in enumerate(shapes)
    ]
    gradients = [np.repeat(generator.normal(size=(s[0], 1, s[2])), s[1], 1) for s in shapes]
    gradients[1] = generator.normal(size=shapes[1])
    gradients = [gradient.astype(np.float32) for gradient in gradients]
    probed = ProbedVariables([np.ones(s, np.float32) for s in shapes], mode, described=described)
    probed.step(gradients)
    (frame,) = probed.frames()
    expected = [unit_spread(gradient, 1) for gradient in gradients]
    assert expected[1] > 0.5
    assert [row["unit_spread"] for row in frame.rows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "unit_axis"),
    [((784, 256), 1), ((784, 2048), 1), ((512, 9000), 1), ((4, 4, 512, 256), 2), ((2**21,), 0)],
)
def test_a_gradient_is_lost_only_where_it_is_not_zero(
    shape: tuple[int, ...], unit_axis: int, mode: str
) -> None:
    """Of large and huge variables, too: some rows, some units, or single elements are at rest."""
    generator = np.random.default_rng(12)
    gradient = generator.normal(size=shape).astype(np.float32)
    at_rest = generator.random(gradient.reshape(shape[0], -1).shape) < 0.2
    at_rest |= generator.random((shape[0], 1)) < 0.3
    gradient[at_rest.reshape(shape)] = 0
    described = Variable("v", shape, role="kernel", unit_axis=unit_axis, units=shape[unit_axis])
    weight = np.zeros_like(gradient)
    probed = ProbedVariables([weight], mode, described=[described])
    probed.step([gradient], [-gradient])
    (frame,) = probed.frames()
    row = frame.rows[0]
    assert row["lost_share"] == 0
    assert row["unchanged_share"] == row["gradient_zero_share"]
    if min(shape) > 4:
        assert row["gradient_zero_share"] == pytest.approx(np.mean(gradient == 0), abs=0.12)
    assert row["update_norm"] == pytest.approx(norm(gradient), rel=0.1)
