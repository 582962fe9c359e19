"""Turn frames into flags: one engine, live in the monitor and offline in the readers.

In:  a variable table and frames in step order.
Out: ``Flag``s that open, are updated and close; ``RuleError``s of rules that failed.
Does not know what any rule looks for, where frames come from, or who shows the flags.

How a flag lives:

* It opens when a rule first detects variables that no flag of that rule holds yet. New
  variables of a similar onset join a flag; those of another onset open a flag of their own.
* It is updated while any of its variables is still detected. Its severity rises at once, and
  falls to the worst of the last ``CLEAN_FRAMES`` judgements: a suspicion of the first steps
  ends as ``info`` when the run learns after all, and one lucky batch changes nothing.
* It closes after ``CLEAN_FRAMES`` frames in which none of its variables was detected. If they are
  detected again, the same flag opens again: it is not a new problem, and a symptom that comes and
  goes must not fill the report.
* One fault is one flag: what a rule says it ``follows`` is listed as a follow-up of that
  flag while the two overlap, and is no news of its own. So is what it ``comes_of``, where that
  was there first. The flag is as bad as the worst of its follow-ups, and open as long as what
  came of it is.
* Two faults are two flags: a local cause, such as a dead unit, explains only variables that a
  path of the model connects to it; data and learning rate explain every variable, but not what is
  built in, such as weights that start equal. The scale of weights explains every variable too,
  but of what was so before the first update only what is connected. Variables that no path
  connects are one flag only where they have the same cause.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from tb_gradients.flags import Flag, RuleError, RuleState, Severity, ranked
from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.judging import between
from tb_gradients.judging.base import HEALTHY, Detection, Finding, Rule
from tb_gradients.judging.causes import is_built_in, is_local, likeliest, likeliest_first
from tb_gradients.judging.fingerprint import Shown
from tb_gradients.judging.progress import Progress
from tb_gradients.judging.registry import RuleSettings, make_rules
from tb_gradients.judging.states import Standing, has_basis, standing, why_undecided, why_unreported
from tb_gradients.judging.window import BLOCK, History, IntArray, Window

CLEAN_FRAMES = 5
"""Frames without a finding before a flag closes; one clean frame may be chance."""

NEAR_STEPS = 20
"""Onsets closer than this are one event: the dense phase of the writer's own schedule."""

NOBODY = -1
"""The owner of a variable that no flag of the rule holds."""

BLOCK_NUMBERS = 1 << 20
"""Numbers of frames that are taken in together, of large models: 4 MB, so that they stay in the
processor's cache while they are copied and looked at."""

FEW = 4
"""With fewer frames at hand, looking at all of them costs as much as asking a rule does."""

EXPLAIN_EVERY = 16
"""Frames between two refreshes of an unchanged flag's numbers, once it is that old."""


@dataclasses.dataclass
class _Case:
    """What the engine remembers of a flag."""

    rule: Rule
    paths: tuple[str, ...]
    first_step: int
    last_step: int
    severity: Severity
    finding: Finding
    reading: tuple[str, ...]
    opened: int
    learning: str
    """State of the run when the text was written: it tells how the loss moves."""
    spacing: int = 1
    """Steps between two frames when it opened: onset and end are known to within so many."""
    provisional: bool = False
    """Seen at every step so far, and not yet for long enough: no news, and withdrawn if it ends."""
    open: bool = True
    clean: int = 0
    frames: int = 1
    recent: deque[Severity] = dataclasses.field(
        default_factory=functools.partial(deque, maxlen=CLEAN_FRAMES)
    )

    def judge(self, severity: Severity) -> None:
        """Take the newest judgement in."""
        self.recent.append(severity)
        self.severity = Severity(max(map(int, self.recent)))

    @property
    def follows(self) -> tuple[str, ...]:
        """The rules whose finding would explain this one."""
        return self.rule.follows if self.finding.follows is None else self.finding.follows

    @property
    def comes_of(self) -> tuple[str, ...]:
        """The rules whose finding may have ended in this one."""
        return self.rule.comes_of if self.finding.comes_of is None else self.finding.comes_of

    def overlaps(self, other: _Case) -> bool:
        """Whether both were there at the same time, or one began as the other ended."""
        near = max(self.spacing, other.spacing)
        return (self.open or self.last_step + near >= other.first_step) and (
            other.open or other.last_step + near >= self.first_step
        )

    def led_to(self, other: _Case) -> bool:
        """Whether it was there before the other, and until shortly before at least."""
        spacing = max(self.spacing, other.spacing)
        near = max(NEAR_STEPS, 2 * spacing)
        return self.first_step < other.first_step + spacing and (
            self.open or self.last_step + near >= other.first_step
        )


@dataclasses.dataclass
class _Fault:
    """A case that stands for itself, and the follow-ups that are listed with it."""

    leading: _Case
    follow_ups: list[_Case] = dataclasses.field(default_factory=list)
    outcomes: list[_Case] = dataclasses.field(default_factory=list)
    """Those of the follow-ups that came of it, and may outlast it."""

    def severity(self, without: Collection[int] = ()) -> Severity:
        """As bad as the worst of it; ``without``: numbers of follow-ups that do not count."""
        counted = (case.severity for case in self.follow_ups if case.opened not in without)
        return max([self.leading.severity, *counted])

    def flag(self, loss: str) -> Flag:
        """As it is shown; ``loss``: how the loss has moved, in words."""
        case, finding = self.leading, self.leading.finding
        lasting = [case, *self.outcomes]
        return Flag(
            rule=case.rule.id,
            severity=self.severity(),
            variables=case.reading,
            first_step=case.first_step,
            last_step=max(one.last_step for one in lasting),
            open=any(one.open for one in lasting),
            summary=finding.sentence(loss),
            evidence=finding.evidence,
            causes=tuple(likeliest_first(finding.causes)),
            fixes=finding.fixes,
            follow_ups=tuple(
                f"{one.rule.id}: {one.finding.sentence(loss)}"
                for one in sorted(self.follow_ups, key=lambda c: (c.first_step, c.opened))
            ),
            provisional=case.provisional,
        )


class _Track:
    """One rule at work: its cases, and which of them each variable belongs to."""

    def __init__(self, rule: Rule, window: Window, variables: int) -> None:
        self.rule = rule
        self.cases: list[_Case] = []
        self.owner: IntArray = np.full(variables, NOBODY, np.int64)
        self.window = window
        self.judged = False
        """Whether it has found nothing at a frame at which its silence means something."""
        self.idle: bool | None = None
        """Whether the variable table rules its fault out; ``None``: not known yet."""
        self._era = -1
        self._first = 0
        self._may_find: list[bool] | None = None
        self._baseless = False
        """Whether its silence means nothing at any row at hand."""
        self.sleeps = False
        """Whether it rests at all rows at hand."""

    def rests(self, era: int, *, many: bool) -> bool:
        """Whether it is known to find nothing at the newest row, so that it need not be asked.

        Args:
            era: another number, where rows came.
            many: whether they are many enough to look at all of them at once.
        """
        if self.cases:
            return False
        if self.idle is None:
            applies = not (self.rule.table_decides and self.rule.nothing_to_judge(self.window))
            self.idle = not applies
        if self.idle:
            self.sleeps = True
            return True
        if self._era != era:
            self._era = era
            self._look(many=many)
        may, at = self._may_find, self.window.pushed - self._first
        if may is None or may[at]:
            return False
        if self.judged or self._baseless:
            self.sleeps = not any(may[at:])
            return True
        # Its silence means something from the row on at which it has seen enough.
        return not has_basis(self.rule, self.window)

    def _look(self, *, many: bool) -> None:
        """Ask at which of the rows from the newest one on it may find something."""
        window = self.window
        self._first, self._baseless = window.pushed, False
        frames = slice(window.newest, None)
        look = type(self.rule).may_find if many else Rule.may_find
        with window.at_hand():
            may = look(self.rule, window, frames)
            if many and not self.judged:
                self._baseless = bool(
                    self.rule.nothing_to_judge(window) or self.rule.not_seen(window)
                )
        self._may_find = None if may is None else may.tolist()

    def withdraw(self, found: Collection[int]) -> None:
        """Drop the provisional cases that were not found again, by index."""
        for index in reversed(range(len(self.cases))):
            if self.cases[index].provisional and index not in found:
                del self.cases[index]
                self.owner[self.owner == index] = NOBODY
                self.owner[self.owner > index] -= 1


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
        self._table = table
        self._explained: dict[tuple[int, int, int, int], bool] = {}
        self._shown = Shown()
        chosen = make_rules(rules)
        self._progress = Progress()
        self._history = History(table, _needed(chosen, dense=False))
        self._rows = History(table, _needed(chosen, dense=True), self._progress, self._history)
        self._tracks = [_Track(rule, self._window(rule), len(table.variables)) for rule in chosen]
        self._rhythms = {rule.every for rule in chosen}
        self._awake = self._tracks
        """Those that do not rest at all rows at hand."""
        self._era, self._many = 0, False
        self._errors: dict[str, RuleError] = {}
        self._opened = 0

    def _window(self, rule: Rule) -> Window:
        if rule.dense:
            return Window(self._rows, rule.needs, self._progress, self._history)
        return Window(self._history, rule.needs, self._progress)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that are applied."""
        return tuple(track.rule for track in self._tracks)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All flags so far, open and closed, worst first, in the words of the last frame."""
        return tuple(self._reported(self._faults(self._worded())))

    @property
    def outline(self) -> tuple[tuple[object, ...], ...]:
        """What changes of the flags from frame to frame, but for their words: cheap to compare."""
        return tuple(
            (
                case.opened,
                case.severity,
                case.open,
                case.paths,
                case.first_step,
                case.provisional,
            )
            for track in self._tracks
            for case in track.cases
        )

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Rules that failed, at most one entry each: they are switched off for the run."""
        return tuple(self._errors.values())

    @property
    def states(self) -> tuple[RuleState, ...]:
        """How far each rule has judged the run, in the order of the rule book."""
        return tuple(one.state for one in self._standings())

    @property
    def undecided(self) -> str:
        """Why too little was seen to call the run healthy, as one sentence; "" if it was enough."""
        seen, unreported = self._history.seen, self._history.unreported
        if unreported:
            return why_unreported(seen.steps, unreported)
        return why_undecided(self._standings(), seen.steps) if seen.frames else ""

    @property
    def fingerprint(self) -> str:
        """What the verdict depends on; see ``judging.fingerprint``."""
        return self._shown.fingerprint([track.rule for track in self._tracks])

    @property
    def judged(self) -> int:
        """How many rules have found nothing so far; ``states`` change when it rises."""
        return sum(track.judged for track in self._tracks)

    def _standings(self) -> list[Standing]:
        with np.errstate(all="ignore"):
            return [self._standing(track) for track in self._tracks]

    def _standing(self, track: _Track) -> Standing:
        rule = track.rule.id
        if rule in self._errors:
            return Standing(RuleState(rule, "failed", self._errors[rule].message))
        if track.cases:
            worst = max(track.cases, key=lambda case: case.severity)
            kind = "provisional " if worst.provisional else ""
            reason = f"{kind}{worst.severity.label} since step {worst.first_step}"
            return Standing(RuleState(rule, "flagged", reason))
        try:
            return standing(track.rule, track.window, track.judged)
        except Exception as error:
            return Standing(RuleState(rule, "failed", f"{type(error).__name__}: {error}"))

    def _reported(self, faults: Iterable[_Fault]) -> list[Flag]:
        with self._progress.up_to_date(self._table):
            loss = self._progress.learning.sentence()
        return ranked(fault.flag(loss) for fault in faults)

    def _worded(self) -> dict[int, _Case]:
        """Copies of the cases that are detected at the last frame, with the text for that frame.

        A case itself gets a new text only now and then, since that takes time, and never because
        somebody asks: what is detected next must not depend on it.
        """
        found: dict[int, _Case] = {}
        with self._progress.up_to_date(self._table), np.errstate(all="ignore"):
            for track in self._tracks:
                if track.rule.about_onset or track.rule.id in self._errors:
                    continue
                ill = [i for i, case in enumerate(track.cases) if case.open and not case.clean]
                if not ill or not len(track.window):
                    continue
                try:
                    detection = track.rule.detect(track.window)
                    groups = dict(self._grouped(detection, track)) if detection else {}
                    for index in set(ill) & set(groups):
                        case = track.cases[index]
                        finding = track.rule.explain(track.window, groups[index], case.first_step)
                        reading = self._reading(finding, case.paths)
                        found[case.opened] = dataclasses.replace(
                            case, finding=finding, reading=reading
                        )
                except Exception as error:
                    self._fails(track.rule, error)
        return found

    def _fails(self, rule: Rule, error: Exception) -> None:
        message = f"{type(error).__name__}: {error}"
        self._errors[rule.id] = RuleError(rule.id, self._history.last_step, message)

    def _faults(self, worded: Mapping[int, _Case] | None = None) -> list[_Fault]:
        """Each case that stands for itself, with those that follow from it.

        Args:
            worded: copies that stand in for some cases, by their number.
        """
        by_rule = {
            track.rule.id: [(worded or {}).get(case.opened, case) for case in track.cases]
            for track in self._tracks
            if track.cases
        }
        roots: dict[int, _Case] = {}
        outcomes: set[int] = set()

        def last(case: _Case) -> _Case:
            while roots[case.opened] is not case:
                case = roots[case.opened]
            return case

        def named(entries: Iterable[str]) -> Iterator[_Case]:
            for rule, _, kind in (entry.partition(":") for entry in entries):
                for one in by_rule.get(rule, ()):
                    if kind in ("", likeliest(one.finding.causes)):
                        yield one

        def reasons(case: _Case) -> Iterator[tuple[_Case, bool]]:
            """What may explain it, and whether it is what came of that."""
            loud, explains = min(case.severity, Severity.WARNING), self._explains
            for reason in named(case.follows):
                if reason.severity >= loud and reason.overlaps(case) and explains(reason, case):
                    yield reason, False
            for reason in named(case.comes_of):
                if reason.severity >= loud and reason.led_to(case) and explains(reason, case):
                    yield reason, True

        def root(case: _Case) -> _Case:
            if case.opened in roots:
                return last(case)
            roots[case.opened] = case  # where two rules follow each other, the first one leads
            for reason, came_of_it in reasons(case):
                # Only what does not lead back here: chains of symptoms must have an end.
                if (leading := last(root(reason))) is not case:
                    roots[case.opened] = leading
                    if came_of_it:
                        outcomes.add(case.opened)
                    return leading
            return case

        everyone = sorted(
            (case for cases in by_rule.values() for case in cases), key=lambda c: c.opened
        )
        found: dict[int, _Fault] = {}
        for case in everyone:
            leading = last(root(case))
            fault = found.setdefault(leading.opened, _Fault(leading))
            if leading is not case:
                fault.follow_ups.append(case)
                if case.opened in outcomes:
                    fault.outcomes.append(case)
        return list(found.values())

    def _explains(self, reason: _Case, case: _Case) -> bool:
        """Whether one can be why the other is there."""
        own = likeliest(case.finding.causes)
        at_first = is_local(own) and case.first_step <= (self._history.first_step or 0)
        if not is_local(likeliest(reason.finding.causes), at_first=at_first):
            return not is_built_in(own)
        paths = self._history.paths
        if not reason.paths or not case.paths or not paths.known:
            return True
        key = (reason.opened, len(reason.paths), case.opened, len(case.paths))
        if key not in self._explained:
            mine, others = self._rows_of(reason), self._rows_of(case)
            self._explained[key] = not mine or bool(paths.around(mine)[others].all())
        return self._explained[key]

    def _rows_of(self, case: _Case) -> list[int]:
        """The rows of its variables, as far as the run still has them."""
        row = {path: i for i, path in enumerate(self._table.paths)}
        return [row[path] for path in case.paths if path in row]

    def set_table(self, table: VariableTable) -> None:
        """From the next frame on the rows are those of another variable table."""
        if table is self._table:
            return
        before = self._judged_paths()
        self._table = table
        self._explained = {}
        self._history.set_table(table)
        self._rows.set_table(table, self._history)
        fresh = not self._judged_paths() <= before
        row = {path: i for i, path in enumerate(table.paths)}
        for track in self._tracks:
            track.judged = track.judged and not fresh
            track.idle = None
            track.owner = np.full(len(table.variables), NOBODY, np.int64)
            for index, case in enumerate(track.cases):
                rows = [row[path] for path in case.paths if path in row]
                track.owner[rows] = index
                if case.paths and not rows:
                    case.open = False

    def _judged_paths(self) -> set[str]:
        """The variables that rules judge."""
        judged = self._history.rows.judged
        return {path for path, one in zip(self._table.paths, judged, strict=True) if one}

    def update(self, frame: Frame) -> list[Flag]:
        """Judge the next frame.

        Returns:
            The flags that it opened, and those that became worse by it, themselves or by what
            follows from them.

        Raises:
            ValueError: the frame does not fit the variable table.
        """
        (flags,) = self.update_each([frame])
        return flags

    def update_each(self, frames: Iterable[Frame]) -> Iterator[list[Flag]]:
        """Judge the next frames; many together take a fraction of the time.

        Yields:
            What ``update`` returns for each. Meanwhile the engine is in the state of that frame.

        Raises:
            ValueError: a frame does not fit the variable table.
        """
        for news in self._judge(frames):
            yield self._reported_news(news) if news else []

    def _reported_news(self, news: Collection[_Case]) -> list[Flag]:
        new = {case.opened for case in news}
        return self._reported(
            fault
            for fault in self._faults(self._worded())
            if fault.leading.opened in new or fault.severity() > fault.severity(without=new)
            if not fault.leading.provisional
        )

    def advance(self, frames: Iterable[Frame]) -> None:
        """The same for who reads the flags later: their text takes time."""
        for _ in self._judge(frames):
            pass

    def _judge(self, frames: Iterable[Frame]) -> Iterator[list[_Case]]:
        """Judge the next frames; for each of them the cases that opened or became worse."""
        for block in self._blocks(frames):
            rows = []
            last = self._rows.last_step
            for frame in block:
                rows.append(list(between.rows(frame, self._table, last)))
                last = frame.step
            self._history.extend(block)
            self._rows.extend([row for of_frame in rows for row in of_frame])
            self._wake(many=len(block) >= FEW and self._has_started)
            for frame, of_frame in zip(block, rows, strict=True):
                # Faulty values reach the limits of float32, and 0 / 0 is "not known".
                with np.errstate(all="ignore"):
                    news = self._advance(frame.step, [row.step for row in of_frame])
                self._shown.add(self._table, frame)
                if not self._many and len(block) >= FEW and self._has_started:
                    self._wake(many=True)
                yield news

    @property
    def _has_started(self) -> bool:
        """Whether what is known of the start of the run is final."""
        return self._history.has_started and self._rows.has_started

    def _wake(self, *, many: bool) -> None:
        """Ask all rules again whether they rest.

        Args:
            many: many rows are at hand, and what is known of the start of the run is final.
        """
        self._era += 1
        self._many = many
        self._awake = self._tracks
        for track in self._tracks:
            track.sleeps = False

    def _blocks(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Frames that may be taken in together: their steps rise."""
        numbers = len(self._table.variables) * len(self._table.statistics)
        most = max(1, min(BLOCK, BLOCK_NUMBERS // max(numbers, 1)))
        block: list[Frame] = []
        for frame in frames:
            if block and (len(block) == most or frame.step <= block[-1].step):
                yield block
                block = []
            block.append(frame)
        if block:
            yield block

    def _advance(self, step: int, rows: Sequence[int]) -> list[_Case]:
        """Judge the next frame; the cases that opened or became worse.

        Args:
            step: its step,
            rows: and those of its rows.
        """
        news: list[_Case] = []
        waits = len(self._history) > 0  # between frames, rules see the ones before
        if not waits:
            self._history.advance()
        for row in rows:
            everyone = row == step
            if waits and everyone:
                self._history.advance()
            # Between frames, rules that see frames only are asked if the loss tells something new.
            before = None if everyone or not self._some_wait() else self._progress.learning.kind
            self._rows.advance()
            if before is not None:
                everyone = self._progress.learning.kind != before
            due = [every for every in self._rhythms if self._rows.due(every)]
            for track in self._awake:
                if track.rule.every in due and (everyone or track.rule.dense):
                    news += self._ask(track)
        self._relent()
        self._awake = [track for track in self._awake if not track.sleeps]
        return news

    def _some_wait(self) -> bool:
        """Whether a rule that sees frames only may find something at the newest one."""
        return any(not track.rule.dense and not self._rests(track) for track in self._awake)

    def _rests(self, track: _Track) -> bool:
        if track.rule.id in self._errors:
            return True
        try:
            return track.rests(self._era, many=self._many)
        except Exception as error:
            self._fails(track.rule, error)
            return True

    def _ask(self, track: _Track) -> list[_Case]:
        """One rule on the newest row; the cases that it opened or made worse."""
        if not track.cases and self._rests(track):
            return []
        if track.rule.id in self._errors:
            return []
        try:
            return self._apply(track)
        except Exception as error:
            self._fails(track.rule, error)
            return []

    def _relent(self) -> None:
        """If the run clearly learns, suspicions were wrong, open or closed."""
        suspected = [
            case
            for track in self._awake
            if track.cases and track.rule.provisional and self._rows.due(track.rule.every)
            for case in track.cases
            if case.severity > Severity.INFO and case.last_step < self._history.last_step
        ]
        if suspected and self._progress.learning.succeeds:
            for case in suspected:
                case.recent.clear()
                case.severity = Severity.INFO

    def _apply(self, track: _Track) -> list[_Case]:
        """One rule on the newest frame; the cases that it opened or that became worse."""
        detection = track.rule.detect(track.window)
        if detection is None:
            return []
        if not track.judged and not detection.provisional:
            track.judged = has_basis(track.rule, track.window)
        if detection is HEALTHY and not track.cases:
            return []
        alive: set[int] = set()
        news: list[_Case] = []
        for index, rows in self._grouped(detection, track):
            if index == NOBODY:
                index = len(track.cases)
                news.append(self._open(track, rows, detection))
            elif self._carry_on(track, index, rows, detection):
                news.append(track.cases[index])
            alive.add(index)
        for index, case in enumerate(track.cases):
            if case.open and index not in alive:
                case.clean += 1
                case.open = case.clean < CLEAN_FRAMES
        track.withdraw(alive)
        return news

    def _grouped(self, detection: Detection, track: _Track) -> list[tuple[int, IntArray]]:
        """Faulty rows by the case they belong to: its index and rows, NOBODY for new cases."""
        faulty = np.flatnonzero(detection.faulty)
        if detection.together or not faulty.size:
            if not faulty.size and not detection.whole_run:
                return []
            return [(0 if track.cases else NOBODY, faulty)]
        owner = track.owner[faulty]
        free = faulty[owner == NOBODY]
        groups = {int(i): faulty[owner == i] for i in np.unique(owner) if i != NOBODY}
        if not free.size:
            return list(groups.items())
        fresh: list[tuple[int, IntArray]] = []
        near = max(NEAR_STEPS, 2 * int(track.window.spans.max()))
        free = free[np.argsort(detection.since[free], kind="stable")]
        while free.size:
            since = int(detection.since[free[0]])
            member = detection.since[free] <= since + near
            rows, free = np.sort(free[member]), free[~member]
            homes = [
                i
                for i, case in enumerate(track.cases)
                if case.open and abs(case.first_step - since) <= near
            ]
            for part, kind in self._apart(track, rows, detection):
                home = next((i for i in homes if self._is_of(track.cases[i], part, kind)), NOBODY)
                if home == NOBODY:
                    fresh.append((NOBODY, part))
                else:
                    groups[home] = np.sort(np.append(groups.get(home, faulty[:0]), part))
        return [*groups.items(), *fresh]

    def _apart(
        self, track: _Track, rows: IntArray, detection: Detection
    ) -> list[tuple[IntArray, str]]:
        """Unhealthy rows of one onset by what may be one fault, and its cause where it is local.

        Where no path connects them, they are one fault only if they have one cause.
        """
        paths = self._history.paths
        parts = paths.parts(rows)
        if not paths.known or (len(parts) == 1 and not track.cases):
            return [(rows, "")]
        found: dict[str, list[IntArray]] = {}
        for part in parts:
            since = int(detection.since[part].min())
            kind = likeliest(track.rule.explain(track.window, part, since).causes)
            found.setdefault(kind if is_local(kind) else "", []).append(part)
        return [(np.sort(np.concatenate(some)), kind) for kind, some in found.items()]

    def _is_of(self, case: _Case, rows: IntArray, kind: str) -> bool:
        """Whether rows that have fallen ill may belong to a case that is there."""
        known = likeliest(case.finding.causes)
        if kind == known or not (is_local(kind) or is_local(known)):
            return True
        return bool(self._history.paths.around(self._rows_of(case))[rows].any())

    def _open(self, track: _Track, rows: IntArray, detection: Detection) -> _Case:
        window = track.window
        member = slice(None) if detection.whole_run else rows
        since = int(detection.since[member].min())
        severity = Severity(int(detection.severity[member].max()))
        finding = track.rule.explain(window, rows, since)
        paths = tuple(self._table.paths[row] for row in rows)
        reading = self._reading(finding, paths)
        self._opened += 1
        case = _Case(
            track.rule,
            paths,
            since,
            window.step,
            severity,
            finding,
            reading,
            self._opened,
            window.learning.state,
            int(window.spans.max()),
            detection.provisional,
        )
        case.judge(severity)
        track.owner[rows] = len(track.cases)
        track.cases.append(case)
        return case

    def _carry_on(self, track: _Track, index: int, rows: IntArray, detection: Detection) -> bool:
        """Update a case by one frame; whether it became worse."""
        window = track.window
        case = track.cases[index]
        member = slice(None) if detection.whole_run else rows
        before = case.severity
        confirmed = case.provisional and not detection.provisional
        case.provisional = case.provisional and detection.provisional
        case.judge(Severity(int(detection.severity[member].max())))
        case.last_step = window.step
        case.open, case.clean, case.frames = True, 0, case.frames + 1
        joined = rows[track.owner[rows] == NOBODY]
        track.owner[joined] = index
        due = case.frames % EXPLAIN_EVERY == 0 or case.frames & (case.frames - 1) == 0
        if joined.size:
            case.first_step = min(case.first_step, int(detection.since[joined].min()))
            gone = [path for path in case.paths if path not in self._table.paths]
            now = np.flatnonzero(track.owner == index)
            case.paths = (*(self._table.paths[row] for row in now), *gone)
        due = due or case.severity != before or case.learning != window.learning.state
        if (joined.size or due) and not track.rule.about_onset:
            case.learning = window.learning.state
            case.finding = track.rule.explain(window, rows, case.first_step)
            case.reading = self._reading(case.finding, case.paths)
        return confirmed or case.severity > before

    def _reading(self, finding: Finding, paths: tuple[str, ...]) -> tuple[str, ...]:
        """The variables of a flag in the order in which its rule wants them read."""
        if finding.rows is None:
            return paths
        return tuple(self._table.paths[row] for row in finding.rows)


def _needed(rules: Iterable[Rule], *, dense: bool) -> set[str]:
    """The statistics that rules look at: of the rows between frames, or of frames."""
    return {
        name
        for rule in rules
        for name in rule.needs
        if dense == (rule.dense and name in between.KNOWN)
    }


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the rules say of a recorded run.

    Attributes:
        flags: worst first.
        errors: rules that failed.
        rules: how far each rule has judged the run.
        undecided: why too little was seen to call it healthy; "" if it was enough.
    """

    flags: tuple[Flag, ...] = ()
    errors: tuple[RuleError, ...] = ()
    rules: tuple[RuleState, ...] = ()
    undecided: str = ""


def replay(
    recordings: Sequence[Recording], rules: RuleSettings | Iterable[Rule] | None = None
) -> Iterator[tuple[Engine, int, Sequence[Flag]]]:
    """Judge a recorded run frame by frame, as it was while it trained.

    Yields:
        The engine, the frame's step, and what ``Engine.update`` gave for it.

    Raises:
        ValueError: unknown rules or thresholds; the message names the known ones.
    """
    for engine, recording in _each_recording(recordings, rules):
        flags = engine.update_each(recording.each_frame())
        for step, of_frame in zip(recording.steps.tolist(), flags, strict=True):
            yield engine, step, of_frame


def judge(
    recordings: Sequence[Recording], rules: RuleSettings | Iterable[Rule] | None = None
) -> Verdict:
    """Judge a recorded run: the recordings of its variable tables, in order.

    Raises:
        ValueError: unknown rules or thresholds; the message names the known ones.
    """
    engine: Engine | None = None
    for judging, recording in _each_recording(recordings, rules):
        judging.advance(recording.each_frame())
        engine = judging if len(recording) else engine
    if engine is None:
        make_rules(rules)  # wrong settings are an error, data or not
        return Verdict()
    return Verdict(engine.flags, engine.errors, engine.states, engine.undecided)


def _each_recording(
    recordings: Sequence[Recording], rules: RuleSettings | Iterable[Rule] | None
) -> Iterator[tuple[Engine, Recording]]:
    """The recordings that have frames, in order, each with the engine that is to judge it."""
    engine: Engine | None = None
    for recording in recordings:
        if engine is None:
            engine = Engine(recording.table, rules)
        else:
            engine.set_table(recording.table)
        yield engine, recording
