"""Keep every failure of the monitor away from the training.

In:  what the monitor does, action by action.
Out: its results. After the first failure None, and nothing is done any more.
Does not know what is done, or what a failure leaves to be written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tb_gradients.host.backlog import Backlog
from tb_gradients.host.parts import Parts
from tb_gradients.inert import inert
from tb_gradients.training.origin.request import request_of_graph
from tb_gradients.training.probe.graphs import unobserved

logger = logging.getLogger("tb_gradients")


class Guard:
    """Every entry into one monitor goes through its guard.

    Args:
        parts: those of the monitor that may fail alone.
        backlog: what waits when the monitor fails; it is still good.
        on_failure: called once, with what ended the monitor. It must not raise.

    Attributes:
        failed: whether the monitor has ended.
    """

    def __init__(
        self, parts: Parts, backlog: Backlog, on_failure: Callable[[Exception], None]
    ) -> None:
        self.failed = False
        self._parts, self._backlog, self._on_failure = parts, backlog, on_failure

    # AutoGraph may trace the user's step; nothing that is called in here may be rewritten.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def run(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Call an action so that no failure of it reaches the training; None if it fails.

        Nothing is done while a step is traced to be explained (``GradientMonitor.explain``).
        """
        return self.run_on_host(action, *arguments)

    def run_on_host(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """``run`` for what happens in every step and is never traced: half the time."""
        if self.failed or request_of_graph() is not None:
            return None
        try:
            with unobserved():
                return action(*arguments)
        except Exception as error:
            self.fail(error)
            return None

    def part(self, part: str, action: Callable[..., Any], *arguments: Any) -> Any:
        """Run an optional part of the monitor; None if it fails, and the rest goes on."""
        return self.run(self._parts.run, part, action, *arguments)

    def fail(self, error: Exception) -> None:
        """End the monitor because of an error; the training goes on."""
        with self._backlog.lock:
            self._backlog.run()
            if self.failed:  # both threads at once: one report is enough
                return
            self.failed = True
            self._on_failure(error)
        logger.warning(
            "tb_gradients stopped monitoring, training goes on: %s: %s",
            type(error).__name__,
            inert(str(error)),
            exc_info=logger.isEnabledFor(logging.DEBUG),
        )
