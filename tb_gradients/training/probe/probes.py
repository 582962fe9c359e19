"""One probe for each optimizer, and one frame of them all.

In:  when the next frame is due, in steps of the training.
Out: frames with the rows of every optimizer's variables.
Does not know how a probe measures, or what its frames are for.

The optimizers of a model (a GAN's) need not be applied equally often, so each probe counts
the updates of its own optimizer. Where all are applied once per step, that is the step. Where
one is not, its due step is predicted from how often it was applied so far, and its frame
becomes a part of the training step's.

One optimizer may take turns, too: first the critic's variables, then the generator's. Parts that
have no variable in common are as those of two optimizers; sets that overlap are one part, of which
a step may leave some out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.host.lane_buffer import LaneBuffer, combined
from tb_gradients.host.making import Drained
from tb_gradients.lane import UNSEEN, Lane
from tb_gradients.training.probe.device_state import NEVER
from tb_gradients.training.probe.probe import Probe

_NORM = schema.statistic_names().index("gradient_norm")
_GLOBAL_NORM = schema.context_names().index("global_norm")
_LEARNING_RATE = schema.context_names().index("learning_rate")
_OF_LAYERS = [i for i, n in enumerate(schema.statistic_names()) if n.startswith("activation_")]


UNREAD_STEPS = 1024
"""Steps that nobody has read are made in so many at once, and then put together to blocks."""


@dataclasses.dataclass
class _Member:
    """A probe, whose updates it sees, and the step of the training at which it was made."""

    probe: Probe
    owner: Any
    start: int


class Coming(NamedTuple):
    """A frame that can be made, on any thread; of several, in order."""

    broken: bool
    """Whether some gradient may not be finite."""

    make: Callable[[], Drained]


class Probes:
    """The probes of one variable table, used as if they were one.

    Args:
        make: first step -> a probe of the table.
    """

    def __init__(self, make: Callable[[int], Probe]) -> None:
        self._make = make
        self._members: list[_Member] = []
        self._due, self._interval = NEVER, NEVER
        self._sampling = True
        self._laned = self._blanked = 0  # next steps of the lane, and of what nobody has read of it
        self._blank: LaneBuffer | None = None

    def of(self, owner: Any, step: int, rows: Collection[int] = ()) -> Probe:
        """The probe of an optimizer (None: of hand-written updates), made when first asked for.

        Args:
            step: number of the next step of the training.
            rows: of the table, those that the update is of; none of them has been in an update
                of another probe of this optimizer.
        """
        own = [member for member in self._members if member.owner == owner]
        for member in own:
            if not rows or not member.probe.rows_seen.isdisjoint(rows):
                return member.probe
        with tf.init_scope():  # a step is being traced
            member = _Member(self._make(step), owner, step)
            member.probe.schedule(self._due, self._interval)
            member.probe.select(self._sampling)
        self._members.append(member)
        return member.probe

    @property
    def used(self) -> bool:
        """Whether an update was traced, or made, with one of them."""
        return bool(self._members)

    def owners(self) -> dict[int, Any]:
        """Row of the table -> the optimizer whose updates it is seen in."""
        return {row: member.owner for member in self._members for row in member.probe.rows_seen}

    def rows_seen(self) -> int:
        """How many variables came with an update, so far."""
        return sum(len(member.probe.rows_seen) for member in self._members)

    def sees_loss(self) -> bool:
        """Whether the loss of some update was there to be measured."""
        return any(member.probe.sees_loss for member in self._members)

    def schedule(self, now: int, due: int, interval: int = NEVER) -> None:
        """Take the next frame at step ``due``, then at every multiple of ``interval``.

        Args:
            now: the number of the next step, as the host has counted.
        """
        self._due, self._interval = due, interval
        for member in self._members:
            if due >= NEVER or self._counts_steps(member, now):
                member.probe.schedule(due, interval)
            else:
                self._predict(member, now, due)

    def _counts_steps(self, member: _Member, now: int) -> bool:
        """Whether the updates of this probe's optimizer are the steps of the training."""
        return len(self._members) == 1 or member.probe.fetcher.next_step() == now

    def _predict(self, member: _Member, now: int, due: int) -> None:
        counted = member.probe.fetcher.next_step()
        rate = (counted - member.start) / max(now - member.start, 1)
        member.probe.schedule(counted + math.floor(max(due - now, 0) * rate))

    def select(self, sampling: bool) -> None:
        """See ``Probe.select``."""
        self._sampling = sampling
        for member in self._members:
            member.probe.select(sampling)

    def follow(self, steps: int) -> None:
        """See ``Fetcher.follow``."""
        for member in self._members:
            member.probe.fetcher.follow(steps)

    def rearm(self) -> None:
        """See ``Probe.rearm``."""
        for member in self._members:
            member.probe.rearm()

    def status(self) -> tuple[bool, bool]:
        """See ``Fetcher.status``."""
        states = [member.probe.fetcher.status() for member in self._members]
        return any(waits for waits, _ in states), any(wanted for _, wanted in states)

    def next_step(self, counted: int) -> int:
        """Number of the next step at the last drain: of one probe its own count.

        Args:
            counted: what the host has counted; several probes may have seen fewer each.
        """
        members = self._members
        return members[0].probe.fetcher.counted if len(members) == 1 else counted

    def updates(self) -> int:
        """How many updates each optimizer has made at least, by the device's own count."""
        made = (member.probe.fetcher.next_step() - member.start for member in self._members)
        return min(made, default=0)

    def rest(self) -> Drained | None:
        """See ``Fetcher.rest``: one frame, at the last step of any of them."""
        rests = [(member, member.probe.fetcher.rest()) for member in self._members]
        parts = [(member, rest) for member, rest in rests if rest is not None]
        return _merged(max(rest[0] for _, rest in parts), parts) if parts else None

    def ends_nonfinite(self) -> bool:
        """See ``Fetcher.ends_nonfinite``."""
        return any(member.probe.fetcher.ends_nonfinite() for member in self._members)

    def fetch(self, now: int) -> list[Coming]:
        """The waiting frames, oldest first.

        Args:
            now: the number of the next step, as the host has counted.
        """
        members = self._members
        if len(members) == 1:
            (one,) = (member.probe.fetcher for member in members)
            return [Coming(t.broken, functools.partial(one.frame, t)) for t in one.fetch()]
        parts: dict[int, list[tuple[_Member, Drained]]] = {}
        uneven = []
        fetched = [(member, member.probe.fetcher.fetch()) for member in members]
        broken = any(taken.broken for _, some in fetched for taken in some)
        drained = [
            (member, [member.probe.fetcher.frame(t) for t in some]) for member, some in fetched
        ]
        if not any(frames for _, frames in drained):
            return []
        for member, frames in drained:
            if self._counts_steps(member, now):
                for frame in frames:
                    parts.setdefault(frame[0], []).append((member, frame))
                continue
            uneven += [(member, frame) for frame in frames[-1:]]
            if self._interval < NEVER:
                self._predict(member, now, -(-now // self._interval) * self._interval)
        if uneven:
            parts.setdefault(max(parts, default=now - 1), []).extend(uneven)
        order = {id(member): i for i, member in enumerate(members)}
        for found in parts.values():
            found.sort(key=lambda part: order[id(part[0])])
        return [
            Coming(broken, functools.partial(_merged, step, found))
            for step, found in sorted(parts.items())
        ]

    def lane(self, now: int, step: int | None = None) -> Lane:
        """The dense lane up to a step, each block once, in order.

        Where no optimizer is applied once per step, nobody knows which step an update belongs to.
        Then the steps are there without norms, so that their losses have a place.

        Args:
            now: the number of the next step, as the host has counted.
            step: of the frame that was made last; None: all there is.
        """
        members = self._members
        even = [self._counts_steps(member, now) for member in members]
        lanes = [member.probe.fetcher.lane(step) for member in members]
        if any(even):
            lane = combined([lane for lane, counts in zip(lanes, even, strict=True) if counts])
            lane = lane[int(np.searchsorted(lane.first, self._laned)) :]
        else:
            lane = self._unseen(now, step, variables=lanes[0].low.shape[1])
        self._laned = max(self._laned, lane.last_step + 1)
        return lane

    def _unseen(self, now: int, step: int | None, variables: int) -> Lane:
        """The steps since the last block, none of them read."""
        start = min(member.start for member in self._members)
        if self._blank is None:
            self._blank = LaneBuffer(variables, start)
        end = now if step is None else step + 1
        for first in range(max(self._blanked, self._laned, start), end, UNREAD_STEPS):
            codes = np.full((min(UNREAD_STEPS, end - first), variables), UNSEEN, np.uint16)
            self._blank.add(Lane.of_steps(first, codes, seen=False))
        self._blanked = max(self._blanked, end)
        return self._blank.take(step)


def _merged(step: int, parts: list[tuple[_Member, Drained]]) -> Drained:
    """One frame of the frames of several probes at one step."""
    _, (_, values, context, first_histograms) = parts[0]
    values, context = np.array(values), np.array(context)
    for member, (_, other, other_context, _) in parts[1:]:
        rows = sorted(member.probe.rows_seen)
        layers = np.where(np.isnan(values), other, values)[:, _OF_LAYERS]
        values[rows] = other[rows]
        values[:, _OF_LAYERS] = layers
        if context[_LEARNING_RATE] != other_context[_LEARNING_RATE]:
            context[_LEARNING_RATE] = other_context[_LEARNING_RATE] = np.nan
        context = np.where(np.isnan(context), other_context, context)
    norms = values[:, _NORM].astype(np.float64)
    if len(parts) > 1 and not np.isnan(norms).all():
        context[_GLOBAL_NORM] = np.sqrt(np.nansum(np.square(norms)))

    def histograms() -> Any:
        counts = first_histograms()
        for member, (_, _, _, others) in parts[1:]:
            rows = sorted(member.probe.rows_seen)
            counts[rows] = others()[rows]
        return counts

    return step, values, context, histograms
