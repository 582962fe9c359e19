"""The data of a custom train step are observed."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

import tb_gradients as tbg  # noqa: E402
from tb_gradients.flags import Severity  # noqa: E402
from tb_gradients.reading.event_files import EventFileSource  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Keras' own, on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((128, 6)).astype("float32")
Y = X[:, :2] * 0.5


class OwnStep(keras.Model):
    """Computes its loss by itself, of a dictionary or of a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.head(x)

    def train_step(self, data: Any) -> Any:
        x, y = (data["x"], data["y"]) if isinstance(data, dict) else data
        with tf.GradientTape() as tape:
            # Whatever the unit of the inputs, it suits the model.
            loss = tf.reduce_mean(tf.square(self(x / 255) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def train(folder: pathlib.Path, data: Any, **options: Any) -> tbg.GradientHealth:
    keras.utils.set_random_seed(0)
    model = OwnStep()
    model(X[:1])
    model.compile(keras.optimizers.Adam(1e-2), **options)
    callback = tbg.GradientHealth(folder, every=1, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices(data).batch(16)
    for _ in range(2):  # a second fit traces anew, and stacks nothing
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
    return callback


def with_nan(values: Any) -> Any:
    values = values.copy()
    values[70, 0] = np.nan  # in the fifth batch
    return values


@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {}, {"steps_per_execution": 2}], ids=["eager", "graph", "2"]
)
def test_nan_in_a_dictionary_is_the_first_cause(
    tmp_path: pathlib.Path, options: dict[str, Any]
) -> None:
    callback = train(tmp_path, {"x": with_nan(X), "y": Y}, **options)

    flag = callback.report[0]
    assert (flag.rule, flag.first_step) == ("nonfinite_gradient", 4)
    assert flag.causes[0].id == "nonfinite_inputs"


def test_nan_in_the_second_of_a_pair_is_one_of_the_targets(tmp_path: pathlib.Path) -> None:
    assert train(tmp_path, (X, with_nan(Y))).report[0].causes[0].id == "nonfinite_targets"


def test_what_the_step_makes_of_its_inputs_is_not_judged(tmp_path: pathlib.Path) -> None:
    callback = train(tmp_path, {"x": 255 * X, "y": Y})

    (recording,) = EventFileSource(str(tmp_path)).read(".").recordings
    assert (recording.context_value("inputs_nonfinite") == 0).all()
    assert np.isnan(recording.context_value("inputs_max_abs")).all()
    assert all(flag.severity == Severity.INFO for flag in callback.report)


def test_what_a_user_of_fit_can_do_is_said(tmp_path: pathlib.Path) -> None:
    train(tmp_path, {"x": X, "y": Y})

    (run,) = tbg.load(tmp_path).runs
    reasons = " ".join(state.reason for state in run.rules)
    assert "self.compute_loss(x, y, y_pred)" in reasons
    assert "monitor.step" not in reasons
