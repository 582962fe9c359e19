"""``tb-gradients watch``: a table of the runs below a folder, while they train.

In:  a log directory, and a terminal or another stream.
Out: the table, drawn again in its place on a terminal; elsewhere a line for each change.
Does not know how a run is read or judged.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from tb_gradients.flags import VERDICTS, verdict_of
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from tb_gradients.console import Console
    from tb_gradients.plugin.judging import RunJudge
    from tb_gradients.reading.event_files import EventFileSource

HEALTHY, UNHEALTHY, UNUSABLE = 0, 1, 2
DEFAULT_INTERVAL = 5.0


@dataclasses.dataclass(frozen=True)
class Row:
    """What is shown of one run.

    Attributes:
        verdict: one of ``VERDICTS``; "" if the run cannot be read, and ``finding`` says why.
        step: of the newest frame; ``None``: there is none.
        time: of the newest frame, seconds since the epoch.
        finding: the worst one.
    """

    run: str
    verdict: str
    step: int | None = None
    time: float | None = None
    finding: str = ""


class Runs:
    """The runs below a folder. Files that have not grown are not read again, and no frame is
    judged twice.
    """

    def __init__(self, logdir: str) -> None:
        self._logdir = logdir
        self._source: EventFileSource | None = None
        self._judges: dict[str, RunJudge] = {}
        self._sizes: dict[str, int] = {}
        self._rows: dict[str, Row] = {}

    def rows(self) -> list[Row]:
        """One for each run, the worst first; none while there is no folder, or no run in it.

        Raises:
            ReadError: the folder is a file.
            OSError: the folder cannot be read.
        """
        from tb_gradients.reading.event_files import EventFileSource

        if self._source is None:
            if "://" not in self._logdir and not os.path.exists(self._logdir):
                return []
            self._source = EventFileSource(self._logdir)
        names = self._source.runs()
        for name in names:
            self._read(self._source, name)
        rows = [self._rows[name] for name in names]
        return sorted(rows, key=lambda row: (-_rank(row.verdict), row.run))

    def _read(self, source: EventFileSource, run: str) -> None:
        from tb_gradients.plugin.judging import RunJudge
        from tb_gradients.reading.source import ReadError

        title = "this folder" if run == "." else run
        try:
            size = source.size(run)
            if size and size == self._sizes.get(run):
                return
            data = source.read(run, on_disk=True)
            judgement = self._judges.setdefault(run, RunJudge()).judgement(data)
        except (ReadError, OSError) as error:
            self._rows[run] = Row(title, "", finding=str(error))
            return
        self._sizes[run] = size
        steps, times = data.steps, data.wall_times
        if judgement is None or not len(steps):
            self._rows[run] = Row(title, "undecided", finding=data.unreadable or "no frames yet")
            return
        worst = judgement.flags[0] if judgement.flags else None
        self._rows[run] = Row(
            title,
            verdict_of(judgement.flags, judgement.undecided),
            int(steps[-1]),
            float(times[-1]),
            "" if worst is None else f"{worst.rule} since step {worst.first_step}: {worst.summary}",
        )


def _rank(verdict: str) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)


def table(
    rows: Sequence[Row], now: float, console: Console, height: int | None = None
) -> list[str]:
    """The rows as lines that fit the console's width, under a line of titles.

    Args:
        now: seconds since the epoch.
        height: so many lines at most.
    """
    shown = list(rows) if height is None else list(rows[: max(height - 2, 1)])
    cells = [(inert(row.run), _step(row), _age(row, now)) for row in shown]
    widths = [
        max(len(title), *(len(cell[i]) for cell in cells))
        for i, title in enumerate(("run", "step", "age"))
    ]
    run, step, age = min(widths[0], max(console.width // 3, 8)), widths[1], widths[2]
    lines = [f"{'verdict':<10} {'run':<{run}} {'step':>{step}} {'age':>{age}}  finding"]
    left = max(console.width - (10 + run + step + age + 5), 0)
    for row, (name, number, seconds) in zip(shown, cells, strict=True):
        name = name if len(name) <= run else f"…{name[-run + 1 :]}"
        finding = inert(" ".join(row.finding.split()))
        finding = finding if len(finding) <= left else f"{finding[: left - 1]}…"
        verdict = console.painted(f"{row.verdict or 'not judged':<10}", row.verdict)
        line = f"{verdict} {name:<{run}} {number:>{step}} {seconds:>{age}}  {finding}"
        lines.append(line.rstrip())
    if len(shown) < len(rows):
        lines.append(f"and {len(rows) - len(shown)} more")
    return lines


def _step(row: Row) -> str:
    return "" if row.step is None else str(row.step)


def _age(row: Row, now: float) -> str:
    """How long ago the newest frame was written."""
    if row.time is None:
        return ""
    seconds = max(now - row.time, 0)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


class Screen:
    """Where the table is shown: drawn again in its place on a terminal, else by its changes."""

    def __init__(self, stream: IO[str], console: Console, height: int) -> None:
        self._stream, self._console, self._height = stream, console, height
        self._lines = 0
        self._reported: dict[str, tuple[str, str]] = {}

    def show(self, rows: Sequence[Row], waiting: str, now: float) -> None:
        """The newest rows; ``waiting``: what to say while there are none."""
        lines = table(rows, now, self._console, self._height) if rows else [waiting]
        if self._stream.isatty():
            back = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
            self._stream.write(back + "\n".join(lines) + "\n")
            self._lines = len(lines)
        else:
            self._stream.writelines(f"{line}\n" for line in self._changes(rows, waiting))
        self._stream.flush()

    def _changes(self, rows: Sequence[Row], waiting: str) -> Iterator[str]:
        if not rows and not self._reported:
            self._reported[""] = ("", "")
            yield waiting
        for row in rows:
            # The text of a finding changes with every frame: what counts is which one it is.
            state = (row.verdict, row.finding.partition(":")[0])
            if self._reported.get(row.run) != state:
                self._reported[row.run] = state
                at = "" if row.step is None else f" at step {row.step}"
                summary = f": {' '.join(row.finding.split())}" if row.finding else ""
                yield inert(f"{row.verdict or 'not judged'}  {row.run}{at}{summary}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("logdir", metavar="LOGDIR", help="as for check; it need not exist yet")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=DEFAULT_INTERVAL,
        metavar="SECONDS",
        help=f"how long to wait between two looks (default: {DEFAULT_INTERVAL:g})",
    )
    parser.add_argument("--once", action="store_true", help="show the table once and end")
    parser.add_argument(
        "--fail-on",
        choices=("critical", "warning", "undecided", "never"),
        default="critical",
        help="as for check: the verdict from which on the exit status is 1 (default: critical)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 86400 seconds, not {text!r}")
    return seconds


def watch(arguments: argparse.Namespace, console: Console, height: int) -> int:
    """Show the runs until Ctrl-C.

    Returns:
        The exit status: 0 healthy or undecided, 1 a verdict at or above ``--fail-on``, 2 no run
        could be read.

    Raises:
        ReadError, OSError: the folder cannot be read.
    """
    runs, rows = Runs(arguments.logdir), list[Row]()
    screen = Screen(sys.stdout, console, height)
    waiting = f"There is no run below {inert(repr(arguments.logdir))} yet."
    try:
        while True:
            rows = runs.rows()
            screen.show(rows, waiting, time.time())
            if arguments.once:
                break
            time.sleep(arguments.interval)
    except KeyboardInterrupt:
        pass
    return _status(rows, arguments.fail_on)


def _status(rows: Sequence[Row], fail_on: str) -> int:
    judged = [row.verdict for row in rows if row.verdict]
    if not judged:
        return UNUSABLE
    if fail_on != "never" and max(map(VERDICTS.index, judged)) >= VERDICTS.index(fail_on):
        return UNHEALTHY
    return HEALTHY
