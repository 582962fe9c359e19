"""Make an ``Origin`` of what was found in a traced step.

In:  the step, and the operation in which a gradient was lost.
Out: ``Origin``: operation, layer, line, and one sentence.
Does not know how the operation was found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_gradients.flags import Origin, PathRow
from tb_gradients.judging.operations import NONE, NONFINITE, ZERO, remedy
from tb_gradients.judging.words import plural
from tb_gradients.training.origin.cuts import DROPPED, NEVER_READ, Cut
from tb_gradients.training.origin.fading import Switched
from tb_gradients.training.origin.lines import Place, place_of
from tb_gradients.training.origin.ranges import described, is_real
from tb_gradients.training.origin.repeating import GIVEN, Broken
from tb_gradients.training.origin.traced import TracedStep
from tb_gradients.training.origin.way import Passage, PlaceOf, Way


def origin_of_cut(step: TracedStep, path: str, cut: Cut) -> Origin:
    """Of a variable that has no gradient."""
    if cut.kind == NEVER_READ:
        layer = next((p for p in reversed(path.split("/")[:-1]) if p in step.layers), "")
        return Origin("", layer, summary=f"Nothing in the step reads {path}.")
    operation = cut.operation
    assert operation is not None
    origin, where = _located(step, operation, cut.within)
    if cut.kind == DROPPED:
        summary = f"{path} is read{where}, and nothing of it reaches the loss."
    else:
        advice = remedy(operation.type, NONE)
        wrong = advice.wrong if advice is not None else "has no gradient"
        more = f" {plural(cut.others, 'more operation')} cut it off, too." if cut.others else ""
        summary = f"{operation.type}{where} {wrong}.{more}"
    return dataclasses.replace(
        origin,
        phase="graph",
        inputs=tuple(_kind_of(tensor) for tensor in operation.inputs)[:8],
        outputs=tuple(_kind_of(tensor) for tensor in operation.outputs)[:8],
        summary=summary,
    )


def origin_of_break(step: TracedStep, broken: Broken, exact: bool) -> Origin | None:
    """Of numbers that are not finite; None: the data, or the weights, were so before.

    Args:
        exact: the step was repeated from its own weights.
    """
    operation = broken.operation
    if operation.type in GIVEN:
        return None
    origin, where = _located(step, operation, broken.within)
    advice = remedy(operation.type, NONFINITE)
    wrong = advice.wrong if advice is not None else "leaves the range of the dtype"
    share, counted = _share(broken.outputs)
    summary = f"{operation.type}{where}, {broken.phase}: {counted}. It {wrong}."
    if broken.only_xla:
        summary += " Only with `jit_compile=True`: without XLA the same step is finite."
    return dataclasses.replace(
        origin,
        phase=broken.phase,
        inputs=tuple(map(described, broken.inputs)),
        outputs=tuple(map(described, broken.outputs)),
        share=share,
        exact=exact,
        only_xla=broken.only_xla,
        summary=summary,
    )


def origin_of_zero(step: TracedStep, ended: Broken, *, exact: bool = False) -> Origin | None:
    """Of gradients that are exactly zero; None: what made them so is elsewhere.

    (A product with inputs that are zero has no fault of its own.)
    """
    operation = ended.operation
    advice = remedy(operation.type, ZERO)
    if advice is None:
        return None
    origin, where = _located(step, operation, ended.within)
    return dataclasses.replace(
        origin,
        phase="backward",
        inputs=tuple(map(described, ended.inputs)),
        outputs=tuple(map(described, ended.outputs)),
        share=1.0,
        exact=exact,
        summary=f"{operation.type}{where}, backward: a gradient comes to it, and exactly 0 "
        f"goes on. It {advice.wrong}.",
    )


def origin_of_way(
    step: TracedStep, way: Way, lost: str, at: Passage | None, switched: Switched | None = None
) -> Origin:
    """Of a gradient that fades or grows; without an operation if no place dominates.

    Args:
        lost: ``FADES``, ``GROWS`` or ``UNITS``.
        at: the operation at the place that dominates.
        switched: what it does to the units of the variable.
    """
    rows = way.rows(place_in(step))
    if at is None:
        return Origin("", phase="backward", exact=False, summary=_in_words(way, rows), path=rows)
    origin, where = _located(step, at.operation, at.within)
    advice = remedy(at.operation.type, lost)
    wrong = f" It {advice.wrong}." if advice is not None else ""
    if switched is not None:
        lots = f"{round(switched.share * switched.units)} of {plural(switched.units, 'unit')}"
        what = f"{lots} get next to no gradient from it in the batch that was repeated."
        share = switched.share
    else:
        what = f"of a gradient of {at.before:.2g} it leaves {at.behind:.2g}."
        share = None
    return dataclasses.replace(
        origin,
        phase="backward",
        inputs=tuple(_kind_of(tensor) for tensor in at.operation.inputs)[:8],
        outputs=tuple(_kind_of(tensor) for tensor in at.operation.outputs)[:8],
        share=share,
        exact=False,
        summary=f"{at.operation.type}{where}, backward: {what}{wrong}",
        path=rows,
    )


def _in_words(way: Way, rows: Sequence[PathRow]) -> str:
    """How the size changes where no place dominates: by how much per layer."""
    hidden = way.hidden or way.passages
    first, last = hidden[0].before, hidden[-1].behind
    verb = "grows" if last > first else "fades"
    layers = len({row.layer for row in rows if row.layer})
    sentence = f"On its way from the loss to {way.path} the gradient {verb}"
    if layers < 3 or not first or not last:
        return f"{sentence} from {first:.2g} to {last:.2g}; no single place dominates."
    factor = (last / first) ** (1 / layers)
    return (
        f"{sentence} by a factor of {factor:.2g} per layer over {layers} layers, from {first:.2g} "
        f"to {last:.2g}; no single place dominates."
    )


def place_in(step: TracedStep) -> PlaceOf:
    """Of the operations of a step: layer, file, line. (A path asks for the same ones often.)"""
    known: dict[Any, tuple[str, str, int]] = {}

    def place(operation: Any, within: Sequence[Any]) -> tuple[str, str, int]:
        key = operation, tuple(within)
        if key not in known:
            found, layer = _place(step, operation, within)
            known[key] = layer, found.file, found.line
        return known[key]

    return place


def _located(step: TracedStep, operation: Any, within: Sequence[Any]) -> tuple[Origin, str]:
    """An origin with the place of an operation alone, and the place in words for a sentence."""
    place, layer = _place(step, operation, within)
    where = f' in layer "{layer}"' if layer else ""
    if place.function and not place.file:
        where += f" (in {place.function})"
    origin = Origin(
        operation=operation.type,
        layer=layer,
        file=place.file,
        line=place.line,
        code=place.code,
    )
    return origin, where


def _share(outputs: Sequence[np.ndarray]) -> tuple[float, str]:
    """Of the elements that are not finite, and what they are."""
    floats = [a.astype(np.float64) for a in outputs if is_real(a)]
    total = sum(a.size for a in floats)
    nan = sum(int(np.isnan(a).sum()) for a in floats)
    infinite = sum(int(np.isinf(a).sum()) for a in floats)
    kind = "NaN" if nan >= infinite else "infinite"
    bad = nan + infinite
    return bad / max(total, 1), f"{bad} of {total} values are {kind}"


def _place(step: TracedStep, operation: Any, within: Sequence[Any]) -> tuple[Place, str]:
    """The place of an operation; in a function without lines of its own, that of the call."""
    layer = ""
    for made in (operation, *reversed(within)):
        layer = layer or step.layer_of(made)
        place = place_of(made)
        if place.file:
            return place, layer
    return place_of(operation), layer


def _kind_of(tensor: Any) -> str:
    """Type and shape of a tensor: ``float32 [64, ?]``."""
    shape = tensor.shape
    sizes = "?" if shape.rank is None else ", ".join("?" if n is None else str(n) for n in shape)
    return f"{tensor.dtype.name} [{sizes}]"
