"""Recorded runs in other formats: no number is lost, no file is half-written, no name does harm."""

from __future__ import annotations

import csv
import io
import json
import pathlib

import numpy as np
import pytest
import recordings as made
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tb_gradients import cli
from tb_gradients.export import COLUMNS, export, tables
from tb_gradients.frames import Variable, VariableTable
from tb_gradients.reading.event_files import EventFileSource

TABLE = made.make_table(2)
STEPS = range(0, 40, 2)


@pytest.fixture(name="logs")
def _logs(tmp_path: pathlib.Path) -> pathlib.Path:
    frames = made.turn_nonfinite(
        made.make_frames(TABLE, STEPS, histograms_every=5), TABLE, since=30
    )
    flag = made.make_flag("nonfinite_gradient", variables=TABLE.paths, first_step=30)
    made.write_run(tmp_path / "logs" / "a" / "run", TABLE, frames, flags=[flag])
    made.write_run(tmp_path / "logs" / "b", TABLE, made.make_frames(TABLE, range(3)))
    return tmp_path / "logs"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_each_number_of_each_frame(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    export(str(logs), "csv", str(tmp_path / "out.csv"))
    rows = rows_of((tmp_path / "out.csv").read_text())
    (recording,) = EventFileSource(str(logs)).read("a/run").recordings
    of_run = [row for row in rows if row["run"] == "a/run"]
    assert len(of_run) == len(recording) * len(TABLE.paths)
    for name in COLUMNS:
        found = np.array([float(row[name] or "nan") for row in of_run]).reshape(len(recording), -1)
        np.testing.assert_allclose(found, recording.statistic(name), rtol=1e-6)
    assert [int(row["step"]) for row in of_run[:: len(TABLE.paths)]] == list(STEPS)


def test_a_name_is_no_formula_of_a_spreadsheet(tmp_path: pathlib.Path) -> None:
    table = VariableTable((Variable("=cmd|' /C calc'!A0", (2,)), Variable("+1/kernel", (2,))))
    made.write_run(tmp_path / "run", table, made.make_frames(table, range(2)))
    stream = io.StringIO()
    export(str(tmp_path), "csv", None, stdout=stream)
    names = {row["variable"] for row in rows_of(stream.getvalue())}
    assert names == {"'=cmd|' /C calc'!A0", "'+1/kernel"}


def test_json_has_the_matrices_and_is_strict(logs: pathlib.Path) -> None:
    stream = io.StringIO()
    export(str(logs), "json", None, stdout=stream)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(stream.getvalue(), parse_constant=refuse)
    assert [run["run"] for run in document["runs"]] == ["a/run", "b"]
    (recording,) = document["runs"][0]["recordings"]
    (expected,) = EventFileSource(str(logs)).read("a/run").recordings
    np.testing.assert_array_equal(
        np.array(recording["statistics"]["gradient_nan_count"], float),
        expected.statistic("gradient_nan_count"),
    )


def test_parquet_has_the_table(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(str(logs), "parquet", str(tmp_path / "out.parquet"))
    found = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    data = EventFileSource(str(logs)).read("a/run")
    (expected,) = tables(data)
    size = len(expected["run"])
    assert found["variable"][:size] == expected["variable"]
    norms = np.array([np.nan if x is None else x for x in found["gradient_norm"]], np.float32)
    np.testing.assert_array_equal(norms[:size], expected["gradient_norm"])


def test_without_pyarrow_the_remedy_is_named(
    logs: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        export(str(logs), "parquet", str(tmp_path / "out.parquet"))
    assert not list(tmp_path.glob("out*"))


def test_event_files_have_what_the_monitor_would_have_written(
    logs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    export(str(logs), "tensorboard", str(tmp_path / "out"))
    events = EventAccumulator(str(tmp_path / "out" / "a" / "run"))
    events.Reload()
    tags = events.Tags()
    path = TABLE.paths[0]
    assert f"gradient_norm/{path}" in tags["scalars"]
    assert f"gradients/{path}" in tags["histograms"]
    assert "findings" in tags["tensors"]
    assert [event.step for event in events.Scalars(f"zero_fraction/{path}")] == list(STEPS)


def test_a_folder_with_event_files_is_left_as_it_is(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.stat().st_size for path in logs.rglob("*"))
    status = cli.main(["export", str(logs), "--to", "tensorboard", "--output", str(logs)])
    assert status == 2
    assert "has event files already" in capsys.readouterr().err
    assert sorted(path.stat().st_size for path in logs.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "parquet"], "--output FILE"),
        (["--to", "tensorboard"], "--output FOLDER"),
        (["--to", "csv", "--run", "("], "regular expression"),
        (["--to", "csv", "--run", "nothing"], "no frames to export"),
        (["--to", "tensorboard", "--output", "x", "--statistics", "nonsense"], "no statistic"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    logs: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(logs.parent)
    assert cli.main(["export", str(logs), *arguments]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_the_command_prints_where_it_wrote(
    logs: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs.json"
    assert cli.main(["export", str(logs), "--to", "json", "--output", str(out), "--run", "^b"]) == 0
    assert capsys.readouterr().out == f"1 runs were written to {out}\n"
    assert json.loads(out.read_text())["runs"][0]["run"] == "b"
    assert [path.name for path in tmp_path.glob("runs*")] == ["runs.json"]
