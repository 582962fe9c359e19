"""After each step, fetch the frames that the device has ready.

In:  one call per step.
Out: frames for the recorder, and the announcement of the next one.
Does not know how a frame is measured, judged or written.

*A step without a frame costs one comparison*: the host counts steps itself, and reads from the
device only when a frame is waiting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tb_gradients.host.backlog import Backlog
from tb_gradients.training.origin.explainer import Explainer
from tb_gradients.training.pacing import Pacing
from tb_gradients.training.probe.device_state import NEVER
from tb_gradients.training.recorder import Recorder
from tb_gradients.training.step_count import StepCount
from tb_gradients.training.unseen import Unseen
from tb_gradients.training.watched import Watched

POLL_SECONDS = 2.0
"""How long a frame that a non-finite gradient has forced may wait, in seconds."""


class Collector:
    """The host's side of the steps of one training.

    Args:
        watched: what is watched.
        recorder: gets the frames.
        steps, pacing: of the training.
        backlog: what the thread of the frames has to do.
        explainer: keeps the weights of steps that were sound.
        unseen: warns if no update comes.

    Attributes:
        passive: the frames of this training are taken by another process.
    """

    def __init__(
        self,
        watched: Watched,
        recorder: Recorder,
        *,
        steps: StepCount,
        pacing: Pacing,
        backlog: Backlog,
        explainer: Explainer,
        unseen: Unseen,
    ) -> None:
        self.passive = False
        self._watched, self._recorder = watched, recorder
        self._steps, self._pacing, self._backlog = steps, pacing, backlog
        self._explainer, self._unseen = explainer, unseen
        self._updated = False
        self._last_poll = 0.0

    def after_step(
        self, count: int, loss: Any, number: int | None, named: Mapping[str, Any] | None = None
    ) -> None:
        """``count`` steps were made since the last call.

        Args:
            loss: of the last one, if the loop has passed it.
            named: its losses with names, if the loop has passed some.
            number: of the last one, if the user counts from another one.
        """
        if not tf.executing_eagerly():
            raise RuntimeError(
                "monitor.step() was called inside of a tf.function, where it runs only while the "
                "function is traced; call it on the host, after each call of the function"
            )
        now = time.perf_counter()
        last = self._steps.add(count, number)
        if loss is not None:
            self._recorder.losses.add(last, loss)
        if named:
            self._recorder.named_losses.add(last, named)
        if self.passive:
            return
        probes, pacing = self._watched.probes, self._pacing
        if probes is None:
            self._unseen.no_update(self._watched)
            return
        probes.follow(count)
        due = pacing.is_due
        pacing.clock.step(now, due)
        if due or now - self._last_poll > POLL_SECONDS:
            self.collect(due)
            self._last_poll = time.perf_counter()
        pacing.select(probes)
        if due:
            pacing.clock.frame(time.perf_counter() - now)

    def collect(self, due: bool) -> None:
        """Fetch the waiting frames; then announce the next one.

        Args:
            due: a frame is expected; otherwise the status is read first, which is cheaper.
        """
        probes, steps = self._watched.probes, self._steps
        assert probes is not None
        coming = probes.fetch(steps.next) if due or probes.status()[0] else []
        if not coming:
            if probes.status()[1]:
                self._pacing.take_next()
            if not self._updated:
                self._unseen.no_update(self._watched)
                self._recorder.add_unchanged_weights()
            return
        self._updated = True
        steps.next = probes.next_step(steps.next)
        self._recorder.add(coming)
        if not any(frame.broken for frame in coming):
            probes.rearm()
            self._explainer.snapshot(steps.shown(steps.next))
        self._pacing.after_frame(probes, self._backlog.seconds)

    def collect_within(self) -> None:
        """In the middle of a call that makes many updates, fetch the waiting frames.

        The device announces the next one itself.
        """
        probes = self._watched.probes
        assert probes is not None
        coming = [] if self.passive else probes.fetch(self._steps.next)
        if not coming:
            return
        self._updated = True
        self._steps.count_within(probes.next_step(self._steps.next))
        self._recorder.add(coming)
        if not any(frame.broken for frame in coming):
            probes.rearm()

    def finish(self) -> None:
        """The training has ended: fetch what waits, and take no further frame."""
        probes, recorder = self._watched.probes, self._recorder
        if probes is None:
            return
        recorder.unreported = self._unseen.unreported(probes.updates()) or recorder.unreported
        self.collect(due=True)
        if recorder.unreported or probes.ends_nonfinite():
            recorder.add_last_rows()
        probes.schedule(self._steps.next, NEVER)
