"""The routes of the plugin: each parses a request, calls a function and responds.

In:  HTTP requests, TensorBoard's data provider.
Out: HTTP answers as in ``docs/http_api.md``; every error is JSON with one sentence.
Does not know how runs are read, judged or laid out.
"""

from __future__ import annotations

import functools
import gzip
import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from tensorboard import errors as tb_errors
from tensorboard import plugin_util
from tensorboard.backend import http_util
from werkzeug import wrappers

from tb_gradients import schema
from tb_gradients.plugin import payloads
from tb_gradients.plugin.bundle import Bundle
from tb_gradients.plugin.store import (
    JUDGING_SECONDS,
    LoadedRun,
    RunStore,
    StaleRevisionError,
)
from tb_gradients.plugin.view import UnknownNameError
from tb_gradients.reading.data_provider import DataProviderSource
from tb_gradients.reading.report import RunReport
from tb_gradients.reading.source import NoSuchRunError, ReadError

MOST_COLUMNS = 1_000_000
"""Of a picture: more than any screen has."""
MOST_ANSWER_BYTES = 256 << 20
"""Of an answer, before it is compressed. TensorBoard's fast loader hands out no more at once."""
MOST_SENTENCE = 1000
"""Characters of an error: it may quote what was asked for."""

_A_YEAR = 365 * 24 * 3600
_log = logging.getLogger(__name__)

Handler = Callable[[wrappers.Request], wrappers.Response]


class _RequestError(Exception):
    """An answer other than 200, with its sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Routes:
    """What is answered to each request."""

    def __init__(self, provider: Any, bundle: Bundle, *, keeps_all: bool) -> None:
        """
        Args:
            provider: TensorBoard's data provider.
            keeps_all: it keeps all of our steps.
        """
        self._provider, self._bundle, self._keeps_all = provider, bundle, keeps_all
        self._store = RunStore()

    def apps(self) -> dict[str, Any]:
        """A WSGI application for each route."""
        routes: dict[str, Handler] = {
            "/runs": self._runs,
            "/run": self._run,
            "/verdict": self._verdict,
            "/matrix": self._matrix,
            "/marks": self._marks,
            "/series": self._series,
            "/lane": self._lane,
            "/context": self._context,
            "/histogram": self._histogram,
            "/report": self._report,
            "/rules": self._rules,
            "/*": self._unknown,
        }
        routes.update({f"/{name}": self._static for name in self._bundle.files})
        return {route: _app(handler) for route, handler in routes.items()}

    # --- Routes -----------------------------------------------------------------------------

    def _runs(self, request: wrappers.Request) -> wrappers.Response:
        patience = min(_seconds(request, "patience"), JUDGING_SECONDS)
        among = request.args.getlist("run") or None
        source, experiment = self._source(request)
        # Before the answer is made: what comes in between is answered twice, not lost.
        state = self._store.state(source, experiment, among)
        if state in request.if_none_match:
            return _NotModified(state)
        summaries = self._store.summaries(source, experiment, patience, among)
        answer = payloads.runs(summaries)
        # What is being judged still has another answer soon, though nothing was written.
        final = all(run["state"] != "judging" for run in answer["runs"])
        return _json(request, answer, headers=[("ETag", f'"{state}"')] if final else [])

    def _run(self, request: wrappers.Request) -> wrappers.Response:
        patience = _seconds(request, "patience")
        if "glance" in request.args:
            source, experiment = self._source(request)
            glance = self._store.glance(source, experiment, _argument(request, "run"))
            if glance is not None:
                return _json(request, payloads.glance(glance))
        loaded, source = self._load(request)
        judgement = loaded.judgement_within(patience)
        return _json(request, payloads.run(loaded, judgement, loaded.histograms(source)))

    def _verdict(self, request: wrappers.Request) -> wrappers.Response:
        loaded, _ = self._load(request)
        return _json(request, payloads.verdict(loaded, loaded.judgement()))

    def _matrix(self, request: wrappers.Request) -> wrappers.Response:
        statistic = _argument(request, "statistic")
        loaded, _ = self._load(request)
        if "columns" not in request.args:
            return _binary(request, payloads.matrix(loaded.view, statistic))
        columns, steps = _count(request, "columns"), _steps(request)
        return _binary(request, payloads.picture(loaded.view, statistic, columns, steps))

    def _marks(self, request: wrappers.Request) -> wrappers.Response:
        columns, steps = _count(request, "columns"), _steps(request)
        loaded, _ = self._load(request)
        return _binary(request, payloads.marks(loaded.view, columns, steps))

    def _series(self, request: wrappers.Request) -> wrappers.Response:
        path = _argument(request, "variable")
        loaded, _ = self._load(request)
        return _binary(request, payloads.series(loaded.view, path))

    def _lane(self, request: wrappers.Request) -> wrappers.Response:
        columns, steps = _count(request, "columns"), _steps(request)
        loaded, _ = self._load(request)
        path = request.args.get("variable")
        return _binary(request, payloads.lane(loaded.view, path, columns, steps))

    def _context(self, request: wrappers.Request) -> wrappers.Response:
        loaded, _ = self._load(request)
        return _binary(request, payloads.context(loaded.view))

    def _histogram(self, request: wrappers.Request) -> wrappers.Response:
        path = _argument(request, "variable")
        loaded, source = self._load(request)
        frames = loaded.histograms(source)
        _require_room(4 * schema.HISTOGRAM_BINS * len(frames))
        return _binary(request, payloads.histogram(loaded.view, path, frames))

    def _report(self, request: wrappers.Request) -> wrappers.Response:
        source, experiment = self._source(request)
        runs = list(dict.fromkeys(request.args.getlist("run"))) or source.runs()

        def report(run: str) -> RunReport:
            try:
                return payloads.run_report(self._store.load(source, experiment, run))
            except NoSuchRunError:
                raise
            except ReadError as error:  # one run that cannot be read hides no other
                return RunReport.without_verdict(run, str(error))

        # One after the other: all runs at once might not fit into memory.
        return _json(request, payloads.report(map(report, runs)))

    def _rules(self, request: wrappers.Request) -> wrappers.Response:
        from tb_gradients.judging import rule_book

        return _json(request, payloads.strict(rule_book()))

    def _static(self, request: wrappers.Request) -> wrappers.Response:
        file = self._bundle.files[request.path.partition(f"/{schema.PLUGIN_NAME}/")[2]]
        # An address with the version in it never changes its content.
        forever = request.args.get("v") == self._bundle.version
        return _respond(request, file.content, file.mime_type, expires=_A_YEAR if forever else 0)

    def _unknown(self, request: wrappers.Request) -> wrappers.Response:
        raise _RequestError(404, f"There is no route {request.path!r}; see docs/http_api.md.")

    # --- Parts of routes --------------------------------------------------------------------

    def _source(self, request: wrappers.Request) -> tuple[DataProviderSource, str]:
        """The data as this request may see them, and the experiment they are from."""
        experiment = plugin_util.experiment_id(request.environ)
        context = plugin_util.context(request.environ)
        source = DataProviderSource(self._provider, context, experiment, keeps_all=self._keeps_all)
        return source, experiment

    def _load(self, request: wrappers.Request) -> tuple[LoadedRun, DataProviderSource]:
        run = _argument(request, "run")
        source, experiment = self._source(request)
        revision = request.args.get("revision")
        loaded = self._store.load(source, experiment, run, revision)
        if (reason := loaded.view.data.unreadable) is not None:
            raise ReadError(f"Nothing of run {run!r} can be read. {reason}")
        return loaded, source


def _app(handler: Handler) -> Any:
    """A WSGI application in which every failure becomes JSON with one sentence."""

    @functools.wraps(handler)
    def answer(request: wrappers.Request) -> wrappers.Response:
        try:
            if request.method not in ("GET", "HEAD"):
                raise _RequestError(405, "Only GET is possible here.")
            return handler(request)
        except _RequestError as failure:
            return _error(request, failure.code, str(failure))
        except StaleRevisionError as stale:
            return _error(request, 409, str(stale))
        except (ReadError, UnknownNameError) as error:
            return _error(request, 404, str(error))
        except tb_errors.PublicError as error:
            return _error(request, error.http_code, str(error), dict(error.headers))
        except Exception as error:
            _log.exception("%s failed", request.path)
            sentence = f"{type(error).__name__}: {error} (details are in TensorBoard's log)."
            return _error(request, 500, sentence)

    return wrappers.Request.application(answer)


def _argument(request: wrappers.Request, name: str) -> str:
    value = request.args.get(name)
    if not value:
        raise _RequestError(400, f"The address needs an argument: ?{name}=...")
    return value


def _count(request: wrappers.Request, name: str) -> int:
    text = _argument(request, name)
    # By its length first: Python does not read numbers of any length.
    number = int(text) if text.isdecimal() and len(text) <= len(str(MOST_COLUMNS)) else 0
    if not 1 <= number <= MOST_COLUMNS:
        raise _RequestError(
            400, f"The argument {name!r} has to be a whole number from 1 to {MOST_COLUMNS}."
        )
    return number


def _number(request: wrappers.Request, name: str, default: float, kind: str) -> float:
    """Infinities are numbers here; NaN is none."""
    try:
        number = float(request.args.get(name, default))
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise _RequestError(400, f"The argument {name!r} has to be a number{kind}.")
    return number


def _seconds(request: wrappers.Request, name: str) -> float:
    """Without the argument: all the time in the world. Less than none is none."""
    return max(_number(request, name, math.inf, " of seconds"), 0.0)


def _steps(request: wrappers.Request) -> tuple[float, float]:
    """First and last step asked for; all of them without arguments."""
    first = _number(request, "from", -math.inf, "")
    return first, _number(request, "to", math.inf, "")


def _json(
    request: wrappers.Request, content: Mapping[str, Any], **options: Any
) -> wrappers.Response:
    # Serialized here: `Respond` would walk over every value once more to clean it.
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    _require_room(len(text))
    return _respond(request, text, "application/json", **options)


class _NotModified(wrappers.Response):
    """304, with the headers that TensorBoard expects of every response.

    (Without them it prints two warnings in the user's console, and a poll comes every few seconds.)
    """

    def __init__(self, state: str) -> None:
        super().__init__(
            status=304, headers={"ETag": f'"{state}"', "X-Content-Type-Options": "nosniff"}
        )

    def get_wsgi_headers(self, environ: Any) -> Any:
        headers = super().get_wsgi_headers(environ)  # leaves the type out where there is no body
        headers["Content-Type"] = "application/json"
        return headers


def _binary(request: wrappers.Request, content: bytes) -> wrappers.Response:
    _require_room(len(content))
    # TensorBoard compresses text only; level 3 as it does: most of the gain, little of the time.
    packed = gzip.compress(content, compresslevel=3, mtime=0)
    return _respond(request, packed, "application/octet-stream", content_encoding="gzip")


def _require_room(size: int) -> None:
    """Refuse an answer of so many bytes if that is too much."""
    if size > MOST_ANSWER_BYTES:
        raise _RequestError(
            413,
            f"The answer would have {size >> 20} MiB, and {MOST_ANSWER_BYTES >> 20} are possible. "
            "`tb_gradients.load` reads a run of any size.",
        )


def _error(
    request: wrappers.Request, code: int, sentence: str, headers: Mapping[str, str] | None = None
) -> wrappers.Response:
    if len(sentence) > MOST_SENTENCE:
        sentence = f"{sentence[:MOST_SENTENCE]} ..."
    text = json.dumps({"error": sentence})
    extra = list((headers or {}).items())
    return _respond(request, text, "application/json", code=code, headers=extra)


def _respond(
    request: wrappers.Request, content: str | bytes, mime_type: str, **options: Any
) -> wrappers.Response:
    # TensorBoard's own: sets length, "nosniff" and caching as the host wants them.
    response: wrappers.Response = http_util.Respond(request, content, mime_type, **options)
    return response
