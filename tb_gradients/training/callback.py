"""The callback that monitors ``model.fit``.

In:  a Keras model, through the callback interface.
Out: a ``GradientMonitor`` attached to the model's optimizer.
Does not know how anything is measured or judged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tb_gradients.flags import Flag, RuleError
from tb_gradients.host.schedule import Every
from tb_gradients.judging.registry import RuleSettings
from tb_gradients.judging.words import FIT, LOOP
from tb_gradients.summaries import Summaries
from tb_gradients.training.monitor import GradientMonitor
from tb_gradients.training.observing import observe_data, observe_loss
from tb_gradients.training.optimizers.hook import require_tensorflow
from tb_gradients.training.optimizers.settings import optimizers_of
from tb_gradients.training.origin.explainer import EXPLAIN_BYTES, Explain
from tb_gradients.training.refit import Refit


class GradientHealth(keras.callbacks.Callback):  # type: ignore[misc]
    """Monitors the gradients of ``model.fit`` and reports what is wrong with them.

    ```python
    model.fit(x, y, callbacks=[tbg.GradientHealth("logs/run1")])
    ```

    Works with eager, graph and XLA steps and with ``steps_per_execution``. It changes no
    weight and draws no random number: the same seed gives the same weights with and
    without it.

    Args:
        log_dir: folder of this run; ``tensorboard --logdir`` on it, or on a folder above it.
        every: number of steps between frames, or "auto": many frames at the start, then fewer and
            fewer, within about 1 % of the training time.
        histograms: also write histograms of the gradients.
        summaries: also write standard summaries, which every viewer of event files shows: True,
            a list of names such as "gradient_norm", or ``tbg.Summaries``.
        activations: also observe the outputs of the model's layers: their size, and the share of
            dead and of saturated units.
        stop_on: stop the training when a flag of this severity ("critical", "warning" or
            "info") opens.
        on_flag: called with each ``Flag`` when it opens.
        rules: thresholds other than the default, ``{"rule_id": {"name": value}}``; ``[MyRule]``
            adds a rule of your own.
        explain: find the operation, and the line of your program, that a gradient was lost in
            (``Flag.origin``). "lines": keep the number of the line, not its text; False: do not.
        explain_bytes: memory that this may take, for a batch and a copy of the weights.
        verbose: 0 prints nothing, 1 prints flags when they open and a summary at the end.

    Raises:
        TypeError, ValueError: an argument has the wrong type or value.
        LogDirError: the folder is not writable (before the first step).
        RuntimeError: Keras runs on another backend than TensorFlow.
    """

    # tf_keras asks whether a callback accepts logs on the device, and which batches it wants.
    _supports_tf_logs = True

    def _implements_train_batch_hooks(self) -> bool:
        return True

    def _implements_test_batch_hooks(self) -> bool:
        return False

    _implements_predict_batch_hooks = _implements_test_batch_hooks

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
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
    ) -> None:
        super().__init__()
        require_tensorflow()
        self._monitor = GradientMonitor(
            log_dir,
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
        self.params: Any = None  # the first Keras 3 leaves it to set_params
        self._attached: list[Any] = []
        self._batch = 0
        self._loss_seen = False

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy: the settings, without a run."""
        return {**self.__dict__, "_attached": [], "_batch": 0, "_loss_seen": False}

    def __repr__(self) -> str:
        return repr(self._monitor).replace(type(self._monitor).__name__, type(self).__name__, 1)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict so far."""
        return self._monitor._repr_html_()

    @property
    def report(self) -> tuple[Flag, ...]:
        """The flags so far, worst first; also those of copies, such as a tuner makes per trial."""
        return self._monitor.report

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Parts of the monitor that failed and are switched off, or that have ended it."""
        return self._monitor.errors

    @property
    def monitor(self) -> GradientMonitor:
        """The monitor behind this callback."""
        return self._monitor

    def on_train_begin(self, logs: Any = None) -> None:
        model, optimizers = self.model, optimizers_of(self.model)
        if not optimizers:
            return
        if not _same(self._attached, optimizers):
            self._monitor.describe_run(
                steps_per_epoch=int((self.params or {}).get("steps") or 0), facts={LOOP: FIT}
            )
            refit = Refit(model)
            refit.warn()
            with refit.with_trained():
                self._monitor.watch_model(model, *refit.optimizers, not_trained=refit.frozen)
            observe_data(model, self._monitor.observe_data)
            observe_loss(model, self._monitor.observe_batch)
            # A function traced in an earlier fit does not contain the probe.
            refit.make()
            self._attached = optimizers
        self._monitor.resume()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._batch = 0
        self._monitor.recount()  # a callback behind this one may be a BackupAndRestore
        self._monitor.follow_rates()
        params = self.params or {}
        if params.get("steps") and epoch + 1 == params.get("epochs"):
            self._monitor.ends_after(int(params["steps"]))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        count = self._steps_until(batch)
        if not self._batch:  # a callback behind this one may have changed it for this epoch
            self._monitor.follow_rates()
        self._batch += count
        # A custom train_step may not call compute_loss, or apply gradients in a branch of its own,
        # which the loss does not reach: then the metric of the loss stands in.
        self._loss_seen = self._loss_seen or self._monitor.sees_loss
        loss = None if self._loss_seen else (logs or {}).get("loss")
        self._monitor.advance(count, loss)
        if self._monitor.should_stop:
            self.model.stop_training = True

    def _steps_until(self, batch: int) -> int:
        """Steps of the execution that has ended with this call.

        ``batch`` is the number of its last step; in the first versions of Keras 3 of its first one.
        """
        together = int(getattr(self.model, "steps_per_execution", None) or 1)
        if batch != self._batch or together == 1:
            return max(batch + 1 - self._batch, 1)
        steps = (self.params or {}).get("steps") or batch + together
        return max(min(together, steps - batch), 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._monitor.close()


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return [id(one) for one in first] == [id(one) for one in second]
