"""What a rule found, as plain data.

In:  numbers and names.
Out: ``Flag`` and its parts; conversion to and from the report's JSON and the protobuf.
Does not know about rules, files, TensorFlow or any way of showing a flag.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any

from tb_gradients.inert import inert
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.snippets import snippets


class Severity(enum.IntEnum):
    """How bad it is; comparable, so that ``flag.severity >= Severity.WARNING`` reads well."""

    INFO = 1
    """Worth knowing."""
    WARNING = 2
    """Very likely hurts."""
    CRITICAL = 3
    """Training cannot succeed, or a part of the model does not learn."""

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Severity:
        """The severity of that label; ``ValueError`` names the known ones."""
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(severity.label for severity in cls)
            raise ValueError(f"unknown severity {text!r}; known: {known}") from None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A number that decided, and the threshold it was held against (if there is one).

    A threshold of NaN, such as the level of guessing where nobody knows it, is none.
    """

    name: str
    value: float
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and math.isnan(self.threshold):
            object.__setattr__(self, "threshold", None)


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why, with a confidence in [0, 1] and the observation that speaks for it."""

    id: str
    confidence: float
    summary: str


@dataclasses.dataclass(frozen=True)
class Flag:
    """One finding about one run, from the first step it was true to the last.

    ``follow_ups`` are findings of other rules that this one explains, a sentence each.
    ``provisional``: it was so at every step so far, which are too few for the rule to be sure; it
    is ``info`` until the rule confirms it, and withdrawn if it does not.
    """

    rule: str
    severity: Severity
    variables: tuple[str, ...]
    first_step: int
    last_step: int
    open: bool
    summary: str
    evidence: tuple[Evidence, ...] = ()
    causes: tuple[Cause, ...] = ()
    fixes: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    provisional: bool = False

    def __str__(self) -> str:
        """One line for people: names of variables in it can do no harm to a terminal."""
        since = f"since step {self.first_step}"
        if not self.open:
            since = f"steps {self.first_step} to {self.last_step}"
        if self.provisional:
            since += ", provisional"
        return inert(f"{self.severity.label}: {self.rule} ({since}): {self.summary}")

    def advice(self) -> list[str]:
        """The likeliest cause and the first fix, a line each; empty where there is neither."""
        lines = [f"cause: {c.id} ({c.confidence:.0%}): {c.summary}" for c in self.causes[:1]]
        return [inert(line) for line in [*lines, *(f"try:   {fix}" for fix in self.fixes[:1])]]

    def to_json(self) -> dict[str, Any]:
        """The flag as in version 1 of the report (``docs/design.md``, section 3)."""
        return {
            "rule": self.rule,
            "severity": self.severity.label,
            "variables": list(self.variables),
            "first_step": self.first_step,
            "last_step": self.last_step,
            "open": self.open,
            "summary": self.summary,
            "evidence": [
                {
                    "name": item.name,
                    "value": json_number(item.value),
                    "threshold": json_number(item.threshold),
                }
                for item in self.evidence
            ],
            "causes": [dataclasses.asdict(cause) for cause in self.causes],
            "fixes": list(self.fixes),
            "snippets": [snippets(fix) for fix in self.fixes],
            "follow_ups": list(self.follow_ups),
            "provisional": self.provisional,
        }

    def to_proto(self) -> pb.Flag:
        message = pb.Flag(
            rule=self.rule,
            severity=self.severity.label,
            variables=self.variables,
            first_step=self.first_step,
            last_step=self.last_step,
            open=self.open,
            summary=self.summary,
            causes=[pb.Cause(**dataclasses.asdict(cause)) for cause in self.causes],
            fixes=self.fixes,
            follow_ups=self.follow_ups,
            provisional=self.provisional,
        )
        for item in self.evidence:
            message.evidence.add(name=item.name, value=item.value, threshold=item.threshold)
        return message

    @classmethod
    def from_proto(cls, message: pb.Flag) -> Flag:
        """The inverse of ``to_proto``; ``ValueError`` for a severity or a number that cannot be."""
        if any(not 0 <= cause.confidence <= 1 for cause in message.causes):
            raise ValueError("a confidence that is no share")
        return cls(
            rule=message.rule,
            severity=Severity.parse(message.severity),
            variables=tuple(message.variables),
            first_step=message.first_step,
            last_step=message.last_step,
            open=message.open,
            summary=message.summary,
            evidence=tuple(
                Evidence(
                    item.name, item.value, item.threshold if item.HasField("threshold") else None
                )
                for item in message.evidence
            ),
            causes=tuple(Cause(c.id, c.confidence, c.summary) for c in message.causes),
            fixes=tuple(message.fixes),
            follow_ups=tuple(message.follow_ups),
            provisional=message.provisional,
        )


@dataclasses.dataclass(frozen=True)
class RuleError:
    """A rule that raised: it is switched off for the rest of the run, the others go on."""

    rule: str
    step: int
    message: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


STATES = ("passed", "flagged", "not_yet", "not_seen", "failed")
"""What can be said of a rule: it judged the run and found nothing; it found something; it needs
more steps; it needs something that is not measured; it raised."""


@dataclasses.dataclass(frozen=True)
class RuleState:
    """How far a rule has judged a run.

    Attributes:
        rule: its id.
        state: one of ``STATES``.
        reason: one sentence: what was judged, what is missing, and how to give it.
    """

    rule: str
    state: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_proto(self) -> pb.RuleState:
        return pb.RuleState(**dataclasses.asdict(self))

    @classmethod
    def from_proto(cls, message: pb.RuleState) -> RuleState:
        return cls(message.rule, message.state, message.reason)


def json_number(value: float | None) -> float | str | None:
    """A number as strict JSON allows it: NaN and the infinities become their names."""
    if value is None:
        return None
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def ranked(flags: Iterable[Flag]) -> list[Flag]:
    """Worst first; among equals open ones first, then the earliest onset."""
    return sorted(flags, key=lambda f: (-f.severity, not f.open, f.first_step, f.rule, f.variables))


def worst(flags: Sequence[Flag]) -> Severity | None:
    """The highest severity of all flags, open or closed; ``None`` for a healthy run."""
    return max((flag.severity for flag in flags), default=None)


VERDICTS = ("healthy", "info", "undecided", "warning", "critical")
"""What is said of a run, the best first."""


def verdict_of(flags: Sequence[Flag], undecided: str = "") -> str:
    """One of ``VERDICTS``: a warning outranks that too little was seen, and that an ``info``."""
    severity = worst(flags)
    if severity is not None and severity >= Severity.WARNING:
        return severity.label
    if undecided:
        return "undecided"
    return "healthy" if severity is None else severity.label
