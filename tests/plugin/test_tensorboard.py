"""A real TensorBoard process, with its fast (Rust) and its Python loader."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import recordings as made

from tb_gradients import schema
from tb_gradients.export import export

pytestmark = pytest.mark.slow

TABLE = made.make_table(3)
BIGGER = made.make_table(4)
PATIENCE = 90.0


class Host:
    """A running TensorBoard."""

    def __init__(self, address: str, log: pathlib.Path) -> None:
        self._address = address
        self.log = log

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def json(self, route: str) -> Any:
        return json.loads(self.get(f"data/plugin/{schema.PLUGIN_NAME}/{route}"))

    def floats(self, route: str) -> Any:
        return np.frombuffer(self.get(f"data/plugin/{schema.PLUGIN_NAME}/{route}"), "<f4")

    def poll_without_news(self) -> None:
        """Ask for the runs once more, as the tab does: not modified."""
        address = f"{self._address}data/plugin/{schema.PLUGIN_NAME}/runs"
        with urllib.request.urlopen(address, timeout=60) as answer:
            known = answer.headers["ETag"]
        request = urllib.request.Request(address, headers={"If-None-Match": known})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        with refused.value as answer:
            assert answer.code == 304

    def listing(self) -> Any:
        return json.loads(self.get("data/plugins_listing"))

    def frames(self) -> dict[str, int]:
        return {run["run"]: run["frames"] for run in self.json("runs")["runs"]}

    def wait_for_frames(self, expected: dict[str, int]) -> None:
        """Poll until TensorBoard has loaded that many frames of each run."""
        wait(lambda: self.frames() == expected, lambda: f"{self.frames()}, not {expected}")


def wait(condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


@contextlib.contextmanager
def tensorboard(
    logdir: pathlib.Path, scratch: pathlib.Path, *options: str, **environment: str
) -> Iterator[Host]:
    """TensorBoard on a free port of its own choice, ended at the end whatever happens."""
    log = scratch / "tensorboard.log"
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", "--port=0"]
    command += ["--host=127.0.0.1", "--reload_interval=1", *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    try:
        wait(
            lambda: bool(_address(log)) or process.poll() is not None,
            lambda: f"no address in {log.read_text()}",
        )
        address = _address(log)
        assert address, f"TensorBoard ended: {log.read_text()}"
        yield Host(address, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(log: pathlib.Path) -> str:
    found = re.search(r"^TensorBoard \S+ at (http://\S+)", log.read_text(), re.MULTILINE)
    return found[1] if found else ""


def has_fast_loader() -> bool:
    try:
        import tensorboard_data_server
    except ImportError:
        return False
    return bool(tensorboard_data_server.server_binary())


MODES = [
    pytest.param(
        "--load_fast=true",
        id="fast",
        marks=pytest.mark.skipif(not has_fast_loader(), reason="no fast loader here"),
    ),
    pytest.param("--load_fast=false", id="python"),
]


# --- All runs, both loaders -----------------------------------------------------------------

FRAMES = {"changed": 6, "long": 3000, "restarted": 7, "faulty": 80}


def write_logs(logs: pathlib.Path) -> None:
    made.write_run(logs / "long", TABLE, made.make_frames(TABLE, range(3000)), flags=[])
    faulty = made.turn_nonfinite(
        made.make_frames(TABLE, range(80), histograms_every=10), TABLE, since=40
    )
    flag = made.make_flag("nonfinite_gradient", variables=TABLE.paths, first_step=39)
    made.write_run(logs / "faulty", TABLE, faulty, flags=[flag])
    # A restart in a file of its own, as a second process writes it.
    first = made.make_frames(TABLE, range(6))
    made.write_run(logs / "restarted", TABLE, first, name="events.out.tfevents.1700000000.h.1.0")
    again = made.make_frames(TABLE, range(3, 7), salt=1)
    made.write_run(logs / "restarted", TABLE, again, name="events.out.tfevents.1700000900.h.2.0")
    # A layer is added while training.
    changed = [made.table_event(TABLE)]
    changed += [made.frame_event(f, TABLE) for f in made.make_frames(TABLE, range(3))]
    changed += [made.table_event(BIGGER, 3)]
    changed += [made.frame_event(f, BIGGER) for f in made.make_frames(BIGGER, range(3, 6))]
    made.write_events(logs / "changed", [made.file_version(), *changed])
    made.write_events(logs / "theirs", [made.file_version(), made.scalar_event("loss", 0, 1.0)])


@pytest.fixture(name="logs", scope="module")
def _logs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    return folder


@pytest.fixture(name="host", scope="module", params=MODES)
def _host(
    request: pytest.FixtureRequest,
    logs: pathlib.Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    with tensorboard(logs, tmp_path_factory.mktemp("host"), request.param) as host:
        host.wait_for_frames(FRAMES)
        yield host


def test_all_frames_are_kept(host: Host) -> None:
    run = host.json("run?run=long")
    assert run["steps"] == list(range(3000))
    assert run["sampled"] is False
    assert run["judged"] == "live"


def test_the_tab_is_there(host: Host) -> None:
    entry = host.listing()[schema.PLUGIN_NAME]
    assert entry["enabled"] is True
    module = entry["loading_mechanism"]["module_path"].lstrip("/")
    assert b"render" in host.get(module)


def test_steps_used_again_after_a_restart_are_the_later_ones(host: Host) -> None:
    assert host.json("run?run=restarted")["steps"] == list(range(7))
    expected = made.make_frames(TABLE, range(3)) + made.make_frames(TABLE, range(3, 7), salt=1)
    column = TABLE.statistics.index("gradient_norm")
    matrix = host.floats("matrix?run=restarted&statistic=gradient_norm").reshape(7, -1)
    np.testing.assert_array_equal(matrix, [frame.values[:, column] for frame in expected])


def test_a_changed_table_widens_the_matrix(host: Host) -> None:
    run = host.json("run?run=changed")
    assert [v["path"] for v in run["variables"]] == list(BIGGER.paths)
    matrix = host.floats("matrix?run=changed&statistic=weight_norm").reshape(6, 8)
    assert np.isnan(matrix[:3, 6:]).all()
    assert np.isfinite(matrix[3:]).all()


def test_the_console_stays_quiet(host: Host) -> None:
    host.json("rules")
    host.poll_without_news()
    for word in ("Traceback", "gradient_health", "Werkzeug", "security_validator"):
        assert word not in host.log.read_text()


def test_both_loaders_give_the_same_answers(
    host: Host, logs: pathlib.Path, answers: list[dict[str, Any]]
) -> None:
    answers.append(every_answer(host))
    if len(answers) == 2:
        assert answers[0].keys() == answers[1].keys()
        for route, answer in answers[0].items():
            assert answers[1][route] == answer, route


@pytest.fixture(name="answers", scope="module")
def _answers() -> list[dict[str, Any]]:
    """What each loader answered: the second one is compared with the first."""
    return []


def every_answer(host: Host) -> dict[str, Any]:
    answers: dict[str, Any] = {"runs": host.json("runs")}
    for run in FRAMES:
        answers[run] = host.json(f"run?run={run}")
        answers[run].pop("revision")
        names = [column["name"] for column in answers[run]["statistics"]]
        paths = [variable["path"] for variable in answers[run]["variables"]]
        routes = [f"matrix?run={run}&statistic={name}" for name in names]
        routes += [f"series?run={run}&variable={path}" for path in paths]
        routes += [f"histogram?run={run}&variable={path}" for path in paths]
        routes += [f"context?run={run}"]
        answers.update({route: host.floats(route).tobytes() for route in routes})
    return answers


# --- Before there are data ------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_tab_is_inactive_until_data_arrive(tmp_path: pathlib.Path, mode: str) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    with tensorboard(logs, tmp_path, mode) as host:
        assert host.listing()[schema.PLUGIN_NAME]["enabled"] is False
        assert host.json("runs") == {"schema": 1, "runs": []}
        frames = made.make_frames(TABLE, range(20))
        path = made.write_run(logs / "late", TABLE, frames[:5])
        host.wait_for_frames({"late": 5})
        assert host.listing()[schema.PLUGIN_NAME]["enabled"] is True
        before = host.json("run?run=late")
        events = [made.frame_event(frame, TABLE) for frame in frames[5:]]
        made.write_events(path.parent, events, name=path.name)
        host.wait_for_frames({"late": 20})
        after = host.json("run?run=late")
        assert after["steps"] == list(range(20))
        assert after["revision"] != before["revision"]


@pytest.mark.parametrize("mode", MODES)
def test_a_user_who_samples_is_warned(tmp_path: pathlib.Path, mode: str) -> None:
    flag = made.make_flag()
    frames = made.make_frames(TABLE, range(500))
    made.write_run(tmp_path / "logs" / "run", TABLE, frames, flags=[flag])
    option = f"--samples_per_plugin={schema.PLUGIN_NAME}=50"
    with tensorboard(tmp_path / "logs", tmp_path, mode, option) as host:
        host.wait_for_frames({"run": 50})
        run = host.json("run?run=run")
        assert run["sampled"] is True
        assert run["steps"][-1] == 499
        assert run["judged"] == "live"
        assert [f["rule"] for f in run["flags"]] == [flag.rule]


# --- Standard summaries, which other dashboards show ------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_dashboards_of_tensorboard_show_the_standard_summaries(
    tmp_path: pathlib.Path, mode: str
) -> None:
    frames = made.make_frames(TABLE, range(5), histograms_every=1)
    made.write_run(tmp_path / "recorded" / "run", TABLE, frames, flags=[made.make_flag()])
    export(str(tmp_path / "recorded"), "tensorboard", str(tmp_path / "logs"))
    with tensorboard(tmp_path / "logs", tmp_path, mode) as host:
        wait(lambda: b"gradients/" in host.get("data/plugin/histograms/tags"), lambda: "no data")
        path = TABLE.paths[0]
        tags = json.loads(host.get("data/plugin/scalars/tags"))["run"]
        assert {f"{n}/{path}" for n in ("gradient_norm", "zero_fraction", "update_ratio")} <= {
            *tags
        }
        points = json.loads(
            host.get(f"data/plugin/scalars/scalars?run=run&tag=gradient_norm%2F{path}")
        )
        assert [step for _, step, _ in points] == [0, 1, 2, 3, 4]
        assert f"gradients/{path}" in json.loads(host.get("data/plugin/histograms/tags"))["run"]
        assert json.loads(host.get("data/plugin/text/tags")) == {"run": ["findings"]}


# --- When the plugin is broken --------------------------------------------------------------


def test_a_plugin_that_fails_to_load_leaves_tensorboard_running(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['tb_gradients.plugin.plugin'] = None  # importing it fails\n"
    )
    with tensorboard(tmp_path, tmp_path, PYTHONPATH=str(tmp_path)) as host:
        listing = host.listing()
        assert "scalars" in listing
        assert schema.PLUGIN_NAME not in listing
        assert "Failed to load plugin" in host.log.read_text()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            host.json("runs")
