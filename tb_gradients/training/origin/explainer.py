"""Find the origin of flags, each once, while the training goes on.

In:  traced steps, and flags as they open.
Out: an ``Origin`` for those of which one is found, handed to the journal.
Does not know how a flag is judged or written.

All of it happens on a thread of its own, and only when a flag asks. A step pays for nothing but a
few references, while it is traced.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.flags import Flag, Origin, Severity
from tb_gradients.frames import VariableTable
from tb_gradients.judging.operations import FADES, NONE, NONFINITE, ZERO
from tb_gradients.judging.origins import ASKS, BY_SIZE
from tb_gradients.training.origin.cuts import Cuts
from tb_gradients.training.origin.describing import origin_of_cut
from tb_gradients.training.origin.keeping import Keeper
from tb_gradients.training.origin.repeating import Broken, Kept
from tb_gradients.training.origin.search import of_nonfinite, of_size, of_zero
from tb_gradients.training.origin.traced import Replica, TracedStep, layers_of, of_replica, trace
from tb_gradients.training.probe.batch import Batch

logger = logging.getLogger("tb_gradients")

ANSWERS = 8
"""Flags that are explained in one run: each costs seconds of the processor."""

PATIENCE = 60.0
"""Seconds that the end of a training waits for answers that are not there yet."""

EXPLAIN_BYTES = 2**31
"""Memory that a repetition may take by default."""

BATCH_SECONDS = 30.0
"""How long a batch is waited for."""

Explain = bool | str


class Explainer:
    """Answers flags of one run.

    Args:
        explain: False: never; "lines": without the text of lines.
        limit: bytes that may be kept of a step, and again that its repetition may take.
        report: given a flag and its origin, on the thread of the explainer; must not raise.
        leave_out: given the reason why there is no origin; must not raise.
    """

    def __init__(
        self,
        explain: Explain,
        limit: int,
        report: Callable[[Flag, Origin], None],
        leave_out: Callable[[Exception], None],
    ) -> None:
        self._explain = explain
        self._limit = limit
        self._report = report
        self._keeper = Keeper(limit)
        self._steps: dict[frozenset[str], TracedStep] = {}
        self._beside: dict[tuple[Any, ...], Replica] = {}
        self._asked: set[tuple[str, int]] = set()
        self._waiting: deque[Flag] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._leave_out = leave_out
        self._ending = False
        self._broken: tuple[Origin | None, Broken] | None = None

    # --- from the training --------------------------------------------------------------------

    def traced(
        self,
        gradients: Sequence[Any],
        variables: Sequence[Any],
        rows: Sequence[int | None],
        table: VariableTable | None,
        batch: Batch | None,
        model: Any,
        squares: Any,
        number: int,
    ) -> Callable[[Any], None] | None:
        """An update is being traced.

        Args:
            rows: of the variables in the table; None: not in it.
            batch: what the loss was computed from, where it is known.
            model: of Keras, several of them, or None.
            squares: sums of squares of the gradients.
            number: of the next step, as flags count.

        Returns:
            What keeps the batch; see ``Keeper.nonfinite_branch``.
        """
        if not self._explain or table is None:
            return None
        try:
            paths = ["" if row is None else table.paths[row] for row in rows]
            loss = None if batch is None else batch.loss
            step = trace(gradients, variables, paths, loss, layers_of(model))
            if step is not None:  # TensorFlow traces a step twice: the last one is run
                self._steps[frozenset(paths)] = step
                with tf.init_scope():
                    self._keeper.snapshot([step], number)
                if step.xla:
                    self._keeper.outside_of_xla(step, squares)
                return self._keeper.nonfinite_branch(step)
        except Exception as error:  # the rest of the monitor goes on
            self._leave_out(error)
        return None

    def traced_beside(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """The same step is being traced for a replica that does not observe.

        Args:
            gradients: of this replica alone.
            variables: in the order of the gradients.
        """
        if not self._explain:
            return
        try:
            found = of_replica(gradients, variables)
            if found is not None:
                handles = (
                    id(getattr(variable, "handle", variable)) for variable in found.variables
                )
                self._beside[tuple(handles)] = found
        except Exception as error:
            self._leave_out(error)

    def snapshot(self, number: int) -> None:
        """A frame was taken, and its gradients were finite.

        Args:
            number: of the next step, as flags count.
        """
        if not self._explain or not self._steps:
            return
        try:
            self._keeper.snapshot(list(self._steps.values()), number)
        except Exception as error:
            self._leave_out(error)

    # --- from the journal ---------------------------------------------------------------------

    def ask(self, flags: Iterable[Flag], *, provisional: bool = False) -> None:
        """Explain those of the flags that have no origin yet, soon.

        Args:
            provisional: also those of which the rule is not sure yet.
        """
        if not self._explain or not self._steps:
            return
        with self._lock:
            for flag in flags:
                key = flag.rule, flag.first_step
                if flag.rule not in ASKS or flag.origin is not None or key in self._asked:
                    continue
                if (flag.provisional and not provisional) or len(self._asked) >= ANSWERS:
                    continue
                if ASKS[flag.rule] in BY_SIZE and flag.severity < Severity.WARNING:
                    continue
                self._asked.add(key)
                self._waiting.append(flag)
            if self._waiting and self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="tb_gradients origin", daemon=True
                )
                self._thread.start()

    def finish(self, flags: Iterable[Flag]) -> None:
        """The training has ended: answer what is open, for a limited time."""
        self._ending = True
        self.ask(flags, provisional=True)
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(PATIENCE)

    def give(self, flag: Flag, origin: Origin) -> None:
        """Hand an origin to the journal, without the line's text unless that may be logged."""
        text = origin.code if self._explain is True else ""
        self._report(flag, dataclasses.replace(origin, code=text))

    # --- on the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                flag = self._waiting.popleft()
            try:
                origin = self._origin(flag)
            except Exception as error:
                logger.debug("tb_gradients: no origin of %s", flag.rule, exc_info=True)
                self._leave_out(error)
                continue
            if origin is not None:
                self.give(flag, origin)

    def _origin(self, flag: Flag) -> Origin | None:
        lost = ASKS[flag.rule]
        if lost == NONE:
            return self._of_none(flag)
        if lost == NONFINITE:
            return self._of_nonfinite(flag)
        kept = self._any_step(flag)
        loss = None if kept is None else Cuts(kept.step).loss
        if kept is None or loss is None:
            return None
        # From the inputs on; a flag may name the worst variable first.
        wanted = [path for path in kept.step.paths if path in flag.variables]
        present = dataclasses.replace(kept, weights={})
        if lost == ZERO:
            found = of_zero(kept, loss, wanted, self._limit)
            return found or of_size(kept, loss, wanted, FADES, self._limit)
        # With the weights of now; if they are not finite any more, with those of the last frame.
        found = of_size(present, loss, wanted, lost, self._limit)
        return found or of_size(kept, loss, wanted, lost, self._limit)

    def _any_step(self, flag: Flag) -> Kept | None:
        """Some step, with the weights of the last frame; None: no batch can be kept."""
        self._keeper.want()
        until = time.monotonic() + BATCH_SECONDS
        while (found := self._keeper.any_batch()) is None:
            if self._ending or time.monotonic() > until:
                return None
            time.sleep(0.05)
        weights, _ = self._keeper.weights(flag.first_step)
        return Kept(*found, weights, False)

    def _of_nonfinite(self, flag: Flag) -> Origin | None:
        """Of NaN and infinite numbers: the first step that broke is repeated, once for all."""
        if self._broken is not None:
            return self._broken[0]
        kept = self._keeper.batch()
        if kept is None:
            return None
        step, batch = kept
        weights, exact = self._keeper.weights(flag.first_step)
        if flag.rule == "loss_scale_collapse":
            # The first steps look for a scale; what breaks at the present one does at any. Steps
            # that were skipped have changed no weight.
            weights, exact = {}, False
        replicas = (
            (Kept(one, batch, weights, exact), loss)
            for one in self._replicas_of(step)
            if (loss := Cuts(one).loss) is not None
        )
        found = of_nonfinite(replicas, self._limit)
        self._keeper.repeated(found is not None)
        if found is None:
            return None
        self._broken = found
        return found[0]

    def _replicas_of(self, observed: TracedStep) -> Iterator[TracedStep]:
        """A step as each replica makes it, the observing one first."""
        yield observed
        for replica in list(self._beside.values()):
            step = replica.step(observed)
            if step is not None:
                yield step

    def _of_none(self, flag: Flag) -> Origin | None:
        """Of gradients that are None: the first variable, in network order, that is cut off."""
        for step in list(self._steps.values()):
            missing = [path for path in flag.variables if path in step.without_gradient]
            if not missing:
                continue
            cuts = Cuts(step)
            # The last one is nearest to what cuts them off.
            found = cuts.of(missing[-1])
            if found is not None:
                return origin_of_cut(step, missing[-1], found)
        return None
