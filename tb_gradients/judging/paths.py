"""Paths of the model: which variables can make another one unhealthy.

In:  a variable table with the model's graph.
Out: the variables before and behind given ones; unconnected parts; which layers are called.
Does not know about rules or flags.

A signal runs forward along these paths, a gradient backward. So a fault at one variable affects
those before and behind it, but not a parallel branch. If the graph is unknown, every variable may
be connected to every other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import VariableTable

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

MANY_PARTS = 32
"""So many affected parts at once have one common fault, not one each."""


class Paths:
    """The graph of a table. Searched on demand: most runs never need it."""

    def __init__(self, table: VariableTable) -> None:
        self._fed_by = table.nodes
        self._nodes: IntArray = np.array([v.node for v in table.variables], np.int64)
        self._feeds: list[list[int]] = [[] for _ in table.nodes]
        for number, fed_by in enumerate(table.nodes, 1):
            for source in fed_by:
                self._feeds[source - 1].append(number)

    @property
    def known(self) -> bool:
        """Whether the graph is known."""
        return bool(self._fed_by)

    def around(self, rows: Iterable[int]) -> BoolArray:
        """bool [variables]: in the layer of one of these, or before or behind one on a path."""
        start = set(self._nodes[list(rows)].tolist())
        if not self.known or 0 in start:
            return np.ones(len(self._nodes), bool)
        near = _reached(start, self._fed_by) | _reached(start, self._feeds) | {0}
        return np.isin(self._nodes, list(near))

    def parts(self, rows: IntArray) -> list[IntArray]:
        """The rows in groups that no path connects, in order of their first rows."""
        if not self.known:
            return [rows]
        left, parts = rows, list[IntArray]()
        while left.size:
            part, fresh = left[:0], left[:1]
            while fresh.size:
                part, left = np.union1d(part, fresh), np.setdiff1d(left, fresh)
                fresh = left[self.around(fresh)[left]]
            parts.append(part)
            if len(parts) > MANY_PARTS:
                return [rows]
        return parts

    def called(self, rows: Iterable[int]) -> bool:
        """Whether the forward pass is known to use every one of these variables."""
        return self.known and bool((self._nodes[list(rows)] > 0).all())

    @property
    def has_end(self) -> bool:
        """Whether the outputs of the model, or the inputs of the loss, are known."""
        return self.known and bool(self._fed_by[-1])

    def cut_off(self, faulty: BoolArray) -> BoolArray:
        """bool [variables]: what is faulty from the inputs up to somewhere on its way to the end.

        Args:
            faulty: bool [variables].
        """
        healthy = set(self._nodes[~faulty].tolist()) - {0}
        behind = _reached(healthy, self._feeds) | {0}
        result: BoolArray = faulty & ~np.isin(self._nodes, list(behind))
        return result

    def dangle(self, rows: Iterable[int]) -> BoolArray:
        """bool [rows]: called, but no output of the model depends on them."""
        nodes = self._nodes[list(rows)]
        if not self.has_end:
            return np.zeros(len(nodes), bool)
        counted = list(_reached({len(self._fed_by)}, self._fed_by))
        result: BoolArray = (nodes > 0) & ~np.isin(nodes, counted)
        return result


def _reached(start: set[int], neighbours: Sequence[Sequence[int]]) -> set[int]:
    """These nodes, and all that the edges lead to from them."""
    found, waiting = set(start), list(start)
    while waiting:
        for node in neighbours[waiting.pop() - 1]:
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found
