"""The monitor: observe the training steps, and decide when frames are taken and written.

In:  an optimizer (or hand-written updates) and one call per step.
Out: an event file, flags as they open, and a summary at the end.
Does not know how a statistic is computed or a rule decides.

Two promises shape this file. *A step without a frame costs one comparison*: the host counts steps
itself and reads from the device only when a frame is waiting. *No failure reaches the training*: it
is reported once, then the failed part of the monitor is switched off and training goes on.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tb_gradients import schema
from tb_gradients.flags import Flag, Origin, RuleError, Severity, ranked
from tb_gradients.frames import Frame, VariableTable
from tb_gradients.host import endings
from tb_gradients.host.backlog import Backlog
from tb_gradients.host.journal import Journal
from tb_gradients.host.making import Drained
from tb_gradients.host.parts import Parts, reason_of
from tb_gradients.host.schedule import AutoSchedule, Clock, Every, make_schedule
from tb_gradients.host.summary import summary_of
from tb_gradients.inert import inert
from tb_gradients.judging.freezing import FROZEN_WHEN_TRACED
from tb_gradients.judging.registry import RuleSettings, make_rules
from tb_gradients.judging.words import plural
from tb_gradients.lane import Lane
from tb_gradients.summaries import Summaries
from tb_gradients.training import replicas
from tb_gradients.training.activations import Outputs
from tb_gradients.training.arguments import (
    check_folder,
    check_settings,
    check_watched,
    is_count,
    is_loss,
)
from tb_gradients.training.batch import Batch, inputs_of, tensors_of
from tb_gradients.training.copies import Copy, monitor_of
from tb_gradients.training.files import choose_folder, claimed, open_records, steps_in
from tb_gradients.training.graphs import symbolic, unobserved
from tb_gradients.training.hook import Hook, parts_of, require_keras, steps_made, trained_by
from tb_gradients.training.legacy import LegacyHook
from tb_gradients.training.open_monitors import OPEN
from tb_gradients.training.optimizers import is_legacy
from tb_gradients.training.origin.explainer import EXPLAIN_BYTES, Explain, Explainer
from tb_gradients.training.origin.explanation import Explanation, explanation_of
from tb_gradients.training.origin.request import Request, request_of_graph
from tb_gradients.training.origin.traced import layers_of
from tb_gradients.training.pending import OptimizerView
from tb_gradients.training.probe import NEVER, Probe
from tb_gradients.training.probes import Probes
from tb_gradients.training.recent import RecentBatches, RecentLosses
from tb_gradients.training.ring import RING_STEPS
from tb_gradients.training.topology import (
    graph_of_model,
    with_graph,
)
from tb_gradients.training.traced_facts import TracedFacts
from tb_gradients.training.unseen import why_unseen
from tb_gradients.training.variables import (
    key_of,
    make_table,
    trainable_variables,
    with_initial_scales,
    with_owners,
    with_variable_facts,
)
from tb_gradients.training.weights import Weights

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("tb_gradients")

POLL_SECONDS = 2.0
"""How long a frame that a non-finite gradient has forced may wait, in seconds."""

MIN_UNIT_WINDOW, MAX_UNIT_WINDOW = 20, 100
"""A unit counts as dead after one epoch without gradient, within these bounds: fewer batches
do not cover the data, and more only delay the answer."""

MOST_PER_CALL = 10
"""Updates per call of ``step`` that may be intended: critics are trained five times per step of
their generator."""

FEW_CALLS = 3
"""Rules take medians of three frames and more; each call can give one."""


class GradientMonitor:
    """Watches the gradients, weights and updates of one training run.

    Use it directly for hand-written updates; for an optimizer use ``watch``, for
    ``model.fit`` use ``GradientHealth``.

    ```python
    monitor = tbg.GradientMonitor("logs/run1", variables=[w, b])
    for x, y in data:
        with tf.GradientTape() as tape:
            loss = ...
        gradients = tape.gradient(loss, [w, b])
        with monitor.observe(gradients, [w, b]):      # weights before and after
            for variable, gradient in zip([w, b], gradients):
                variable.assign_sub(0.1 * gradient)
        monitor.step(loss=loss)
    monitor.close()
    ```

    Args:
        log_dir: folder of this run; created if it is missing. If another program has an event
            file in it, the monitor writes to ``log_dir/gradient_health``. If it already holds a
            run, and this training starts at step 0 or another process is writing there, the
            monitor writes to ``log_dir/run_2`` (``run_3``, ...). A training that continues at a
            later step stays in the same folder.
        variables: the variables to watch, inputs first. Default (without ``model``): those of the
            first update.
        model: a Keras model, or several in a list: their trainable variables are watched, and
            their layers explain them.
        every: number of steps between frames, or "auto": many frames at the start, then fewer and
            fewer, within about 1 % of the training time.
        histograms: also write histograms of the gradients.
        summaries: also write standard summaries, which every viewer of event files shows: True,
            a list of names such as "gradient_norm", or ``tbg.Summaries``.
        activations: also observe the outputs of the model's layers: their size, and the share of
            dead and of saturated units. Needs ``model``.
        stop_on: "critical", "warning" or "info": ``step()`` returns True from the moment a flag
            of at least this severity opens.
        on_flag: called with each ``Flag`` when it opens.
        rules: thresholds other than the default, ``{"rule_id": {"name": value}}``, or
            ``{"rule_id": False}`` to switch one off.
        explain: find the operation, and the line of your program, that a gradient was lost in
            (``Flag.origin``). "lines": keep the number of the line, not its text; False: do not.
        explain_bytes: memory that this may take, for a batch and a copy of the weights.
        verbose: 0 prints nothing, 1 prints flags when they open and a summary at the end.

    Raises:
        TypeError, ValueError: an argument has the wrong type or value.
        LogDirError: the folder is not writable.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
        variables: Sequence[Any] | None = None,
        model: Any = None,
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
        self._settings: dict[str, Any] = {
            "variables": variables,
            "model": model,
            "every": every,
            "histograms": histograms,
            "summaries": summaries,
            "activations": activations,
            "stop_on": stop_on,
            "on_flag": on_flag,
            "rules": rules,
            "explain": explain,
            "explain_bytes": explain_bytes,
            "verbose": verbose,
        }
        check_folder(log_dir)
        check_settings(**self._settings)
        check_watched(model, variables)
        self._schedule = make_schedule(every)
        severity = None if stop_on is None else Severity.parse(stop_on)
        wanted = Summaries.of(summaries)
        make_rules(rules)  # an error in it must come before a folder is created
        self.log_dir = os.fspath(log_dir)
        self.folder = choose_folder(log_dir)
        self._parts = Parts()
        leave_out = functools.partial(self._parts.leave_out, "the origins of flags")
        self._explainer = Explainer(explain, explain_bytes, self._tell_origin, leave_out)
        self._journal = Journal(
            self.folder,
            open_records,
            rules,
            histograms=histograms,
            summaries=wanted,
            stop_on=severity,
            on_flag=on_flag,
            verbose=bool(verbose),
            parts=self._parts,
        )
        self._journal.on_verdict = self._explainer.ask
        self._model = model
        self._variables = None if variables is None else list(variables)
        self._watched: Sequence[Any] = ()
        self._rows: dict[Any, int] = {}
        self._activations = activations
        self._outputs: Outputs | None = None
        self._verbose = verbose

        self._table: VariableTable | None = None
        self._probes: Probes | None = None
        self._hooks: list[Hook] = []
        self._made: list[int] = []
        # Each replica runs in a separate thread.
        self._observed = threading.local()
        self._passive = False
        self._not_trained: set[Any] = set()
        self._others: list[Any] = []
        self._facts = TracedFacts(self._parts)
        self._run_facts: dict[str, Any] = {}
        self._failed = False
        self._closed = False
        self._warned_unseen = self._warned_closed = False
        self._updated = False
        self._losses = RecentLosses()
        self._batches = RecentBatches(model, self._parts)
        self._offset: int | None = None
        self._next = 0
        self._begun = 0
        self._ticks = self._reported = self._unreported = 0
        self._due = 0
        self._ends: int | None = None
        self._per_tick = 1
        self._columns: list[int] = []
        self._weights = Weights()
        self._sampling = True
        self._last_poll = 0.0
        self._clock = Clock()
        self._claimed = False
        self._copies: list[Copy] = []
        self._origin: Copy | None = None
        self._backlog = Backlog()  # all that reads or changes the journal

    # --- what the user calls -----------------------------------------------------------

    @contextlib.contextmanager
    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> Iterator[None]:
        """Wrap a hand-written update in ``with``, inside or outside of a ``tf.function``.

        Args:
            gradients: one per variable: tensor, ``IndexedSlices`` or None.
            variables: ``tf.Variable`` or Keras variables.
        """
        request = request_of_graph()
        if request is not None:
            request.add(gradients, variables)
        pending = self._guarded(self._before, gradients, variables, OptimizerView())
        yield
        self._guarded(self._after, pending)

    def step(
        self,
        loss: Any = None,
        *,
        step: int | None = None,
        inputs: Any = None,
        targets: Any = None,
        predictions: Any = None,
    ) -> bool:
        """Report one training step. Call it on the host, after each step.

        Args:
            loss: scalar tensor or number; read only when a frame is written.
            step: number of this step, if it is not the count of steps so far.
            inputs: what the model got: tensors, arrays, or structures of them, with samples along
                the first axis.
            targets: what the loss compared the predictions with; the same kinds.
            predictions: what the model gave; the same kinds.

        Inputs, targets and predictions are needed to find causes in the data. They are read only
        when a frame of this step is written. Batches of the last steps (up to 16 MB) are kept for
        a frame that a NaN may force.

        Returns:
            Whether training should stop (see ``stop_on``).
        """
        if self._closed and not self._warned_closed:
            self._warned_closed = True
            logger.warning(
                "tb_gradients: monitor.step() was called after close(); nothing is watched any more"
            )
        if loss is not None and not is_loss(loss):
            self._leave_out_argument("loss", "a scalar tensor or a number", loss)
            loss = None
        if step is not None and self._offset is None and not is_count(step):
            self._leave_out_argument("step", "a whole number", step)
            step = None
        if inputs is not None or targets is not None or predictions is not None:
            self._part(
                "the batch that was given to step()", self._keep_batch, inputs, targets, predictions
            )
        self._guarded(self._tick, 1, loss, step)
        return self.should_stop

    def explain(
        self, step_function: Callable[..., Any], *arguments: Any, **named: Any
    ) -> Explanation:
        """Find where a step loses its gradients, without making the step.

        ```python
        print(monitor.explain(train_step, x, y))
        ```

        The function is traced in a graph of its own, so its Python code runs once, as it does
        before the first step. The graph is then repeated with stand-ins for all variables: no
        weight changes, no random number is drawn, no file is written; ``skipped`` of the result
        says what the function would do besides. Open flags get the origins that are found.

        Args:
            step_function: what the training calls for each step, with ``tf.function`` or without:
                it must call ``apply_gradients`` of the watched optimizer, or ``observe``.
            arguments, named: of one call. Pass a batch, not an iterator.

        Returns:
            Variable -> ``Origin``, with a readable ``str``: where its gradient becomes None, not
            finite, or exactly zero. Variables of which nothing is lost are not in it.

        Raises:
            TypeError: this is no function, or it does not take these arguments.
            ValueError: the function makes no update that the monitor sees.
            RuntimeError: the function cannot be traced, as where it reads values of tensors.
        """
        if not callable(step_function):
            raise TypeError(
                "explain takes the function of a step, then its arguments: "
                f"monitor.explain(train_step, x, y), not {type(step_function).__name__}"
            )
        if not tf.executing_eagerly():
            raise RuntimeError("call explain on the host, not inside of a tf.function")
        paths = self._table.paths if self._table is not None else ()
        known = {key: paths[row] for key, row in self._rows.items() if row < len(paths)}
        request = Request(known, layers_of(self._model))
        request.trace(step_function, arguments, named)
        found = explanation_of(request, self._settings["explain_bytes"])
        for flag in self.flags:
            origin = found.of(flag) if flag.origin is None else None
            if origin is not None:
                self._explainer.give(flag, origin)
        return found

    def _leave_out_argument(self, name: str, wanted: str, given: Any) -> None:
        kind = type(given).__name__
        error = TypeError(f"monitor.step({name}=...) takes {wanted}, not {kind}")
        self._parts.leave_out(f"the {name} that was given to step()", error)

    def advance(self, count: int, loss: Any = None) -> bool:
        """Like ``step``, for ``count`` steps that one call of the device has made."""
        self._guarded(self._tick, count, loss, None)
        return self.should_stop

    @property
    def should_stop(self) -> bool:
        """Whether a flag of severity ``stop_on`` has opened."""
        return self._journal.should_stop

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags of this run so far, worst first."""
        self._backlog.run()
        return self._journal.flags

    @property
    def report(self) -> tuple[Flag, ...]:
        """The flags so far, worst first, of this run and of its copies.

        (A tuner of hyperparameters copies its callbacks, and trains with the copies.)
        """
        of_copies = [flag for one in self._copies for flag in one.report()]
        return tuple(ranked([*self.flags, *of_copies])) if of_copies else self.flags

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Parts of the monitor that failed and are switched off, or that have ended it."""
        self._backlog.run()
        return self._journal.errors

    @property
    def frames(self) -> int:
        """How many frames were written so far."""
        self._backlog.run()
        return self._journal.frames

    @property
    def sees_loss(self) -> bool:
        """Whether the traced step contains its loss."""
        return self._probes is not None and self._probes.sees_loss()

    def flush(self) -> None:
        """Return when all frames so far are judged and in the file."""
        self._backlog.run()
        self._guarded(self._journal.flush)

    def close(self) -> None:
        """Write the waiting frames, close the file and print the summary. May be called twice."""
        waiting = (self._probes is not None or self._failed) and not self._closed
        self._closed = True
        if self._outputs is not None:
            self._outputs.detach()
        if waiting and not self._passive:
            self._guarded(self._finish)
            if self._verbose:
                print(self.summary())  # noqa: T201 - what `verbose` asks for
        self._backlog.close()
        OPEN.discard(self)
        endings.discard(self)
        if self._origin is not None:
            self._origin.last = self.report

    def __deepcopy__(self, memo: dict[int, Any]) -> GradientMonitor:
        """A copy has a separate run; ``report`` of the original includes its flags."""
        kind, arguments = self.__reduce__()
        copied: GradientMonitor = kind(*copy.deepcopy(arguments, memo))
        memo[id(self)] = copied
        copied._origin = Copy(weakref.ref(copied))
        self._copies.append(copied._origin)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, here or in another process, has the same settings and a separate run.

        (Tuners of hyperparameters copy their callbacks for each trial.)
        """
        return monitor_of, (type(self), self.log_dir, self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def summary(self) -> str:
        """The verdict; for each flag the likeliest cause and the first fix; where to see more."""
        return summary_of(
            self.flags,
            self.errors,
            frames=self._journal.frames,
            undecided=self._journal.undecided,
            stopped=self._failed,
            log_dir=self.log_dir,
        )

    # --- attaching ---------------------------------------------------------------------

    def attach(self, *optimizers: Any) -> None:
        """Hook the optimizers, before the function that calls them is traced.

        Of a ``MultiOptimizer`` those that it delegates to: each has its own learning rate.
        """
        optimizers = tuple(part for one in optimizers for part in parts_of(one))
        kinds = [LegacyHook if is_legacy(optimizer) else Hook for optimizer in optimizers]
        for optimizer, kind in zip(optimizers, kinds, strict=True):
            if kind is Hook:
                require_keras(optimizer)
        if len(optimizers) > 1 and self._variables is None and self._model is None:
            raise ValueError(
                "with several optimizers, pass the variables to watch, inputs first: "
                "model=[generator, discriminator], or variables=[...]"
            )
        strategy = replicas.strategy_of(optimizers[0])
        reason = replicas.why_unsupported(strategy)
        if LegacyHook in kinds and strategy.num_replicas_in_sync > 1:
            reason = (
                "training a tf_keras model on several replicas cannot be monitored; use Keras 3"
            )
        self._passive = not replicas.is_chief(strategy)
        if reason:
            self._fail(NotImplementedError(reason))
            return
        if self._settings["stop_on"] is not None and replicas.several_workers(strategy):
            self._journal.never_stop()
            logger.warning(
                "tb_gradients ignores stop_on: only the chief judges the run, and the other "
                "workers would wait for it for ever"
            )
        self._hooks = [
            kind(optimizer, self._before_apply, self._after, self._combine)
            for optimizer, kind in zip(optimizers, kinds, strict=True)
        ]
        self._made = [steps_made(optimizer) for optimizer in optimizers]
        if self._model is not None and _is_built(self._model):
            self._guarded(self._prepare, None)

    def watch_model(self, model: Any, *optimizers: Any, not_trained: Iterable[Any] = ()) -> None:
        """Attach to the optimizers of a compiled model; the variables may change.

        Args:
            not_trained: variables that were made trainable after the step was traced.
        """
        self.detach()
        self._not_trained = {key_of(variable) for variable in not_trained}
        self._others = []
        self._backlog.run()
        self._guarded(self._write_rest)
        self._model, self._probes = model, None
        self.attach(*optimizers)

    def resume(self) -> None:
        """Continue after ``close``: the same flags, and a new event file with the next frame."""
        self._begun = self._next
        if self._probes is not None and self._closed:
            # Only when a frame is due: an agent may call `fit` after every few steps.
            self._guarded(self._arm, max(self._due, self._next))
            self._guarded(self._select)
            if self._outputs is not None:
                self._guarded(self._outputs.attach)
        self._closed = False

    def detach(self) -> None:
        """Remove the hook; functions already traced keep an idle probe."""
        for hook in self._hooks:
            hook.detach()
        self._hooks = []
        if self._outputs is not None:
            self._outputs.detach()
            self._outputs = None

    def recount(self) -> None:
        """Before the first step: start at the step that the optimizer was restored to."""
        if not self._ticks:
            self._guarded(self._recount)

    def _recount(self) -> None:
        made = max((steps_made(hook.optimizer) for hook in self._hooks), default=0)
        if self._probes is not None and made > self._next:
            self._probes = None
            if self._outputs is not None:
                self._outputs.detach()
                self._outputs = None
            self._prepare(None)

    def observe_batch(
        self, loss: Any, inputs: Any, targets: Any, predictions: Any, weighted: bool = False
    ) -> None:
        """Pass the loss of the next update, and what it is computed from.

        Args:
            weighted: samples or classes have weights, so the loss is not that of its name.
        """
        self._facts.weighted |= weighted
        self._guarded(self._observe_batch, loss, inputs, targets, predictions)

    def observe_data(self, inputs: Any, targets: Any) -> None:
        """Pass the data of the next step, whose loss may not be seen."""
        self._guarded(self._observe_data, inputs, targets)

    def ends_after(self, steps: int) -> None:
        """``steps`` more steps will follow: with ``every="auto"`` the last one becomes a frame.

        (Not in a further ``fit`` that adds little to the run: otherwise each of a thousand short
        ones would write a frame and an event file.)
        """
        self._guarded(self._set_end, self._next + steps - 1)

    def _set_end(self, last: int) -> None:
        if last + 1 - self._begun < AutoSchedule.GROWTH * (last + 1):
            return
        self._ends = last
        sparse = not self._schedule.interval and self._next <= last < self._due
        if sparse and self._probes is not None:
            self._arm(last)
            self._select()

    def describe_run(self, **facts: Any) -> None:
        """Add facts about the run that the variables do not show (fields of ``RunContext``)."""
        self._run_facts.update(facts)

    # --- inside the training step ------------------------------------------------------

    def _before_apply(self, hook: Hook, gradients: Sequence[Any], variables: Sequence[Any]) -> Any:
        def before() -> Any:
            read = self._parts.run("the settings of the optimizer", hook.view, gradients)
            view, unscaled = read or (OptimizerView(), gradients)
            return self._before(unscaled, variables, view, hook.optimizer)

        return self._guarded(before)

    def _before(
        self,
        gradients: Sequence[Any],
        variables: Sequence[Any],
        view: OptimizerView,
        optimizer: Any = None,
    ) -> Any:
        self._prepare(variables)
        self._widen(variables)
        assert self._probes is not None
        gradients = [symbolic(gradient) for gradient in gradients]
        batch = getattr(self._observed, "batch", None)
        loss = None if batch is None else batch.loss
        self._facts.read_step(gradients, loss, self._table, self._watched, self._model)
        found = [self._rows.get(key_of(variable)) for variable in variables]
        rows = [row for row in found if row is not None]
        probe = self._probes.of(optimizer and id(optimizer), self._next, rows)
        probe.outputs = self._outputs
        probe.batch, self._observed.batch = batch, None
        pending = probe.before(gradients, variables, view)
        if pending is not None:
            pending.sick = self._explainer.traced(
                gradients,
                variables,
                found,
                self._table,
                batch,
                self._model,
                pending.squares,
                self._next + (self._offset or 0),
            )
        return probe, pending

    def _after(self, pending: Any) -> None:
        def after() -> None:
            probe, kept = pending
            probe.after(kept)

        self._guarded(after)

    def _observe_batch(self, loss: Any, inputs: Any, targets: Any, predictions: Any) -> None:
        # Every replica keeps it, even if something fails: they sum the loss together.
        before = getattr(self._observed, "batch", None) or Batch()
        self._observed.batch = Batch(loss)
        if replicas.watches():
            if self._hooks:
                self._prepare(None)
            run = self._parts.run
            sides = (
                run("the inputs", inputs_of, inputs, self._model) or (),
                run("the targets", tensors_of, targets) or (),
                run("the predictions", tensors_of, predictions) or (),
            )
            data = before.data_inputs, before.data_targets
            self._observed.batch = Batch(loss, *sides, *data)
            if len(sides[-1]) == 1:
                self._facts.read_head(sides[-1][0], self._watched)

    def _observe_data(self, inputs: Any, targets: Any) -> None:
        if replicas.watches():
            run = self._parts.run
            self._observed.batch = Batch(
                data_inputs=run("the data of the step", tensors_of, inputs) or (),
                data_targets=run("the data of the step", tensors_of, targets) or (),
            )

    def _combine(self) -> list[Any]:
        """Sum the loss over the replicas. All of them get here, even after a failure."""
        batch = getattr(self._observed, "batch", None)
        if batch is None or batch.loss is None:
            return []
        sums = replicas.sum_over_replicas([tf.reduce_mean(batch.loss)])
        self._observed.batch = dataclasses.replace(batch, loss=sums[0])
        return sums

    def _widen(self, variables: Sequence[Any]) -> None:
        """Watch what an optimizer gets besides the model's variables, too."""
        others = [v for v in variables if key_of(v) not in self._rows]
        if not others or self._variables is not None or self._model is None:
            return
        assert self._probes is not None
        if self._probes.used:
            error = ValueError("pass all variables to watch: variables=[...]")
            for variable in others:
                name = getattr(variable, "path", variable.name)
                self._parts.leave_out("what a later update trains besides the model", error, name)
            return
        known = [v for hook in self._hooks for v in trained_by(hook.optimizer)]
        keys = {key_of(v) for v in self._others}
        for variable in [*others, *known]:
            if key_of(variable) not in self._rows and key_of(variable) not in keys:
                keys.add(key_of(variable))
                self._others.append(variable)
        self._probes = None
        self._prepare(None)

    def _prepare(self, variables: Sequence[Any] | None) -> None:
        """Create table and probes, once the variables are known."""
        if self._probes is not None:
            return
        watched = self._variables
        if watched is None and self._model is not None:
            watched = [*trainable_variables(_listed(self._model)), *self._others]
        if not watched:
            watched = None if variables is None else list(variables)
        if not watched:
            return
        self._backlog.run()  # waiting frames belong to the table before
        self._watched = watched
        self._weights.watch(watched)
        with tf.init_scope():
            optimizers = [hook.optimizer for hook in self._hooks]
            table = make_table(
                watched, self._model, *optimizers[:1], parts=self._parts, **self._run_facts
            )
            frozen = {FROZEN_WHEN_TRACED: "True"}
            table = with_variable_facts(table, watched, self._not_trained, frozen)
            self._facts.forget_graph()
            graph = self._parts.run("the graph of the model", graph_of_model, self._model)
            table = with_graph(table, [key_of(variable) for variable in watched], graph)
            names = [
                name
                for name in schema.statistic_names()
                if self._activations or not name.startswith("activation_")
            ]
            self._columns = [schema.statistic_names().index(name) for name in names]
            table = self._table = dataclasses.replace(table, statistics=tuple(names))
            # A model that is compiled again has an optimizer that counts from 0 again.
            first = max([self._next, *(steps_made(optimizer) for optimizer in optimizers)])
            self._next = self._due = first
            self._parts.step = first + (self._offset or 0)
            self._per_tick = max(table.run.steps_per_execution, 1)
            frames = -(-self._per_tick // (self._schedule.interval or 1))
            epoch = table.run.steps_per_epoch
            keys = [key_of(v) for v in watched]
            rows = self._rows = {key: row for row, key in enumerate(keys)}

            def make_probe(step: int) -> Probe:
                probe = Probe(
                    table,
                    keys,
                    first_step=step,
                    slots=min(frames, 64) + 1,
                    unit_window=min(max(epoch, MIN_UNIT_WINDOW), MAX_UNIT_WINDOW),
                    parts=self._parts,
                )
                probe.on_wait = self._warn_waiting
                return probe

            self._probes, self._reported = Probes(make_probe), 0
            self._arm(first)
            if self._activations and self._model is not None and self._outputs is None:
                self._part("the layers' outputs", self._watch_outputs, table, rows)
        self._journal.set_table(self._table)

    def _watch_outputs(self, table: VariableTable, rows: Mapping[Any, int]) -> None:
        kernels = {k: r for k, r in rows.items() if table.variables[r].role == "kernel"}
        note = functools.partial(self._part, "the layers' outputs")
        self._outputs = Outputs(_listed(self._model), kernels, note)
        self._outputs.attach()

    def _complete_table(self) -> None:
        """Add what the first step has shown: facts of the step, and the owner of each variable."""
        assert self._probes is not None and self._table is not None
        self._table = self._facts.complete(self._table, self._watched)
        hooked = {id(hook.optimizer): hook.optimizer for hook in self._hooks}
        owners = {row: hooked[o] for row, o in self._probes.owners().items() if o in hooked}
        if len(hooked) > 1 and owners:
            model = None if isinstance(self._model, (list, tuple)) else self._model
            self._table = with_owners(self._table, owners, model)

    def _read_late_weights(self, frame: Frame) -> None:
        """Read the initial weights of layers that were built while the first step was traced."""
        assert self._table is not None
        if self._journal.frames or frame.step - (self._offset or 0) > 0:
            return
        weight, update = (
            frame.values[:, self._table.statistics.index(name)]
            for name in ("weight_norm", "update_norm")
        )
        with np.errstate(all="ignore"):
            moved = (update / weight).tolist()
        self._table = with_initial_scales(self._table, self._watched, moved)

    def _arm(self, due: int) -> None:
        assert self._probes is not None
        self._due = due
        fixed = self._schedule.interval
        if fixed:
            self._due = -(-due // fixed) * fixed
            self._probes.schedule(self._next, self._due, fixed)
        elif not self._ticks and self._per_tick == 1:
            # If step() is never called, the device still calls the host before the ring is full.
            self._probes.schedule(self._next, due, RING_STEPS)
        else:
            self._probes.schedule(self._next, due)

    # --- on the host, after each step --------------------------------------------------

    def _tick(self, count: int, loss: Any, step: int | None) -> None:
        """``count`` steps were made since the last call."""
        if not tf.executing_eagerly():
            raise RuntimeError(
                "monitor.step() was called inside of a tf.function, where it runs only while the "
                "function is traced; call it on the host, after each call of the function"
            )
        now = time.perf_counter()
        self._ticks += 1
        self._reported += count
        taken = self._next + count - 1
        if loss is not None:
            self._losses.add(taken, loss)
        if step is not None and self._offset is None:
            self._offset = int(step) - taken
        self._next += count
        self._parts.step = self._next + (self._offset or 0)
        if self._passive:
            return
        if self._probes is None:
            self._warn_unseen()
            return
        self._probes.follow(count)
        due = self._next > self._due
        self._clock.step(now, due)
        if due or now - self._last_poll > POLL_SECONDS:
            self._collect(due)
            self._last_poll = time.perf_counter()
        self._select()
        if due:
            self._clock.frame(time.perf_counter() - now)

    def _keep_batch(self, inputs: Any, targets: Any, predictions: Any) -> None:
        self._batches.add(self._next, inputs, targets, predictions)

    def _select(self) -> None:
        """Let a step that XLA compiles keep its gradients if a frame is due in it."""
        assert self._probes is not None
        sampling = self._due < self._next + self._per_tick
        if sampling != self._sampling:
            self._sampling = sampling
            self._probes.select(sampling)

    def _warn_unseen(self) -> None:
        if self._ticks < 3 or self._warned_unseen:
            return
        self._warned_unseen = True
        reason = "the model has no trainable variable"
        if self._model is None or trainable_variables(_listed(self._model)):
            reason = why_unseen(self._hooks, self._made, self._table, self._watched)
        logger.warning("tb_gradients has seen no update after %d steps: %s", self._ticks, reason)

    def _warn_waiting(self, steps: int) -> None:
        """Called in the middle of a training step: a frame has been waiting for ``steps`` steps."""
        if not self._ticks and steps >= max(self._per_tick, RING_STEPS) and not self._warned_unseen:
            self._warned_unseen = True
            logger.warning(
                "tb_gradients has seen %d updates, and monitor.step() was never called: call it "
                "after each training step",
                steps + 1,
            )

    def _few_calls(self, updates: int) -> bool:
        """Whether too few calls of ``step`` were made to observe most of these updates."""
        seldom = updates > MOST_PER_CALL * self._ticks and self._ticks < FEW_CALLS
        return seldom or updates > RING_STEPS * self._ticks  # their rows are lost, too

    def _write_unreported(self) -> None:
        """Write a frame from the rows since the last one, if ``step`` was hardly called."""
        assert self._probes is not None
        self._backlog.run()
        rest = self._probes.rest()
        if rest is not None:
            number, values, context, _ = rest
            known = self._losses.fill(number, context, self._losses.take())
            lane = self._lane(known, number)
            self._write(number, values, context, None, time.time(), lane)
        if not self._warned_unseen:
            self._warned_unseen = True
            logger.warning("tb_gradients is undecided: %s", self._journal.undecided)

    def _collect(self, due: bool) -> None:
        """Fetch, judge and write the waiting frames; then schedule the next one.

        Args:
            due: a frame is expected; otherwise the status is read first, which is cheaper.
        """
        assert self._probes is not None
        coming = self._probes.fetch(self._next) if due or self._probes.status()[0] else []
        if not coming:
            if self._probes.status()[1]:
                self._due = self._next
            if not self._updated:
                self._warn_unseen()
                self._look_at_weights()
            return
        self._updated = True
        self._next = self._probes.next_step(self._next)
        losses = self._losses.take()
        now, wait = time.time(), not self._may_wait()
        for frame in coming:
            job = functools.partial(self._guarded, self._judge, frame.make, losses, now)
            self._backlog.add(job, wait=wait)
            losses = []
        self._batches.clear()
        if not any(frame.broken for frame in coming):
            self._probes.rearm()
            self._explainer.snapshot(self._next + (self._offset or 0))
        if not self._schedule.interval:
            clock = self._clock
            spent = clock.spent(self._backlog.seconds)
            following = self._schedule.next_due(self._next - 1, clock.elapsed, spent, clock.counted)
            following = max(following, self._next)
            if self._ends is not None and self._next <= self._ends:
                following = min(following, self._ends)
            self._arm(following)
        else:
            self._due = self._schedule.next_due(self._next - 1, 0.0, 0.0)

    def _look_at_weights(self) -> None:
        """Without any update so far: write frames about weights that have not changed either.

        (If weights do change, a function that was traced earlier makes the updates.)
        """
        assert self._table is not None
        found = self._weights.unchanged(self._next)
        if found is None:
            return
        steps, norms = found
        values = np.full((len(norms), len(schema.statistic_names())), np.nan, np.float32)
        values[:, schema.statistic_names().index("weight_norm")] = norms
        known = {"table_id": self._table.table_id, "window_steps": steps}
        known.update(applied_steps=0, skipped_steps=0)
        context = np.array([known.get(n, np.nan) for n in schema.context_names()], np.float32)
        self._losses.fill(self._next - 1, context, self._losses.take())
        self._write(self._next - 1, values, context, None, time.time())

    def _may_wait(self) -> bool:
        """Whether the training may go on before its newest frames are judged."""
        assert self._probes is not None
        # Not if more of this step must be read: its batch, or variables of other optimizers.
        complete = not self._batches and self._probes.rows_seen() == len(self._watched)
        return self._journal.open and complete and not self._journal.awaited

    def _judge(self, make: Callable[[], Drained], losses: Sequence[Any], now: float) -> None:
        """Make, judge and write the next frame.

        Args:
            losses: steps and losses that ``step`` was given since the frame before.
            now: when it was taken.
        """
        with self._backlog.lock:
            number, values, context, histograms = make()
            run = self._parts.run
            loss_part = "the loss that was given to step()"
            known = run(loss_part, self._losses.fill, number, context, losses) or []
            run("the weights that no update was seen of", self._weights.fill_others, values)
            lane = run("the dense lane", self._lane, known, number)
            self._write(number, values, context, histograms, now, lane)

    def _lane(self, losses: Sequence[tuple[int, float]], step: int | None = None) -> Lane:
        """The dense lane up to a step; without a step all of it.

        Args:
            losses: steps and losses that ``step`` was given.
        """
        assert self._probes is not None
        lane = self._probes.lane(self._next, step)
        if losses and len(lane):
            lane = lane.with_losses(*zip(*losses, strict=True))
        return lane.shifted(self._offset) if self._offset else lane

    def _write_rest(self) -> None:
        """Write the steps since the last frame, after which no frame follows."""
        if self._probes is not None and self._journal.open:
            losses = self._losses.until(self._next, self._losses.take())
            self._journal.add_lane(self._lane(losses))

    def _write(
        self,
        number: int,
        values: np.ndarray,
        context: np.ndarray,
        histograms: Any,
        now: float,
        lane: Lane | None = None,
    ) -> None:
        """Add to a frame what the host knows, judge it and write it."""
        run = self._parts.run
        run("the batch that was given to step()", self._batches.fill, number, context)
        wanted = histograms and self._journal.wants_histograms()
        if self._unreported:
            context[schema.context_names().index("unreported_steps")] = self._unreported
        frame = Frame(
            step=number + (self._offset or 0),
            wall_time=now,
            values=values[:, self._columns],
            context=context,
            histograms=run("the histograms", histograms) if wanted else None,
            lane=lane,
        )
        if not self._journal.open:
            run("what the first step tells of the run", self._complete_table)
            run("the weights at the start", self._read_late_weights, frame)
            assert self._table is not None
            self._journal.set_table(self._table)
            with self._claim(frame.step):
                OPEN.add(self)
                endings.add(self)
                self._journal.add(frame)
            return
        self._journal.add(frame)

    @contextlib.contextmanager
    def _claim(self, step: int) -> Iterator[None]:
        """Before the first frame: claim a folder, so that this run hides no other one."""
        if self._claimed:
            yield
            return
        taken = any(one.folder == self.folder for one in OPEN if one is not self)
        with claimed(self.folder, step, taken=taken) as folder:
            if folder != self.folder:
                level = logging.INFO if self._origin is not None else logging.WARNING
                found = plural(steps_in(self.folder), "step")
                logger.log(
                    level,
                    "tb_gradients: %s holds a run of %s already; this run is written to %s. "
                    "To choose its name, pass a different folder for each run",
                    self.log_dir,
                    found,
                    folder,
                )
                self.folder = self._journal.folder = folder
            yield
        self._claimed = True

    def _finish(self) -> None:
        if self._probes is not None:
            updates = self._probes.updates()
            if updates > self._reported and self._few_calls(updates):
                self._unreported = updates - self._reported
            self._collect(due=True)
            if self._unreported:
                self._write_unreported()
            self._probes.schedule(self._next, NEVER)
        self._backlog.close()
        self._explainer.finish(self._journal.flags)
        self._write_rest()
        self._journal.close()

    def _tell_origin(self, flag: Flag, origin: Origin) -> None:
        with self._backlog.lock:
            self._guarded(self._journal.explain, flag, origin)

    # --- failing softly ----------------------------------------------------------------

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _guarded(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Call an action so that no failure of it reaches the training; None if it fails."""
        if self._failed or request_of_graph() is not None:
            return None
        try:
            with unobserved():
                # AutoGraph may trace the user's step; our code must not be rewritten.
                return tf.autograph.experimental.do_not_convert(action)(*arguments)
        except Exception as error:
            self._fail(error)
            return None

    def _part(self, part: str, action: Callable[..., Any], *arguments: Any) -> Any:
        """Run an optional part of the monitor; None if it fails."""
        return self._guarded(self._parts.run, part, action, *arguments)

    def _fail(self, error: Exception) -> None:
        with self._backlog.lock:
            self._backlog.run()  # waiting frames are still good
            if self._failed:  # both threads at once: one report is enough
                return
            self._failed = True
            if not self._passive:
                # The folder may have failed; before the first frame it may belong to another run.
                with contextlib.suppress(Exception), self._claim(0):
                    self._journal.stop(self._parts.step, reason_of(error))
        logger.warning(
            "tb_gradients stopped monitoring, training goes on: %s: %s",
            type(error).__name__,
            inert(str(error)),
            exc_info=logger.isEnabledFor(logging.DEBUG),
        )


def _listed(model: Any) -> list[Any]:
    return list(model) if isinstance(model, (list, tuple)) else [model]


def _is_built(model: Any) -> bool:
    return all(getattr(one, "built", False) for one in _listed(model))
