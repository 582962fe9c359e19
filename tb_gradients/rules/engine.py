"""From frames to flags: the one engine, live in the writer and offline in the readers.

In:  a variable table and frames in step order.
Out: ``Flag``s that open, are updated and close; ``RuleError``s of rules that failed.
Does not know what any rule looks for, where frames come from, or who shows the flags.

How a flag lives:

* It opens when a rule first detects variables that no flag of that rule holds yet. New
  variables of a similar onset join a flag; those of another onset open a flag of their own.
* It is updated while any of its variables is still detected. Its severity follows the last
  judgement: a suspicion of the first steps ends as ``info`` when the run learns after all.
* It closes after ``CLEAN_FRAMES`` frames in which none of its variables was detected. When
  they fall ill again, the same flag opens again: a relapse is not a new disease, and a
  flickering symptom must not fill the report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from tb_gradients.flags import Flag, RuleError, Severity, ranked
from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.rules.base import Detection, Finding, Rule
from tb_gradients.rules.registry import RuleSettings, make_rules
from tb_gradients.rules.window import History, IntArray

CLEAN_FRAMES = 5
"""Frames without a finding before a flag closes; one clean frame may be chance."""

NEAR_STEPS = 20
"""Onsets closer than this are one event: the dense phase of the writer's own schedule."""

EXPLAIN_EVERY = 16
"""Frames between two refreshes of an unchanged flag's numbers, once it is that old."""


@dataclasses.dataclass
class _Case:
    """A flag in the making: what the engine remembers of it."""

    rule: Rule
    paths: tuple[str, ...]
    first_step: int
    last_step: int
    severity: Severity
    finding: Finding
    reading: tuple[str, ...]
    open: bool = True
    clean: int = 0
    frames: int = 1

    def flag(self) -> Flag:
        return Flag(
            rule=self.rule.id,
            severity=self.severity,
            variables=self.reading,
            first_step=self.first_step,
            last_step=self.last_step,
            open=self.open,
            summary=self.finding.summary,
            evidence=self.finding.evidence,
            causes=tuple(sorted(self.finding.causes, key=lambda c: -c.confidence)),
            fixes=self.finding.fixes,
        )


class Engine:
    """Applies rules to a run, frame by frame, in bounded memory.

    Args:
        table: the variables of the run.
        rules: ``None`` for all of them, ``{"rule_id": {"threshold": value}}`` to change
            thresholds, ``{"rule_id": False}`` to leave one out, or rule objects.

    Raises:
        ValueError: unknown rules or thresholds; the message names the known ones.
    """

    def __init__(
        self, table: VariableTable, rules: RuleSettings | Iterable[Rule] | None = None
    ) -> None:
        self._rules = make_rules(rules)
        self._table = table
        needs = {name for rule in self._rules for name in rule.needs}
        self._history = History(table, needs)
        self._row = {path: row for row, path in enumerate(table.paths)}
        self._cases: list[_Case] = []
        self._errors: list[RuleError] = []

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All flags so far, open and closed, worst first."""
        return tuple(ranked(case.flag() for case in self._cases))

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Rules that failed, at most one entry each: they are switched off for the run."""
        return tuple(self._errors)

    def set_table(self, table: VariableTable) -> None:
        """From the next frame on the rows are those of another variable table."""
        if table is self._table:
            return
        self._table = table
        self._history.set_table(table)
        self._row = {path: row for row, path in enumerate(table.paths)}
        for case in self._cases:
            if case.paths and not any(path in self._row for path in case.paths):
                case.open = False

    def update(self, frame: Frame) -> list[Flag]:
        """Judge the next frame.

        Returns:
            The flags that it opened, and those that became worse by it.

        Raises:
            ValueError: the frame does not fit the variable table.
        """
        self._history.push(frame)
        news: list[_Case] = []
        for rule in list(self._rules):
            try:
                news += self._apply(rule)
            except Exception as error:
                self._rules.remove(rule)
                message = f"{type(error).__name__}: {error}"
                self._errors.append(RuleError(rule.id, frame.step, message))
        return ranked(case.flag() for case in news)

    def _apply(self, rule: Rule) -> list[_Case]:
        window = self._history.window(rule)
        detection = rule.detect(window)
        if detection is None:
            return []
        cases = [case for case in self._cases if case.rule is rule]
        if detection.whole_run:
            hit, groups = set[int](), {-1: np.zeros(0, np.int64)}
        else:
            hit = set(np.flatnonzero(detection.sick).tolist())
            groups = self._grouped(detection, cases)
        news = []
        for index, rows in groups.items():
            case = cases[index] if index >= 0 else None
            if detection.whole_run and cases:
                case = cases[0]
            news += self._advance(rule, case, rows, detection)
        touched = {id(cases[index]) for index in groups if index >= 0}
        if detection.whole_run:
            touched = {id(case) for case in cases}
        for case in cases:
            if case.open and id(case) not in touched and not (hit & self._rows_of(case)):
                case.clean += 1
                case.open = case.clean < CLEAN_FRAMES
        return news

    def _rows_of(self, case: _Case) -> set[int]:
        return {self._row[path] for path in case.paths if path in self._row}

    def _grouped(self, detection: Detection, cases: Sequence[_Case]) -> dict[int, IntArray]:
        """Sick rows by the case they belong to: index into ``cases``, below zero for new ones."""
        sick = np.flatnonzero(detection.sick)
        if not sick.size:
            return {}
        if detection.together:
            return {0 if cases else -1: sick}
        owner = {row: i for i, case in enumerate(cases) for row in self._rows_of(case)}
        groups: dict[int, list[int]] = {}
        free: list[int] = []
        for row in sick.tolist():
            if row in owner:
                groups.setdefault(owner[row], []).append(row)
            else:
                free.append(row)
        near = max(NEAR_STEPS, 2 * int(self._history.spans().max()))
        onsets = {i: case.first_step for i, case in enumerate(cases) if case.open}
        for row in sorted(free, key=lambda row: (int(detection.since[row]), row)):
            since = int(detection.since[row])
            home = next((i for i, onset in onsets.items() if abs(onset - since) <= near), None)
            if home is None:
                home = -1 - sum(index < 0 for index in onsets)
                onsets[home] = since
            groups.setdefault(home, []).append(row)
        return {i: np.array(sorted(rows), np.int64) for i, rows in groups.items()}

    def _advance(
        self, rule: Rule, case: _Case | None, rows: IntArray, detection: Detection
    ) -> list[_Case]:
        """Open a case, or carry one on by one frame; returned if it opened or got worse."""
        window = self._history.window(rule)
        member = slice(None) if detection.whole_run else rows
        severity = Severity(int(detection.severity[member].max()))
        if case is None:
            since = int(detection.since[member].min())
            finding = rule.explain(window, rows, since)
            paths = tuple(self._table.paths[row] for row in rows)
            case = _Case(
                rule, paths, since, window.step, severity, finding, self._reading(finding, paths)
            )
            self._cases.append(case)
            return [case]
        before = case.severity
        paths = tuple(self._table.paths[row] for row in rows)
        joined = [path for path in paths if path not in case.paths]
        case.last_step = window.step
        case.open, case.clean, case.frames = True, 0, case.frames + 1
        case.severity = severity
        due = case.frames % EXPLAIN_EVERY == 0 or case.frames & (case.frames - 1) == 0
        if joined or severity != before or due:
            case.paths = self._ordered((*case.paths, *joined))
            if not rule.about_onset:
                case.finding = rule.explain(window, rows, case.first_step)
                case.reading = self._reading(case.finding, case.paths)
        return [case] if severity > before else []

    def _ordered(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Network order; variables of an earlier table last."""
        last = len(self._row)
        return tuple(sorted(paths, key=lambda path: self._row.get(path, last)))

    def _reading(self, finding: Finding, paths: tuple[str, ...]) -> tuple[str, ...]:
        """The variables of a flag in the order in which its rule wants them read."""
        if finding.rows is None:
            return paths
        return tuple(self._table.paths[row] for row in finding.rows)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the rules say of a recorded run."""

    flags: tuple[Flag, ...]
    errors: tuple[RuleError, ...]


def judge(
    recordings: Sequence[Recording], rules: RuleSettings | Iterable[Rule] | None = None
) -> Verdict:
    """Judge a recorded run: the recordings of its variable tables, in order.

    Raises:
        ValueError: unknown rules or thresholds; the message names the known ones.
    """
    engine: Engine | None = None
    for recording in recordings:
        if engine is None:
            engine = Engine(recording.table, rules)
        else:
            engine.set_table(recording.table)
        for step, values, context in zip(
            recording.steps, recording.values, recording.context, strict=True
        ):
            engine.update(Frame(int(step), 0.0, values, context))
    if engine is None:
        make_rules(rules)  # wrong settings are an error, data or not
        return Verdict((), ())
    return Verdict(engine.flags, engine.errors)
