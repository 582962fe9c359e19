"""Train a healthy model and models with classic faults on real data, and print the verdicts.

In:  the handwritten digits that come with scikit-learn.
Out: one run per case in a log folder, a table of verdicts; with ``--serve`` a TensorBoard. A second
     time it shows the runs that are there.
Does not know how anything is measured or judged: it uses the public interface alone.

It is also the quickest proof that the tool works here: each case states which rule, cause
and variable it must be given, and the command fails if one is not.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tb_gradients.flags import Flag, Origin

DEFAULT_LOGDIR = "logs/tb_gradients_demo"
BATCH = 32
EPOCHS = 6


@dataclasses.dataclass(frozen=True)
class Case:
    """One training program and its expected verdict.

    Attributes:
        train: trains into the given folder and returns the flags.
        rule, cause: the worst flag must be one of these rules and name this cause;
            None: there must be no warning.
        variable: a part of the path that the flag's variables must contain.
        operation: type of the operation that the flag's origin must name, in this file; "": any.
    """

    name: str
    what: str
    train: Callable[[str], Sequence[Flag]]
    rules: tuple[str, ...] = ()
    cause: str | None = None
    variable: str = ""
    operation: str = ""

    def verdict_is_right(self, flags: Sequence[Flag]) -> bool:
        loud = [flag for flag in flags if flag.severity.label != "info"]
        if not self.rules:
            return not loud
        return any(
            flag.rule in self.rules
            and self.cause in [cause.id for cause in flag.causes]
            and any(self.variable in path for path in flag.variables)
            and (not self.operation or _is_here(flag.origin, self.operation))
            for flag in loud
        )


def _is_here(origin: Origin | None, operation: str) -> bool:
    """Whether an origin is this operation, in this file."""
    return (
        origin is not None
        and origin.operation == operation
        and pathlib.Path(origin.file).name == pathlib.Path(__file__).name
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``tb-gradients demo``."""
    parser.add_argument(
        "--logdir", default=DEFAULT_LOGDIR, help="folder for the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--again", action="store_true", help="train again, and replace the runs of an earlier demo"
    )
    parser.add_argument(
        "--serve", action="store_true", help="run TensorBoard on the runs when they are done"
    )
    parser.add_argument(
        "--port", type=int, default=6006, help="port of that TensorBoard (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train all cases, or show those of an earlier demo.

    Returns:
        0: all verdicts are right, 1: one is not, 2: it cannot run here.
    """
    logdir = pathlib.Path(arguments.logdir)
    if arguments.serve and not _is_free(arguments.port):
        print(
            f"tb-gradients demo: port {arguments.port} is in use; give another one with --port",
            file=sys.stderr,
        )
        return 2
    there = [case for case in CASES if any((logdir / case.name).glob("*tfevents*"))]
    if len(there) == len(CASES) and not arguments.again:
        print(f"{logdir} holds the runs of an earlier demo; --again trains them again.")
        return _show(logdir, arguments)
    if any(logdir.glob("*/*tfevents*")) and not (there and arguments.again):
        print(
            f"tb-gradients demo: {logdir} holds other runs, or those of a demo that was not "
            "finished; give another --logdir, or --again to train the demo again",
            file=sys.stderr,
        )
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras  # noqa: F401
        import sklearn  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError as error:
        print(
            f"tb-gradients demo trains models and needs {error.name}: "
            "pip install 'tb-gradients[tensorflow,demo]'",
            file=sys.stderr,
        )
        return 2
    for case in there:
        shutil.rmtree(logdir / case.name)
    print(f"Training {len(CASES)} small models on scikit-learn's digits into {logdir}", flush=True)
    wrong = 0
    for case in CASES:
        start = time.perf_counter()
        flags = case.train(str(logdir / case.name))
        right = case.verdict_is_right(flags)
        wrong += not right
        _print_verdict(case, flags, right, time.perf_counter() - start)
    if wrong:
        print(f"\n{wrong} of {len(CASES)} verdicts are not what they must be", file=sys.stderr)
    else:
        print(f"\nAll {len(CASES)} verdicts are right.")
    return _show(logdir, arguments) or int(wrong > 0)


def _show(logdir: pathlib.Path, arguments: argparse.Namespace) -> int:
    """Say how to see the runs, or show them in TensorBoard until it is ended; 2: it failed."""
    print(f"The same from the files: tb-gradients check {logdir}")
    if arguments.serve:
        return _serve(logdir, arguments.port)
    print(f"See them: tensorboard --logdir {logdir}   then open its address + #gradient_health")
    return 0


def _print_verdict(case: Case, flags: Sequence[Flag], right: bool, seconds: float) -> None:
    print(f"\n{case.name}: {case.what} ({seconds:.0f} s)")
    loud = [flag for flag in flags if flag.severity.label != "info"]
    for flag in loud or flags[:1]:
        print(f"  {flag}")
        for line in flag.advice():
            print(f"    {line}")
    if not loud:
        print("  healthy: no warning")
    if not right:
        expected = " or ".join(case.rules) if case.rules else "no warning"
        where = f", from {case.operation}" if case.operation else ""
        print(f"  WRONG: expected {expected}, cause {case.cause}, at *{case.variable}*{where}")


def _serve(logdir: pathlib.Path, port: int) -> int:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    command += ["--port", str(port)]
    print(f"\nTensorBoard starts on {logdir} ...", flush=True)
    process = subprocess.Popen(command)
    with contextlib.suppress(KeyboardInterrupt):
        while process.poll() is None and not _answers(port):
            time.sleep(0.1)
        if process.returncode is None:
            address = f"http://localhost:{port}/#gradient_health"
            print(f"Gradient Health: {address}   (Ctrl+C ends)", flush=True)
        process.wait()
        return 2 if process.returncode > 0 else 0
    process.terminate()
    process.wait()
    return 0


def _is_free(port: int) -> bool:
    """Whether a server could listen on that port of this machine."""
    with socket.socket() as one:
        if os.name == "posix":  # elsewhere this takes a port that is in use
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("localhost", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    """Whether a server listens on that port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


# --- the cases ------------------------------------------------------------------------------


def _digits() -> tuple[Any, Any]:
    """1,797 images of 8 x 8 pixels in 0..1, and their digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data / 16.0).astype("float32"), digits.target


def _model(widths: Sequence[int], **settings: Any) -> Any:
    """A dense classifier; ``settings`` go to its hidden layers."""
    import keras

    keras.utils.set_random_seed(1)
    hidden = [
        keras.layers.Dense(width, name=f"hidden_{i}", **{"activation": "relu", **settings})
        for i, width in enumerate(widths, 1)
    ]
    output = keras.layers.Dense(
        10,
        name="output",
        **{k: v for k, v in settings.items() if k.endswith("initializer")},
    )
    return keras.Sequential([keras.Input((64,)), *hidden, output], name="digits")


def _fit(
    model: Any,
    folder: str,
    *,
    learning_rate: float = 1e-3,
    loss: Any = None,
    inputs: Any = None,
) -> Sequence[Flag]:
    import keras

    import tb_gradients as tbg

    x, y = _digits()
    health = tbg.GradientHealth(folder, every=5, verbose=0)
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        x if inputs is None else inputs,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        callbacks=[health],
        verbose=0,
    )
    return health.report


def healthy(folder: str) -> Sequence[Flag]:
    return _fit(_model([64, 32]), folder)


def loss_times_zero(folder: str) -> Sequence[Flag]:
    import keras

    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(y: Any, prediction: Any) -> Any:
        return 0.0 * loss_of(y, prediction)

    return _fit(_model([64, 32]), folder, loss=loss)


def zero_initialization(folder: str) -> Sequence[Flag]:
    return _fit(_model([64, 32], kernel_initializer="zeros"), folder)


def constant_initialization(folder: str) -> Sequence[Flag]:
    import keras

    constant = keras.initializers.Constant(0.05)
    return _fit(_model([64, 32], kernel_initializer=constant), folder)


def deep_sigmoid(folder: str) -> Sequence[Flag]:
    return _fit(_model([32] * 10, activation="sigmoid"), folder)


def deep_sigmoid_repaired(folder: str) -> Sequence[Flag]:
    """What the finding on ``deep_sigmoid`` says to change, and nothing else."""
    return _fit(_model([32] * 10, activation="relu", kernel_initializer="he_normal"), folder)


def dying_relu(folder: str) -> Sequence[Flag]:
    import keras

    return _fit(_model([64, 32], bias_initializer=keras.initializers.Constant(-10.0)), folder)


def tiny_learning_rate(folder: str) -> Sequence[Flag]:
    return _fit(_model([64, 32]), folder, learning_rate=1e-10)


def missing_values(folder: str) -> Sequence[Flag]:
    x, _ = _digits()
    x[700, 20] = float("nan")
    return _fit(_model([64, 32]), folder, inputs=x)


def zero_row(folder: str) -> Sequence[Flag]:
    """Images are scaled to length one; one of them is blank, and its length is zero."""
    import keras
    import tensorflow as tf

    class UnitLength(keras.layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images / tf.norm(images, axis=-1, keepdims=True)

    x, _ = _digits()
    x[700] = 0.0
    parts = [keras.Input((64,)), UnitLength(name="unit_length"), *_model([64, 32]).layers]
    return _fit(keras.Sequential(parts, name="digits"), folder, inputs=x)


def forgotten_update(folder: str) -> Sequence[Flag]:
    """A hand-written loop that updates the output layer only."""
    import keras
    import tensorflow as tf

    import tb_gradients as tbg

    x, y = _digits()
    model = _model([64, 32])
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    variables = [v.value for v in model.trainable_variables]
    monitor = tbg.GradientMonitor(folder, model=model, every=5, verbose=0)

    def update(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, variables)
        with monitor.observe(gradients, variables):
            for gradient, variable in list(zip(gradients, variables, strict=True))[-2:]:
                variable.assign_sub(0.1 * gradient)
        return loss

    train_step = tf.function(update)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).repeat(EPOCHS)
    with monitor:
        for images, labels in data:
            monitor.step(loss=train_step(images, labels))
    return monitor.report


CASES = (
    Case("healthy", "two ReLU layers, Adam 1e-3", healthy),
    Case(
        "loss_times_zero",
        "the loss is multiplied by zero",
        loss_times_zero,
        ("zero_gradient",),
        "loss_ignores_parameters",
        "hidden_1/kernel",
    ),
    Case(
        "zero_initialization",
        "all weights start at zero",
        zero_initialization,
        ("zero_gradient", "symmetric_units"),
        "zero_initialization",
        "hidden_1/kernel",
    ),
    Case(
        "constant_initialization",
        "all weights start at 0.05",
        constant_initialization,
        ("symmetric_units",),
        "constant_initialization",
        "hidden_1/kernel",
    ),
    Case(
        "deep_sigmoid",
        "ten sigmoid layers",
        deep_sigmoid,
        ("vanishing_gradient",),
        "saturating_activation",
        "hidden_1/kernel",
    ),
    Case(
        "deep_sigmoid_repaired",
        "the same layers as the finding advises: relu, he_normal",
        deep_sigmoid_repaired,
    ),
    Case(
        "dying_relu",
        "ReLU layers with biases of -10",
        dying_relu,
        ("dead_units", "zero_gradient"),
        "dying_relu",
        "hidden_",
    ),
    Case(
        "tiny_learning_rate",
        "Adam at 1e-10",
        tiny_learning_rate,
        ("update_too_small",),
        "learning_rate_too_small",
        "hidden_1/kernel",
    ),
    Case(
        "missing_values",
        "one NaN among 115,008 input values",
        missing_values,
        ("nonfinite_gradient",),
        "nonfinite_inputs",
        "hidden_1/kernel",
    ),
    Case(
        "zero_row",
        "images are divided by their norm, and one image is blank",
        zero_row,
        ("nonfinite_gradient",),
        "numeric_overflow",
        operation="RealDiv",
    ),
    Case(
        "forgotten_update",
        "a hand-written step that updates the output layer only",
        forgotten_update,
        ("frozen_weight",),
        "update_not_applied",
        "hidden_1/kernel",
    ),
)
