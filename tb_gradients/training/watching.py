"""Attach a monitor to the optimizers of a custom training loop.

In:  the optimizers, and the settings of the monitor.
Out: an attached ``GradientMonitor``.
Does not know what the monitor does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from tb_gradients.flags import Flag
from tb_gradients.host.schedule import Every
from tb_gradients.judging.registry import RuleSettings
from tb_gradients.summaries import Summaries
from tb_gradients.training.arguments import check_order
from tb_gradients.training.monitor import GradientMonitor
from tb_gradients.training.origin.explainer import EXPLAIN_BYTES, Explain


def watch(
    optimizer: Any | Sequence[Any],
    log_dir: str | os.PathLike[str],
    *,
    model: Any = None,
    variables: Sequence[Any] | None = None,
    every: Every = "auto",
    histograms: bool = True,
    summaries: bool | Sequence[str] | Summaries = False,
    activations: bool = False,
    stop_on: str | None = None,
    on_flag: Callable[[Flag], None] | None = None,
    rules: RuleSettings | None = None,
    explain: Explain = True,
    explain_bytes: int = EXPLAIN_BYTES,
    verbose: int = 1,
) -> GradientMonitor:
    """Monitor a custom training loop: attach once, call ``step`` after each training step.

    ```python
    monitor = tbg.watch(optimizer, "logs/run1", model=model)
    for x, y in data:
        loss = train_step(x, y)      # any tf.function that calls optimizer.apply_gradients
        monitor.step(loss=loss)
    monitor.close()
    ```

    Attach before the first call of ``train_step``, so that its trace contains the probe.

    Args:
        optimizer: a Keras 3 optimizer; of a model with several (a GAN), all of them, with
            ``model=[generator, discriminator]`` or ``variables``.

    All other arguments are those of ``GradientMonitor``.

    Returns:
        The monitor; also a context manager.
    """
    check_order(optimizer)
    monitor = GradientMonitor(
        log_dir,
        model=model,
        variables=variables,
        every=every,
        histograms=histograms,
        summaries=summaries,
        activations=activations,
        stop_on=stop_on,
        on_flag=on_flag,
        rules=rules,
        explain=explain,
        explain_bytes=explain_bytes,
        verbose=verbose,
    )
    optimizers = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    monitor.attach(*optimizers)
    return monitor
