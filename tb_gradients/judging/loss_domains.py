"""Between which outputs a loss of Keras has a gradient: it may clip them first.

In:  the name of a loss.
Out: its ``Domain``; None for a loss that never clips, or one that is not known.
Does not know about models or windows. ``tests/training/test_clipped_losses.py`` compares the table
with what the losses of the installed Keras do.
"""

from __future__ import annotations

import dataclasses
import math

EPSILON = 1e-7
"""Keras' own, unless somebody sets another."""


@dataclasses.dataclass(frozen=True)
class Domain:
    """Outputs that a loss does not clip. At all others its gradient is exactly zero.

    Attributes:
        low, high: the ends.
        activation: of a last layer whose output lies between them.
        from_logits: whether the loss has this setting, with which it never clips.
    """

    low: float
    high: float
    activation: str
    from_logits: bool = False


_PROBABILITY = Domain(EPSILON, 1 - EPSILON, "sigmoid", from_logits=True)

DOMAINS: dict[str, Domain | None] = {
    "binary_crossentropy": _PROBABILITY,
    "sparse_categorical_crossentropy": dataclasses.replace(_PROBABILITY, activation="softmax"),
    "kl_divergence": Domain(EPSILON, 1.0, "softmax"),
    "mean_squared_logarithmic_error": Domain(EPSILON, math.inf, "softplus"),
    # These divide by the sum over the classes first.
    "categorical_crossentropy": None,
    "categorical_focal_crossentropy": None,
    # Its other factor is not clipped.
    "binary_focal_crossentropy": None,
    # These have no gradient where the margin is kept, which is what is wanted.
    "hinge": None,
    "squared_hinge": None,
    "categorical_hinge": None,
    # These are NaN or finite outside, and never constant.
    "categorical_generalized_cross_entropy": None,
    "poisson": None,
    "circle": None,
    "cosine_similarity": None,
    "ctc": None,
    "dice": None,
    "huber": None,
    "log_cosh": None,
    "mean_absolute_error": None,
    "mean_absolute_percentage_error": None,
    "mean_squared_error": None,
    "tversky": None,
}
"""All losses of Keras, by the names of their functions."""

_SHORT = {"msle": "mean_squared_logarithmic_error", "kld": "kl_divergence"}
_SHORT |= {"bce": "binary_crossentropy"}

_BY_PLAIN_NAME = {name.replace("_", ""): name for name in DOMAINS} | _SHORT


def domain_of(loss: str) -> Domain | None:
    """The domain of the only loss of a run; None if it never clips, or nobody knows.

    Args:
        loss: as ``RunContext.loss`` has it: ``BinaryCrossentropy(from_logits=False)``, ``msle``.
    """
    domain = DOMAINS.get(name_of(loss))
    if domain is not None and domain.from_logits and "from_logits=True" in loss:
        return None
    return domain


def name_of(loss: str) -> str:
    """The name of the function that computes a loss of Keras; "" for any other."""
    plain = loss.partition("(")[0].lower().replace("_", "").replace(" ", "")
    return _BY_PLAIN_NAME.get(plain, "")
