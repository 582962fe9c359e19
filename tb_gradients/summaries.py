"""Frames as the standard summaries that every viewer of event files shows.

In:  frames with their variable table, and flags.
Out: scalars, histograms and a text in TensorBoard's event format.
Does not know about files, training steps or TensorFlow.

The tags group by statistic in TensorBoard: ``gradient_norm/PATH``, ``zero_fraction/PATH``,
``update_ratio/PATH``, ``gradients/PATH`` and ``losses/NAME``. The values are those of the frames;
no gradient is read again. Scalars and histograms have the first form of these summaries
(``simple_value`` and ``histo``), which all readers know: TensorBoard, ``EventAccumulator``,
tbparse, hosted viewers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tb_gradients import schema
from tb_gradients.flags import Flag
from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.inert import inert
from tb_gradients.proto import event_pb2

HISTOGRAMS = "gradients"
"""Stands for the histograms of the gradients among the names of statistics."""

LOSSES = "losses"
"""Stands for the losses that ``step(losses=...)`` was given among the names of statistics."""

FINDINGS_TAG = "findings"
"""Tag of the text summary with the flags."""

_COLUMNS = {"zero_fraction": "gradient_zero_share"}
"""Tags whose name is not that of the column."""

DEFAULT = ("gradient_norm", "zero_fraction", "update_ratio", HISTOGRAMS, LOSSES)
MEBIBYTE = 2**20

_DT_STRING = 7
_DATA_CLASS_TENSOR = 2


@dataclasses.dataclass(frozen=True)
class Summaries:
    """Which standard summaries a monitor writes besides its own data.

    Attributes:
        statistics: names of tags: "gradient_norm", "zero_fraction", "update_ratio", "gradients"
            (histograms), "losses" (those with names), or any statistic of the data format, such as
            "dead_unit_share".
        variables: a regular expression; summaries are written of variables whose path contains a
            match. Empty: of all.
        budget: bytes that they may take on disk in one run. The more of it is used, the fewer
            frames have summaries: every second one from half of it on, every fourth one from
            three quarters on, and so forth.

    Raises:
        ValueError: an unknown statistic, an invalid expression, or a budget below zero.
    """

    statistics: Sequence[str] = DEFAULT
    variables: str = ""
    budget: int = 64 * MEBIBYTE

    def __post_init__(self) -> None:
        names = self.statistics
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"summaries need a list of names of statistics, not {names!r}")
        known = {*DEFAULT, *schema.statistic_names(), *(c.name for c in schema.DERIVED)}
        if unknown := sorted(set(names) - known):
            raise ValueError(
                f"there is no statistic {unknown[0]!r} to summarize; known are: "
                f"{', '.join(sorted(known))}"
            )
        object.__setattr__(self, "statistics", tuple(dict.fromkeys(names)))
        try:
            re.compile(self.variables)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"summaries of variables={self.variables!r}: no regular expression ({error})"
            ) from None
        if not isinstance(self.budget, (int, float)) or not self.budget >= 0:
            raise ValueError(f"summaries need a budget in bytes, not {self.budget!r}")

    @classmethod
    def of(cls, wanted: bool | Sequence[str] | Summaries | None) -> Summaries | None:
        """What the argument ``summaries=`` of the monitors stands for; None: no summaries.

        Raises:
            ValueError: it is none of True, False, a list of names or ``Summaries``.
        """
        if wanted is None or wanted is False:
            return None
        if wanted is True:
            return cls()
        if isinstance(wanted, Summaries):
            return wanted
        if isinstance(wanted, (list, tuple)):
            return cls(tuple(wanted))
        raise ValueError(
            f"summaries={wanted!r}: it is True, False, a list of names of statistics, or "
            "tb_gradients.Summaries(...)"
        )


class Summarizer:
    """Makes the summaries of one run, frame by frame, within their budget."""

    def __init__(self, wanted: Summaries) -> None:
        self._wanted = wanted
        self._spent = self._frames = 0

    def of_frame(self, table: VariableTable, frame: Frame) -> event_pb2.Summary:
        """The summaries of a frame; empty where the budget leaves this frame out."""
        summary = event_pb2.Summary()
        number, self._frames = self._frames, self._frames + 1
        left = self._wanted.budget - self._spent
        if left <= 0 or number % _stride(left / self._wanted.budget):
            return summary
        summary.value.extend(values_of(table, frame, self._wanted))
        size = summary.ByteSize()
        if size > left:
            return event_pb2.Summary()
        self._spent += size
        return summary


def _stride(left: float) -> int:
    """Every how many frames have summaries while so much of the budget is left."""
    return 1 << math.floor(-math.log2(left))


def values_of(
    table: VariableTable, frame: Frame, wanted: Summaries
) -> Iterator[event_pb2.Summary.Value]:
    """The scalars and histograms of a frame. What was not measured is left out."""
    pattern = re.compile(wanted.variables)
    rows = [i for i, path in enumerate(table.paths) if pattern.search(path)]
    one = Recording(
        table, np.array([frame.step]), frame.values[np.newaxis], frame.context[np.newaxis]
    )
    nans = one.statistic("gradient_nan_count")[0]
    infinities = one.statistic("gradient_inf_count")[0]
    for name in wanted.statistics:
        if name in (HISTOGRAMS, LOSSES):
            continue
        numbers = one.statistic(_COLUMNS.get(name, name))[0]
        if name == "gradient_norm":  # the column has the norm of the finite elements
            numbers = np.where(infinities > 0, np.float32(np.inf), numbers)
            numbers = np.where(nans > 0, np.float32(np.nan), numbers)
        measured = ~np.isnan(numbers) | ((nans > 0) & (name == "gradient_norm"))
        for row in rows:
            if measured[row]:
                yield event_pb2.Summary.Value(
                    tag=f"{name}/{table.paths[row]}", simple_value=float(numbers[row])
                )
    if LOSSES in wanted.statistics and frame.lane is not None:
        for name, values in frame.lane.named_losses_at([frame.step]).items():
            if not np.isnan(values[0]):
                yield event_pb2.Summary.Value(tag=f"{LOSSES}/{name}", simple_value=float(values[0]))
    if HISTOGRAMS in wanted.statistics and frame.histograms is not None:
        smallest, largest, mean, rms = (
            one.statistic(f"gradient_{name}")[0].tolist() for name in ("min", "max", "mean", "rms")
        )
        for row in rows:
            counts = frame.histograms[row]
            histogram = _histogram(counts, smallest[row], largest[row], mean[row], rms[row])
            if histogram is not None:
                yield event_pb2.Summary.Value(
                    tag=f"{HISTOGRAMS}/{table.paths[row]}", histo=histogram
                )


def _edges() -> tuple[Any, Any]:
    """Bins of the data format in rising order of value, and the right edge of each.

    Without those of NaN and the infinities, which no histogram of TensorBoard has.
    """
    exponents = schema.HISTOGRAM_LOWEST_EXPONENT + np.arange(schema.HISTOGRAM_OCTAVES)
    low, high = 2.0**exponents, 2.0 ** (exponents + 1.0)
    low[0] = 0.0
    octaves = np.arange(schema.HISTOGRAM_OCTAVES)
    order = [*(schema.BIN_NEGATIVE + octaves[::-1]), schema.BIN_ZERO]
    order += [*(schema.BIN_POSITIVE + octaves)]
    # Zero is a bin of its own, which ends at the smallest number that is not zero.
    return np.array(order), np.array([*-low[:0:-1], -1e-45, 1e-45, *high])


_ORDER, _RIGHT = _edges()


def _histogram(
    counts: Any, smallest: float, largest: float, mean: float, rms: float
) -> event_pb2.HistogramProto | None:
    """The finite elements of a gradient; None where there are none.

    The counts of a large variable are those of a sample. Sums are scaled to the sample.
    """
    ordered = np.asarray(counts, np.float64)[_ORDER]
    filled = np.flatnonzero(ordered)
    if not filled.size:
        return None
    number = float(ordered.sum())
    result = event_pb2.HistogramProto(
        min=smallest if math.isfinite(smallest) else float(_RIGHT[max(filled[0] - 1, 0)]),
        max=largest if math.isfinite(largest) else float(_RIGHT[filled[-1]]),
        num=number,
        sum=mean * number if math.isfinite(mean) else 0.0,
        sum_squares=rms**2 * number if math.isfinite(rms) else 0.0,
    )
    before = int(filled[0])
    for place in filled.tolist():
        if place > before:  # empty bins between two that are not become one
            result.bucket_limit.append(_RIGHT[place - 1])
            result.bucket.append(0.0)
        result.bucket_limit.append(_RIGHT[place])
        result.bucket.append(ordered[place])
        before = place + 1
    return result


# --- The flags as a text --------------------------------------------------------------------


def findings_of(flags: Iterable[Flag], undecided: str = "") -> event_pb2.Summary:
    """The flags as a text summary in Markdown, for TensorBoard's Text dashboard."""
    tensor = event_pb2.Tensor(
        dtype=_DT_STRING,
        tensor_shape=event_pb2.TensorShape(),
        string_val=[markdown(flags, undecided).encode()],
    )
    metadata = event_pb2.SummaryMetadata(
        plugin_data=event_pb2.PluginData(plugin_name="text"), data_class=_DATA_CLASS_TENSOR
    )
    value = event_pb2.Summary.Value(tag=FINDINGS_TAG, tensor=tensor, metadata=metadata)
    return event_pb2.Summary(value=[value])


def markdown(flags: Iterable[Flag], undecided: str = "") -> str:
    """The flags, worst first, with their causes and fixes, in Markdown."""
    parts = [_section(flag) for flag in flags]
    if parts:
        return "\n\n".join(parts)
    return f"Too early for a verdict: {_plain(undecided)}" if undecided else "No findings."


def _section(flag: Flag) -> str:
    since = f"since step {flag.first_step}"
    if not flag.open:
        since = f"steps {flag.first_step} to {flag.last_step}"
    lines = [f"**{flag.severity.label}: {flag.rule}** ({since})", "", _plain(flag.summary), ""]
    lines += [f"* Cause ({cause.confidence:.0%}): {_plain(cause.summary)}" for cause in flag.causes]
    lines += [f"* Try: {_plain(fix)}" for fix in flag.fixes]
    lines += [f"* Follows from it: {_plain(one)}" for one in flag.follow_ups]
    return "\n".join(lines).rstrip()


def _plain(text: str) -> str:
    """A sentence whose names of variables are no markup: ``__init__`` is not bold; code is code."""
    parts = inert(text).split("`")
    parts[::2] = [re.sub(r"([\\*_#<>|\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
