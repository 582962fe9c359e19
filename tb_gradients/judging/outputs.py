"""Whether the output of the model fits its loss.

In:  a variable table, and the predictions of a window.
Out: what does not fit, as an observation and as code; the variables of the last layer.
Does not know about flags or severities.
"""

from __future__ import annotations

import numpy as np

from tb_gradients.flags import Cause
from tb_gradients.frames import FloatArray, VariableTable
from tb_gradients.judging.causes import cause
from tb_gradients.judging.loss_domains import domain_of, name_of
from tb_gradients.judging.networks import RELU
from tb_gradients.judging.window import BoolArray, Window
from tb_gradients.judging.words import layer


def output_mismatch(table: VariableTable) -> tuple[str, str, bool] | None:
    """The mismatch between the model's output and its loss; ``None`` if there is none.

    Returns:
        The observation, the code that repairs it, and whether it is certain to hurt.
    """
    shapes = table.run.facts.get("broadcast")
    if shapes is None:
        return head_mismatch(table)
    text = (
        f"the loss subtracts shapes {shapes}: broadcasting compares every prediction with every "
        "target, and the best answer is one constant"
    )
    fix = (
        "Give both the same shape before the loss: `predictions = tf.squeeze(predictions, -1)` or "
        "`targets = targets[:, None]`."
    )
    return text, fix, True


def head_mismatch(table: VariableTable) -> tuple[str, str, bool] | None:
    """The same, for the activation of the last layer only."""
    facts, loss = table.run.facts, table.run.loss
    name = loss.lower().replace("_", "").replace(" ", "")
    head, last = facts.get("head", ""), facts.get("head_activation", "")
    if not last or not name or "," in name:
        return None
    the_head = f"the last layer {head}".strip()
    named = f', name="{head}"' if head else ""
    units = facts.get("head_units", "")
    chain = [part for part in facts.get("head_activations", "").split(",") if part]
    logits = "fromlogits=true" in name
    if last == "softmax" and units == "1":
        return (
            f"{the_head} applies softmax to a single unit: its output is 1 for every input",
            f'`keras.layers.Dense(1, activation="sigmoid"{named})`',
            True,
        )
    if chain.count("softmax") > 1:
        return (
            f"softmax is applied {chain.count('softmax')} times behind {the_head}",
            "Apply softmax once: remove the last softmax layer.",
            True,
        )
    binary = name.startswith(("binarycrossentropy", "binaryfocalcrossentropy"))
    categorical = name.startswith(("categoricalcrossentropy", "sparsecategoricalcrossentropy"))
    if name.startswith("poisson") and last not in POSITIVE:
        text = f"{the_head} has activation {last}, and poisson takes the logarithm of its output"
        return (
            f"{text}, NaN below zero",
            f'`keras.layers.Dense({units or "units"}, activation="softplus"{named})`',
            False,
        )
    divergence = name.startswith(("kldivergence", "kld"))
    if not binary and not categorical and not divergence:
        return None
    wanted = "sigmoid" if binary or (divergence and units == "1") else "softmax"
    right = f'`keras.layers.Dense({units or "units"}, activation="{wanted}"{named})`'
    plain_loss = loss.partition("(")[0]
    camel = "".join(part[:1].upper() + part[1:] for part in plain_loss.split("_"))
    if logits:
        if last in ("softmax", "sigmoid"):
            return (
                f"{the_head} applies {last} before a loss from logits",
                f"`keras.losses.{camel}(from_logits=False)`, or no activation in {the_head}",
                False,
            )
        if last in RELU:
            return (
                f"{the_head} cuts off logits below zero ({last})",
                f"Remove the activation of {the_head}.",
                False,
            )
        return None
    if last == "linear":
        return (
            f"{the_head} has no activation, and {plain_loss} expects probabilities",
            right if divergence else f"`keras.losses.{camel}(from_logits=True)`, or {right}",
            False,
        )
    if last in RELU or last in ("tanh", "elu", "selu", "gelu", "softsign", "leaky_relu"):
        return (
            f"{the_head} has activation {last}, and {plain_loss} expects probabilities",
            right,
            False,
        )
    if binary and last == "softmax" and units not in ("", "1"):
        return None  # one-hot pairs with a binary loss: unusual, but works
    return None


RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
"""Between which numbers the output of an activation lies. (Softmax is left out: its targets may be
numbers of classes.)"""


def range_is_known(table: VariableTable) -> bool:
    """Whether a loop computes an unknown loss from a single output whose range is known."""
    facts = table.run.facts
    single = facts.get("head_units") == "1"
    return not table.run.loss and single and facts.get("head_activation", "") in RANGES


def beyond_range(window: Window) -> tuple[str, str] | None:
    """The same where a loop computes a loss that nobody knows, from the range of the last layer and
    that of the targets: most batches hold targets that are further out than half of that range.

    Of a single output only: several may stand for classes, whose targets are their numbers.

    Returns:
        The observation, and what to change.
    """
    if not range_is_known(window.table):
        return None
    facts = window.table.run.facts
    last = facts["head_activation"]
    low, high = RANGES[last]
    least, most = (_typical(window.context(name)) for name in ("targets_min", "targets_max"))
    far = (high - low) / 2
    if not (least < low - far or most > high + far):
        return None
    if _typical(window.context("predictions_max")) > high:
        return None  # what the loss gets is computed from the output, and reaches further
    text = (
        f"the last layer {facts.get('head', '')}".strip()
        + f" ends in {last}, whose output lies between {low:g} and {high:g}; the targets reach "
        f"from {least:.3g} to {most:.3g}"
    )
    scaled = "(y - y.min()) / (y.max() - y.min())"
    if (low, high) != (0, 1):
        scaled = f"{low:g} + {high - low:g} * {scaled}"
    fix = (
        f"Scale the targets to that range: `y = {scaled}`; or use no activation in the last layer."
    )
    return text, fix


def clipped_output_cause(window: Window) -> Cause | None:
    """loss_output_mismatch, if no parameter has a gradient and the loss clips the output before it
    looks at it: outside of its domain the loss is constant.

    Not of an output that is a dead ReLU, which has no gradient before any loss.
    """
    table = window.table
    domain = domain_of(table.run.loss)
    last = table.run.facts.get("head_activation", "")
    losses = window.context("loss_mean")
    if domain is None or last in RELU or not losses[np.isfinite(losses)].any():
        return None
    least, most = window.context("predictions_min"), window.context("predictions_max")
    known = np.isfinite(least) & np.isfinite(most)
    reached = f"between {domain.low:g} and {domain.high:g}"
    if not domain.high < np.inf:
        reached = f"above {domain.low:g}"
    text = f"{table.run.loss} has a gradient for outputs {reached} only: others are clipped first"
    if known.any():
        if not ((least <= domain.low) | (most >= domain.high))[known].all():
            return None
        low, high = float(least[known].min()), float(most[known].max())
        return cause("loss_output_mismatch", 0.97, f"{text}. They were {low:.3g} to {high:.3g}.")
    if not last:
        return cause("loss_output_mismatch", 0.6, f"{text}.")
    ends = RANGES.get(last, (0.0 if last in POSITIVE else -np.inf, np.inf))
    if ends[0] >= 0 and ends[1] <= 1:
        return None
    return cause("loss_output_mismatch", 0.95, f"{text}, and the last layer has {last} outputs.")


def inside_the_domain(table: VariableTable) -> str:
    """What keeps the output where the loss does not clip it."""
    domain = domain_of(table.run.loss)
    if domain is None:
        return "Fit the last layer to the loss."
    units = table.run.facts.get("head_units", "units")
    head = table.run.facts.get("head", "")
    named = f', name="{head}"' if head else ""
    activation = "sigmoid" if domain.activation == "softmax" and units == "1" else domain.activation
    code = f'`keras.layers.Dense({units}, activation="{activation}"{named})`'
    camel = "".join(part[:1].upper() + part[1:] for part in name_of(table.run.loss).split("_"))
    logits = f", or `keras.losses.{camel}(from_logits=True)`" if domain.from_logits else ""
    return f"Let the last layer end in {activation}: {code}{logits}."


BINARY_TARGETS = (
    "Binary cross-entropy needs targets between 0 and 1: "
    "`y = (y - y.min()) / (y.max() - y.min())`. For classes 1, 2, 3, ... use "
    "`keras.losses.SparseCategoricalCrossentropy` and one output per class."
)


def beyond_binary(window: Window) -> str | None:
    """What targets a binary cross-entropy gets, if they lie outside of 0 and 1: its terms
    `-y log(p) - (1 - y) log(1 - p)` then have no lower bound."""
    name = window.table.run.loss.lower().replace("_", "")
    if not name.startswith("binarycrossentropy") or "," in name.partition("(")[0]:
        return None
    low, high = window.context("targets_min"), window.context("targets_max")
    off = np.fmax(-low, high - 1)
    known = np.isfinite(off)
    if known.sum() < 3 or not np.median(off[known]) > BEYOND:
        return None
    return (
        f"the targets reach from {np.nanmin(low):.3g} to {np.nanmax(high):.3g}, and binary "
        "cross-entropy has no lower bound for targets outside of 0 and 1"
    )


BEYOND = 0.01
"""Rounding, and the interpolation of grey values, leave the range of targets by less."""


def _typical(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def constrained(loss: str) -> bool:
    """Whether a loss of Keras restricts the output: a cross-entropy, or a Poisson loss."""
    name = loss.lower().replace("_", "")
    kinds = ("binarycrossentropy", "binaryfocal", "categorical", "sparsecategorical", "poisson")
    return name.startswith(kinds)


ALIKE = 1e-6
"""Spread of predictions in [0, 1] that differ by rounding alone."""


def constant_output(window: Window, alike: float = ALIKE) -> bool:
    """Whether the model predicts the same for every input because of its last activation: the
    loss then says nothing about inputs or weights."""
    wrong = head_mismatch(window.table)
    if wrong is None or not wrong[2]:
        return False
    spread = window.context("predictions_spread")
    known = spread[np.isfinite(spread)]
    return bool(known.size and (known <= alike).all())


POSITIVE = frozenset({"relu", "relu6", "softplus", "exponential", "sigmoid", "softmax"})
"""Activations whose output is never below zero."""


def head_rows(window: Window) -> BoolArray:
    """bool [variables]: those of the layer whose output enters the loss, if it is known."""
    head = window.table.run.facts.get("head")
    names_ = [layer(v).rpartition("/")[2] for v in window.table.variables]
    result: BoolArray = window.rows.judged & np.array([name == head for name in names_], bool)
    return result
