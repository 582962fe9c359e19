"""The gradient is None."""

from __future__ import annotations

import dataclasses

import numpy as np

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.frames import FloatArray
from tb_gradients.judging.base import HEALTHY, Basis, Detection, Finding, Needed, Rule, Threshold
from tb_gradients.judging.causes import cause, likeliest_first
from tb_gradients.judging.networks import TURN
from tb_gradients.judging.pictures import Picture
from tb_gradients.judging.ranges import Healthy
from tb_gradients.judging.window import IntArray, Window
from tb_gradients.judging.words import ADDED_LOSS, layer, names, plural


class DisconnectedGradient(Rule):
    """The loss does not depend on a trainable variable: its gradient is None.

    Why it matters: the variable keeps its initial value. If an operation without a gradient cuts
    the model in two, everything before the cut stays as random as at the start.

    Definition: the gradient was None in every one of the last 12 steps; in every one of the last
    100, if other variables are left out at times. None is a fact of the graph (tf.GradientTape
    returns it for "unconnected" targets), not a small number.

    Try:
    * Find the operation between the named variables and the loss that has no gradient: `argmax`,
      `round`, a cast to an integer, `.numpy()`, `tf.stop_gradient`.
    * Remove a layer that is created but not called, or set `layer.trainable = False`.

    Silent when: the variable is frozen by trainable=False; only some steps leave it out, as in a
    GAN or with several tasks in turn. Only `info` for a part whose output the model does not use,
    such as the pooler of a pretrained backbone: nothing is lost.
    """

    id = "disconnected_gradient"
    title = "The gradient is None"
    severity = Severity.CRITICAL
    dense = True
    signs = ("none_step_share",)
    needs = ("none_step_share",)
    picture = Picture(statistic="none_step_share", chart=())
    healthy = (Healthy("none_step_share", below=1.0),)

    steps = Threshold(
        12,
        "alternating losses leave a variable out for a few steps (five critic steps per "
        "generator step in WGAN); this is twice that cycle, and still early",
    )

    turn = Threshold(
        TURN, "of twelve tasks drawn at random, one is left out for so long in one run of 500"
    )

    basis = Basis(steps=steps)

    def needed(self, window: Window) -> Needed:
        needed = super().needed(window)
        return dataclasses.replace(needed, steps=self.turn) if _at_times(window) else needed

    def detect(self, window: Window) -> Detection | None:
        frames = window.last_frames(self.steps)
        share = window.statistic("none_step_share")
        if frames is None:
            return self._provisional(window, share)
        candidates = window.rows.judged & (share[-1] >= 1)
        if not candidates.any():
            return HEALTHY
        # If others are left out at times, losses take turns, of unknown length.
        if _at_times(window):
            frames = window.last_frames(self.turn)
            if frames is None:
                return None
        faulty = candidates & (share[frames] >= 1).all(axis=0)

        def since() -> IntArray:
            return window.at_every_step_since(share)

        # Either cut off (everything from the inputs up to some layer), or not used.
        alive = np.flatnonzero(window.rows.judged & ~faulty)
        cut = np.arange(len(faulty)) < (alive[0] if alive.size else len(faulty))
        if window.paths.known and faulty.any():
            cut |= window.paths.cut_off(faulty | ~window.rows.judged)
        severity = np.where(cut, int(Severity.CRITICAL), int(Severity.WARNING))
        severity[window.paths.dangle(range(len(faulty)))] = int(Severity.INFO)
        return Detection.of(faulty, since, severity)

    @staticmethod
    def _provisional(window: Window, share: FloatArray) -> Detection | None:
        """Too few steps to be sure, but these variables had no gradient at any of them."""
        rows = window.rows.judged & (share >= 1).all(axis=0)
        if not rows.any():
            return None
        info = np.full(rows.shape, int(Severity.INFO))
        since = window.first_step
        return Detection(rows, lambda: since, info, provisional=True)

    def explain(self, window: Window, rows: IntArray, since: int) -> Finding:
        share = window.statistic("none_step_share")[-1]
        alive = np.flatnonzero(window.rows.judged & ~(share >= 1))
        causes = self._causes(window, rows, alive)
        fixes = {
            "loss_ignores_parameters": "Compute the loss from `model(x, training=True)` inside "
            "the `tf.GradientTape`, with TensorFlow operations only.",
            "non_differentiable_operation": "Replace the operation behind "
            f"{layer(window.table.variables[int(rows[-1])])} by a differentiable one: softmax "
            "for `argmax`, a straight-through estimator for `round`; remove `stop_gradient`.",
            "unused_variable": self._use(window, rows),
            "losses_not_added": "Add them inside of the `tf.GradientTape`: "
            "`loss += sum(model.losses)`.",
        }
        return Finding(
            summary=f"The gradient of {names(window.table, rows)} was None in every step from "
            f"step {since} on: the loss did not depend on "
            f"{'it' if len(rows) == 1 else 'them'}.",
            evidence=(
                Evidence("none_step_share", float(share[rows].max()), 1.0),
                Evidence("variables_with_gradient", len(alive)),
            ),
            causes=causes,
            fixes=tuple(fixes[c.id] for c in likeliest_first(causes)),
        )

    @staticmethod
    def _use(window: Window, rows: IntArray) -> str:
        name = layer(window.table.variables[int(rows[0])])
        if window.paths.dangle(rows).all():
            return (
                "Nothing has to be done. To state that this is intended, freeze "
                f"{name}: `layer.trainable = False`."
            )
        return (
            f"Call {name} in the model's `call()`, delete it, or freeze it: "
            "`layer.trainable = False`."
        )

    def _causes(self, window: Window, rows: IntArray, alive: IntArray) -> tuple[Cause, ...]:
        if not alive.size:
            return (
                cause("loss_ignores_parameters", 0.9, "no variable at all has a gradient."),
                cause("non_differentiable_operation", 0.5, "no variable at all has a gradient."),
            )
        variables = [window.table.variables[int(row)] for row in rows]
        if all(ADDED_LOSS in variable.facts for variable in variables):
            text = (
                f"a loss that a layer adds with `add_loss` is computed from "
                f"{names(window.table, rows)}, and the training step leaves it out"
            )
            return (cause("losses_not_added", 0.95, f"{text}."),)
        paths = window.paths
        if paths.dangle(rows).all():
            text = (
                f"{names(window.table, rows)} {'is' if len(rows) == 1 else 'are'} called, but "
                "no output of the model is computed from there: a part that comes with a model, "
                "such as the pooler of a backbone, and is not needed here."
            )
            return (cause("unused_variable", 0.95, text),)
        if paths.called(rows):
            text = (
                f"the forward pass uses {names(window.table, rows)}, and a path leads from there "
                "to an output of the model: an operation on that path stops the gradient."
            )
            if paths.has_end:
                return (cause("non_differentiable_operation", 0.9, text),)
            # In a custom training loop the traced step shows what is called, not what is used.
            text = f"the forward pass uses {names(window.table, rows)}."
            return (
                cause("non_differentiable_operation", 0.7, text),
                cause("unused_variable", 0.3, "the loss may not use the result."),
            )
        layers = {layer(window.table.variables[int(row)]) for row in rows}
        if int(rows[-1]) < int(alive[0]):
            text = (
                f"all {plural(len(rows), 'variable')} before "
                f"{window.table.paths[int(alive[0])]} are cut off, those from there on are not."
            )
            deep = len(layers) > 1
            return (
                cause("non_differentiable_operation", 0.85 if deep else 0.6, text),
                cause("unused_variable", 0.15 if deep else 0.4, text),
            )
        text = f"variables before and after {names(window.table, rows)} have a gradient."
        return (
            cause("unused_variable", 0.8, text),
            cause("non_differentiable_operation", 0.2, text),
        )


def _at_times(window: Window) -> bool:
    """Whether some variable is left out at times, so that losses take turns."""
    share = window.statistic("none_step_share")
    return bool((window.rows.judged & (share > 0).any(axis=0) & (share < 1).any(axis=0)).any())
