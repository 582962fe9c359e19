"""The registry of causes: every reason a rule can give, declared once.

In:  nothing.
Out: ``CAUSES`` and ``cause(...)``, which refuses an id that is not registered.
Does not know which rule gives which cause, or on what evidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tb_gradients.flags import Cause


@dataclasses.dataclass(frozen=True)
class CauseKind:
    """A reason, as the rule book lists it."""

    id: str
    title: str
    summary: str
    local: bool = False
    """Whether it acts along the paths of the model alone: what stops or shrinks a gradient does. A
    learning rate, data, or a number that has grown too large reach every variable through the
    loss."""
    built_in: bool = False
    """Whether it lies in how the program is written alone: no data and no learning rate bring it
    about."""
    local_at_first: bool = False
    """Whether it is local until the first step, and reaches every variable by the steps that come
    of it."""


CAUSES: dict[str, CauseKind] = {
    kind.id: kind
    for kind in (
        CauseKind(
            "loss_ignores_parameters",
            "The loss does not depend on the parameters",
            "The value that is differentiated is constant: multiplied by zero, computed from "
            "something else, or cut off from the model.",
        ),
        CauseKind(
            "non_differentiable_operation",
            "An operation without a gradient is on the way",
            "argmax, round, a cast to integer, NumPy code or stop_gradient between these "
            "variables and the loss ends the back-propagation.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "unused_variable",
            "The variable is not used",
            "The variable exists and is trainable, but the forward pass never reads it.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "untrained_base",
            "The frozen layers were never trained",
            "Layers that are not trained hold the values they were initialized with: what they "
            "give to the trained ones is random.",
        ),
        CauseKind(
            "saturating_activation",
            "A saturating activation shrinks the gradient",
            "The slope of sigmoid is at most 1/4, that of tanh far below 1 outside a narrow "
            "band; a stack of them multiplies these slopes.",
            local=True,
        ),
        CauseKind(
            "dying_relu",
            "ReLU units are switched off for every input",
            "A ReLU whose input is negative for all data has slope zero and no way back.",
            local=True,
        ),
        CauseKind(
            "deep_narrow_network",
            "Many narrow layers in a row",
            "Each layer of few units loses a part of the signal; without shortcuts little "
            "arrives at the first ones.",
            local=True,
        ),
        CauseKind(
            "long_recurrence",
            "A simple recurrence over many time steps",
            "The same matrix is multiplied once per time step: the gradient of early ones "
            "shrinks exponentially.",
            local=True,
        ),
        CauseKind(
            "unbounded_recurrence",
            "A recurrence has an activation without a bound",
            "The state is multiplied by the same matrix at every time step. relu, elu and linear "
            "let it grow exponentially, where tanh does not.",
        ),
        CauseKind(
            "zero_initialization",
            "The weights start at zero",
            "Zero weights pass no gradient on, and all units of a layer stay the same.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "constant_initialization",
            "The weights all start at the same value",
            "Units that start equal receive equal gradients and stay equal: the layer is one "
            "unit wide.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "initialization_scale",
            "The weights start at the wrong scale",
            "Too small (too large) weights shrink (grow) signal and gradient with every layer.",
            local_at_first=True,
        ),
        CauseKind(
            "learning_rate_too_small",
            "The learning rate is far too small",
            "The steps are so short that the weights stay where they are.",
        ),
        CauseKind(
            "tiny_loss",
            "The loss is far too small",
            "Its gradients are below the epsilon of an optimizer that divides by their size: the "
            "steps shrink with them.",
        ),
        CauseKind(
            "learning_rate_too_large",
            "The learning rate is too large",
            "The steps overshoot; losses and norms grow until they overflow.",
        ),
        CauseKind(
            "wrong_sign",
            "The steps go uphill",
            "The loss is maximised: its sign, or that of the gradient or of the learning rate, is "
            "the wrong one.",
        ),
        CauseKind(
            "unscaled_inputs",
            "The inputs are not scaled",
            "Inputs far outside [-1, 1] drive activations into their flat part.",
        ),
        CauseKind(
            "unscaled_targets",
            "The targets are not scaled",
            "The gradient of a squared error grows with the targets: a learning rate that suits "
            "targets around 1 throws the weights about.",
        ),
        CauseKind(
            "input_outliers",
            "Single extreme values in the inputs",
            "A few values many standard deviations out dominate the sums they enter.",
        ),
        CauseKind(
            "nonfinite_inputs",
            "NaN or Inf in the inputs",
            "The data already hold NaN or Inf when they enter the model.",
        ),
        CauseKind(
            "nonfinite_targets",
            "NaN or Inf in the targets",
            "The labels already hold NaN or Inf.",
        ),
        CauseKind("constant_inputs", "The inputs never vary", "There is nothing to learn from."),
        CauseKind("constant_targets", "The targets never vary", "There is nothing to learn."),
        CauseKind(
            "axis_of_length_one",
            "An axis has length 1",
            "A softmax over one value is 1, a normalisation of one value is 0, and a recurrence "
            "over one time step multiplies an initial state of zeros: what comes before has no "
            "gradient.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "batch_of_one",
            "Batch normalisation over a single sample",
            "A sample less the mean of itself is zero, whatever the input.",
            local=True,
        ),
        CauseKind(
            "few_samples",
            "Batch normalisation over two to four values",
            "A mean and a spread of so few values are noise. Two of them become -1 and 1, whatever "
            "they were.",
        ),
        CauseKind(
            "constant_features",
            "The output does not depend on the inputs",
            "An operation of the model gives the same for every input: a mean over the axis of a "
            "softmax, a mask of zeros, a normalisation of a single number.",
        ),
        CauseKind(
            "gradient_noise",
            "The optimizer adds noise that outweighs the gradient",
            "What reaches the update is of one size in all variables, whatever the loss gives "
            "them, as in differentially private training.",
        ),
        CauseKind(
            "class_imbalance",
            "One class is nearly everything",
            "Predicting the frequent class always is almost optimal for this loss.",
        ),
        CauseKind(
            "strong_regularization",
            "The penalty outweighs the data",
            "The gradient of the regularizer is larger than that of the loss on the data.",
        ),
        CauseKind(
            "numeric_overflow",
            "A number grew out of its range",
            "exp, a product or a division left the range of the dtype; so do log(0) and 0/0.",
        ),
        CauseKind(
            "numeric_underflow",
            "A number shrank out of its range",
            "A product became exactly zero, and a logarithm or division by it infinite.",
        ),
        CauseKind(
            "low_precision",
            "The dtype is too coarse",
            "Steps smaller than the spacing of float16 or bfloat16 numbers are rounded away.",
        ),
        CauseKind(
            "loss_output_mismatch",
            "The output layer does not fit the loss",
            "For example softmax on a single unit, or softmax before a loss from logits.",
        ),
        CauseKind(
            "update_not_applied",
            "The gradient is computed but not applied",
            "apply_gradients is not called, or the optimizer was built for other variables.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "optimizer_breaks_weights",
            "The optimizer makes NaN of finite gradients",
            "All gradients of the step were finite, and the weights after it are not: what the "
            "optimizer divides by is zero, or its state has left the range of the numbers.",
        ),
        CauseKind(
            "optimizer_replaces_weights",
            "The first step replaces the weights",
            "The first update does not start from the weights as they are. What they were "
            "initialized or restored to is lost.",
        ),
        CauseKind(
            "averaged_weights",
            "Moving averages replace the weights",
            "The optimizer writes the moving average of the weights back so often that most of "
            "each step is lost.",
        ),
        CauseKind(
            "loss_not_scaled",
            "The gradients are divided by a loss scale that the loss does not have",
            "A loss-scaling optimizer divides the gradients by its scale. The loss must be "
            "multiplied by it before: `optimizer.scale_loss(loss)`.",
        ),
        CauseKind(
            "losses_not_added",
            "The loss leaves out what layers add",
            "A layer calls `add_loss`, and the training step differentiates a loss without "
            "`model.losses`.",
            local=True,
            built_in=True,
        ),
        CauseKind(
            "clipping_too_tight",
            "Clipping decides the step size",
            "The limit is far below the usual norm of the gradient.",
        ),
    )
}


def cause(kind: str, confidence: float, summary: str) -> Cause:
    """A cause of a flag: a registered id, and the observation that speaks for it.

    Raises:
        KeyError: the id is not registered.
    """
    return Cause(CAUSES[kind].id, round(min(max(confidence, 0.0), 1.0), 2), summary)


def is_local(kind: str, *, at_first: bool = False) -> bool:
    """Whether the cause explains only what is connected to it; "" (no cause is known) does not.

    Args:
        at_first: before any variable has moved.
    """
    if kind not in CAUSES:
        return False
    return CAUSES[kind].local or (at_first and CAUSES[kind].local_at_first)


def is_built_in(kind: str) -> bool:
    """Whether nothing that happens in training can be why the cause is there."""
    return kind in CAUSES and CAUSES[kind].built_in


def likeliest_first(causes: Iterable[Cause]) -> list[Cause]:
    """The order in which causes are listed, and their fixes should be tried."""
    return sorted(causes, key=lambda c: -c.confidence)


def likeliest(causes: Iterable[Cause]) -> str:
    """The id of the cause with the highest confidence, the first of equal ones; "" for none."""
    return next((reason.id for reason in likeliest_first(causes)), "")
