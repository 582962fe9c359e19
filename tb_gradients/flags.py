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
    """How bad it is, in rising order, also against a word: ``flag.severity >= "warning"``.

    It prints as that word. In a set or as a key of a dictionary it is the number.
    """

    INFO = 1
    """Worth knowing."""
    WARNING = 2
    """Very likely hurts."""
    CRITICAL = 3
    """Training cannot succeed, or a part of the model does not learn."""

    @property
    def label(self) -> str:
        return self.name.lower()

    def __str__(self) -> str:
        return self.label

    def __format__(self, spec: str) -> str:
        return format(self.label, spec)

    def __eq__(self, other: object) -> bool:
        return self.label == other if isinstance(other, str) else int.__eq__(self, other)

    __hash__ = int.__hash__

    def __lt__(self, other: int | str) -> bool:
        return int.__lt__(self, _number(other))

    def __le__(self, other: int | str) -> bool:
        return int.__le__(self, _number(other))

    def __gt__(self, other: int | str) -> bool:
        return int.__gt__(self, _number(other))

    def __ge__(self, other: int | str) -> bool:
        return int.__ge__(self, _number(other))

    @classmethod
    def parse(cls, text: str) -> Severity:
        """The severity of that label; ``ValueError`` names the known ones."""
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(severity.label for severity in cls)
            raise ValueError(f"unknown severity {text!r}; known: {known}") from None


def _number(severity: int | str) -> int:
    return Severity.parse(severity) if isinstance(severity, str) else severity


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


PHASES = ("forward", "backward", "graph")
"""Where in a step: while the loss was computed, while it was differentiated, or in neither: the
graph of the step alone says it."""


@dataclasses.dataclass(frozen=True)
class PathRow:
    """One place on the way of a gradient from the loss to a variable.

    Attributes:
        layer: name of the layer; "": none.
        operation: type of the operation that changes the size of the gradient most at this place.
        file, line: as those of ``Origin``.
        log10_size: decimal logarithm of the gradient's root mean square behind this place (that of
            the loss itself is 0); -inf: it is exactly zero.
    """

    layer: str
    operation: str
    file: str = ""
    line: int = 0
    log10_size: float = 0.0

    def __post_init__(self) -> None:
        for field in ("layer", "operation", "file"):
            object.__setattr__(self, field, inert(getattr(self, field)))

    @property
    def name(self) -> str:
        """The layer; else the line, or else the operation."""
        return self.layer or (f"line {self.line}" if self.file else self.operation)

    def to_json(self) -> dict[str, Any]:
        """All fields; the logarithm of exactly zero is "-Infinity"."""
        return {**dataclasses.asdict(self), "log10_size": json_number(self.log10_size)}

    def to_proto(self) -> pb.PathRow:
        fields = dataclasses.asdict(self)
        if math.isinf(self.log10_size):
            del fields["log10_size"]
        return pb.PathRow(**fields)

    @classmethod
    def from_proto(cls, message: pb.PathRow) -> PathRow:
        """The inverse of ``to_proto``; ``ValueError`` for a number that cannot be."""
        size = message.log10_size if message.HasField("log10_size") else -math.inf
        if math.isnan(size) or size == math.inf:
            raise ValueError("a size on a path that is none")
        return cls(message.layer, message.operation, message.file, message.line, size)


@dataclasses.dataclass(frozen=True)
class Origin:
    """The operation that a finding comes from, and the line of the user's program that made it.

    Attributes:
        operation: type of the TensorFlow operation, such as "RealDiv".
        layer: name of the layer that it belongs to; "": none.
        phase: one of ``PHASES``.
        file: as Python names it; "": no line of the user's program stands for the operation alone.
        line: number of the line, from 1; 0 without a file.
        code: the text of the line; "" where it was not to be kept or cannot be read.
        inputs: type, shape and range of each input, a text each.
        outputs: the same of the outputs.
        share: of the elements of the outputs that are NaN, infinite or zero; None: not measured.
        exact: whether it was found in the step itself, or in a repetition from the same weights and
            the same batch; otherwise the weights were those of a step shortly before.
        only_xla: whether it happens only where XLA compiles the step (``jit_compile=True``).
        summary: one sentence.
        path: how the gradient fades, or grows, on its way from the loss to the first variable of
            the flag; empty where that was not measured.
    """

    operation: str
    layer: str = ""
    phase: str = "graph"
    file: str = ""
    line: int = 0
    code: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    share: float | None = None
    exact: bool = True
    only_xla: bool = False
    summary: str = ""
    path: tuple[PathRow, ...] = ()

    def __post_init__(self) -> None:
        """A source file may hold anything: what is shown of it can do no harm."""
        for field in ("operation", "layer", "file", "code", "summary"):
            object.__setattr__(self, field, inert(getattr(self, field)))
        for field in ("inputs", "outputs"):
            object.__setattr__(self, field, tuple(map(inert, getattr(self, field))))

    def __str__(self) -> str:
        """The place in one line: ``model.py:42  return x / tf.norm(x)``; without a file the layer.

        The line of code is cut at 100 characters; nothing in it can harm a terminal.
        """
        if not self.file:
            if self.path and not self.operation:
                return "on the whole way from the loss"
            return inert(f'in layer "{self.layer}"' if self.layer else "in no line of the program")
        code = self.code if len(self.code) <= 100 else f"{self.code[:99]}…"
        return inert(f"{self.file}:{self.line}  {code}".rstrip())

    def to_json(self) -> dict[str, Any]:
        """All fields; a share that was not measured is null."""
        data = {**dataclasses.asdict(self), "share": json_number(self.share)}
        data |= {"path": [row.to_json() for row in self.path]}
        return {**data, "inputs": list(self.inputs), "outputs": list(self.outputs)}

    def to_proto(self) -> pb.Origin:
        fields = dataclasses.asdict(self)
        return pb.Origin(**{**fields, "path": [row.to_proto() for row in self.path]})

    def path_text(self) -> str:
        """The path in one line, ``loss 1 → head 0.02 → dense 3e-08``; "" without one."""
        if not self.path:
            return ""
        shown = [f"{row.name} {_power(row.log10_size)}" for row in _one_per_layer(self.path)]
        if len(shown) > PATH_SHOWN:
            half = PATH_SHOWN // 2
            shown = [*shown[:half], "…", *shown[-half:]]
        return inert(" → ".join(["loss 1", *shown]))

    @classmethod
    def from_proto(cls, message: pb.Origin) -> Origin:
        """The inverse of ``to_proto``; ``ValueError`` for what cannot be."""
        share = message.share if message.HasField("share") else None
        if message.phase not in PHASES:
            raise ValueError(f"an origin in the phase {inert(message.phase)!r}")
        if share is not None and not 0 <= share <= 1:
            raise ValueError("an origin with a share that is none")
        return cls(
            operation=message.operation,
            layer=message.layer,
            phase=message.phase,
            file=message.file,
            line=message.line,
            code=message.code,
            inputs=tuple(message.inputs),
            outputs=tuple(message.outputs),
            share=share,
            exact=message.exact,
            only_xla=message.only_xla,
            summary=message.summary,
            path=tuple(map(PathRow.from_proto, message.path)),
        )


PATH_SHOWN = 8
"""Places of a path that stand in one line of text."""


def _one_per_layer(path: Iterable[PathRow]) -> list[PathRow]:
    """The last row of each layer, of those that follow one another."""
    rows: list[PathRow] = []
    for row in path:
        if rows and rows[-1].name == row.name:
            rows[-1] = row
        else:
            rows.append(row)
    return rows


def _power(log10_size: float) -> str:
    """A size from its logarithm; the number itself may be too small for a float."""
    if math.isinf(log10_size):
        return "0"
    if -300 < log10_size < 300:
        return f"{10**log10_size:.2g}"
    return f"1e{log10_size:.0f}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """One finding about one run, from the first step it was true to the last.

    ``follow_ups`` are findings of other rules that this one explains, a sentence each.
    ``provisional``: it was so at every step so far, which are too few for the rule to be sure; it
    is ``info`` until the rule confirms it, and withdrawn if it does not. ``origin``: the operation
    and the line that it comes from, where they were found.
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
    origin: Origin | None = None

    def __str__(self) -> str:
        """One line for people: names of variables in it can do no harm to a terminal."""
        since = f"since step {self.first_step}"
        if not self.open:
            since = f"steps {self.first_step} to {self.last_step}"
        if self.provisional:
            since += ", provisional"
        return inert(f"{self.severity.label}: {self.rule} ({since}): {self.summary}")

    def __repr__(self) -> str:
        named = f"{len(self.variables)} variable{'' if len(self.variables) == 1 else 's'}"
        return f"<Flag {str(self).partition('): ')[0]}), {named}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tb_gradients.html_outputs import of_flag

        return of_flag(self)

    def advice(self) -> list[str]:
        """Place, likeliest cause and first fix, a line each; empty where there is none of them."""
        lines = [f"where: {self.origin}"] if self.origin is not None else []
        lines += [f"cause: {c.id} ({c.confidence:.0%}): {c.summary}" for c in self.causes[:1]]
        return [inert(line) for line in [*lines, *(f"try:   {fix}" for fix in self.fixes[:1])]]

    def to_json(self) -> dict[str, Any]:
        """The flag as in version 1 of the report (``docs/design.md``, section 3)."""
        found = {} if self.origin is None else {"origin": self.origin.to_json()}
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
            **found,
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
        if self.origin is not None:
            message.origin.CopyFrom(self.origin.to_proto())
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
            origin=Origin.from_proto(message.origin) if message.HasField("origin") else None,
        )


@dataclasses.dataclass(frozen=True)
class RuleError:
    """A rule, or another part of the monitor, that failed; the others go on.

    Attributes:
        rule: its id, and it is switched off for the rest of the run; "" for another part.
        step: at which it failed first.
        message: why; of another part also what is left out.
        stopped: nothing goes on: the monitor saw no later step.
    """

    rule: str
    step: int
    message: str
    stopped: bool = False

    def __str__(self) -> str:
        if self.stopped:
            return f"the monitor stopped at step {self.step}: {self.message}"
        if self.rule:
            return f"rule {self.rule} was switched off at step {self.step}: {self.message}"
        return self.message

    def to_proto(self) -> pb.RuleError:
        return pb.RuleError(**dataclasses.asdict(self))

    @classmethod
    def from_proto(cls, message: pb.RuleError) -> RuleError:
        return cls(message.rule, message.step, message.message, message.stopped)


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
