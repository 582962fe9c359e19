"""One line of a notebook that follows the training.

In:  sentences about flags, from any thread; the number of the step, from the training's.
Out: one output of the cell, which is replaced as the training goes on.
Does not know about flags. IPython is used where it runs already, and never imported otherwise.
"""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from tb_gradients.inert import inert

SECONDS_BETWEEN = 1.0
"""How often the line may change: each time is a message to the browser."""


def in_notebook() -> bool:
    """Whether the program runs in a kernel, whose outputs a browser shows."""
    return getattr(_shell(), "kernel", None) is not None


class NotebookLine:
    """The output of a cell, replaced as the training goes on.

    ``add`` may be called from any thread. ``show`` sends the output, and must be called from the
    thread that runs the cell: only there a kernel knows which cell the output belongs to.
    """

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._handle: Any = None
        self._shown: tuple[int, int] | None = None
        self._next = 0.0

    def add(self, sentence: str, is_flag: bool = True) -> None:
        """What the next output says; where a flag comes from is left to the summary."""
        if is_flag:
            self._sentences.append(sentence)

    def show(self, step: int, at_once: bool = False) -> None:
        """Say that the training has come to a step.

        Args:
            at_once: also if the output changed a moment ago.
        """
        now = time.monotonic()
        state = (step, len(self._sentences))
        if self._shown == state or (now < self._next and not at_once):
            return
        self._next, self._shown = now + SECONDS_BETWEEN, state
        from IPython.display import HTML, display

        content = HTML(f"<div>{html.escape(inert(self._text(step)))}</div>")
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)

    def _text(self, step: int) -> str:
        found = self._sentences
        newest = found[-1].removeprefix("tb_gradients: ") if found else "no warning so far"
        others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return f"tb_gradients: step {step}: {' '.join(newest.split())}{others}"


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
