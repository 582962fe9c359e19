"""Every reader of ours with one changed input, and what must hold whatever the input was.

In:  a source of random choices.
Out: nothing; an ``AssertionError``, or an exception that no reader may raise.
Does not know how often it is tried, or who chooses.

A reader either returns something that the rest of the program can use, or raises the one error
that its documentation names. What it returns is used: judged, printed, written as JSON, HTML and
XML, and asked for over HTTP.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import recordings as made
from mutations import (
    FLOATS,
    INTEGERS,
    TEXTS,
    Random,
    changed,
    changed_event,
    changed_file,
    damaged,
)
from tensorboard.backend import application
from tensorboard.data import provider as tb_provider
from tensorboard.plugins import base_plugin
from tensorboard.util import tensor_util
from werkzeug import test as werkzeug_test

from tb_gradients import lane as lanes
from tb_gradients import lane_pack, schema
from tb_gradients.console import Console
from tb_gradients.documents import html_document, junit_document
from tb_gradients.flags import Severity
from tb_gradients.frames import FormatError, VariableTable, pack_histograms, unpack_histograms
from tb_gradients.judging import all_rules
from tb_gradients.plugin.plugin import GradientHealthPlugin
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.assembling import check_metadata
from tb_gradients.reading.event_files import EventFileSource, our_records
from tb_gradients.reading.report import Report, load
from tb_gradients.reading.source import ReadError, StoredVerdict

_T = TypeVar("_T")

TABLE = made.make_table(2)
FRAMES = made.make_frames(TABLE, range(6), histograms_every=3)
CODES = lanes.codes_of(np.linspace(0, 2, 6 * 4, dtype=np.float32).reshape(6, 4))
LANE = lanes.Lane.of_steps(
    0, CODES, [1, 1, 0, 1, -1, 1], [1, np.nan, 0.5, np.inf, 0.2, 0.1]
).with_named_losses({"mse": [(0, 0.5), (3, np.nan)], "kl": [(1, 2.0)]})
BLOCKS = lanes.Lane(
    np.array([0, 4]), np.array([4, 2]), np.array([3, 7]), CODES[:2], CODES[2:4],
    np.zeros((2, 4), np.uint8), np.full((2, 5), 2), np.ones((2, 3), np.float32),
)  # fmt: skip
RULES = {rule.id for rule in all_rules()}
VERDICT = StoredVerdict((made.make_flag(first_step=2, last_step=5),), (), 5, 6)
EVENTS = [
    made.file_version(),
    made.table_event(TABLE),
    *(made.frame_event(frame, TABLE) for frame in FRAMES),
    made.lane_event(LANE, TABLE),
    made.verdict_event(VERDICT, 5),
]
MESSAGES = {
    "table": pb.VariableTable.FromString(TABLE.to_bytes()),
    "histograms": pb.HistogramPack.FromString(
        pack_histograms(made.make_histograms(TABLE, 3), TABLE.table_id)
    ),
    "verdict": pb.FlagList.FromString(VERDICT.to_bytes()),
    "lane": pb.LanePack.FromString(lane_pack.pack(LANE, TABLE.table_id)),
    "blocks": pb.LanePack.FromString(lane_pack.pack(BLOCKS, TABLE.table_id)),
    "metadata": pb.PluginData(format_version=1),
}


def _bytes(random: Random, name: str) -> bytes:
    message = changed(random, MESSAGES[name], 1 + random.randrange(3))
    data: bytes = message.SerializeToString()
    return damaged(random, data) if random.random() < 0.15 else data


def _unless_refused(decode: Callable[[bytes], _T], data: bytes) -> _T | None:
    """What is read; ``None`` where the decoder refuses it as it is documented to."""
    try:
        return decode(data)
    except FormatError:
        return None


# --- Decoders -----------------------------------------------------------------------------------


def read_table(random: Random) -> None:
    table = _unless_refused(VariableTable.from_bytes, _bytes(random, "table"))
    if table is None:
        return
    assert 0 <= table.table_id < 1 << 24
    assert len(table.elements) == len(table.variables)
    assert VariableTable.from_bytes(table.to_bytes()) == table or _has_nan(table)


def _has_nan(table: VariableTable) -> bool:
    return any(variable.initial_rms != variable.initial_rms for variable in table.variables)


def read_histograms(random: Random) -> None:
    read = _unless_refused(unpack_histograms, _bytes(random, "histograms"))
    if read is None:
        return
    table_id, counts = read
    assert counts.dtype == np.uint16 and counts.shape[1] == schema.HISTOGRAM_BINS
    assert table_id >= 0


def read_lane(random: Random) -> None:
    read = _unless_refused(lane_pack.unpack, _bytes(random, random.choice(("lane", "blocks"))))
    if read is None:
        return
    lane = read[1]
    assert (np.diff(lane.first) > 0).all() and (lane.spans > 0).all()
    assert lane.norms.shape == lane.low.shape
    assert len(lane.loss) == len(lane.moved) == len(lane)


def read_verdict(random: Random) -> None:
    verdict = _unless_refused(StoredVerdict.from_bytes, _bytes(random, "verdict"))
    if verdict is None:
        return
    _strict_json([flag.to_json() for flag in verdict.flags])
    assert all(str(flag).isprintable() for flag in verdict.flags)
    StoredVerdict.from_bytes(verdict.to_bytes())


def read_metadata(random: Random) -> None:
    with contextlib.suppress(ReadError):
        check_metadata("run", _bytes(random, "metadata"))


def read_records(random: Random) -> None:
    data = changed_file(random, EVENTS)
    errors: list[str] = []
    records = list(our_records(io.BytesIO(data), "file", errors))
    assert sum(len(record) for _, record in records) <= len(data)
    assert all(error.endswith((".", "?")) for error in errors)


DECODERS: Mapping[str, Callable[[Random], None]] = {
    "table": read_table,
    "histograms": read_histograms,
    "lane": read_lane,
    "verdict": read_verdict,
    "metadata": read_metadata,
    "records": read_records,
}


# --- Folders ------------------------------------------------------------------------------------


def check_folder(random: Random) -> None:
    """``tb-gradients check`` on an ordinary run and a changed one, in all its formats."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for run in ("odd", "ordinary"):
            (folder / run).mkdir()
            events = changed_file(random, EVENTS) if run == "odd" else _ORDINARY
            (folder / run / "events.out.tfevents.1.host.1.gradient_health").write_bytes(events)
        report = load(folder)
        runs = {run.run: run for run in report.runs}
        assert runs["ordinary"].state == "judged" and not runs["ordinary"].errors
        for frame in EventFileSource(folder).histograms("odd") if "odd" in runs else ():
            _unless_refused(unpack_histograms, frame.packed)
    _use(report)


def _use(report: Report) -> None:
    _strict_json(report.to_json())
    text = Console().report(report)
    assert all(line.isprintable() for line in text.split("\n"))
    html_document(report, "logs")
    ElementTree.fromstring(junit_document(report, Severity.WARNING))
    for run in report.runs:
        assert run.state in ("judged", "empty", "unreadable")
        assert run.state == "judged" or run.errors
        # (What the writer has stored is shown as it is.)
        here = [problem for problem in run.errors if problem.step is None]
        assert not [p for p in run.errors if p.rule is not None and p.rule in RULES], run.errors
        assert all(problem.message for problem in run.errors)
        assert all(problem.message.endswith((".", "?")) for problem in here), run.errors


def _strict_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


_ORDINARY = b"".join(made.as_record(event.SerializeToString()) for event in EVENTS)


# --- Routes -------------------------------------------------------------------------------------

PREFIX = f"/data/plugin/{schema.PLUGIN_NAME}"
ROUTES = (
    "runs", "run", "verdict", "matrix", "marks", "series", "context", "histogram", "report",
    "rules",
)  # fmt: skip
STATUSES = (200, 400, 404, 409, 413)
ARGUMENTS = (
    "run", "statistic", "variable", "columns", "from", "to", "revision", "patience", "glance", "v",
    "x",
)  # fmt: skip


class Provider:
    """A data provider whose runs are events in memory; the methods are TensorBoard's."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, list[tuple[int, float, Any]]]] = {}
        self.contents: dict[tuple[str, str], bytes] = {}

    def add(self, run: str, events: list[Any]) -> None:
        tags: dict[str, list[tuple[int, float, Any]]] = {}
        for event in events:
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == schema.PLUGIN_NAME:
                    self.contents.setdefault((run, value.tag), value.metadata.plugin_data.content)
                try:
                    array = tensor_util.make_ndarray(value.tensor)
                except Exception:
                    continue  # TensorBoard refuses it; of the others it hands out what is there
                tags.setdefault(value.tag, []).append((event.step, event.wall_time, array))
        self.runs[run] = tags

    def list_tensors(
        self, ctx: Any, *, experiment_id: str, plugin_name: str, run_tag_filter: Any = None
    ) -> Any:
        return {
            run: {
                tag: SimpleNamespace(
                    max_step=max(step for step, _, _ in points),
                    max_wall_time=max(time for _, time, _ in points),
                    plugin_content=self.contents.get((run, tag), b""),
                )
                for tag, points in tags.items()
            }
            for run, tags in self.runs.items()
            if run_tag_filter is None or run in run_tag_filter.runs
        }

    def read_tensors(
        self, ctx: Any, *, experiment_id: str, plugin_name: str, downsample: int,
        run_tag_filter: Any = None,
    ) -> Any:  # fmt: skip
        return {
            run: {
                tag: [
                    SimpleNamespace(step=step, wall_time=time, numpy=array)
                    for step, time, array in points
                ][-downsample:]
                for tag, points in tags.items()
                if tag in run_tag_filter.tags
            }
            for run, tags in self.runs.items()
            if run in run_tag_filter.runs
        }


class Server:
    """The plugin in TensorBoard's application, on two runs."""

    def __init__(self, odd: list[Any]) -> None:
        provider = Provider()
        provider.add("ordinary", EVENTS)
        provider.add("odd", odd)
        context = base_plugin.TBContext(
            data_provider=provider, sampling_hints={schema.PLUGIN_NAME: 0}
        )
        plugin = GradientHealthPlugin(context)
        host = application.TensorBoardWSGI([plugin], data_provider=_Host(provider))
        self._client = werkzeug_test.Client(host)

    def ask(self, route: str, query: str) -> Any:
        """The answer, which has one of the documented statuses and shapes."""
        answer = self._client.get(f"{PREFIX}/{route}", query_string=query)
        assert answer.status_code in STATUSES, (route, query, answer.get_data()[:300])
        if answer.status_code != 200 or answer.mimetype == "application/json":
            assert answer.mimetype == "application/json"
            body = json.loads(answer.data, parse_constant=_refuse)
            assert (answer.status_code == 200) == ("error" not in body)
            assert answer.status_code == 200 or set(body) == {"error"}
            return body
        return answer.data


class _Host(tb_provider.DataProvider):
    """What TensorBoard's own application asks a provider at its start."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def data_location(self, ctx: Any = None, *, experiment_id: str) -> str:
        return ""

    def list_plugins(self, ctx: Any = None, *, experiment_id: str) -> Any:
        return [schema.PLUGIN_NAME]

    def list_runs(self, ctx: Any = None, *, experiment_id: str) -> Any:
        return []

    list_scalars = read_scalars = read_last_scalars = list_runs
    list_tensors = read_tensors = list_blob_sequences = read_blob_sequences = list_runs
    read_blob = list_runs


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def ask_about_odd_data(random: Random) -> None:
    """All routes about a run with changed events, and the others that have to be as usual."""
    events = list(EVENTS)
    for _ in range(1 + random.randrange(3)):
        at = random.randrange(len(events))
        events[at] = changed_event(random, events[at])
    server = Server(events)
    query = {"run": "odd", "statistic": "gradient_norm", "variable": "dense/kernel", "columns": 3}
    for route in ROUTES:
        body = server.ask(route, urlencode({} if route in ("runs", "report") else query))
        if route in ("runs", "report"):
            states = {run["run"]: run["state"] for run in body["runs"]}
            assert states["ordinary"] == "judged"
            assert states.get("odd") in (None, "judged", "empty", "unreadable", "judging")


_LOCAL = threading.local()


def ask_odd_questions(random: Random) -> None:
    """Any route with any arguments about ordinary runs."""
    if not hasattr(_LOCAL, "server"):
        _LOCAL.server = Server(EVENTS)
    values = [
        "odd", "ordinary", "gradient_norm", "update_ratio", "dense/kernel", "9", "1", "nan", "inf",
        "-inf", "1e999", "-5", "0x10", "٣", "1_0", "9" * 5000, "\ud800",
        *map(str, INTEGERS), *map(str, FLOATS), *TEXTS,
    ]  # fmt: skip
    pairs = [(random.choice(ARGUMENTS), random.choice(values)) for _ in range(random.randrange(5))]
    if random.random() < 0.8:
        pairs += [("run", "odd"), ("statistic", "gradient_norm"), ("variable", "dense/kernel")]
        pairs += [("columns", "3")]
    query = urlencode(pairs, errors="surrogatepass")
    if random.random() < 0.2:
        query = damaged(random, query.encode()).decode("latin-1")
    _LOCAL.server.ask(random.choice(ROUTES), query)


WHOLE: Mapping[str, Callable[[Random], None]] = {
    "folder": check_folder,
    "data over HTTP": ask_about_odd_data,
    "questions over HTTP": ask_odd_questions,
}
ALL = {**DECODERS, **WHOLE}
