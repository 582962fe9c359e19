"""Try every reader on very many changed inputs, and say how many it could not bear.

    python benchmarks/fuzzing.py                    # a million inputs: ten minutes
    python benchmarks/fuzzing.py --inputs 20000
    python benchmarks/fuzzing.py --seed 7 --only lane
    python benchmarks/fuzzing.py --progress done.json    # stopped, it goes on where it was

What is tried, and what must hold, is in ``tests/fuzzing``: CI tries some ten thousand of the same.
A reader fails if it raises another exception than it documents, returns what cannot be used, or
takes longer than ``SECONDS`` of processor time for one. The process has ``MEMORY`` at most, so
that an input which asks for more is a failure, too. Prints a table, and the seeds of failures: the
input of a seed is always the same. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import random
import resource
import sys
import time
import traceback
import warnings
from typing import Any

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
SAVED_EVERY = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SHARES, action="append")
    parser.add_argument("--progress", type=pathlib.Path, help="file that says what is done")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    total = failed = 0
    print("| reader | inputs | failed | longest, processor |\n|---|---|---|---|")
    for name in arguments.only or SHARES:
        count = round(arguments.inputs * SHARES[name])
        tried = Tried(name, arguments.seed, arguments.progress)
        tried.until(count)
        print(f"| {name} | {count:,} | {tried.failed} | {tried.longest * 1e3:.0f} ms |", flush=True)
        total, failed = total + count, failed + tried.failed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"| all | {total:,} | {failed} | peak memory {peak} MiB |")
    return 1 if failed else 0


class Tried:
    """What one reader was tried on, and how that went; kept in a file if there is one."""

    def __init__(self, name: str, seed: int, progress: pathlib.Path | None) -> None:
        self._name, self._seed, self._progress = name, seed, progress
        self.count, self.failed, self.longest = self._kept().get(self._key, (0, 0, 0.0))

    def until(self, count: int) -> None:
        """Try the inputs that are left of so many."""
        while self.count < count:
            self._try(self.count)
            self.count += 1
            if self.count % SAVED_EVERY == 0 or self.count == count:
                self._keep()

    def _try(self, number: int) -> None:
        random_ = random.Random(f"{self._seed} {self._name} {number}")
        reported, start = "", time.process_time()
        try:
            readers.ALL[self._name](random_)
        except Exception:
            reported = traceback.format_exc()
        took = time.process_time() - start
        self.longest = max(self.longest, took)
        if took > SECONDS:
            reported = reported or f"{took:.1f} s"
        if reported:
            self.failed += 1
            what = f"{self._name}, input {number} of seed {self._seed}"
            print(f"{what}:\n{reported}", file=sys.stderr, flush=True)

    @property
    def _key(self) -> str:
        return f"{self._name}, seed {self._seed}"

    def _kept(self) -> dict[str, Any]:
        if self._progress is None or not self._progress.exists():
            return {}
        return dict(json.loads(self._progress.read_text()))

    def _keep(self) -> None:
        if self._progress is not None:
            kept = {**self._kept(), self._key: (self.count, self.failed, self.longest)}
            self._progress.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    sys.exit(main())
