"""What judging costs: 1,000 variables, 1,000 frames, healthy and with the faults that spread.

    python benchmarks/judging.py
    python benchmarks/judging.py --variables 6            # what most small models have
    python benchmarks/judging.py --variables 200 --frames 500 --json judging.json
    python benchmarks/judging.py --base CHECKOUT          # beside another version, with ratios
    python benchmarks/judging.py --base CHECKOUT --runs tests/judging/recorded

The frames are made up, so that each fault holds in hundreds of variables at once, the
costly case. Printed are CPU seconds for all frames, milliseconds per frame (live is the same
code: one frame at a time), and the flags. Aims: 2 s offline, 5 ms per frame. With ``--base`` the
versions take turns, each in a process of its own; printed are the medians of three rounds, and
whether the flags are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tb_gradients import schema
from tb_gradients.frames import Recording, RunContext, Variable, VariableTable
from tb_gradients.judging import judge

FloatArray = Any


def table(variables: int) -> VariableTable:
    """A deep perceptron: kernels and biases in turn."""
    rows = []
    for i in range(variables // 2):
        shared = {"layer_class": "Dense", "activation": "tanh", "units": 16}
        rows += [
            Variable(
                f"dense_{i}/kernel",
                (16, 16),
                role="kernel",
                initializer="GlorotUniform",
                unit_axis=1,
                initial_rms=0.25,
                **shared,
            ),
            Variable(
                f"dense_{i}/bias", (16,), role="bias", initializer="Zeros", unit_axis=0, **shared
            ),
        ]
    run = RunContext(optimizer="Adam", loss="SparseCategoricalCrossentropy")
    return VariableTable(tuple(rows), run)


class Run:
    """A healthy run as arrays, to be made faulty column by column."""

    def __init__(self, variables: int, frames: int) -> None:
        self.table = table(variables)
        count = len(self.table.variables)
        random = np.random.default_rng(0)
        self.values = np.full((frames, count, len(schema.STATISTICS)), np.nan, np.float32)
        self.context = np.full((frames, len(schema.CONTEXT)), np.nan, np.float32)
        norm = 0.5 * np.exp(0.1 * random.standard_normal((frames, count)))
        for name, column in {
            "gradient_norm": norm,
            "gradient_norm_max": 1.2 * norm,
            "applied_norm": norm,
            "weight_norm": 4.0,
            "update_norm": 4e-3,
            "unit_spread": 0.9,
            "dead_unit_share": 0.1,
            "nonfinite_age": -1,
        }.items():
            self.set(name, column)
        zero = ("gradient_nan_count", "gradient_inf_count", "weight_nonfinite_count", "lost_share")
        for name in (*zero, "zero_step_share", "none_step_share", "gradient_zero_share"):
            self.set(name, 0)
        loss = 0.2 + 2 * np.exp(-np.arange(frames) / 200) + 0.01 * random.standard_normal(frames)
        self.say(loss=loss, loss_mean=loss, loss_max=loss, loss_min=loss, learning_rate=1e-3)
        self.say(window_steps=1, applied_steps=1, skipped_steps=0, unit_window=20, loss_scale=1)
        self.say(loss_nonfinite_age=-1, global_norm=np.sqrt(np.square(norm).sum(axis=1)))

    def set(self, name: str, value: Any, rows: Any = slice(None)) -> None:
        """A statistic of some variables, at every frame."""
        self.values[:, rows, schema.statistic_names().index(name)] = value

    def say(self, **columns: Any) -> None:
        """Context columns, at every frame."""
        for name, value in columns.items():
            self.context[:, schema.context_names().index(name)] = value

    def stuck(self) -> None:
        """The loss of guessing, for ever."""
        self.say(loss=2.77, loss_mean=2.77, loss_max=2.77, loss_min=2.77)

    def recording(self) -> Recording:
        steps = np.arange(len(self.values), dtype=np.int64)
        return Recording(self.table, steps, self.values, self.context)


def healthy(run: Run) -> None:
    """As it is made."""


def not_learning(run: Run) -> None:
    run.stuck()


def zero(run: Run) -> None:
    half = slice(0, len(run.table.variables) // 2)
    for name, value in (("gradient_norm", 0), ("gradient_norm_max", 0), ("zero_step_share", 1)):
        run.set(name, value, half)
    run.stuck()


def frozen(run: Run) -> None:
    run.set("update_norm", 0, slice(0, None, 2))


def tiny_steps(run: Run) -> None:
    run.set("update_norm", 1e-9)
    run.say(learning_rate=1e-9)
    run.stuck()


def dead(run: Run) -> None:
    run.set("dead_unit_share", 0.8, slice(0, None, 2))


def disconnected(run: Run) -> None:
    half = slice(0, len(run.table.variables) // 2)
    run.set("none_step_share", 1, half)
    run.set("gradient_norm", np.nan, half)


def fading(run: Run) -> None:
    count = len(run.table.variables)
    run.set("gradient_norm", 0.5 * 10.0 ** np.linspace(-6, 0, count))
    run.stuck()


def several(run: Run) -> None:
    """Dead and frozen layers, cut off ones, and a gradient that fades, in a run that guesses."""
    count = len(run.table.variables)
    fading(run)
    run.set("dead_unit_share", 0.8, slice(0, count // 2, 4))
    run.set("update_norm", 0, slice(2, count // 2, 4))
    run.set("none_step_share", 1, slice(count // 2, count // 2 + count // 10))
    run.set("lost_share", 0.9, slice(0, None, 2))
    run.say(learning_rate=3.0)


def nonfinite(run: Run) -> None:
    run.values[100:, :, schema.statistic_names().index("gradient_nan_count")] = 1
    run.values[100, :, schema.statistic_names().index("nonfinite_age")] = 0


FAULTS: dict[str, Callable[[Run], None]] = {
    fault.__name__: fault
    for fault in (
        healthy,
        not_learning,
        zero,
        frozen,
        tiny_steps,
        dead,
        disconnected,
        fading,
        several,
        nonfinite,
    )
}


def results(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of each fault, or of the runs of a folder together: CPU seconds, frames, flags."""
    if arguments.runs:
        from tb_gradients.reading.event_files import EventFileSource

        source = EventFileSource(arguments.runs)
        runs = {"runs": [source.read(name).recordings for name in source.runs()]}
    else:
        runs = {}
        for name, fault in FAULTS.items():
            run = Run(arguments.variables, arguments.frames)
            fault(run)
            runs[name] = [(run.recording(),)]
    found = {}
    for name, several in runs.items():
        start = time.process_time()
        verdicts = [judge(recordings) for recordings in several]
        seconds = time.process_time() - start
        frames = sum(len(recording) for recordings in several for recording in recordings)
        found[name] = {
            "seconds": seconds,
            "milliseconds_per_frame": 1000 * seconds / frames,
            "flags": [[f.rule, len(f.variables)] for v in verdicts for f in v.flags],
        }
    return found


def beside(arguments: argparse.Namespace) -> dict[str, Any]:
    """The results of another checkout and of this one, in turn."""
    here = str(pathlib.Path(__file__).resolve().parents[1])
    rounds: dict[str, list[dict[str, Any]]] = {"base": [], "here": []}
    options = ["--variables", str(arguments.variables), "--frames", str(arguments.frames)]
    options += ["--runs", str(pathlib.Path(arguments.runs).resolve())] if arguments.runs else []
    for _ in range(3):
        for version, checkout in (("base", arguments.base), ("here", here)):
            done = subprocess.run(
                [sys.executable, __file__, *options, "--json", "-"],
                env={**os.environ, "PYTHONPATH": checkout},
                stdout=subprocess.PIPE,
                check=True,
            )
            rounds[version].append(json.loads(done.stdout))
    return rounds


def compare(rounds: dict[str, Any]) -> None:
    """Print the medians of both versions and their ratio."""
    for name, one in rounds["here"][0].items():
        before, now = (
            statistics.median(found[name]["milliseconds_per_frame"] for found in rounds[version])
            for version in ("base", "here")
        )
        same = "same flags" if rounds["base"][0][name]["flags"] == one["flags"] else "OTHER FLAGS"
        print(f"{name:16}{before:7.3f} -> {now:7.3f} ms per frame, x {now / before:.2f}   {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variables", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--runs", metavar="FOLDER", help="recorded runs instead of made-up ones")
    parser.add_argument("--base", metavar="CHECKOUT", help="another version, to compare with")
    parser.add_argument("--json", metavar="FILE", help="-: standard output, and nothing else")
    arguments = parser.parse_args()
    found = beside(arguments) if arguments.base else results(arguments)
    if arguments.json == "-":
        print(json.dumps(found))
        return
    print(arguments.runs or f"{arguments.variables} variables, {arguments.frames} frames")
    if arguments.base:
        compare(found)
    else:
        for name, one in found.items():
            flags = ", ".join(f"{rule} ({count})" for rule, count in one["flags"]) or "no flag"
            per_frame = f"{one['milliseconds_per_frame']:6.2f} ms per frame"
            print(f"{name:16}{one['seconds']:7.2f} s  {per_frame}   {flags}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
