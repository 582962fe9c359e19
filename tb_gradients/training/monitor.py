"""``GradientMonitor``: what a training calls on the monitor of its run.

In:  an optimizer (or hand-written updates) and one call per step.
Out: an event file, flags as they open, and a summary at the end.
Does not know how a step is measured, when a frame is due, or how a rule decides.

*No failure reaches the training*: it is reported once, then the failed part of the monitor is
switched off and training goes on (``guard``).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tb_gradients.flags import Flag, Origin, RuleError, Severity, ranked
from tb_gradients.host import endings
from tb_gradients.host.backlog import Backlog
from tb_gradients.host.journal import Journal, print_sentence
from tb_gradients.host.notebook import NotebookLine, in_notebook
from tb_gradients.host.parts import Parts, reason_of
from tb_gradients.host.schedule import Every, make_schedule
from tb_gradients.host.summary import summary_of
from tb_gradients.inert import inert
from tb_gradients.judging.registry import RuleSettings, make_rules
from tb_gradients.judging.words import plural
from tb_gradients.lane import MOST_LOSSES
from tb_gradients.summaries import Summaries
from tb_gradients.training.arguments import (
    check_folder,
    check_losses,
    check_named_loss,
    check_settings,
    check_watched,
    is_count,
    is_loss,
)
from tb_gradients.training.collector import Collector
from tb_gradients.training.copies import Copy, monitor_of
from tb_gradients.training.files import open_records
from tb_gradients.training.guard import Guard
from tb_gradients.training.open_monitors import OPEN
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.optimizers.hook import (
    Hook,
    learning_rate_of,
    parts_of,
    require_keras,
)
from tb_gradients.training.optimizers.legacy import LegacyHook
from tb_gradients.training.optimizers.settings import is_legacy
from tb_gradients.training.origin.explainer import EXPLAIN_BYTES, Explain, Explainer
from tb_gradients.training.origin.explanation import Explanation, explanation_of
from tb_gradients.training.origin.request import Request, request_of_graph
from tb_gradients.training.origin.traced import layers_of
from tb_gradients.training.pacing import Pacing
from tb_gradients.training.recorder import GIVEN_BATCH, NAMED_LOSSES, Recorder
from tb_gradients.training.run_folder import RunFolder
from tb_gradients.training.step_count import StepCount
from tb_gradients.training.unseen import Unseen
from tb_gradients.training.updates import Updates
from tb_gradients.training.watched import Watched

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("tb_gradients")


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
            ``{"rule_id": False}`` to switch one off. ``[MyRule]`` adds a rule of your own.
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
        schedule = make_schedule(every)
        severity = None if stop_on is None else Severity.parse(stop_on)
        wanted = Summaries.of(summaries)
        make_rules(rules)  # an error in it must come before a folder is created
        self._folder = RunFolder(log_dir)
        self._verbose = verbose
        self._closed = self._warned_closed = False
        self._hooks: list[Hook] = []
        self._copies: list[Copy] = []
        self._origin: Copy | None = None

        # All that reads or changes the journal.
        self._backlog = Backlog(after=lambda: self._guard.run(self._journal.judge))
        self._parts = parts = Parts()
        self._guard = guard = Guard(parts, self._backlog, self._write_reason)
        self._line = NotebookLine() if verbose and in_notebook() else None
        say = None if not verbose else print_sentence if self._line is None else self._line.add
        self._journal = Journal(
            self._folder.path,
            open_records,
            rules,
            histograms=histograms,
            summaries=wanted,
            stop_on=severity,
            on_flag=on_flag,
            say=say,
            parts=parts,
        )
        leave_out = functools.partial(parts.leave_out, "the origins of flags")
        self._explainer = Explainer(explain, explain_bytes, self._add_origin, leave_out)
        self._journal.on_verdict = self._explainer.ask
        self._steps = steps = StepCount(parts)
        self._pacing = Pacing(schedule, steps)
        self._unseen = Unseen(steps)
        self._watched = Watched(
            model,
            variables,
            activations=activations,
            parts=parts,
            guard=guard,
            steps=steps,
            pacing=self._pacing,
            on_wait=self._unseen.no_call,
            on_full=lambda: guard.run(self._collector.collect_within),
            before_change=self._backlog.run,
            on_change=self._journal.set_table,
        )
        self._recorder = Recorder(
            self._watched,
            self._journal,
            parts=parts,
            guard=guard,
            steps=steps,
            backlog=self._backlog,
            begin_file=self._begin_file,
        )
        self._updates = Updates(
            self._watched, parts=parts, guard=guard, steps=steps, explainer=self._explainer
        )
        self._collector = Collector(
            self._watched,
            self._recorder,
            steps=steps,
            pacing=self._pacing,
            backlog=self._backlog,
            explainer=self._explainer,
            unseen=self._unseen,
        )

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
        pending = self._updates.before(gradients, variables)
        yield
        self._updates.after(pending)

    def step(
        self,
        loss: Any = None,
        *,
        losses: Mapping[str, Any] | None = None,
        step: int | None = None,
        inputs: Any = None,
        targets: Any = None,
        predictions: Any = None,
    ) -> bool:
        """Report one training step. Call it on the host, after each step.

        Args:
            loss: scalar tensor or number; read only when a frame is written.
            losses: parts of the loss, or losses of several optimizers, by name, as in
                ``{"mse": mse, "kl": kl}``: up to 16 scalar tensors or numbers, which are shown
                beside the loss. They are read like ``loss`` and do not replace it: the rules judge
                ``loss``.
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
        named = None
        if losses is not None:
            named = self._parts.run(NAMED_LOSSES, self._named_losses, losses)
        if step is not None and not self._steps.is_renumbered and not is_count(step):
            self._leave_out_argument("step", "a whole number", step)
            step = None
        if inputs is not None or targets is not None or predictions is not None:
            add, number = self._recorder.batches.add, self._steps.next
            self._guard.part(GIVEN_BATCH, add, number, inputs, targets, predictions)
        self._guard.run_on_host(self._collector.after_step, 1, loss, step, named)
        self._show_line()
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
            *arguments: of one call. Pass a batch, not an iterator.
            **named: the same, by name.

        Returns:
            Variable -> ``Origin``, with a readable ``str``: where its gradient becomes None, not
            finite, or exactly zero; and where open flags say that it fades or grows, the path of
            its size from the loss. Variables of which nothing is lost are not in it.

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
        watched = self._watched
        paths = watched.table.paths if watched.table is not None else ()
        known = {key: paths[row] for key, row in watched.rows.items() if row < len(paths)}
        request = Request(known, layers_of(watched.model))
        request.trace(step_function, arguments, named)
        found = explanation_of(request, self._settings["explain_bytes"], self.flags)
        for flag in self.flags:
            origin = found.of(flag) if flag.origin is None else None
            if origin is not None:
                self._explainer.give(flag, origin)
        return found

    def _named_losses(self, losses: Any) -> dict[str, Any]:
        """Those that can be recorded; of another one it is logged what is wrong with it."""
        check_losses(losses)
        known = self._recorder.named_losses
        usable: dict[str, Any] = {}
        for name, loss in losses.items():
            try:
                check_named_loss(name, loss)
                new = sum(other not in known for other in usable)
                if name not in known and len(known) + new >= MOST_LOSSES:
                    raise ValueError(
                        f"monitor.step(losses=...) records {MOST_LOSSES} names in one run, and "
                        f"{name!r} is one more"
                    )
            except (TypeError, ValueError) as error:
                self._parts.leave_out(f"one of the {NAMED_LOSSES}", error)
            else:
                usable[name] = loss
        return usable

    def _leave_out_argument(self, name: str, wanted: str, given: Any) -> None:
        kind = type(given).__name__
        error = TypeError(f"monitor.step({name}=...) takes {wanted}, not {kind}")
        self._parts.leave_out(f"the {name} that was given to step()", error)

    def advance(self, count: int, loss: Any = None) -> bool:
        """Like ``step``, for ``count`` steps that one call of the device has made."""
        self._guard.run_on_host(self._collector.after_step, count, loss, None)
        self._show_line()
        return self.should_stop

    def _show_line(self, *, at_end: bool = False) -> None:
        if self._line is not None:
            step = max(self._steps.shown(self._steps.next) - 1, 0)
            self._parts.run("the line in the notebook", self._line.show, step, at_end)

    @property
    def log_dir(self) -> str:
        """The folder that the user gave."""
        return self._folder.log_dir

    @property
    def folder(self) -> str:
        """The folder of this run, absolute: known with its first frame."""
        return self._folder.path

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
        probes = self._watched.probes
        return probes is not None and probes.sees_loss()

    def flush(self) -> None:
        """Return when all frames so far are judged and in the file."""
        self._backlog.run()
        self._guard.run(self._journal.flush)

    def close(self) -> None:
        """Write the waiting frames, close the file and print the summary. May be called twice."""
        watched = self._watched
        waiting = (watched.probes is not None or self._guard.failed) and not self._closed
        self._closed = True
        if watched.outputs is not None:
            watched.outputs.detach()
        if waiting and not self._collector.passive:
            self._guard.run(self._finish)
            self._show_line(at_end=True)
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
        copied._folder.expects_others = True
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
            stopped=self._guard.failed,
            log_dir=self.log_dir,
            notebook=self._line is not None,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._outline()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict so far."""
        from tb_gradients.html_outputs import of_flags

        return of_flags(self.flags, self._outline(), self._journal.undecided)

    def _outline(self) -> str:
        found = f"{plural(len(self.flags), 'flag')} in {plural(self.frames, 'frame')}"
        return f"{inert(repr(self.log_dir))}: {found}"

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
        if len(optimizers) > 1 and self._watched.needs_names:
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
        self._collector.passive = not replicas.is_chief(strategy)
        if reason:
            self._guard.fail(NotImplementedError(reason))
            return
        if self._settings["stop_on"] is not None and replicas.several_workers(strategy):
            self._journal.never_stop()
            logger.warning(
                "tb_gradients ignores stop_on: only the chief judges the run, and the other "
                "workers would wait for it for ever"
            )
        self._hooks = [
            kind(optimizer, self._updates.before_apply, self._updates.after, self._updates.combine)
            for optimizer, kind in zip(optimizers, kinds, strict=True)
        ]
        self._watched.optimizers = list(optimizers)
        self._unseen.follow(self._hooks)
        if self._watched.is_built:
            self._guard.run(self._watched.prepare, None)

    def watch_model(self, model: Any, *optimizers: Any, not_trained: Iterable[Any] = ()) -> None:
        """Attach to the optimizers of a compiled model; the variables may change.

        Args:
            not_trained: variables that were made trainable after the step was traced.
        """
        self.detach()
        self._backlog.run()
        self._guard.run(self._recorder.add_rest)
        self._watched.change_model(model, not_trained)
        self.attach(*optimizers)

    def resume(self) -> None:
        """Continue after ``close``: the same flags, and a new event file with the next frame."""
        watched = self._watched
        self._pacing.begin()
        if watched.probes is not None and self._closed:
            self._guard.run(self._pacing.resume, watched.probes)
            self._guard.run(self._pacing.select, watched.probes)
            if watched.outputs is not None:
                self._guard.run(watched.outputs.attach)
        self._closed = False

    def detach(self) -> None:
        """Remove the hook; functions already traced keep an idle probe."""
        for hook in self._hooks:
            hook.detach()
        self._hooks = []
        self._watched.optimizers = []
        self._unseen.follow(self._hooks)
        self._watched.forget_outputs()

    def recount(self) -> None:
        """Before the first step: start at the step that the optimizer was restored to."""
        if not self._steps.calls:
            self._guard.run(self._watched.recount)

    def observe_batch(
        self, loss: Any, inputs: Any, targets: Any, predictions: Any, weighted: bool = False
    ) -> None:
        """Pass the loss of the next update, and what it is computed from.

        Args:
            weighted: samples or classes have weights, so the loss is not that of its name.
        """
        self._watched.facts.weighted |= weighted
        self._guard.run(self._updates.observe_batch, loss, inputs, targets, predictions)

    def observe_data(self, inputs: Any, targets: Any) -> None:
        """Pass the data of the next step, whose loss may not be seen."""
        self._guard.run(self._updates.observe_data, inputs, targets)

    def ends_after(self, steps: int) -> None:
        """``steps`` more steps will follow: the last one becomes a frame (``Pacing.end_at``)."""
        self._guard.run(self._pacing.end_at, self._steps.next + steps - 1, self._watched.probes)

    def follow_rates(self) -> None:
        """Look whether a callback has changed a learning rate (``Pacing.follow_rates``)."""
        self._guard.part("changes of the learning rate", self._follow_rates)

    def describe_run(self, **facts: Any) -> None:
        """Add facts about the run that the variables do not show (fields of ``RunContext``)."""
        self._watched.describe_run(**facts)

    # --- from its parts ----------------------------------------------------------------

    @contextlib.contextmanager
    def _begin_file(self, step: int) -> Iterator[None]:
        """Before the first frame: the journal opens its file within the context."""
        with self._claim(step):
            OPEN.add(self)
            endings.add(self)
            yield

    @contextlib.contextmanager
    def _claim(self, step: int) -> Iterator[None]:
        taken = any(one.folder == self.folder for one in OPEN if one is not self)
        with self._folder.claim(step, taken=taken):
            self._journal.folder = self._folder.path
            yield

    def _follow_rates(self) -> None:
        rates = [learning_rate_of(optimizer) for optimizer in self._watched.optimizers]
        known = [math.nan if rate is None else float(rate) for rate in rates]
        self._pacing.follow_rates(known, self._watched.probes)

    def _finish(self) -> None:
        self._collector.finish()
        if self._recorder.unreported:
            self._unseen.undecided(self._journal.undecided)
        self._backlog.close()
        self._explainer.finish(self._journal.flags)
        self._recorder.add_rest()
        self._journal.close()

    def _add_origin(self, flag: Flag, origin: Origin) -> None:
        with self._backlog.lock:
            self._guard.run(self._journal.explain, flag, origin)

    def _write_reason(self, error: Exception) -> None:
        """The monitor has failed: write why."""
        if not self._collector.passive:
            # The folder may have failed; before the first frame it may belong to another run.
            with contextlib.suppress(Exception), self._claim(0):
                self._journal.stop(self._parts.step, reason_of(error))
