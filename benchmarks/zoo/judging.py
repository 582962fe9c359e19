"""Judge recorded trainings: by the rules, frame by frame, as they would have spoken live.

In:  the folder of one recorded program, a cadence, settings of the rules.
Out: ``Judged``: every flag, with the step at which it was raised, and the peers' verdicts.
Does not know about TensorFlow, nor which programs are faulty.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tb_gradients.flags import Flag, Severity
from tb_gradients.frames import Recording
from tb_gradients.host.schedule import make_schedule
from tb_gradients.judging.engine import Engine, replay
from tb_gradients.reading.event_files import EventFileSource
from zoo import peers

OUTCOME = "outcome.json"
"""Beside the recorded runs: how the training ended."""

Cadence = int | str
BUSY = "busy"
BUSY_SECONDS = 0.01
"""What a step takes on a busy machine, and a frame."""


@dataclasses.dataclass(frozen=True)
class Raised:
    """A flag as it was at the end, and when it was first seen; or as it was reported, if it has
    become a follow-up of another since.

    Attributes:
        run: sub-folder, for programs of several monitors.
        seen: step of the frame at which it first was a warning or worse; -1: it never was.
        causes: (id, confidence), most confident first.
    """

    rule: str
    severity: str
    variables: tuple[str, ...]
    first_step: int
    seen: int
    causes: tuple[tuple[str, float], ...]
    summary: str
    run: str = "."
    evidence: tuple[tuple[str, float, float | None], ...] = ()

    @property
    def loud(self) -> bool:
        return self.seen >= 0


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is said of one recorded training."""

    flags: tuple[Raised, ...]
    errors: tuple[str, ...]
    peers: dict[str, int | None]
    """Step at which each published rule fired; ``None``: it did not."""
    frames: int


def thinned(recording: Recording, cadence: Cadence) -> Recording:
    """The frames that a sparser cadence would have written of a run logged at every step.

    Statistics of a window are put together from those of its steps; a first non-finite
    gradient is kept, as the monitor forces a frame for it. ``"auto"`` is that of a run
    whose frames cost nothing; ``"busy"`` that of one whose frames cost as much as its steps:
    after half a second of them they are as rare as the schedule lets them be.
    """
    busy = cadence == BUSY
    schedule = make_schedule("auto" if busy else cadence)  # type: ignore[arg-type]
    kept, due, faulty = list[int](), 0, False
    ages = recording.statistic("nonfinite_age")
    for row, step in enumerate(recording.steps):
        forced = not faulty and bool((ages[row] == 0).any())
        faulty = forced or (faulty and bool((ages[row] >= 0).any()))
        if step >= due or forced:
            kept.append(row)
            due = schedule.next_due(
                int(step),
                BUSY_SECONDS * (row + len(kept)) if busy else 1e9,
                BUSY_SECONDS * len(kept) if busy else 0.0,
            )
    rows = np.array(kept, int)
    if len(rows) == len(recording):
        return recording
    values, context = recording.values[rows].copy(), recording.context[rows].copy()
    starts = np.concatenate([[0], rows[:-1] + 1])
    for name in recording.table.statistics:
        if name in _WINDOWS:
            column = recording.table.statistics.index(name)
            for i, (start, stop) in enumerate(zip(starts, rows + 1, strict=True)):
                part = recording.values[start:stop, :, column]
                values[i, :, column] = _merge(name, part)
    for name in recording.table.context:
        if name in _WINDOWS:
            column = recording.table.context.index(name)
            for i, (start, stop) in enumerate(zip(starts, rows + 1, strict=True)):
                part = recording.context[start:stop, column]
                context[i, column] = _merge(name, part[:, np.newaxis])[0]
    lane = recording.lane
    return Recording(recording.table, recording.steps[rows], values, context, lane=lane)


_WINDOWS = {
    "gradient_norm_max": "max",
    "nonfinite_age": "age",
    "zero_step_share": "mean",
    "none_step_share": "mean",
    "window_steps": "sum",
    "applied_steps": "sum",
    "skipped_steps": "sum",
    "loss_mean": "mean",
    "loss_min": "min",
    "loss_max": "max",
    "loss_nonfinite_age": "age",
}
"""How the columns of windows of one step make that of a longer window."""


def _merge(name: str, part: Any) -> Any:
    """[steps, columns] -> [columns]."""
    kind = _WINDOWS[name]
    if kind == "age":
        hit = part >= 0
        age = len(part) - 1 - np.argmax(hit, axis=0)
        return np.where(hit.any(axis=0), age, -1)
    if kind == "sum":
        return part.sum(axis=0)
    known = np.isfinite(part)
    if kind == "mean":
        total = np.where(known, part, 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / known.sum(axis=0)
    worst = np.fmax if kind == "max" else np.fmin
    return worst.reduce(part, axis=0)


def judge_program(
    folder: str | os.PathLike[str], cadence: Cadence = 1, rules: Any = None
) -> Judged:
    """Judge all runs below a folder, each on its own; the program's flags are those of all."""
    source = EventFileSource(folder)
    flags: list[Raised] = []
    errors: list[str] = []
    verdicts: dict[str, int | None] = {}
    frames = 0
    for run in source.runs():
        data = source.read(run)
        errors += data.errors
        recordings = [thinned(recording, cadence) for recording in data.recordings]
        frames += sum(len(recording) for recording in recordings)
        flags += _judge(recordings, run, rules, errors)
        for name, step in peers.judge(recordings).items():
            steps = [s for s in (verdicts.get(name), step) if s is not None]
            verdicts[name] = min(steps, default=None)
    return Judged(tuple(flags), tuple(errors), verdicts, frames)


def _judge(
    recordings: Sequence[Recording], run: str, rules: Any, errors: list[str]
) -> list[Raised]:
    engine: Engine | None = None
    reported: dict[tuple[str, int], tuple[int, Flag]] = {}
    for judging, step, raised in replay(recordings, rules):
        engine = judging
        for flag in raised:
            if flag.severity >= Severity.WARNING:
                reported.setdefault((flag.rule, flag.first_step), (step, flag))
    if engine is None:
        return []
    errors += [f"{error.rule}: {error.message}" for error in engine.errors]
    found = [
        _raised(flag, reported.pop((flag.rule, flag.first_step), (-1, flag))[0], run)
        for flag in engine.flags
    ]
    # What was reported before the fault that it comes of was known is a follow-up by now.
    return found + [_raised(flag, step, run) for step, flag in reported.values()]


def _raised(flag: Flag, seen: int, run: str) -> Raised:
    return Raised(
        flag.rule,
        flag.severity.label,
        flag.variables,
        flag.first_step,
        seen,
        tuple((cause.id, cause.confidence) for cause in flag.causes),
        flag.summary,
        run,
        tuple((e.name, e.value, e.threshold) for e in flag.evidence),
    )


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One recorded training and how it ended."""

    name: str
    seed: int
    folder: Path
    skill: float
    steps: int
    seconds: float
    error: str = ""


def read_outcome(path: Path) -> Recorded:
    fields = json.loads(path.read_text())
    skill = fields.pop("skill")
    return Recorded(folder=path.parent, skill=float("nan") if skill is None else skill, **fields)


def recorded(recordings: str | os.PathLike[str]) -> list[Recorded]:
    """All finished trainings below a folder of recordings, by name and seed."""
    found = [read_outcome(path) for path in Path(recordings).glob(f"*/*/{OUTCOME}")]
    return sorted(found, key=lambda one: (one.name, one.seed))
