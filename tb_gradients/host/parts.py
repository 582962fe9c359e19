"""Switch off single parts of the monitor that fail, and note them once.

In:  parts of the monitor's work, by name, each done on its own.
Out: their results; of those that failed what, since which step and why, each named once.
Does not know what the parts do.

What is left out shows as "not measured" in the frames, and is named in the report's ``errors``. A
part may be a statistic, a column, a histogram, or a variable.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tb_gradients.flags import RuleError

logger = logging.getLogger("tb_gradients")

NAMED = 3
"""So many variables are named where the same part fails for more of them."""

MESSAGE_LENGTH = 200
"""Of an error's message; TensorFlow's may fill a page."""

_T = TypeVar("_T")


class Parts:
    """What of one monitor was left out so far. Safe to use from several threads.

    Attributes:
        step: number of the next step, as the log counts; the monitor keeps it.
    """

    def __init__(self) -> None:
        self.step = 0
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[int, str, list[str]]] = {}

    def run(self, part: str, action: Callable[..., _T], *arguments: Any) -> _T | None:
        """What the action gives; None if it raises.

        Args:
            part: what is left out then, such as "the histograms".
        """
        try:
            return action(*arguments)
        except Exception as error:
            self.leave_out(part, error)
            return None

    def leave_out(self, part: str, error: Exception, variable: str = "") -> None:
        """Note that a part has failed; of a part that has failed before only a new variable."""
        reason = reason_of(error)
        with self._lock:
            known = part in self._failed
            _, _, variables = self._failed.setdefault(part, (self.step, reason, []))
            if variable and variable not in variables:
                variables.append(variable)
        if not known:
            logger.warning(
                "tb_gradients leaves out %s%s, and goes on: %s",
                part,
                f" of {variable}" if variable else "",
                reason,
                exc_info=logger.isEnabledFor(logging.DEBUG),
            )

    def sound(
        self,
        part: str,
        action: Callable[[Sequence[int]], _T],
        rows: Sequence[int],
        names: Sequence[str],
        trial: Callable[[Callable[[], Any]], Any] = lambda action: action(),
    ) -> tuple[_T, list[int]]:
        """What an action gives of variables together, without those for which it raises.

        Args:
            rows: of the variables, in the order in which the action is to get them.
            names: of all variables, by row.
            trial: does the action of one variable alone, so that nothing of it stays.

        Returns:
            The result, and the rows that it is of.

        Raises:
            Exception: it fails for all together, and for none alone.
        """
        kept = list(rows)
        while True:
            try:
                return action(kept), kept
            except Exception:
                left = []
                for row in kept:
                    try:
                        trial(lambda row=row: action([row]))  # type: ignore[misc]
                        left.append(row)
                    except Exception as error:
                        self.leave_out(part, error, names[row])
                if len(left) == len(kept):
                    raise
                kept = left

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """One for each part that failed."""
        with self._lock:
            return tuple(
                RuleError("", step, f"left out since step {step}: {part}{_of(names)} ({reason})")
                for part, (step, reason, names) in self._failed.items()
            )


def reason_of(error: Exception) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    message = lines[0][:MESSAGE_LENGTH] if lines else "no message"
    return f"{type(error).__name__}: {message}"


def _of(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = len(names) - NAMED
    return f" of {', '.join(names[:NAMED])}" + (f" and {more} more" if more > 0 else "")
