"""Which values of a statistic the rules call healthy, for whoever shows the numbers.

In:  what each rule declares beside its thresholds.
Out: one range per statistic, as plain data for the rule book.
Does not decide anything: a rule also looks at how long, where and what else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tb_gradients.judging.base import Rule, Threshold

Against = Literal["", "start", "last_layers"]

USUAL = {"update_ratio": (1e-4, 1e-2)}
"""What tuned trainings have, within the limits: beyond it a number is worth a look, no more. (An
update ratio of 1e-3, with a factor of ten for optimizers and schedules.)"""


@dataclasses.dataclass(frozen=True)
class Healthy:
    """The values of a statistic that a rule calls healthy.

    >>> class Sleepy(Rule):
    ...     share = Threshold(0.5, "none of 45 healthy programs has more")
    ...     healthy = (Healthy("dead_unit_share", below=share),)

    Attributes:
        statistic: a stored or derived one.
        above, below: its limits; the rule's own thresholds, or numbers. ``None``: there is none.
        against: the value itself (``""``), its ratio to that at the ``"start"`` of the run, or to
            that of the ``"last_layers"`` at the same step.
        kernels_only: it holds for kernels, and says nothing of biases and scales.
    """

    statistic: str
    above: Threshold[float] | float | None = None
    below: Threshold[float] | float | None = None
    against: Against = ""
    kernels_only: bool = False


def ranges(rules: Iterable[type[Rule]]) -> list[dict[str, Any]]:
    """Of each statistic the range that all rules agree on, as ``rules`` answers it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for rule in rules:
        for one in rule.healthy:
            entry = found.setdefault(
                (one.statistic, one.against),
                {
                    "statistic": one.statistic,
                    "against": one.against,
                    "above": None,
                    "below": None,
                    "usual": list(USUAL[one.statistic])
                    if one.statistic in USUAL and one.against == ""
                    else None,
                    "kernels_only": one.kernels_only,
                    "rules": [],
                },
            )
            entry["above"] = _tightest(max, entry["above"], _number(one, "above"))
            entry["below"] = _tightest(min, entry["below"], _number(one, "below"))
            entry["rules"].append(rule.id)
    return list(found.values())


def _number(one: Healthy, side: str) -> float | None:
    # Read past the descriptor that a threshold is in its rule.
    limit = vars(one)[side]
    return limit if limit is None else float(getattr(limit, "default", limit))


def _tightest(choose: Any, one: float | None, other: float | None) -> float | None:
    known = [limit for limit in (one, other) if limit is not None]
    return choose(known) if known else None
