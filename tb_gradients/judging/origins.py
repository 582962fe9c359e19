"""Put what is known of an operation into the flag that comes from it.

In:  flags as the rules judge them, and flags of the same run with their origin.
Out: the same flags with origin; where it decides the cause, that cause leads, and so does its fix.
Does not know how an origin is found.

Rules judge frames, of which an origin is no part: a training side that can look into the step finds
it. So it is stored with the flags, and goes over to those that are judged anew from the frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tb_gradients.flags import Cause, Flag, Origin
from tb_gradients.judging.before_nan import without_search
from tb_gradients.judging.causes import cause
from tb_gradients.judging.operations import (
    FADES,
    GROWS,
    NONE,
    NONFINITE,
    UNITS,
    ZERO,
    Remedy,
    remedy,
)

ASKS = {
    "disconnected_gradient": NONE,
    "nonfinite_gradient": NONFINITE,
    "nonfinite_loss": NONFINITE,
    "nonfinite_weight": NONFINITE,
    "loss_scale_collapse": NONFINITE,
    "zero_gradient": ZERO,
    "vanishing_gradient": FADES,
    "exploding_gradient": GROWS,
    "dead_units": UNITS,
    "saturated_units": UNITS,
}
"""The rules whose flags have an origin, and how the gradient is lost there."""

BY_SIZE = (FADES, GROWS, UNITS)
"""Ways of which the origin says where, and the rule why."""

CERTAIN, LIKELY = 0.97, 0.85
"""Confidence in a cause that the graph, or an exact repetition, shows; and in another's."""

_OF_THE_DATA = frozenset({"nonfinite_inputs", "nonfinite_targets"})


def with_origins(flags: Iterable[Flag], explained: Iterable[Flag]) -> tuple[Flag, ...]:
    """The flags, each with the origin of the explained one that it is.

    Args:
        flags: in any order, which is kept.
        explained: flags of the same run, judged earlier; those without an origin do not count.
    """
    known = [flag for flag in explained if flag.origin is not None]
    return tuple(_with_origin(flag, known) for flag in flags)


def _with_origin(flag: Flag, known: Iterable[Flag]) -> Flag:
    for other in known:
        if other.origin is not None and _is_of(flag, other):
            return explain(flag, other.origin)
    return flag


def _is_of(flag: Flag, other: Flag) -> bool:
    """Whether two flags, of which one may have grown since, are about the same."""
    lost = ASKS.get(flag.rule)
    if lost is None or lost != ASKS.get(other.rule) or flag.origin is not None:
        return False
    if lost == UNITS and flag.rule != other.rule:
        return False
    if lost == NONFINITE and flag.first_step != other.first_step:
        return False
    if not flag.variables or not other.variables:
        return flag.rule == other.rule or flag.first_step == other.first_step
    return not set(flag.variables).isdisjoint(other.variables)


_EXACT = frozenset(
    {"losses_not_added", "axis_of_length_one", "batch_of_one", "zero_initialization"}
    | {"loss_output_mismatch"}
)
"""Causes that say more than the operation does: why a value that is read does not count, why what
comes to the operation is zero, or which output a loss clips."""


def explain(flag: Flag, origin: Origin) -> Flag:
    """The flag with an origin, and with the cause and the fix that follow from it in front."""
    if origin.only_xla and flag.causes[:1] and flag.causes[0].id in _OF_THE_DATA:
        return flag  # the step held NaN from the start, and without XLA other operations show it
    advice = _advice(flag, origin)
    if ASKS[flag.rule] in BY_SIZE:
        return dataclasses.replace(flag, origin=origin, fixes=_fixes_by_size(flag.fixes, advice))
    if advice is None or (flag.causes[:1] and flag.causes[0].id in _EXACT):
        return dataclasses.replace(flag, origin=origin)
    known = next((c for c in flag.causes if c.id == advice.cause), None)
    if known is None or origin.exact:
        confidence = CERTAIN if origin.exact else LIKELY
    else:
        confidence = max(known.confidence, LIKELY)
    found = cause(advice.cause, confidence, origin.summary)
    # The operation broke on finite numbers: the data did not hold any other.
    others = [c for c in flag.causes if c.id != advice.cause and c.id not in _OF_THE_DATA]
    if _leads(advice, others):
        causes = [found, *(_below(c, found.confidence) for c in others)]
        fixes = [advice.fix, *_fixes_of_others(flag, others)]
        if flag.causes[:1] and flag.causes[0].id == advice.cause == "unused_variable":
            fixes = list(flag.fixes)  # the rule knows the layer, and whether it matters
    else:  # what made the values large leads; the operation is where they became too large
        causes = [*others[:1], _below(found, others[0].confidence), *others[1:]]
        fixes = [*flag.fixes[:1], advice.fix, *flag.fixes[1:]]
    fixes = without_search(fixes)
    return dataclasses.replace(flag, origin=origin, causes=tuple(causes), fixes=tuple(fixes))


def _fixes_by_size(fixes: tuple[str, ...], advice: Remedy | None) -> tuple[str, ...]:
    """A factor of the program's own is to be removed. Why an activation is flat, or weights are
    small, the rule knows better."""
    if advice is None:
        return fixes
    if advice.singular and not advice.cause:
        return (advice.fix, *fixes)
    return fixes or (advice.fix,)


def _fixes_of_others(flag: Flag, others: list[Cause]) -> list[str]:
    """The fixes of the causes that are left, where each cause has one; else all of them."""
    if len(flag.fixes) != len(flag.causes):
        return list(flag.fixes)
    left = {c.id for c in others}
    return [fix for fix, c in zip(flag.fixes, flag.causes, strict=True) if c.id in left]


def _advice(flag: Flag, origin: Origin) -> Remedy | None:
    if not origin.operation and ASKS[flag.rule] != NONE:
        return None
    return remedy(origin.operation, ASKS[flag.rule])


def _leads(advice: Remedy, others: list[Cause]) -> bool:
    return advice.singular or not others or others[0].confidence < LIKELY


def _below(reason: Cause, limit: float) -> Cause:
    """No surer than what leads: causes are in the order of confidence."""
    return dataclasses.replace(reason, confidence=min(reason.confidence, limit))
