"""Pictures of one statistic of a run, drawn with matplotlib.

In:  arrays over frames and variables.
Out: matplotlib axes.
Does not know where the numbers come from. Imports matplotlib only when something is drawn.

A logarithmic axis has no place for zero, and a gap would look like "not measured": zeros lie below
the smallest value, in a colour or on a line of their own. A frame in which an element of the
gradient is NaN or infinite has a cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.frames import FloatArray
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Steps = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

_MISSING = "#d9d9d9"
_ZERO = "black"
_NONFINITE = "magenta"
_MOST_LABELS = 40


def new_axes(axes: Axes | None) -> Axes:
    """The axes to draw on, or those of a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if axes is not None:
        return axes
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install matplotlib") from error
    made: Axes = matplotlib.pyplot.subplots(layout="constrained")[1]
    return made


def heat_map(
    axes: Axes,
    column: schema.Column,
    steps: Steps,
    paths: Sequence[str],
    values: FloatArray,
    nonfinite: Marks,
) -> Axes:
    """A row for each variable, a column for each frame.

    Args:
        values, nonfinite: [frames, variables].
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    colours = colormaps["viridis"].with_extremes(bad=_MISSING, under=_ZERO)
    finite = values[np.isfinite(values)]
    seen = finite[finite > 0] if column.scale == "log" else finite
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (1.0, 1.0)
    if low == high:
        low, high = (low / 2, high * 2) if column.scale == "log" else (low - 0.5, high + 0.5)
    norm = LogNorm(low, high) if column.scale == "log" else Normalize(low, high)
    shown = np.array(values, np.float64)
    if column.scale == "log":
        shown[shown == 0] = low / 10
    mesh = axes.imshow(
        shown.T, aspect="auto", interpolation="nearest", cmap=colours, norm=norm, origin="upper"
    )
    zeros = bool((values == 0).any()) and column.scale == "log"
    label = f"{column.name} ({column.unit})" + (", black: zero" if zeros else "")
    axes.figure.colorbar(mesh, ax=axes, label=label, extend="min" if zeros else "neither")
    frame, row = np.nonzero(nonfinite)
    if frame.size:
        axes.plot(frame, row, "x", color=_NONFINITE, label="NaN or infinite", clip_on=False)
        axes.legend(loc="upper right")
    ticks = np.unique(np.linspace(0, max(len(steps) - 1, 0), min(len(steps), 8)).astype(int))
    axes.set_xticks(ticks, [str(steps[i]) for i in ticks])
    _name_variables(axes.set_yticks, paths)
    axes.set_xlabel("step (one column for each frame)")
    return axes


def by_depth(
    axes: Axes, column: schema.Column, paths: Sequence[str], values: FloatArray, nonfinite: Marks
) -> Axes:
    """One frame: a dot for each variable, in network order.

    Args:
        values, nonfinite: [variables].
    """
    places = np.arange(len(paths))
    _dots(axes, column, places, values, nonfinite, "o")
    _name_variables(axes.set_xticks, paths, rotation=90)
    return axes


def over_steps(
    axes: Axes, column: schema.Column, steps: Steps, path: str, values: FloatArray, nonfinite: Marks
) -> Axes:
    """One variable: a line over the frames.

    Args:
        values, nonfinite: [frames].
    """
    _dots(axes, column, steps, values, nonfinite, ".-")
    axes.set_xlabel("step")
    axes.set_title(_text(path), fontsize="medium")
    return axes


def _at_height(axes: Axes, places: Any, height: float, style: str, colour: str, label: str) -> None:
    """Marks of values that have no place on the axis, at a height from 0 to 1."""
    heights = np.full(len(places), height)
    bottom = axes.get_xaxis_transform()
    axes.plot(places, heights, style, color=colour, transform=bottom, label=label)


def _dots(
    axes: Axes, column: schema.Column, places: Any, values: FloatArray, marks: Marks, style: str
) -> None:
    shown = np.array(values, np.float64)
    if column.scale == "log":
        shown[shown <= 0] = np.nan
        axes.set_yscale("log")
    axes.plot(places, shown, style, markersize=4)
    if column.scale == "log" and (zero := values == 0).any():
        _at_height(axes, places[zero], 0.02, "v", _ZERO, "zero")
    if marks.any():
        _at_height(axes, places[marks], 0.98, "x", _NONFINITE, "NaN or infinite")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    axes.set_ylabel(f"{column.name} ({column.unit})")


def _name_variables(set_ticks: Any, paths: Sequence[str], **style: Any) -> None:
    """Names at the variables; of many only at some."""
    places = range(0, len(paths), -(-len(paths) // _MOST_LABELS) or 1)
    set_ticks(list(places), [_text(paths[i]) for i in places], fontsize="small", **style)


def _text(path: str) -> str:
    r"""A name that matplotlib shows as it is: between two ``$`` it would read mathematics."""
    return inert(path).replace("$", r"\$")
