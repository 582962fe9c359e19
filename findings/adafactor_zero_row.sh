#!/usr/bin/env bash
# Adafactor with default arguments makes a weight NaN where a row and a column of the gradient are
# zero.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: A zero gradient leaves the weight as it is.
# Seen: Pixels that are always black give zero rows. If an output unit has a zero gradient too,
#   the factored second moment is 1e-30 x 1e-30 / 1e-30 with a square below float32's range, and 0
#   x inf is NaN. With `epsilon_1=1e-15` the weight stays finite.
# Matters: All gradients are finite and the weights are NaN after the first step: no gradient
#   check finds it.
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

gradient = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
gradient[0, :] = 0
gradient[:, 0] = 0


def share_nan(**settings):
    optimizer = keras.optimizers.Adafactor(**settings)
    weight = keras.Variable(np.ones((8, 8), "float32"))
    optimizer.build([weight])
    optimizer.apply([tf.constant(gradient)], [weight])
    return float(np.isnan(weight.numpy()).mean())


default, larger = share_nan(), share_nan(epsilon_1=1e-15)
print("share of NaN weights after one step: default", default, "epsilon_1=1e-15", larger)
assert default > 0, default
assert larger == 0, larger
PYTHON
