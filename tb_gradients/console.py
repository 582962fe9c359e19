"""Reports and the rule book as text for a terminal.

In:  a ``Report`` (or what looks like one), pages of the rule book.
Out: strings, with or without ANSI colours.
Does not know where a report comes from, about arguments, or about exit statuses.

Colour is never the only sign: every severity is written out. What folders and variables are
called reaches the terminal as ``inert`` text: a name must not paint, move the cursor or turn the
direction of reading.
"""

from __future__ import annotations

import collections
import math
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING

from tb_gradients.flags import VERDICTS, Evidence, Flag
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from typing_extensions import Self

    from tb_gradients.doctor import Finding
    from tb_gradients.judging.base import Page
    from tb_gradients.judging.causes import CauseKind
    from tb_gradients.reading.report import Report, RunReport

_CODES = {
    "critical": "1;31",
    "warning": "1;33",
    "undecided": "1",
    "info": "36",
    "healthy": "1;32",
    "dim": "2",
}
_STATES = {
    "passed": "passed",
    "flagged": "flagged",
    "not_yet": "not yet",
    "not_seen": "not seen",
    "failed": "failed",
}


def wants_colour(stream: IO[str], environment: Mapping[str, str]) -> bool:
    """Only on a terminal that can, and never against the user's wish (no-color.org)."""
    return (
        stream.isatty()
        and not environment.get("NO_COLOR")
        and environment.get("TERM", "") != "dumb"
    )


class ProgressLine:
    """A line that says how far a command is, on a terminal only; it goes when the command ends.

    >>> with ProgressLine(sys.stderr, "judged") as line:
    ...     line.update(3, 20)
    judged 3 of 20 runs [####                        ]
    """

    SECONDS = 0.1
    """It is not drawn more often than this."""
    CELLS = 28

    def __init__(self, stream: IO[str], verb: str) -> None:
        self._stream, self._verb = stream, verb
        self._width, self._drawn = 0, -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()

    def update(self, done: int, of: int) -> None:
        """So many of so many runs are done."""
        now = time.monotonic()
        if of < 2 or now - self._drawn < self.SECONDS or not self._stream.isatty():
            return
        bar = "#" * (self.CELLS * done // of)
        line = f"{self._verb} {done} of {of} runs [{bar:<{self.CELLS}}]"
        self._width, self._drawn = max(self._width, len(line)), now
        self._stream.write(f"\r{line}")
        self._stream.flush()


class Console:
    """Turns things into lines of text.

    Args:
        colour: use ANSI colours.
        width: columns to wrap at.
    """

    def __init__(self, *, colour: bool = False, width: int = 96) -> None:
        self.colour = colour
        self.width = max(width, 40)

    def painted(self, text: str, verdict: str) -> str:
        """A text in the colour of a verdict; as it is where there is none, or no colour."""
        return self._paint(text, verdict) if verdict in VERDICTS else text

    # --- A report -------------------------------------------------------------------------

    def report(self, report: Report) -> str:
        """One block per run, the worst first, and one line that sums up."""
        runs = sorted(report.runs, key=lambda run: (-VERDICTS.index(run.verdict), run.run))
        blocks = ["\n".join(self._run(run)) for run in runs]
        return "\n\n".join([*blocks, self._total(runs)]) + "\n"

    def _run(self, run: RunReport) -> Iterator[str]:
        what = f"{_count(run.frames, 'frame')}, {_count(len(run.variables), 'variable')}"
        if run.first_step is not None:
            what = f"steps {run.first_step} to {run.last_step}, {what}"
        judged = run.state == "judged"
        verdict = self._paint(run.verdict.upper(), run.verdict) if judged else "NOT JUDGED"
        yield f"{verdict}  {inert(run.title)}  {self._paint(what, 'dim')}"
        if run.verdict == "undecided" and judged:
            yield from self._wrapped(f"{run.undecided}.", "  ")
        if run.narrowed:
            yield from self._wrapped(run.narrowed, "  ")
        for flag in run.flags:
            yield ""
            yield from self._flag(flag)
        if judged:
            yield from self._states(run)
            if run.undecided and run.verdict != "undecided":
                yield from self._wrapped(f"not complete: {run.undecided}.", "  ")
        for problem in run.errors:
            yield from self._wrapped(f"not complete: {problem}", "  ")

    def _states(self, run: RunReport) -> Iterator[str]:
        """How many rules are in which state; where nothing loud was found, what is missing."""
        found = collections.Counter(state.state for state in run.rules)
        counts = [f"{found[state]} {label}" for state, label in _STATES.items() if found[state]]
        if not counts:
            return
        if run.flags:
            yield ""
        yield from self._wrapped(f"{_count(len(run.rules), 'rule')}: {', '.join(counts)}.", "  ")
        if run.verdict in ("critical", "warning"):
            return
        unseen: dict[str, list[str]] = {}
        for state in run.rules:
            if state.state == "not_seen":
                unseen.setdefault(state.reason, []).append(state.rule)
        for reason, rules in unseen.items():
            yield from self._wrapped(f"not seen: {', '.join(rules)}: {reason}.", "  ", hang=4)

    def _flag(self, flag: Flag) -> Iterator[str]:
        label = flag.severity.label
        since = f"since step {flag.first_step}"
        if not flag.open:
            since = f"steps {flag.first_step} to {flag.last_step}, over now"
        if flag.provisional:
            since += ", provisional"
        yield f"  {self._paint(label, label)}: {inert(flag.rule)}, {since}"
        yield from self._wrapped(flag.summary, "    ")
        if flag.origin is not None:
            # Not wrapped: who clicks or copies a place wants it in one piece.
            yield f"    {self._paint('where     ', 'dim')}{flag.origin}"
            yield from self._wrapped(flag.origin.summary, " " * 14)
            if flag.origin.path:
                yield from self._labelled("path", flag.origin.path_text())
        if any(path not in flag.summary for path in flag.variables):
            yield from self._labelled("variables", ", ".join(_shortened(flag.variables)))
        for item in flag.evidence:
            yield from self._labelled("evidence", _evidence(item))
        for cause in flag.causes:
            yield from self._labelled(
                "cause", f"{cause.id} ({cause.confidence:.0%}): {cause.summary}"
            )
        for fix in flag.fixes:
            yield from self._labelled("try", fix)
        for symptom in flag.follow_ups:
            yield from self._labelled("follows", symptom)

    def _total(self, runs: Sequence[RunReport]) -> str:
        judged = [run.verdict for run in runs if run.state == "judged"]
        counts = [
            f"{judged.count(verdict)} {verdict}"
            for verdict in ("critical", "warning", "undecided")
            if verdict in judged
        ]
        quiet = judged.count("healthy") + judged.count("info")
        counts += [f"{quiet} without a warning"] if quiet else []
        unjudged = len(runs) - len(judged)
        counts += [f"{unjudged} not judged"] if unjudged else []
        return f"{_count(len(runs), 'run')}: {', '.join(counts)}."

    # --- The rule book --------------------------------------------------------------------

    def rule_book(self, pages: Iterable[Page], causes: Iterable[CauseKind]) -> str:
        """All pages, then the causes that rules give."""
        blocks = [self.page(page) for page in pages]
        listed = []
        for kind in causes:
            listed += self._wrapped(f"{kind.id}: {kind.summary}", "  ", hang=4)
        return "\n\n".join([*blocks, "\n".join(["Causes", *listed])]) + "\n"

    def page(self, page: Page) -> str:
        """One rule's page."""
        label = page.severity.label
        lines = [f"{page.id}  {self._paint(f'up to {label}', label)}"]
        lines += self._wrapped(page.summary, "  ")
        for title, text in (
            ("Why it matters", page.why),
            ("Definition", page.definition),
            ("No finding when", page.silent_when),
        ):
            lines += self._wrapped(f"{title}: {text}", "  ", hang=4)
        lines += ["  Try:"]
        for fix in page.fixes:
            lines += self._wrapped(f"* {fix}", "    ", hang=2)
        if page.thresholds:
            lines += ["  Thresholds:"]
        for name, value, reason in page.thresholds:
            lines += self._wrapped(f"{name} = {value:g}: {reason}", "    ", hang=2)
        return "\n".join(lines)

    # --- The environment ------------------------------------------------------------------

    def findings(self, findings: Iterable[Finding]) -> str:
        """A line for each thing that was looked at; of a problem also the remedy."""
        lines = []
        for finding in findings:
            good = not finding.problem
            word = self._paint("ok     ", "healthy") if good else self._paint("PROBLEM", "critical")
            lines.append(f"{word}  {inert(finding.what)}")
            if finding.problem:
                lines += self._wrapped(finding.problem, " " * 9)
                lines += self._wrapped(f"remedy: {finding.remedy}", " " * 9, hang=8)
        return "\n".join(lines) + "\n"

    # --- Lines ----------------------------------------------------------------------------

    def _labelled(self, label: str, text: str) -> list[str]:
        first, *others = textwrap.wrap(
            _one_line(text), self.width - 14, break_long_words=False, break_on_hyphens=False
        ) or [""]
        return [
            f"    {self._paint(f'{label:<10}', 'dim')}{first}",
            *(f"{'':14}{line}" for line in others),
        ]

    def _wrapped(self, text: str, indent: str, hang: int = 0) -> list[str]:
        return textwrap.wrap(
            _one_line(text),
            self.width,
            initial_indent=indent,
            subsequent_indent=indent + " " * hang,
            break_long_words=False,  # paths are for copying
            break_on_hyphens=False,
        )

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour else text


def _one_line(text: str) -> str:
    """A sentence that is going to be wrapped: its own line breaks are spaces."""
    return inert(text.replace("\n", " "))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shortened(paths: Sequence[str], limit: int = 6) -> list[str]:
    if len(paths) <= limit:
        return list(paths)
    return [*paths[: limit - 1], f"and {len(paths) - limit + 1} more"]


def _evidence(item: Evidence) -> str:
    value = "not measured" if math.isnan(item.value) else f"{item.value:.4g}"
    if item.threshold is None:
        return f"{item.name} {value}"
    return f"{item.name} {value} (threshold {item.threshold:.4g})"
