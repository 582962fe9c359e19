"""Try every reader on very many changed inputs, and say how many it could not bear.

    python benchmarks/fuzzing.py                    # a million inputs: ten minutes
    python benchmarks/fuzzing.py --inputs 20000
    python benchmarks/fuzzing.py --seed 7 --only lane

What is tried, and what must hold, is in ``tests/fuzzing``: CI tries some ten thousand of the same.
A reader fails if it raises another exception than it documents, returns what cannot be used, or
takes longer than ``SECONDS`` of processor time for one. The process has ``MEMORY`` at most, so
that an input which asks for more is a failure, too. Prints a table, and the seeds of failures: the
input of a seed is always the same. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import random
import resource
import sys
import time
import traceback
import warnings

sys.path[:0] = [
    str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("tests", "tests/fuzzing")
]
import readers  # noqa: E402

SHARES = {
    "table": 0.17,
    "histograms": 0.22,
    "lane": 0.26,
    "verdict": 0.20,
    "metadata": 0.06,
    "records": 0.04,
    "questions over HTTP": 0.04,
    "folder": 0.005,
    "data over HTTP": 0.005,
}
"""Which part of the inputs each reader gets; the last ones cost a hundred times as much."""

SECONDS = 5.0
MEMORY = 6 << 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SHARES, action="append")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    total = failed = 0
    print("| reader | inputs | failed | longest, processor |\n|---|---|---|---|")
    for name in arguments.only or SHARES:
        count = round(arguments.inputs * SHARES[name])
        failures, longest = _try(name, count, arguments.seed)
        print(f"| {name} | {count:,} | {len(failures)} | {longest * 1e3:.0f} ms |", flush=True)
        for what in failures[:3]:
            print(what, file=sys.stderr)
        total, failed = total + count, failed + len(failures)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"| all | {total:,} | {failed} | peak memory {peak} MiB |")
    return 1 if failed else 0


def _try(name: str, count: int, seed: int) -> tuple[list[str], float]:
    failures, longest = [], 0.0
    read = readers.ALL[name]
    for number in range(count):
        start = time.process_time()
        try:
            read(random.Random(f"{seed} {name} {number}"))
        except Exception:
            failures.append(f"{name}, input {number} of seed {seed}:\n{traceback.format_exc()}")
        took = time.process_time() - start
        if took > SECONDS:
            failures.append(f"{name}, input {number} of seed {seed}: {took:.1f} s")
        longest = max(longest, took)
    return failures, longest


if __name__ == "__main__":
    sys.exit(main())
