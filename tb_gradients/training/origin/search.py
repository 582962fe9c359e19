"""Answer one question about one step: which operation made its gradients as they are.

In:  a step to repeat, and how the gradients of some of its variables are lost.
Out: ``Origin``; None: no operation was found.
Does not know who asks, a flag or a user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from tb_gradients.flags import Origin
from tb_gradients.judging.operations import GROWS, UNITS
from tb_gradients.training.origin.describing import (
    origin_of_break,
    origin_of_way,
    origin_of_zero,
    place_in,
)
from tb_gradients.training.origin.fading import switched_units, way_to
from tb_gradients.training.origin.repeating import Broken, Kept, repeat, where_it_ends

VARIABLES = 4
"""Variables of a flag from which a way to the loss is looked at."""


def of_nonfinite(
    replicas: Iterable[tuple[Kept, Any]], limit: int
) -> tuple[Origin | None, Broken] | None:
    """Of NaN and infinite numbers; None: the repeated step is finite.

    Args:
        replicas: the step as each replica makes it, and its loss there: the batch of one of them
            may break alone.
        limit: bytes that batch and weights may take.

    Returns:
        No origin: the data, or the weights, were not finite before.
    """
    for kept, loss in replicas:
        found = repeat(kept, loss, limit)
        if found is not None:
            return origin_of_break(kept.step, found, kept.exact), found
    return None


def of_zero(kept: Kept, loss: Any, wanted: Sequence[str], limit: int) -> Origin | None:
    """Of gradients that are exactly zero.

    Args:
        loss: of the step.
        wanted: paths of the variables, in network order.
        limit: bytes that batch and weights may take.
    """
    # From the loss on: a layer behind the operation may be one that is fed with zeros.
    for path in [*reversed(wanted[-VARIABLES:]), *wanted[:1]]:
        found = where_it_ends(kept, loss, path, limit)
        origin = None if found is None else origin_of_zero(kept.step, found)
        if origin is not None:
            way = way_to(kept, loss, path, limit)
            rows = () if way is None else way.rows(place_in(kept.step))
            return dataclasses.replace(origin, path=rows)
    return None


def of_size(kept: Kept, loss: Any, wanted: Sequence[str], lost: str, limit: int) -> Origin | None:
    """Of gradients that fade or grow on their way from the loss, or of units without one.

    Args:
        loss, wanted, limit: as those of ``of_zero``.
        lost: ``FADES``, ``GROWS`` or ``UNITS``.
    """
    for path in wanted[:VARIABLES]:
        way = way_to(kept, loss, path, limit)
        if way is None:
            continue
        if lost == UNITS:
            switched = switched_units(kept, loss, way, limit)
            if switched is not None:
                return origin_of_way(kept.step, way, lost, switched.passage, switched)
            continue
        at = way.dominant(place_in(kept.step), grows=lost == GROWS)
        if at is not None or way.changes(grows=lost == GROWS):
            return origin_of_way(kept.step, way, lost, at)
        return None
    return None
