"""What a snippet is: a few lines of a user's program, of which one loses the gradient.

The planted line ends with a comment: ``# planted: Sqrt`` or, where either name is right,
``# planted: RealDiv | Sqrt``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "# planted:"

MODULES = (
    "none",
    "forward",
    "backward",
    "compiled",
    "zero",
    "fading",
    "growing",
    "calls",
    "unseen",
)


@dataclasses.dataclass(frozen=True)
class Snippet:
    """A function with a planted line.

    Attributes:
        kind: how the gradient is lost; by default the name of its module.
        function: of hidden units [batch, 8] -> [batch, n], or of targets and predictions.
        loss: whether it is a loss.
        large: sample 100 of the inputs is huge, instead of zero.
        unseen: whether it was written by somebody who had not seen the search.
    """

    kind: str
    function: Callable[..., Any]
    loss: bool = False
    large: bool = False
    unseen: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.function.__name__}"

    def planted(self) -> tuple[Path, int, tuple[str, ...]]:
        """File, line and possible operations of the planted line."""
        lines, first = inspect.getsourcelines(self.function)
        file = Path(inspect.getsourcefile(self.function) or "")
        marked = [i for i, line in enumerate(lines) if MARK in line]
        if not marked:  # it is in a function that this one calls, here or in another module
            from origin_programs import helpers

            wanted = f"{MARK[:-1]} for {self.function.__name__}:"
            for module in (file, Path(helpers.__file__)):
                text = module.read_text().splitlines()
                for at, line in enumerate(text, 1):
                    if wanted in line:
                        return module, at, _operations(line.partition(wanted)[2])
        [at] = marked
        return file, first + at, _operations(lines[at].partition(MARK)[2])


def _operations(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


ALL: list[Snippet] = []


def snippet(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function of one of the modules."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        module = function.__module__.rpartition(".")[2]
        known = {"kind": module, "unseen": module == "unseen", **options}
        ALL.append(Snippet(function=function, **known))
        return function

    return declare


def all_snippets() -> list[Snippet]:
    """Of all modules."""
    for module in MODULES:
        importlib.import_module(f"origin_programs.{module}")
    return list(ALL)
