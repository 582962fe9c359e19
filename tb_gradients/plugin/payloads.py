"""What each route answers, as plain data: no HTTP here, so that it can be tested without.

In:  runs as they were loaded.
Out: dictionaries that are strict JSON, and little-endian float32 bytes.
Does not know about requests, TensorBoard or threads. See ``docs/http_api.md``.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tb_gradients import schema
from tb_gradients.flags import Flag, Severity, json_number, verdict_of
from tb_gradients.frames import FloatArray, Variable
from tb_gradients.plugin import dense, reduction
from tb_gradients.plugin.judging import Judgement
from tb_gradients.plugin.store import LoadedRun, RunSummary
from tb_gradients.plugin.view import RunView
from tb_gradients.reading.report import Problem, Report, RunReport
from tb_gradients.reading.source import HistogramFrame

SCHEMA = 1
"""Version of the answers; rises when a client that knows only the older one would err."""

_VARIABLE_FIELDS = tuple(field.name for field in dataclasses.fields(Variable))


def runs(summaries: Iterable[RunSummary]) -> dict[str, Any]:
    return {"schema": SCHEMA, "runs": [_summary(summary) for summary in summaries]}


def _summary(summary: RunSummary) -> dict[str, Any]:
    steps, flags = summary.steps, summary.flags
    judged = flags is not None and len(steps) > 0
    return {
        "run": summary.run,
        "first_step": steps[0] if steps else None,
        "last_step": steps[-1] if steps else None,
        "frames": len(steps),
        "variables": summary.variables,
        "state": _state(summary),
        "error": summary.error,
        "verdict": verdict_of(flags or (), summary.undecided) if judged else None,
        "undecided": judged and bool(summary.undecided),
        "counts": _counts(flags or ()),
        "mark": summary.mark,
        "newest": json_number(summary.newest),
        "loss": json_number(summary.loss),
        "settings": dict(summary.settings),
        "leading": _leading(flags or ()),
        "flagged": _flagged(flags or ()),
        "findings": [_finding(flag) for flag in flags or ()],
    }


def _finding(flag: Flag) -> dict[str, Any]:
    """What a list of runs needs of a finding."""
    return {
        "rule": flag.rule,
        "severity": flag.severity.label,
        "variable": flag.variables[0] if flag.variables else "",
        "first_step": flag.first_step,
        "open": flag.open,
    }


def _leading(flags: Sequence[Flag]) -> dict[str, Any] | None:
    """The finding that a run is known by: the worst, and of these one that goes on."""
    if not flags:
        return None
    worst = max(flags, key=lambda flag: (flag.severity, flag.open))
    return {
        "rule": worst.rule,
        "severity": worst.severity.label,
        "first_step": worst.first_step,
        "open": worst.open,
    }


def _flagged(flags: Iterable[Flag]) -> dict[str, str]:
    """The severity of each rule that found something, the worst of its flags."""
    worst: dict[str, Severity] = {}
    for flag in flags:
        worst[flag.rule] = max(flag.severity, worst.get(flag.rule, flag.severity))
    return {rule: severity.label for rule, severity in worst.items()}


def _state(summary: RunSummary) -> str:
    """Why there is a verdict, or why there is none."""
    if summary.error is not None:
        return "unreadable"
    if not summary.steps:
        return "empty"
    return "judging" if summary.flags is None else "judged"


def _counts(flags: Iterable[Flag]) -> dict[str, int]:
    found = collections.Counter(flag.severity for flag in flags)
    return {severity.label: found[severity] for severity in sorted(Severity, reverse=True)}


def run(
    loaded: LoadedRun, judgement: Judgement | None, histograms: Sequence[HistogramFrame]
) -> dict[str, Any]:
    """``judgement`` is ``None`` while the run is still being judged."""
    view = loaded.view
    return {
        "schema": SCHEMA,
        "run": view.data.run,
        "revision": loaded.revision,
        "steps": view.steps.tolist(),
        "wall_times": view.data.wall_times.tolist(),
        "variables": [_variable(variable) for variable in view.variables],
        "statistics": [dataclasses.asdict(column) for column in view.statistics],
        "context_columns": [dataclasses.asdict(column) for column in view.context_columns],
        "context": strict(dataclasses.asdict(view.run_context)),
        **_verdict(loaded, judgement),
        "sampled": view.data.sampled,
        "glance": False,
        "histogram_steps": [frame.step for frame in histograms],
        "histogram": {
            "lowest_exponent": schema.HISTOGRAM_LOWEST_EXPONENT,
            "octaves": schema.HISTOGRAM_OCTAVES,
        },
    }


def glance(loaded: LoadedRun) -> dict[str, Any]:
    """Some frames of a run, with what its writer found in all of them, without histograms."""
    verdict = loaded.view.data.verdict
    judgement = None if verdict is None else loaded.judgement_within(0)
    return {**run(loaded, judgement, []), "glance": True}


def verdict(loaded: LoadedRun, judgement: Judgement) -> dict[str, Any]:
    """What ``run`` leaves open while the run is being judged."""
    return {"schema": SCHEMA, "revision": loaded.revision, **_verdict(loaded, judgement)}


def _verdict(loaded: LoadedRun, judgement: Judgement | None) -> dict[str, Any]:
    problems = [*map(Problem, loaded.view.data.errors), *(judgement.problems if judgement else ())]
    judged = judgement is not None and loaded.view.data.frames > 0
    stored = loaded.view.data.verdict
    return {
        "verdict": verdict_of(judgement.flags, judgement.undecided)
        if judgement and judged
        else None,
        "undecided": judgement.undecided if judgement else "",
        "flags": flags(judgement.flags if judgement else ()),
        "rules": [state.to_json() for state in judgement.rules] if judgement else [],
        "own_rules": strict(stored.own_rules) if stored is not None else [],
        "errors": [problem.to_json() for problem in problems],
        "judged": None if judgement is None else "live" if judgement.live else "offline",
    }


def report(runs: Iterable[RunReport]) -> dict[str, Any]:
    """What ``tb-gradients check --format json`` prints, with the flags that the tab shows."""
    return Report(tuple(runs)).to_json()


def run_report(loaded: LoadedRun) -> RunReport:
    """One run of the report."""
    judgement = loaded.judgement()
    return RunReport.of(
        loaded.view.data,
        judgement.flags,
        judgement.problems,
        judgement.rules,
        judgement.undecided,
    )


def _variable(variable: Variable) -> dict[str, Any]:
    # By hand: `asdict` copies every value deeply, a second for 5,000 variables.
    facts = {name: strict(getattr(variable, name)) for name in _VARIABLE_FIELDS}
    return {**facts, "elements": variable.elements}


def flags(found: Iterable[Flag]) -> list[dict[str, Any]]:
    """Flags as in the report, each with an "id" that stays the same while the run grows."""
    answered: list[dict[str, Any]] = []
    used: collections.Counter[str] = collections.Counter()
    for flag in found:
        identity = flag_id(flag)
        used[identity] += 1
        suffix = f"-{used[identity]}" if used[identity] > 1 else ""
        answered.append({"id": identity + suffix, **flag.to_json()})
    return answered


def flag_id(flag: Flag) -> str:
    """A short name for links: by what opened when and where, not by how it went on."""
    first_variable = flag.variables[0] if flag.variables else ""
    text = f"{flag.rule}\n{flag.first_step}\n{first_variable}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def matrix(view: RunView, statistic: str) -> bytes:
    """float32 [steps, variables]; ``UnknownNameError`` if there is no such statistic."""
    return _floats(view.matrix(statistic))


def picture(view: RunView, statistic: str, columns: int, steps: tuple[float, float]) -> bytes:
    """The same as a picture of at most so many columns, of the frames at these steps.

    See ``docs/http_api.md`` for the layout; ``UnknownNameError`` if there is no such statistic.
    """
    shown = _between(view, steps)
    share = view.unit(statistic) == "share"
    return reduction.pack(view.matrix(statistic)[shown], columns, shown.start, share=share)


def marks(view: RunView, columns: int, steps: tuple[float, float]) -> bytes:
    """uint8 [columns, variables]: bits of ``view.NONFINITE``, 0 where all was finite."""
    return reduction.any_of(view.marks()[_between(view, steps)], columns).tobytes()


def _between(view: RunView, steps: tuple[float, float]) -> slice:
    """The frames from one step to another, both included."""
    first, last = steps
    return slice(
        int(np.searchsorted(view.steps, first, "left")),
        int(np.searchsorted(view.steps, last, "right")),
    )


def series(view: RunView, path: str) -> bytes:
    """float32 [steps, statistics]; ``UnknownNameError`` if there is no such variable."""
    return _floats(view.series(path))


def lane(view: RunView, path: str | None, columns: int, steps: tuple[float, float]) -> bytes:
    """The dense lane in at most so many columns, of the steps from one to another.

    See ``docs/http_api.md`` for the layout; ``UnknownNameError`` if there is no such variable.
    """
    return dense.columns(view.lane(path), columns, steps)


def context(view: RunView) -> bytes:
    """float32 [steps, context columns]."""
    return _floats(view.context())


def histogram(view: RunView, path: str, frames: Sequence[HistogramFrame]) -> bytes:
    """float32 [histogram steps, bins]; ``UnknownNameError`` if there is no such variable."""
    return _floats(view.histogram(path, frames))


def _floats(array: FloatArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def strict(value: Any) -> Any:
    """The same data with NaN and infinities as their names: JSON has no word for them."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return json_number(value) if isinstance(value, float) else value
