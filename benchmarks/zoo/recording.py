"""Train programs of the zoo and keep what the monitor recorded.

In:  program names and seeds.
Out: one folder per training: event files, and ``outcome.json`` when it is done.
Does not know about rules.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import traceback
from pathlib import Path

from zoo.judging import OUTCOME


def folder_of(recordings: str | os.PathLike[str], name: str, seed: int) -> Path:
    return Path(recordings) / re.sub(r"[^\w.+!-]", "_", name) / str(seed)


def start_worker() -> None:
    """One thread per worker: the programs are too small for more."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # Graph rewriting takes longer than a program of this size gains by it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.get_logger().setLevel("ERROR")
    logging.getLogger("tb_gradients").setLevel(logging.WARNING)


def record(recordings: str, name: str, seed: int) -> str:
    """Train one program; returns what went wrong, "" if nothing did."""
    from zoo.programs import programs

    [program] = [p for p in programs() if p.name == name]
    folder = folder_of(recordings, name, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start, error, skill, steps = time.perf_counter(), "", math.nan, 0
    try:
        outcome = program.train(seed, folder)
        skill, steps = outcome.skill, outcome.steps
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
        (folder / "error.txt").write_text(traceback.format_exc())
    fields = {
        "name": name,
        "seed": seed,
        "skill": skill if math.isfinite(skill) else None,
        "steps": steps,
        "seconds": round(time.perf_counter() - start, 2),
        "error": error,
    }
    (folder / OUTCOME).write_text(json.dumps(fields))
    return error
