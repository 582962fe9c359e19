"""Train the program of one package in this process, and print what was seen as JSON.

    python -m package_programs.running keras_hub

The healthy training runs without the monitor and with it, then the faulty one with it.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import tb_gradients as tbg
from package_programs.program import Attach, Program, Training

SEED = 0


def fresh(program: Program, *, faulty: bool = False) -> Training:
    """The training from its start: names, seeds and weights as they were the last time."""
    import tensorflow as tf

    tf.keras.backend.clear_session()  # of Keras 3 or of tf_keras, whichever the package uses
    tf.keras.utils.set_random_seed(SEED)
    random.seed(SEED)
    return program.build(faulty)


def array_of(tensor: Any) -> np.ndarray:
    """The elements of a gradient or of a variable; those of a sparse gradient in their rows."""
    import tensorflow as tf

    return np.asarray(tf.convert_to_tensor(tensor))


def norms_by_tape(program: Program) -> list[tuple[tuple[int, ...], float]]:
    """Shape and norm of each gradient of the first step that there is, sorted."""
    training = fresh(program)
    pairs = zip(training.tape(), training.variables, strict=True)
    found = [(array_of(g).astype(np.float64), v) for g, v in pairs if g is not None]
    return sorted((tuple(v.shape), float(np.linalg.norm(g))) for g, v in found)


def norms_of_first_frame(run: tbg.RunReport) -> list[tuple[tuple[int, ...], float]]:
    """The same from the monitor."""
    norms = run["gradient_norm"][0]
    pairs = [(v.shape, float(norm)) for v, norm in zip(run.variables, norms, strict=True)]
    return sorted(pair for pair in pairs if not np.isnan(pair[1]))


def difference(tape: list[Any], seen: list[Any]) -> float | None:
    """The largest difference of two norms relative to the larger one; None: other variables.

    Paths are named otherwise by the packages than by the monitor. Therefore both lists are sorted
    by shape and norm: they are equal if and only if the norms of each shape are.
    """
    if [shape for shape, _ in tape] != [shape for shape, _ in seen]:
        return None
    pairs = [(a, b) for (_, a), (_, b) in zip(tape, seen, strict=True)]
    largest = max((max(pair) for pair in pairs), default=0.0)
    # What is below the rounding of the largest gradient is rounding itself.
    return max((abs(a - b) / max(a, b, 1e-6 * largest) for a, b in pairs if max(a, b)), default=0.0)


def weights_after(program: Program, folder: str | None) -> tuple[list[Any], Sequence[float]]:
    training = fresh(program)
    losses = training.train(Attach(folder))
    return [array_of(variable) for variable in training.variables], losses


def equal(some: list[Any], others: list[Any]) -> bool:
    """Bit by bit."""
    return [a.tobytes() for a in some] == [b.tobytes() for b in others]


def run_of(folder: str) -> tbg.RunReport:
    """The only run of a folder, or the one with the most frames."""
    return max(tbg.load(folder).runs, key=lambda run: run.frames)


def flags_of(folder: str) -> list[dict[str, Any]]:
    return [
        {
            "rule": flag.rule,
            "severity": flag.severity.label,
            "variables": list(flag.variables),
            "first_step": flag.first_step,
            "summary": flag.summary,
            "causes": [(cause.id, cause.confidence, cause.summary) for cause in flag.causes],
            "fixes": list(flag.fixes),
        }
        for run in tbg.load(folder).runs
        for flag in run.flags
    ]


def seen_of(program: Program) -> dict[str, Any]:
    """Train it three times; what was seen."""
    start = time.perf_counter()
    tape = norms_by_tape(program)
    bare, _ = weights_after(program, None)
    with tempfile.TemporaryDirectory() as folder:
        watched, losses = weights_after(program, folder)
        run = run_of(folder)
        known = ~np.isnan(run["gradient_norm"])
        healthy = flags_of(folder)
        seen = {
            "losses": [float(losses[0]), float(losses[-1])],
            "frames": run.frames,
            "paths": list(run.variables.paths),
            "measured": int(known.all(axis=0).sum()),
            "difference": difference(tape, norms_of_first_frame(run)),
            "errors": [str(error) for error in run.errors],
            "runs": len(tbg.load(folder).runs),
        }
    identical: bool | None = equal(bare, watched)
    if not identical and not equal(bare, weights_after(program, None)[0]):
        identical = None  # two trainings without the monitor differ, too
    training = fresh(program, faulty=True)
    with tempfile.TemporaryDirectory() as folder:
        training.train(Attach(folder))
        faulty = flags_of(folder)
        seen["errors"] += [str(error) for error in run_of(folder).errors]
    return {
        **seen,
        "steps": training.steps,
        "variables": len(training.variables),
        "with_gradient": len(tape),
        "identical": identical,
        "healthy": healthy,
        "faulty": faulty,
        "planted": [program.fault, program.rule, program.cause, program.variable],
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    warnings.simplefilter("ignore")  # of the packages; the monitor's are errors of the run
    [name] = sys.argv[1:]
    program = importlib.import_module(f"package_programs.{name}").PROGRAM
    print(json.dumps(seen_of(program)))


if __name__ == "__main__":
    main()
