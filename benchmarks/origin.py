"""How often the origin of a flag is the line that was planted.

Trains every program of ``benchmarks/origin_programs``, watched, and holds the origin of its flags
against the line and the operation that were planted in it.

    python benchmarks/origin.py                     # all; what is wrong, of the tuning half only
    python benchmarks/origin.py --programs "none/*" --list
    python benchmarks/origin.py --peers             # tf.debugging.enable_check_numerics beside it
    python benchmarks/origin.py --cost              # what each of the two costs a step

With ``--results FILE`` what was found is kept in that file, and programs that are in it are not
trained again.

A program that gives no flag which could have an origin is not counted: another fault led.

The programs have two halves, by the hash of their names, as those of ``benchmarks/detection.py``.
Those of ``origin_programs/unseen.py`` are all held back: they are counted apart.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import fnmatch
import hashlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

from origin_programs.snippets import Snippet, all_snippets

HALVES = ("tuning", "held back", "unseen")
TOGETHER = 24
"""Programs of one process: TensorFlow keeps what it has traced. On several replicas there is one:
the collectives of a second strategy take the keys, and the shapes, of those of the first."""

COST_STEPS, COST_ROUNDS = 300, 5


@dataclasses.dataclass
class Outcome:
    """What was found in one program.

    Attributes:
        flagged: the rules whose flags may have an origin.
        origin: of the first of these flags that has one, in words; "": none.
        line, operation: whether they are the planted ones.
        file: whether an origin was in another file than the planted one.
        peer: whether ``enable_check_numerics`` named the planted line; None: not asked.
        seconds: that the program took, and that it took with the peer, without the monitor.
    """

    name: str
    setting: str = ""
    unseen: bool = False
    flagged: tuple[str, ...] = ()
    origin: str = ""
    line: bool = False
    operation: bool = False
    wrong_file: bool = False
    only_xla: bool = False
    peer: bool | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    error: str = ""

    @property
    def half(self) -> str:
        if self.unseen:
            return HALVES[2]
        return HALVES[hashlib.sha256(self.name.encode()).digest()[0] % 2]


def run(name: str, peers: bool) -> Outcome:
    """Train one program."""
    from origin_programs import training

    from tb_gradients.judging.origins import ASKS

    warnings.simplefilter("ignore")
    [snippet] = [s for s in all_snippets() if s.name == name]
    setting = training.setting_of(snippet)
    file, line, operations = snippet.planted()
    outcome = Outcome(name, setting, snippet.unseen)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            flags = training.train(snippet, setting, folder)
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {str(error)[:200]}"
        return outcome
    took = time.perf_counter() - start
    outcome.flagged = tuple(flag.rule for flag in flags if flag.rule in ASKS)
    origins = [flag.origin for flag in flags if flag.origin is not None]
    if origins:
        found = origins[0]
        outcome.origin = f"{found.operation} ({found.phase}) {found}"
        same = bool(found.file) and Path(found.file).resolve() == file.resolve()
        outcome.wrong_file = bool(found.file) and not same
        outcome.line = same and found.line == line
        outcome.operation = found.operation in operations
        outcome.only_xla = found.only_xla
    outcome.seconds = took, 0.0
    if peers:
        outcome.peer, seconds = _peer(snippet, setting, file, line)
        outcome.seconds = took, seconds
    return outcome


def _several_devices() -> None:
    import tensorflow as tf

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)


def _setting(name: str) -> str:
    from origin_programs import training

    [snippet] = [s for s in all_snippets() if s.name == name]
    return training.setting_of(snippet)


def _peer(snippet: Snippet, setting: str, file: Path, line: int) -> tuple[bool, float]:
    """Whether TensorFlow's own check names the planted line, and its seconds."""
    import tensorflow as tf
    from origin_programs import training

    tf.debugging.enable_check_numerics()
    start = time.perf_counter()
    said = ""
    try:
        training.train(snippet, setting, None)
    except Exception as error:
        said = str(error)
    finally:
        tf.debugging.disable_check_numerics()
    where = [f"{file.name}:{line}", f'{file.name}", line {line}', f"{file.name}, line {line}"]
    return any(text in said for text in where), time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--programs", default="*", help='such as "none/*"')
    parser.add_argument(
        "--peers", action="store_true", help="also tf.debugging.enable_check_numerics"
    )
    parser.add_argument(
        "--list", action="store_true", help="report every program of the tuning half"
    )
    parser.add_argument("--cost", action="store_true", help="measure the cost of a step alone")
    parser.add_argument("--results", type=Path, help="file of outcomes, to go on from")
    parser.add_argument("--reveal", action="store_true", help="report both halves")
    options = parser.parse_args()
    if options.cost:
        return _costs()
    wanted = [s.name for s in all_snippets() if fnmatch.fnmatch(s.name, options.programs)]
    outcomes = [o for o in _stored(options.results) if o.name in wanted]
    names = [name for name in wanted if name not in {o.name for o in outcomes}]
    # Several replicas need several devices, which a process has from its beginning or not at all.
    apart = [name for name in names if _setting(name) == "mirrored"]
    groups = [apart, [name for name in names if name not in apart]]
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    chunks = [
        (group is apart, group[start : start + size])
        for group, size in zip(groups, (1, TOGETHER), strict=True)
        for start in range(0, len(group), size)
    ]
    for several, chunk in chunks:
        with spawn.Pool(1, _several_devices if several else None) as pool:
            tasks = [(name, options.peers) for name in chunk]
            for outcome in pool.imap(_run, tasks):
                outcomes.append(outcome)
                if options.results:
                    with options.results.open("a") as file:
                        file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
                shown = options.reveal or outcome.half == HALVES[0]
                if shown and (options.list or not (outcome.line and outcome.operation)):
                    print(_reported(outcome), flush=True)
    _table(outcomes)
    return 0


def _run(task: tuple[str, bool]) -> Outcome:
    return run(*task)


def _stored(file: Path | None) -> list[Outcome]:
    lines = file.read_text().splitlines() if file and file.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def _costs() -> int:
    """Print what a step takes bare, watched, and with the peer, and how long the first call is."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tb_gradients as tbg

    x = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)

    def timed(how: str, folder: str) -> tuple[float, float]:
        keras.utils.set_random_seed(0)
        dense = [keras.layers.Dense(64, activation="tanh") for _ in range(8)]
        model = keras.Sequential([keras.Input((64,)), *dense])
        optimizer = keras.optimizers.Adam(1e-3)

        @tf.function
        def step(batch: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(batch, training=True) - batch))
            variables = model.trainable_variables
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        watched = how == "tb_gradients"
        monitor = tbg.watch(optimizer, folder, model=model, verbose=0) if watched else None
        batch = tf.constant(x)
        times = []
        for _ in range(1 + COST_STEPS):
            start = time.perf_counter()
            float(step(batch))
            if monitor is not None:
                monitor.step()
            times.append(time.perf_counter() - start)
        if monitor is not None:
            monitor.close()
        return times[0], statistics.median(times[1:])

    kinds = ("bare", "tb_gradients", "check_numerics")
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(COST_ROUNDS):  # interleaved: what else the machine does hits all of them
        for kind in kinds:
            if kind == "check_numerics":
                tf.debugging.enable_check_numerics()
            with tempfile.TemporaryDirectory() as folder:
                taken[kind].append(timed(kind, folder))
            if kind == "check_numerics":
                tf.debugging.disable_check_numerics()
    for kind in kinds:
        ratios = [
            [one[i] / bare[i] for one, bare in zip(taken[kind], taken["bare"], strict=True)]
            for i in range(2)
        ]
        first, step = (statistics.median(r) for r in ratios)
        print(f"{kind:15} median step {step:.2f} x bare, first call {first:.2f} x bare")
    return 0


def _reported(outcome: Outcome) -> str:
    right = f"line {'ok' if outcome.line else 'NO'}, op {'ok' if outcome.operation else 'NO'}"
    if outcome.peer is not None:
        right += f", peer's line {'ok' if outcome.peer else 'NO'}"
    what = outcome.error or outcome.origin or f"no origin; flags: {outcome.flagged}"
    return f"{outcome.name} [{outcome.setting}] {right}: {what}"


def _table(outcomes: list[Outcome]) -> None:
    heads = (
        "half",
        "kind",
        "flagged",
        "not flagged",
        "line",
        "operation",
        "wrong file",
        "none",
        "peer",
    )
    print("\n" + " ".join(f"{head:>11}" for head in heads))
    groups: dict[tuple[str, str], list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        for kind in (outcome.name.partition("/")[0], "all"):
            groups[outcome.half, kind].append(outcome)
    for (half, kind), some in sorted(groups.items(), key=lambda pair: pair[0]):
        flagged = [o for o in some if o.flagged]
        count, unflagged = max(len(flagged), 1), len(some) - len(flagged)
        lines, operations = sum(o.line for o in some), sum(o.operation for o in some)
        wrong, silent = sum(o.wrong_file for o in some), sum(not o.origin for o in flagged)
        asked = [o.peer for o in some if o.peer is not None]
        peer = f"{sum(asked) / len(asked):.2f}" if asked else "-"
        row = (
            half,
            kind,
            len(flagged),
            unflagged,
            f"{lines / count:.2f}",
            f"{operations / count:.2f}",
            wrong,
            silent,
        )
        print(" ".join(f"{cell!s:>11}" for cell in (*row, peer)))
    failed = [o.name for o in outcomes if o.error]
    if failed:
        print(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
