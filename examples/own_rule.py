"""Add a rule of your own, which is shown like the built-in ones.

    python examples/own_rule.py [LOGDIR]

The model starts with large weights, and the rule says so. The tab shows the rule's title, and this
docstring as its description. `tb-gradients check LOGDIR --rules examples/own_rule.py` would train
again: keep a rule that several programs use in a file of its own.
"""

import sys

import keras
import numpy as np

import tb_gradients as tbg
from tb_gradients.judging import Basis, Detection, Evidence, Finding, Rule, Severity, Threshold

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/own_rule"


class LargeWeights(Rule):
    """The weights of a kernel are large.

    Why it matters: this project puts its models into 8 bits, with a range of -1 to 1.

    Definition: the root mean square of a kernel was above 1 at each of the last 10 frames.

    Try:
    * Start smaller, or add a penalty: `kernel_regularizer=keras.regularizers.L2(1e-4)`.

    Silent when: the variable is no kernel.
    """

    id = "large_weights"
    title = "Weights are too large for 8 bits"
    severity = Severity.WARNING
    needs = ("weight_rms",)

    limit = Threshold(1.0, "a weight of 3 standard deviations is cut off at 1/3")
    frames = Threshold(10, "the first steps change much")
    basis = Basis(frames=frames)

    def detect(self, window):
        size = window.statistic("weight_rms")  # [frames, variables]
        if len(size) < self.frames:
            return None
        large, known = size > self.limit, ~np.isnan(size)
        affected = window.rows.judged & window.rows.kernel & large[-self.frames :].all(axis=0)
        return Detection.of(affected, window.onset(large, known, per_step=True), self.severity)

    def explain(self, window, rows, since):
        worst = float(window.statistic("weight_rms")[-1][rows].max())
        return Finding(
            f"The root mean square of a kernel is {worst:.2g} since step {since}.",
            (Evidence("weight_rms", worst, self.limit),),
        )


keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = x[:, :1] - x[:, 1:2]
start = keras.initializers.RandomNormal(stddev=1.5)
model = keras.Sequential(
    [keras.Input((8,)), keras.layers.Dense(8, kernel_initializer=start), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.Adam(0.01), "mse")
health = tbg.GradientHealth(LOGDIR, rules=[LargeWeights])
model.fit(x, y, epochs=4, verbose=0, callbacks=[health])
