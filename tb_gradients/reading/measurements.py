"""The numbers of one run as arrays, read when they are first asked for.

In:  a source, the name of a run in it, and what of the run was judged.
Out: arrays over all frames and all variables of the run; its histograms.
Does not know about rules, flags or how numbers are drawn.

A run may have had several variable tables: layers were added, or unfrozen. Its variables are all
that it ever had, and a number that a frame does not have of a variable is NaN, not measured.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.frames import CountArray, FloatArray, Recording, Variable
from tb_gradients.inert import inert
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import HistogramFrame, ReadError, RunData

if TYPE_CHECKING:
    import pandas

STATISTICS = (*schema.statistic_names(), *(column.name for column in schema.DERIVED))
"""Names of all numbers that a frame has of each variable, stored and derived."""


class UnknownNameError(KeyError):
    """There is no statistic or variable of that name; the message names those that look like it."""

    def __str__(self) -> str:
        return str(self.args[0])  # as it is: `KeyError` would show it with quotes and escapes


class Variables(tuple[Variable, ...]):
    """Facts about each variable, in network order, found by position or by path.

    >>> variables["dense/kernel"].shape
    (784, 128)
    """

    __slots__ = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """What the variables are called."""
        return tuple(variable.path for variable in self)

    @overload  # type: ignore[override]
    def __getitem__(self, key: int | str) -> Variable: ...
    @overload
    def __getitem__(self, key: slice) -> Variables: ...
    def __getitem__(self, key: int | str | slice) -> Variable | Variables:
        """A variable; ``KeyError`` for an unknown path, ``IndexError`` for a position."""
        if isinstance(key, str):
            return super().__getitem__(self.position(key))
        found = super().__getitem__(key)
        return found if isinstance(found, Variable) else Variables(found)

    def __contains__(self, key: object) -> bool:
        return key in self.paths if isinstance(key, str) else super().__contains__(key)

    def position(self, path: str) -> int:
        """Which column of an array [frames, variables] is that of a path.

        Raises:
            UnknownNameError: no variable has that path.
        """
        paths = self.paths
        _check("variable", path, paths)
        return paths.index(path)

    @classmethod
    def of(cls, data: RunData) -> Variables:
        """All that a run ever had, in the order of ``RunData.variables``; the latest facts."""
        latest: dict[str, Variable] = {}
        for recording in data.recordings:
            latest.update(zip(recording.table.paths, recording.table.variables, strict=True))
        return cls(latest[path] for path in data.variables)


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """The elements of one variable's gradient at one step, by sign and power of two.

    Of a large variable it is that of a sample. Magnitudes beyond the outermost edges count in the
    outermost bins, and those below 2**-72 in the two bins beside zero.

    Attributes:
        step: of the frame.
        edges: float64 [bins + 1], rising, from -2**24 over 0 to 2**24.
        counts: int64 [bins], elements between two edges, without those that are exactly zero.
        zeros, nans, positive_infinities, negative_infinities: elements that are so.
    """

    step: int
    edges: npt.NDArray[np.float64] = dataclasses.field(repr=False)
    counts: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    zeros: int
    nans: int
    positive_infinities: int
    negative_infinities: int

    @property
    def total(self) -> int:
        """How many elements were counted."""
        special = self.zeros + self.nans + self.positive_infinities + self.negative_infinities
        return int(self.counts.sum()) + special

    @classmethod
    def of(cls, step: int, row: CountArray) -> Histogram:
        """From a row of a packed histogram: uint16 [``schema.HISTOGRAM_BINS``]."""
        octaves, lowest = schema.HISTOGRAM_OCTAVES, schema.HISTOGRAM_LOWEST_EXPONENT
        magnitudes = 2.0 ** (lowest + 1.0 + np.arange(octaves))
        counts = row.astype(np.int64)
        negative = counts[schema.BIN_NEGATIVE : schema.BIN_NEGATIVE + octaves][::-1]
        positive = counts[schema.BIN_POSITIVE : schema.BIN_POSITIVE + octaves]
        return cls(
            step,
            np.concatenate([-magnitudes[::-1], [0.0], magnitudes]),
            np.concatenate([negative, positive]),
            int(counts[schema.BIN_ZERO]),
            int(counts[schema.BIN_NAN]),
            int(counts[schema.BIN_POSITIVE_INF]),
            int(counts[schema.BIN_NEGATIVE_INF]),
        )


class Measurements:
    """The frames of one run, read from its source when they are first asked for.

    Args:
        source: where the run is.
        run: its name there.
        steps: int64 [frames], those that were judged; frames that came later are left out.
        variables: all that the run had until then.
    """

    def __init__(
        self,
        source: EventFileSource,
        run: str,
        steps: npt.NDArray[np.int64],
        variables: Variables,
    ) -> None:
        self._source, self._run = source, run
        self.steps, self.variables = steps, variables

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the run again: what was read here does not go there."""
        return type(self), (self._source, self._run, self.steps, self.variables)

    def statistic(self, name: str) -> FloatArray:
        """float32 [frames, variables] of a statistic; see ``RunReport.__getitem__``."""
        if name in schema.context_names():
            raise UnknownNameError(
                f"{name} is a number of the step, not of a variable: run.context({name!r})"
            )
        _check("statistic", name, STATISTICS)
        columns = {path: i for i, path in enumerate(self.variables.paths)}
        result = np.full((len(self.steps), len(columns)), np.nan, np.float32)
        for recording, place in self._parts():
            frames = recording.statistic(name)[: place.stop - place.start]
            result[place, [columns[path] for path in recording.table.paths]] = frames
        return result

    def context(self, name: str) -> FloatArray:
        """float32 [frames] of a number of the step; see ``RunReport.context``."""
        _check("context", name, schema.context_names())
        result = np.full(len(self.steps), np.nan, np.float32)
        for recording, place in self._parts():
            result[place] = recording.context_value(name)[: place.stop - place.start]
        return result

    @property
    def losses(self) -> dict[str, FloatArray]:
        """Name -> float32 [frames]; see ``RunReport.losses``."""
        names = self._data.named_losses
        result = {name: np.full(len(self.steps), np.nan, np.float32) for name in names}
        for recording, place in self._parts():
            for name, values in recording.named_losses.items():
                result[name][place] = values[: place.stop - place.start]
        return result

    @property
    def histogram_steps(self) -> npt.NDArray[np.int64]:
        """int64 [histograms]: the frames that have some."""
        return np.array([item.step for item in self._histograms], np.int64)

    def histogram(self, variable: str, step: int) -> Histogram:
        """One histogram; see ``RunReport.histogram``."""
        _check("variable", variable, self.variables.paths)
        packed = next((item for item in self._histograms if item.step == step), None)
        if packed is None:
            near = _nearest(step, self.histogram_steps)
            raise ValueError(f"no histogram was recorded at step {step}; {near}")
        table_id, counts = packed.unpack()
        for recording, _ in self._parts():
            if recording.table.table_id == table_id and variable in recording.table.paths:
                return Histogram.of(step, counts[recording.row(variable)])
        raise ValueError(f"{_shown(variable)} was not a variable of the run at step {step}")

    def position(self, step: int) -> int:
        """Which frame is that of a step; ``ValueError`` names the nearest if none is."""
        places = np.flatnonzero(self.steps == step)
        if not places.size:
            raise ValueError(f"step {step} is no frame; {_nearest(step, self.steps)}")
        return int(places[0])

    def to_pandas(self, statistics: Iterable[str] | None = None) -> pandas.DataFrame:
        """A table of all frames; see ``RunReport.to_pandas``."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        names = STATISTICS if statistics is None else tuple(statistics)
        index = pandas.MultiIndex.from_product(
            [self.steps, self.variables.paths], names=["step", "variable"]
        )
        columns = {name: self.statistic(name).ravel() for name in names}
        return pandas.DataFrame(columns, index=index)

    def _parts(self) -> Iterator[tuple[Recording, slice]]:
        """The recordings, and which of the frames that were judged each begins with."""
        begin, end = 0, len(self.steps)
        for recording in self._data.recordings:
            if begin < end:
                stop = min(begin + len(recording), end)
                yield recording, slice(begin, stop)
                begin = stop

    @functools.cached_property
    def _data(self) -> RunData:
        """The run, read again; its numbers stay on disk until a statistic is asked for.

        Raises:
            ReadError: the run is gone, or its training went back to an earlier step.
        """
        data = self._source.read(self._run, on_disk=True)
        if not np.array_equal(data.steps[: len(self.steps)], self.steps):
            raise ReadError(f"Run {self._run!r} has changed since it was loaded. Load it again.")
        return data

    @functools.cached_property
    def _histograms(self) -> list[HistogramFrame]:
        judged = set(self.steps.tolist())
        return [item for item in self._source.histograms(self._run) if item.step in judged]


def _check(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UnknownNameError(f"there is no {what} {_shown(name)}; {_near(name, known)}")


def _shown(name: object) -> str:
    return repr(inert(name) if isinstance(name, str) else name)


def _near(given: object, known: Sequence[str]) -> str:
    """What to write instead of an unknown name: those that look like it, or how to see all."""
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(_shown, near))}?"
    listed = ", ".join(map(inert, known[:8]))
    return f"known: {listed}{', ...' if len(known) > 8 else ''}"


def _nearest(step: int, steps: npt.NDArray[np.int64]) -> str:
    if not len(steps):
        return "the run has none"
    distance = np.abs(steps - step)
    near = sorted(int(one) for one in steps[np.argsort(distance, kind="stable")[:3]])
    return f"the nearest are at {', '.join(map(str, near))}"
