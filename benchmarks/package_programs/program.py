"""What a program of a package consists of.

Does not know about the packages, or about what is checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tb_gradients as tbg


@dataclasses.dataclass(frozen=True)
class Program:
    """A training of a package, and a fault that can be planted in it.

    Attributes:
        build: a training that is ready to start; its argument: with the fault.
        fault: what is planted, in a few words.
        rule: the rule that must find it.
        cause: the id of the first cause that must be named.
        variable: a part of the path of the variables that must be named; "": any.
    """

    build: Callable[[bool], Training]
    fault: str
    rule: str
    cause: str
    variable: str = ""


@dataclasses.dataclass(frozen=True)
class Training:
    """A training that is ready to start.

    Attributes:
        variables: all that it trains.
        steps: how many it makes.
        tape: the gradients of its first step, one for each of ``variables``, by a tape in the
            program itself; None where there is none.
        train: makes the steps with the monitor attached, and returns losses, the first and the
            last of which show whether it learns.
    """

    variables: Sequence[Any]
    steps: int
    tape: Callable[[], Sequence[Any]]
    train: Callable[[Attach], Sequence[float]]


class _Nothing:
    """Stands for a monitor where the same training is to run without one."""

    def step(self, *arguments: Any, **options: Any) -> bool:
        return False


class Attach:
    """How a program attaches the monitor, or nothing.

    Args:
        folder: of the run; None: the training runs without the monitor.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def callbacks(self) -> list[Any]:
        """For ``fit``."""
        if self._folder is None:
            return []
        return [tbg.GradientHealth(self._folder, every=1, verbose=0)]

    @contextlib.contextmanager
    def watch(self, optimizer: Any, **options: Any) -> Iterator[Any]:
        """For a custom training loop: yields what ``step`` is called on after each step."""
        if self._folder is None:
            yield _Nothing()
            return
        with tbg.watch(optimizer, self._folder, every=1, verbose=0, **options) as monitor:
            yield monitor
