"""End very many trainings, at random moments, and count the frames that are missing.

    python benchmarks/faults.py                    # 100 by SIGKILL, 20 of each other kind
    python benchmarks/faults.py SIGKILL=500

Each training is a fast loop in which every step is a frame, in a process of its own (see
``tests/faults.py``). A training fails if its status is not the usual one, if its file cannot be
read or has a gap, if a frame is missing that has to be there, or if the next training in the same
folder is disturbed. Prints a table. Exit status 1 if one failed.
"""

from __future__ import annotations

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
    wanted = sys.argv[1:] or list(DEFAULT)
    found: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(TESTS / "faults.py"), folder, "1", *wanted]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as made:
            for line in made.stdout or ():
                result = json.loads(line)
                found.setdefault(result["ending"], []).append(result)
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
