"""Write docs/guide/optimizers.md: what each optimizer of Keras does to weights of each dtype.

    python scripts/optimizers_page.py

Every cell is run with the Keras that is installed, on the CPU, with the optimizer's defaults.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "optimizers.md"

DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = np.array([[1.0, -2.0], [0.5, 3.0]])
GRADIENT = np.array([[0.1, -0.2], [0.3, 0.05]])
ZEROS = np.array([[0.0, 0.0], [0.0, 0.3]])
"""A gradient with a row and a column of zeros."""
STEPS = 50
REPEATS = (1, 4, 100)
"""How often a row of an embedding is listed."""
REPLACED = 0.5
"""A first step that changes the weights by more of their norm has replaced them."""

TEXT = """<!-- Written by scripts/optimizers_page.py, which runs every cell. -->

# Optimizers: what a step does to the weights

An optimizer can be the reason for weights that never move or turn NaN, while every gradient is
finite. This table shows it for each optimizer of Keras {keras} with its default arguments, on
TensorFlow {tensorflow}, CPU. The dtype is that of the *variables*: with `mixed_float16` and
`mixed_bfloat16` they are float32, and the first column applies.

The cells say what {steps} steps do to a kernel of four weights around 1 that gets the same gradient
(0.05 to 0.3) each time:

* **moves**: the change of the weights, relative to their norm, after one step and after {steps};
* **never moves**: not one weight has changed after {steps} steps;
* **replaced**: the first step changes the weights by more than half of their norm; what they were
  initialized to, or restored to, is lost;
* **NaN**: the weights are NaN after the first step;
* **NaN from zeros**: they are NaN if a row and a column of the gradient are exactly zero: the row
  of a pixel that is always black, the column of a unit that is off for the whole batch.

| optimizer | default rate | float32 | bfloat16 | float16 |
|---|---|---|---|---|
"""

REASONS = """
## Why

* **Adam, AdamW and Lamb in bfloat16** correct their averages by `1 - beta_2 ** t`. In bfloat16
  0.999 is 1, so that this is 0, and so is the step, at any learning rate. (AdamW still decays the
  weights. Lamb computes 0 / 0 where the gradient is 0.) `beta_2=0.9` trains.
* **Nadam and ScheduleFreeAdamW in bfloat16**: the same 0, in a place where it gives NaN at the
  first step. `beta_2=0.9` trains.
* **Muon, Adagrad and Adadelta in bfloat16**: their first steps are smaller than half the spacing
  of the weights, which is 2 ** -8 of a weight. A learning rate that is a hundred times as large
  moves them.
* **Adamax and ScheduleFreeAdamW in float16**: epsilon is too small for float16, and a gradient of
  0 gives 0 / 0. `epsilon=1e-4` trains.
* **Adafactor**: it adds `epsilon_1` to the squared gradient and divides by the averages of rows
  and columns. The product of two such averages is 1e-60 where a row and a column are zero, which
  is 0 in float32: 0 / 0. `Adafactor(epsilon_1=1e-15)` trains, in float16 `epsilon_1=1e-4`.
* **Ftrl** computes the weights from its accumulators alone, which start as if all weights were 0.
  Its first step sets the weights to what one gradient says, whatever they were before.

## A row of an embedding that occurs several times

The gradient of an embedding lists a row each time its token occurs. Keras clips the listed rows,
and squares them for the second moment, before it adds them up. So the step of a frequent token is
not the step that the same gradient gives as a dense tensor. The table shows how far three steps
move such a row, divided by how far three steps with the dense gradient move it.

| optimizer | {repeats} |
|---|{lines}|
{repeated}

`clipvalue`, `clipnorm` and `global_clipnorm` limit each listed row or all of them together, and not
their sum: a token that occurs 100 times can move 100 times as far as `clipvalue` allows. The
`applied_norm` of `tb_gradients` is the norm that Keras has applied, repeated rows included.

## Accumulated gradients

With `gradient_accumulation_steps=4` the optimizer changes the weights at every fourth call, and
`optimizer.iterations` counts these changes. A learning rate schedule gets the number of *calls*:

| | rate of the 1st change | 2nd | 3rd |
|---|---|---|---|
{accumulated}

So a schedule that is planned in changes of the weights must be stretched by the number of
accumulated steps.

## What to do

Keep the variables in float32 and compute in 16 bits:
`keras.mixed_precision.set_global_policy("mixed_bfloat16")`.
"""


def optimizers() -> list[type[Any]]:
    """Every optimizer that `keras.optimizers` lists and that takes one variable with one rate."""
    several = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    found = [
        item
        for name, item in sorted(vars(keras.optimizers).items())
        if isinstance(item, type)
        and issubclass(item, keras.optimizers.Optimizer)
        and name not in several
    ]
    return list(dict.fromkeys(found))


def moved(optimizer: type[Any], dtype: str, gradient: Any, steps: int) -> float:
    """Change of the weights by so many steps, relative to their norm; NaN if they are NaN."""
    variable = keras.Variable(WEIGHTS, dtype=dtype)
    made = optimizer()
    made.build([variable])
    before = np.asarray(tf.cast(variable.value, tf.float32), np.float64)
    for _ in range(steps):
        made.apply([tf.constant(gradient, dtype)], [variable])
    after = np.asarray(tf.cast(variable.value, tf.float32), np.float64)
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def cell(optimizer: type[Any], dtype: str) -> str:
    """What the table says of an optimizer and variables of a dtype."""
    first, last = (moved(optimizer, dtype, GRADIENT, steps) for steps in (1, STEPS))
    if np.isnan(first):
        return "**NaN**"
    if last == 0:
        word = "**never moves**"
    elif first > REPLACED:
        word = f"**replaced**: {first:.1g}"
    else:
        word = f"moves: {first:.1g}, {last:.1g}"
    if np.isnan(moved(optimizer, dtype, ZEROS, 1)):
        word += "; **NaN from zeros**"
    return word


def repeated(optimizer: type[Any], times: int) -> float:
    """How far three steps move a row listed so often, relative to the equal dense gradient."""
    listed = tf.IndexedSlices(tf.ones((times, 2)), tf.zeros(times, tf.int32), tf.constant([3, 2]))
    lengths = []
    for gradient in (listed, tf.convert_to_tensor(listed)):
        made, table = optimizer(0.1), keras.Variable(np.zeros((3, 2), np.float32))
        made.build([table])
        for _ in range(3):
            made.apply([gradient], [table])
        lengths.append(float(np.linalg.norm(table.numpy())))
    return lengths[0] / lengths[1]


def rates(accumulated: int | None, changes: int = 3) -> list[float]:
    """The learning rates of the first changes of a weight; the schedule halves the rate."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    made = keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulated)
    weight = keras.Variable(np.zeros(1, np.float32))
    made.build([weight])
    used = []
    for _ in range(changes):
        before = float(weight.numpy()[0])
        for _ in range(accumulated or 1):
            made.apply([tf.ones(1)], [weight])
        used.append(before - float(weight.numpy()[0]))
    return used


def page() -> str:
    """The text of docs/guide/optimizers.md."""
    rows = [
        f"| {kind.__name__} | {float(np.asarray(kind().learning_rate)):g} | "
        + " | ".join(cell(kind, dtype) for dtype in DTYPES)
        + " |"
        for kind in optimizers()
    ]
    head = TEXT.format(keras=keras.__version__, tensorflow=tf.__version__, steps=STEPS)
    kinds = (
        keras.optimizers.SGD,
        keras.optimizers.Adagrad,
        keras.optimizers.RMSprop,
        keras.optimizers.Adam,
    )
    reasons = REASONS.format(
        repeats=" | ".join(f"listed {times} x" for times in REPEATS),
        lines="|".join(["---"] * len(REPEATS)),
        repeated="\n".join(
            f"| {kind.__name__} | " + " | ".join(f"{repeated(kind, n):.3g}" for n in REPEATS) + " |"
            for kind in kinds
        ),
        accumulated="\n".join(
            f"| {name} | " + " | ".join(f"{rate:.3g}" for rate in rates(steps)) + " |"
            for name, steps in (
                ("one call for each change", None),
                ("`gradient_accumulation_steps=4`", 4),
            )
        ),
    )
    return head + "\n".join(rows) + "\n" + reasons


def main() -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
