"""Whether the advice of a finding cures the program that it was given for.

Trains faulty programs of the zoo (``benchmarks/zoo``), takes the first advice of the worst finding
that is code, does what it says, and trains again. Cured is what then knows at least 0.7 of what its
healthy twin knows (``--cured``).

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
import math
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
        cause, fix: of the worst finding; "" where there is none.
        before, after, twin: skill, 1 perfect and 0 no better than a constant; ``after`` is NaN
            where the advice is no code, or the cured program still gives NaN.
        code: whether the advice is code.
        error: what was raised by the advice.
    """

    program: str
    seed: int
    fault: str
    cause: str
    fix: str
    before: float
    after: float
    twin: float
    code: bool
    error: str = ""

    def cured(self, share: float) -> bool:
        return not self.error and self.after >= share * self.twin


def attempt(folder: str, name: str, twin: str, seed: int) -> Trial:
    """Follow the advice that a recorded program is given, once."""
    from zoo import cures
    from zoo.programs import programs

    from tb_gradients.flags import Severity
    from tb_gradients.judging import judge
    from tb_gradients.reading.event_files import EventFileSource

    [program] = [p for p in programs() if p.name == name]
    if not (recording.folder_of(folder, name, seed) / judging.OUTCOME).exists():
        recording.record(folder, name, seed)
    recipe = program.train.args[0]  # type: ignore[attr-defined]
    here = recording.folder_of(folder, name, seed)
    recordings = EventFileSource(str(here)).read(".").recordings
    flags = [f for f in judge(recordings).flags if f.severity >= Severity.WARNING]
    outcomes = [
        judging.read_outcome(path / judging.OUTCOME).skill
        for path in (here, recording.folder_of(folder, twin, seed))
    ]
    cause = flags[0].causes[0].id if flags and flags[0].causes else ""
    trial = Trial(name, seed, program.fault, cause, "", outcomes[0], math.nan, outcomes[1], False)
    paths = recordings[-1].table.paths
    layers = list(dict.fromkeys(path.rpartition("/")[0].rpartition("/")[2] for path in paths))
    for fix in flags[0].fixes if flags else ():
        changes = cures.read(fix, layers)
        if not changes:
            continue
        trial = dataclasses.replace(trial, fix=fix, code=True)
        with tempfile.TemporaryDirectory() as other:
            try:
                after = cures.train(recipe, changes, seed, other).skill
            except Exception as error:
                return dataclasses.replace(trial, error=f"{type(error).__name__}: {error}"[:300])
        return dataclasses.replace(trial, after=after)
    return dataclasses.replace(trial, fix=flags[0].fixes[0] if flags and flags[0].fixes else "")


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


def table(trials: Sequence[Trial], share: float) -> str:
    """Markdown: how many of each cause were given code, and cured by it."""
    lines = ["| first cause | programs | advice is code | cured by it |", "|---|---|---|---|"]
    by_cause: dict[str, list[Trial]] = {}
    for trial in trials:
        by_cause.setdefault(trial.cause or "no finding", []).append(trial)
    for cause, those in sorted(by_cause.items()):
        code = [trial for trial in those if trial.code]
        cured = sum(trial.cured(share) for trial in code)
        lines.append(f"| {cause} | {len(those)} | {len(code)} | {cured if code else ''} |")
    code = [trial for trial in trials if trial.code]
    cured = sum(trial.cured(share) for trial in code)
    rate = f"{cured} ({cured / max(len(code), 1):.2f})"
    return "\n".join([*lines, f"| all | {len(trials)} | {len(code)} | {rate} |"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", help="folder of recorded trainings (default: temporary)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-fault", type=int, default=2, help="programs of each (default: 2)")
    parser.add_argument("--programs", nargs="*", default=["*"], help="patterns of names")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--cured", type=float, default=0.7, help="share of the twin's skill")
    parser.add_argument("--json", help="write all of it to this file")
    options = parser.parse_args(arguments)

    from zoo.programs import programs

    folder = options.recordings or tempfile.mkdtemp(prefix="zoo_")
    kept = Path(options.json) if options.json else None
    stored = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
    trials = [Trial(**fields) for fields in stored]
    made = {(trial.program, trial.seed) for trial in trials}
    todo = [
        program
        for program in chosen(options.programs, options.per_fault)
        if (program.name, options.seed) not in made
    ]
    twins = [p for p in programs() if p.name in {program.twin for program in todo}]
    detection.train_missing(twins, [options.seed], folder, options.workers, False)
    with futures.ProcessPoolExecutor(
        options.workers, detection.SPAWN, recording.start_worker
    ) as pool:
        tasks = [
            pool.submit(attempt, folder, program.name, program.twin, options.seed)
            for program in todo
        ]
        for task in futures.as_completed(tasks):
            trials.append(task.result())
            if kept is not None:
                kept.write_text(json.dumps([dataclasses.asdict(t) for t in trials], indent=1))
    for trial in sorted(trials, key=lambda trial: trial.program):
        if trial.code and not trial.cured(options.cured):
            print(
                f"{trial.program}: {trial.cause}: {trial.before:.2f} -> {trial.after:.2f}, "
                f"twin {trial.twin:.2f} {trial.error}\n    {trial.fix}"
            )
    print(f"\n{table(trials, options.cured)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
