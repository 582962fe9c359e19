#!/usr/bin/env bash
# The first step of Ftrl with default arguments replaces the weights instead of changing them.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: At rate 0.001 the first step changes the weights by about a thousandth.
# Seen: The weights lose more than 99 % of their norm: Ftrl solves for the weights from its own
#   sums, which do not contain the initial values.
# Matters: A network keeps nothing of its initialization. The loss then stands still.
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

random = np.random.default_rng(0)
start = random.normal(size=(64, 32)).astype("float32")
optimizer = keras.optimizers.Ftrl()
weight = keras.Variable(start)
optimizer.build([weight])
optimizer.apply([tf.constant(random.normal(size=(64, 32)).astype("float32") * 0.01)], [weight])
kept = float(np.linalg.norm(weight.numpy()) / np.linalg.norm(start))
print("share of the norm after one step:", kept)
assert kept < 0.1, kept
PYTHON
