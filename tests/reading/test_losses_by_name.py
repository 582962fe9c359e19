"""Losses with names, from a file to everything that shows numbers of a run."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import recordings as made

import tb_gradients as tbg
from tb_gradients.export import export
from tb_gradients.lane import MOST_LOSSES, Lane, codes_of
from tb_gradients.plugin import payloads
from tb_gradients.plugin.view import RunView
from tb_gradients.reading.event_files import EventFileSource

TABLE = made.make_table(2)
STEPS = range(0, 20, 4)
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m=cmd()"


def lane_of(losses: dict[str, list[float]]) -> Lane:
    squares = np.ones((20, len(TABLE.variables)), np.float32)
    lane = Lane.of_steps(0, codes_of(squares), [1] * 20)
    return lane.with_named_losses({name: list(enumerate(of)) for name, of in losses.items()})


def write(folder: pathlib.Path, *lanes: Lane) -> None:
    events = [made.file_version(), made.table_event(TABLE, 0)]
    events += [made.frame_event(frame, TABLE) for frame in made.make_frames(TABLE, STEPS)]
    made.write_events(folder, [*events, *(made.lane_event(lane, TABLE) for lane in lanes)])


@pytest.fixture(name="logs")
def _logs(tmp_path: pathlib.Path) -> pathlib.Path:
    mse = [float(step) for step in range(20)]
    kl = [float("nan") if step == 8 else 0.5 for step in range(20)]
    write(tmp_path / "logs" / "vae", lane_of({"mse": mse, "kl": kl}))
    write(tmp_path / "logs" / "plain", lane_of({}))
    return tmp_path / "logs"


def test_python_reads_them_at_the_frames_and_at_every_step(logs: pathlib.Path) -> None:
    plain, vae = tbg.load(logs).runs
    np.testing.assert_array_equal(vae.losses["mse"], STEPS)
    np.testing.assert_array_equal(vae.losses["kl"], [0.5, 0.5, np.nan, 0.5, 0.5])
    assert vae.lane is not None
    np.testing.assert_array_equal(vae.lane.named_losses["mse"], np.arange(20))
    assert plain.losses == {}


def test_the_report_names_range_and_latest_value(logs: pathlib.Path) -> None:
    plain, vae = tbg.load(logs).to_json()["runs"]
    assert "losses" not in plain
    assert vae["losses"] == {
        "mse": {"last": 19, "min": 0, "max": 19, "steps": 20, "nonfinite_steps": 0},
        "kl": {"last": 0.5, "min": 0.5, "max": 0.5, "steps": 20, "nonfinite_steps": 1},
    }
    json.dumps(vae, allow_nan=False)


def exported(logs: pathlib.Path, kind: str) -> str:
    stream = io.StringIO()
    export(str(logs), kind, None, stdout=stream)
    return stream.getvalue()


def test_exports_have_them_of_each_run_that_has_them(
    logs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    rows = [*csv.DictReader(io.StringIO(exported(logs, "csv")))]
    variables = len(TABLE.paths)
    vae = [row["losses/mse"] for row in rows if row["run"] == "vae"][::variables]
    assert vae == ["0", "4", "8", "12", "16"]
    assert {row["losses/mse"] for row in rows if row["run"] == "plain"} == {""}
    plain, other = json.loads(exported(logs, "json"))["runs"]
    assert plain["recordings"][0]["losses"] == {}
    assert other["recordings"][0]["losses"]["kl"] == [0.5, 0.5, None, 0.5, 0.5]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    export(str(logs), "tensorboard", str(tmp_path / "out"), run="vae")
    events = EventAccumulator(str(tmp_path / "out" / "vae")).Reload()
    assert [event.value for event in events.Scalars("losses/mse")] == list(STEPS)


def test_parquet_has_them(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(str(logs), "parquet", str(tmp_path / "out.parquet"))
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["losses/mse"] for row in found if row["run"] == "vae"][-1] == 16


def test_the_tab_gets_a_column_of_each(logs: pathlib.Path) -> None:
    view = RunView(EventFileSource(str(logs)).read("vae"))
    names = [column.name for column in view.context_columns]
    assert names[-2:] == ["losses/mse", "losses/kl"]
    np.testing.assert_array_equal(view.context()[:, -2], STEPS)
    assert len(payloads.context(view)) == 4 * len(STEPS) * len(names)


def test_names_do_no_harm_in_text_and_tables(tmp_path: pathlib.Path) -> None:
    write(tmp_path, lane_of({HOSTILE: [1.0], "=1+1": [2.0]}))
    (run,) = tbg.load(tmp_path).runs
    assert list(run.losses) == [HOSTILE, "=1+1"]
    assert "<img" not in run._repr_html_()
    header = exported(tmp_path, "csv").splitlines()[0]
    assert all(cell[:1] not in "=+-@" for cell in next(csv.reader([header])))


def test_of_files_with_ever_new_names_the_first_are_kept(tmp_path: pathlib.Path) -> None:
    squares = np.ones((1, len(TABLE.variables)), np.float32)

    def one(step: int) -> Lane:
        lane = Lane.of_steps(step, codes_of(squares), [1])
        return lane.with_named_losses({f"{step} {i}": [(step, 1.0)] for i in range(5)})

    write(tmp_path, *map(one, range(20)))
    (run,) = tbg.load(tmp_path).runs
    assert run.lane is not None
    assert len(run.lane) == 20
    assert list(run.losses) == [f"{step} {i}" for step in range(4) for i in range(5)][:MOST_LOSSES]


def decoded(body: bytes) -> dict[str, Any]:
    """The named losses that ``docs/http_api.md`` says are in the answer of ``lane``."""
    count, named = np.frombuffer(body, "<u4", 2)
    at = 8 + 37 * int(count)
    found: list[Any] = []
    for _ in range(named):
        low, high = np.frombuffer(body, "<f4", 2 * count, at).reshape(2, count)
        found.append((low, high, np.frombuffer(body, np.uint8, count, at + 8 * count)))
        at += 9 * int(count)
    return dict(zip(json.loads(body[at:] or "[]"), found, strict=True))


def test_the_lane_of_the_tab_has_extremes_of_each(logs: pathlib.Path) -> None:
    view = RunView(EventFileSource(str(logs)).read("vae"))
    found = decoded(payloads.lane(view, None, 10, (0, 19)))
    low, high, marks = found["mse"]
    np.testing.assert_array_equal([low, high], [range(0, 20, 2), range(1, 20, 2)])
    assert not marks.any()
    assert np.flatnonzero(found["kl"][2]).tolist() == [4]
    plain = RunView(EventFileSource(str(logs)).read("plain"))
    assert decoded(payloads.lane(plain, TABLE.paths[0], 10, (0, 19))) == {}
