"""Recordings with different rows and columns in one layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import recordings as made

from tb_gradients import schema
from tb_gradients.frames import Frame, Recording, VariableTable, pack_histograms
from tb_gradients.plugin.view import INF, NAN, NONFINITE, RunView, UnknownNameError
from tb_gradients.reading.source import HistogramFrame, RunData

SMALL, BIG = made.make_table(2), made.make_table(3)


def view_of(*parts: tuple[VariableTable, list[Frame]]) -> RunView:
    times = [frame.wall_time for _, frames in parts for frame in frames]
    recordings = tuple(Recording.from_frames(table, frames) for table, frames in parts)
    return RunView(RunData("run", recordings, np.array(times)))


def grown() -> RunView:
    """Two layers for three steps, then three layers for two."""
    return view_of(
        (SMALL, made.make_frames(SMALL, range(3))), (BIG, made.make_frames(BIG, range(3, 5)))
    )


def shrunk() -> RunView:
    return view_of(
        (BIG, made.make_frames(BIG, range(3))), (SMALL, made.make_frames(SMALL, range(3, 5)))
    )


def test_one_recording_is_shown_as_it_is() -> None:
    view = view_of((SMALL, made.make_frames(SMALL, range(4))))
    (recording,) = view.data.recordings
    for name in ("gradient_norm", "update_ratio"):
        np.testing.assert_array_equal(view.matrix(name), recording.statistic(name))


def test_variables_are_the_last_tables_then_those_that_the_run_lost() -> None:
    assert tuple(v.path for v in grown().variables) == BIG.paths
    assert tuple(v.path for v in shrunk().variables) == (
        *SMALL.paths,
        "dense_2/kernel",
        "dense_2/bias",
    )


def test_a_variable_that_does_not_exist_yet_is_not_measured() -> None:
    matrix = grown().matrix("gradient_norm")
    assert matrix.shape == (5, 6)
    assert np.isnan(matrix[:3, 4:]).all()
    assert np.isfinite(matrix[:3, :4]).all()
    assert np.isfinite(matrix[3:]).all()


def test_rows_follow_their_variable_when_the_order_changes() -> None:
    view = shrunk()
    first = view.data.recordings[0]
    row = [v.path for v in view.variables].index("dense_2/kernel")
    np.testing.assert_array_equal(
        view.matrix("gradient_norm")[:3, row],
        first.statistic("gradient_norm")[:, first.row("dense_2/kernel")],
    )


@pytest.mark.parametrize("make", [grown, shrunk])
def test_series_and_matrix_agree_on_every_number(make: Callable[[], RunView]) -> None:
    view = make()
    for row, variable in enumerate(view.variables):
        series = view.series(variable.path)
        assert series.shape == (5, len(view.statistics))
        for column, statistic in enumerate(view.statistics):
            np.testing.assert_array_equal(series[:, column], view.matrix(statistic.name)[:, row])


def test_columns_are_stored_ones_then_derived_ones() -> None:
    names = [column.name for column in grown().statistics]
    assert names == [c.name for c in (*schema.STATISTICS, *schema.DERIVED)]


def test_columns_of_a_newer_writer_are_shown_too() -> None:
    table = dataclasses.replace(
        SMALL,
        statistics=(*SMALL.statistics, "kurtosis"),
        context=(*SMALL.context, "temperature"),
    )
    frame = made.make_frame(table, 0)
    frame.values[:, -1] = 3
    frame.context[-1] = 0.7
    view = view_of((table, [frame]))
    assert (view.matrix("kurtosis") == 3).all()
    assert view.context_columns[-1].name == "temperature"
    assert view.context()[0, -1] == np.float32(0.7)


def test_columns_that_an_older_writer_did_not_write_are_not_measured() -> None:
    table = dataclasses.replace(SMALL, statistics=("gradient_norm",), context=("table_id",))
    view = view_of((table, [made.make_frame(table, 0)]))
    assert np.isnan(view.matrix("weight_norm")).all()
    context = view.context()[0]
    assert context[0] == table.table_id
    assert np.isnan(context[1:]).all()


def test_histograms_find_their_row_by_their_own_table() -> None:
    view = grown()
    frames = [
        HistogramFrame(
            step, 0.0, pack_histograms(made.make_histograms(table, step), table.table_id)
        )
        for step, table in ((0, SMALL), (3, BIG))
    ]
    old = view.histogram("dense/bias", frames)
    np.testing.assert_array_equal(old[0], made.make_histograms(SMALL, 0)[1])
    np.testing.assert_array_equal(old[1], made.make_histograms(BIG, 3)[1])
    new = view.histogram("dense_2/bias", frames)
    assert np.isnan(new[0]).all()
    np.testing.assert_array_equal(new[1], made.make_histograms(BIG, 3)[5])


def test_unreadable_histograms_are_a_hole() -> None:
    broken = HistogramFrame(0, 0.0, b"\xff\xff nonsense")
    assert np.isnan(grown().histogram("dense/bias", [broken])).all()


def test_histograms_of_an_abandoned_timeline_are_left_out() -> None:
    view = grown()
    good = HistogramFrame(1, float(view.data.wall_times[1]), b"")
    abandoned = HistogramFrame(2, 1.0, b"")
    of_a_frame_that_was_dropped = HistogramFrame(77, 1.0, b"")
    assert view.usable_histograms([good, abandoned, of_a_frame_that_was_dropped]) == [
        good,
        of_a_frame_that_was_dropped,
    ]


def test_unknown_names_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="'nope'"):
        grown().matrix("nope")
    with pytest.raises(UnknownNameError, match="'nope'"):
        grown().series("nope")
    with pytest.raises(UnknownNameError, match="'nope'"):
        grown().histogram("nope", [])


def test_a_run_without_frames_has_a_layout_all_the_same() -> None:
    view = view_of()
    assert view.matrix("gradient_norm").shape == (0, 0)
    assert view.context().shape == (0, len(schema.CONTEXT))
    assert view.run_context.optimizer == ""


def test_marks_distinguish_nan_from_inf_where_the_run_does() -> None:
    frames = [
        made.with_value(frame, SMALL, name, value)
        for frame, (name, value) in zip(
            made.make_frames(SMALL, range(4)),
            [
                ("gradient_nan_count", 2),
                ("gradient_inf_count", 1),
                ("weight_nonfinite_count", 1),
                ("gradient_nan_count", 0),
            ],
            strict=True,
        )
    ]
    marks = view_of((SMALL, frames)).marks()
    assert marks[:, 0].tolist() == [NONFINITE | NAN, NONFINITE | INF, NONFINITE, 0]
