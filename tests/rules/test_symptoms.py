"""Rule by rule, on frames made by hand: a run that is faulty, and one that only looks so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from recordings import make_frames, make_table, turn_nonfinite, turn_zero, with_value

from tb_gradients.flags import Flag, Severity
from tb_gradients.frames import Recording, VariableTable
from tb_gradients.judging import judge
from tb_gradients.judging.engine import replay
from tb_gradients.judging.freezing import NEVER_TRAINED

STEPS = 80
TABLE = make_table(4)
KERNELS = [0, 2, 4, 6]


def table(change: dict[str, Any] | None = None, **run: Any) -> VariableTable:
    """The table with other facts about the run, and about every kernel."""
    variables = [
        dataclasses.replace(v, **change) if change and v.role == "kernel" else v
        for v in TABLE.variables
    ]
    return dataclasses.replace(
        TABLE, variables=tuple(variables), run=dataclasses.replace(TABLE.run, **run)
    )


@dataclasses.dataclass
class Run:
    """Healthy frames, to be changed column by column; ``None`` keeps what is there."""

    table: VariableTable = TABLE
    steps: int = STEPS

    def __post_init__(self) -> None:
        self.frames = make_frames(self.table, range(self.steps))

    def set(self, rows: Any = slice(None), since: int = 0, **columns: Any) -> Run:
        """Statistics of some variables from a step on."""
        for name, value in columns.items():
            self.frames[since:] = [
                with_value(f, self.table, name, value, rows) for f in self.frames[since:]
            ]
        return self

    def say(self, since: int = 0, **columns: Any) -> Run:
        """Context columns from a step on: one value, or one per frame."""
        for name, value in columns.items():
            values = np.broadcast_to(value, len(self.frames) - since)
            for i, frame in enumerate(self.frames[since:]):
                frame.context[self.table.context.index(name)] = values[i]
        return self

    def loss(self, value: Any, since: int = 0) -> Run:
        return self.say(since, loss=value, loss_mean=value, loss_min=value, loss_max=value)

    def stuck(self) -> Run:
        """The loss of guessing one of 16 classes, for ever."""
        return self.loss(np.log(16) + 0.01 * np.random.default_rng(0).standard_normal(self.steps))

    def flags(self) -> dict[str, Flag]:
        verdict = judge([Recording.from_frames(self.table, self.frames)])
        assert verdict.errors == ()
        return {flag.rule: flag for flag in verdict.flags}


def grown(norm: float, loss: float) -> Run:
    """From step 40 on gradient and loss are so many times larger."""
    run = Run()
    before = [float(f.context[TABLE.context.index("global_norm")]) for f in run.frames]
    run.set(since=40, gradient_norm=0.5 * norm, gradient_norm_max=0.6 * norm)
    run.say(since=40, global_norm=norm * np.array(before[40:]))
    return run.loss(2.3 * loss, since=40)


def spiked(times: float) -> Run:
    """One step of 80 is out of line."""
    run = Run()
    run.frames[60] = with_value(run.frames[60], TABLE, "gradient_norm_max", 0.6 * times)
    return run


def float16(share: float, **context: float) -> Run:
    facts = {"compute_dtype": "float16"}
    run = Run(table({"facts": facts}, precision="mixed_float16"))
    return run.set(KERNELS, gradient_subnormal_share=share).stuck().say(**context)


def nothing_left() -> Run:
    """Two float16 layers without a gradient, before float32 ones of which next to nothing comes."""
    run = Run(table({"facts": {"compute_dtype": "float16"}}, precision="mixed_float16"))
    variables = [
        dataclasses.replace(v, facts={"compute_dtype": "float32"}) if i > 3 else v
        for i, v in enumerate(run.table.variables)
    ]
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    run.frames = turn_zero(run.frames, run.table, slice(0, 4))
    return run.set(slice(4, 8), gradient_norm=1e-7).stuck()


def penalised(weight: float) -> Run:
    run = Run(table({"facts": {"l2": "0.5"}, "regularizer": "L2"})).stuck()
    return run.set(KERNELS, weight_norm=weight, gradient_norm=weight, update_norm=1e-3 * weight)


def clipped(left: float, optimizer: str = "SGD") -> Run:
    run = Run(table(optimizer=optimizer, optimizer_config={"global_clipnorm": "0.001"})).stuck()
    for i, frame in enumerate(run.frames):
        norm = frame.values[:, TABLE.statistics.index("gradient_norm")]
        run.frames[i] = with_value(frame, TABLE, "applied_norm", left * norm)
    return run


def clipped_by_value() -> Run:
    """What is left was not measured; it cannot be more than the limit in every element."""
    run = Run(table(optimizer="SGD", optimizer_config={"clipvalue": "1e-06"})).stuck()
    return run.set(applied_norm=np.nan)


def shrunk(share: float) -> Run:
    """The loss falls with the penalty, and that of guessing is not known."""
    run = Run(table({"facts": {"l2": "5.0"}, "regularizer": "L2"}, loss="my_own"))
    for row in KERNELS:
        v = run.table.variables[row]
        norm = share * v.initial_rms * np.sqrt(v.elements)
        run.set([row], weight_norm=norm, gradient_norm=10 * norm, update_norm=1e-3 * norm)
    return run.loss(np.linspace(200, 2.3, STEPS))


def head(activation: str, dead: float = 0.0) -> Run:
    facts = {"head": "dense_3", "head_activation": activation, "head_units": "16"}
    loss = "SparseCategoricalCrossentropy(from_logits=True)"
    return Run(table(loss=loss, facts=facts)).set([6], dead_unit_share=dead)


def targets(spread: float) -> Run:
    """Two outputs: 0.25 and 0.75 on average."""
    run = Run(table(loss="mse")).loss(0.01 * np.ones(STEPS)).loss(0.3, since=0)
    run.say(targets_mean=0.5, targets_std=0.25, targets_spread=spread, targets_max_abs=0.75)
    return run.say(predictions_spread=1e-6)


def centred(**change: Any) -> Run:
    """All samples are drawn to one place, and nearly there."""
    facts = {"head": "dense_3", "head_units": "16", "head_activation": "linear"}
    facts |= change.pop("facts", {})
    run = Run(table(loss="mse", facts=facts)).loss(np.linspace(1, 0.01, STEPS))
    variables = list(run.table.variables)
    variables[7] = dataclasses.replace(variables[7], **change)
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    run.say(targets_mean=0.5, targets_std=0.25, targets_spread=0.0, targets_max_abs=0.75)
    return run.say(predictions_spread=0.5)


def beyond(**context: float) -> Run:
    """Targets of up to 5, and what seems to be the last layer has activation tanh."""
    facts = {"head": "dense_3", "head_units": "16", "head_activation": "tanh"}
    run = Run(table(loss="mse", facts=facts)).stuck().say(targets_mean=2.0, targets_std=1.0)
    return run.say(targets_min=-1, targets_max=5, predictions_min=-0.9, **context)


def rounded(share: float, dtype: str) -> Run:
    return Run(table({"dtype": dtype})).stuck().set(KERNELS, lost_share=share)


def scaled(rms: float, activation: str) -> Run:
    run = Run(table({"initial_rms": rms, "activation": activation}))
    return run.loss(np.linspace(2.7, 2.0, STEPS))


def optimised_image() -> Run:
    """Not a model but one tensor of no layer, and a loss whose level of guessing is not known."""
    image = dataclasses.replace(
        TABLE.variables[0], path="image", layer_class="", activation="", units=3, initial_rms=0.5
    )
    image = dataclasses.replace(image, shape=(1, 32, 32, 3), unit_axis=3, initializer="")
    alone = dataclasses.replace(
        TABLE, variables=(image,), run=dataclasses.replace(TABLE.run, loss="")
    )
    return Run(alone).loss(0.2 + 1e-3 * np.random.default_rng(0).standard_normal(STEPS))


def saturated(share: float) -> Run:
    run = Run(table({"activation": "tanh"})).stuck()
    return run.set([0, 2, 4], activation_saturated_share=share)


def alike(spread: str, initializer: str) -> Run:
    """Units that receive the same gradient, in weights whose spread at the start was measured."""
    facts = {"initial_spread": spread}
    run = Run(table({"initializer": initializer, "initial_rms": 0.1, "facts": facts}))
    return run.set(KERNELS, unit_spread=0.0)


def flattened(followed_by: str) -> Run:
    """Next to nothing of the error behind the second layer comes back through its tanh."""
    run = Run(table({"activation": "tanh", "facts": {"followed_by": followed_by}})).stuck()
    return run.set([3], gradient_norm=1e-3)


def thrown(ratio: float, loss: Any) -> Run:
    return Run().set(KERNELS, update_norm=4 * ratio).say(learning_rate=1.0).loss(loss)


def collapsing(skipped: float) -> Run:
    run = Run(table({"facts": {"compute_dtype": "float16"}}, precision="mixed_float16"))
    scale = 2.0 ** np.maximum(15 - np.arange(STEPS), -5)
    return run.say(loss_scale=scale if skipped else 2.0**15, skipped_steps=skipped)


def not_finite(since: int) -> Run:
    return Run().say(since, loss_nonfinite_age=0.0).loss(np.nan, since)


def accumulated(steps: int, epoch: int) -> Run:
    run = Run(table(accumulation_steps=steps, steps_per_epoch=epoch))
    return run.set(update_norm=0).say(applied_steps=0).stuck()


def left_out(weight: Sequence[float]) -> Run:
    """The first two layers are in no update."""
    run = Run()
    kernels = [
        dataclasses.replace(v, initial_rms=0.25 + 1e-4 * i) if v.role == "kernel" else v
        for i, v in enumerate(TABLE.variables)
    ]
    run.table = dataclasses.replace(run.table, variables=tuple(kernels))
    run.set(slice(0, 4), **dict.fromkeys(TABLE.statistics, np.nan))
    for i, frame in enumerate(run.frames):
        run.frames[i] = with_value(frame, TABLE, "weight_norm", weight[i], slice(0, 4))
    return run


def kept(**change: Any) -> Run:
    """The two layers that are in no update are a model of their own."""
    run = left_out([4.0] * STEPS)
    variables = [
        dataclasses.replace(v, path=f"{'teacher' if i < 4 else 'student'}/{v.path}")
        for i, v in enumerate(run.table.variables)
    ]
    variables[1] = dataclasses.replace(variables[1], **change)
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    return run


def unnested() -> Run:
    """A feature extractor whose layers stand at the top level; its first has no bias."""
    run = kept(initial_rms=0.1)
    variables = [dataclasses.replace(v, path=v.path.partition("/")[2]) for v in run.table.variables]
    variables[1], variables[3] = variables[3], variables[1]
    variables[1] = dataclasses.replace(variables[1], trainable=False, path="other/moving_mean")
    variables[3] = dataclasses.replace(variables[3], path="dense_1/bias")
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    return run


def copied() -> Run:
    """The layers that are in no update started at the weights of those that are trained."""
    run = kept()
    variables = list(run.table.variables)
    for row in (0, 2):
        rms = variables[row].initial_rms
        variables[row + 4] = dataclasses.replace(variables[row + 4], initial_rms=rms)
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    return run


def never_applied(weight: Sequence[float]) -> Run:
    """The gradients are not handed to the optimizer at all."""
    run = Run()
    run.set(**dict.fromkeys(TABLE.statistics, np.nan))
    for i, frame in enumerate(run.frames):
        run.frames[i] = with_value(frame, TABLE, "weight_norm", weight[i])
    return run.say(applied_steps=0, global_norm=np.nan).stuck()


def ignored() -> Run:
    """A branch of its own, with layers before and behind it that learn."""
    run = Run(table({"activation": "sigmoid"}))
    run.frames = turn_zero(run.frames, run.table, [4, 5])
    return run


def of_layers(activations: Sequence[str], silent: Sequence[int]) -> Run:
    """Four layers with these activations, of which some never have a gradient."""
    run = Run()
    variables = [
        dataclasses.replace(v, activation=activations[i // 2])
        for i, v in enumerate(run.table.variables)
    ]
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    rows = [row for layer in silent for row in (2 * layer, 2 * layer + 1)]
    run.frames = turn_zero(run.frames, run.table, rows)
    return run


def one_by_one() -> Run:
    """The first layer is normalised over batches of one sample."""
    run = of_layers(["relu", "relu", "relu", "linear"], [0])
    first = dataclasses.replace(run.table.variables[0], facts={"followed_by": "BatchNormalization"})
    run.table = dataclasses.replace(run.table, variables=(first, *run.table.variables[1:]))
    run.set([0], dead_unit_share=1.0)
    classes = np.random.default_rng(0).integers(0, 10, STEPS)
    return run.say(targets_std=0, targets_mean=classes, inputs_constant_share=np.nan).stuck()


def taking_turns(column: str) -> Run:
    """A trunk and thirteen tasks, one of which is drawn at each step."""
    run = Run(make_table(14)).loss(np.linspace(2.77, 2.2, STEPS))
    for i, task in enumerate(np.random.default_rng(1).integers(1, 14, STEPS)):
        rows = [row for row in range(2, 28) if row // 2 != task]
        if column == "zero_step_share":
            run.frames[i : i + 1] = turn_zero(run.frames[i : i + 1], run.table, rows)
        else:
            run.frames[i] = with_value(run.frames[i], run.table, column, 1, rows)
    return run


def nan_at(step: int, rows: Any = slice(None), **context: Any) -> Run:
    """The gradients of some variables are NaN at one step, and the loss of that step is not."""
    run = Run(steps=step + 1)
    return run.set(rows, step, gradient_nan_count=3, nonfinite_age=0).say(**context)


def unseen(run: Run) -> Run:
    """A custom training loop that hands no batch over."""
    names = [name for name in run.table.context if name.startswith(("inputs_", "targets_"))]
    return run.say(**dict.fromkeys(names, np.nan))


def ended(**change: Any) -> Run:
    """From step 20 on the first two layers have no gradient any more."""
    run = Run(table({"activation": "linear", **change}))
    run.frames = turn_zero(run.frames, run.table, slice(0, 4), since=20)
    return run


def unchanged(dtype: str) -> Run:
    """Steps are applied, and no weight moves."""
    run = Run(table({"dtype": dtype})).set(update_norm=0).say(learning_rate=10.0)
    run.table = dataclasses.replace(
        run.table, variables=tuple(dataclasses.replace(v, dtype=dtype) for v in TABLE.variables)
    )
    return run


RISING = np.linspace(2.77, 60, STEPS)
FALLING = np.linspace(2.77, 0.1, STEPS)

FAULTY: dict[str, tuple[Callable[[], Run], str, str]] = {
    "no update at all, and weights that stay": (
        lambda: never_applied(np.ones(STEPS)), "frozen_weight", "update_not_applied"
    ),
    "norm and loss grow a hundredfold": (
        lambda: grown(1e3, 1e2), "exploding_gradient", "learning_rate_too_large"
    ),
    "half of the gradient below float16's range": (
        lambda: float16(0.9), "gradient_underflow", "low_precision"
    ),
    "float16 layers of which nothing is left": (
        nothing_left, "dead_units", "low_precision"
    ),
    "a penalty shrinks the weights": (
        lambda: penalised(1.0), "regularizer_dominates", "strong_regularization"
    ),
    "a penalty shrinks the weights to nothing, unknown how much there is to learn": (
        lambda: shrunk(0.01), "regularizer_dominates", "strong_regularization"
    ),
    "clipping by value": (
        clipped_by_value, "clipping_dominates", "clipping_too_tight"
    ),
    "a thousandth is left after clipping": (
        lambda: clipped(1e-3), "clipping_dominates", "clipping_too_tight"
    ),
    "clipping brings the gradient below Adam's epsilon": (
        lambda: clipped(1e-6, "Adam"), "clipping_dominates", "clipping_too_tight"
    ),
    "a ReLU before the loss switches outputs off": (
        lambda: head("relu", 0.2), "model_mismatch", "loss_output_mismatch"
    ),
    "each output's target is the same for every sample": (
        lambda: targets(0.0), "bad_data", "constant_targets"
    ),
    "targets that no tanh can reach": (
        lambda: beyond(predictions_max=0.9), "bad_data", "loss_output_mismatch"
    ),
    "targets that are the same for every sample, learnt by the last bias": (
        centred, "bad_data", "constant_targets"
    ),
    "bfloat16 rounds the steps away": (
        lambda: rounded(0.95, "bfloat16"), "update_lost", "low_precision"
    ),
    "tanh behind weights that are thirty times too large": (
        lambda: scaled(8.0, "tanh"), "poor_initialization", "initialization_scale"
    ),
    "units on the flat part of tanh": (
        lambda: saturated(0.9), "saturated_units", "saturating_activation"
    ),
    "weights made by hand of one value": (
        lambda: alike("0", ""), "symmetric_units", "constant_initialization"
    ),
    "weights that were assigned one value": (
        lambda: alike("0", "GlorotUniform"), "symmetric_units", "constant_initialization"
    ),
    "a mean slope of next to nothing": (
        lambda: flattened("Dense"), "saturated_units", "saturating_activation"
    ),
    "steps of half the weights' size": (
        lambda: thrown(0.5, RISING), "update_too_large", "learning_rate_too_large"
    ),
    "averages of Adam in float16": (
        lambda: Run(table({"dtype": "float16"})).set(KERNELS, update_norm=2).loss(RISING),
        "update_too_large",
        "low_precision",
    ),
    "every step is skipped": (
        lambda: collapsing(1), "loss_scale_collapse", "numeric_overflow"
    ),
    "the loss alone becomes NaN": (lambda: not_finite(50), "nonfinite_loss", "numeric_overflow"),
    "an accumulation longer than the training": (
        lambda: accumulated(10_000, 12), "frozen_weight", "update_not_applied"
    ),
    "variables that are in no update": (
        lambda: left_out([4.0] * STEPS), "frozen_weight", "update_not_applied"
    ),
    "a model of its own that starts afresh, in no update": (
        kept, "frozen_weight", "update_not_applied"
    ),
    "the same with an LSTM, whose bias does not start at zero": (
        lambda: kept(layer_class="LSTM", initial_rms=0.5), "frozen_weight", "update_not_applied"
    ),
    "no gradient any more after steps of half the weights' size": (
        lambda: ended().set(update_norm=2), "zero_gradient", "learning_rate_too_large"
    ),
    "weights that start so small that their products vanish": (
        lambda: ended(initial_rms=1e-3).set(slice(0, 4), gradient_norm=0, zero_step_share=1),
        "zero_gradient",
        "initialization_scale",
    ),
    "bfloat16 weights that no step moves": (
        lambda: unchanged("bfloat16"), "frozen_weight", "low_precision"
    ),
    "float32 weights that no step moves": (
        lambda: unchanged("float32"), "frozen_weight", "update_not_applied"
    ),
    "a branch that the loss ignores": (
        ignored, "zero_gradient", "loss_ignores_parameters"
    ),
    "an output of weight 0 behind a ReLU": (
        lambda: of_layers(["relu", "relu", "relu", "linear"], [2, 3]),
        "zero_gradient",
        "loss_ignores_parameters",
    ),
    "an expert that is never chosen": (
        lambda: of_layers(["relu", "relu", "relu", "linear"], [2]),
        "zero_gradient",
        "loss_ignores_parameters",
    ),
    "batches of one sample that are normalised": (one_by_one, "dead_units", "batch_of_one"),
    "targets of 1e5 and a squared error": (
        lambda: Run(table(optimizer="SGD", loss="mse"))
        .set(KERNELS, update_norm=2)
        .say(targets_max_abs=1e5)
        .loss(RISING),
        "update_too_large",
        "unscaled_targets",
    ),
    "inputs that were scaled twice": (
        lambda: Run(table(optimizer="SGD")).stuck().say(inputs_max_abs=1 / 255, inputs_std=1e-3),
        "bad_data",
        "unscaled_inputs",
    ),
    "NaN at the first step, inputs of 0..255": (
        lambda: nan_at(0, inputs_max_abs=255).say(loss_nonfinite_age=0).loss(np.nan),
        "nonfinite_gradient",
        "unscaled_inputs",
    ),
    "NaN of a Poisson loss behind an output without activation": (
        lambda: Run(
            table(loss="poisson", facts={"head": "dense_3", "head_activation": "linear"}), steps=5
        )
        .say(loss_nonfinite_age=0)
        .loss(np.nan),
        "nonfinite_loss",
        "loss_output_mismatch",
    ),
    "NaN in the gradient of a finite loss": (
        lambda: nan_at(30), "nonfinite_gradient", "numeric_overflow"
    ),
    "NaN in the first kernel alone, from batches nobody saw": (
        lambda: unseen(nan_at(30, [0])), "nonfinite_gradient", "nonfinite_inputs"
    ),
    "NaN from batches nobody saw": (
        lambda: unseen(not_finite(30)), "nonfinite_loss", "numeric_overflow"
    ),
    "the same prediction for every sample, of inputs nobody saw": (
        lambda: unseen(Run(steps=120).stuck()).say(predictions_spread=0.0),
        "not_learning",
        "constant_inputs",
    ),
}  # fmt: skip

LOOKALIKES: dict[str, Callable[[], Run]] = {
    "norm that grows while the loss falls": lambda: grown(1e3, 0.5),
    "loss that grows on one batch": lambda: Run().loss(50.0, since=STEPS - 1),
    "a step three times the usual": lambda: spiked(3),
    "a tenth of the gradient below float16's range": lambda: float16(0.1, loss_mean=FALLING),
    "a penalty on weights that keep their size": lambda: penalised(8.0).loss(FALLING),
    "a thousandth is left after clipping, of a step that does not depend on it": (
        lambda: clipped(1e-3, "Adam")
    ),
    "a ReLU that is no head": lambda: head("linear"),
    "tiny inputs, to which Adam has yet to adapt": (
        lambda: Run().stuck().say(inputs_max_abs=1e-3, inputs_std=1e-4)
    ),
    "half of a layer's units without a gradient, before the run learns": (
        lambda: Run().stuck().set([2], since=20, dead_unit_share=0.6)
    ),
    "a comparison whose right answer is always at the same place, before it learns": (
        lambda: targets(0.0).stuck().say(predictions_spread=0.5)
    ),
    "targets that differ between samples": lambda: targets(0.1).loss(FALLING),
    "float32 that rounds": lambda: rounded(0.95, "float32").loss(FALLING),
    "a large start before ReLU that learns": lambda: scaled(8.0, "relu"),
    "large steps of a run that learns": lambda: thrown(0.5, FALLING),
    "accumulation over an epoch": lambda: accumulated(100, 100),
    "a penalty that leaves a third of the weights, in a run that learns": lambda: shrunk(0.3),
    "updates that the monitor does not see": lambda: never_applied(np.linspace(1, 2, STEPS)),
    "variables that another optimizer trains": lambda: left_out(np.linspace(4, 5, STEPS).tolist()),
    "weights that an initializer called constant took from an array": (
        lambda: alike("0.98", "Constant")
    ),
    "a weight whose clipped steps are rounded away": (
        lambda: (
            Run(table(optimizer="SGD"))
            .set(slice(1, 8), update_norm=0, applied_norm=1e-6)
            .say(learning_rate=0.1)
        )
    ),
    "targets beyond a tanh that is not the last layer": lambda: beyond(predictions_max=4.0),
    "a centre that all samples are drawn to, by layers without bias": (
        lambda: centred(trainable=False)
    ),
    "a residual that becomes zero, behind layers that nobody knows the use of": (
        lambda: centred(facts={"head": ""})
    ),
    "missing values that the model fills in": lambda: Run(steps=30).say(inputs_nonfinite=3),
    "missing labels that the loss leaves out": lambda: Run().stuck().say(targets_nonfinite=3),
    "a gate, whose error comes back through a product": lambda: flattened("Multiply"),
    "a teacher that was trained before, in no update": lambda: kept(initial_rms=0.1),
    "the same in layers of their own, one of them without a bias": unnested,
    "a target network, in no update": copied,
    "tasks drawn at random, the others without a gradient": lambda: taking_turns("none_step_share"),
    "tasks drawn at random, the others times zero": lambda: taking_turns("zero_step_share"),
    "a loss scale that is never used up": lambda: collapsing(0),
    "an image that is optimised, whose loss hardly falls": optimised_image,
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_faulty_is_flagged_with_its_cause(name: str) -> None:
    make, rule, cause = FAULTY[name]

    flag = make().flags()[rule]

    assert flag.severity >= Severity.WARNING
    assert flag.causes[0].id == cause
    assert flag.fixes and flag.evidence


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_faulty_is_not(name: str) -> None:
    loud = [str(f) for f in LOOKALIKES[name]().flags().values() if f.severity >= Severity.WARNING]

    assert loud == []


def test_a_gradient_that_was_there_is_not_ended_by_how_the_model_was_built() -> None:
    assert ended().flags()["zero_gradient"].causes == ()


def test_a_spike_of_a_run_that_learns_is_worth_knowing() -> None:
    flag = spiked(100).flags()["gradient_spike"]

    assert (flag.severity, flag.first_step) == (Severity.INFO, 60)


def test_guessing_is_a_warning_when_it_lasts_and_not_while_the_rate_warms_up() -> None:
    def reported(**context: Any) -> Severity:
        return Run(steps=420).stuck().say(**context).flags()["not_learning"].severity

    assert reported() == Severity.WARNING
    assert reported(learning_rate=np.geomspace(1e-5, 1e-3, 420)) == Severity.INFO


def test_a_frozen_base_that_was_never_trained_is_why_its_head_learns_nothing() -> None:
    run = Run(table(facts={NEVER_TRAINED: "base,other"}), 160).stuck()

    flag = run.flags()["not_learning"]

    assert flag.causes[0].id == "untrained_base"
    assert "base and 1 more are frozen" in flag.causes[0].summary
    assert '`model.get_layer("base").trainable = True`' in flag.fixes[0]


def test_steps_that_never_moved_anything_are_reported_before_the_loss_is_judged() -> None:
    run = Run(steps=25).set(update_norm=1e-6).say(learning_rate=1e-7)

    flag = run.flags()["update_too_small"]

    assert (flag.severity, flag.first_step) == (Severity.WARNING, 0)
    assert flag.causes[0].id == "learning_rate_too_small"


def test_the_usual_rate_is_that_of_practice_and_not_every_default_of_keras() -> None:
    """Adadelta hardly moves at 1e-3; Adagrad is used at a tenth."""

    def reported(optimizer: str, rate: float, step: float) -> list[str]:
        run = Run(table(optimizer=optimizer), steps=120).stuck().set(update_norm=4 * step)
        flag = run.say(learning_rate=rate).flags()["not_learning"]
        return [c.id for c in flag.causes]

    assert reported("Adadelta", 1e-3, 1e-5) == ["learning_rate_too_small"]
    assert reported("Adadelta", 1.0, 1e-2) == []
    assert reported("Adagrad", 0.1, 1e-2) == []
    assert reported("Adagrad", 1.0, 1e-2) == ["learning_rate_too_large"]


def test_units_that_saw_one_input_only_are_not_called_dead() -> None:
    def reported(spread: float) -> dict[str, Flag]:
        run = unseen(Run(steps=120).stuck()).set([2], since=20, dead_unit_share=0.95)
        return run.say(predictions_spread=spread).flags()

    alike = reported(0.0)
    assert set(alike) == {"not_learning"}
    assert alike["not_learning"].causes[0].id == "constant_inputs"
    assert "dead_units" in reported(0.1)


def test_a_finite_loss_shows_that_its_derivative_is_not() -> None:
    flag = nan_at(30).flags()["nonfinite_gradient"]
    spread = not_finite(30).set(since=30, gradient_nan_count=3, nonfinite_age=0).flags()

    assert "derivative" in flag.causes[0].summary and "tf.sqrt(x + 1e-12)" in flag.fixes[0]
    assert "derivative" not in spread["nonfinite_gradient"].causes[0].summary


def test_a_schedule_that_ends_long_before_the_training_does() -> None:
    def reported(ends: int, loss: float) -> dict[str, Flag]:
        rate = np.where(np.arange(STEPS) < ends, 1e-3, 0)
        run = Run().say(learning_rate=rate).loss(np.where(np.arange(STEPS) < 5, 2.8, loss))
        return run.set(since=ends, update_norm=0).flags()

    flag = reported(12, 2.0)["update_too_small"]
    assert flag.severity == Severity.WARNING
    assert "from 0.001" in flag.causes[0].summary and "decay_steps" in flag.fixes[0]
    assert "update_too_small" not in reported(60, 2.0)  # the last steps of a cosine
    assert "update_too_small" not in reported(12, 0.5)  # it has learnt what there is


def test_a_signal_that_fades_through_many_relus_is_recognised_by_what_reaches_the_last_layer() -> (
    None
):
    def reported(share: float) -> dict[str, Flag]:
        run = Run(make_table(8)).stuck()
        variables = [
            dataclasses.replace(v, initial_rms=0.1) if v.role == "kernel" else v
            for v in run.table.variables
        ]
        run.table = dataclasses.replace(run.table, variables=tuple(variables))
        return run.set([14], gradient_norm=share).flags()

    assert reported(1e-3)["poor_initialization"].causes[0].id == "initialization_scale"
    assert "poor_initialization" not in reported(1.0)


def test_inputs_that_put_the_loss_far_above_guessing_are_reported_while_it_falls() -> None:
    def reported(times: float) -> list[str]:
        run = Run(steps=120).say(inputs_max_abs=1e6)
        return list(run.loss(np.geomspace(1e7, times, 120)).flags())

    assert "bad_data" in reported(1e3)
    assert "bad_data" not in reported(2.0)


def test_targets_far_from_zero_explain_a_loss_that_hardly_moves() -> None:
    run = Run(table(loss="mse"), steps=120).loss(2.5e7)
    flags = run.say(targets_mean=5000, targets_std=200, targets_max_abs=5300).flags()

    assert flags["not_learning"].severity == Severity.WARNING
    assert flags["not_learning"].causes[0].id == "unscaled_targets"


def test_one_hot_targets_of_single_samples_are_not_the_same() -> None:
    run = Run(table(facts={"head": "dense_3"})).loss(FALLING)
    run.say(targets_mean=0.1, targets_std=0.3, targets_spread=np.nan, targets_majority_share=1)

    assert "bad_data" not in run.flags()


def test_sparse_frames_are_judged_at_each_of_them() -> None:
    """Once the window is full, rules that wait for several frames do not wait for thousands
    of steps."""
    run = Run(steps=75).loss(np.where(np.arange(75) < 64, np.linspace(2.8, 2.6, 75), 2.77))
    for i, frame in enumerate(run.frames[64:]):
        step = 64 + 100 * (i + 1)
        run.frames[64 + i] = dataclasses.replace(frame, step=step)
    run.say(since=64, window_steps=100, applied_steps=100, learning_rate=1e-9)
    run.set(since=64, update_norm=1e-9)
    seen = {
        step: {flag.rule for flag in engine.flags}
        for engine, step, _ in replay([Recording.from_frames(run.table, run.frames)])
    }

    assert "update_too_small" in seen[64 + 300]


def test_a_recurrence_is_not_judged_while_the_run_may_be_on_a_plateau() -> None:
    def reported(steps: int) -> dict[str, Flag]:
        facts = {"time_steps": "100"}
        run = Run(table({"facts": facts, "layer_class": "SimpleRNN"}), steps=steps).stuck()
        variables = [dataclasses.replace(v, activation="tanh") for v in run.table.variables]
        variables[2] = dataclasses.replace(variables[2], role="recurrent_kernel")
        run.table = dataclasses.replace(run.table, variables=tuple(variables))
        return run.flags()

    assert "vanishing_gradient" not in reported(80)
    assert reported(140)["vanishing_gradient"].causes[0].id == "long_recurrence"


def test_a_step_that_threw_the_weights_is_reported_from_its_own_step_on() -> None:
    """Also where the loss is unsettled until no frame of it is left."""
    run = thrown(2e-4, 2.77)
    run.frames = make_frames(TABLE, range(200))
    run.set(KERNELS, weight_norm=40.0, update_norm=1e-3).say(learning_rate=1.0)
    run.frames[3] = with_value(run.frames[3], TABLE, "update_norm", 40.0, KERNELS)
    run.loss(np.where(np.arange(200) < 100, np.linspace(5, 1, 200), 60.0))

    flag = run.flags()["update_too_large"]

    assert flag.first_step == 3


def test_a_gradient_that_fades_from_the_start_is_reported_to_have_done_so() -> None:
    run = Run(table({"activation": "sigmoid"})).stuck()
    for layer in range(3):
        run.set([2 * layer, 2 * layer + 1], gradient_norm=0.5 * 0.05 ** (3 - layer))

    assert run.flags()["vanishing_gradient"].first_step == 0


def fading(shares: Any) -> Run:
    """What arrives at the first of five layers, and at those between, at each frame."""
    run = Run(dataclasses.replace(make_table(5), run=TABLE.run), steps=len(shares)).stuck()
    for i, share in enumerate(shares):
        for layer in range(4):
            rows = [2 * layer, 2 * layer + 1]
            norm = 0.5 * share ** ((4 - layer) / 4)
            run.frames[i] = with_value(run.frames[i], run.table, "gradient_norm", norm, rows)
    return run


@pytest.mark.parametrize("distance", [1, 10])
def test_one_frame_out_of_line_hides_no_gradient_that_fades(distance: int) -> None:
    """At step 40 the loss can be judged first; that the first layers wake up then is chance."""
    run = fading(np.where(np.arange(61) == 40, 0.5, 1e-4))
    run.frames = [frame for frame in run.frames if frame.step % distance == 0]
    run.say(window_steps=distance)

    assert run.flags()["vanishing_gradient"].first_step == 0


def exploded(**context: float) -> Run:
    """Norm and loss grow from step 40 on, and at step 50 all is NaN."""
    run = grown(1e3, 1e2)
    run.frames = turn_nonfinite(run.frames, TABLE, 50)
    run.loss(np.nan, since=50)
    return run.say(since=50, global_norm=np.nan, loss_nonfinite_age=0, **context)


def test_a_weight_that_stays_nan_keeps_its_finding_open_when_gradients_are_finite_again() -> None:
    run = nan_at(30)
    run.set([0], since=30, weight_nonfinite_count=64)
    run.set(since=40, nonfinite_age=-1, gradient_nan_count=0)
    [flag] = run.flags().values()

    assert flag.rule == "nonfinite_gradient"
    assert flag.open
    assert flag.last_step == run.steps - 1


def test_a_nan_that_an_explosion_ends_in_is_reported_with_it() -> None:
    [flag] = exploded().flags().values()

    assert (flag.rule, flag.first_step, flag.open) == ("exploding_gradient", 40, True)
    [nan] = [reported for reported in flag.follow_ups if reported.startswith("nonfinite_gradient")]
    assert "dense/kernel was Inf at step 49" in nan  # the first variable, and its step


def test_a_nan_that_the_batch_brought_along_is_a_fault_by_itself() -> None:
    run = exploded()
    run.say(since=49, inputs_nonfinite=3)

    flags = run.flags()

    assert set(flags) >= {"exploding_gradient", "nonfinite_gradient"}
    assert flags["nonfinite_gradient"].causes[0].id == "nonfinite_inputs"


@pytest.mark.parametrize(("dead_since", "separate"), [(44, False), (0, True)])
def test_units_that_an_explosion_killed_are_reported_with_it(
    dead_since: int, separate: bool
) -> None:
    run = grown(1e3, 1e2).say(unit_window=20)
    run.set(KERNELS[1:2], dead_unit_share=0).set([2], since=dead_since, dead_unit_share=0.95)
    if dead_since:
        run.set([2], since=dead_since, dead_unit_share=0)
        run.set([2], since=dead_since + 20, dead_unit_share=0.95)

    flags = run.flags()

    assert ("dead_units" in flags) is separate
    assert "exploding_gradient" in flags


def test_single_samples_explain_no_layer_that_was_dead_before_the_first_update() -> None:
    run = of_layers(["relu", "relu", "relu", "linear"], [0]).stuck()
    flags = run.say(inputs_outlier=300, inputs_max_abs=1000, inputs_mean=0.0, inputs_std=56).flags()

    assert flags["bad_data"].causes[0].id == "input_outliers"
    assert flags["dead_units"].causes[0].id == "dying_relu"


def causes_of(run: Run, rule: str) -> list[str]:
    """What a rule gives as its causes, if it speaks at all."""
    flag = run.flags().get(rule)
    return [] if flag is None else [cause.id for cause in flag.causes]


def test_bright_pixels_are_no_outliers_and_a_value_alone_in_its_batch_is_one() -> None:
    def reported(largest: float, size: float, **run: Any) -> list[str]:
        stuck = Run(table(**run)).stuck().say(inputs_outlier=300, inputs_max_abs=largest)
        return causes_of(stuck.say(inputs_mean=0.0, inputs_std=size), "bad_data")

    assert reported(1000, 56) == ["input_outliers"]  # one of 320 standardised values
    assert reported(1, 0.3) == []
    assert reported(255, 85) == ["unscaled_inputs"]
    assert reported(1, 0.3, facts={"input_scaling": "Rescaling"}) == []
    assert reported(1, 0.3, facts={"input_scaling": "Normalization"}) == ["input_outliers"]


def test_a_spike_is_not_blamed_on_pixels() -> None:
    def reported(largest: float) -> list[str]:
        run = spiked(100).say(inputs_outlier=300, inputs_max_abs=largest)
        return causes_of(run.say(inputs_mean=0.0, inputs_std=0.3), "gradient_spike")

    assert reported(1e3) == ["input_outliers"]
    assert reported(1.0) == []


def with_inputs(count: int, **run: Any) -> VariableTable:
    """The table with so many inputs."""
    first = dataclasses.replace(TABLE.variables[0], shape=(count, 16))
    return dataclasses.replace(table(**run), variables=(first, *TABLE.variables[1:]))


def test_uneven_columns_are_lost_among_others_and_rare_pixels_do_not_matter() -> None:
    def reported(count: int) -> list[str]:
        run = Run(with_inputs(count)).stuck().say(inputs_scale_ratio=1e5, inputs_max_abs=3)
        return causes_of(run, "bad_data")

    assert reported(16) == ["unscaled_inputs"]
    assert reported(784) == []


def test_steps_are_too_large_for_large_inputs_not_for_uneven_ones() -> None:
    def reported(**inputs: float) -> list[str]:
        return causes_of(thrown(0.5, RISING).say(**inputs), "update_too_large")

    assert "unscaled_inputs" in reported(inputs_max_abs=1e3, inputs_scale_ratio=1)
    assert "unscaled_inputs" not in reported(inputs_max_abs=3, inputs_scale_ratio=1e5)


def test_a_small_first_kernel_before_inputs_in_the_thousands_makes_no_small_signal() -> None:
    def reported(size: float) -> dict[str, Flag]:
        run = Run(make_table(3)).stuck().say(inputs_max_abs=3 * size, inputs_std=size)
        variables = [
            dataclasses.replace(v, initial_rms=0.01) if not i % 2 else v
            for i, v in enumerate(run.table.variables)
        ]
        run.table = dataclasses.replace(run.table, variables=tuple(variables))
        return run.flags()

    assert reported(1.0)["poor_initialization"].causes[0].id == "initialization_scale"
    large = reported(3000.0)
    assert "poor_initialization" not in large
    assert large["bad_data"].causes[0].id == "unscaled_inputs"


def test_a_gradient_that_ends_behind_a_tanh_of_large_inputs_is_blamed_on_them() -> None:
    def reported(largest: float) -> list[str]:
        run = Run(table({"activation": "tanh"})).stuck().say(inputs_max_abs=largest)
        run.set(slice(0, 4), gradient_norm=0, zero_step_share=1)
        return causes_of(run, "zero_gradient")

    assert reported(1e4)[0] == "unscaled_inputs"
    assert reported(1.0)[0] == "saturating_activation"


def one_unit(**context: float) -> Run:
    facts = {"head": "dense_3", "head_activation": "softmax", "head_units": "1"}
    run = Run(table(loss="mse", facts=facts)).stuck()
    return run.say(predictions_spread=0, predictions_min=1, predictions_max=1, **context)


def test_an_output_that_never_changes_explains_what_the_inputs_are_suspected_of() -> None:
    flags = one_unit(inputs_max_abs=1e4, targets_min=0, targets_max=1).flags()

    assert "bad_data" not in flags
    assert any("bad_data" in reported for reported in flags["model_mismatch"].follow_ups)
    assert "sigmoid" in flags["model_mismatch"].fixes[0]


@pytest.mark.parametrize(("spread", "severity"), [(1e-2, "critical"), (1e-4, "warning")])
def test_how_much_alike_constant_predictions_are_can_be_set(spread: float, severity: str) -> None:
    run = one_unit().say(predictions_spread=1e-3)
    recordings = [Recording.from_frames(run.table, run.frames)]
    (flag,) = judge(recordings, {"model_mismatch": {"spread": spread}}).flags

    assert (flag.rule, flag.severity.label) == ("model_mismatch", severity)


def test_softmax_on_one_unit_for_numbers_is_to_be_no_sigmoid() -> None:
    flags = one_unit(targets_min=-3, targets_max=3e4, targets_mean=1e4, targets_std=1e3).flags()

    assert set(flags) == {"model_mismatch"}
    assert "Dense(1" in flags["model_mismatch"].fixes[0]
    assert "sigmoid" not in flags["model_mismatch"].fixes[0]


@pytest.mark.parametrize(("smallest", "largest", "reported"), [(0, 9, False), (0, 9 / 255, True)])
def test_labels_of_a_sparse_loss_are_whole_numbers(
    smallest: float, largest: float, reported: bool
) -> None:
    run = Run(table(loss="sparse_categorical_crossentropy")).loss(FALLING)
    run.say(targets_min=smallest, targets_max=largest)

    assert (causes_of(run, "bad_data") == ["loss_output_mismatch"]) is reported


def test_targets_of_a_softmax_add_up_to_one() -> None:
    def reported(mean: float, loss: str = "mse") -> list[str]:
        facts = {"head": "dense_3", "head_activation": "softmax", "head_units": "16"}
        run = Run(table(loss=loss, facts=facts)).loss(FALLING)
        return causes_of(run.say(targets_mean=mean, targets_min=0, targets_max=1), "bad_data")

    assert reported(1 / 16) == []
    assert reported(2 / 16) == ["loss_output_mismatch"]
    assert reported(2 / 16, "categorical_crossentropy") == []  # ranks them all the same


def test_targets_that_no_prediction_has_come_near_are_reported() -> None:
    def reported(reached: float, steps: int = 450) -> list[str]:
        run = Run(table(loss="mae"), steps=steps).loss(1e6)
        run.say(targets_mean=1e6, targets_std=5e5, targets_max_abs=2e6)
        return causes_of(run.say(predictions_min=-1, predictions_max=reached), "not_learning")

    assert reported(300.0) == ["unscaled_targets"]
    assert reported(9e5) == []
    assert reported(300.0, steps=120) == []  # they may be on their way


def test_a_layer_that_reaches_for_far_targets_is_saturated_by_them() -> None:
    run = flattened("Dense")
    run.table = dataclasses.replace(run.table, run=dataclasses.replace(run.table.run, loss="mae"))
    run.loss(1e7).say(targets_mean=1e7, targets_std=5e5, targets_max_abs=1.2e7)

    assert causes_of(run, "saturated_units")[0] == "unscaled_targets"


def test_weights_behind_a_tanh_that_are_too_small_cannot_saturate_the_next_one() -> None:
    assert "saturated_units" in flattened("Dense").flags()
    assert "saturated_units" not in flattened("Dense").set(weight_norm=0.2).flags()


def test_a_plateau_of_a_thousand_steps_that_move_nothing_is_reported() -> None:
    def reported(steps: int, epoch: int = 10) -> Flag:
        run = Run(table(steps_per_epoch=epoch), steps=steps).stuck()
        return run.set(update_norm=4e-5).flags()["not_learning"]

    assert reported(900).severity == Severity.INFO
    assert (
        reported(1100, epoch=100).severity == Severity.INFO
    )  # of large data sets an epoch is long
    flag = reported(1100)
    assert flag.severity == Severity.WARNING
    assert flag.causes[0].id == "learning_rate_too_small"


def test_a_tanh_of_tiny_weights_is_not_what_makes_the_gradient_vanish() -> None:
    def reported(activation: str, rms: float) -> str:
        run = Run(make_table(8)).stuck()
        variables = [
            dataclasses.replace(v, activation=activation, initial_rms=rms)
            if v.role == "kernel"
            else v
            for v in run.table.variables
        ]
        run.table = dataclasses.replace(run.table, variables=tuple(variables))
        for row in range(16):
            run.set([row], gradient_norm=5.0 ** (row // 2 - 7), weight_norm=16 * rms)
        return run.flags()["vanishing_gradient"].causes[0].id

    assert reported("tanh", 0.05) == "initialization_scale"
    assert reported("tanh", 0.1) == "saturating_activation"
    assert reported("tanh", 0.25) == "saturating_activation"
    assert reported("sigmoid", 0.05) == "saturating_activation"


def test_a_penalty_is_not_to_blame_behind_layers_that_start_at_zero() -> None:
    run = penalised(0.05)
    variables = [
        dataclasses.replace(v, initializer="Zeros", initial_rms=0.0) if i < 6 else v
        for i, v in enumerate(run.table.variables)
    ]
    run.table = dataclasses.replace(run.table, variables=tuple(variables))
    flags = run.set(slice(0, 6), gradient_norm=0, zero_step_share=1).flags()

    assert flags["zero_gradient"].causes[0].id == "zero_initialization"
    assert "regularizer_dominates" not in flags


def test_small_steps_that_raise_the_loss_go_the_wrong_way() -> None:
    def reported(run: Run) -> Flag:
        return (
            run.set(KERNELS, update_norm=4e-3).say(learning_rate=1e-3).flags()["exploding_gradient"]
        )

    flag = reported(grown(1e3, 50.0).loss(np.geomspace(2.3, 1e3, STEPS)))
    assert flag.causes[0].id == "wrong_sign"
    assert "sign" in flag.fixes[0]
    assert reported(grown(1e3, 50.0)).causes[0].id == "learning_rate_too_large"  # all at once


def test_a_negative_learning_rate_is_not_to_be_lowered() -> None:
    flag = thrown(0.5, RISING).say(learning_rate=-1e3).flags()["update_too_large"]

    assert flag.causes[0].id == "wrong_sign"
    assert "learning_rate=0.001" in flag.fixes[0]


def test_a_gradient_that_comes_and_goes_is_waited_for() -> None:
    def reported(goes: list[int], ends: int, steps: int) -> bool:
        run = Run(steps=steps).stuck()
        for step in [*goes, *range(ends, steps)]:
            run.frames[step] = with_value(run.frames[step], TABLE, "gradient_norm", 0, [0])
            run.frames[step] = with_value(run.frames[step], TABLE, "zero_step_share", 1, [0])
        return "zero_gradient" in run.flags()

    assert reported([], 50, 80)
    assert not reported([20, 27, 28, 35], 50, 80)  # single samples, half of which are all zeros
    assert reported([20, 27, 28, 35], 50, 200)


def test_an_adaptive_optimizer_is_not_advised_in_place_of_itself() -> None:
    run = Run(table(optimizer="Adam", optimizer_config={"epsilon": "1e-07"})).stuck()
    run.set(gradient_norm=1e-10, update_norm=1e-7)

    flag = run.flags()["update_too_small"]

    assert flag.causes[0].id == "tiny_loss"
    assert "instead of" not in flag.fixes[0]
    assert "`keras.optimizers.Adam(epsilon=6e-14)`" in flag.fixes[0]


def test_clipping_is_advised_with_the_lower_rate_and_after_it() -> None:
    run = grown(200, 20)
    run.table = table(optimizer="Adam", optimizer_config={"learning_rate": "3.0"})
    run.say(learning_rate=3.0)

    lower, clip = run.flags()["exploding_gradient"].fixes

    assert "`keras.optimizers.Adam(learning_rate=0.001)`" in lower
    assert "`keras.optimizers.Adam(learning_rate=0.001, global_clipnorm=1.0)`" in clip
