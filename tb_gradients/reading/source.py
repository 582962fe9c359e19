"""A run as it is read, from event files or from a data provider.

In:  what a reader has assembled.
Out: ``RunData``: recordings on one strictly rising step axis, the stored verdict, what went wrong.
Does not know about files, TensorBoard, rules or HTTP.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.flags import Flag, RuleError, RuleState, verdict_of
from tb_gradients.frames import (
    CountArray,
    FormatError,
    Frame,
    Recording,
    VariableTable,
    unpack_histograms,
)
from tb_gradients.lane import Lane, joined, spread
from tb_gradients.proto import gradient_health_pb2 as pb


class ReadError(ValueError):
    """Nothing usable could be read; the message is one sentence with the remedy."""


class NoSuchRunError(ReadError):
    """There is no run of that name, or not yet."""


class NewerFormatError(FormatError):
    """Written by a version whose data this one would misread."""


def check_format(version: int) -> None:
    """Raise ``NewerFormatError`` for data which this version would misread."""
    if version > schema.FORMAT_VERSION:
        raise NewerFormatError(
            f"written in format {version}, this version reads up to "
            f"{schema.FORMAT_VERSION}; upgrade with: pip install -U tb-gradients"
        )


@dataclasses.dataclass(frozen=True)
class StoredVerdict:
    """The verdict that the writer judged live and stored beside its frames.

    Attributes:
        flags: ranked worst first, as the live engine had them.
        errors: rules that raised and were switched off, and other parts of the monitor that
            failed.
        last_step: the step of the last frame that was judged.
        frames: how many frames were judged.
        rules: how far each rule had judged the run; none: an older version has written it.
        undecided: why it was too early for a verdict; "" if it was not.
        fingerprint: of the rules and of what they were shown; "" if that is not known.
        own_rules: the pages of rules that are not built in, as the route ``rules`` answers them.
    """

    flags: tuple[Flag, ...] = ()
    errors: tuple[RuleError, ...] = ()
    last_step: int = -1
    frames: int = 0
    rules: tuple[RuleState, ...] = ()
    undecided: str = ""
    fingerprint: str = ""
    own_rules: tuple[Mapping[str, Any], ...] = dataclasses.field(default=(), compare=False)

    @property
    def verdict(self) -> str:
        """One of ``flags.VERDICTS``."""
        return verdict_of(self.flags, self.undecided)

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredVerdict:
        """Read a serialized ``FlagList``.

        Raises:
            FormatError: the bytes are no flag list; ``NewerFormatError``: a newer one.
        """
        message = pb.FlagList()
        try:
            message.ParseFromString(data)
            check_format(message.format_version)
            return cls(
                flags=tuple(Flag.from_proto(flag) for flag in message.flags),
                errors=tuple(RuleError.from_proto(e) for e in message.errors if e.message),
                last_step=message.last_step,
                frames=message.frames,
                rules=tuple(RuleState.from_proto(state) for state in message.rules),
                undecided=message.undecided,
                fingerprint=message.fingerprint,
                own_rules=_pages(message.own_rules),
            )
        except FormatError:
            raise
        except Exception as error:  # the protobuf runtimes disagree on the exception's module
            raise FormatError(f"unreadable flag list: {error}") from error

    def to_bytes(self) -> bytes:
        """A serialized ``FlagList``: the inverse of ``from_bytes``."""
        return pb.FlagList(
            format_version=schema.FORMAT_VERSION,
            flags=[flag.to_proto() for flag in self.flags],
            errors=[error.to_proto() for error in self.errors],
            last_step=self.last_step,
            frames=self.frames,
            rules=[state.to_proto() for state in self.rules],
            undecided=self.undecided,
            fingerprint=self.fingerprint,
            own_rules=json.dumps(self.own_rules) if self.own_rules else "",
        ).SerializeToString(deterministic=True)


def _pages(text: str) -> tuple[Mapping[str, Any], ...]:
    """The pages of rules in a JSON list; what is no page is left out."""
    try:
        listed = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    if not isinstance(listed, list):
        return ()
    return tuple(one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str))


@dataclasses.dataclass(frozen=True)
class HistogramFrame:
    """All variables' histograms at one step, still packed: most are never looked at."""

    step: int
    wall_time: float
    packed: bytes

    def unpack(self) -> tuple[int, CountArray]:
        """The table id and uint16 [variables, bins]; ``FormatError`` if unreadable."""
        return unpack_histograms(self.packed)


@dataclasses.dataclass(frozen=True)
class RunData:
    """One run, without its histograms.

    Attributes:
        run: path of the run's folder relative to the log directory; "." for itself.
        recordings: consecutive frames of one variable table each; steps rise strictly
            over all of them. A table that comes back opens a new recording.
        wall_times: float64, seconds since the epoch, one per frame of all recordings.
        verdict: what the writer judged while training, if it stored anything.
        sampled: frames that were written are missing here.
        errors: sentences about what could not be read.
    """

    run: str
    recordings: tuple[Recording, ...] = ()
    wall_times: npt.NDArray[np.float64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.float64)
    )
    verdict: StoredVerdict | None = None
    sampled: bool = False
    errors: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(len(recording) for recording in self.recordings)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """int64 [frames]: the steps of all recordings."""
        parts = [recording.steps for recording in self.recordings]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def each_frame(self) -> Iterator[tuple[VariableTable, Frame]]:
        """The frames in order, each with its table and its part of the lane; no histograms."""
        times = iter(self.wall_times.tolist())
        for recording in self.recordings:
            for frame in recording.each_frame():
                yield recording.table, dataclasses.replace(frame, wall_time=next(times))

    @property
    def unreadable(self) -> str | None:
        """Why nothing of the run could be read; ``None`` if something was, or nothing is there."""
        return None if self.frames or not self.errors else self.errors[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable the run ever had: the last table's in order, then those it lost."""
        tables = [recording.table for recording in reversed(self.recordings)]
        return tuple(dict.fromkeys(path for table in tables for path in table.paths))

    @property
    def lane(self) -> Lane | None:
        """The dense lane of the whole run, one column for each of ``variables``; None: it has none.

        A variable is not seen where another variable table, without it, held.
        """
        column = {path: i for i, path in enumerate(self.variables)}
        parts = [
            spread(r.lane, [column[path] for path in r.table.paths], len(column))
            for r in self.recordings
            if r.lane is not None and len(r.lane)
        ]
        return joined(parts) if parts else None

    @property
    def named_losses(self) -> tuple[str, ...]:
        """Names of the losses that ``step(losses=...)`` was given."""
        return tuple(dict.fromkeys(name for r in self.recordings for name in r.named_losses))

    @property
    def stored_flags(self) -> tuple[Flag, ...]:
        """What the writer judged, of whatever part of the run."""
        return () if self.verdict is None else self.verdict.flags

    @property
    def left_out(self) -> tuple[RuleError, ...]:
        """Parts of the monitor, other than rules, that failed while training: whoever judges the
        frames anew has to name them, too.
        """
        errors = () if self.verdict is None else self.verdict.errors
        return tuple(error for error in errors if not error.rule)

    def covering_verdict(self, fingerprint: str | None = None) -> StoredVerdict | None:
        """The stored verdict if it speaks for the whole run.

        A writer that resumed a run may have judged only its own part of it; its verdict
        is silent about what the part before did. It then has to be judged again.

        Args:
            fingerprint: of the verdict that judging the run again would give. The stored one then
                has to be that, on the same frames to the last one: neither older rules, nor
                other thresholds, nor numbers that were left out since.
        """
        if self.verdict is None or not covers(self.verdict, self.steps):
            return None
        if fingerprint is not None:
            same = bool(fingerprint) and fingerprint == self.verdict.fingerprint
            if not same or self.errors or self.sampled:
                return None
        return self.verdict


class Source(Protocol):
    """Where runs come from."""

    def runs(self) -> list[str]:
        """Names of the runs that hold our data, sorted."""
        ...

    def read(self, run: str) -> RunData:
        """A run without its histograms; ``ReadError`` if it cannot be used at all."""
        ...

    def histograms(self, run: str) -> list[HistogramFrame]:
        """The histograms of a run, by rising step."""
        ...


def covers(verdict: StoredVerdict, steps: Iterable[int]) -> bool:
    """Whether a verdict was judged on all frames up to its last step."""
    return verdict.frames >= sum(1 for step in steps if step <= verdict.last_step)


def frames_are_missing(data: RunData) -> bool:
    """Whether frames are missing between those that are there.

    Every frame says how many steps lie between it and the frame before it as it was
    written; where the step numbers say more, a sampling reader dropped some. One such
    gap in a run may also be a resume from a later checkpoint, so one is not enough.
    """
    gaps = 0
    steps = data.steps
    windows = [r.context_value("window_steps") for r in data.recordings]
    if len(steps) > 1:
        with np.errstate(invalid="ignore"):  # NaN: not measured, says nothing
            gaps = int(np.count_nonzero(np.diff(steps) > np.concatenate(windows)[1:]))
    return gaps > 1
