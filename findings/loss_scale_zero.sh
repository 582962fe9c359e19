#!/usr/bin/env bash
# LossScaleOptimizer halves its scale down to exactly 0, and the next good step makes the weights
# NaN.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The scale has a floor, or an error says that no scale works.
# Seen: After 142 steps in a row that are not finite the scale is 0. The next step computes 0 / 0,
#   and the weights are NaN.
# Matters: A run that meets a long stretch of bad batches is destroyed by the first good one.
#
# Exit status 0: as described. Anything else: the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --no-compile --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 "$work/env/bin/python" - <<'PYTHON'
import numpy as np
import tensorflow as tf
import keras

optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
weight = keras.Variable(np.ones(2, "float32"))
optimizer.build([weight])


@tf.function
def step(gradient):
    optimizer.apply([gradient], [weight])


bad = tf.constant([np.nan, 1.0], tf.float32)
steps = 0
while float(optimizer.dynamic_scale) > 0 and steps < 400:
    step(bad)
    steps += 1
assert np.array_equal(weight.numpy(), [1, 1])
step(tf.ones(2) * optimizer.dynamic_scale)
print("scale 0 after", steps, "bad steps; the next good step gives", weight.numpy())
assert 100 < steps < 400, steps
assert not np.isfinite(weight.numpy()).any()
PYTHON
