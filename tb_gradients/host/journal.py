"""Judge the frames of one run as they come, write them, and report the findings.

In:  a variable table, and frames in step order.
Out: an event file, and flags: printed, passed to the user's ``on_flag``, a reason to stop.
Does not know about training steps, devices, or how a frame is made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from tb_gradients.flags import Flag, Origin, RuleError, Severity
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.host.parts import Parts
from tb_gradients.host.writer import EventWriter, OpenRecords
from tb_gradients.judging.engine import Engine
from tb_gradients.judging.origins import with_origins
from tb_gradients.judging.registry import RuleSettings, own_pages
from tb_gradients.lane import Lane, joined
from tb_gradients.summaries import Summaries, Summarizer, findings_of

logger = logging.getLogger("tb_gradients")

HISTOGRAM_BYTES_PER_VARIABLE = 15
"""Mean size on disk that histograms may add to each frame and variable; one packed
histogram is 60 to 150 bytes, so only every few frames of a larger model carry them."""

SMALL_MODEL_VARIABLES = 64
"""Up to this many variables every frame carries histograms: size is no question then."""


SUMMARIES = "standard summaries"
"""What is left out if they fail."""

LANE_BLOCKS = 128
"""So many blocks of the dense lane are written together: each writing adds about 130 bytes."""

LANE_SECONDS = 2.0
"""A frame lets no block wait for longer than this: what a run that is killed may lose."""


Say = Callable[[str, bool], None]
"""Takes a sentence, and whether it is about a flag; else it is about the origin of one."""


class Journal:
    """The frames and flags of one run.

    Args:
        folder: where the event file goes.
        open_records: opens it.
        rules: settings of the engine.
        histograms: whether they are wanted at all.
        stop_on: the severity of a flag that is a reason to stop.
        on_flag: called with each flag that opens.
        say: takes a sentence about each flag that opens, and each origin; None: nothing is said.
        parts: what of the monitor is left out; it is written with the flags.
        summaries: standard summaries to write besides.

    Attributes:
        folder: where the event file goes; to be changed before the first frame only.
        frames: how many were written so far.
        should_stop: whether a flag of severity ``stop_on`` has opened.
        on_verdict: called with all flags whenever they are written; must not raise.

    Raises:
        ValueError: an error in ``rules``, raised before the training.
    """

    def __init__(
        self,
        folder: str,
        open_records: OpenRecords,
        rules: RuleSettings | None = None,
        *,
        histograms: bool = True,
        stop_on: Severity | None = None,
        on_flag: Callable[[Flag], None] | None = None,
        say: Say | None = None,
        parts: Parts | None = None,
        summaries: Summaries | None = None,
    ) -> None:
        self._parts = Parts() if parts is None else parts
        self._stopped: RuleError | None = None
        self.frames = 0
        self.should_stop = False
        self.folder, self._open_records = folder, open_records
        self.on_verdict: Callable[[tuple[Flag, ...]], None] | None = None
        self._histograms = histograms
        self._stop_on, self._on_flag, self._say = stop_on, on_flag, say
        self._summarizer = Summarizer(summaries) if summaries is not None else None
        self._findings: tuple[Flag, ...] | None = None
        self._table = VariableTable(())
        self._engine = Engine(self._table, rules)
        pages = self._parts.run("the pages of your rules", own_pages, self._engine.rules)
        self._own_rules = json.dumps(pages) if pages else ""
        self._writer: EventWriter | None = None
        self._verdict: Any = ()
        self._early = True
        self._announced: dict[tuple[str, int], Severity] = {}
        self._last_step = 0
        self._unjudged: list[Frame] = []
        self._judged = 0
        self._lane: list[Lane] = []
        self._lane_written = 0.0
        self._explained: list[Flag] = []

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags so far, worst first, with the origins that were found."""
        return self._parts.run("the findings while training", self._flags) or ()

    def _flags(self) -> tuple[Flag, ...]:
        return with_origins(self._engine.flags, self._explained)

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """What ended the monitor, if anything did; rules and other parts that failed."""
        stopped = () if self._stopped is None else (self._stopped,)
        return (*stopped, *self._engine.errors, *self._parts.errors)

    @property
    def undecided(self) -> str:
        """Why it is too early for a verdict; "" if it is not."""
        return self._engine.undecided

    @property
    def open(self) -> bool:
        """Whether there is an event file; the next frame begins one otherwise."""
        return self._writer is not None

    @property
    def awaited(self) -> bool:
        """Whether a flag changes what happens next, so that each frame has to be judged at once."""
        return self._stop_on is not None or self._on_flag is not None

    def never_stop(self) -> None:
        """No flag is a reason to stop."""
        self._stop_on = None

    def set_table(self, table: VariableTable) -> None:
        """The variables of the frames from the next one on."""
        self.judge()
        if table.table_id != self._table.table_id:
            self._write_lane(self._writer)
        self._table = table
        self._engine.set_table(table)
        self._early = True

    def wants_histograms(self) -> bool:
        """Whether the next frame is to have histograms."""
        if not self._histograms:
            return False
        small = len(self._table.variables) <= SMALL_MODEL_VARIABLES
        typical = 100
        return small or self.frames % (typical // HISTOGRAM_BYTES_PER_VARIABLE + 1) == 0

    def add(self, frame: Frame, *, judge: bool = True) -> None:
        """Write and judge the next frame.

        Args:
            judge: otherwise it waits for ``judge``: several together take a fraction of the time.
        """
        writer = self._writer
        if writer is None:  # a new file starts with the table and the verdict so far
            writer = self._writer = EventWriter(self.folder, self._open_records)
            self._lane_written = time.monotonic()
            writer.table(self._table, frame.step)
            self._write_flags(writer, frame.step)
        self.frames += 1
        self._last_step = frame.step
        writer.frame(frame, self._table.table_id)
        if self._summarizer is not None:
            make = self._summarizer.of_frame
            summary = self._parts.run(SUMMARIES, make, self._table, frame)
            if summary is not None:
                writer.summary(frame, summary)
        if frame.lane is not None:
            self.add_lane(frame.lane)
            if time.monotonic() - self._lane_written > LANE_SECONDS:
                self._write_lane(writer)
        self._unjudged.append(frame)
        if judge:
            self.judge()

    def judge(self) -> None:
        """Judge the frames that wait for it."""
        frames, self._unjudged = self._unjudged, []
        writer, news = self._writer, self._engine.update_each(frames)
        for frame in frames:
            found = self._parts.run("judging while training", next, news, ()) or ()
            self._judged += 1  # an on_flag may close the file, which writes the verdict
            for flag in found:
                self._announce(flag)
            # Also when one has closed or become less severe, or a rule has judged enough: the tab
            # shows what was written last.
            self._early = self._early and bool(self._engine.undecided)
            verdict = (self._early, self._engine.judged, self._engine.outline, self.errors)
            # An on_flag may have closed the file.
            if verdict != self._verdict and writer is not None and writer is self._writer:
                self._verdict = verdict
                self._write_flags(writer, frame.step)

    def add_lane(self, lane: Lane) -> None:
        """Write the next steps of the dense lane; a few may wait for more."""
        if len(lane):
            self._lane.append(lane)
        if sum(map(len, self._lane)) >= LANE_BLOCKS:
            self._write_lane(self._writer)

    def _write_lane(self, writer: EventWriter | None) -> None:
        waiting, self._lane = self._lane, []
        self._lane_written = time.monotonic()
        if not waiting or writer is None:
            return
        lane = self._parts.run("the dense lane", joined, waiting)
        if lane is not None:
            writer.lane(lane, self._table.table_id)

    def explain(self, flag: Flag, origin: Origin) -> None:
        """Add the origin of a flag: print it, and write the verdict with it."""
        self.judge()
        self._explained.append(dataclasses.replace(flag, origin=origin))
        if self._say is not None and flag.severity >= Severity.WARNING:
            text = f"{flag.rule}: where: {origin}\n  {origin.summary}"
            self._parts.run("printing of flags", self._say, f"tb_gradients: {text}", False)
        if self._writer is not None:
            self._write_flags(self._writer, self._last_step)

    def flush(self) -> None:
        """Return when all that was handed in is in the file."""
        self.judge()
        self._write_lane(self._writer)
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write the last verdict and close the file; a further frame begins another."""
        self.judge()
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.closing(writer):
                self._write_lane(writer)
                self._write_flags(writer, self._last_step)

    def stop(self, step: int, reason: str) -> None:
        """Write that no further frame will come, and why; close the file.

        Args:
            step: the first step that is not observed.
        """
        with contextlib.suppress(Exception):
            self.judge()
        self._stopped = RuleError("", step, reason, stopped=True)
        with contextlib.suppress(Exception):
            self._write_lane(self._writer)
        writer, self._writer = self._writer, None
        with contextlib.suppress(Exception):  # it may be the file that has failed
            if writer is None:
                writer = EventWriter(self.folder, self._open_records)
            with contextlib.closing(writer):
                self._write_flags(writer, max(step - 1, self._last_step, 0))

    def _write_flags(self, writer: EventWriter, step: int) -> None:
        engine, flags = self._engine, self.flags
        undecided = "" if self._stopped is None else str(self._stopped)
        undecided = undecided or engine.undecided
        writer.flags(
            flags,
            self.errors,
            step,
            self._judged,
            engine.states,
            undecided,
            self._parts.run("the fingerprint of the verdict", lambda: engine.fingerprint) or "",
            self._own_rules,
        )
        if self._summarizer is not None and flags != self._findings:
            self._findings = flags
            findings = self._parts.run(SUMMARIES, findings_of, flags, undecided)
            if findings is not None:
                writer.findings(step, findings)
        if self.on_verdict is not None:
            self._parts.run("what follows a verdict", self.on_verdict, flags)

    def _announce(self, flag: Flag) -> None:
        """Report a flag that has opened, or whose severity has risen."""
        key = (flag.rule, flag.first_step)
        before = self._announced.get(key)
        self._announced[key] = flag.severity
        if self._say is not None and flag.severity >= Severity.WARNING > (before or 0):
            self._parts.run("printing of flags", self._say, f"tb_gradients: {flag}", True)
        if self._stop_on is not None and flag.severity >= self._stop_on:
            self.should_stop = True
        if self._on_flag is not None and before is None:
            try:
                self._on_flag(flag)
            except Exception:
                logger.exception("tb_gradients: on_flag raised; training goes on")


def print_sentence(sentence: str, is_flag: bool) -> None:
    """What ``say`` is where there is no notebook: a line of its own below a progress bar."""
    print(f"\n{sentence}", flush=True)  # noqa: T201 - what `verbose` asks for
