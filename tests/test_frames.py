"""Tables, frames and histograms: unpacking what was packed is the identity, NaN included."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from recordings import make_frames, make_table

from tb_gradients import schema
from tb_gradients.frames import (
    FormatError,
    Frame,
    Recording,
    RunContext,
    Variable,
    VariableTable,
    concatenate,
    pack_histograms,
    unpack_histograms,
    weight_floor,
)
from tb_gradients.proto import gradient_health_pb2 as pb

words = st.text(max_size=12)
facts = st.dictionaries(words, words, max_size=3)
variables = st.builds(
    Variable,
    path=words,
    shape=st.lists(st.integers(0, 99), max_size=4).map(tuple),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    role=st.sampled_from(schema.ROLES),
    activation=words,
    initializer=words,
    trainable=st.booleans(),
    unit_axis=st.integers(-1, 3),
    units=st.integers(0, 99),
    initial_rms=st.floats(0, 1e3),
    analytically_zero=st.booleans(),
    facts=facts,
    node=st.integers(0, 9),
)
contexts = st.builds(
    RunContext,
    optimizer=words,
    optimizer_config=facts,
    loss=words,
    jit_compile=st.booleans(),
    replicas=st.integers(1, 9),
    steps_per_epoch=st.integers(0, 2**40),
    facts=facts,
)
tables = st.builds(
    VariableTable,
    variables=st.lists(variables, max_size=4).map(tuple),
    run=contexts,
    nodes=st.lists(st.lists(st.integers(1, 9), max_size=3).map(tuple), max_size=9).map(tuple),
)


@given(tables)
def test_a_table_survives_its_bytes(table: VariableTable) -> None:
    again = VariableTable.from_bytes(table.to_bytes())

    assert again == table
    assert again.table_id == table.table_id
    assert again.to_bytes() == table.to_bytes()


@given(tables)
def test_a_table_id_is_exact_in_float32(table: VariableTable) -> None:
    assert int(np.float32(table.table_id)) == table.table_id


@given(st.binary(max_size=60))
def test_bytes_that_are_no_table_are_a_format_error_or_a_table(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(VariableTable.from_bytes(data), VariableTable)


def test_a_table_of_a_newer_format_says_how_to_upgrade() -> None:
    message = pb.VariableTable(format_version=schema.FORMAT_VERSION + 1)

    with pytest.raises(FormatError, match="pip install -U tb-gradients"):
        VariableTable.from_bytes(message.SerializeToString())


@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(0, 5), st.just(schema.HISTOGRAM_BINS))),
    st.integers(0, 2**24 - 1),
)
def test_histograms_survive_packing(counts: np.ndarray, table_id: int) -> None:
    again_id, again = unpack_histograms(pack_histograms(counts, table_id))

    assert again_id == table_id
    np.testing.assert_array_equal(again, counts)


def test_counts_beyond_uint16_are_clipped_and_not_wrapped() -> None:
    counts = np.full((1, schema.HISTOGRAM_BINS), 70_000)

    assert unpack_histograms(pack_histograms(counts, 1))[1].min() == 65_535


def test_histograms_with_other_bins_are_refused() -> None:
    message = pb.HistogramPack.FromString(pack_histograms(np.zeros((1, schema.HISTOGRAM_BINS)), 1))
    message.octaves += 1

    with pytest.raises(FormatError, match="other bins"):
        unpack_histograms(message.SerializeToString())


@given(st.data())
def test_a_recording_holds_its_frames_bit_by_bit(data: st.DataObject) -> None:
    table = make_table(1)
    shape = (len(table.variables), len(table.statistics))
    any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
    steps = data.draw(st.lists(st.integers(0, 100), unique=True, max_size=4))
    frames = [
        Frame(
            step,
            0.0,
            data.draw(hnp.arrays(np.float32, shape, elements=any_float)),
            data.draw(hnp.arrays(np.float32, len(table.context), elements=any_float)),
        )
        for step in steps
    ]

    recording = Recording.from_frames(table, frames)

    assert recording.steps.tolist() == sorted(steps)
    for frame in frames:
        at = recording.steps.tolist().index(frame.step)
        np.testing.assert_array_equal(recording.values[at], frame.values)
        np.testing.assert_array_equal(recording.context[at], frame.context)


def test_the_later_of_two_frames_of_one_step_counts() -> None:
    table = make_table(1)
    first, second = make_frames(table, [5])[0], make_frames(table, [5], salt=1)[0]
    second = dataclasses.replace(second, wall_time=first.wall_time + 1)

    recording = Recording.from_frames(table, [second, first])

    np.testing.assert_array_equal(recording.values[0], second.values)


def test_a_frame_of_the_wrong_shape_is_refused() -> None:
    frames = make_frames(make_table(2), [0])

    with pytest.raises(FormatError, match="shape"):
        Recording.from_frames(make_table(1), frames)


def test_a_column_that_was_not_written_is_not_measured() -> None:
    table = dataclasses.replace(make_table(1), statistics=("gradient_norm",), context=())
    frame = Frame(0, 0.0, np.ones((2, 1), np.float32), np.zeros(0, np.float32))
    recording = Recording.from_frames(table, [frame])

    assert recording.statistic("gradient_norm").tolist() == [[1.0, 1.0]]
    assert np.isnan(recording.statistic("update_ratio")).all()
    assert np.isnan(recording.context_value("loss")).all()
    with pytest.raises(KeyError):
        recording.statistic("gradient_nrom")


def test_derived_statistics_follow_their_definition() -> None:
    table = make_table(1)
    recording = Recording.from_frames(table, make_frames(table, [0, 1]))
    norm = recording.statistic("gradient_norm")

    np.testing.assert_allclose(recording.statistic("gradient_rms")[:, 0], norm[:, 0] / 16)
    np.testing.assert_allclose(recording.statistic("gradient_max_abs"), 0.2 * norm, rtol=1e-6)
    assert (recording.statistic("gradient_nonfinite_count") == 0).all()
    np.testing.assert_allclose(
        recording.statistic("update_ratio")[:, 0],
        recording.statistic("update_norm")[:, 0] / recording.statistic("weight_norm")[:, 0],
        rtol=1e-6,
    )


def test_a_weight_that_starts_at_zero_is_measured_against_the_scale_of_its_fan_in() -> None:
    table = VariableTable((Variable("b", (8,), role="bias", units=8), Variable("w", (2, 8))))

    floor = weight_floor(table)

    assert floor[0] == pytest.approx(np.sqrt(2) * np.sqrt(8))
    assert (floor > 0).all()
    np.testing.assert_array_equal(table.weight_floor, floor)


def test_parts_of_different_tables_do_not_concatenate() -> None:
    one, two = (
        Recording.from_frames(make_table(n), make_frames(make_table(n), [0])) for n in (1, 2)
    )

    with pytest.raises(ValueError):
        concatenate([one, two])
    assert len(concatenate([one, one])) == 2


@pytest.mark.parametrize("number", [np.inf, -np.inf, 1.5, -1.0, 1e30])
def test_a_share_that_cannot_be_is_not_measured(number: float) -> None:
    table = VariableTable((Variable("d/kernel", (4, 4)),))
    column = table.statistics.index("dead_unit_share")
    values = np.full((1, len(table.statistics)), 0.5, np.float32)
    values[0, column] = number
    assert np.argwhere(table.impossible(values)).tolist() == [[0, column]]
    assert not table.impossible_context(np.zeros(len(table.context), np.float32)).any()
