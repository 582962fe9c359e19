"""What other tools report about gradients by themselves, and what they cost, on the same programs.

    python benchmarks/tools.py                       # faults and costs
    python benchmarks/tools.py --only costs --rounds 9

Tools: this package; ``tf.debugging.enable_check_numerics``; TensorBoard's Debugger V2, that is
``tf.debugging.experimental.enable_dump_debug_info`` with the modes that its page recommends; and
summaries by hand, one ``tf.summary.histogram`` and one scalar per variable.

*Faults*: each program has one planted fault. Printed is what the tool reports without being asked:
an exception, an alert, a flag, and whether it names the variable or the line. Curves that somebody
has to look at are no report.

*Costs*: a dense network trains by ``model.fit``, each tool in a process of its own, in turn, for
some rounds. Printed are the median and the range of the time of a step divided by that of the bare
training of the same round, and the bytes on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOOLS = {
    "bare": "no tool",
    "tb_gradients": "tb_gradients",
    "summaries": "summaries by hand, every step",
    "summaries_100": "summaries by hand, every 100th step",
    "check_numerics": "enable_check_numerics",
    "debugger_curt": "Debugger V2, CURT_HEALTH",
    "debugger_full": "Debugger V2, FULL_HEALTH",
}
FAULTS = ("NaN", "None", "dead units", "vanishing", "rate too small")
WARM, STEPS = 150, 600


def model_of(fault: str) -> Any:
    """A compiled classifier with one planted fault; "" for none."""
    import keras
    import tensorflow as tf

    class Cut(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.stop_gradient(x)  # planted: None

    class Lengths(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x / tf.norm(x * 0, axis=-1, keepdims=True)  # planted: NaN

    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    hidden: list[Any] = [dense(256, activation="relu", name="first")]
    if fault == "dead units":
        hidden = [dense(256, activation="relu", bias_initializer=_constant(-30), name="first")]
    if fault == "vanishing":
        hidden += [dense(32, activation="sigmoid") for _ in range(20)]
    else:
        hidden.append(dense(256, activation="relu"))
    if fault == "None":
        hidden.insert(1, Cut())
    if fault == "NaN":
        hidden.append(Lengths())
    model = keras.Sequential([keras.Input((784,)), *hidden, dense(10)])
    rate = 1e-10 if fault == "rate too small" else 1e-3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


def _constant(value: float) -> Any:
    import keras

    return keras.initializers.Constant(value)


def run(tool: str, fault: str, folder: str) -> dict[str, Any]:
    """Train once with a tool: what it reports, the seconds of a step, and the bytes on disk."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tb_gradients as tbg

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []
            self.last = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now = time.perf_counter()
            self.seconds.append(now - self.last)
            self.last = now

    if tool == "check_numerics":
        tf.debugging.enable_check_numerics()
    if tool.startswith("debugger"):
        mode = "CURT_HEALTH" if tool == "debugger_curt" else "FULL_HEALTH"
        dump = tf.debugging.experimental.enable_dump_debug_info(folder, mode)
    model = model_of(fault)
    if tool.startswith("summaries"):
        _summarise(model, folder, every=100 if tool == "summaries_100" else 1)
    random = np.random.default_rng(0)
    y = random.integers(0, 10, 12800)
    x = (random.normal(size=(12800, 784)) + random.normal(size=(10, 784))[y]).astype("float32")
    clock = Clock()
    watch = tbg.GradientHealth(folder, verbose=0) if tool == "tb_gradients" else None
    callbacks = [clock, watch] if watch else [clock]
    report = ""
    try:
        epochs = 3 if fault else WARM // 100 + STEPS // 100
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=0, callbacks=callbacks)
    except tf.errors.InvalidArgumentError as error:
        line = ", the line" if Path(__file__).name in str(error) else ""
        report = f"an exception that names the operation{line}"
    if watch:
        report = _flags(watch.report)
    if tool.startswith("debugger"):
        dump.FlushNonExecutionFiles()
        dump.FlushExecutionFiles()
        report = _alerts(folder)
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    # The first steps are traced, and the densest for the watch.
    seconds = 0.0 if fault else statistics.mean(clock.seconds[WARM:])
    return {"report": report, "seconds": seconds, "bytes": size}


def _summarise(model: Any, folder: str, every: int) -> None:
    """Let the model write a histogram and a norm of each gradient, as people do by hand."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(folder)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    apply = model.optimizer.apply

    def summarising(gradients: Any, variables: Any = None) -> Any:
        with writer.as_default(), tf.summary.record_if(lambda: step % every == 0):
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                tf.summary.histogram(f"gradients/{variable.path}", gradient, step)
                tf.summary.scalar(f"norm/{variable.path}", tf.norm(gradient), step)
        step.assign_add(1)
        return apply(gradients, variables)

    model.optimizer.apply = summarising


def _flags(flags: Any) -> str:
    """The worst flag: its rule, its variable, and whether it has a line."""
    loud = [flag for flag in flags if flag.severity.label != "info"]
    if not loud:
        return ""
    flag = loud[0]
    line = ", the line" if flag.origin and flag.origin.line else ""
    return f"{flag.rule} of {flag.variables[0]}, step {flag.first_step}, {flag.causes[0].id}{line}"


def _alerts(folder: str) -> str:
    """The alerts that the page of Debugger V2 would list."""
    from tensorflow.python.debug.lib import debug_events_monitors, debug_events_reader

    with debug_events_reader.DebugDataReader(folder) as reader:
        monitor = debug_events_monitors.InfNanMonitor(reader)
        reader.update()
        kinds = {type(alert).__name__: alert.op_type for alert in monitor.alerts()}
    return f"alerts about {', '.join(sorted(set(kinds.values())))}" if kinds else ""


def in_a_process(tool: str, fault: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--run", tool, fault, folder]
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"report": f"the training ended: {done.stderr.strip().splitlines()[-1][:80]}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def print_faults() -> None:
    print("| fault | tool | reports |\n|---|---|---|")
    for fault in FAULTS:
        for tool, name in TOOLS.items():
            if tool in ("tb_gradients", "check_numerics", "debugger_curt", "summaries"):
                report = in_a_process(tool, fault)["report"] or "nothing"
                print(f"| {fault} | {name} | {report} |", flush=True)


def print_costs(rounds: int) -> None:
    ratios: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        seconds = {}
        for tool in TOOLS:
            found = in_a_process(tool, "")
            seconds[tool], sizes[tool] = found["seconds"], found["bytes"]
            ratios[tool].append(seconds[tool] / seconds["bare"])
    print("| tool | step | range | on disk |\n|---|---|---|---|")
    for tool, name in TOOLS.items():
        middle, least, most = statistics.median(ratios[tool]), min(ratios[tool]), max(ratios[tool])
        print(f"| {name} | {middle:.2f} | {least:.2f} to {most:.2f} | {sizes[tool] / 1e6:.1f} MB |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=["faults", "costs"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--run", nargs=3, metavar=("TOOL", "FAULT", "FOLDER"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(*arguments.run)))
        return 0
    if arguments.only != "costs":
        print_faults()
    if arguments.only != "faults":
        print_costs(arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
