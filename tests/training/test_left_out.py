"""One part of the monitor that fails costs that part alone: all other numbers are, bit for bit,
what they are without the failure, and the report names what is missing.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from recordings import make_frames, make_table, turn_nonfinite

import tb_gradients as tbg
from tb_gradients.cli import main
from tb_gradients.host import making, statistics
from tb_gradients.host.journal import Journal
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import RunData
from tb_gradients.training.files import open_records
from tb_gradients.training.model import variables
from tb_gradients.training.probe import activations, batch, fetching, measuring, probe
from tb_gradients.training.tracing import traced_facts

layers = keras.layers
STEPS = 6
MODES = ("eager", "graph", "xla")


def train(folder: pathlib.Path, mode: str = "graph") -> tuple[RunData, tbg.GradientMonitor]:
    keras.utils.set_random_seed(3)
    ids, vectors = keras.Input((4,), dtype="int32"), keras.Input((5,))
    embedded = layers.GlobalAveragePooling1D()(layers.Embedding(30, 6, name="tokens")(ids))
    hidden = layers.Dense(7, "relu", name="first")(layers.Concatenate()([embedded, vectors]))
    hidden = layers.Dense(130, "tanh", name="wide")(hidden)
    model = keras.Model([ids, vectors], layers.Dense(3, name="last")(hidden))
    optimizer = keras.optimizers.SGD(0.1)
    generator = np.random.default_rng(0)
    x = [generator.integers(0, 30, (16, 4)), generator.normal(size=(16, 5)).astype("float32")]
    y = generator.integers(0, 3, 16)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(ids: Any, vectors: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model([ids, vectors], training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    watched = tbg.watch(optimizer, folder, model=model, every=1, activations=True, verbose=0)
    with watched:
        for _ in range(STEPS):
            loss = step(tf.constant(x[0]), tf.constant(x[1]), tf.constant(y))
            watched.step(loss, inputs=x, targets=y)
    return EventFileSource(str(folder)).read("."), watched


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunData]:
    """What is written where nothing fails."""
    runs = {mode: train(tmp_path_factory.mktemp(mode), mode)[0] for mode in MODES}
    for run in runs.values():
        assert run.verdict is not None
        assert run.verdict.errors == ()
    return runs


def assert_alike(run: RunData, reference: RunData, without: set[str], row: int = -1) -> None:
    """All numbers are the same, but for some columns that are not measured.

    Args:
        row: of a variable that is left out: its weights and its layer's outputs are known, and
            nothing of its gradient is.
    """
    (got,), (expected,) = run.recordings, reference.recordings
    names = got.table.statistics
    assert len(got) == STEPS
    values = expected.values.copy()
    values[..., [name in without for name in names]] = np.nan
    if row >= 0:
        weight = names.index("weight_norm")
        np.testing.assert_allclose(got.values[:, row, weight], values[:, row, weight], rtol=1e-5)
        of_layer = [name.startswith("activation_") for name in names]
        values[:, row, ~np.array(of_layer)] = np.nan
        values[:, row, weight] = got.values[:, row, weight]
    np.testing.assert_array_equal(got.values, values)
    context = expected.context.copy()
    context[:, [name in without for name in got.table.context]] = np.nan
    other = ["table_id"] + (["global_norm"] if row >= 0 else [])
    same = [name not in other for name in got.table.context]
    np.testing.assert_array_equal(got.context[:, same], context[:, same])


def failing(module: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> Any:
    """A function that raises, for all arguments or for some."""
    original = getattr(module, name)

    def fail(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            raise ZeroDivisionError("broken on purpose")
        return original(*arguments, **named)

    return fail


STATISTICS = {
    "_spread_column": {"unit_spread"},
    "_subnormal_column": {"gradient_subnormal_share"},
    "_weight_columns": {"weight_norm", "weight_nonfinite_count"},
    "_update_columns": {"update_norm", "unchanged_share", "lost_share"},
}


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic(
    name: str, tmp_path: pathlib.Path, whole: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, name, failing(statistics, name))
    run, _ = train(tmp_path)
    embedding = run.recordings[0].table.paths.index("tokens/embeddings")
    dense = [row for row in range(len(run.recordings[0].table.paths)) if row != embedding]
    for got, expected in zip(run.recordings, whole["graph"].recordings, strict=True):
        for column, statistic in enumerate(expected.table.statistics):
            rows = [embedding] if statistic in STATISTICS[name] else [*dense, embedding]
            np.testing.assert_array_equal(
                got.values[:, rows, column], expected.values[:, rows, column]
            )
            if statistic in STATISTICS[name]:
                assert np.isnan(got.values[:, dense, column]).all()
    assert_named(run, "broken on purpose")


HOST = {
    "dead units": (making.FrameMaker, "_dead_unit_share", {"dead_unit_share"}),
    "applied norms": (making, "_applied_norms", {"applied_norm"}),
    "histograms": (statistics, "histograms", set()),
    "description of a variable": (variables, "layer_facts", set()),
    "search for broadcasts": (traced_facts, "broadcast_difference", set()),
    "order of the layers": (variables, "successors_of", set()),
    "classes of a batch": (batch, "_class_balance", {"targets_classes", "targets_majority_share"}),
    "spread of targets": (batch, "_spread", {"targets_spread"}),
}


@pytest.mark.parametrize("part", HOST)
def test_a_part(
    part: str, tmp_path: pathlib.Path, whole: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, columns = HOST[part]
    monkeypatch.setattr(owner, name, failing(owner, name))
    run, _ = train(tmp_path)
    if part != "description of a variable":  # units and roles are unknown there
        assert_alike(run, whole["graph"], columns)
    assert_named(run, "broken on purpose")


def assert_named(run: RunData, *texts: str) -> None:
    """In the log's own verdict, and in a report that judges anew; once."""
    assert run.verdict is not None
    (error,) = run.verdict.errors
    assert not error.stopped
    assert all(text in error.message for text in texts)
    assert run.left_out == (error,)


@pytest.mark.parametrize("mode", MODES)
def test_a_variable_whose_gradient_cannot_be_read(
    mode: str, tmp_path: pathlib.Path, whole: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_last = failing(probe, "twin", lambda gradient: tuple(gradient.shape) == (130, 3))
    monkeypatch.setattr(probe, "twin", of_last)
    run, _ = train(tmp_path, mode)
    row = run.recordings[0].table.paths.index("last/kernel")
    assert_alike(run, whole[mode], set(), row)
    assert_named(run, "last/kernel", "broken on purpose")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", ["squares", "weights", "samples"])
def test_a_variable_that_fails_among_the_others(
    stage: str,
    mode: str,
    tmp_path: pathlib.Path,
    whole: dict[str, RunData],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the step is traced: TensorFlow raises for one, amid what is done for all."""

    def of_first(tensor: Any, *_: Any) -> bool:
        return tuple(tensor.shape) == (11, 7)

    if stage == "squares":
        for name in ("squares", "_half_squares"):
            monkeypatch.setattr(measuring, name, failing(measuring, name, of_first))
    elif stage == "weights":
        kept = failing(measuring, "together", lambda samples, *_: any(map(of_first, samples)))
        monkeypatch.setattr(measuring, "together", kept)
    else:
        kept = failing(measuring, "reduced", lambda layout, *_: any(map(of_first, layout.samples)))
        monkeypatch.setattr(measuring, "reduced", kept)
    run, watched = train(tmp_path, mode)
    row = run.recordings[0].table.paths.index("first/kernel")
    assert_alike(run, whole[mode], set(), row)
    assert_named(run, "first/kernel", "broken on purpose")
    assert watched.errors == run.left_out


def test_the_output_of_a_layer(
    tmp_path: pathlib.Path, whole: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_tanh = failing(activations, "statistics_of", lambda output: output.activation == "tanh")
    monkeypatch.setattr(activations, "statistics_of", of_tanh)
    run, _ = train(tmp_path)
    names = run.recordings[0].table.statistics
    row = run.recordings[0].table.paths.index("wide/kernel")
    (got,), (expected,) = run.recordings, whole["graph"].recordings
    values = expected.values.copy()
    outputs = [name.startswith("activation_") for name in names]
    assert np.isfinite(values[:, row, outputs]).any()
    values[:, row, outputs] = np.nan
    np.testing.assert_array_equal(got.values, values)
    assert_named(run, "wide/kernel")


def test_judging_while_training(
    tmp_path: pathlib.Path, whole: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are written all the same, and judged when they are read."""
    from tb_gradients.judging.window import History

    with monkeypatch.context() as patched:
        patched.setattr(History, "extend", failing(History, "extend"))
        run, _ = train(tmp_path)
    assert_alike(run, whole["graph"], set())
    assert_named(run, "judging")
    (report,) = tbg.load(tmp_path).runs
    assert report.frames == STEPS
    assert report.errors[0].message == run.left_out[0].message


# --- What ends the monitor ------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3])
def test_the_end_of_the_monitor_is_in_the_log(
    at: int,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def late(*_: Any) -> bool:
        calls.append(None)
        return len(calls) > at

    monkeypatch.setattr(fetching.Fetcher, "fetch", failing(fetching.Fetcher, "fetch", late))
    run, watched = train(tmp_path)
    assert run.frames == at
    assert run.verdict is not None
    (error,) = run.verdict.errors
    assert error.stopped
    assert str(error) == (
        f"the monitor stopped at step {at + 1}: ZeroDivisionError: broken on purpose"
    )
    assert watched.errors == (error,)
    assert str(error) in watched.summary()
    assert "healthy" not in watched.summary()
    (report,) = tbg.load(tmp_path).runs
    assert report.stopped is not None
    assert main(["check", str(tmp_path)]) == 2
    assert str(error) in capsys.readouterr().err


def test_a_finding_counts_more_than_the_end_of_the_monitor(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching.Fetcher, "fetch", failing(fetching.Fetcher, "fetch"))
    train(tmp_path / "stopped")
    monkeypatch.undo()
    (tmp_path / "unhealthy").mkdir()
    journal = Journal(str(tmp_path / "unhealthy"), open_records)
    table = make_table(3)
    journal.set_table(table)
    for frame in turn_nonfinite(make_frames(table, range(40)), table, since=5):
        journal.add(frame)
    journal.close()
    assert main(["check", str(tmp_path)]) == 1
    assert main(["check", str(tmp_path), "--fail-on", "never"]) == 2
    assert "run 'stopped': the monitor stopped at step 1" in capsys.readouterr().err
