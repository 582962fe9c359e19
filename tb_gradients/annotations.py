"""Reports as annotations of GitHub Actions: lines of a job's log that GitHub shows beside the code.

In:  a ``Report``.
Out: one line per flag, run that failed and run that cannot be read.
Does not know where a report comes from. The format is GitHub's "workflow commands".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tb_gradients.flags import Flag, Severity
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from tb_gradients.reading.report import Report

_LEVELS = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def github_annotations(report: Report, fail_on: Severity | None) -> str:
    """A line per flag; those from ``fail_on`` on are errors, and none is with ``None``."""
    return "".join(f"{line}\n" for line in _lines(report, fail_on))


def _lines(report: Report, fail_on: Severity | None) -> Iterator[str]:
    from tb_gradients.judging.registry import titles

    known = titles()
    for run in report.runs:
        for flag in run.flags:
            level = _level(flag, fail_on)
            place = {"title": f"{known.get(flag.rule, flag.rule)} ({run.title})"}
            if flag.origin is not None and flag.origin.file:
                place |= {"file": flag.origin.file, "line": str(flag.origin.line)}
            advice = "".join(f"\n{line.strip()}" for line in flag.advice())
            yield _command(level, place, f"{flag.summary}{advice}")
        if run.state != "judged":
            reason = "; ".join(problem.message for problem in run.errors) or "no frames"
            yield _command("error" if fail_on else "warning", {"title": run.title}, reason)


def _level(flag: Flag, fail_on: Severity | None) -> str:
    if fail_on is not None and flag.severity >= fail_on:
        return "error"
    level = _LEVELS[flag.severity]
    return "warning" if level == "error" else level


def _command(level: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(
        f"{key}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}"
        for key, value in properties.items()
    )
    lines = "%0A".join(_escaped(line) for line in message.split("\n"))
    return f"::{level} {listed}::{lines}"


def _escaped(text: str) -> str:
    return inert(text).replace("%", "%25")
