"""From verdicts to rates: recall, right rule, cause and variable, latency, false alarms.

In:  programs, recorded outcomes, what was said of each.
Out: ``Scores`` per half of the zoo, as plain data.
Does not know how anything was trained or judged.

A training counts only if its outcome bears out its label: a healthy one must reach its
target, a faulty one must end measurably worse than its twin with the same seed. The others are
listed as dropped, never relabelled on the way.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.judging import Judged, Raised, Recorded

if TYPE_CHECKING:
    from zoo.programs import Program

MARGIN = 0.15
"""Of skill, that a faulty program must lack against its twin."""

CONFIDENCE_EDGES = (0.0, 0.5, 0.7, 0.85, 1.01)


@dataclasses.dataclass(frozen=True)
class Case:
    """One training whose outcome bears out its label, and what was said of it."""

    program: Program
    recorded: Recorded
    judged: Judged

    @property
    def loud(self) -> list[Raised]:
        return [flag for flag in self.judged.flags if flag.loud]

    @property
    def right(self) -> list[Raised]:
        """Loud flags of an acceptable rule."""
        assert self.program.expected is not None
        return [flag for flag in self.loud if flag.rule in self.program.expected.rules]

    @property
    def right_cause(self) -> bool:
        assert self.program.expected is not None
        causes = self.program.expected.causes
        return any(flag.causes and flag.causes[0][0] in causes for flag in self.right)

    @property
    def right_variable(self) -> bool:
        """At least half of what a right flag names is what is faulty."""
        assert self.program.expected is not None
        patterns = self.program.expected.variables
        for flag in self.right:
            hits = [any(fnmatch.fnmatch(v, p) for p in patterns) for v in flag.variables]
            if hits and sum(hits) >= len(hits) / 2:
                return True
        return False

    @property
    def latency(self) -> float:
        """Steps from the first faulty one to the first right flag, as a share of the run."""
        assert self.program.expected is not None
        seen = min(flag.seen for flag in self.right)
        late = seen - self.program.expected.first_step
        return max(late, 0) / max(self.recorded.steps, 1)


def sort_out(
    programs: Iterable[Program], found: Iterable[Recorded]
) -> tuple[list[tuple[Program, Recorded]], list[tuple[Recorded, str]]]:
    """Trainings that count, and those that do not with the reason."""
    by_name = {program.name: program for program in programs}
    found = [one for one in found if one.name in by_name]
    skills = {(one.name, one.seed): one.skill for one in found if not one.error}
    counts, dropped = [], []
    for one in found:
        program = by_name[one.name]
        reason = one.error and f"failed: {one.error}"
        if not reason and not program.faulty and not one.skill >= program.target:
            reason = f"healthy, but its skill is {one.skill:.2f}, below {program.target:.2f}"
        if not reason and program.faulty:
            reason = _why_not_faulty(one, by_name[program.twin], skills)
        if reason:
            dropped.append((one, reason))
        else:
            counts.append((program, one))
    return counts, dropped


def _why_not_faulty(one: Recorded, twin: Program, skills: Mapping[tuple[str, int], float]) -> str:
    skill = skills.get((twin.name, one.seed))
    if skill is None:
        return f"its twin {twin.name} was not recorded with seed {one.seed}"
    if not skill >= twin.target:
        return f"its twin {twin.name} does not reach its target"
    if math.isfinite(one.skill) and skill - one.skill < MARGIN:
        return f"faulty, but its skill of {one.skill:.2f} is not below the {skill:.2f} of its twin"
    return ""


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval after Wilson."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.96, self.of, self.share
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.2f} [{low:.2f}, {high:.2f}] ({self.hits}/{self.of})"

    def to_json(self) -> dict[str, Any]:
        return {"hits": self.hits, "of": self.of, "share": self.share, "interval": self.interval}


def rate(values: Iterable[bool]) -> Rate:
    values = [bool(value) for value in values]
    return Rate(sum(values), len(values))


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is measured on one half of the zoo; see ``score``."""

    faulty_programs: int
    healthy_programs: int
    rates: dict[str, Rate]
    median_latency: float
    late_latency: float
    calibration: list[tuple[str, float, Rate]]
    peers: dict[str, tuple[Rate, Rate]]
    by_fault: dict[str, Rate]

    def to_json(self) -> dict[str, Any]:
        return {
            "sick_programs": self.faulty_programs,
            "healthy_programs": self.healthy_programs,
            "rates": {name: value.to_json() for name, value in self.rates.items()},
            "median_latency": self.median_latency,
            "late_latency": self.late_latency,
            "calibration": [
                {"confidence": label, "mean": mean, "right": right.to_json()}
                for label, mean, right in self.calibration
            ],
            "peers": {
                name: {"recall": recall.to_json(), "false_alarms": alarms.to_json()}
                for name, (recall, alarms) in self.peers.items()
            },
            "by_fault": {name: value.to_json() for name, value in self.by_fault.items()},
        }


def score(cases: Sequence[Case]) -> Scores:
    """All rates over the cases.

    recall: faulty trainings with any warning or critical flag. right rule: with one of an
    acceptable rule; right rule first: the worst flag is of an acceptable rule. right cause,
    right variable: such a flag's most confident cause is acceptable; at least half of the
    variables it names are faulty (of trainings whose fault is in variables).
    """
    faulty = [case for case in cases if case.program.faulty]
    healthy = [case for case in cases if not case.program.faulty]
    located = [c for c in faulty if c.program.expected and c.program.expected.variables]
    latencies = sorted(case.latency for case in faulty if case.right)
    names = sorted({name for case in cases for name in case.judged.peers})
    return Scores(
        faulty_programs=len({case.program.name for case in faulty}),
        healthy_programs=len({case.program.name for case in healthy}),
        rates={
            "recall": rate(bool(case.loud) for case in faulty),
            "right rule": rate(bool(case.right) for case in faulty),
            "right rule first": rate(case.loud[:1] == case.right[:1] != [] for case in faulty),
            "right cause": rate(case.right_cause for case in faulty),
            "right variable": rate(case.right_variable for case in located),
            "within 20 % of the steps": rate(
                bool(case.right) and case.latency <= 0.2 for case in faulty
            ),
            "healthy with a warning or worse": rate(bool(case.loud) for case in healthy),
            "healthy with a critical": rate(
                any(flag.severity == "critical" for flag in case.loud) for case in healthy
            ),
        },
        median_latency=statistics.median(latencies) if latencies else math.nan,
        late_latency=latencies[int(0.9 * (len(latencies) - 1))] if latencies else math.nan,
        calibration=_calibration(faulty),
        peers={
            name: (
                rate(case.judged.peers.get(name) is not None for case in faulty),
                rate(case.judged.peers.get(name) is not None for case in healthy),
            )
            for name in names
        },
        by_fault={
            fault: rate(bool(case.right) for case in faulty if case.program.fault == fault)
            for fault in sorted({case.program.fault for case in faulty})
        },
    )


def _calibration(faulty: Sequence[Case]) -> list[tuple[str, float, Rate]]:
    """How often the first cause of a right flag is right, by the confidence it claims."""
    claims = [
        (flag.causes[0][1], flag.causes[0][0] in case.program.expected.causes)
        for case in faulty
        for flag in case.right
        if flag.causes and case.program.expected is not None
    ]
    table = []
    for low, high in itertools.pairwise(CONFIDENCE_EDGES):
        inside = [(claim, right) for claim, right in claims if low <= claim < high]
        if inside:
            mean = statistics.fmean(claim for claim, _ in inside)
            label = f"{low:.2f} to {min(high, 1):.2f}"
            table.append((label, mean, rate(right for _, right in inside)))
    return table
