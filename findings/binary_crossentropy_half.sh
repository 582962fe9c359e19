#!/usr/bin/env bash
# Keras' binary cross-entropy of a saturated float16 prediction is NaN.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The loss clips predictions to [1e-7, 1 - 1e-7] and stays finite.
# Seen: `1 - 1e-7` is 1 in float16, so log(1 - 1) is -inf and 0 x -inf is NaN. In float32 the loss
#   is finite.
# Matters: A model in pure float16 is NaN as soon as it is sure of a sample.
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


def loss(dtype):
    target, prediction = tf.constant([[1.0]], dtype), tf.constant([[1.0]], dtype)
    return float(keras.ops.binary_crossentropy(target, prediction)[0][0])


print("float16:", loss(tf.float16), "float32:", loss(tf.float32))
assert np.isnan(loss(tf.float16))
assert np.isfinite(loss(tf.float32))
PYTHON
