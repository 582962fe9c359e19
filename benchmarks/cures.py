"""Whether the advice of a finding cures the program that it was given for.

Trains faulty programs of the zoo (``benchmarks/zoo``), takes the first advice of the worst finding
that is code, does what it says, and trains again. Cured is what then knows at least 0.7 of what its
healthy twin knows (``--cured``). What is not cured is judged anew, as a user would, and the advice
that the new run is given is followed on top of the last one, up to three times in all
(``--rounds``): a program may have two faults, and each finding changes one thing.

    python benchmarks/cures.py --recordings DIR                  # two programs of each fault
    python benchmarks/cures.py --recordings DIR --per-fault 99   # all of them
    python benchmarks/cures.py --recordings DIR --programs "*!rate-*"

Recordings are shared with ``benchmarks/detection.py``: what is there is not trained again. With
``--json FILE``, a trial that the file holds is not made again either.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures as futures
import dataclasses
import fnmatch
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import detection
from zoo import judging, recording

if TYPE_CHECKING:
    from zoo.programs import Program


@dataclasses.dataclass(frozen=True)
class Trial:
    """One program, and what became of it with the advice.

    Attributes:
        cause: the first one of the worst finding; "" where there is no finding.
        fixes: the advice of each round, in order; that of the first round if none is code.
        before, twin: skill, 1 perfect and 0 no better than a constant.
        after: skill with the advice of each round; NaN where the program still gives NaN.
        error: what was raised by the advice.
    """

    program: str
    seed: int
    fault: str
    cause: str
    fixes: list[str]
    before: float
    after: list[float]
    twin: float
    error: str = ""

    @property
    def code(self) -> bool:
        return bool(self.after or self.error)

    def cured(self, share: float, rounds: int) -> bool:
        return any(after >= share * self.twin for after in self.after[:rounds])


@dataclasses.dataclass(frozen=True)
class Options:
    """How trials are made: so many ``rounds``, cured at this ``share`` of the twin's skill."""

    folder: str
    seed: int
    share: float
    rounds: int


def attempt(options: Options, name: str, twin: str) -> Trial:
    """Follow the advice that a recorded program is given, and that of the runs which come of it."""
    from zoo import cures
    from zoo.programs import programs

    [program] = [p for p in programs() if p.name == name]
    here, healthy = (
        recording.folder_of(options.folder, other, options.seed) for other in (name, twin)
    )
    if not (here / judging.OUTCOME).exists():
        recording.record(options.folder, name, options.seed)
    recipe = program.train.args[0]  # type: ignore[attr-defined]
    before, best = (judging.read_outcome(path / judging.OUTCOME).skill for path in (here, healthy))
    cause, fixes, layers = advice(str(here))
    trial = Trial(name, options.seed, program.fault, cause, fixes[:1], before, [], best)
    followed: list[str] = []
    changes = cures.Changes()
    with tempfile.TemporaryDirectory() as runs:
        for number in range(options.rounds):
            new = [(fix, cures.read(fix, layers)) for fix in fixes if fix not in followed]
            fix, change = next(((fix, change) for fix, change in new if change), ("", None))
            if change is None:
                break
            followed.append(fix)
            changes = changes.then(change)
            folder = os.path.join(runs, str(number))
            try:
                skill = cures.train(recipe, changes, options.seed, folder).skill
            except Exception as error:
                return dataclasses.replace(
                    trial, fixes=followed, error=f"{type(error).__name__}: {error}"[:300]
                )
            trial = dataclasses.replace(trial, fixes=[*followed], after=[*trial.after, skill])
            if trial.cured(options.share, options.rounds):
                break
            _, fixes, layers = advice(folder)
    return trial


def advice(folder: str) -> tuple[str, list[str], list[str]]:
    """The first cause of a run's worst finding, its fixes, and the names of the run's layers."""
    from tb_gradients.flags import Severity
    from tb_gradients.judging import judge
    from tb_gradients.reading.event_files import EventFileSource

    recordings = EventFileSource(folder).read(".").recordings
    flags = [flag for flag in judge(recordings).flags if flag.severity >= Severity.WARNING]
    paths = recordings[-1].table.paths
    layers = list(dict.fromkeys(path.rpartition("/")[0].rpartition("/")[2] for path in paths))
    if not flags:
        return "", [], layers
    worst = flags[0]
    return worst.causes[0].id if worst.causes else "", list(worst.fixes), layers


def chosen(patterns: Sequence[str], per_fault: int) -> list[Program]:
    """Faulty programs that are a recipe, so many of each fault."""
    from zoo.programs import programs

    count: collections.Counter[str] = collections.Counter()
    found = []
    for program in detection.in_order(programs()):
        if not program.faulty or "!" not in program.name or not hasattr(program.train, "args"):
            continue
        if not program.train.args or not any(fnmatch.fnmatch(program.name, p) for p in patterns):
            continue
        count[program.fault] += 1
        if count[program.fault] <= per_fault:
            found.append(program)
    return found


def table(trials: Sequence[Trial], options: Options) -> str:
    """Markdown: how many of each cause were given code, and cured by it."""
    heads = ("first cause", "programs", "advice is code", "cured by the first")
    lines = [f"| {' | '.join(heads)} | in {options.rounds} rounds |", "|---|---|---|---|---|"]
    by_cause: dict[str, list[Trial]] = {}
    for trial in trials:
        by_cause.setdefault(trial.cause or "no finding", []).append(trial)
    for cause, those in [*sorted(by_cause.items()), ("all", list(trials))]:
        code = [trial for trial in those if trial.code]
        cells = [f"{cause}", f"{len(those)}", f"{len(code)}"]
        for rounds in (1, options.rounds):
            cured = sum(trial.cured(options.share, rounds) for trial in code)
            cells.append(f"{cured} ({cured / len(code):.2f})" if code else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", help="folder of recorded trainings (default: temporary)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-fault", type=int, default=2, help="programs of each (default: 2)")
    parser.add_argument("--programs", nargs="*", default=["*"], help="patterns of names")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--cured", type=float, default=0.7, help="share of the twin's skill")
    parser.add_argument("--rounds", type=int, default=3, help="advice followed (default: 3)")
    parser.add_argument("--json", help="write all of it to this file")
    given = parser.parse_args(arguments)

    from zoo.programs import programs

    folder = given.recordings or tempfile.mkdtemp(prefix="zoo_")
    options = Options(folder, given.seed, given.cured, given.rounds)
    kept = Path(given.json) if given.json else None
    stored = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
    trials = [Trial(**fields) for fields in stored]
    made = {(trial.program, trial.seed) for trial in trials}
    todo = [
        program
        for program in chosen(given.programs, given.per_fault)
        if (program.name, options.seed) not in made
    ]
    twins = [p for p in programs() if p.name in {program.twin for program in todo}]
    detection.train_missing(twins, [options.seed], folder, given.workers, False)
    with futures.ProcessPoolExecutor(
        given.workers, detection.SPAWN, recording.start_worker
    ) as pool:
        tasks = [pool.submit(attempt, options, program.name, program.twin) for program in todo]
        for task in futures.as_completed(tasks):
            trials.append(task.result())
            if kept is not None:
                kept.write_text(json.dumps([dataclasses.asdict(t) for t in trials], indent=1))
    for trial in sorted(trials, key=lambda trial: trial.program):
        if trial.code and not trial.cured(options.share, options.rounds):
            skills = " -> ".join(f"{skill:.2f}" for skill in (trial.before, *trial.after))
            print(f"{trial.program}: {trial.cause}: {skills}, twin {trial.twin:.2f} {trial.error}")
            print("\n".join(f"    {fix}" for fix in trial.fixes))
    print(f"\n{table(trials, options)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
