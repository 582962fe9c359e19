"""The kinds of update that were traced with one probe, each with the layout of its measurements.

In:  updates, while they are traced.
Out: one ``UpdateKind`` for all updates of the same variables, dtypes and known values.
Does not know how any of them is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from tb_gradients.frames import VariableTable
from tb_gradients.host.making import Contents
from tb_gradients.host.sampling import Layout
from tb_gradients.training.probe.batch import Batch
from tb_gradients.training.probe.graphs import in_xla
from tb_gradients.training.probe.handover import Handover
from tb_gradients.training.probe.pending import Pending


@dataclasses.dataclass
class UpdateKind(Contents):
    """What is kept of one kind of update.

    Attributes:
        kept: where a step compiled by XLA leaves what is measured after it.
        variables: by row, those with a gradient.
        measure: the function that measures: in the step, or after it.
    """

    kept: Handover | None = None
    variables: dict[int, Any] = dataclasses.field(default_factory=dict)
    measure: Any = None


class UpdateKinds:
    """All kinds so far.

    Args:
        table: rows of the frames.

    Attributes:
        layouts: by number; also those of kinds that were dropped.
    """

    def __init__(self, table: VariableTable) -> None:
        self.layouts: dict[int, Layout] = {}
        self._table = table
        self._kinds: dict[Any, UpdateKind] = {}

    def __iter__(self) -> Iterator[UpdateKind]:
        return iter(self._kinds.values())

    def __len__(self) -> int:
        return len(self._kinds)

    def of(self, pending: Pending, batch: Batch) -> UpdateKind:
        """The kind of an update; the same for the same variables."""
        outputs = {row: dataclasses.replace(o, tensor=None) for row, o in pending.outputs.items()}
        signature = (
            pending.order,
            tuple(sample.row for sample in pending.samples),
            tuple(pending.sparse),
            tuple(pending.none_rows),
            tuple(sorted(pending.optimizer.clipping.items())),
            tuple(outputs.items()),
            batch.loss is None,
            *(tuple(str(t.dtype) for t in side) for side in batch.sides),
            pending.optimizer.learning_rate is None,
            pending.scale is None,
            in_xla(),
        )
        if signature not in self._kinds:
            variables = self._table.variables
            layout = Layout(
                number=len(self.layouts),
                samples=pending.samples,
                sparse=tuple(pending.sparse),
                order=pending.order,
                none_rows=tuple(pending.none_rows),
                clipping=dict(pending.optimizer.clipping),
                has_loss=batch.loss is not None,
                scaled=pending.scale is not None,
                compute_dtypes=tuple(compute_dtype_of(variables[s.row]) for s in pending.samples),
            )
            self.layouts[layout.number] = layout
            self._kinds[signature] = UpdateKind(layout)
        return self._kinds[signature]

    def drop(self, kind: UpdateKind) -> None:
        """Nothing of it will come."""
        self._kinds = {key: other for key, other in self._kinds.items() if other is not kind}

    @property
    def has_loss(self) -> bool:
        """Whether some traced update has its loss with it."""
        return any(layout.has_loss for layout in self.layouts.values())

    @property
    def compiled(self) -> bool:
        """Whether XLA compiles some of them."""
        return any(kind.kept is not None for kind in self)


def compute_dtype_of(variable: Any) -> str:
    """In which dtype the layer of a variable computes; without a layer that of the variable."""
    return str(variable.facts.get("compute_dtype", variable.dtype))
