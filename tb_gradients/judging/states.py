"""How far each rule has judged a run, and whether that is enough for a verdict.

In:  a rule, and what it sees of the run.
Out: ``RuleState``s, and the sentence that says why a run is undecided.
Does not know what any rule looks for, or how flags open and close.

"Healthy" is said of what was judged, and of nothing else. A rule has *passed* once it has found
nothing at a frame at which it would have flagged a run that has had its fault since the first
step (``Rule.basis``). A run is *undecided* while a rule waits for more steps: what is missing comes
with time. What is not measured, or measured too rarely, does not make it undecided: that is the
user's choice, and the state of the rule names the remedy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tb_gradients.flags import RuleState, Severity
from tb_gradients.judging.base import Needed, Rule
from tb_gradients.judging.window import Window
from tb_gradients.judging.words import plural


@dataclasses.dataclass(frozen=True)
class Lack:
    """What comes with further steps: ``needed`` of something, of which ``seen`` are there."""

    needed: int
    seen: int
    what: str

    def __str__(self) -> str:
        were = "was" if self.seen == 1 else "were"
        return f"needs {self.needed} {self.what}; {self.seen} {were} seen"


def lack_of(needed: Needed, window: Window) -> Lack | None:
    """What a rule still waits for; ``None`` if the run is long enough for it."""
    seen, learning = window.seen, window.learning
    if seen.steps < needed.steps:
        return Lack(needed.steps, seen.steps, "steps")
    if seen.updates < needed.updates:
        return Lack(needed.updates, seen.updates, "steps that change weights")
    if learning.learning and learning.converged:
        return None  # such a rule waits for a loss that does not fall
    if needed.loss_steps and learning.state != "unseen":
        enough = needed.loss_steps if learning.state != "early" else learning.steps + 1
        enough = max(enough, needed.loss_steps)
        return Lack(enough, learning.steps, "losses") if learning.steps < enough else None
    return None


def has_basis(rule: Rule, window: Window) -> bool:
    """Whether the rule would have flagged by now what was there from the first step on."""
    if rule.nothing_to_judge(window):
        return False  # nor could it have
    if rule.not_seen(window):
        return False
    needed = rule.needed(window)
    if window.seen.frames < needed.frames or lack_of(needed, window) is not None:
        return False
    if needed.updates:
        counted = window.updates()
        if window.last_frames(needed.updates, needed.frames, counted) is None:
            return False
    return True


@dataclasses.dataclass(frozen=True)
class Standing:
    """The state of a rule, and what it waits for where that is the reason."""

    state: RuleState
    lack: Lack | None = None
    loud: bool = True
    """Whether the rule may find more than what is worth knowing."""


def standing(rule: Rule, window: Window, judged: bool) -> Standing:
    """How a rule stands that has not flagged anything, nor failed.

    Args:
        judged: it has found nothing at a frame at which ``has_basis`` held.
    """
    reason = rule.nothing_to_judge(window)
    if reason:
        return Standing(RuleState(rule.id, "passed", f"does not apply: {reason}"))
    if judged:
        return Standing(RuleState(rule.id, "passed"))
    missing = rule.not_seen(window)
    if missing:
        return Standing(RuleState(rule.id, "not_seen", missing))
    needed, seen = rule.needed(window), window.seen
    lack = lack_of(needed, window)
    if lack is not None:
        loud = rule.severity >= Severity.WARNING
        return Standing(RuleState(rule.id, "not_yet", str(lack)), lack, loud)
    reason = rule.unjudged
    if seen.frames < needed.frames:
        reason = f"needs {needed.frames} frames; {seen.frames} were written: use a smaller `every`"
    return Standing(RuleState(rule.id, "not_seen", reason))


def why_undecided(standings: Sequence[Standing], steps: int) -> str:
    """Why too little was seen for a verdict, as one sentence; "" if it was enough."""
    waiting = [one.lack.needed for one in standings if one.lack is not None and one.loud]
    if waiting:
        low, high = min(waiting), max(waiting)
        need = f"{low}" if low == high else f"{low} to {high}"
        verb = "needs" if len(waiting) == 1 else "need"
        return (
            f"too early to tell: {plural(steps, 'step')}; {len(waiting)} of "
            f"{plural(len(standings), 'rule')} {verb} {need}"
        )
    if standings and not any(one.state.state in ("passed", "flagged") for one in standings):
        return "no rule could judge the run"
    return ""


def why_unreported(steps: int, unreported: int) -> str:
    """The same, where the training made updates that nobody reported.

    Args:
        steps: so many updates were seen on the device,
        unreported: of which no call of ``monitor.step()`` stands for so many.
    """
    calls = max(steps - unreported, 0)
    counted = {0: "never called", 1: "called once"}.get(calls, f"called {calls} times")
    updates = plural(steps, "update")
    return f"{updates}, and monitor.step() was {counted}: call it after each training step"
