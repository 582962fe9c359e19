"""THE contract between the writer, the event file, the rules and the tab.

In:  nothing.
Out: tag names, the format version, and the name, unit and meaning of every
     number that is written per variable (statistics) and per step (context).
Does not know about TensorFlow, TensorBoard, files or rules.

Three kinds of "no number" are kept apart everywhere:

* *zero* is a value like any other;
* *NaN and Inf inside a tensor* are counted (``gradient_nan_count``, ...), and every
  other statistic is that of the **finite** elements alone;
* *NaN in a frame* therefore always means "not measured", never "NaN was seen".
"""

from __future__ import annotations

import dataclasses
from typing import Literal

PLUGIN_NAME = "gradient_health"

FORMAT_VERSION = 1
"""Rises only when an older reader would misread the data; columns may be added freely."""

TAG_FRAMES = f"{PLUGIN_NAME}/frames"
"""float32 [variables, statistics], one per frame."""
TAG_CONTEXT = f"{PLUGIN_NAME}/context"
"""float32 [context columns], in the same event as the frame."""
TAG_HISTOGRAMS = f"{PLUGIN_NAME}/histograms"
"""string scalar: a serialized ``HistogramPack``, in the event of some frames."""
TAG_TABLE = f"{PLUGIN_NAME}/table"
"""string scalar: a serialized ``VariableTable``; before the first frame, and when it changes."""
TAG_FLAGS = f"{PLUGIN_NAME}/flags"
"""string scalar: a serialized ``FlagList``: the verdict of the live engine, when it changes."""

TAG_LANE = f"{PLUGIN_NAME}/lane"
"""string scalar: a serialized ``LanePack``: some numbers of every step up to the event's."""

TAGS = (TAG_FRAMES, TAG_CONTEXT, TAG_HISTOGRAMS, TAG_TABLE, TAG_FLAGS, TAG_LANE)

Scope = Literal["step", "window"]
Scale = Literal["log", "linear", "count"]


@dataclasses.dataclass(frozen=True)
class Column:
    """What one number is.

    ``scope`` is "step" for a property of the frame's own step and "window" for one of
    all steps since the previous frame. ``scale`` tells a view how to draw it. ``span`` has the
    magnitudes at the ends of a colour scale that is the same for every run: it holds what healthy
    trainings have, and some decades below for what vanishes. ``None``: a share, whose ends are 0
    and 1, or a column without a colour scale.
    """

    name: str
    unit: str
    scope: Scope
    scale: Scale
    meaning: str
    span: tuple[float, float] | None = None


STATISTICS: tuple[Column, ...] = (
    Column(
        "gradient_norm",
        "loss/weight",
        "step",
        "log",
        "L2 norm of the gradient, unscaled and before clipping, over its finite elements.",
        span=(1e-9, 1e3),
    ),
    Column(
        "gradient_mean",
        "loss/weight",
        "step",
        "linear",
        "Mean of the finite elements.",
        span=(1e-6, 1e1),
    ),
    Column(
        "gradient_min",
        "loss/weight",
        "step",
        "linear",
        "Smallest finite element.",
        span=(1e-5, 1e2),
    ),
    Column(
        "gradient_max", "loss/weight", "step", "linear", "Largest finite element.", span=(1e-5, 1e2)
    ),
    Column(
        "gradient_zero_share",
        "share",
        "step",
        "linear",
        "Share of the elements that are exactly zero (of the touched rows for a sparse gradient).",
    ),
    Column(
        "gradient_nan_count", "elements", "step", "count", "Elements that are NaN.", span=(1, 1e6)
    ),
    Column(
        "gradient_inf_count",
        "elements",
        "step",
        "count",
        "Elements that are +Inf or -Inf.",
        span=(1, 1e6),
    ),
    Column(
        "applied_norm",
        "loss/weight",
        "step",
        "log",
        "L2 norm of the gradient that reached the update rule: unscaled, reduced, clipped.",
        span=(1e-9, 1e3),
    ),
    Column(
        "weight_norm",
        "weight",
        "step",
        "log",
        "L2 norm of the finite weights after the step. Of a table with sparse gradients and "
        "more than a million elements it follows from a sample of the rows.",
        span=(1e-4, 1e3),
    ),
    Column(
        "weight_nonfinite_count",
        "elements",
        "step",
        "count",
        "Weights that are NaN or Inf after the step.",
        span=(1, 1e6),
    ),
    Column(
        "update_norm",
        "weight",
        "step",
        "log",
        "L2 norm of the update, that is of the weights after minus before the step. Of a variable "
        "of more than a million elements it follows from a sample of the rows. Not measured at a "
        "frame that a non-finite gradient has forced.",
        span=(1e-9, 1e1),
    ),
    Column(
        "unchanged_share",
        "share",
        "step",
        "linear",
        "Share of the weights that the step left bit-identical.",
    ),
    Column(
        "lost_share",
        "share",
        "step",
        "linear",
        "Share of the elements with a non-zero gradient whose weight the step left bit-identical.",
    ),
    Column(
        "unit_spread",
        "ratio",
        "step",
        "log",
        "Relative spread of the gradient over the output units: norm of the deviation from the "
        "mean over units, divided by the norm. 0: all units receive the same gradient.",
        span=(1e-6, 1e0),
    ),
    Column(
        "dead_unit_share",
        "share",
        "window",
        "linear",
        "Share of the output units whose gradient was exactly zero in every one of the last "
        "`unit_window` steps. Not measured before that many steps were seen.",
    ),
    Column(
        "gradient_norm_max",
        "loss/weight",
        "window",
        "log",
        "Largest gradient norm of all steps since the previous frame (finite ones).",
        span=(1e-9, 1e3),
    ),
    Column(
        "nonfinite_age",
        "steps",
        "window",
        "count",
        "How many steps before this frame the gradient was first non-finite, counted from the "
        "last frame; 0: at this very step; -1: at none.",
        span=(1, 1e4),
    ),
    Column(
        "zero_step_share",
        "share",
        "window",
        "linear",
        "Share of the steps since the previous frame in which the gradient's sum of squares was "
        "zero in float32: every element is zero, or below 1e-19.",
    ),
    Column(
        "none_step_share",
        "share",
        "window",
        "linear",
        "Share of the steps since the previous frame in which the gradient was None.",
    ),
    Column(
        "gradient_subnormal_share",
        "share",
        "step",
        "linear",
        "Share of the non-zero gradient elements whose magnitude, with the loss scale still in it, "
        "is below the smallest normal number of the layer's compute dtype.",
    ),
    Column(
        "activation_rms",
        "activation",
        "step",
        "log",
        "Root mean square of the layer's output (on the row of its kernel; with "
        "`activations=True`).",
        span=(1e-6, 1e3),
    ),
    Column(
        "activation_dead_share",
        "share",
        "step",
        "linear",
        "Share of the layer's output units that are exactly zero for every sample of the batch "
        "(with `activations=True`).",
    ),
    Column(
        "activation_saturated_share",
        "share",
        "step",
        "linear",
        "Share of the layer's output units whose activation function has a slope below 1e-3 of "
        "its maximum for more than half of the batch (with `activations=True`).",
    ),
    Column(
        "dead_unit_age",
        "steps",
        "window",
        "count",
        "For how many steps, this one included, more than half of the output units have had a "
        "gradient of exactly zero.",
        span=(1, 1e4),
    ),
)
"""Stored columns of a frame, one row per variable. Readers go by name, not by position."""

DERIVED: tuple[Column, ...] = (
    Column(
        "gradient_rms",
        "loss/weight",
        "step",
        "log",
        "gradient_norm / sqrt(number of elements).",
        span=(1e-10, 1e2),
    ),
    Column(
        "gradient_max_abs",
        "loss/weight",
        "step",
        "log",
        "Largest magnitude of a finite element.",
        span=(1e-9, 1e3),
    ),
    Column(
        "gradient_nonfinite_count",
        "elements",
        "step",
        "count",
        "gradient_nan_count + gradient_inf_count.",
        span=(1, 1e6),
    ),
    Column(
        "weight_rms",
        "weight",
        "step",
        "log",
        "weight_norm / sqrt(number of elements).",
        span=(1e-6, 1e1),
    ),
    Column(
        "update_ratio",
        "ratio",
        "step",
        "log",
        "update_norm / weight_norm, the latter floored at its scale at initialisation. "
        "A healthy value is around 1e-3.",
        span=(1e-9, 1e0),
    ),
)
"""Computed from the stored columns when read (``frames.Recording.statistic``)."""

CONTEXT: tuple[Column, ...] = (
    Column("table_id", "id", "step", "count", "Which variable table the rows belong to (< 2**24)."),
    Column("window_steps", "steps", "window", "count", "Steps since the previous frame."),
    Column("applied_steps", "steps", "window", "count", "Those of them that changed weights."),
    Column("skipped_steps", "steps", "window", "count", "Steps a loss-scaling optimizer skipped."),
    Column("unit_window", "steps", "window", "count", "Horizon of dead_unit_share."),
    Column("loss", "loss", "step", "linear", "Loss of the frame's own step."),
    Column("loss_mean", "loss", "window", "linear", "Mean of the finite losses of the window."),
    Column("loss_min", "loss", "window", "linear", "Smallest finite loss of the window."),
    Column("loss_max", "loss", "window", "linear", "Largest finite loss of the window."),
    Column(
        "loss_nonfinite_age",
        "steps",
        "window",
        "count",
        "Like nonfinite_age, for the loss: -1 when it was finite at every step.",
    ),
    Column(
        "learning_rate",
        "1/step",
        "step",
        "log",
        "At this step; unknown where optimizers differ in it.",
    ),
    Column("global_norm", "loss/weight", "step", "log", "L2 norm of all gradients taken together."),
    Column("loss_scale", "ratio", "step", "log", "Of a loss-scaling optimizer; 1 without one."),
    Column(
        "inputs_nonfinite", "elements", "step", "count", "NaN and Inf in the inputs of this batch."
    ),
    Column("inputs_mean", "input", "step", "linear", "Mean of the finite inputs of this batch."),
    Column("inputs_std", "input", "step", "log", "Their standard deviation."),
    Column("inputs_max_abs", "input", "step", "log", "Their largest magnitude."),
    Column(
        "inputs_scale_ratio",
        "ratio",
        "step",
        "log",
        "Largest over smallest standard deviation of the input features in this batch, of those "
        "whose quartiles differ.",
    ),
    Column(
        "inputs_constant_share",
        "share",
        "step",
        "linear",
        "Share of the input features that are constant in this batch.",
    ),
    Column(
        "inputs_outlier",
        "ratio",
        "step",
        "log",
        "Largest distance of an input from the median of its feature in this batch, divided by the "
        "feature's interquartile range where that is not zero.",
    ),
    Column(
        "targets_nonfinite",
        "elements",
        "step",
        "count",
        "NaN and Inf in the targets of this batch.",
    ),
    Column("targets_mean", "target", "step", "linear", "Mean of the finite targets of this batch."),
    Column("targets_std", "target", "step", "log", "Their standard deviation."),
    Column("targets_max_abs", "target", "step", "log", "Their largest magnitude."),
    Column("targets_min", "target", "step", "linear", "Smallest finite target of this batch."),
    Column("targets_max", "target", "step", "linear", "Largest finite target of this batch."),
    Column(
        "targets_classes",
        "classes",
        "step",
        "count",
        "Distinct classes in this batch (of targets that are whole numbers or one-hot).",
    ),
    Column(
        "targets_majority_share",
        "share",
        "step",
        "linear",
        "Share of the most frequent class in this batch (of whole numbers or one-hot targets).",
    ),
    Column(
        "predictions_mean",
        "target",
        "step",
        "linear",
        "Mean of the finite predictions (not under XLA).",
    ),
    Column("predictions_std", "target", "step", "log", "Their standard deviation (not under XLA)."),
    Column("predictions_min", "target", "step", "linear", "Smallest finite one (not under XLA)."),
    Column("predictions_max", "target", "step", "linear", "Largest finite one (not under XLA)."),
    Column(
        "predictions_spread",
        "target",
        "step",
        "log",
        "Standard deviation of the predictions over the samples of this batch, root mean square "
        "over the outputs; 0: every sample gets the same prediction (not under XLA).",
    ),
    Column(
        "targets_spread",
        "target",
        "step",
        "log",
        "Standard deviation of the targets over the samples of this batch, root mean square over "
        "the outputs; 0: every sample has the same target.",
    ),
    Column(
        "unreported_steps",
        "steps",
        "window",
        "count",
        "Updates so far that no call of monitor.step() stands for, written where those are so few "
        "that most of the run was not looked at.",
    ),
    Column(
        "predictions_separation",
        "deviations",
        "step",
        "linear",
        "Mean prediction where the target is 1 less that where it is 0, in standard deviations of "
        "the predictions of this batch; of targets that are zeros and ones, in batches that hold "
        "both (not under XLA).",
    ),
    Column(
        "inputs_nonfinite_age",
        "steps",
        "window",
        "count",
        "Like nonfinite_age, for the inputs (under XLA only, where the batch of that step may be "
        "gone by the time of the frame).",
    ),
    Column(
        "added_loss",
        "loss",
        "step",
        "linear",
        "What layers have added to the loss with `add_loss` (not under XLA).",
    ),
    Column(
        "samples",
        "samples",
        "step",
        "count",
        "Samples in this batch; with several replicas, in the share of the first one.",
    ),
    Column(
        "inputs_scaled_max_abs",
        "input",
        "step",
        "log",
        "Largest magnitude of the inputs behind the first layer of the model, if that is a "
        "Normalization or Rescaling.",
    ),
    Column(
        "inputs_scaled_nonfinite",
        "elements",
        "step",
        "count",
        "NaN and Inf there.",
    ),
)
"""Columns of the context vector. NaN: not measured (for example a loop that passes no loss)."""

NAMED_LOSSES = "losses/"
"""Begins the names of the columns of the losses that ``step(losses=...)`` was given. Frames do not
have them: a frame's value is that of the dense lane at its step."""


def named_loss(name: str) -> Column:
    """The context column of a loss that ``step(losses=...)`` was given."""
    meaning = "A loss that the loop gave this name (of a long run the mean over some steps)."
    return Column(f"{NAMED_LOSSES}{name}", "loss", "step", "linear", meaning)


ROLES = (
    "kernel",
    "recurrent_kernel",
    "embedding",
    "bias",
    "scale",
    "other",
)
"""What a variable does in its layer. Rules about step sizes judge the first two."""

# --- Histograms -----------------------------------------------------------------------------
#
# One bin per sign and octave: the magnitude m of an element falls into octave
# floor(log2 m), clamped to [LOWEST, LOWEST + OCTAVES). Fixed bins need no pass for
# min and max, never move, and add up over steps, replicas and runs.

HISTOGRAM_LOWEST_EXPONENT = -72
"""Magnitudes below 2**-72 (2e-22), subnormals included, fall into the lowest octave."""
HISTOGRAM_OCTAVES = 96
"""Magnitudes from 2**23 (8e6) on fall into the highest octave."""

BIN_ZERO = 0
BIN_NAN = 1
BIN_POSITIVE_INF = 2
BIN_NEGATIVE_INF = 3
BIN_POSITIVE = 4
"""First bin of the positive octaves, lowest exponent first."""
BIN_NEGATIVE = BIN_POSITIVE + HISTOGRAM_OCTAVES
"""First bin of the negative octaves, lowest exponent first."""
HISTOGRAM_BINS = BIN_NEGATIVE + HISTOGRAM_OCTAVES


def statistic_names() -> tuple[str, ...]:
    """Names of the stored columns, in the order in which this version writes them."""
    return tuple(column.name for column in STATISTICS)


def context_names() -> tuple[str, ...]:
    """Names of the context columns, in the order in which this version writes them."""
    return tuple(column.name for column in CONTEXT)


def column(name: str) -> Column:
    """The declaration of a statistic, derived statistic or context column.

    Raises:
        KeyError: no column has that name.
    """
    for candidate in (*STATISTICS, *DERIVED, *CONTEXT):
        if candidate.name == name:
            return candidate
    raise KeyError(name)
