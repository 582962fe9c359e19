"""The runs that ``benchmarks/tab.mjs`` looks at: made up, with the size of real ones.

    python benchmarks/tab_runs.py DIR              # all of them, about 1.3 GB
    python benchmarks/tab_runs.py DIR deep naive   # some

In:  a folder.
Out: below it, a log folder each: ``deep`` (1,000 variables x 1,000 frames), ``wide``
     (5,000 x 200), ``many`` (20 runs of 200 x 500), ``hundreds`` (200 runs of 100 x 300), and
     ``naive``: the gradients of ``deep`` as
     they are logged by hand, one TensorBoard histogram per variable and step, at every tenth
     step only, or the file alone would be a gigabyte.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
import recordings
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.histogram import summary_v2 as histogram_summary

from tb_gradients.flags import Cause, Evidence, Flag, Severity
from tb_gradients.frames import Frame, RunContext, Variable, VariableTable

NAIVE_EVERY = 10
ELEMENTS = 64 * 64


def network(variables: int, rate: str = "0.001") -> VariableTable:
    """Blocks of four variables, as a transformer or a residual network has them."""
    roles = (("dense/kernel", (64, 64)), ("dense/bias", (64,)), ("norm/gamma", (64,)),
             ("norm/beta", (64,)))  # fmt: skip
    return VariableTable(
        tuple(
            Variable(
                f"encoder/block_{i // 4}/{roles[i % 4][0]}",
                roles[i % 4][1],
                module=f"encoder/block_{i // 4}",
                layer_class="Dense" if i % 4 < 2 else "LayerNormalization",
                role=roles[i % 4][0].rpartition("/")[2],
                activation="relu",
                initializer="GlorotUniform",
                units=64,
                optimizer="Adam",
            )
            for i in range(variables)
        ),
        RunContext(optimizer="Adam", optimizer_config={"learning_rate": rate}),
    )


def frames_of(table: VariableTable, count: int, salt: int, histograms: int) -> Iterator[Frame]:
    """Gradients that fade with depth and time, with a noise of a factor of 1.4 at each step."""
    size = len(table.variables)
    depth = 10.0 ** np.linspace(-4, 0, size)
    log_columns = [
        table.statistics.index(name)
        for name in ("gradient_norm", "applied_norm", "gradient_norm_max", "update_norm")
    ]
    for index in range(count):
        step = 10 * index
        frame = recordings.make_frame(table, step, since=10 if index else 1, salt=salt)
        random = np.random.default_rng([salt, step, 2])
        noise = np.exp(0.35 * random.standard_normal(size)) * np.exp(-index / count)
        for column in log_columns:
            frame.values[:, column] *= depth * noise
        if histograms and index % histograms == 0:
            counts = recordings.make_histograms(table, step)
            frame = dataclasses.replace(frame, histograms=counts)
        yield frame


def flags_of(table: VariableTable, last: int) -> list[Flag]:
    faulty = tuple(variable.path for variable in table.variables[:8])
    return [
        Flag(
            "vanishing_gradient", Severity.CRITICAL, faulty, 100, last, True,
            f"The gradient of {faulty[0]} is 1e-4 of that of the last block.",
            (Evidence("gradient_rms_ratio", 1e-4, 1e-3),),
            (Cause("saturating_activation", 0.9, "All blocks saturate."),),
            ("Add a residual connection around every block.",),
        )
    ]  # fmt: skip


def write(
    folder: pathlib.Path, variables: int, frames: int, salt: int = 0, rate: str = "0.001"
) -> None:
    table = network(variables, rate)
    recordings.write_run(
        folder,
        table,
        frames_of(table, frames, salt, histograms=20),
        flags=flags_of(table, 10 * frames - 10) if salt % 2 == 0 else [],
    )


def write_many(folder: pathlib.Path) -> None:
    for i in range(20):
        write(folder / f"run_{i:02}", 200, 500, salt=i)


def write_hundreds(folder: pathlib.Path) -> None:
    """A sweep over four rates; of each the runs are copies, which are as long to read."""
    for which, rate in enumerate(("0.1", "0.01", "0.001", "0.0001")):
        first = folder / f"rate_{rate}" / "run_00"
        write(first, 100, 300, salt=which, rate=rate)
        for i in range(1, 50):
            shutil.copytree(first, first.with_name(f"run_{i:02}"))


def write_naive(folder: pathlib.Path) -> None:
    """``tf.summary.histogram`` per variable, with TensorBoard's own bucketing."""
    table = network(1000)
    column = table.statistics.index("gradient_norm")
    random = np.random.default_rng(0)
    shapes = random.standard_normal((16, ELEMENTS))

    def events() -> Iterator[event_pb2.Event]:
        yield recordings.file_version()
        for index, frame in enumerate(frames_of(table, 1000, 0, 0)):
            if index % NAIVE_EVERY:
                continue
            event = event_pb2.Event(step=frame.step, wall_time=frame.wall_time)
            for row, variable in enumerate(table.variables):
                values = shapes[(row + index) % 16] * frame.values[row, column] / 64
                summary = histogram_summary.histogram_pb(f"gradients/{variable.path}", values)
                event.summary.value.append(summary.value[0])
            yield event

    recordings.write_events(folder / "run", events())


RUNS: dict[str, Callable[[pathlib.Path], None]] = {
    "deep": lambda folder: write(folder / "run", 1000, 1000),
    "wide": lambda folder: write(folder / "run", 5000, 200),
    "many": write_many,
    "hundreds": write_hundreds,
    "naive": write_naive,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.names:
        folder = arguments.folder / name
        if folder.exists():
            continue
        RUNS[name](folder)
        print(f"{folder} is written.")


if __name__ == "__main__":
    main()
