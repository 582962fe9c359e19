"""The steps at which a run is looked at, whether or not frames were taken there.

In:  steps.
Out: the step that ends the cell of each.
Does not know about frames, time or rules.

A cell is one step up to step 63, then 1/32 of each octave. So what is read cell by cell is known
to within 3 % of the length of the run, and a run of n steps has 64 + 32 log2(n / 64) cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PER_OCTAVE = 32
"""Cells of each octave, from the second one of this many steps on."""


def size(step: int, per_octave: float = PER_OCTAVE) -> int:
    """Steps of the cell that a step belongs to; a power of two."""
    return max(1, int((1 << max(step, 1).bit_length() - 1) / per_octave))


def ends(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The last step of the cell that each step belongs to."""
    octave = np.frexp(np.maximum(steps, 1))[1] - 1
    sizes = np.int64(1) << np.maximum(octave - (PER_OCTAVE.bit_length() - 1), 0)
    last: npt.NDArray[np.int64] = -(-steps // sizes) * sizes
    return last
