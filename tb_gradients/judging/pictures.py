"""Which picture shows a finding best: a rule names it, the tab draws it.

In:  names of columns.
Out: plain data for the rule book.
Does not know how anything is drawn.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the tab opens with a finding of a rule.

    >>> class Fading(Rule):
    ...     picture = Picture("by_depth", "gradient_rms")

    The default draws the evidence: the statistic that its first number is named after, over steps,
    and as lines those of its numbers that are columns.

    Attributes:
        view: all variables ``"over_steps"``, or ``"by_depth"``, from the first layer to the last.
        statistic: what is drawn there; ``""``: what the evidence is named after.
        chart: columns of the first variable or of the run, drawn as lines on one axis; two units
            have a scale each. ``None``: the columns that the evidence names; empty: no lines.
        limit: the number of the evidence whose threshold is a line in that chart; ``""``: the
            one named like its first column.
    """

    view: Literal["over_steps", "by_depth"] = "over_steps"
    statistic: str = ""
    chart: tuple[str, ...] | None = None
    limit: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the HTTP route ``rules`` answers it."""
        return {
            "view": self.view,
            "statistic": self.statistic,
            "chart": None if self.chart is None else list(self.chart),
            "limit": self.limit,
        }
