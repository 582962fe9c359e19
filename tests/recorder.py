"""Trains small Keras models and records them with plain NumPy: what the rules are tried on.

In:  a model, data, an optimizer; how to be faulty, if at all.
Out: ``record(...)``: the frames of that training, as the writer would have made them.
Does not know about the writer's device code: the numbers come from ``reference``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from reference import dead_units, norm, reference_row

from tb_gradients import schema
from tb_gradients.frames import Frame, Recording, VariableTable
from tb_gradients.lane import NONE, Lane, codes_of, joined
from tb_gradients.training.model.variables import make_table

UNIT_WINDOW = 20


class Recorder:
    """Collects one frame for every ``every``-th step (and for step 0), windows in between."""

    def __init__(self, table: VariableTable, every: int = 1) -> None:
        self.table = table
        self.every = every
        self.frames: list[Frame] = []
        self._step = 0
        self._ages = [np.zeros(max(v.units, 0)) for v in table.variables]
        self._restart()

    def _restart(self) -> None:
        count = len(self.table.variables)
        self._steps = self._applied = 0
        self._losses: list[float] = []
        self._loss_age = -1
        self._norm_max = np.full(count, np.nan)
        self._age = np.full(count, -1)
        self._zero = np.zeros(count)
        self._none = np.zeros(count)
        self._bad_data = {"inputs": 0, "targets": 0}
        self._lane: list[Lane] = []

    def step(
        self,
        gradients: Sequence[Any],
        befores: Sequence[Any],
        afters: Sequence[Any],
        *,
        loss: float | None = None,
        applied: bool = True,
        learning_rate: float = math.nan,
        clipped: Sequence[Any] | None = None,
        inputs: Any = None,
        targets: Any = None,
        predictions: Any = None,
    ) -> None:
        """Add one training step."""
        self._steps += 1
        self._applied += applied
        squares = [
            np.square(norm(g)) if g is not None and np.isfinite(g).all() else np.nan
            for g in gradients
        ]
        with np.errstate(over="ignore"):  # as on the device, whose sums are float32
            codes = codes_of(squares)
        codes[[g is None for g in gradients]] = NONE
        losses = None if loss is None else [loss]
        self._lane.append(Lane.of_steps(self._step, codes[np.newaxis], [applied], losses))
        if loss is not None:
            self._losses.append(loss)
        if self._loss_age >= 0:
            self._loss_age += 1
        elif loss is not None and not np.isfinite(loss):
            self._loss_age = 0
        for name, data in (("inputs", inputs), ("targets", targets)):
            self._bad_data[name] += 0 if data is None else int((~np.isfinite(data)).sum())
        broke = False
        for i, (gradient, variable) in enumerate(zip(gradients, self.table.variables, strict=True)):
            if self._age[i] >= 0:
                self._age[i] += 1
            if gradient is None:
                self._none[i] += 1
                continue
            self._norm_max[i] = np.fmax(self._norm_max[i], norm(gradient))
            self._zero[i] += not gradient.any()
            if self._age[i] < 0 and not np.isfinite(gradient).all():
                self._age[i], broke = 0, True
            if variable.units:
                dead = dead_units(gradient, variable.unit_axis)
                self._ages[i] = np.where(dead, self._ages[i] + 1, 0)
        if self._step % self.every == 0 or (broke and not self._has_broken()):
            self._take(
                gradients,
                clipped or gradients,
                befores,
                afters,
                loss,
                learning_rate,
                inputs,
                targets,
                predictions,
            )
        self._step += 1

    def _has_broken(self) -> bool:
        column = self.table.statistics.index("nonfinite_age")
        return any((frame.values[:, column] >= 0).any() for frame in self.frames)

    def _take(
        self,
        gradients: Sequence[Any],
        clipped: Sequence[Any],
        befores: Sequence[Any],
        afters: Sequence[Any],
        loss: float | None,
        learning_rate: float,
        inputs: Any,
        targets: Any,
        predictions: Any,
    ) -> None:
        rows = []
        for i, variable in enumerate(self.table.variables):
            row = reference_row(
                gradients[i],
                befores[i],
                afters[i],
                unit_axis=variable.unit_axis,
                applied=clipped[i],
            )
            none = self._none[i]
            row["gradient_norm_max"] = self._norm_max[i]
            row["nonfinite_age"] = self._age[i]
            row["none_step_share"] = none / self._steps
            measured = self._steps - none
            row["zero_step_share"] = self._zero[i] / measured if measured else math.nan
            if variable.units:
                ages = np.sort(self._ages[i])[::-1]
                row["dead_unit_age"] = float(ages[len(ages) // 2])
            if variable.units and self._step + 1 >= UNIT_WINDOW:
                row["dead_unit_share"] = float(np.mean(self._ages[i] >= UNIT_WINDOW))
            rows.append([row.get(name, math.nan) for name in self.table.statistics])
        finite = [value for value in self._losses if np.isfinite(value)]
        context = dict.fromkeys(schema.context_names(), math.nan)
        context |= {
            "table_id": self.table.table_id,
            "window_steps": self._steps,
            "applied_steps": self._applied,
            "skipped_steps": 0,
            "unit_window": UNIT_WINDOW,
            "loss": math.nan if loss is None or not np.isfinite(loss) else loss,
            "loss_mean": float(np.mean(finite)) if finite else math.nan,
            "loss_min": min(finite, default=math.nan),
            "loss_max": max(finite, default=math.nan),
            "loss_nonfinite_age": self._loss_age,
            "learning_rate": learning_rate,
            "global_norm": norm([norm(g) for g in gradients if g is not None]),
            "loss_scale": 1.0,
        }
        for name, data in (("inputs", inputs), ("targets", targets), ("predictions", predictions)):
            if data is None:
                continue
            known = np.asarray(data, np.float64)
            known = known[np.isfinite(known)]
            context[f"{name}_mean"] = float(known.mean()) if known.size else math.nan
            context[f"{name}_std"] = float(known.std()) if known.size else math.nan
            context |= {
                f"{name}_{key}": value for key, value in _facts_of(name, np.asarray(data)).items()
            }
            if name != "predictions":
                context[f"{name}_max_abs"] = float(np.abs(known).max(initial=0))
                context[f"{name}_nonfinite"] = self._bad_data[name]
        if targets is not None and predictions is not None:
            context["predictions_separation"] = separation(targets, predictions)
        values = _float32(rows).reshape(len(rows), -1)
        vector = _float32([context[name] for name in self.table.context])
        lane = joined(self._lane)
        self.frames.append(Frame(self._step, float(self._step), values, vector, lane=lane))
        self._restart()

    def recording(self) -> Recording:
        return Recording.from_frames(self.table, self.frames)


def separation(targets: Any, predictions: Any) -> float:
    """Of zeros and ones: by how many deviations the predictions of ones lie above the others."""
    labels, values = np.float64(targets).ravel(), np.float64(predictions).ravel()
    if not 0 < labels.size == values.size or not np.isfinite(values).all():
        return math.nan
    if not np.isin(labels, (0, 1)).all() or np.ptp(labels) == 0:
        return math.nan
    if not np.ptp(values):
        return 0.0
    values = values / np.abs(values).max()
    return float((values[labels == 1].mean() - values[labels == 0].mean()) / values.std())


def _facts_of(name: str, data: Any) -> dict[str, float]:
    """What the schema says of a batch's inputs, targets or predictions, beyond mean and spread."""
    finite = data[np.isfinite(data)].astype(np.float64)
    if not finite.size:
        return {}
    if name == "inputs":
        columns = np.where(np.isfinite(data), data, np.nan).reshape(-1, data.shape[-1])
        columns = columns.astype(np.float64)
        quartiles = np.nanpercentile(columns, (25, 75), axis=0)
        span, std = quartiles[1] - quartiles[0], np.nanstd(columns, axis=0)
        varied = std[span > 0]
        facts = {"constant_share": float(np.mean(std == 0))}
        if varied.size:
            distance = np.abs(columns - np.nanmedian(columns, axis=0)).max(axis=0)
            facts["scale_ratio"] = float(varied.max() / varied.min())
            facts["outlier"] = float(np.nanmax(distance[span > 0] / span[span > 0]))
        return facts
    facts = {"min": float(finite.min()), "max": float(finite.max())}
    if not np.isinf(data).any():
        facts["spread"] = float(np.sqrt(np.nanmean(np.nanvar(data.astype(np.float64), axis=0))))
    if name == "predictions":
        return facts
    if data.dtype.kind in "iu" or np.isin(finite, (0, 1)).all():
        one_hot = data.ndim == 2 and data.shape[1] > 1 and (data.sum(1) == 1).all()
        labels = data.argmax(1) if one_hot else data
        counts = np.unique(labels, return_counts=True)[1]
        facts["classes"] = float(len(counts))
        facts["majority_share"] = float(counts.max() / counts.sum())
    return facts


def _float32(values: Any) -> Any:
    """Clipped into the range, as the writer does: Inf never appears in a frame."""
    largest = float(np.finfo(np.float32).max)
    return np.clip(np.array(values, np.float64), -largest, largest).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Training:
    """What came of a training: its frames, and whether it worked."""

    recordings: dict[int, Recording]
    losses: tuple[float, ...]

    @property
    def recording(self) -> Recording:
        """The one at the densest cadence."""
        return self.recordings[min(self.recordings)]


def record(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any = "mse",
    optimizer: Any = None,
    steps: int = 120,
    batch: int = 32,
    every: Sequence[int] = (1,),
    see_loss: bool = True,
    objective: Callable[[Any], Any] = lambda loss: loss,
    apply: Callable[[int], bool] = lambda step: True,
    apply_to: Callable[[Any], bool] = lambda variable: True,
    by_hand: float | None = None,
) -> Training:
    """Train for some steps and record them.

    Args:
        loss: a Keras loss or its name.
        every: a frame at every so many steps; one recording of the same training for each.
        see_loss: whether the monitor is given the loss.
        objective: what is differentiated, from the loss.
        apply: step -> whether the gradients are applied in it.
        apply_to: variable -> whether the optimizer knows it.
        by_hand: no optimizer; weights lose so many times their gradient.
    """
    optimizer = optimizer or keras.optimizers.Adam(1e-3)
    loss_object = keras.losses.get(loss)
    x, y = np.asarray(x), np.asarray(y)
    model(x[:1])
    model.loss = loss  # what compile() would have noted
    variables = list(model.trainable_variables)
    chosen = [i for i, variable in enumerate(variables) if apply_to(variable)]
    optimizer.build([variables[i] for i in chosen])
    table = make_table(variables, model, optimizer if by_hand is None else None)

    @tf.function
    def train_step(inputs: Any, targets: Any, use: Any) -> Any:
        with tf.GradientTape() as tape:
            predictions = model(inputs, training=True)
            value = tf.reduce_mean(tf.cast(loss_object(targets, predictions), tf.float32))
            if model.losses:
                value += tf.add_n(model.losses)
            target = objective(value)
        native = [variable.value for variable in variables]
        gradients = tape.gradient(target, native)
        dense = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        befores = [tf.identity(v) for v in native]
        if use:
            pairs = [(gradients[i], variables[i]) for i in chosen if gradients[i] is not None]
            if by_hand is not None:
                for gradient, variable in pairs:
                    variable.assign_sub(by_hand * gradient)
            elif pairs:
                optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
        afters = [tf.identity(v) for v in native]
        present = [g for g in dense if g is not None]
        clipped = optimizer._clip_gradients(present)  # what the update rule gets to see
        return value, predictions, present, clipped, befores, afters

    recorders = {cadence: Recorder(table, cadence) for cadence in every}
    rng = np.random.default_rng(0)
    losses, connected = [], None
    for step in range(steps):
        index = rng.permutation(len(x))[:batch] if batch < len(x) else np.arange(len(x))
        rate = math.nan
        if by_hand is None:
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        use = apply(step)
        value, predictions, present, clipped, befores, afters = train_step(
            tf.constant(x[index]), tf.constant(y[index]), use
        )
        if connected is None:
            connected = _connected(model, variables, x[index], y[index], loss_object, objective)
        gradients = iter(g.numpy() for g in present)
        losses.append(float(value))
        arrays = (
            [next(gradients) if there else None for there in connected],
            [v.numpy() for v in befores],
            [v.numpy() for v in afters],
        )
        for recorder in recorders.values():
            cut = iter(g.numpy() for g in clipped)
            recorder.step(
                *arrays,
                loss=float(value) if see_loss else None,
                applied=use,
                learning_rate=rate,
                clipped=[next(cut) if there else None for there in connected],
                inputs=x[index] if x.dtype.kind == "f" else None,
                targets=y[index],
                predictions=predictions.numpy(),
            )
    recordings = {cadence: recorder.recording() for cadence, recorder in recorders.items()}
    return Training(recordings, tuple(losses))


def _connected(
    model: Any, variables: Any, x: Any, y: Any, loss: Any, objective: Callable[[Any], Any]
) -> list[bool]:
    """Which variables have a gradient at all: tf.function cannot return None."""
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.cast(loss(y, model(x, training=True)), tf.float32))
        if model.losses:
            value += tf.add_n(model.losses)
        value = objective(value)
    return [g is not None for g in tape.gradient(value, [v.value for v in variables])]
