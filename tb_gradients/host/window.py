"""Combine all steps since the last frame into the window columns of the next one.

In:  a row per step, as the device has kept it.
Out: the window columns of a frame.
Does not know about TensorFlow, schedules, files or rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.host.sampling import Layout

LAYOUT, APPLIED, LOSS, INPUTS = range(4)
HEADER = 4
"""A row of a step: number of its layout, 1 if weights were changed (-1 if a loss-scaling optimizer
skipped the step), loss, 1 if an input was not finite (-1: unknown), and sums of squares."""

UNKNOWN = -1
"""Number of the layout of steps whose rows are lost. NaN in the place of a variable, in the order
of the table, says at which of them its gradient was first not finite."""

Floats = npt.NDArray[np.float64]


class Window:
    """The steps since the last frame.

    Args:
        count: number of variables.
        layouts: the layouts by number; may grow.
    """

    def __init__(self, count: int, layouts: Mapping[int, Layout]) -> None:
        self._count = count
        self._layouts = layouts
        self._reset()

    def _reset(self) -> None:
        count = self._count
        self._largest = np.full(count, -1.0)
        self._broken_at = np.full(count, -1)
        self._zero, self._none, self._seen = np.zeros((3, count))
        self._steps = self._applied = self._skipped = 0.0
        self._has_loss = False
        self._losses: list[npt.NDArray[Any]] = []
        self._loss_broken_at = -1
        self._inputs_seen, self._inputs_broken_at = False, -1

    def add(self, first: int, rows: npt.NDArray[np.float32]) -> None:
        """The steps from ``first`` on, one per row; those of ``UNKNOWN`` are only counted."""
        numbers = rows[:, LAYOUT].astype(int)
        if numbers[0] == UNKNOWN:
            self._steps += len(rows)
            broken = np.isnan(rows[:, HEADER:])
            for row in np.flatnonzero(broken.any(axis=0)):
                if self._broken_at[row] < 0:
                    self._broken_at[row] = first + int(broken[:, row].argmax())
        elif (numbers == numbers[0]).all():
            self._add(np.arange(first, first + len(rows)), rows, self._layouts[int(numbers[0])])
        else:
            for number in np.unique(numbers):
                chosen = numbers == number
                self._add(first + np.flatnonzero(chosen), rows[chosen], self._layouts[int(number)])

    def _add(self, steps: Any, rows: npt.NDArray[np.float32], layout: Layout) -> None:
        order = list(layout.order)
        squares = rows[:, HEADER : HEADER + len(order)]
        finite = np.isfinite(squares)
        if not finite.all():
            found = ~finite
            at = np.where(found.any(axis=0), steps[found.argmax(axis=0)], -1)
            before = self._broken_at[order]
            earlier = (at >= 0) & ((before < 0) | (at < before))
            self._broken_at[order] = np.where(earlier, at, before)
            squares = np.where(finite, squares, -1)
        if order:
            self._largest[order] = np.maximum(self._largest[order], squares.max(axis=0))
            self._zero[order] += (squares == 0).sum(axis=0)
        none = list(layout.none_rows)
        self._none[none] += len(rows)
        self._seen[[*order, *none]] += len(rows)
        self._steps += len(rows)
        self._applied += float((rows[:, APPLIED] > 0).sum())
        self._skipped += float((rows[:, APPLIED] < 0).sum())
        inputs = rows[:, INPUTS]
        self._inputs_seen |= bool((inputs >= 0).any())
        if (inputs > 0).any() and self._inputs_broken_at < 0:
            self._inputs_broken_at = int(steps[inputs > 0].min())
        if layout.has_loss:
            self._add_losses(steps, rows[:, LOSS].astype(np.float64))

    def _add_losses(self, steps: Any, losses: Floats) -> None:
        self._has_loss = True
        finite = np.isfinite(losses)
        if not finite.all():
            at = int(steps[~finite].min())
            if self._loss_broken_at < 0 or at < self._loss_broken_at:
                self._loss_broken_at = at
        self._losses.append(losses[finite])

    def take(self, step: int, nonfinite: Floats) -> tuple[dict[str, Floats], dict[str, float]]:
        """The window columns of a frame at ``step``, and those of its context; a new one begins.

        Args:
            nonfinite: [variables], non-finite elements of the gradients at the frame's own step.
        """
        with np.errstate(all="ignore"):  # 0 / 0 means "not measured"
            measured = self._seen - self._none
            age = np.where(self._broken_at >= 0, step - self._broken_at, -1).astype(np.float64)
            # A sum of squares that only left float32 at this step.
            age[(age == 0) & (nonfinite == 0)] = -1
            largest = np.sqrt(np.where(self._largest >= 0, self._largest, np.nan))
            columns = {
                "gradient_norm_max": largest,
                "nonfinite_age": np.where(measured > 0, age, np.nan),
                "zero_step_share": self._zero / measured,
                "none_step_share": self._none / self._seen,
            }
        context = {
            "window_steps": self._steps,
            "applied_steps": self._applied,
            "skipped_steps": self._skipped,
        }
        if self._has_loss:
            losses = np.concatenate(self._losses)
            if losses.size:
                context["loss_mean"] = float(losses.mean())
                context["loss_min"], context["loss_max"] = float(losses.min()), float(losses.max())
            broken = self._loss_broken_at
            context["loss_nonfinite_age"] = float(step - broken) if broken >= 0 else -1.0
        if self._inputs_seen:
            broken = self._inputs_broken_at
            context["inputs_nonfinite_age"] = float(step - broken) if broken >= 0 else -1.0
        self._reset()
        return columns, context
