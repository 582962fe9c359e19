#!/usr/bin/env bash
# Normalization that was adapted to a constant column multiplies any deviation by ten million.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: A column without variance is passed through, as other libraries do (scale 1), or left
#   at 0.
# Seen: The standard deviation 0 is replaced by 1e-7, so a value of 1.001 behind an adapted
#   constant of 1 becomes 10,000.
# Matters: A feature that was constant in the training split dominates the network as soon as it
#   moves.
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

layer = keras.layers.Normalization()
layer.adapt(np.ones((100, 1), "float32"))
value = float(np.ravel(layer(np.array([[1.001]], "float32")))[0])
print("1.001 becomes", value)
assert 9_000 < value < 11_000, value
PYTHON
