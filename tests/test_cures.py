"""What the measurement of cures makes of an advice: what the sentence says, and nothing else."""

from __future__ import annotations

import pathlib

import pytest

keras = pytest.importorskip("keras")

from zoo import cures, recipes  # noqa: E402
from zoo.recipes import Recipe  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LAYERS = [f"dense_{i}" for i in range(4)]


def test_arguments_go_to_the_layers_that_the_sentence_names() -> None:
    changes = cures.read('In m/dense_1 to m/dense_2 use `activation="relu"`.', LAYERS)

    assert changes.layers == {"dense_1": {"activation": "relu"}, "dense_2": {"activation": "relu"}}
    assert not changes.optimizer and not changes.data


def test_they_may_be_a_list() -> None:
    changes = cures.read("In dense_0, m/dense_1 and dense_3 use a penalty: `units=3`.", LAYERS)

    assert list(changes.layers) == ["dense_0", "dense_1", "dense_3"]


def test_of_several_ways_the_first_is_taken() -> None:
    changes = cures.read(
        "Lower the rate: `keras.optimizers.SGD(learning_rate=0.01)`. Or clip the gradients, too: "
        "`keras.optimizers.SGD(learning_rate=0.01, global_clipnorm=1.0)`.",
        LAYERS,
    )

    assert changes.optimizer == "keras.optimizers.SGD(learning_rate=0.01)"


def test_statements_about_the_data_are_run_on_the_data() -> None:
    assert cures.read("Use `x = np.nan_to_num(x)`.", LAYERS).data == "x = np.nan_to_num(x)"


def test_a_sentence_without_code_changes_nothing() -> None:
    assert not cures.read("Remove `stop_gradient`, or look at `argmax`.", LAYERS)


def test_later_advice_is_followed_on_top_of_the_first() -> None:
    advice = (
        "Lower it: `keras.optimizers.SGD(learning_rate=0.1)`.",
        "Scale them: `x = x / 255`.",
        'In dense_1 use `activation="relu"`.',
        "Lower it: `keras.optimizers.SGD(learning_rate=0.01)`.",
        "Scale them: `y = y / 1000`.",
        "In dense_1 use `units=3`.",
    )
    whole = cures.Changes()
    for fix in advice:
        whole = whole.then(cures.read(fix, LAYERS))

    assert whole.optimizer == "keras.optimizers.SGD(learning_rate=0.01)"
    assert whole.data.splitlines() == ["x = x / 255", "y = y / 1000"]
    assert whole.layers == {"dense_1": {"activation": "relu", "units": 3}}


@pytest.mark.long
def test_a_training_with_the_advice_followed_learns(tmp_path: pathlib.Path) -> None:
    faulty = Recipe("digits", rate=30.0, steps=120)
    changes = cures.read("Lower it: `keras.optimizers.Adam(learning_rate=0.003)`.", LAYERS)

    assert recipes.train(faulty, 0, tmp_path / "faulty").skill < 0.3
    assert cures.train(faulty, changes, 0, str(tmp_path / "cured")).skill > 0.6
    assert recipes.make_optimizer(faulty).learning_rate == 30.0  # nothing stays changed
