"""All units of a layer compute the same."""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Evidence, Severity
from tb_gradients.frames import VariableTable
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.initial_values import (
    initialization_cause,
    is_vector,
    multiplies_nothing,
    start_at_random,
    starts_constant,
    starts_random,
)
from tb_gradients.judging.networks import gates
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import BoolArray, IntArray, Rows, Window
from tb_gradients.judging.words import names, plural


def start_different(table: VariableTable, _: Rows) -> BoolArray:
    """Variables whose units are known to start at different values, or that are not weights."""
    weights = (starts_random(v) or is_vector(v) or multiplies_nothing(v) for v in table.variables)
    return np.fromiter(weights, bool, len(table.variables))


class SymmetricUnits(Rule):
    """All units of a layer receive the same gradient, so they stay equal.

    Why it matters: a layer of 128 equal units works like a layer of one unit.

    Definition: the gradient is not zero, and its spread over the output units (norm of the
    deviation from their mean, divided by the norm; in an LSTM or GRU over the units of each gate)
    stays below 1e-4 over at least 10 steps, in a weight of more than one unit that is not known to
    have started at random. Units that start different receive different gradients from the first
    step (Goodfellow, Bengio, Courville: Deep Learning, section 8.4).

    Try:
    * Start the kernel at random values: `kernel_initializer="glorot_uniform"` or `"he_normal"`.
    * Keep zeros for biases and for the last layer of a residual branch: there they are right.

    Silent when: only the first steps look alike (a zero-initialised head, residual scale or LoRA
    factor recovers by itself); the variable is a bias, a learnt scale or a bit width, which start
    equal by design; the units are all dead.
    """

    id = "symmetric_units"
    title = "All units of a layer are the same"
    severity = Severity.CRITICAL
    needs = ("unit_spread", "gradient_norm")
    every = 4
    follows = ("bad_data",)
    comes_of = ("weights_replaced",)

    spread = Threshold(
        1e-4, "equal columns differ by rounding, 1e-7 to 1e-6 relative; different ones by > 1e-2"
    )
    healthy = (Healthy("unit_spread", above=spread),)
    steps = Threshold(10, "a zero-initialised layer behind it recovers within two or three steps")
    frames = Threshold(3, "one or two frames may be chance")

    basis = Basis(sees=("unit_spread",), steps=steps, frames=frames)

    table_decides = True

    def nothing_to_judge(self, window: Window) -> str:
        may = self._judged(window).any()
        return "" if may else "all weights of several units start at different values"

    @staticmethod
    def _judged(window: Window) -> BoolArray:
        rows = window.rows
        judged: BoolArray = rows.judged & ~rows.minor & (rows.units > 1)
        return judged & ~rows.once(start_different)

    def may_find(self, window: Window, frames: slice) -> BoolArray:
        equal = window.statistic("unit_spread")[frames] < self.spread
        return np.asarray((self._judged(window) & equal).any(axis=1))

    def detect(self, window: Window) -> Detection | None:
        reach = window.last_frames(self.steps, self.frames)
        if reach is None:
            return None
        judged = self._judged(window)
        spread = window.statistic("unit_spread")
        candidates = judged & (spread[-1] < self.spread)
        if not candidates.any():
            return HEALTHY
        known = ~np.isnan(spread) & (window.statistic("gradient_norm") > 0)
        equal = known & (spread < self.spread)
        enough = known[reach].sum(axis=0) >= self.frames
        faulty = candidates & enough & ~(known & ~equal)[reach].any(axis=0)

        def since() -> IntArray:
            return window.onset(equal, known, per_step=True)

        certain = [starts_constant(v) for v in window.table.variables]
        severity = np.where(certain, int(Severity.CRITICAL), int(Severity.WARNING))
        return Detection.of(faulty, since, severity)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        variables = [window.table.variables[int(row)] for row in rows]
        spread = float(np.nanmax(window.statistic("unit_spread")[-1][rows]))
        start = initialization_cause(window.table, rows)
        parts = gates(variables[0])
        units = plural(variables[0].units // parts, "unit")
        units += " of each gate" if parts > 1 else ""
        return Finding(
            summary=f"All {units} of {names(window.table, rows)} received the same gradient from "
            f"step {since} on (relative spread {spread:.1e}): the layer worked like a single unit.",
            evidence=(
                Evidence("unit_spread", spread, self.spread),
                Evidence("units", variables[0].units),
            ),
            causes=(start,) if start else (),
            fixes=(start_at_random(variables),),
        )
