"""The numbers of a run: one ``Frame`` per logged step, a ``VariableTable`` for their meaning.

In:  arrays and facts from the training side, or bytes from an event file.
Out: ``Frame``, ``VariableTable``, ``Recording``; packing to and from bytes.
Does not know about TensorFlow, TensorBoard or rules.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.lane import FloatArray as FloatArray
from tb_gradients.lane import Lane, joined
from tb_gradients.proto import gradient_health_pb2 as pb

CountArray = npt.NDArray[np.uint16]


LARGEST_COUNT = 2**53
"""Elements, units and steps beyond it are no count: a float64 could no longer distinguish them."""

LARGEST_STEP = 2**61
"""A number of a step may be the time in nanoseconds (2e18); two may differ by it in an int64."""

MOST_DIMENSIONS = 64
"""As of a NumPy array."""

MOST_INFLATED_BYTES = 1 << 28
"""What compressed bytes may unpack to: histograms of 680,000 variables. Zeros pack a thousand to
one."""

_RANGES = {
    # -1 stands for "at none" in ages.
    "steps": (-1.0, LARGEST_COUNT),
    "elements": (-1.0, LARGEST_COUNT),
    "classes": (-1.0, LARGEST_COUNT),
    "share": (-0.01, 1.01),  # with room for what rounding makes of 0 and 1
}
"""Smallest and largest number that a column of such a unit can have."""


class FormatError(ValueError):
    """Data that this version cannot read; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """What is known of one variable; see ``gradient_health.proto`` for each field."""

    path: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    module: str = ""
    layer_class: str = ""
    role: str = "other"
    activation: str = ""
    initializer: str = ""
    regularizer: str = ""
    constraint: str = ""
    trainable: bool = True
    unit_axis: int = -1
    units: int = 0
    optimizer: str = ""
    initial_rms: float = 0.0
    analytically_zero: bool = False
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    node: int = 0

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar, 0 for an empty variable."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What is known of the run as a whole; see ``gradient_health.proto`` for each field."""

    optimizer: str = ""
    optimizer_config: Mapping[str, str] = dataclasses.field(default_factory=dict)
    loss: str = ""
    precision: str = ""
    jit_compile: bool = False
    strategy: str = ""
    replicas: int = 1
    steps_per_execution: int = 1
    steps_per_epoch: int = 0
    accumulation_steps: int = 0
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class VariableTable:
    """The rows (variables, in network order) and columns (statistics) of a run's frames.

    ``nodes`` is the model's graph: for each node the numbers of the nodes that feed it, counted
    from 1 as in ``Variable.node``. The last node is fed by what the model gives out. Empty where
    the graph is unknown.
    """

    variables: tuple[Variable, ...]
    run: RunContext = RunContext()
    statistics: tuple[str, ...] = schema.statistic_names()
    context: tuple[str, ...] = schema.context_names()
    nodes: tuple[tuple[int, ...], ...] = ()

    @functools.cached_property
    def table_id(self) -> int:
        """A 24-bit hash of rows and columns: exact as a float32 in the context vector."""
        rows = [(v.path, v.shape, v.dtype) for v in self.variables]
        text = repr((rows, self.statistics, self.context)).encode()
        return zlib.crc32(text) & 0xFFFFFF

    @functools.cached_property
    def elements(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: the number of elements of each."""
        return np.array([variable.elements for variable in self.variables], np.int64)

    @functools.cached_property
    def root_elements(self) -> FloatArray:
        """float32 [variables]: the root of the number of elements, of at least one."""
        roots: FloatArray = np.sqrt(np.maximum(self.elements.astype(np.float32), 1))
        return roots

    @functools.cached_property
    def weight_floor(self) -> FloatArray:
        """float32 [variables]: see ``weight_floor``; cached, as live rules ask at every frame."""
        return weight_floor(self)

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        return tuple(variable.path for variable in self.variables)

    def impossible(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Where a count or a share is none: rules reckon with counts of steps and elements as whole
        numbers, and make them from shares. What is infinite, or outside of the range of its unit,
        has to be read as NaN ("not measured").

        Args:
            values: float32 [..., statistics].
        """
        return _outside(values, self.ranges)

    def impossible_context(self, context: FloatArray) -> npt.NDArray[np.bool_]:
        """The same of float32 [..., context columns]."""
        return _outside(context, _ranges_of(self.context))

    @functools.cached_property
    def ranges(self) -> FloatArray:
        """float32 [2, statistics]: the smallest and largest number that can be."""
        return _ranges_of(self.statistics)

    def to_bytes(self) -> bytes:
        """A serialized ``VariableTable`` message."""
        message = pb.VariableTable(
            format_version=schema.FORMAT_VERSION,
            table_id=self.table_id,
            statistics=self.statistics,
            context=self.context,
            run=pb.RunContext(**_fields(self.run)),
            nodes=[pb.Node(fed_by=fed_by) for fed_by in self.nodes],
        )
        for variable in self.variables:
            message.variables.add(elements=variable.elements, **_fields(variable))
        return message.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> VariableTable:
        """Read what ``to_bytes`` wrote.

        Raises:
            FormatError: the bytes are no variable table, one of a newer format, or one whose
                numbers cannot be.
        """
        message = pb.VariableTable()
        try:
            message.ParseFromString(data)
        except Exception as error:  # the runtimes disagree on the exception's module
            raise FormatError(f"unreadable variable table: {error}") from error
        if message.format_version > schema.FORMAT_VERSION:
            raise FormatError(
                f"written in format {message.format_version}, this version reads up to "
                f"{schema.FORMAT_VERSION}; upgrade with: pip install -U tb-gradients"
            )
        for variable in message.variables:
            _check_sizes(variable)
        return cls(
            variables=tuple(_from_message(Variable, v) for v in message.variables),
            run=_from_message(RunContext, message.run),
            statistics=tuple(message.statistics),
            context=tuple(message.context),
            nodes=tuple(tuple(node.fed_by) for node in message.nodes),
        )


def _check_sizes(variable: pb.Variable) -> None:
    """Raise ``FormatError`` for a shape or a number of units that no variable can have."""
    sizes, name = variable.shape, repr(variable.path[:100])
    if len(sizes) > MOST_DIMENSIONS:
        raise FormatError(f"{name} has an impossible number of dimensions, {len(sizes)}")
    if any(size < 0 for size in sizes) or max(math.prod(sizes), *sizes, 0) > LARGEST_COUNT:
        raise FormatError(f"{name} has an impossible shape, {list(sizes)}")
    if not 0 <= variable.units <= LARGEST_COUNT:
        raise FormatError(f"{name} has an impossible number of units, {variable.units}")


@functools.lru_cache(maxsize=16)
def _ranges_of(names: tuple[str, ...]) -> FloatArray:
    """float32 [2, columns]: the smallest and largest number that each column can have."""
    units = {column.name: column.unit for column in (*schema.STATISTICS, *schema.CONTEXT)}
    ranges = [_RANGES.get(units.get(name, ""), (-np.inf, np.inf)) for name in names]
    limits: FloatArray = np.array(ranges, np.float32).reshape(-1, 2).T
    return limits


def _outside(numbers: FloatArray, ranges: FloatArray) -> npt.NDArray[np.bool_]:
    """Where a number is outside of its column's range; NaN is not."""
    outside: npt.NDArray[np.bool_] = (numbers < ranges[0]) | (numbers > ranges[1])
    return outside


def _fields(item: Variable | RunContext) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _names(cast(Hashable, type(item)))}


@functools.cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cast(Any, kind)))


def _from_message(kind: type[Any], message: Any) -> Any:
    values: dict[str, Any] = {}
    for name in _names(cast(Hashable, kind)):
        value = getattr(message, name)
        if type(value) not in (str, int, float, bool):
            value = dict(value) if isinstance(value, Mapping) else tuple(value)
        values[name] = value
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One step's worth of numbers for the whole model.

    Attributes:
        step: zero-based training step (the optimizer's iteration count before the update).
        wall_time: seconds since the epoch.
        values: float32 [variables, statistics], columns as named by the table.
        context: float32 [context columns].
        histograms: uint16 [variables, schema.HISTOGRAM_BINS] or None at most frames.
        lane: the steps since the previous frame, this one included; None: not known.
    """

    step: int
    wall_time: float
    values: FloatArray
    context: FloatArray
    histograms: CountArray | None = None
    lane: Lane | None = None


def inflated(data: bytes) -> bytes:
    """The content of a zlib stream.

    Raises:
        FormatError: it is cut short, or holds more than ``MOST_INFLATED_BYTES``.
        zlib.error: it is none.
    """
    stream = zlib.decompressobj()
    content = stream.decompress(data, MOST_INFLATED_BYTES)
    if not stream.eof:
        raise FormatError("a compressed part is cut short, or too large")
    return content


def pack_histograms(counts: npt.ArrayLike, table_id: int) -> bytes:
    """Counts [variables, bins] as a serialized ``HistogramPack``; clipped at 65535."""
    array = np.minimum(np.asarray(counts), np.iinfo(np.uint16).max).astype("<u2")
    return pb.HistogramPack(
        table_id=table_id,
        lowest_exponent=schema.HISTOGRAM_LOWEST_EXPONENT,
        octaves=schema.HISTOGRAM_OCTAVES,
        counts=zlib.compress(array.tobytes(), 6),
    ).SerializeToString()


def unpack_histograms(data: bytes) -> tuple[int, CountArray]:
    """The table id and the counts of what ``pack_histograms`` wrote.

    Raises:
        FormatError: not a histogram pack, or one with other bins or of another size.
    """
    message = pb.HistogramPack()
    try:
        message.ParseFromString(data)
        flat = np.frombuffer(inflated(message.counts), dtype="<u2")
    except Exception as error:
        raise FormatError(f"unreadable histograms: {error}") from error
    bins = (message.lowest_exponent, message.octaves)
    if bins != (schema.HISTOGRAM_LOWEST_EXPONENT, schema.HISTOGRAM_OCTAVES):
        raise FormatError(f"histograms with other bins {bins}; upgrade tb-gradients")
    if flat.size % schema.HISTOGRAM_BINS:
        raise FormatError("unreadable histograms: a part of them is missing")
    return message.table_id, flat.reshape(-1, schema.HISTOGRAM_BINS).astype(np.uint16)


@dataclasses.dataclass(frozen=True)
class Recording:
    """Consecutive frames of one variable table, as arrays: what rules and views work with.

    Attributes:
        table: rows and columns.
        steps: int64 [frames], strictly rising.
        values: float32 [frames, variables, stored statistics].
        context: float32 [frames, context columns].
        lane: every step, also of those behind the last frame; None: the run has no lane.
    """

    table: VariableTable
    steps: npt.NDArray[np.int64]
    values: FloatArray
    context: FloatArray
    lane: Lane | None = None

    @classmethod
    def from_frames(cls, table: VariableTable, frames: Iterable[Frame]) -> Recording:
        """Sort by step and keep the last frame of each step: a resumed run repeats some.

        Raises:
            FormatError: a frame's shape does not fit the table.
        """
        shape = (len(table.variables), len(table.statistics))
        latest: dict[int, Frame] = {}
        for frame in sorted(frames, key=lambda f: (f.step, f.wall_time)):
            if frame.values.shape != shape or frame.context.shape != (len(table.context),):
                raise FormatError(
                    f"frame of step {frame.step} has shape {frame.values.shape}, "
                    f"its variable table says {shape}"
                )
            latest[frame.step] = frame
        kept = list(latest.values())
        lanes = [f.lane for f in kept if f.lane is not None]
        return cls(
            table=table,
            steps=np.array([f.step for f in kept], dtype=np.int64),
            values=np.stack([f.values for f in kept])
            if kept
            else np.zeros((0, *shape), np.float32),
            context=np.stack([f.context for f in kept])
            if kept
            else np.zeros((0, len(table.context)), np.float32),
            lane=joined(lanes) if lanes else None,
        )

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def lane_ends(self) -> npt.NDArray[np.int64]:
        """int64 [frames]: how many blocks of the lane had come with each frame, or before it, while
        the run trained; 0 without a lane."""
        if self.lane is None:
            return np.zeros(len(self), np.int64)
        return np.searchsorted(self.lane.due, self.steps, side="right").astype(np.int64)

    def each_frame(self) -> Iterator[Frame]:
        """The frames in order, each with the part of the lane that came with it; without a time
        and without histograms."""
        parts: Iterable[Lane | None] = itertools.repeat(None, len(self))
        if (lane := self.lane) is not None:
            ends = itertools.pairwise([0, *self.lane_ends.tolist()])
            parts = (lane[begin:end] for begin, end in ends)
        for step, values, context, part in zip(
            self.steps.tolist(), self.values, self.context, parts, strict=True
        ):
            yield Frame(step, 0.0, values, context, lane=part)

    def statistic(self, name: str) -> FloatArray:
        """float32 [frames, variables] of a stored or derived statistic.

        A column that the run's version did not write is all NaN ("not measured").

        Raises:
            KeyError: no statistic has that name.
        """
        if name in self.table.statistics:
            return self.values[:, :, self.table.statistics.index(name)]
        if name not in _DERIVATIONS and name not in schema.statistic_names():
            raise KeyError(name)
        return derived_statistic(name, self.table, self.values)

    def context_value(self, name: str) -> FloatArray:
        """float32 [frames] of a context column; all NaN if the run did not write it.

        Raises:
            KeyError: no context column has that name.
        """
        if name in self.table.context:
            return self.context[:, self.table.context.index(name)]
        if name in schema.context_names():
            return np.full(len(self), np.nan, np.float32)
        raise KeyError(name)

    @functools.cached_property
    def named_losses(self) -> dict[str, FloatArray]:
        """Name -> float32 [frames] of each named loss; see ``Lane.named_losses_at``."""
        return {} if self.lane is None else self.lane.named_losses_at(self.steps)

    def row(self, path: str) -> int:
        """Position of a variable in the table; ``KeyError`` if it is not there."""
        try:
            return self.table.paths.index(path)
        except ValueError:
            raise KeyError(path) from None


def weight_floor(table: VariableTable) -> FloatArray:
    """float32 [variables]: the weight norm at initialisation scale, below which none counts.

    For weights that start at zero (biases, zero-initialised heads) the scale a He-uniform
    kernel of that fan-in would have had stands in: dividing by a norm near zero would call
    every first update of a bias enormous.
    """
    floor = np.empty(len(table.variables), np.float32)
    for i, variable in enumerate(table.variables):
        rms = variable.initial_rms
        if not (np.isfinite(rms) and rms > 0):
            fan_in = variable.elements // variable.units if variable.units else variable.elements
            rms = float(np.sqrt(2.0 / max(fan_in, 1)))
        floor[i] = rms * np.sqrt(max(variable.elements, 1))
    return floor


Numbers = Callable[[str], Any]
"""A stored statistic by name, [..., variables]."""


def _per_root_elements(name: str) -> Callable[[Numbers, VariableTable], Any]:
    def derive(of: Numbers, table: VariableTable) -> Any:
        return of(name) / table.root_elements

    return derive


def _max_abs(of: Numbers, table: VariableTable) -> Any:
    return np.maximum(np.abs(of("gradient_min")), np.abs(of("gradient_max")))


def _nonfinite_count(of: Numbers, table: VariableTable) -> Any:
    return of("gradient_nan_count") + of("gradient_inf_count")


def _update_ratio(of: Numbers, table: VariableTable) -> Any:
    return of("update_norm") / np.fmax(of("weight_norm"), table.weight_floor)


_DERIVATIONS: Mapping[str, Callable[[Numbers, VariableTable], Any]] = {
    "gradient_rms": _per_root_elements("gradient_norm"),
    "gradient_max_abs": _max_abs,
    "gradient_nonfinite_count": _nonfinite_count,
    "weight_rms": _per_root_elements("weight_norm"),
    "update_ratio": _update_ratio,
}


def derived_statistic(name: str, table: VariableTable, values: FloatArray) -> FloatArray:
    """float32 [..., variables] of a statistic that is not stored; NaN if it is not known.

    Args:
        values: float32 [..., variables, statistics].
    """
    missing = np.full(values.shape[:-1], np.nan, np.float32)

    def of(stored: str) -> Any:
        known = stored in table.statistics
        return values[..., table.statistics.index(stored)] if known else missing

    derived: FloatArray = _DERIVATIONS[name](of, table) if name in _DERIVATIONS else missing
    return derived


def concatenate(parts: Sequence[Recording]) -> Recording:
    """Recordings of one table, in order, as one.

    Raises:
        ValueError: no parts, or different tables.
    """
    if not parts or any(p.table.table_id != parts[0].table.table_id for p in parts):
        raise ValueError("recordings of one table are needed")
    return Recording(
        parts[0].table,
        np.concatenate([p.steps for p in parts]),
        np.concatenate([p.values for p in parts]),
        np.concatenate([p.context for p in parts]),
    )
