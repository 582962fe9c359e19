"""What a rule is: a name, what it needs, and two pure functions on the last frames of a run.

In:  a ``Window``: the last frames of a run, as arrays.
Out: a ``Detection`` (which variables, since when, how bad) and, only when a flag opens
     or changes, a ``Finding`` (one sentence, the numbers that decided, causes, fixes).
Does not know about files, TensorFlow, TensorBoard, or how flags open and close.

Why two functions: ``detect`` runs on every frame and must be a few vector operations;
sentences are only worth their time when somebody will read them. It also lets the engine
group variables by onset, which a rule that keeps no state cannot know of.
"""

from __future__ import annotations

import abc
import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast, overload

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Window
from tb_gradients.judging.words import how_to_give, in_fit
from tb_gradients.snippets import snippets

T = TypeVar("T", int, float)


class Threshold(Generic[T]):
    """A named number of a rule, with the reason for its value; settable per instance.

    >>> class Sleepy(Rule):
    ...     quiet_steps = Threshold(20, "one epoch of the smallest data set we tried")

    ``rule.quiet_steps`` is the number, ``Sleepy.quiet_steps`` this declaration.
    """

    def __init__(self, default: T, reason: str) -> None:
        self.default: T = default
        self.reason = reason
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Threshold[T]: ...
    @overload
    def __get__(self, instance: Rule, owner: type) -> T: ...
    def __get__(self, instance: Rule | None, owner: type) -> T | Threshold[T]:
        if instance is None:
            return self
        return cast(T, instance.settings.get(self.name, self.default))

    def check(self, value: object) -> T:
        """``value`` as a setting of this threshold.

        Raises:
            ValueError: not a number of the right kind.
        """
        whole = isinstance(self.default, int)
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{self.name} must be {kind}, not {value!r}")
        if not math.isfinite(value) or (whole and value != int(value)):
            raise ValueError(f"{self.name} must be {kind}, not {value!r}")
        return type(self.default)(value)


Count = Threshold[int] | int


@dataclasses.dataclass(frozen=True)
class Basis:
    """What a rule must have seen before its silence means that there is nothing.

    >>> class Sleepy(Rule):
    ...     steps = Threshold(20, "one epoch of the smallest data set we tried")
    ...     basis = Basis(steps=steps)

    Attributes:
        sees: columns without which it can flag nothing; ``None``: all of ``needs``. A statistic
            counts as seen once it was measured of one variable.
        steps: so many steps of the run,
        updates: of which so many changed weights,
        frames: and which so many frames stand for.
        loss_steps: where the loss is seen, it was seen at so many steps, and can be judged.
    """

    sees: tuple[str, ...] | None = None
    steps: Count = 1
    updates: Count = 0
    frames: Count = 1
    loss_steps: Count = 0


@dataclasses.dataclass(frozen=True)
class Needed:
    """The numbers of a ``Basis`` for one run."""

    steps: int
    updates: int
    frames: int
    loss_steps: int


@dataclasses.dataclass(frozen=True)
class Detection:
    """Which variables are affected at this frame.

    Attributes:
        faulty: bool [variables]; for a finding about the run as a whole, an empty array.
        onset: gives ``since``; asked only where a flag opens, as a faulty run stays so for long.
        severity: int [variables]; a flag is as bad as the worst of its variables.
        together: all variables have one fault, whatever their onsets (a NaN that spreads).
        whole_run: the finding is about the run, no variable is named; ``since`` and
            ``severity`` then hold one element.
        provisional: it was so at every step so far, which are fewer than the rule waits for. Such a
            flag is `info`; it becomes an ordinary one, or is withdrawn, once the rule is sure.
    """

    faulty: BoolArray
    onset: Callable[[], IntArray | int]
    severity: IntArray
    together: bool = False
    whole_run: bool = False
    provisional: bool = False

    @functools.cached_property
    def since(self) -> IntArray:
        """int64 [variables], the step from which it has been so, as far as the window reaches
        back; the engine remembers what lies before."""
        since = np.asarray(self.onset(), np.int64)
        return since if self.whole_run else np.broadcast_to(since, self.faulty.shape)

    @classmethod
    def of(
        cls,
        faulty: BoolArray,
        since: IntArray | int | Callable[[], IntArray | int],
        severity: Severity | IntArray,
        *,
        together: bool = False,
    ) -> Detection:
        """A detection from arrays, or from one onset or severity for all variables.

        Args:
            faulty: bool [variables].
            since: the onset, or a function that gives it, where it takes time to find.
            severity: one, or int [variables].
            together: all variables have one fault.
        """
        if not faulty.any():
            return HEALTHY
        return cls(
            faulty,
            since if callable(since) else lambda: since,
            severity.astype(np.int64)
            if isinstance(severity, np.ndarray)
            else np.full(faulty.shape, int(severity)),
            together,
        )

    @classmethod
    def of_run(cls, since: int, severity: Severity) -> Detection:
        """A detection that concerns the run as a whole."""
        onset = np.array([since])
        return cls(np.zeros(0, bool), lambda: onset, np.array([int(severity)]), True, True)


HEALTHY = Detection(np.zeros(0, bool), lambda: 0, np.zeros(0, np.int64))
"""No variable is affected."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What to say about a detection: plain data, the text of a flag.

    ``rows`` may name fewer variables than were detected, in the order in which they
    should be read (the first one first); ``None`` keeps all, in network order.
    ``follows`` and ``comes_of`` replace the rule's own for this flag.

    ``summary`` is in the past tense: it is read while the finding lasts and long after it. How
    the loss moves goes on changing, so it is not part of it: ``with_loss`` lets the engine
    add that, as it is at the last frame.
    """

    summary: str
    evidence: tuple[Evidence, ...] = ()
    causes: tuple[Cause, ...] = ()
    fixes: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None
    follows: tuple[str, ...] | None = None
    comes_of: tuple[str, ...] | None = None
    with_loss: bool = False

    def sentence(self, loss: str) -> str:
        """The summary; ``loss``: how the loss has moved, in words."""
        return f"{self.summary.removesuffix('.')}; {loss}." if self.with_loss else self.summary


class Rule(abc.ABC):
    """One problem: how to recognise it, and what to say about it.

    A rule sees only the columns in ``needs``, keeps no state, imports no framework,
    never prints. Its class docstring is its page in the manual (see ``Page``). What it
    raises becomes an entry in the report, and the other rules go on.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    severity: ClassVar[Severity]
    """The highest severity of its flags."""
    needs: ClassVar[tuple[str, ...]]
    """Statistics and context columns it looks at."""
    follows: ClassVar[tuple[str, ...]] = ()
    """Rules whose finding explains this one: while one of them holds, this is its symptom.
    ``"bad_data:input_outliers"``: where that is its likeliest cause."""
    comes_of: ClassVar[tuple[str, ...]] = ()
    """Rules whose finding may end in this one, as an explosion ends in NaN: where one of them
    began no later, and was there until then, this is what came of it, and may outlast it."""
    provisional: ClassVar[bool] = False
    """A suspicion that stands as long as the run does not learn; if it does, it was `info`."""
    table_decides: ClassVar[bool] = False
    """Whether ``nothing_to_judge`` follows from the variable table alone, and rules every finding
    out. Where it says something then, the rule is not asked as long as the table holds."""
    signs: ClassVar[tuple[str, ...]] = ()
    """Counts, shares or ages, one of which shows its fault at the last frame wherever it finds one:
    above zero, or an age that is not -1. Else it need not be asked; none: it always is."""
    every: ClassVar[int] = 1
    """Once the window is full it is asked at one frame in so many; what speaks of medians over
    the window does not change from frame to frame."""
    dense: ClassVar[bool] = False
    """It is asked between frames, too, on rows that the dense lane gives (``between``): what it
    finds does not depend on which steps are frames. For rules that decide by its columns."""
    about_onset: ClassVar[bool] = False
    """The text describes how the problem began, and is not rewritten later."""
    basis: ClassVar[Basis] = Basis()
    """What its silence rests on: until then the report says that it has not judged the run."""
    picture: ClassVar[Picture] = Picture()
    """What the tab shows with a finding."""
    healthy: ClassVar[tuple[Healthy, ...]] = ()
    """Values that it calls healthy, so that whoever shows a number can say what is usual."""
    unjudged: ClassVar[str] = "no frame of this run could be judged"
    """The reason where all of that was seen, and ``detect`` could not decide at any frame."""

    def __init__(self, settings: Mapping[str, object] | None = None) -> None:
        """A rule, with some of its thresholds set otherwise.

        Raises:
            ValueError: an unknown threshold, or a value of the wrong kind; names the known ones.
        """
        known = type(self).thresholds()
        self.settings: dict[str, int | float] = {}
        for name, value in (settings or {}).items():
            if name not in known:
                raise ValueError(
                    f"rule {self.id!r} has no threshold {name!r}; {known_names(name, list(known))}"
                )
            try:
                self.settings[name] = known[name].check(value)
            except ValueError as error:
                raise ValueError(f"rule {self.id!r}: {error}") from None
        # As plain attributes: rules ask for them at every frame.
        vars(self).update({name: getattr(self, name) for name in known})

    @abc.abstractmethod
    def detect(self, window: Window) -> Detection | None:
        """Find the affected variables at the last frame of the window.

        Returns:
            ``HEALTHY`` if no variable is affected, which closes a flag after some frames; ``None``
            if this frame cannot be judged, which changes nothing.
        """

    @abc.abstractmethod
    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        """What to say about the variables ``rows``, affected since step ``since``."""

    def may_find(self, window: Window, frames: slice) -> BoolArray | None:
        """At which of many frames ``detect`` may find something; it need not be asked at others.

        Where frames are there already, this costs about as much for all of them as ``detect`` does
        for one. It may be true too often, but not too seldom: ``detect`` would find nothing at a
        frame at which it is false, whether the run learns or not.

        Args:
            window: longer than that of ``detect``. It ends with the last frame that is at hand.
                What is known of the run only by then must not be asked of it: whether it learns,
                and ``largest`` (``largest_by_then`` gives that of each frame).
            frames: those of them that it is asked about.

        Returns:
            bool [frames]; ``None``: it is asked at every frame.
        """
        return window.shows(self.signs)[frames] if self.signs else None

    def nothing_to_judge(self, window: Window) -> str:
        """Why the run cannot have the fault ("the optimizer does not clip"); "" if it can.

        It follows from the table, from what ``was_seen``, and from whether something is so at any
        frame of the window: a longer window gives no more reasons.
        """
        return ""

    def not_seen(self, window: Window) -> str:
        """What is not measured although the rule needs it, and how to give it; "" if all is.

        It follows from the table and from what ``was_seen``.
        """
        sees = self.needs if self.basis.sees is None else self.basis.sees
        return how_to_give(
            (name for name in sees if not window.was_seen(name)), in_fit(window.table)
        )

    def needed(self, window: Window) -> Needed:
        """How much it must have seen, in this run."""

        return self._needed

    @functools.cached_property
    def _needed(self) -> Needed:
        def number(of: str) -> int:
            count: Count = vars(self.basis)[of]
            if isinstance(count, Threshold):
                return int(self.settings.get(count.name, count.default))
            return count

        return Needed(*(number(field.name) for field in dataclasses.fields(Needed)))

    @classmethod
    def thresholds(cls) -> dict[str, Threshold[Any]]:
        """The rule's named numbers, in the order of declaration."""
        return {
            name: item
            for base in reversed(cls.__mro__)
            for name, item in vars(base).items()
            if isinstance(item, Threshold)
        }

    @classmethod
    def page(cls) -> Page:
        """The rule's page in the manual."""
        return Page.of(cls)


_HEADINGS = {
    "Why it matters": "why",
    "Definition": "definition",
    "Try": "fixes",
    "Silent when": "silent_when",
}


@dataclasses.dataclass(frozen=True)
class Page:
    """A rule's docstring, taken apart: one declaration for the manual, the CLI and the tab.

    The docstring opens with a paragraph that says what the flag says, followed by
    paragraphs that begin with the headings ``Why it matters:``, ``Definition:``,
    ``Try:`` (a list of ``* `` items) and ``Silent when:``.
    """

    id: str
    title: str
    severity: Severity
    summary: str
    why: str
    definition: str
    fixes: tuple[str, ...]
    silent_when: str
    thresholds: tuple[tuple[str, float, str], ...]
    picture: Picture

    @classmethod
    def of(cls, rule: type[Rule]) -> Page:
        """Parse the docstring of a rule.

        Raises:
            ValueError: a section is missing.
        """
        sections = dict(_sections(inspect.cleandoc(rule.__doc__ or "")))
        missing = [heading for heading, key in _HEADINGS.items() if not sections.get(key)]
        if missing:
            raise ValueError(f"docstring of rule {rule.id!r} lacks {', '.join(missing)}")
        return cls(
            id=rule.id,
            title=rule.title,
            severity=rule.severity,
            summary=" ".join(sections["summary"].split()),
            why=" ".join(sections["why"].split()),
            definition=" ".join(sections["definition"].split()),
            fixes=tuple(
                " ".join(item.split())
                for item in f"\n{sections['fixes']}".split("\n* ")
                if item.strip()
            ),
            silent_when=" ".join(sections["silent_when"].split()),
            thresholds=tuple(
                (name, item.default, item.reason) for name, item in rule.thresholds().items()
            ),
            picture=rule.picture,
        )

    def to_json(self) -> dict[str, Any]:
        """The page as the HTTP route ``rules`` answers it."""
        return {
            "id": self.id,
            "title": self.title,
            "severity": self.severity.label,
            "summary": self.summary,
            "why": self.why,
            "definition": self.definition,
            "fixes": list(self.fixes),
            "snippets": [snippets(fix) for fix in self.fixes],
            "silent_when": self.silent_when,
            "thresholds": [
                {"name": name, "value": value, "reason": reason}
                for name, value, reason in self.thresholds
            ],
            "picture": self.picture.to_json(),
        }


def known_names(given: str, known: Sequence[str]) -> str:
    """What to write instead of an unknown name: one that looks like it, and all of them."""
    near = difflib.get_close_matches(str(given), known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}known: {', '.join(known)}"


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """(key, text) of each section of a docstring, the opening paragraph as "summary"."""
    key, lines = "summary", list[str]()
    for line in text.splitlines():
        heading, colon, rest = line.partition(":")
        if colon and heading in _HEADINGS:
            yield key, "\n".join(lines)
            key, lines = _HEADINGS[heading], [rest.strip()]
        else:
            lines.append(line)
    yield key, "\n".join(lines)
