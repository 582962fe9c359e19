"""Why a monitor has seen no update.

In:  the hooks of the optimizers, how many steps each had made when it was hooked, and the weights.
Out: one clause for the log.
Does not know about frames or probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tb_gradients.frames import VariableTable
from tb_gradients.training.hook import Hook, steps_made
from tb_gradients.training.variables import initial_size, native

EARLIER = (
    "attach the monitor before the first call of the training function, and let that "
    "function call optimizer.apply_gradients (or bracket its update with monitor.observe)"
)


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
            "that optimizer, or bracket the update with `monitor.observe(gradients, variables)`"
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
        abs(initial_size(native(weight)) - told.initial_rms) > 1e-6 * told.initial_rms
        for told, weight in zip(table.variables, variables, strict=True)
    )
