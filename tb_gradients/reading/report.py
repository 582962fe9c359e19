"""The verdict over every run of a folder.

In:  a log directory, and thresholds if they are not to be the default ones.
Out: ``Report``: flags, errors and sizes per run, also as JSON (version 1).
Does not know about TensorFlow, HTTP or how a report is printed.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tb_gradients import schema
from tb_gradients.flags import (
    VERDICTS,
    Flag,
    RuleError,
    RuleState,
    Severity,
    ranked,
    verdict_of,
    worst,
)
from tb_gradients.frames import FloatArray
from tb_gradients.inert import inert
from tb_gradients.judging.words import plural
from tb_gradients.lane import HIGH, LOW, MEAN, Lane, NamedLoss
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.measurements import Histogram, Measurements, Variables
from tb_gradients.reading.source import ReadError, RunData, StoredVerdict

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

REPORT_VERSION = 1

MOST_BYTES = 32 << 20
"""The numbers of a run whose files are larger are not held in memory, and read twice instead."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that kept the report from being complete.

    Attributes:
        message: a sentence.
        rule: the rule that failed; ``None`` when another part of the monitor, or reading the
            data, did.
        step: the step at which it failed.
        stopped: the monitor ended with it.
    """

    message: str
    rule: str | None = None
    step: int | None = None
    stopped: bool = False

    @classmethod
    def of(cls, error: RuleError) -> Problem:
        message = str(error) if error.stopped else error.message
        return cls(message, error.rule or None, error.step, error.stopped)

    def __str__(self) -> str:
        if self.rule is None:
            return inert(self.message)
        return inert(f"rule {self.rule} was switched off at step {self.step}: {self.message}")

    def to_json(self) -> dict[str, Any]:
        """``stopped`` is a key only where it is true."""
        entry = dataclasses.asdict(self)
        if not self.stopped:
            del entry["stopped"]
        return entry


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What is to be said of one run, and its numbers as arrays.

    ```python
    run = tbg.load("logs/run1").runs[0]
    run["gradient_norm"]             # float32 [frames, variables]
    run.steps                        # int64 [frames]
    run.variables["dense/kernel"]    # facts about a variable: shape, initializer, ...
    ```

    Arrays are read from the files when they are first asked for, and then raise ``ReadError`` if
    the run is gone or its training went back to an earlier step. A statistic that a frame does not
    have of a variable is NaN.

    Attributes:
        run: path of the run's folder relative to the log directory; "." for itself.
        first_step, last_step: of the frames; ``None`` if there are none.
        frames: how many frames were judged.
        variables: facts about each, in network order; of the last table first, then of earlier
            ones. Also by path: ``run.variables["dense/kernel"]``; ``run.variables.paths``.
        flags: worst first.
        errors: rules and other parts of the monitor that failed, data that could not be read.
        unreadable: nobody can judge it; ``errors`` says why.
        lane: gradient norms of ``variables``, loss and whether weights moved, of every step; None:
            the run was written by a version without it.
        rules: how far each rule has judged the run.
        undecided: why too little was seen to call it healthy; "" if it was enough.
        narrowed: that findings were left out, and which; "" if none could have been.
    """

    run: str
    first_step: int | None
    last_step: int | None
    frames: int
    variables: Variables = dataclasses.field(default_factory=Variables)
    flags: tuple[Flag, ...] = ()
    errors: tuple[Problem, ...] = ()
    unreadable: bool = False
    lane: Lane | None = dataclasses.field(default=None, repr=False, compare=False)
    rules: tuple[RuleState, ...] = ()
    undecided: str = ""
    narrowed: str = ""
    measurements: Measurements | None = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def without_verdict(cls, run: str, sentence: str) -> RunReport:
        """The report on a run that cannot be read."""
        return cls(
            run,
            None,
            None,
            0,
            errors=(Problem(sentence),),
            unreadable=True,
            undecided="the run cannot be read",
        )

    @classmethod
    def of(
        cls,
        data: RunData,
        flags: Iterable[Flag],
        problems: Iterable[Problem],
        rules: Iterable[RuleState] = (),
        undecided: str = "",
        source: EventFileSource | None = None,
    ) -> RunReport:
        """The report on a run whose frames were judged already; arrays are read from ``source``."""
        errors = [*(Problem(sentence) for sentence in data.errors), *problems]
        if not data.frames and not errors:
            errors.append(Problem("There are no frames yet. Has training made its first step?"))
        stopped = next((problem for problem in errors if problem.stopped), None)
        if stopped is not None:  # nothing after it was observed
            undecided = stopped.message
        elif not data.frames:
            undecided = "there are no frames"
        steps, variables = data.steps, Variables.of(data)
        return cls(
            run=data.run,
            first_step=int(steps[0]) if len(steps) else None,
            last_step=int(steps[-1]) if len(steps) else None,
            frames=len(steps),
            variables=variables,
            flags=tuple(flags),
            errors=tuple(errors),
            unreadable=data.unreadable is not None,
            lane=data.lane,
            rules=tuple(rules),
            undecided=undecided,
            measurements=(
                None if source is None else Measurements(source, data.run, steps, variables)
            ),
        )

    def __repr__(self) -> str:
        size = f"{plural(self.frames, 'frame')}, {plural(len(self.variables), 'variable')}"
        found = f"{self.verdict}, {plural(len(self.flags), 'flag')}"
        return f"<RunReport {inert(repr(self.run))}: {found}, {size}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tb_gradients.html_outputs import of_run

        return of_run(self)

    # --- Numbers --------------------------------------------------------------------------

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """int64 [frames]: the training step of each frame."""
        return np.zeros(0, np.int64) if self.measurements is None else self.measurements.steps

    def __getitem__(self, statistic: str) -> FloatArray:
        """float32 [frames, variables] of a statistic, columns in the order of ``variables``.

        NaN: not measured, or the variable was not in the run at that step.

        Args:
            statistic: one of ``docs/data_format.md``, stored or derived: "gradient_norm", ...

        Raises:
            KeyError: no statistic has that name; the message names those that look like it.
        """
        return self._measured().statistic(statistic)

    def context(self, name: str) -> FloatArray:
        """float32 [frames] of a number of the step: "loss", "learning_rate", "global_norm", ...

        Raises:
            KeyError: no number of the step has that name.
        """
        return self._measured().context(name)

    @property
    def losses(self) -> dict[str, FloatArray]:
        """Name -> float32 [frames]: the losses that ``step(losses=...)`` was given.

        NaN: not known or not finite. Of a long run it is the mean over some steps. Every step is in
        ``lane.named_losses``.
        """
        return self._measured().losses

    @property
    def histogram_steps(self) -> npt.NDArray[np.int64]:
        """int64 [histograms]: the steps of the frames that have histograms."""
        return self._measured().histogram_steps

    def histogram(self, variable: str, step: int) -> Histogram:
        """The histogram of a variable's gradient at one of the ``histogram_steps``.

        Raises:
            KeyError: no variable has that path.
            ValueError: no histogram was recorded at that step; the message names the nearest ones.
        """
        return self._measured().histogram(variable, step)

    def to_pandas(self, statistics: Iterable[str] | None = None) -> pandas.DataFrame:
        """A ``pandas.DataFrame``: a row for each (step, variable), a column for each statistic.

        Args:
            statistics: these; ``None``: all, stored and derived.

        Raises:
            ImportError: pandas is not installed.
            KeyError: no statistic has that name.
        """
        return self._measured().to_pandas(statistics)

    def plot(
        self,
        statistic: str = "gradient_norm",
        *,
        variable: str | None = None,
        step: int | None = None,
        axes: Axes | None = None,
    ) -> Axes:
        """Draw a statistic with matplotlib: a heat-map of all frames and variables.

        Args:
            variable: draw this one alone, over the steps.
            step: draw this frame alone, all variables by depth.
            axes: draw here; ``None``: on a new figure.

        Raises:
            ImportError: matplotlib is not installed.
            KeyError: no statistic or variable has that name.
            ValueError: no frame is of that step, or both ``variable`` and ``step`` were passed.
        """
        from tb_gradients.reading import plots

        values = self[statistic]
        # Norms are those of the finite elements: what is not finite has to be marked.
        nonfinite = self["gradient_nonfinite_count"] > 0
        column, steps, paths = schema.column(statistic), self.steps, self.variables.paths
        if variable is not None and step is not None:
            raise ValueError("pass variable= (over the steps) or step= (by depth), not both")
        if variable is not None:
            i = self.variables.position(variable)
            axes = plots.new_axes(axes)
            return plots.over_steps(axes, column, steps, variable, values[:, i], nonfinite[:, i])
        if step is not None:
            at = self._measured().position(step)
            axes = plots.by_depth(plots.new_axes(axes), column, paths, values[at], nonfinite[at])
            axes.set_title(f"step {step}", fontsize="medium")
            return axes
        return plots.heat_map(plots.new_axes(axes), column, steps, paths, values, nonfinite)

    def _measured(self) -> Measurements:
        if self.measurements is None:
            raise ReadError(
                str(self.errors[0]) if self.errors else f"Run {self.run!r} was not read from files."
            )
        return self.measurements

    # --- Verdict --------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What the run is called in a text: its folder, or that it is the folder itself."""
        return "this folder" if self.run == "." else self.run

    @property
    def state(self) -> str:
        """Whether there is a verdict, and why not: "judged", "empty" or "unreadable"."""
        if self.unreadable:
            return "unreadable"
        return "judged" if self.frames else "empty"

    @property
    def stopped(self) -> Problem | None:
        """What ended the monitor before the training; ``None`` if nothing did."""
        return next((problem for problem in self.errors if problem.stopped), None)

    @property
    def steps_seen(self) -> int:
        """How many steps of the training were seen, logged or not."""
        if self.first_step is None or self.last_step is None:
            return 0
        return self.last_step - self.first_step + 1

    @property
    def worst(self) -> Severity | None:
        """The highest severity of all flags; ``None`` if there is none."""
        return worst(self.flags)

    @property
    def verdict(self) -> str:
        """One of ``flags.VERDICTS``; "undecided" for a run without frames."""
        return verdict_of(self.flags, self.undecided)

    def requiring(self, steps: int) -> RunReport:
        """The same, but undecided where fewer steps were seen, whatever the rules need."""
        if self.steps_seen >= steps:
            return self
        seen = "1 step was" if self.steps_seen == 1 else f"{self.steps_seen} steps were"
        return dataclasses.replace(self, undecided=f"{seen} seen, {steps} are required")

    def since(self, step: int) -> RunReport:
        """The same with the findings alone that are open, or began at a step or later."""
        kept = tuple(flag for flag in self.flags if flag.open or flag.first_step >= step)
        over = len(self.flags) - len(kept)
        left = f"{over} earlier finding{' is' if over == 1 else 's are'} left out"
        narrowed = f"Only findings that are open, or began at step {step} or later, count: {left}."
        return dataclasses.replace(self, flags=kept, narrowed=narrowed)

    def to_json(self) -> dict[str, Any]:
        """``narrowed`` is a key only where findings may have been left out, ``losses`` only where
        the loop gave some losses names."""
        losses = {one.name: _loss_json(one) for one in self.lane.named} if self.lane else {}
        narrowed = {"narrowed": self.narrowed} if self.narrowed else {}
        return {
            "run": self.run,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "frames": self.frames,
            "variables": list(self.variables.paths),
            "state": self.state,
            "verdict": self.verdict,
            "undecided": self.undecided,
            "flags": [flag.to_json() for flag in self.flags],
            "rules": [state.to_json() for state in self.rules],
            "errors": [problem.to_json() for problem in self.errors],
            **({"losses": losses} if losses else {}),
            **narrowed,
        }


def _loss_json(loss: NamedLoss) -> dict[str, Any]:
    """Range and latest value of a named loss, and at how many steps it was NaN or Inf."""
    finite = loss.losses[np.isfinite(loss.losses).all(axis=1)]
    known, counted = loss.counts.sum(axis=0).tolist()
    return {
        "last": float(finite[-1, MEAN]) if len(finite) else None,
        "min": float(finite[:, LOW].min()) if len(finite) else None,
        "max": float(finite[:, HIGH].max()) if len(finite) else None,
        "steps": known,
        "nonfinite_steps": known - counted,
    }


@dataclasses.dataclass(frozen=True)
class Report:
    """The runs of a folder, sorted by name."""

    runs: tuple[RunReport, ...]

    def __repr__(self) -> str:
        count = collections.Counter(run.verdict for run in self.runs)
        found = [f"{count[verdict]} {verdict}" for verdict in reversed(VERDICTS) if count[verdict]]
        return f"<Report on {plural(len(self.runs), 'run')}: {', '.join(found)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tb_gradients.html_outputs import of_report

        return of_report(self)

    @property
    def worst(self) -> Severity | None:
        """The highest severity in any run; ``None`` if all are healthy."""
        return worst([flag for run in self.runs for flag in run.flags])

    def requiring(self, steps: int) -> Report:
        """The same, with every run of fewer steps undecided; see ``RunReport.requiring``."""
        return Report(tuple(run.requiring(steps) for run in self.runs))

    def since(self, step: int) -> Report:
        """The same with the findings alone that are open, or began at a step or later."""
        return Report(tuple(run.since(step) for run in self.runs))

    def to_json(self) -> dict[str, Any]:
        """Version 1 of the report, strict JSON (``docs/design.md``, section 3)."""
        return {"schema": REPORT_VERSION, "runs": [run.to_json() for run in self.runs]}


def load(
    logdir: str | os.PathLike[str],
    rules: Any = None,
    *,
    rejudge: bool = False,
    jobs: int | None = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read every run below a folder and give its verdict.

    ```python
    report = tbg.load("logs")
    for run in report.runs:
        for flag in run.flags:
            print(run.run, flag)
    ```

    The verdict that the writer has stored is used if judging the run again could not give another
    one: it covers all frames, and was judged by the same rules with the same thresholds.
    Otherwise every frame is judged, so that a newer version's rules, or other thresholds, apply to
    old runs. Of what the writer judged while training only two things are then used: the origins of
    flags, which the frames do not hold, and the flags of rules that are not known here.

    Args:
        logdir: the folder given to ``GradientHealth``, or one above it.
        rules: thresholds, ``{"rule_id": {"name": value}}``, and rules of your own, ``[MyRule]``; as
            for ``GradientHealth``. ``None``: the default ones.
        rejudge: judge every frame in any case.
        jobs: so many processes; ``None``: as many as there are cores, if there is enough to judge.
            Each begins as a fresh Python, so a program that asks for more than one needs
            ``if __name__ == "__main__":`` (see ``multiprocessing``).
        progress: called with how many runs are done, and how many there are.

    A run that cannot be read hides no other: its ``state`` is "unreadable", its ``errors`` say
    why.

    Raises:
        ReadError: no such folder, or nothing of ours below it. Its message is one sentence with
            the remedy.
        ValueError: unknown rules or thresholds.
    """
    from tb_gradients.judging import make_rules

    make_rules(rules)
    source = EventFileSource(logdir)
    names = source.runs()
    if not names:
        raise ReadError(
            f"There are no gradient-health data below {os.fspath(logdir)!r}. "
            "Was GradientHealth(logdir) passed to fit?"
        )
    settings = {"rules": rules, "rejudge": rejudge}

    def done(count: int) -> None:
        if progress is not None:
            progress(count, len(names))

    processes = min(jobs or 1, len(names))
    if jobs != 1:
        from tb_gradients.reading import workers

        if jobs is None:
            processes = workers.processes_for(sum(map(source.size, names)), len(names))
        if processes > 1:
            path = os.fspath(logdir)
            return Report(tuple(workers.reports(path, names, processes, settings, done)))
    found = []
    for name in names:
        found.append(report_on(source, name, **settings))
        done(len(found))
    return Report(tuple(found))


def report_on(
    source: EventFileSource, run: str, rules: Any = None, *, rejudge: bool = False
) -> RunReport:
    """The report on one run; one that cannot be read has no verdict."""
    try:
        on_disk = source.size(run) > MOST_BYTES
        data = source.read(run, on_disk=on_disk)
        return report_run(data, rules, rejudge=rejudge, source=source)
    except (ReadError, OSError) as error:
        return RunReport.without_verdict(run, str(error))


def report_run(
    data: RunData,
    rules: Any = None,
    *,
    rejudge: bool = False,
    source: EventFileSource | None = None,
) -> RunReport:
    """The report on a run that was read; see ``load``. Arrays are read from ``source`` later.

    Numbers that no rule can reckon with are refused when they are read. Should the rules fail on
    the others all the same, that is no reason to lose what they say of other runs.
    """
    from tb_gradients.judging import judge, make_rules
    from tb_gradients.judging.fingerprint import of_recordings
    from tb_gradients.judging.origins import with_origins
    from tb_gradients.judging.registry import of_rules_elsewhere

    applied = make_rules(rules)
    stored: StoredVerdict | None = None
    if not rejudge and data.verdict is not None and data.verdict.fingerprint:
        fingerprint = of_recordings(data.recordings, applied)
        stored = data.covering_verdict(fingerprint)
    if stored is not None:
        errors = (*(error for error in stored.errors if error.rule), *data.left_out)
        problems = map(Problem.of, errors)
        return RunReport.of(data, stored.flags, problems, stored.rules, stored.undecided, source)
    try:
        verdict = judge(list(data.recordings), rules)
    except Exception as error:
        problem = Problem(f"The rules cannot judge this run ({type(error).__name__}: {error}).")
        reason = "the rules cannot judge this run"
        failed = RunReport.of(data, (), (problem,), undecided=reason, source=source)
        return dataclasses.replace(failed, unreadable=True)
    elsewhere = of_rules_elsewhere(data.stored_flags, applied)
    flags = ranked([*with_origins(verdict.flags, data.stored_flags), *elsewhere])
    states = data.verdict.rules if data.verdict is not None else ()
    found = {flag.rule for flag in elsewhere}
    states = (*verdict.rules, *(state for state in states if state.rule in found))
    problems = map(Problem.of, (*verdict.errors, *data.left_out))
    return RunReport.of(data, flags, problems, states, verdict.undecided, source)
