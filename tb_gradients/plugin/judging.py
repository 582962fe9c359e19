"""The verdict on a run that may still be growing, without judging any frame twice.

In:  ``RunData``, each time it was read.
Out: ``Judgement``: the writer's verdict if that covers the run, else the rules' own.
Does not know about HTTP or about where runs come from.

Judging takes milliseconds per frame. A tab that reloads every 30 seconds would spend
them on every frame of the run again; the engine takes frames one by one, so it is kept.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tb_gradients.flags import Flag, RuleState, ranked
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.reading.report import Problem
from tb_gradients.reading.source import ReadError, RunData, StoredVerdict

if TYPE_CHECKING:
    from tb_gradients.judging import Engine


_log = logging.getLogger(__name__)

TOGETHER = 16
"""Frames that are judged between two looks at the clock."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Flags, and whether they were judged while training or from what was read here.

    ``rules`` and ``undecided`` are as in ``RunReport``.
    """

    flags: tuple[Flag, ...]
    problems: tuple[Problem, ...]
    live: bool
    rules: tuple[RuleState, ...] = ()
    undecided: str = ""


class RunJudge:
    """Judges the states of one run, one after the other. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._table: VariableTable | None = None
        self._seen = np.zeros((0, 3))

    def judgement(self, data: RunData, deadline: float = math.inf) -> Judgement | None:
        """The verdict on a run; ``None`` if the deadline came first.

        What was judged until then is not lost: the next call goes on from there.

        Raises:
            ReadError: the rules cannot reckon with what was read.
        """
        stored = data.covering_verdict()
        if stored is not None and not _outdated(stored, data):
            problems = tuple(map(Problem.of, stored.errors))
            return Judgement(stored.flags, problems, True, stored.rules, stored.undecided)
        with self._lock:
            try:
                complete = self._judge_what_is_new(data, deadline)
            except Exception as error:
                _log.exception("run %r cannot be judged", data.run)
                raise ReadError(
                    f"The rules cannot judge run {data.run!r} ({type(error).__name__}: {error})."
                ) from error
            if not complete:
                return None
            engine, left_out = self._engine, tuple(map(Problem.of, data.left_out))
            if engine is None:
                return Judgement((), left_out, live=False)
            from tb_gradients.judging.origins import with_origins
            from tb_gradients.judging.registry import of_rules_elsewhere

            problems = (*map(Problem.of, engine.errors), *left_out)
            flags = with_origins(engine.flags, data.stored_flags)
            elsewhere = of_rules_elsewhere(data.stored_flags, ())
            flags = tuple(ranked([*flags, *elsewhere])) if elsewhere else flags
            return Judgement(flags, problems, False, engine.states, engine.undecided)

    def _judge_what_is_new(self, data: RunData, deadline: float) -> bool:
        from tb_gradients.judging import Engine

        blocks = [recording.lane_ends for recording in data.recordings]
        lane = np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
        dates = np.stack([data.steps, data.wall_times, lane], axis=1)
        if not np.array_equal(dates[: len(self._seen)], self._seen):
            # Training went back, other frames were sampled, or frames were judged before their
            # part of the lane was written: judged from the start.
            self._engine, self._table, self._seen = None, None, self._seen[:0]
        new = itertools.islice(data.each_frame(), len(self._seen), None)
        for table, frames in _together(new):
            if self.clock() >= deadline:
                return False
            if self._engine is None:
                self._engine = Engine(table)
            elif self._table is not None and table.table_id != self._table.table_id:
                # By id: a table that was merely read again is no change of variables.
                self._engine.set_table(table)
            self._table = table
            self._engine.advance(frames)
            self._seen = dates[: len(self._seen) + len(frames)]
        return True


def _together(
    frames: Iterable[tuple[VariableTable, Frame]],
) -> Iterator[tuple[VariableTable, list[Frame]]]:
    """Some frames of one table at a time: judging them together is cheap."""
    for _, run in itertools.groupby(frames, lambda one: one[0].table_id):
        while some := list(itertools.islice(run, TOGETHER)):
            yield some[0][0], [frame for _, frame in some]


def _outdated(stored: StoredVerdict, data: RunData) -> bool:
    """Whether there are frames since, and it matters how many steps there are.

    (The writer stores a verdict when it changes; "too early to tell" says how many were seen.)
    """
    return bool(stored.undecided) and bool((data.steps > stored.last_step).any())
