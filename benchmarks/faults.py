"""End very many trainings, at random moments, and count the frames that are missing.

    python benchmarks/faults.py                    # 100 by SIGKILL, 20 of each other kind
    python benchmarks/faults.py SIGKILL=500
    python benchmarks/faults.py SIGKILL=25 --seed 2 --results FILE   # a part; the table is of all

Each training is a fast loop in which every step is a frame, in a process of its own (see
``tests/faults.py``). A training fails if its status is not the usual one, if its file cannot be
read or has a gap, if a frame is missing that has to be there, or if the next training in the same
folder is disturbed. Prints a table. Exit status 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
import faults  # noqa: E402

DEFAULT = ("SIGKILL=100", "SIGTERM=20", "SIGINT=20", "exception=20", "SIGSTOP=20")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wanted", nargs="*", metavar="ENDING=COUNT")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--results", type=pathlib.Path, help="file to add the results to")
    arguments = parser.parse_args()
    found: dict[str, list[dict]] = {}
    if arguments.results and arguments.results.exists():
        for line in arguments.results.read_text().splitlines():
            _add(found, line)
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(TESTS / "faults.py"), folder, str(arguments.seed)]
        program += arguments.wanted or DEFAULT
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as made:
            for line in made.stdout or ():
                _add(found, line)
                if arguments.results:
                    with arguments.results.open("a") as results:
                        results.write(line)
    if made.returncode:
        sys.exit(f"The program that trains has ended with status {made.returncode}.")
    return _print_table(found)


def _add(found: dict[str, list[dict]], line: str) -> None:
    result = json.loads(line)
    found.setdefault(result["ending"], []).append(result)


def _print_table(found: dict[str, list[dict]]) -> int:
    """The status that ``main`` ends with."""
    print("| end | tried | failed | steps, median | lost, median | lost, most |")
    print("|---|---|---|---|---|---|")
    failed = 0
    for ending, results in found.items():
        complaints = [reported for result in results for reported in faults.complaints(result)]
        failed += sum(bool(faults.complaints(result)) for result in results)
        for reported in complaints:
            print(f"{ending}: {reported}", file=sys.stderr)
        kind = "steps before" if ending.startswith("SIG") and ending != "SIGSTOP" else "steps"
        steps = [result[kind] for result in results]
        lost = [max(n - result["frames"], 0) for n, result in zip(steps, results, strict=True)]
        print(
            f"| {ending} | {len(results)} | {sum(map(bool, map(faults.complaints, results)))} "
            f"| {statistics.median(steps):.0f} | {statistics.median(lost):.0f} | {max(lost)} |"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
