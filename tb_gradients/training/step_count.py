"""Count the steps of a training on the host.

In:  the calls of ``step``.
Out: the number of the next step.
Does not know what is done with a step.
"""

from __future__ import annotations

from tb_gradients.host.parts import Parts


class StepCount:
    """The steps so far, as the loop has reported them.

    Args:
        parts: those of the monitor; what fails is noted with the number of the next step.

    Attributes:
        next: number of the next step, counted from 0.
        calls: of ``step``, each for one step or for several.
        reported: steps that these calls have reported since the variables are known.
        per_call: steps that one call reports.
        within: the host has followed the steps in the middle of a call that makes many.
    """

    def __init__(self, parts: Parts) -> None:
        self.next = 0
        self.calls = self.reported = 0
        self.per_call = 1
        self.within = False
        self._parts = parts
        self._offset: int | None = None

    def shown(self, number: int) -> int:
        """The number of a step as files and flags show it: the user may count from another one."""
        return number + (self._offset or 0)

    def add(self, count: int, number: int | None) -> int:
        """``count`` steps were made. Returns the number of the last one.

        Args:
            number: what the user calls the last one; the first such call decides. None: as it is.
        """
        self.calls += 1
        self.reported += count
        last = self.next + count - 1
        if number is not None and self._offset is None:
            self._offset = int(number) - last
        self.go_to(self.next + count)
        return last

    def go_to(self, number: int) -> None:
        """The next step has this number."""
        self.next = number
        self._parts.step = self.shown(number)

    def count_within(self, number: int) -> None:
        """In the middle of one call, the next step has this number."""
        self.within = True
        self.go_to(number)

    @property
    def is_renumbered(self) -> bool:
        """Whether the user has given a number of a step."""
        return self._offset is not None
