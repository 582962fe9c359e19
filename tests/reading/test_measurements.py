"""A loaded run as arrays: shapes, gaps, names that do not exist, and reading only on demand."""

from __future__ import annotations

import pathlib
import pickle
from typing import Any

import numpy as np
import pytest
import recordings as made

from tb_gradients import schema
from tb_gradients.frames import Recording, Variable
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.measurements import Histogram, Variables
from tb_gradients.reading.report import RunReport, load
from tb_gradients.reading.source import ReadError

TABLE = made.make_table(2)
SMALL = made.make_table(1)
FRAMES = made.make_frames(TABLE, range(0, 40, 2), histograms_every=10)


@pytest.fixture(name="run")
def _run(tmp_path: pathlib.Path) -> RunReport:
    made.write_run(tmp_path, TABLE, FRAMES)
    return load(tmp_path).runs[0]


def test_a_statistic_is_an_array_over_frames_and_variables(run: RunReport) -> None:
    norms = run["gradient_norm"]
    assert norms.dtype == np.float32
    assert run.steps.dtype == np.int64
    assert run.steps.tolist() == list(range(0, 40, 2))
    column = TABLE.statistics.index("gradient_norm")
    np.testing.assert_array_equal(norms, [frame.values[:, column] for frame in FRAMES])


def test_derived_statistics_are_there_too(run: RunReport) -> None:
    expected = Recording.from_frames(TABLE, FRAMES).statistic("update_ratio")
    np.testing.assert_array_equal(run["update_ratio"], expected)


def test_numbers_of_the_step_have_an_array_over_frames(run: RunReport) -> None:
    assert run.context("learning_rate") == pytest.approx(np.full(20, 1e-3))


def test_the_facts_of_a_variable_are_found_by_position_and_by_path(run: RunReport) -> None:
    assert run.variables.paths == TABLE.paths
    assert run.variables[1].path == "dense/bias"
    assert run.variables["dense/kernel"].initializer == "GlorotUniform"
    assert run.variables[-2:].paths == TABLE.paths[-2:]
    assert "dense/kernel" in run.variables
    assert run.variables[0] in run.variables
    assert "dense" not in run.variables
    assert run.variables.position("dense_1/kernel") == 2


def run_that_grew(folder: pathlib.Path) -> RunReport:
    """One layer for three frames, then two layers, then one again, under another dtype."""
    half = Variable("dense/kernel", (16, 16), "float16")
    last = made.VariableTable((half, *SMALL.variables[1:]), SMALL.run)
    events = [made.file_version()]
    for step, table in enumerate([SMALL] * 3 + [TABLE] * 3 + [last] * 2):
        events += [made.table_event(table, step)]
        frame = made.make_frame(table, step, histograms=True)
        events += [made.frame_event(frame, table)]
    made.write_events(folder, events)
    return load(folder).runs[0]


def test_what_a_run_had_only_for_a_while_is_nan_before_and_after(tmp_path: pathlib.Path) -> None:
    run = run_that_grew(tmp_path)
    assert run.variables.paths == (*SMALL.paths, "dense_1/kernel", "dense_1/bias")
    there = ~np.isnan(run["gradient_norm"])
    assert there[:, :2].all()
    assert there[:, 2].tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert run.lane is None or run.lane.norms.shape[1] == len(run.variables)


def test_the_facts_are_the_latest(tmp_path: pathlib.Path) -> None:
    assert run_that_grew(tmp_path).variables["dense/kernel"].dtype == "float16"


def test_histograms_go_by_the_table_of_their_step(tmp_path: pathlib.Path) -> None:
    run = run_that_grew(tmp_path)
    frame = made.make_frame(TABLE, 4, histograms=True)
    assert frame.histograms is not None
    found = run.histogram("dense_1/kernel", 4)
    assert found.total == int(frame.histograms[2].sum())
    with pytest.raises(
        ValueError, match="'dense_1/kernel' was not a variable of the run at step 1"
    ):
        run.histogram("dense_1/kernel", 1)


def test_a_histogram_has_rising_edges_and_counts_between_them() -> None:
    row = np.zeros(schema.HISTOGRAM_BINS, np.uint16)
    three_eighths = int(np.floor(np.log2(0.375))) - schema.HISTOGRAM_LOWEST_EXPONENT
    row[schema.BIN_POSITIVE + three_eighths] = 7
    row[schema.BIN_NEGATIVE + three_eighths] = 2
    row[[schema.BIN_ZERO, schema.BIN_NAN, schema.BIN_POSITIVE_INF, schema.BIN_NEGATIVE_INF]] = (
        1,
        3,
        4,
        5,
    )
    found = Histogram.of(9, row)
    assert (np.diff(found.edges) > 0).all()
    assert len(found.edges) == len(found.counts) + 1
    assert found.counts[np.searchsorted(found.edges, 0.375) - 1] == 7
    assert found.counts[np.searchsorted(found.edges, -0.375) - 1] == 2
    special = (found.zeros, found.nans, found.positive_infinities, found.negative_infinities)
    assert special == (1, 3, 4, 5)
    assert found.total == 22


def test_only_some_frames_have_histograms(run: RunReport) -> None:
    assert run.histogram_steps.tolist() == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="at step 12; the nearest are at 0, 10, 20"):
        run.histogram("dense/kernel", 12)


@pytest.mark.parametrize(
    ("ask", "reported"),
    [
        (lambda run: run["gradient_nrom"], "did you mean 'gradient_norm' or"),
        (lambda run: run["loss"], r"run\.context\('loss'\)"),
        (lambda run: run["???"], "known: gradient_norm, "),
        (lambda run: run.context("los"), "did you mean 'loss'"),
        (lambda run: run.variables["dense_1/kernle"], "did you mean 'dense_1/kernel'"),
        (lambda run: run.histogram("dense/kernle", 0), "did you mean 'dense/kernel'"),
        (
            lambda run: run.histogram("\x1b[31m", 0),
            r"no variable '\\\\x1b\[31m'; known: dense/kernel",
        ),
        (lambda run: run.to_pandas(["gradient"]), "did you mean"),
    ],
)
def test_a_name_that_does_not_exist_is_a_key_error_that_names_the_like(
    run: RunReport, ask: Any, reported: str
) -> None:
    if "to_pandas" in ask.__code__.co_names:
        pytest.importorskip("pandas")
    with pytest.raises(KeyError, match=reported) as caught:
        ask(run)
    assert "\\n" not in str(caught.value)
    assert not str(caught.value).startswith(('"', "'"))


def test_nothing_is_read_before_it_is_asked_for_and_then_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_run(tmp_path, TABLE, FRAMES)
    real, reads = EventFileSource.read, []

    def read(self: EventFileSource, run: str, **settings: Any) -> Any:
        reads.append(run)
        return real(self, run, **settings)

    monkeypatch.setattr(EventFileSource, "read", read)
    (run,) = load(tmp_path).runs
    assert len(run.steps), len(run.variables)
    assert reads == ["."]
    run["gradient_norm"], run["weight_norm"], run.context("loss")
    assert reads == [".", "."]


def test_frames_that_came_after_the_verdict_are_left_out(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, FRAMES[:5])
    (run,) = load(tmp_path).runs
    events = [made.frame_event(frame, TABLE) for frame in FRAMES[5:]]
    made.write_events(tmp_path, events)
    assert run["gradient_norm"].shape == (5, 4)
    assert run.histogram_steps.tolist() == [0]


def test_a_run_that_went_back_since_is_not_mixed_with_the_one_that_was_judged(
    tmp_path: pathlib.Path,
) -> None:
    made.write_run(tmp_path, TABLE, FRAMES)
    (run,) = load(tmp_path).runs
    made.write_events(tmp_path, [made.frame_event(made.make_frame(TABLE, 11, salt=1), TABLE)])
    with pytest.raises(ReadError, match=r"has changed since it was loaded\. Load it again\."):
        run["gradient_norm"]


def test_a_run_that_cannot_be_read_says_why(tmp_path: pathlib.Path) -> None:
    made.write_events(tmp_path, [made.table_event(TABLE, format_version=2)])
    (run,) = load(tmp_path).runs
    assert len(run.steps) == len(run.variables) == 0
    with pytest.raises(ReadError, match="pip install -U tb-gradients"):
        run["gradient_norm"]


def test_a_run_without_frames_has_arrays_without_rows(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path, TABLE, [])
    (run,) = load(tmp_path).runs
    assert run["gradient_norm"].shape == (0, 0)
    assert run.context("loss").shape == (0,)


def test_a_report_goes_to_another_process(run: RunReport) -> None:
    run["gradient_norm"]
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again["gradient_norm"], run["gradient_norm"])
    assert isinstance(again.variables, Variables)


def test_a_pandas_table_has_a_row_for_each_step_and_variable(run: RunReport) -> None:
    pytest.importorskip("pandas")
    table = run.to_pandas()
    assert table.index.names == ["step", "variable"]
    assert len(table) == 20 * 4
    norm = table.loc[(10, "dense_1/bias"), "gradient_norm"]
    assert norm == run["gradient_norm"][5, 3]
    assert list(run.to_pandas(["update_ratio"]).columns) == ["update_ratio"]


def test_without_pandas_the_remedy_is_named(
    run: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        run.to_pandas()
