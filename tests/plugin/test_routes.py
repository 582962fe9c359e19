"""Every route over HTTP, on TensorBoard's own application and its own data provider."""

from __future__ import annotations

import json
import pathlib
import re
import zlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import recordings as made
from tensorboard import errors as tb_errors
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider as tb_data_provider
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.data import provider as tb_provider
from tensorboard.plugins import base_plugin
from werkzeug import test as werkzeug_test

from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.judging import judge
from tb_gradients.plugin.bundle import Bundle
from tb_gradients.plugin.plugin import GradientHealthPlugin
from tb_gradients.plugin.store import LoadedRun
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.report import load
from tb_gradients.reading.settings import settings_of
from tb_gradients.reading.source import StoredVerdict

PREFIX = f"/data/plugin/{schema.PLUGIN_NAME}"
TABLE = made.make_table(3)
FRAMES = made.turn_zero(
    made.make_frames(TABLE, range(60), histograms_every=20), TABLE, rows=[0, 1], since=10
)
FLAG = made.make_flag(variables=["dense/kernel", "dense/bias"], last_step=59)
DOCUMENTATION = pathlib.Path(__file__).parents[2] / "docs" / "http_api.md"


class Browser:
    """Asks the application; answers parsed."""

    def __init__(self, provider: Any, bundle: Bundle | None = None) -> None:
        context = base_plugin.TBContext(
            data_provider=provider, sampling_hints={schema.PLUGIN_NAME: 0}
        )
        self.plugin = GradientHealthPlugin(context, bundle)
        host = application.TensorBoardWSGI([self.plugin], data_provider=provider)
        self._client = werkzeug_test.Client(host)

    def get(
        self,
        route: str,
        method: str = "GET",
        prefix: str = PREFIX,
        headers: dict[str, str] | None = None,
        **arguments: str,
    ) -> Any:
        return self._client.open(
            f"{prefix}/{route}", method=method, query_string=arguments, headers=headers
        )

    def json(self, route: str, **arguments: str) -> Any:
        answer = self.get(route, **arguments)
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "application/json"
        return json.loads(answer.data, parse_constant=_refuse)

    def floats(self, route: str, **arguments: str) -> Any:
        answer = self.get(route, **arguments)
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "application/octet-stream"
        return np.frombuffer(answer.data, "<f4")


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def browse(folder: pathlib.Path) -> Browser:
    multiplexer = plugin_event_multiplexer.EventMultiplexer(
        tensor_size_guidance={schema.PLUGIN_NAME: 0}
    )
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return Browser(tb_data_provider.MultiplexerDataProvider(multiplexer, str(folder)))


@pytest.fixture(name="browser", scope="module")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    folder = tmp_path_factory.mktemp("logs")
    made.write_run(folder / "faulty", TABLE, FRAMES, flags=[FLAG])
    made.write_run(folder / "unjudged", TABLE, FRAMES)
    made.write_events(folder / "theirs", [made.scalar_event("loss", 0, 1.0)])
    return browse(folder)


# --- Data -----------------------------------------------------------------------------------


def test_runs_lists_every_run_of_ours(browser: Browser) -> None:
    answer = browser.json("runs")
    assert answer["schema"] == 1
    assert [run["run"] for run in answer["runs"]] == ["faulty", "unjudged"]
    assert re.fullmatch("[0-9a-f]{12}", answer["runs"][0].pop("mark"))
    assert answer["runs"][0] == {
        "run": "faulty",
        "first_step": 0,
        "last_step": 59,
        "frames": 60,
        "variables": 6,
        "state": "judged",
        "error": None,
        "verdict": "critical",
        "counts": {"critical": 1, "warning": 0, "info": 0},
        "newest": FRAMES[-1].wall_time,
        "loss": FRAMES[-1].context[TABLE.context.index("loss")],
        "settings": settings_of(pb.VariableTable.FromString(TABLE.to_bytes())),
        "leading": {
            "rule": FLAG.rule,
            "severity": "critical",
            "first_step": FLAG.first_step,
            "open": True,
        },
        "flagged": {FLAG.rule: "critical"},
        "undecided": False,
        "findings": [
            {
                "rule": FLAG.rule,
                "severity": "critical",
                "variable": FLAG.variables[0],
                "first_step": FLAG.first_step,
                "open": True,
            }
        ],
    }
    assert answer["runs"][0]["settings"]["layers"] == "3"


def test_run_describes_the_layout_of_all_other_answers(browser: Browser) -> None:
    run = browser.json("run", run="faulty")
    assert run["steps"] == list(range(60))
    assert run["judged"] == "live"
    assert run["sampled"] is False
    assert run["errors"] == []
    assert [flag["rule"] for flag in run["flags"]] == [FLAG.rule]
    assert run["histogram_steps"] == [0, 20, 40]
    variables, revision = len(run["variables"]), run["revision"]
    same = {"run": "faulty", "revision": revision}
    assert browser.floats("matrix", statistic="gradient_norm", **same).size == 60 * variables
    assert browser.floats("series", variable="dense/bias", **same).size == 60 * len(
        run["statistics"]
    )
    assert browser.floats("context", **same).size == 60 * len(run["context_columns"])
    bins = 4 + 2 * run["histogram"]["octaves"]
    assert browser.floats("histogram", variable="dense/bias", **same).size == 3 * bins


def test_a_run_without_a_stored_verdict_is_judged_offline(browser: Browser) -> None:
    assert browser.json("run", run="unjudged")["judged"] == "offline"


def test_a_run_at_step_43_has_not_passed_what_needs_100_steps(tmp_path: pathlib.Path) -> None:
    """Its writer has stored a verdict when that changed last, at step 20."""
    frames = made.make_frames(TABLE, range(44))
    early = judge([Recording.from_frames(TABLE, frames[:21])])
    stored = StoredVerdict(early.flags, early.errors, 20, 21, early.rules, early.undecided)
    made.write_run(tmp_path / "growing", TABLE, frames, verdict=stored)
    browser = browse(tmp_path)

    run = browser.json("run", run="growing")
    states = {rule["rule"]: (rule["state"], rule["reason"]) for rule in run["rules"]}
    assert states["not_learning"] == ("not_yet", "needs 100 losses; 44 were seen")
    assert states["nonfinite_gradient"] == ("passed", "")
    assert run["verdict"] == "undecided"
    assert run["undecided"].startswith("too early to tell: 44 steps; ")
    assert browser.json("runs")["runs"][0]["verdict"] == "undecided"
    [reported] = browser.json("report", run="growing")["runs"]
    assert [reported[key] for key in ("verdict", "undecided", "rules")] == [
        run[key] for key in ("verdict", "undecided", "rules")
    ]


def test_who_is_in_a_hurry_gets_the_verdict_afterwards(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "unjudged", TABLE, FRAMES)
    browser = browse(tmp_path)
    assert browser.json("runs", patience="0")["runs"][0]["state"] == "judging"
    run = browser.json("run", run="unjudged", patience="0")
    assert (run["judged"], run["flags"]) == (None, [])
    assert len(run["steps"]) == 60
    later = browser.json("verdict", run="unjudged", revision=run["revision"])
    assert later["judged"] == "offline"
    again = browser.json("run", run="unjudged", patience="0")
    assert {key: again[key] for key in later} == later
    assert later["flags"]


def test_why_a_run_has_no_verdict_is_reported(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "attached", TABLE, [])
    made.write_events(tmp_path / "newer", [made.table_event(TABLE, format_version=2)])
    runs = browse(tmp_path).json("runs")["runs"]
    assert [(run["verdict"], run["state"]) for run in runs] == [
        (None, "empty"),
        (None, "unreadable"),
    ]


def test_who_knows_the_runs_as_they_are_is_answered_in_a_few_bytes(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "a", TABLE, FRAMES, flags=[FLAG])
    made.write_run(tmp_path / "b", TABLE, FRAMES, flags=[])
    multiplexer = plugin_event_multiplexer.EventMultiplexer(
        tensor_size_guidance={schema.PLUGIN_NAME: 0}
    )
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    browser = Browser(tb_data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path)))

    def ask(tag: str, **arguments: str) -> Any:
        return browser.get("runs", headers={"If-None-Match": tag}, **arguments)

    first, only_a = browser.get("runs"), browser.get("runs", run="a")
    assert [run["run"] for run in json.loads(only_a.data)["runs"]] == ["a"]
    known, known_a = first.headers["ETag"], only_a.headers["ETag"]
    for answer in (ask(known), ask(known_a, run="a")):
        assert (answer.status_code, answer.data) == (304, b"")
        assert len(str(answer.headers)) < 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(known_a).status_code == 200  # another question

    written = {run["run"]: run["mark"] for run in json.loads(first.data)["runs"]}
    more = made.make_frames(TABLE, range(60, 70))
    made.write_events(tmp_path / "b", [made.frame_event(frame, TABLE) for frame in more])
    multiplexer.Reload()
    assert ask(known_a, run="a").status_code == 304
    runs = {run["run"]: run for run in json.loads(ask(known).data)["runs"]}
    assert runs["b"]["last_step"] == 69
    assert runs["b"]["newest"] == more[-1].wall_time
    assert {name for name, run in runs.items() if run["mark"] != written[name]} == {"b"}


def test_runs_that_are_being_judged_are_asked_for_again(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "unjudged", TABLE, FRAMES)
    browser = browse(tmp_path)
    assert "ETag" not in browser.get("runs", patience="0").headers
    assert "ETag" in browser.get("runs").headers


def test_numbers_arrive_bit_by_bit(browser: Browser) -> None:
    written = np.stack([frame.values for frame in FRAMES])
    for column, name in enumerate(schema.statistic_names()):
        matrix = browser.floats("matrix", run="faulty", statistic=name)
        np.testing.assert_array_equal(matrix.reshape(60, 6), written[:, :, column])
    context = browser.floats("context", run="faulty").reshape(60, -1)
    np.testing.assert_array_equal(context, [frame.context for frame in FRAMES])
    histogram = browser.floats("histogram", run="faulty", variable="dense/bias")
    expected = [made.make_histograms(TABLE, step)[1] for step in (0, 20, 40)]
    np.testing.assert_array_equal(histogram.reshape(3, -1), expected)


def test_the_report_is_that_of_the_command_line(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "a", TABLE, FRAMES)
    made.write_run(tmp_path / "b", TABLE, FRAMES[:5])
    browser = browse(tmp_path)
    expected = load(tmp_path).to_json()
    assert browser.json("report") == expected
    assert browser.json("report", run="b")["runs"] == expected["runs"][1:]


def test_the_report_has_the_flags_that_were_judged_live(browser: Browser) -> None:
    [alone] = browser.json("report", run="faulty")["runs"]
    assert [flag["rule"] for flag in alone["flags"]] == [FLAG.rule]
    assert alone["verdict"] == "critical"


def test_rules_is_the_rule_book(browser: Browser) -> None:
    book = browser.json("rules")
    assert set(book) == {"rules", "causes", "ranges"}


def test_answers_are_not_cached_and_not_sniffed(browser: Browser) -> None:
    answer = browser.get("runs")
    assert answer.headers["Cache-Control"] == "no-cache, must-revalidate"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_a_run_that_grows_shows_up_at_the_next_question(tmp_path: pathlib.Path) -> None:
    path = made.write_run(tmp_path / "run", TABLE, FRAMES[:10], flags=[])
    multiplexer = plugin_event_multiplexer.EventMultiplexer(
        tensor_size_guidance={schema.PLUGIN_NAME: 0}
    )
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    browser = Browser(tb_data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path)))
    before = browser.json("run", run="run")
    events = [made.frame_event(frame, TABLE) for frame in FRAMES[10:20]]
    made.write_events(path.parent, events, name=path.name)
    multiplexer.Reload()
    assert browser.json("runs")["runs"][0]["frames"] == 20
    after = browser.json("run", run="run")
    assert len(after["steps"]) == 20
    assert after["revision"] != before["revision"]
    stale = browser.get("context", run="run", revision=before["revision"])
    assert stale.status_code == 409


# --- Errors ---------------------------------------------------------------------------------


def broken(error: Exception) -> Browser:
    provider = mock.create_autospec(tb_provider.DataProvider, instance=True)
    provider.list_tensors.side_effect = error
    return Browser(provider)


def sentence(answer: Any) -> str:
    """The one shape that all errors have."""
    assert answer.mimetype == "application/json"
    body = json.loads(answer.data)
    assert set(body) == {"error"}
    assert body["error"][0].isupper()
    assert body["error"].endswith((".", "..."))
    return str(body["error"])


@pytest.mark.parametrize(
    ("route", "arguments", "status", "words"),
    [
        ("run", {}, 400, "?run="),
        ("run", {"run": ""}, 400, "?run="),
        ("matrix", {"run": "faulty"}, 400, "?statistic="),
        ("series", {"run": "faulty"}, 400, "?variable="),
        ("histogram", {"run": "faulty"}, 400, "?variable="),
        ("context", {}, 400, "?run="),
        ("run", {"run": "nope"}, 404, "'nope'"),
        ("matrix", {"run": "nope", "statistic": "gradient_norm"}, 404, "'nope'"),
        ("matrix", {"run": "faulty", "statistic": "nope"}, 404, "'nope'"),
        ("matrix", {"run": "faulty", "statistic": "nope", "columns": "9"}, 404, "'nope'"),
        ("matrix", {"run": "faulty", "statistic": "gradient_norm", "columns": "0"}, 400, "columns"),
        ("marks", {"run": "faulty", "columns": "9" * 5000}, 400, "columns"),
        ("marks", {"run": "faulty", "columns": "-1"}, 400, "columns"),
        ("marks", {"run": "faulty", "columns": "9", "to": "nan"}, 400, "to"),
        ("run", {"run": "faulty", "patience": "nan"}, 400, "seconds"),
        ("report", {"run": "nope"}, 404, "'nope'"),
        ("run", {"run": "faulty", "patience": "x"}, 400, "seconds"),
        ("verdict", {"run": "nope"}, 404, "'nope'"),
        ("marks", {"run": "faulty"}, 400, "?columns="),
        ("marks", {"run": "faulty", "columns": "9", "from": "x"}, 400, "from"),
        ("series", {"run": "faulty", "variable": "nope"}, 404, "'nope'"),
        ("histogram", {"run": "faulty", "variable": "nope"}, 404, "'nope'"),
        ("lane", {"run": "faulty"}, 400, "?columns="),
        ("lane", {"run": "faulty", "columns": "0"}, 400, "columns"),
        ("lane", {"run": "faulty", "columns": "9", "from": "x"}, 400, "from"),
        ("lane", {"run": "faulty", "columns": "9", "variable": "nope"}, 404, "'nope'"),
        ("context", {"run": "faulty", "revision": "nope"}, 409, "ask for the run again"),
        ("nope", {}, 404, "no route"),
        ("static/../plugin.py", {}, 404, "no route"),
    ],
)
def test_bad_requests_get_a_sentence(
    browser: Browser, route: str, arguments: dict[str, str], status: int, words: str
) -> None:
    answer = browser.get(route, **arguments)
    assert answer.status_code == status
    assert words in sentence(answer)


@pytest.mark.parametrize("route", ["runs", "run", "index.js", "nope"])
def test_only_get_is_answered(browser: Browser, route: str) -> None:
    answer = browser.get(route, method="POST")
    assert answer.status_code == 405
    assert "GET" in sentence(answer)


def test_head_answers_without_a_body(browser: Browser) -> None:
    answer = browser.get("runs", method="HEAD")
    assert answer.status_code == 200
    assert answer.data == b""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (tb_errors.NotFoundError("experiment"), 404),
        (tb_errors.PermissionDeniedError("not yours"), 403),
        (tb_errors.UnauthenticatedError("who?", challenge="Bearer"), 401),
        (RuntimeError("the disk is full"), 500),
    ],
)
@pytest.mark.parametrize(
    "route",
    ["runs", "run", "verdict", "matrix", "marks", "series", "lane", "context", "histogram"],
)
def test_errors_of_the_host_have_our_shape(route: str, error: Exception, status: int) -> None:
    arguments = {"run": "r", "statistic": "gradient_norm", "variable": "v", "columns": "9"}
    answer = broken(error).get(route, **arguments)
    assert answer.status_code == status
    body = json.loads(answer.data)
    assert str(error.args[0]) in body["error"]
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_newer_format_says_how_to_upgrade(tmp_path: pathlib.Path) -> None:
    made.write_events(tmp_path / "new", [made.table_event(TABLE, format_version=2)])
    browser = browse(tmp_path)
    assert [run["run"] for run in browser.json("runs")["runs"]] == ["new"]
    answer = browser.get("run", run="new")
    assert answer.status_code == 404
    assert "pip install -U tb-gradients" in sentence(answer)


@pytest.fixture(name="hurt", scope="module")
def _hurt(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Two ordinary runs among others whose checksums are right and whose contents are odd."""
    folder = tmp_path_factory.mktemp("hurt")
    made.write_run(folder / "before", TABLE, FRAMES, flags=[FLAG])
    made.write_run(folder / "behind", TABLE, FRAMES)
    events = [made.table_event(TABLE), *(made.frame_event(frame, TABLE) for frame in FRAMES)]
    for name, change in ODD.items():
        odd = [type(event).FromString(event.SerializeToString()) for event in events]
        change(odd)
        made.write_events(folder / name, odd)
    return browse(folder)


def _empty_table(events: list[Any]) -> None:
    del events[0].summary.value[0].tensor.string_val[:]


def _no_table(events: list[Any]) -> None:
    events[0].summary.value[0].tensor.string_val[0] = b"\xff\xff"


def _shape(*sizes: int) -> Callable[[list[Any]], None]:
    def change(events: list[Any]) -> None:
        table = pb.VariableTable.FromString(events[0].summary.value[0].tensor.string_val[0])
        table.variables[0].shape[:] = sizes
        events[0].summary.value[0].tensor.string_val[0] = table.SerializeToString()

    return change


def _context(name: str, value: float) -> Callable[[list[Any]], None]:
    def change(events: list[Any]) -> None:
        context = FRAMES[9].context.copy()
        context[TABLE.context.index(name)] = value
        events[10].summary.value[1].tensor.tensor_content = context.tobytes()

    return change


def _time(events: list[Any]) -> None:
    events[10].wall_time = float("nan")


def _odd_histograms(events: list[Any]) -> None:
    tensor = events[21].summary.value[2].tensor
    pack = pb.HistogramPack.FromString(tensor.string_val[0])
    pack.counts = zlib.compress(zlib.decompress(pack.counts)[:-2])
    tensor.string_val[0] = pack.SerializeToString()


ODD: dict[str, Callable[[list[Any]], None]] = {
    "empty_table": _empty_table,
    "no_table": _no_table,
    "large_shape": _shape(2**40, 2**40),
    "negative_shape": _shape(-1, 4),
    "many_steps": _context("window_steps", 1e30),
    "endless_age": _context("loss_nonfinite_age", float("inf")),
    "no_time": _time,
    "odd_histograms": _odd_histograms,
}
UNREADABLE = {"empty_table", "no_table", "large_shape", "negative_shape"}


def _all_judged(browser: Browser, route: str) -> dict[str, Any]:
    """The runs by name. Judging has limited time per request: a busy machine needs several."""
    for _ in range(100):
        runs = {run["run"]: run for run in browser.json(route)["runs"]}
        if all(run["state"] != "judging" for run in runs.values()):
            return runs
    raise AssertionError("runs are judged without end")


def test_a_run_that_cannot_be_read_hides_no_other(hurt: Browser) -> None:
    for route in ("runs", "report"):
        runs = _all_judged(hurt, route)
        assert set(runs) == {"before", "behind", *ODD}
        assert {name for name, run in runs.items() if run["state"] == "unreadable"} == UNREADABLE
        assert {runs[name]["state"] for name in ("before", "behind")} == {"judged"}
        assert runs["before"]["verdict"] == "critical"
        for name in UNREADABLE:
            reported = (
                runs[name]["error"] if route == "runs" else runs[name]["errors"][0]["message"]
            )
            assert reported.endswith(".") and reported[0].isupper()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "route", ["run", "verdict", "matrix", "marks", "series", "context", "histogram"]
)
def test_no_content_of_a_run_is_a_fault_of_the_plugin(hurt: Browser, route: str, name: str) -> None:
    arguments = {"statistic": "gradient_norm", "variable": "dense/kernel", "columns": "9"}
    answer = hurt.get(route, run=name, **arguments)
    assert answer.status_code in ((200, 404) if name in UNREADABLE else (200,))
    if answer.status_code == 404:
        sentence(answer)


def test_what_was_left_out_of_a_run_is_reported_with_it(hurt: Browser) -> None:
    errors = {name: hurt.json("run", run=name)["errors"] for name in sorted(set(ODD) - UNREADABLE)}
    reported = {name: [error["message"] for error in found] for name, found in errors.items()}
    assert reported == {
        "endless_age": ["Frames in which loss_nonfinite_age cannot be and is left out: 1."],
        "many_steps": ["Frames in which window_steps cannot be and is left out: 1."],
        "no_time": ["Records left out: 1. Of the first its time cannot be nan."],
        "odd_histograms": [],
    }


def test_a_rule_engine_that_fails_is_a_sentence_and_a_logged_traceback(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(LoadedRun, "judgement_within", side_effect=ZeroDivisionError("by zero")):
        answer = browser.get("run", run="faulty")
    assert answer.status_code == 500
    assert "ZeroDivisionError: by zero" in sentence(answer)
    assert "Traceback" in caplog.text


# --- The page -------------------------------------------------------------------------------


def test_the_tab_is_announced_with_its_name_and_a_versioned_module(tmp_path: pathlib.Path) -> None:
    (tmp_path / "index.js").write_text("export function render() {}")
    provider = mock.create_autospec(tb_provider.DataProvider, instance=True)
    provider.list_plugins.return_value = []
    browser = Browser(provider, Bundle(tmp_path))
    listing = json.loads(browser.get("plugins_listing", prefix="/data").data)
    entry = listing[schema.PLUGIN_NAME]
    assert entry["tab_name"] == "Gradient Health"
    assert entry["enabled"] is False
    assert not entry["disable_reload"]
    module = entry["loading_mechanism"]["module_path"]
    version = re.fullmatch(rf"{PREFIX}/index\.js\?v=([0-9a-f]{{12}})", module)
    assert version is not None
    answer = browser.get("index.js", v=version[1])
    assert answer.mimetype == "text/javascript"
    assert answer.data == b"export function render() {}"
    assert "max-age=31536000" in answer.headers["Cache-Control"]
    assert "no-cache" in browser.get("index.js").headers["Cache-Control"]


def test_the_tab_is_active_when_there_are_data(browser: Browser) -> None:
    listing = json.loads(browser.get("plugins_listing", prefix="/data").data)
    assert listing[schema.PLUGIN_NAME]["enabled"] is True


def test_a_missing_bundle_is_explained_in_the_page(tmp_path: pathlib.Path) -> None:
    provider = mock.create_autospec(tb_provider.DataProvider, instance=True)
    answer = Browser(provider, Bundle(tmp_path)).get("index.js")
    assert answer.status_code == 200, "a module that is refused could not say anything"
    assert "is not built" in answer.text


# --- Documentation --------------------------------------------------------------------------


def test_every_route_is_documented(browser: Browser) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    headings = re.findall(r"^## `([a-z.]+)", text, re.MULTILINE)
    routes = {route.strip("/") for route in browser.plugin.get_plugin_apps()}
    assert set(headings) == {route for route in routes if not route.endswith((".map", "*"))}


def test_every_key_of_runs_and_run_is_documented(browser: Browser) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    run = browser.json("run", run="faulty")
    keys = {*run, *run["variables"][0], *run["statistics"][0], *run["context"], *run["flags"][0]}
    keys |= {*browser.json("runs")["runs"][0], *run["histogram"]}
    missing = {key for key in keys if not re.search(rf'[`"]{key}[`"]', text)}
    assert missing == set()
