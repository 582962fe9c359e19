"""How well the rules find faulty trainings, and how silent they are on healthy ones.

Trains the zoo (``benchmarks/zoo``), several seeds of each program, in worker processes;
every step is recorded. Then the rules judge the recordings, frame by frame, and the
verdicts are held against what each program is known to be.

    python benchmarks/detection.py --recordings DIR                # train what is missing, judge
    python benchmarks/detection.py --recordings DIR --judge-only   # judge again, in seconds
    python benchmarks/detection.py --recordings DIR --judge-only --cadence auto  # or busy, or 10
    python benchmarks/detection.py --recordings DIR --programs "*!rate-*" --again

The zoo has two halves, by the hash of a program's name. Thresholds may be looked at on
"tuning" only: misses and false alarms of the other half are not listed unless asked for
with ``--reveal``. A failing program or rule is reported; the others go on.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures as futures
import dataclasses
import fnmatch
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from zoo import judging, recording, scoring
from zoo.scoring import Case, Scores

if TYPE_CHECKING:
    from zoo.programs import Program

SPAWN = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
RENEWED_AFTER = 40
"""Programs per worker process: TensorFlow keeps what it has traced."""

HALVES = ("tuning", "held back")


# --- training -------------------------------------------------------------------------------


def train_missing(
    programs: Sequence[Program], seeds: Sequence[int], folder: str, workers: int, again: bool
) -> None:
    """Record what is not recorded yet; breadth first, so that an early stop has some of all."""
    todo = [
        (program.name, seed)
        for seed in seeds
        for program in in_order(programs)
        if again or not (recording.folder_of(folder, program.name, seed) / judging.OUTCOME).exists()
    ]
    done = 0
    for attempt in range(3):  # a worker that is killed takes its pool with it
        left, todo = todo, []
        # A new pool for each batch: a pool that renews its workers by itself
        # (max_tasks_per_child) may wait for ever (CPython gh-115634).
        for start in range(0, len(left), workers * RENEWED_AFTER):
            batch = left[start : start + workers * RENEWED_AFTER]
            with futures.ProcessPoolExecutor(workers, SPAWN, recording.start_worker) as pool:
                tasks = {pool.submit(recording.record, folder, *each): each for each in batch}
                for task in futures.as_completed(tasks):
                    name, seed = tasks[task]
                    try:
                        error = task.result()
                    except futures.BrokenExecutor:
                        todo.append((name, seed))
                        continue
                    except Exception as problem:
                        error = f"{type(problem).__name__}: {problem}"
                    done += 1
                    if error or not done % 20:
                        print(f"{done}: {name}, seed {seed} {error}", file=sys.stderr, flush=True)
        if not todo:
            return
        print(f"attempt {attempt}: {len(todo)} trainings lost a worker", file=sys.stderr)


def in_order(programs: Iterable[Program]) -> list[Program]:
    """Twins first, as faulty programs count only beside them; then one of each fault and each
    twist, the second of each, and so on."""
    programs = sorted(programs, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    dependents = collections.Counter(program.twin for program in programs if program.faulty)
    seen: collections.Counter[str] = collections.Counter()
    ranked = []
    for program in programs:
        group = program.fault or program.name.partition("+")[2] or program.name
        rank = seen[group] + (0 if program.faulty else 2)
        ranked.append((-dependents[program.name] or rank, program))
        seen[group] += 1
    return [program for _, program in sorted(ranked, key=lambda pair: pair[0])]


# --- judging --------------------------------------------------------------------------------


def judge_all(
    counted: Sequence[tuple[Program, judging.Recorded]],
    cadence: judging.Cadence,
    rules: Any,
    workers: int,
) -> tuple[list[Case], list[str]]:
    cases, errors = [], []
    with futures.ProcessPoolExecutor(workers, SPAWN) as pool:
        tasks = [
            pool.submit(judging.judge_program, recorded.folder, cadence, rules)
            for _, recorded in counted
        ]
        for (program, recorded), task in zip(counted, tasks, strict=True):
            try:
                judged = task.result()
            except Exception as problem:
                errors.append(f"{program.name}, seed {recorded.seed}: {problem!r}")
                continue
            errors += [f"{program.name}, seed {recorded.seed}: {e}" for e in judged.errors]
            cases.append(Case(program, recorded, judged))
    return cases, errors


# --- printing -------------------------------------------------------------------------------


def rates_table(scores: dict[str, Scores]) -> str:
    """Markdown: one column per half."""
    halves = list(scores)
    lines = ["| | " + " | ".join(halves) + " |", "|---|" + "---|" * len(halves)]

    def row(name: str, cells: Iterable[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    row("faulty programs", (str(scores[h].faulty_programs) for h in halves))
    row("healthy programs", (str(scores[h].healthy_programs) for h in halves))
    for name in next(iter(scores.values())).rates:
        row(name, (str(scores[h].rates[name]) for h in halves))
    row("median latency, share of the steps", (f"{scores[h].median_latency:.3f}" for h in halves))
    row("90th percentile of it", (f"{scores[h].late_latency:.3f}" for h in halves))
    return "\n".join(lines)


def peers_table(scores: dict[str, Scores]) -> str:
    halves = list(scores)
    header = " | ".join(f"{h}: recall | {h}: false alarms" for h in halves)
    lines = [f"| | {header} |", "|---|" + "---|" * (2 * len(halves))]
    ours = {
        half: (s.rates["recall"], s.rates["healthy with a warning or worse"])
        for half, s in scores.items()
    }
    rows = {"tb_gradients": ours}
    for name in next(iter(scores.values())).peers:
        rows[name] = {half: scores[half].peers[name] for half in halves}
    for name, pairs in rows.items():
        cells = " | ".join(f"{a.share:.2f} | {b.share:.2f}" for a, b in (pairs[h] for h in halves))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def calibration_table(scores: dict[str, Scores]) -> str:
    lines = ["| half | claimed confidence | mean claim | right |", "|---|---|---|---|"]
    for half, s in scores.items():
        lines += [f"| {half} | {label} | {m:.2f} | {r} |" for label, m, r in s.calibration]
    return "\n".join(lines)


def faults_table(scores: dict[str, Scores]) -> str:
    faults = sorted({fault for s in scores.values() for fault in s.by_fault})
    lines = ["| fault | " + " | ".join(scores) + " |", "|---|" + "---|" * len(scores)]
    for fault in faults:
        cells = [s.by_fault.get(fault) for s in scores.values()]
        shown = " | ".join(f"{c.hits}/{c.of}" if c else "" for c in cells)
        lines.append(f"| {fault} | {shown} |")
    return "\n".join(lines)


def describe(case: Case) -> str:
    """One line of a miss or a false alarm."""
    said = "; ".join(
        f"{f.severity} {f.rule} seen {f.seen} {list(f.variables[:2])} "
        f"causes {[c[0] for c in f.causes[:2]]}"
        for f in case.loud
    )
    quiet = ", ".join(sorted({f.rule for f in case.judged.flags if not f.loud}))
    return (
        f"  {case.program.name} (seed {case.recorded.seed}, skill {case.recorded.skill:.2f}): "
        f"{said or 'silent'}{f' [info: {quiet}]' if quiet else ''}"
    )


def print_details(cases: Sequence[Case]) -> None:
    faulty = [case for case in cases if case.program.faulty]
    groups = {
        "False alarms": [c for c in cases if not c.program.faulty and c.loud],
        "Misses": [c for c in faulty if not c.loud],
        "Flagged by another rule": [c for c in faulty if c.loud and not c.right],
        "Another cause": [c for c in faulty if c.right and not c.right_cause],
        "Other variables": [
            c
            for c in faulty
            if c.right and c.program.expected and c.program.expected.variables
            if not c.right_variable
        ],
    }
    for title, group in groups.items():
        print(f"\n{title}: {len(group)}")
        for case in group:
            print(describe(case))


# --- the command ----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", help="folder of recorded trainings (default: temporary)")
    parser.add_argument("--seeds", type=int, default=2, help="trainings per program (default: 2)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--programs", nargs="*", default=["*"], help="patterns of names")
    parser.add_argument("--again", action="store_true", help="train them again")
    parser.add_argument("--judge-only", action="store_true", help="train nothing")
    parser.add_argument("--cadence", default="1", help='frames every N steps, "auto", or "busy"')
    parser.add_argument("--rules", help="JSON file of thresholds, as for tb-gradients check")
    parser.add_argument("--reveal", action="store_true", help="details of the held-back half too")
    parser.add_argument("--json", help="write all of it to this file")
    options = parser.parse_args(arguments)

    from zoo.programs import programs

    chosen = [
        program
        for program in programs()
        if any(fnmatch.fnmatch(program.name, pattern) for pattern in options.programs)
    ]
    folder = options.recordings or tempfile.mkdtemp(prefix="zoo_")
    if not options.judge_only:
        seeds = range(options.seeds)
        train_missing(chosen, seeds, folder, options.workers, options.again)

    names = {program.name for program in chosen}
    found = judging.recorded(folder)
    counted, dropped = scoring.sort_out(programs(), found)
    counted = [pair for pair in counted if pair[0].name in names]
    dropped = [pair for pair in dropped if pair[0].name in names]
    rules = json.loads(Path(options.rules).read_text()) if options.rules else None
    named = options.cadence in ("auto", judging.BUSY)
    cadence = options.cadence if named else int(options.cadence)
    cases, errors = judge_all(counted, cadence, rules, options.workers)
    scores = {
        half: scoring.score([case for case in cases if case.program.half == half])
        for half in HALVES
        if any(case.program.half == half for case in cases)
    }
    if not scores:
        print("no training counts; see --recordings")
        return 1
    for table in (rates_table, calibration_table, peers_table):
        print(f"\n{table(scores)}")
    shown = (
        scores if options.reveal else {half: s for half, s in scores.items() if half == HALVES[0]}
    )
    print(f"\n{faults_table(shown)}")
    print(f"\nDropped, as the outcome does not bear out the label: {len(dropped)}")
    for one, reason in dropped:
        print(f"  {one.name} (seed {one.seed}): {reason}")
    for half in HALVES if options.reveal else HALVES[:1]:
        print(f"\n## {half}")
        print_details([case for case in cases if case.program.half == half])
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if options.json:
        Path(options.json).write_text(json.dumps(to_json(cases, scores, dropped, errors), indent=1))
    return 0


def to_json(
    cases: Sequence[Case],
    scores: dict[str, Scores],
    dropped: Sequence[tuple[judging.Recorded, str]],
    errors: Sequence[str],
) -> dict[str, Any]:
    return {
        "halves": {half: s.to_json() for half, s in scores.items()},
        "runs": [
            {
                "program": case.program.name,
                "seed": case.recorded.seed,
                "half": case.program.half,
                "sick": case.program.faulty,
                "skill": case.recorded.skill,
                "flags": [dataclasses.asdict(flag) for flag in case.judged.flags],
                "peers": case.judged.peers,
            }
            for case in cases
        ],
        "dropped": [{"program": o.name, "seed": o.seed, "reason": why} for o, why in dropped],
        "errors": list(errors),
    }


if __name__ == "__main__":
    sys.exit(main())
