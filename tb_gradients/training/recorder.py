"""Complete each frame with what only the host knows, on its way to the journal.

In:  what the probes have left of a frame; losses and batches that the loop has passed.
Out: complete frames with their dense lane, judged and written by the journal.
Does not know when a frame is taken.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tb_gradients import schema
from tb_gradients.frames import Frame
from tb_gradients.host.backlog import Backlog
from tb_gradients.host.journal import Journal
from tb_gradients.host.making import Drained
from tb_gradients.host.parts import Parts
from tb_gradients.lane import Lane
from tb_gradients.training.guard import Guard
from tb_gradients.training.probe.probes import Coming
from tb_gradients.training.recent import (
    KEPT_LOSSES,
    RecentBatches,
    RecentLosses,
    RecentNamedLosses,
)
from tb_gradients.training.step_count import StepCount
from tb_gradients.training.watched import Watched

GIVEN_BATCH = "the batch that was given to step()"
NAMED_LOSSES = "losses with names that were given to step()"
"""What is left out if it fails."""


class Recorder:
    """The frames of one run, from the probes to the journal.

    Args:
        watched: what is watched.
        journal: judges the frames, and writes them.
        parts, guard: of the monitor.
        steps: of the training.
        backlog: all that reads or changes the journal.
        begin_file: first step -> the context in which the journal begins a file.

    Attributes:
        losses, named_losses, batches: that the loop has passed.
        unreported: updates that the loop has not reported, at the end of the training.
    """

    def __init__(
        self,
        watched: Watched,
        journal: Journal,
        *,
        parts: Parts,
        guard: Guard,
        steps: StepCount,
        backlog: Backlog,
        begin_file: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        self.losses, self.named_losses = RecentLosses(), RecentNamedLosses()
        self._waiting: dict[str, deque[tuple[int, float]]] = {}
        self.batches = RecentBatches(watched.model, parts)
        self.unreported = 0
        self._watched, self._journal = watched, journal
        self._parts, self._guard = parts, guard
        self._steps, self._backlog = steps, backlog
        self._begin_file = begin_file

    def add(self, coming: Iterable[Coming]) -> None:
        """Make, judge and write frames; they may wait for it, and the training goes on."""
        losses, named = self.losses.take(), self.named_losses.take()
        now, wait = time.time(), not self._may_wait()
        for frame in coming:
            job = functools.partial(self._guard.run, self._judge, frame.make, losses, named, now)
            self._backlog.add(job, wait=wait)
            losses, named = [], {}
        self.batches.clear()

    def _may_wait(self) -> bool:
        """Whether the training may go on before its newest frames are judged."""
        probes = self._watched.probes
        assert probes is not None
        # Not if more of this step must be read: its batch, or variables of other optimizers.
        complete = not self.batches and probes.rows_seen() == len(self._watched.variables)
        return self._journal.open and complete and not self._journal.awaited

    def _judge(
        self,
        make: Callable[[], Drained],
        losses: Sequence[Any],
        named: Mapping[str, Sequence[Any]],
        now: float,
    ) -> None:
        """Make, judge and write the next frame.

        Args:
            losses: steps and losses that ``step`` was given since the frame before.
            named: the same of each named loss.
            now: when it was taken.
        """
        with self._backlog.lock:
            number, values, context, histograms = make()
            run = self._parts.run
            known = (
                run("the loss that was given to step()", self.losses.fill, number, context, losses)
                or []
            )
            run("the weights that no update was seen of", self._watched.weights.fill_others, values)
            known_named = run(NAMED_LOSSES, self.named_losses.until, number, named) or {}
            lane = run("the dense lane", self._lane, known, known_named, number)
            self._write(number, values, context, histograms, now, lane)

    def add_unchanged_weights(self) -> None:
        """Without any update so far: write frames about weights that have not changed either.

        (If weights do change, a function that was traced earlier makes the updates.)
        """
        table, following = self._watched.table, self._steps.next
        assert table is not None
        found = self._watched.weights.unchanged(following)
        if found is None:
            return
        steps, norms = found
        values = np.full((len(norms), len(schema.statistic_names())), np.nan, np.float32)
        values[:, schema.statistic_names().index("weight_norm")] = norms
        known = {"table_id": table.table_id, "window_steps": steps}
        known.update(applied_steps=0, skipped_steps=0)
        context = np.array([known.get(n, np.nan) for n in schema.context_names()], np.float32)
        self.losses.fill(following - 1, context, self.losses.take())
        self._write(following - 1, values, context, None, time.time())

    def add_last_rows(self) -> None:
        """Write a frame of what the rows since the last one say; no step follows that could be it.

        The loop has not reported these steps, or a gradient in one of them is not finite.
        """
        probes = self._watched.probes
        assert probes is not None
        self._backlog.run()
        rest = probes.rest()
        if rest is not None:
            number, values, context, _ = rest
            known = self.losses.fill(number, context, self.losses.take())
            named = self.named_losses.until(number, self.named_losses.take())
            lane = self._lane(known, named, number)
            self._write(number, values, context, None, time.time(), lane)

    def add_rest(self) -> None:
        """Write the steps since the last frame, after which no frame follows."""
        probes = self._watched.probes
        if probes is not None and probes.used and self._journal.open:
            end = self._steps.next
            losses = self.losses.until(end, self.losses.take())
            named = self.named_losses.until(end, self.named_losses.take())
            self._journal.add_lane(self._lane(losses, named))

    def _lane(
        self,
        losses: Sequence[tuple[int, float]],
        named: Mapping[str, Sequence[tuple[int, float]]],
        step: int | None = None,
    ) -> Lane:
        """The dense lane up to a step; without a step all of it.

        Args:
            losses: steps and losses that ``step`` was given.
            named: the same of each named loss.
        """
        assert self._watched.probes is not None
        lane = self._watched.probes.lane(self._steps.next, step)
        for name, given in {"": losses, **named}.items():
            self._waiting.setdefault(name, deque(maxlen=KEPT_LOSSES)).extend(given)
        if len(lane):
            ready = {name: _until(lane.last_step, given) for name, given in self._waiting.items()}
            if own := ready.pop(""):
                lane = lane.with_losses(*zip(*own, strict=True))
            lane = lane.with_named_losses({name: own for name, own in ready.items() if own})
        offset = self._steps.shown(0)
        return lane.shifted(offset) if offset else lane

    def _write(
        self,
        number: int,
        values: np.ndarray,
        context: np.ndarray,
        histograms: Any,
        now: float,
        lane: Lane | None = None,
    ) -> None:
        """Add to a frame what the host knows, judge it and write it."""
        run, watched = self._parts.run, self._watched
        run(GIVEN_BATCH, self.batches.fill, number, context)
        wanted = histograms and self._journal.wants_histograms()
        if self.unreported:
            context[schema.context_names().index("unreported_steps")] = self.unreported
        frame = Frame(
            step=self._steps.shown(number),
            wall_time=now,
            values=values[:, watched.columns],
            context=context,
            histograms=run("the histograms", histograms) if wanted else None,
            lane=lane,
        )
        if self._journal.open:
            self._journal.add(frame, judge=self._journal.awaited)
            return
        run("what the first step shows of the run", watched.complete_table)
        if not self._journal.frames and number <= 0:
            run("the weights at the start", watched.read_late_weights, frame)
        assert watched.table is not None
        self._journal.set_table(watched.table)
        with self._begin_file(frame.step):
            self._journal.add(frame, judge=self._journal.awaited)


def _until(step: int, waiting: deque[tuple[int, float]]) -> list[tuple[int, float]]:
    """Take the losses up to a step; those of a block that is not complete have to wait."""
    ready = []
    while waiting and waiting[0][0] <= step:
        ready.append(waiting.popleft())
    return ready
