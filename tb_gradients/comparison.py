"""What got better and what got worse from one run to another.

In:  the reports on two runs.
Out: ``Change``s, one for each finding of either run, and lines for people.
Does not know where reports come from.

Two findings are the same if they are of one rule and have a variable in common, or no variables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tb_gradients.flags import Flag, Severity
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from tb_gradients.reading.report import RunReport


@dataclasses.dataclass(frozen=True)
class Change:
    """One finding in both runs; ``None`` where the run does not have it."""

    before: Flag | None
    after: Flag | None

    @property
    def kind(self) -> str:
        """What has become of it: "new", "worse", "unchanged", "better" or "gone"."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        if self.after.severity == self.before.severity:
            return "unchanged"
        return "worse" if self.after.severity > self.before.severity else "better"

    @property
    def is_worse(self) -> bool:
        """Whether the second run has a warning or worse that the first had not, or milder."""
        severity = Severity.INFO if self.after is None else self.after.severity
        return self.kind in ("new", "worse") and severity >= Severity.WARNING


_ORDER = ("new", "worse", "unchanged", "better", "gone")


def compared(before: RunReport, after: RunReport) -> list[Change]:
    """Every finding of either run: what is new first, what is gone last."""
    left = list(before.flags)
    changes = []
    for flag in after.flags:
        same = next((other for other in left if _is_same(other, flag)), None)
        if same is not None:
            left.remove(same)
        changes.append(Change(same, flag))
    changes += [Change(flag, None) for flag in left]
    return sorted(changes, key=lambda change: _ORDER.index(change.kind))


def _is_same(one: Flag, other: Flag) -> bool:
    shared = set(one.variables) & set(other.variables)
    return one.rule == other.rule and (bool(shared) or not (one.variables or other.variables))


def lines(before: RunReport, after: RunReport, changes: Iterable[Change]) -> Iterator[str]:
    """The verdicts, and a line for each change."""
    yield f"verdict: {before.verdict} -> {after.verdict}"
    nothing = True
    for change in changes:
        nothing = False
        severities = [flag.severity.label for flag in (change.before, change.after) if flag]
        flag = change.after or change.before
        assert flag is not None
        severity = " -> ".join(dict.fromkeys(severities))
        yield inert(f"{change.kind:<9}  {severity}: {flag.rule}: {flag.summary}")
    if nothing:
        yield "No findings in either run."
