"""Reports as documents: a page of HTML, and JUnit's XML for CI systems.

In:  a ``Report``.
Out: one string each; the page refers to nothing outside of itself.
Does not know where a report comes from, or who reads it.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tb_gradients import __version__
from tb_gradients.flags import VERDICTS, Evidence, Flag, PathRow, RuleState, Severity
from tb_gradients.inert import inert, inert_lines

if TYPE_CHECKING:
    from tb_gradients.reading.report import Report, RunReport

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881;
  --critical: #b3261e; --warning: #8a5a00; --info: #1a5fb4; --healthy: #1b6e3c;
  --undecided: #5c5c66; }
@media (prefers-color-scheme: dark) { :root { --critical: #ff8a80; --warning: #ffc266;
  --info: #8ab4f8; --healthy: #7fd6a0; --undecided: #b4b4be; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; } p { margin: .4rem 0; }
article { border: 1px solid var(--line); border-left-width: .4rem; border-radius: .3rem;
  padding: .7rem 1rem; margin: .8rem 0; }
.critical { border-left-color: var(--critical); } .warning { border-left-color: var(--warning); }
.info { border-left-color: var(--info); } b.critical { color: var(--critical); }
b.warning { color: var(--warning); } b.info { color: var(--info); }
b.healthy { color: var(--healthy); } b.undecided { color: var(--undecided); }
table { border-collapse: collapse; margin: .4rem 0; } th, td { text-align: left;
  padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } td.number { font-variant-numeric: tabular-nums; }
code { background: var(--soft); padding: .1rem .25rem; border-radius: .2rem; }
ul { margin: .3rem 0; padding-left: 1.2rem; } .dim { opacity: .75; }
"""


def html_document(report: Report, title: str) -> str:
    """The report as one HTML page, the worst run first; nothing is loaded from elsewhere."""
    runs = sorted(report.runs, key=lambda run: (-VERDICTS.index(run.verdict), run.run))
    body = "\n".join("\n".join(_run(run)) for run in runs)
    name = _escaped(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Gradient health: {name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>Gradient health of {name}</h1>\n{_overview(runs)}\n{body}\n"
        f'<p class="dim">tb_gradients {__version__}</p>\n</main>\n</body>\n</html>\n'
    )


def _overview(runs: list[RunReport]) -> str:
    rows = "".join(
        f"<tr><td>{_verdict(run)}</td>"
        f'<td><a href="#{_anchor(run.run)}">{_escaped(run.title)}</a></td>'
        f"<td>{_escaped(', '.join(dict.fromkeys(_title(flag) for flag in run.flags)))}</td></tr>"
        for run in runs
    )
    head = "<tr><th>Verdict</th><th>Run</th><th>Flags</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _run(run: RunReport) -> Iterator[str]:
    yield f'<section id="{_anchor(run.run)}">'
    yield f"<h2>{_verdict(run)} {_escaped(run.title)}</h2>"
    steps = "" if run.first_step is None else f"steps {run.first_step} to {run.last_step}, "
    size = f"{_count(run.frames, 'frame')}, {_count(len(run.variables), 'variable')}"
    yield f'<p class="dim">{steps}{size}</p>'
    if run.verdict == "undecided" and run.state == "judged":
        yield f"<p>{_escaped(run.undecided)}.</p>"
    if run.narrowed:
        yield f"<p>{_escaped(run.narrowed)}</p>"
    for flag in run.flags:
        yield from _flag(flag)
    if run.rules:
        yield from _rules(run.rules)
    if run.undecided and run.verdict != "undecided" and run.state == "judged":
        yield f"<p>Not complete: {_escaped(run.undecided)}.</p>"
    for problem in run.errors:
        yield f"<p>Not complete: {_escaped(str(problem))}</p>"
    yield "</section>"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rules(states: Sequence[RuleState]) -> Iterator[str]:
    """The rules by state, those that passed folded away."""
    for state, title in _STATES.items():
        listed = [one for one in states if one.state == state]
        if not listed:
            continue
        rows = "".join(
            f"<li><code>{_escaped(one.rule)}</code>"
            f"{': ' if one.reason else ''}{_text(one.reason)}</li>"
            for one in listed
        )
        is_open = "" if state == "passed" else " open"
        yield (
            f"<details{is_open}><summary>{_count(len(listed), 'rule')} {title}</summary>"
            f"<ul>{rows}</ul></details>"
        )


_STATES = {
    "failed": "failed",
    "not_yet": "not yet: more steps are needed",
    "not_seen": "not seen: what they need is not measured",
    "passed": "passed",
}
"""What is listed below the flags, which are listed already."""


def _flag(flag: Flag) -> Iterator[str]:
    label = flag.severity.label
    yield f'<article class="{label}">\n<h3>{flag_heading(flag)}</h3>'
    yield from flag_details(flag)
    yield "</article>"


def flag_heading(flag: Flag) -> str:
    """Severity, title and steps of a flag, as HTML within a line."""
    label = flag.severity.label
    since = f"since step {flag.first_step}"
    if not flag.open:
        since = f"steps {flag.first_step} to {flag.last_step}, over now"
    if flag.provisional:
        since += ", provisional"
    return f'<b class="{label}">{label}</b>: {_named(flag)}, {since}'


def flag_details(flag: Flag) -> Iterator[str]:
    """What a flag says below its heading, as blocks of HTML."""
    yield f"<p>{_text(flag.summary)}</p>"
    if flag.variables:
        listed = ", ".join(f"<code>{_escaped(path)}</code>" for path in flag.variables)
        yield f"<p>Variables: {listed}</p>"
    if flag.origin is not None:
        yield f"<p>Where: <code>{_escaped(str(flag.origin))}</code></p>"
        yield f"<p>{_text(flag.origin.summary)}</p>"
        yield from _path(flag.origin.path)
    if flag.evidence:
        rows = "".join(_evidence(item) for item in flag.evidence)
        head = "<tr><th>Evidence</th><th>Value</th><th>Threshold</th></tr>"
        yield f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    causes = [f"{c.id} ({c.confidence:.0%}): {c.summary}" for c in flag.causes]
    for title, items in (
        ("Causes", causes),
        ("Try", flag.fixes),
        ("Follows from it", flag.follow_ups),
    ):
        if items:
            listed = "".join(f"<li>{_text(item)}</li>" for item in items)
            yield f"<p>{title}:</p><ul>{listed}</ul>"


def _path(path: Sequence[PathRow]) -> Iterator[str]:
    """The way of the gradient from the loss, with a bar for the logarithm of its size."""
    if not path:
        return
    known = [row.log10_size for row in path if not math.isinf(row.log10_size)]
    low, high = min([0.0, *known]), max([0.0, *known])
    yield "<details open><summary>Size of the gradient on its way from the loss</summary>"
    head = "<tr><th>Layer</th><th>Operation</th><th>Line</th><th>Size</th><th></th></tr>"
    yield f"<table><thead>{head}</thead><tbody>"
    for row in path:
        zero = math.isinf(row.log10_size)
        share = 0.0 if zero or high == low else (row.log10_size - low) / (high - low)
        size = "exactly 0" if zero else f"10<sup>{row.log10_size:.1f}</sup>"
        place = f"{row.file}:{row.line}" if row.file else ""
        bar = f'<meter min="0" max="1" value="{share:.3f}"></meter>'
        yield (
            f"<tr><td>{_escaped(row.layer)}</td><td>{_escaped(row.operation)}</td>"
            f"<td><code>{_escaped(place)}</code></td>"
            f'<td class="number">{size}</td><td>{bar}</td></tr>'
        )
    yield "</tbody></table></details>"


def _evidence(item: Evidence) -> str:
    value = "not measured" if math.isnan(item.value) else f"{item.value:.4g}"
    threshold = "" if item.threshold is None else f"{item.threshold:.4g}"
    return (
        f"<tr><td>{_escaped(item.name)}</td>"
        f'<td class="number">{value}</td><td class="number">{threshold}</td></tr>'
    )


def _named(flag: Flag) -> str:
    """The title, and the id by which options and the rule book know the rule."""
    title = _title(flag)
    name = f"<code>{_escaped(flag.rule)}</code>"
    return name if title == flag.rule else f"{_escaped(title)} {name}"


def _title(flag: Flag) -> str:
    """What the flag's rule is called; its id, if only a newer version knows the rule."""
    from tb_gradients.judging.registry import titles

    return titles().get(flag.rule, flag.rule)


def _escaped(text: str) -> str:
    return html.escape(inert(text))


def _text(text: str) -> str:
    """A sentence, what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(inert(text), quote=False))


def _verdict(run: RunReport) -> str:
    return (
        f'<b class="{run.verdict}">{run.verdict}</b>'
        if run.state == "judged"
        else "<b>not judged</b>"
    )


def _anchor(run: str) -> str:
    return "run-" + re.sub(r"[^A-Za-z0-9_-]", lambda match: f".{ord(match[0]):x}", run)


def junit_document(report: Report, fail_on: Severity | None, fails: Collection[str] = ()) -> str:
    """The report as JUnit XML: a test case per run, a failure per flag from ``fail_on`` on.

    A run without a frame is an error, one that is undecided is skipped. Milder flags, and all with
    ``fail_on=None``, go to the test case's output.

    Args:
        report: the runs.
        fail_on: the severity of a flag that is a failure; ``None``: no flag is.
        fails: names of runs that have failed, also if no flag of theirs has: if they are undecided,
            that is the failure.
    """
    suite = ElementTree.Element("testsuite", name="tb-gradients")
    failures = errors = skipped = 0
    for run in report.runs:
        case = ElementTree.SubElement(
            suite, "testcase", name=inert_lines(run.run), classname="gradient_health", time="0"
        )
        failed = [f for f in run.flags if fail_on is not None and f.severity >= fail_on]
        failures += bool(failed)
        judged = run.state == "judged"
        if judged and run.run in fails and run.undecided and not failed:
            failures += 1
            text = inert_lines(run.undecided)
            ElementTree.SubElement(case, "failure", type="undecided", message=text)
        elif judged and run.verdict == "undecided":
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=inert_lines(run.undecided))
        for flag in failed:
            failure = ElementTree.SubElement(
                case,
                "failure",
                type=f"{flag.severity.label}.{flag.rule}",
                message=inert_lines(f"{_title(flag)}: {flag.summary}"),
            )
            failure.text = inert_lines(_plain(flag))
        if not judged:
            errors += 1
            text = "; ".join(str(problem) for problem in run.errors) or "no frames"
            ElementTree.SubElement(case, "error", type="no_frames", message=inert_lines(text))
        rest = [str(flag) for flag in run.flags if flag not in failed]
        rest += [str(problem) for problem in run.errors if judged]
        if rest:
            ElementTree.SubElement(case, "system-out").text = inert_lines("\n".join(rest))
    suite.set("tests", str(len(report.runs)))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    suite.set("skipped", str(skipped))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _plain(flag: Flag) -> str:
    lines = [str(flag)]
    if flag.variables:
        lines.append(f"variables: {', '.join(flag.variables)}")
    if flag.origin is not None:
        lines += [f"where: {flag.origin}", f"       {flag.origin.summary}"]
        lines += [f"path: {flag.origin.path_text()}"] if flag.origin.path else []
    for item in flag.evidence:
        limit = "" if item.threshold is None else f" (threshold {item.threshold:.4g})"
        lines.append(f"evidence: {item.name} {item.value:.4g}{limit}")
    lines += [f"cause: {c.id} ({c.confidence:.0%}): {c.summary}" for c in flag.causes]
    lines += [f"try: {fix}" for fix in flag.fixes]
    lines += [f"follows: {symptom}" for symptom in flag.follow_ups]
    return "\n".join(lines)
