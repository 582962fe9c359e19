"""What reading and judging cost: this version beside another one, on the same files, in one run.

    python benchmarks/backend.py DIR                      # this version alone
    python benchmarks/backend.py DIR --base CHECKOUT      # beside another checkout, with ratios
    python benchmarks/backend.py DIR --base CHECKOUT --runs 200 --large

In:  a folder for the runs, which are made up and judged as a training's writer does it.
Out: CPU seconds (user and system, with all child processes) and the largest memory of
     ``tb-gradients check``, with the stored verdicts and judged anew, and of TensorBoard's process.

Each measurement is a process of its own. The versions take turns; printed are medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parents[1]

CHECK = """
import sys
from tb_gradients.cli import main
sys.exit(main(sys.argv[1:]))
"""

TENSORBOARD = """
import sys, time
from tensorboard import program
from tb_gradients.plugin.loader import Loader
from tensorboard.plugins.core import core_plugin
import urllib.request, json, os
board = program.TensorBoard(plugins=[core_plugin.CorePluginLoader(), Loader])
board.configure(argv=[None, "--logdir", sys.argv[1], "--port", "0", "--host", "127.0.0.1"])
url = board.launch() + "data/plugin/gradient_health/"
def get(path):
    with urllib.request.urlopen(url + path) as answer:
        return json.loads(answer.read())
want = int(sys.argv[2])
while True:
    runs = get("runs")["runs"]
    if len(runs) == want and all(run["state"] == "judged" for run in runs):
        break
    time.sleep(0.5)
for run in runs:  # as somebody does who looks at each of them
    name = urllib.request.quote(run["run"])
    found = get("run?run=" + name)
    first = urllib.request.quote(found["variables"][0]["path"], "")
    asked = f"run={name}&revision={found['revision']}&variable={first}"
    urllib.request.urlopen(url + "histogram?" + asked).read()
sys.stdout.flush()
os._exit(0)
"""


def lanes(table: Any, steps: list[int]) -> list[Any]:
    """The dense lane that belongs to each of the frames: every step since the one before."""
    import numpy as np

    from tb_gradients.lane import Lane, codes_of

    random = np.random.default_rng(0)
    parts, before = [], -1
    for step in steps:
        count = step - before
        squares = np.exp(random.standard_normal((count, len(table.variables)))).astype(np.float32)
        losses = 2.3 * np.exp(-np.arange(before + 1, step + 1) / 5000)
        parts.append(Lane.of_steps(before + 1, codes_of(squares), np.ones(count), losses))
        before = step
    return parts


def make(folder: pathlib.Path, runs: int, variables: int, frames: int, lane: bool) -> None:
    """So many runs, each with the verdict that its writer judged."""
    sys.path.insert(0, str(HERE / "benchmarks"))
    import tab_runs

    from tb_gradients.host.journal import Journal
    from tb_gradients.host.records import LocalRecords

    table = tab_runs.network(variables)
    for number in range(runs):
        place = folder / f"run_{number:03}"
        if place.exists():
            continue
        place.mkdir(parents=True)
        journal = Journal(str(place), LocalRecords)
        journal.set_table(table)
        made = tab_runs.frames_of(table, frames, number, histograms=20)
        parts = lanes(table, [10 * i for i in range(frames)]) if lane else [None] * frames
        for frame, part in zip(made, parts, strict=True):
            journal.add(dataclasses.replace(frame, lane=part))
        journal.close()


def measure(checkout: pathlib.Path, program: str, *arguments: str) -> dict[str, float]:
    """CPU and wall seconds, and the largest memory in MB, of a program with one of the versions."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        cwd=checkout,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{arguments} failed with {checkout}")
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.perf_counter() - start,
        "megabytes": usage.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20),
    }


def compare(
    title: str,
    versions: dict[str, pathlib.Path],
    programs: dict[str, tuple[str, ...]],
    rounds: int,
) -> dict[str, Any]:
    """Print the medians of each version in turn, and the ratio of this version to the other."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for _ in range(rounds):
        for name, checkout in versions.items():
            found[name].append(measure(checkout, *programs[name]))
    medians = {
        name: {key: statistics.median(one[key] for one in some) for key in some[0]}
        for name, some in found.items()
    }
    texts = [
        f"{name} {one['cpu']:.2f} s CPU, {one['wall']:.2f} s, {one['megabytes']:.0f} MB"
        for name, one in medians.items()
    ]
    if "base" in medians:
        cpu, memory = (medians["here"][key] / medians["base"][key] for key in ("cpu", "megabytes"))
        texts.append(f"CPU x {cpu:.3f} = 1/{1 / cpu:.1f}, memory x {memory:.2f}")
    print(f"{title}: {'; '.join(texts)}", flush=True)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--base", type=pathlib.Path, help="another checkout, to compare with")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--variables", type=int, default=100)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--lane", action="store_true", help="runs with a dense lane")
    parser.add_argument("--large", action="store_true", help="one run of 5,000 x 1,000, too")
    parser.add_argument("--tensorboard", action="store_true", help="TensorBoard's process, too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    arguments.folder = arguments.folder.resolve()
    size = f"{arguments.runs}x{arguments.variables}x{arguments.frames}"
    many = arguments.folder / (size + ("_lane" if arguments.lane else ""))
    make(many, arguments.runs, arguments.variables, arguments.frames, arguments.lane)
    versions = {"base": arguments.base} if arguments.base else {}
    versions["here"] = HERE
    results = {}

    def check(title: str, folder: pathlib.Path, rounds: int, *options: str) -> None:
        programs = {
            "base": (CHECK, "check", str(folder)),
            "here": (CHECK, "check", str(folder), *options),
        }
        results[title] = compare(title, versions, programs, rounds)

    print(f"{size}, medians of {arguments.rounds}")
    check("check", many, arguments.rounds, "--jobs", "1")
    check("check --rejudge", many, arguments.rounds, "--jobs", "1", "--rejudge")
    if arguments.tensorboard:
        programs = dict.fromkeys(("base", "here"), (TENSORBOARD, str(many), str(arguments.runs)))
        results["tensorboard"] = compare("TensorBoard", versions, programs, arguments.rounds)
    if arguments.large:
        large = arguments.folder / "large"
        make(large, 1, 5000, 1000, arguments.lane)
        check("check, large run", large, 1)
        check("check --rejudge, large run", large, 1, "--rejudge")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
