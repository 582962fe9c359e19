"""Say of an array in a few words what is in it.

In:  an array of the host.
Out: ``float32 [64, 1]: 0 to 3.1, 1 zero, 2 NaN``: type, shape, range, what is remarkable.
Does not know what the array is for. Of its values the smallest and the
largest are given, no others.
"""

from __future__ import annotations

import numpy as np


def is_real(array: np.ndarray) -> bool:
    """Whether it holds real numbers that can be NaN; NumPy does not count bfloat16 among them."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def described(array: np.ndarray) -> str:
    """An array in a few words."""
    shape = ", ".join(map(str, array.shape))
    name = f"{array.dtype.name} [{shape}]"
    if not is_real(array) or not array.size:
        return name
    values = array.astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    facts = []
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        facts.append(f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}")
    zeros = int((values == 0).sum())
    if zeros and finite.size and (finite.min() != 0 or finite.max() != 0):
        facts.append(f"{zeros} zero" if zeros == 1 else f"{zeros} zeros")
    for count, what in (
        (int(np.isnan(values).sum()), "NaN"),
        (int((values == np.inf).sum()), "Inf"),
        (int((values == -np.inf).sum()), "-Inf"),
    ):
        if count:
            facts.append(f"{count} {what}")
    return f"{name}: {', '.join(facts)}"
