"""Explain a step function on request: where each variable's gradient is lost in it.

In:  a ``Request`` of which the function is traced.
Out: ``Explanation``: variable -> ``Origin``, and what was not looked at.
Does not change anything of the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tb_gradients.flags import Flag, Origin
from tb_gradients.judging.operations import FADES, GROWS, NONE, NONFINITE, UNITS, ZERO
from tb_gradients.judging.origins import ASKS, BY_SIZE
from tb_gradients.judging.words import plural
from tb_gradients.training.origin.copying import CannotCopyError
from tb_gradients.training.origin.cuts import Cuts
from tb_gradients.training.origin.describing import origin_of_cut, origin_of_zero
from tb_gradients.training.origin.repeating import CannotRepeatError, Kept, sizes, where_it_ends
from tb_gradients.training.origin.request import Request
from tb_gradients.training.origin.search import of_nonfinite, of_size

MOST_SEARCHED = 8
"""Variables with a gradient of zero from which a way is searched: each takes a repetition."""


class Explanation(Mapping[str, Origin]):
    """Where the gradients of a step are lost: path of the variable -> ``Origin``.

    Variables whose gradient is finite and not zero are not in it, unless a flag of the run says
    that it fades or grows.

    Attributes:
        lost: path of the variable -> "none", "nonfinite" or "zero", and of open flags "fades",
            "grows" or "units"; also of those of which no origin was found.
        seen: paths of all variables that the step updates.
        skipped: what the function does besides, which was not done.
        notes: what was not looked at, and why.
    """

    def __init__(
        self,
        origins: Mapping[str, Origin],
        lost: Mapping[str, str],
        seen: Sequence[str],
        skipped: Sequence[str],
        notes: Sequence[str],
        by_rule: Mapping[str, Origin],
    ) -> None:
        self._origins, self._by_rule = dict(origins), dict(by_rule)
        self.lost, self.seen = dict(lost), tuple(seen)
        self.skipped, self.notes = tuple(skipped), tuple(notes)

    def __getitem__(self, path: str) -> Origin:
        return self._origins[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins)

    def __len__(self) -> int:
        return len(self._origins)

    def __str__(self) -> str:
        """For people: a block per origin, then what was left out."""
        lines = [line for block in self._blocks() for line in block]
        if not self.lost:
            what = "is not None" if self.notes else "is finite and not zero"
            lines = [f"The gradient of {_listed(self.seen)} {what}."]
        lines += [f"not looked at: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"skipped: {', '.join(self.skipped)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _blocks(self) -> Iterator[list[str]]:
        groups: dict[tuple[str, Origin | None], list[str]] = {}
        for path, lost in self.lost.items():
            groups.setdefault((lost, self._origins.get(path)), []).append(path)
        for (lost, origin), paths in groups.items():
            lines = [f"The gradient of {_listed(paths)} {_LOST[lost]}."]
            if origin is None:
                lines.append("  where  no operation was found")
            else:
                lines += [f"  where  {origin}", f"         {origin.summary}"]
                lines += [f"  path   {origin.path_text()}"] if origin.path else []
            yield lines

    def of(self, flag: Flag) -> Origin | None:
        """The origin of a flag of the run: that of its first variable which is lost in its way."""
        wanted = ASKS.get(flag.rule)
        if wanted in BY_SIZE:
            return self._by_rule.get(flag.rule)
        paths: Iterable[str] = flag.variables or self.lost
        found = [path for path in paths if self.lost.get(path) == wanted]
        return next((self._origins[path] for path in found if path in self._origins), None)


_LOST = {
    NONE: "is None",
    NONFINITE: "is NaN or infinite",
    ZERO: "is exactly zero",
    FADES: "fades on its way from the loss",
    GROWS: "grows on its way from the loss",
    UNITS: "is next to nothing in a part of the units",
}


def _listed(paths: Sequence[str]) -> str:
    if len(paths) <= 3:
        return " and ".join(", ".join(paths).rsplit(", ", 1)) if paths else "no variable"
    return f"{', '.join(paths[:2])} and {plural(len(paths) - 2, 'more variable')}"


def explanation_of(request: Request, limit: int, flags: Iterable[Flag] = ()) -> Explanation:
    """Search the origins of one traced step function.

    Args:
        limit: bytes that its batch and the weights may take.
        flags: of the run: of those that say that a gradient fades or grows the path is measured.
    """
    by_size = [flag for flag in flags if ASKS.get(flag.rule) in BY_SIZE]
    origins: dict[str, Origin] = {}
    lost: dict[str, str] = {}
    notes: list[str] = []
    by_rule: dict[str, Origin] = {}
    for step in request.steps:
        cuts = Cuts(step)
        for path in step.paths:
            if path in step.without_gradient:
                lost[path] = NONE
                cut = cuts.of(path)
                if cut is not None:
                    origins[path] = origin_of_cut(step, path, cut)
        batch = request.batch(step)
        if batch is None:
            notes.append(
                "NaN and zeros, because the function draws its batch itself: pass it the batch"
            )
        elif cuts.loss is None:
            notes.append("NaN and zeros, because the loss was not found in the step")
        else:
            exact = step is request.steps[0]
            kept = Kept(step, batch, {}, exact)
            others = [(Kept(r, batch, {}, exact), Cuts(r).loss) for r in request.beside(step)]
            replicas = [(kept, cuts.loss), *(pair for pair in others if pair[1] is not None)]
            try:
                notes += _repeated(replicas, limit, origins, lost)
                sound = {path for path in step.paths if path not in lost}
                for flag in by_size:
                    _by_size(flag, kept, cuts.loss, sound, limit, origins, lost, by_rule)
            except (CannotCopyError, CannotRepeatError) as error:
                notes.append(f"NaN and zeros, because {error}")
    seen = [path for step in request.steps for path in step.paths]
    lost = {path: lost[path] for path in seen if path in lost}
    found = {path: origins[path] for path in lost if path in origins}
    return Explanation(found, lost, seen, request.skipped(), notes, by_rule)


def _repeated(
    replicas: Sequence[tuple[Kept, Any]],
    limit: int,
    origins: dict[str, Origin],
    lost: dict[str, str],
) -> list[str]:
    """Add what a repetition of the step shows; gives what it does not show.

    Args:
        replicas: the step as each replica makes it, and its loss there; the observing one first.
    """
    kept, loss = replicas[0]
    broken = of_nonfinite(replicas, limit)
    origin = None if broken is None else broken[0]
    found = _sizes(replicas, limit, xla=broken is not None and broken[1].only_xla)
    broken_ones = [path for path, size in found.items() if not math.isfinite(size)]
    zeros = [path for path, size in found.items() if size == 0]
    lost |= dict.fromkeys(broken_ones, NONFINITE) | dict.fromkeys(zeros, ZERO)
    if origin is not None:
        origins |= dict.fromkeys(broken_ones, origin)
    for path in zeros[-MOST_SEARCHED:]:
        ended = where_it_ends(kept, loss, path, limit)
        at = None if ended is None else origin_of_zero(kept.step, ended, exact=kept.exact)
        if at is not None:
            origins[path] = at
    if origin is None and broken_ones:
        return ["what made the NaN, because the batch or the weights hold it already"]
    return []


def _sizes(replicas: Sequence[tuple[Kept, Any]], limit: int, *, xla: bool) -> dict[str, float]:
    """Path -> largest magnitude of the gradient on any replica; NaN if one is not finite."""
    found: dict[str, float] = {}
    for kept, loss in replicas:
        for path, size in sizes(kept, loss, limit, xla=xla).items():
            largest = max(found.get(path, 0.0), size)
            found[path] = largest if math.isfinite(size + largest) else math.nan
    return found


def _by_size(
    flag: Flag,
    kept: Kept,
    loss: Any,
    sound: set[str],
    limit: int,
    origins: dict[str, Origin],
    lost: dict[str, str],
    by_rule: dict[str, Origin],
) -> None:
    """Add the way of a gradient of which a flag says that it fades, or grows.

    Args:
        sound: variables whose gradient is finite and not zero.
    """
    wanted = [path for path in kept.step.paths if path in flag.variables and path in sound]
    origin = of_size(kept, loss, wanted, ASKS[flag.rule], limit)
    if origin is None:
        return
    by_rule.setdefault(flag.rule, origin)
    for path in wanted:
        if path not in lost:
            lost[path], origins[path] = ASKS[flag.rule], origin
