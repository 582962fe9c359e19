"""Which variables can explain which: those of one layer, and those before and behind on a path."""

from __future__ import annotations

import dataclasses

import numpy as np
from recordings import make_table

from tb_gradients.frames import VariableTable
from tb_gradients.judging.paths import MANY_PARTS, Paths


def table_of(*nodes: tuple[int, ...], end: tuple[int, ...] = ()) -> VariableTable:
    """One kernel and one bias per node, in its order."""
    table = make_table(len(nodes))
    variables = tuple(
        dataclasses.replace(variable, node=row // 2 + 1)
        for row, variable in enumerate(table.variables)
    )
    return dataclasses.replace(table, variables=variables, nodes=(*nodes, end))


BRANCHES = table_of((), (1,), (1,), (2, 3), end=(4,))
"""A trunk, two branches and a head: kernels in rows 0, 2, 4 and 6."""


def test_a_variable_explains_what_is_before_and_behind_it_and_not_a_parallel_branch() -> None:
    around = Paths(BRANCHES).around([2])

    assert np.flatnonzero(around).tolist() == [0, 1, 2, 3, 6, 7]


def test_where_the_graph_is_unknown_everything_may_be_connected() -> None:
    paths = Paths(make_table(4))

    assert paths.around([2]).all()
    assert [part.tolist() for part in paths.parts(np.array([2, 4]))] == [[2, 4]]
    assert not paths.called([2])


def test_so_may_be_a_variable_that_is_not_in_the_graph() -> None:
    variables = (*BRANCHES.variables[:2], dataclasses.replace(BRANCHES.variables[2], node=0))
    paths = Paths(dataclasses.replace(BRANCHES, variables=(*variables, *BRANCHES.variables[3:])))

    assert paths.around([2]).all()
    assert paths.around([4])[2]


def test_rows_fall_into_parts_that_no_path_connects() -> None:
    paths = Paths(BRANCHES)

    apart = [part.tolist() for part in paths.parts(np.array([2, 3, 4]))]
    together = [part.tolist() for part in paths.parts(np.array([2, 4, 6]))]

    assert apart == [[2, 3], [4]]
    assert together == [[2, 4, 6]]


def test_very_many_parts_are_one() -> None:
    many = Paths(table_of(*[()] * (MANY_PARTS + 2)))

    assert len(many.parts(np.arange(0, 2 * MANY_PARTS, 2))) == MANY_PARTS
    assert len(many.parts(np.arange(2 * MANY_PARTS + 4))) == 1


def test_a_graph_with_a_circle_is_searched_to_its_end() -> None:
    paths = Paths(table_of((2,), (1,), ()))

    assert np.flatnonzero(paths.around([0])).tolist() == [0, 1, 2, 3]


def test_a_part_that_is_called_but_not_used_dangles() -> None:
    paths = Paths(table_of((), (1,), (1,), end=(2,)))

    assert paths.dangle([0, 2, 4]).tolist() == [False, False, True]
    assert paths.called([0, 2, 4])


def test_nothing_dangles_where_the_end_is_unknown() -> None:
    assert not Paths(table_of((), (1,), (1,))).dangle([0, 2, 4]).any()
