"""The median of a few finite numbers, which rules ask for at many frames.

In:  an array.
Out: what ``np.median`` gives, in a tenth of its time: most of that goes into other cases.
Does not know what the numbers mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def median(values: npt.NDArray[Any]) -> float:
    """The median of finite numbers.

    Args:
        values: [numbers], at least one.
    """
    ordered = np.sort(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2)
