"""Trainings in processes of their own that are ended, stopped or left by their log folder.

    python tests/faults.py FOLDER SEED SIGKILL=3 SIGTERM=1

In:  how trainings end, how often each, and where their run folders go.
Out: a line of JSON per training: what it had done, and what its event file holds.
Does not know what is promised.

Two processes that train at the same time are a kind of their own (``PAIRS``).

The trainings are forked from this process, which has imported TensorFlow and not used it: so each
costs a second. A training is a fast loop in which every step is a frame.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import sys
import time
from typing import Any

ENDINGS = ("SIGKILL", "SIGTERM", "SIGINT", "exception", "SIGSTOP")
STATUS = {"SIGKILL": -9, "SIGTERM": -15, "SIGINT": -2, "exception": 1, "SIGSTOP": 0}
LATEST = 5.0
"""Seconds: what was measured so long before a SIGKILL is in the file. (A quarter of a second on a
machine that has nothing else to do.)"""
PAUSED_SECONDS = float(os.environ.get("PAUSED_SECONDS", "1"))
"""How long a process is stopped."""
MOST_SECONDS = 1.5
"""A training is ended after a random part of it."""


def train(folder: str, report: int, steps: int = 100_000, broken_at: int = -1) -> None:
    """A loop that reports each step when it is done, by its number and the time."""
    import tensorflow as tf

    import tb_gradients as tbg

    variables = [tf.Variable(tf.ones([16, 16]), name=f"kernel_{i}") for i in range(3)]
    gradients = [tf.fill([16, 16], 1e-3) for _ in variables]
    monitor = tbg.GradientMonitor(folder, variables=variables, every=1, verbose=0)

    @tf.function
    def update() -> None:
        with monitor.observe(gradients, variables):
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(gradient)

    for step in range(steps):
        if step == broken_at:
            raise ValueError("the user's program fails")
        update()
        monitor.step(loss=1.0 / (step + 1))
        os.write(report, b"%d %f\n" % (step, time.time()))
    monitor.close()


def ended(ending: str, folder: pathlib.Path, moment: random.Random) -> dict[str, Any]:
    """One training, ended at a random moment, and what is left of it."""
    ours, theirs = os.pipe()
    few = {"SIGSTOP": 60}.get(ending, 100_000)
    broken_at = moment.randrange(1, 80) if ending == "exception" else -1
    child = _forked(train, str(folder), theirs, few, broken_at)
    os.close(theirs)
    lines = os.fdopen(ours)
    first = lines.readline()
    killed = time.time()
    if ending.startswith("SIG"):
        time.sleep(moment.random() * (0.1 if ending == "SIGSTOP" else MOST_SECONDS))
        killed = time.time()
        os.kill(child, getattr(signal, ending))
    if ending == "SIGSTOP":
        time.sleep(PAUSED_SECONDS)
        os.kill(child, signal.SIGCONT)
    done = [line.split() for line in [first, *lines] if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    steps = [(int(step), float(at)) for step, at in done]
    return {
        "status": os.waitstatus_to_exitcode(status),
        "steps": len(steps),
        "steps before": sum(1 for _, at in steps if at <= killed),
        "ages": [killed - at for _, at in steps],
        **left(folder),
    }


PAIRS = {"same folder": ("run", "run"), "neighbours": ("run_a", "run_b")}
"""Folders that two processes train into at the same time."""
PAIR_STEPS = 60


def pair(which: str, folder: pathlib.Path) -> dict[str, Any]:
    """Two trainings at once, to their ends, and the runs that are left."""
    from tb_gradients.reading.report import load

    ours, theirs = os.pipe()
    children = [_forked(train, str(folder / name), theirs, PAIR_STEPS) for name in PAIRS[which]]
    os.close(theirs)
    os.fdopen(ours).read()
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    runs = load(folder).runs
    return {
        "statuses": statuses,
        "frames": {run.run: run.frames for run in runs},
        "errors": [str(error) for run in runs for error in run.errors],
    }


def complaints(result: dict[str, Any]) -> list[str]:
    """What is wrong with a result of ``ended`` or ``pair``, as sentences."""
    if result["ending"] in PAIRS:
        each = list(result["frames"].values())
        fine = result["statuses"] == [0, 0] and each == [PAIR_STEPS] * 2 and not result["errors"]
        return [] if fine else [str(result)]
    ending, frames, reported = result["ending"], result["frames"], []
    if result["status"] != STATUS[ending]:
        reported.append(f"the status is {result['status']}, that of {ending} is {STATUS[ending]}")
    if result["errors"] or result["gaps"] or result["state"] == "unreadable":
        reported.append(
            f"{frames} frames, {result['gaps']} missing between them, {result['errors']}"
        )
    wanted = result["steps before"]
    if ending == "SIGKILL":
        wanted = sum(1 for age in result["ages"] if age > LATEST)
    elif ending in ("exception", "SIGSTOP"):
        wanted = result["steps"]
    if frames < wanted:
        reported.append(f"{frames} frames of {wanted} steps")
    next_run = result.get("again")
    if next_run and (next_run["status"], next_run["frames"], next_run["errors"]) != (0, 5, []):
        reported.append(f"the next run in the folder: {next_run}")
    return reported


def left(folder: pathlib.Path) -> dict[str, Any]:
    """What a reader finds in the run of a folder."""
    from tb_gradients.reading.report import load

    if not any(folder.rglob("*tfevents*")):
        return {"frames": 0, "last step": -1, "gaps": 0, "state": "empty", "errors": []}
    run = next(run for run in load(folder).runs if run.run == ".")
    last = -1 if run.last_step is None else run.last_step
    return {
        "frames": run.frames,
        "last step": last,
        "gaps": last + 1 - run.frames,
        "state": run.state,
        "errors": [str(error) for error in run.errors if run.frames],
    }


def again(folder: pathlib.Path) -> dict[str, Any]:
    """A further training in the same folder, to its end."""
    ours, theirs = os.pipe()
    child = _forked(train, str(folder), theirs, 5)
    os.close(theirs)
    os.fdopen(ours).read()
    _, status = os.waitpid(child, 0)
    newest = max(folder.rglob("*tfevents*"), key=lambda path: path.stat().st_mtime_ns)
    return {"status": os.waitstatus_to_exitcode(status), **left(newest.parent)}


def _forked(action: Any, *arguments: Any) -> int:
    child = os.fork()
    if child:
        return child
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # standard output has the results of the parent alone
        os.dup2(nothing, stream)
    # What a terminal gives a program. A shell lets programs in the background ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        action(*arguments)
    except ValueError:
        sys.exit(1)  # with all that the interpreter does at its end, as after any exception
    sys.exit(0)


def main() -> None:
    folder, seed, *wanted = sys.argv[1:]
    import tensorflow  # noqa: F401

    import tb_gradients.training.monitor  # noqa: F401

    for ending, count in (one.split("=") for one in wanted):
        for number in range(int(count)):
            place = pathlib.Path(folder) / f"{ending}_{number}"
            place.mkdir()
            if ending in PAIRS:
                print(json.dumps({"ending": ending, **pair(ending, place)}), flush=True)
                continue
            result = ended(ending, place, random.Random(f"{seed} {ending} {number}"))
            if number == 0:
                result["again"] = again(place)
            print(json.dumps({"ending": ending, **result}), flush=True)


if __name__ == "__main__":
    main()
