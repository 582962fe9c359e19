"""What a notebook shows of a flag, a run, a report: small pieces of HTML.

In:  flags, a ``RunReport``, a ``Report``.
Out: one string each, which refers to nothing outside of itself.
Does not know about notebooks. Everything from a file is escaped text.

Colours are those of the notebook, and follow its dark theme: that of the system, of JupyterLab
(``data-jp-theme-light``) or of Colab (``theme``).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tb_gradients.documents import flag_details, flag_heading
from tb_gradients.flags import VERDICTS, Flag, verdict_of
from tb_gradients.inert import inert
from tb_gradients.judging.words import plural

if TYPE_CHECKING:
    from tb_gradients.reading.report import Report, RunReport

MOST = 30
"""So many runs, or flags of a run, are listed; of more, how many there are."""

_LIGHT = "--critical:#b3261e;--warning:#8a5a00;--info:#1a5fb4;--healthy:#1b6e3c;--undecided:#5c5c66"
_DARK = "--critical:#ff8a80;--warning:#ffc266;--info:#8ab4f8;--healthy:#7fd6a0;--undecided:#b4b4be"
_STYLE = (
    f".tb-gradients{{{_LIGHT};max-width:60em;overflow-wrap:anywhere}}"
    f"@media (prefers-color-scheme:dark){{.tb-gradients{{{_DARK}}}}}"
    f"[data-jp-theme-light=true] .tb-gradients{{{_LIGHT}}}"
    f"[data-jp-theme-light=false] .tb-gradients,html[theme=dark] .tb-gradients{{{_DARK}}}"
    ".tb-gradients summary{cursor:pointer}.tb-gradients details{margin:.2em 0 .2em .8em}"
    ".tb-gradients p,.tb-gradients ul{margin:.3em 0}"
    ".tb-gradients td,.tb-gradients th{text-align:left}"
    + "".join(f".tb-gradients b.{word}{{color:var(--{word})}}" for word in VERDICTS)
)


def of_flag(flag: Flag) -> str:
    """One flag, unfolded."""
    return _piece(_flag(flag, is_open=True))


def of_flags(flags: Sequence[Flag], title: str, undecided: str = "") -> str:
    """The flags of a run that is still training, under a title."""
    verdict = verdict_of(flags, undecided)
    return _piece([f"<p>{_verdict(verdict)} {_escaped(title)}</p>", *_flags(flags)])


def of_run(run: RunReport) -> str:
    """A run: verdict, size, and its flags, the worst one unfolded."""
    return _piece([f"<p>{_headline(run)}</p>", *_body(run)])


def of_report(report: Report) -> str:
    """All runs, the worst first; the first one unfolded."""
    runs = sorted(report.runs, key=lambda run: (-VERDICTS.index(run.verdict), run.run))
    parts = [f"<p>{plural(len(runs), 'run')}</p>"]
    for number, run in enumerate(runs[:MOST]):
        is_open = " open" if number == 0 and run.flags else ""
        parts.append(f"<details{is_open}><summary>{_headline(run)}</summary>")
        parts += [*_body(run), "</details>"]
    return _piece([*parts, *_more(len(runs), "run")])


def _piece(parts: Iterable[str]) -> str:
    return f'<div class="tb-gradients"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _headline(run: RunReport) -> str:
    steps = "" if run.first_step is None else f"steps {run.first_step} to {run.last_step}, "
    size = f"{steps}{plural(run.frames, 'frame')}, {plural(len(run.variables), 'variable')}"
    verdict = _verdict(run.verdict) if run.state == "judged" else "<b>not judged</b>"
    return f"{verdict} {_escaped(run.title)} ({size})"


def _body(run: RunReport) -> Iterator[str]:
    if run.verdict == "undecided" and run.state == "judged":
        yield f"<p>{_escaped(run.undecided)}.</p>"
    yield from _flags(run.flags)
    for problem in run.errors[:MOST]:
        yield f"<p>Not complete: {_escaped(str(problem))}</p>"


def _flags(flags: Sequence[Flag]) -> Iterator[str]:
    for number, flag in enumerate(flags[:MOST]):
        yield from _flag(flag, is_open=number == 0)
    yield from _more(len(flags), "finding")


def _flag(flag: Flag, *, is_open: bool) -> Iterator[str]:
    yield f"<details{' open' if is_open else ''}><summary>{flag_heading(flag)}</summary>"
    yield from flag_details(flag)
    yield "</details>"


def _more(number: int, noun: str) -> list[str]:
    return [f"<p>and {plural(number - MOST, f'more {noun}')}</p>"] if number > MOST else []


def _escaped(text: str) -> str:
    return html.escape(inert(text))


def _verdict(verdict: str) -> str:
    return f'<b class="{verdict}">{verdict}</b>'
