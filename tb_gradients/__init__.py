"""Find unhealthy gradients: which variable, since which step, why, and what to change.

In:  nothing; names are imported when they are first used, so that neither TensorFlow nor
     TensorBoard is loaded by ``import tb_gradients``.
Out: the public names, listed in ``__all__``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tb_gradients.flags import Cause, Evidence, Flag, Severity
    from tb_gradients.reading.report import load
    from tb_gradients.summaries import Summaries
    from tb_gradients.training.callback import GradientHealth
    from tb_gradients.training.monitor import GradientMonitor
    from tb_gradients.training.watching import watch

__version__ = "0.1.0.dev0"

__all__ = [
    "Cause",
    "Evidence",
    "Flag",
    "GradientHealth",
    "GradientMonitor",
    "Severity",
    "Summaries",
    "__version__",
    "load",
    "watch",
]

_HOMES = {
    "GradientHealth": "tb_gradients.training.callback",
    "GradientMonitor": "tb_gradients.training.monitor",
    "watch": "tb_gradients.training.watching",
    "load": "tb_gradients.reading.report",
    "Flag": "tb_gradients.flags",
    "Evidence": "tb_gradients.flags",
    "Cause": "tb_gradients.flags",
    "Severity": "tb_gradients.flags",
    "Summaries": "tb_gradients.summaries",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
