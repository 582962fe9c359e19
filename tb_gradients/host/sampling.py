"""Choose the elements of each variable that are sampled.

In:  the variable table.
Out: a ``Sample`` per variable, and the ``Layout`` of what one step's update leaves for its frame.
Does not know about TensorFlow; device and host lay out and read the numbers by it.

Small variables are looked at whole. Of a large one an even grid of rows and units is: shares,
spreads and histograms are the grid's, while sums, extremes and norms are those of all elements.
Gradient, weight and update are looked at in the same places.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_gradients.frames import Variable
from tb_gradients.judging.networks import gates

IntArray = npt.NDArray[np.int64]

WHOLE_ELEMENTS = 8_192
"""Variables of up to so many elements are looked at whole."""

SAMPLE_ELEMENTS = 4_096
"""A share in a sample of this size is known to within 1.6 percentage points (2 sigma), a bin that
holds 1 % of the elements to within 31 %. "Exactly none" and "exactly all" are decided on all
elements where the sums show it."""

FEWEST_ROWS = 64
"""A sample has as many rows and units, where there are: whole rows and columns tend to be zero
together (of a constant input, of a dead unit), and then it is they that are counted."""

FEWEST_ELEMENTS = 1_024
"""The smallest sample, of models with many variables: 3 percentage points. Whole are up to as many
elements, then."""

MODEL_ELEMENTS = 2**18
"""The samples of all variables together are to be no more than this, down to the smallest one."""

HUGE_ELEMENTS = 2**20
"""The update norm of a larger variable follows from a sample of its rows, of COARSE_ELEMENTS: a
copy of all weights before the step would be as large as the model."""

COARSE_ELEMENTS = 2**18
"""Their norm is within 1 % of that of all, unless few rows make up most of it. More of them, where
these were less than FEWEST_ROWS."""


NUMBERS = (
    "gradient_sum",
    "gradient_min",
    "gradient_max",
    "gradient_nans",
    "gradient_infinities",
    "gradient_norm",
    "weight_norm",
    "weight_nonfinite",
    "update_norm",
)
"""Of all elements of a large variable; everything of the gradient with the loss scale in it. Of the
finite elements alone, where some are not. ``update_norm`` is NaN where it is not known."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The elements of one variable that are looked at.

    The variable counts as [rows, units]: the unit axis last, all others flattened.

    Attributes:
        row: of the table.
        dtype: of the variable.
        strides: over rows and units.
        coarse: over the rows that the norm of the update is taken of; 1: of all.
        gates: groups of units side by side, whose units are compared within the group.
    """

    row: int
    shape: tuple[int, ...]
    unit_axis: int
    dtype: str = "float32"
    strides: tuple[int, int] = (1, 1)
    coarse: int = 1
    gates: int = 1

    @property
    def units(self) -> int:
        return self.shape[self.unit_axis] if self.unit_axis >= 0 else 1

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def rows(self) -> int:
        return self.elements // self.units

    @property
    def whole(self) -> bool:
        """Whether all elements are looked at."""
        return self.strides == (1, 1)

    @property
    def real(self) -> bool:
        return not self.dtype.startswith("complex")

    @property
    def small(self) -> bool:
        """Real, and looked at whole: one of those that travel in one vector."""
        return self.real and self.whole

    @property
    def sampled_shape(self) -> tuple[int, int]:
        """Rows and units of the sample."""
        down, across = self.strides
        return -(-self.rows // down), -(-self.units // across)

    @property
    def size(self) -> int:
        """Number of elements of the sample."""
        rows, units = self.sampled_shape
        return rows * units


def sample_limit(variables: Sequence[Variable]) -> int:
    """Up to how many elements a variable is looked at whole, so that all are not too much."""
    sizes = np.array([v.elements for v in variables], np.int64)
    limit = WHOLE_ELEMENTS
    while limit > FEWEST_ELEMENTS and np.minimum(sizes, limit).sum() > MODEL_ELEMENTS:
        limit //= 2
    return limit


def sample_of(row: int, variable: Variable, limit: int = WHOLE_ELEMENTS) -> Sample:
    """The sample of one variable of at least one element: whole, or SAMPLE_ELEMENTS of it.

    Args:
        limit: up to which number of elements it is whole; the sample of a larger one has about
            as many at the most (strides are moved to neighbours, see ``_stride``).
    """
    whole = Sample(row, variable.shape, variable.unit_axis, variable.dtype, gates=gates(variable))
    if whole.elements <= limit:
        return whole
    size = min(limit, SAMPLE_ELEMENTS)
    coarse = 1
    if whole.elements > HUGE_ELEMENTS:
        coarse = _stride(whole.rows, max(COARSE_ELEMENTS // whole.units, FEWEST_ROWS))
    rows = -(-whole.rows // coarse)
    down = coarse * _stride(rows, max(size // whole.units, FEWEST_ROWS))
    across = _stride(whole.units, max(round(size / -(-whole.rows // down)), 1))
    if across > 1:  # the units that are looked at no longer lie in groups of one length
        whole = dataclasses.replace(whole, gates=1)
    return dataclasses.replace(whole, strides=(down, across), coarse=coarse)


def _stride(count: int, wanted: int) -> int:
    """Every how many-th of them to take, for about so many.

    No multiple of 2, 3 or 7 where it is large: what lies in rows or units (the columns of a
    picture, channels, heads) tends to repeat in such periods, and would always be taken in the
    same phases.
    """
    stride = max(-(-count // wanted), 1)
    if stride <= 5:
        return stride
    return next(
        near
        for distance in itertools.count()
        for near in (stride - distance, stride + distance)
        if math.gcd(near, 2 * 3 * 7) == 1
    )


def in_order(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Small ones first, those of one shape together; then large ones; complex ones last."""
    return tuple(sorted(samples, key=lambda s: (not s.real, not s.whole, s.shape, s.dtype, s.row)))


@dataclasses.dataclass(frozen=True)
class Layout:
    """What one traced update leaves for a frame, and in which order.

    Attributes:
        number: distinguishes it from others, where an optimizer is traced with different variables.
        samples: of the dense gradients, ``in_order``.
        sparse: rows with a sparse gradient.
        order: rows with a gradient in the order of their sums of squares.
        none_rows: rows whose gradient is None.
        clipping: see ``OptimizerView``.
        has_loss, scaled: whether the loss is seen, and whether gradients carry a loss scale.
        compute_dtypes: per sample, the dtype in which its layer computes.
    """

    number: int
    samples: tuple[Sample, ...]
    sparse: tuple[int, ...]
    order: tuple[int, ...]
    none_rows: tuple[int, ...]
    clipping: Mapping[str, float]
    has_loss: bool
    scaled: bool
    compute_dtypes: tuple[str, ...]

    def only(self, rows: Collection[int]) -> Layout:
        """The same with the samples of some rows alone."""
        kept = [sample.row in rows for sample in self.samples]
        return dataclasses.replace(
            self,
            samples=tuple(itertools.compress(self.samples, kept)),
            compute_dtypes=tuple(itertools.compress(self.compute_dtypes, kept)),
        )

    @functools.cached_property
    def small(self) -> tuple[Sample, ...]:
        """The real ones that are looked at whole: the first of all."""
        return tuple(sample for sample in self.samples if sample.small)

    @functools.cached_property
    def others(self) -> tuple[Sample, ...]:
        return self.samples[len(self.small) :]

    @functools.cached_property
    def large(self) -> tuple[Sample, ...]:
        """Those that are not looked at whole."""
        return tuple(sample for sample in self.samples if not sample.whole)

    @functools.cached_property
    def rows(self) -> IntArray:
        """Row of the table, per sample."""
        return np.array([s.row for s in self.samples], np.int64)

    @functools.cached_property
    def sizes(self) -> IntArray:
        return np.array([s.size for s in self.samples], np.int64)

    @functools.cached_property
    def elements(self) -> IntArray:
        """Of the whole variable, per sample."""
        return np.array([s.elements for s in self.samples], np.int64)

    @functools.cached_property
    def starts(self) -> IntArray:
        """Where each sample begins among the elements of all."""
        return _starts(self.sizes)

    @functools.cached_property
    def has_units(self) -> npt.NDArray[np.bool_]:
        return np.array([s.unit_axis >= 0 and s.units > 1 for s in self.samples])

    @functools.cached_property
    def unit_rows(self) -> tuple[IntArray, IntArray, IntArray]:
        """Of the rows of all samples: where each begins, its length, and each sample's first.

        A row of a layer with gates is one row for each of them.
        """
        counts = np.array([s.sampled_shape[0] * s.gates for s in self.samples], np.int64)
        lengths = np.repeat([s.sampled_shape[1] // s.gates for s in self.samples], counts)
        return _starts(lengths), lengths, _starts(counts)

    @functools.cached_property
    def owners(self) -> IntArray:
        """Number of its sample, per element."""
        return np.repeat(np.arange(len(self.samples)), self.sizes)

    @functools.cached_property
    def is_large(self) -> npt.NDArray[np.bool_]:
        return np.array([not s.whole for s in self.samples], bool)


def _starts(lengths: Any) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
