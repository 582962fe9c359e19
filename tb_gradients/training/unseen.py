"""Warn of updates that the monitor does not see, or that the loop does not report.

In:  the hooks of the optimizers, the steps that were reported, and the weights.
Out: one warning in the log, with the reason.
Does not know about frames or probes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tb_gradients.frames import VariableTable
from tb_gradients.training.model.variables import initial_size, native
from tb_gradients.training.optimizers.hook import Hook, steps_made
from tb_gradients.training.probe.ring import RING_STEPS
from tb_gradients.training.step_count import StepCount

if TYPE_CHECKING:
    from tb_gradients.training.watched import Watched

logger = logging.getLogger("tb_gradients")

MOST_PER_CALL = 10
"""Updates per call of ``step`` that may be intended: critics are trained five times per step of
their generator."""

FEW_CALLS = 3
"""Rules take medians of three frames and more; each call can give one."""

EARLIER = (
    "attach the monitor before the first call of the training function, and let that "
    "function call optimizer.apply_gradients (or wrap its update in `with monitor.observe(...)`)"
)


class Unseen:
    """Warns once for one monitor.

    Args:
        steps: those that the loop reports.
    """

    def __init__(self, steps: StepCount) -> None:
        self._steps = steps
        self._warned = False
        self._hooks: Sequence[Hook] = ()
        self._made: list[int] = []

    def follow(self, hooks: Sequence[Hook]) -> None:
        """These optimizers are observed from now on; none of them once the hooks are removed."""
        self._hooks = hooks
        if hooks:
            self._made = [steps_made(hook.optimizer) for hook in hooks]

    def no_update(self, watched: Watched) -> None:
        """Steps were reported, and no update was seen so far."""
        if self._steps.calls < 3 or self._warned:
            return
        self._warned = True
        reason = "the model has no trainable variable"
        if watched.is_trainable:
            reason = why_unseen(self._hooks, self._made, watched.table, watched.variables)
        logger.warning(
            "tb_gradients has seen no update after %d steps: %s", self._steps.calls, reason
        )

    def no_call(self, waiting: int) -> None:
        """Called in the middle of a training step: a frame has been waiting for so many steps."""
        steps = self._steps
        if not steps.calls and waiting >= max(steps.per_call, RING_STEPS) and not self._warned:
            self._warned = True
            logger.warning(
                "tb_gradients has seen %d updates, and monitor.step() was never called: call it "
                "after each training step",
                waiting + 1,
            )

    def undecided(self, reason: str) -> None:
        """The training has ended, and hardly any of its updates were reported."""
        if not self._warned:
            self._warned = True
            logger.warning("tb_gradients is undecided: %s", reason)

    def unreported(self, updates: int) -> int:
        """How many of these updates were not reported, if too few calls were made to observe
        most of them; otherwise 0."""
        steps = self._steps
        if steps.within or updates <= steps.reported:
            return 0
        seldom = updates > MOST_PER_CALL * steps.calls and steps.calls < FEW_CALLS
        lost = updates > RING_STEPS * steps.calls  # rows are overwritten before they are read
        return updates - steps.reported if seldom or lost else 0


def why_unseen(
    hooks: Sequence[Hook],
    made: Sequence[int],
    table: VariableTable | None,
    variables: Sequence[Any],
) -> str:
    """The reason, and what to do.

    Args:
        hooks: of the optimizers; none where updates are written by hand.
        made: steps that each of these optimizers had made before.
        table, variables: what is watched, and how it started.
    """
    if not hooks:
        return EARLIER
    if not any(hook.attached for hook in hooks):
        return "another monitor was attached to its optimizer, which can have one at a time"
    if any(steps_made(hook.optimizer) > n for hook, n in zip(hooks, made, strict=True)):
        return EARLIER  # it is applied, by a function that was traced before
    name = type(getattr(hooks[0].optimizer, "inner_optimizer", hooks[0].optimizer)).__name__
    if _moved(table, variables):
        return (
            f"{name} was never applied, but the weights change: something else updates them. Watch "
            "that optimizer, or wrap the update in `with monitor.observe(gradients, variables)`"
        )
    return (
        f"{name} was never applied, and no weight has changed: call "
        "`optimizer.apply(gradients, variables)` in every training step"
    )


def _moved(table: VariableTable | None, variables: Sequence[Any]) -> bool:
    """Whether some weight has another size than at the start."""
    if table is None:
        return False
    return any(
        abs(initial_size(native(weight)) - known.initial_rms) > 1e-6 * known.initial_rms
        for known, weight in zip(table.variables, variables, strict=True)
    )
