#!/usr/bin/env bash
# Adam never moves a bfloat16 variable, at any learning rate.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: With a gradient of 1 and a rate of 0.5 the first step is 0.5.
# Seen: The weight stays exactly where it was for 100 steps. `1 - 0.999**t` is computed in the
#   variable's dtype, and 0.999 is 1 in bfloat16, so the step is multiplied by sqrt(0). With
#   `beta_2=0.9` it moves, and so does SGD.
# Matters: A model with `dtype=bfloat16` does not learn; a higher rate does not help.
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


def moved(optimizer):
    weight = keras.Variable(np.zeros(4), dtype="bfloat16")
    optimizer.build([weight])
    for _ in range(100):
        optimizer.apply([tf.ones(4, tf.bfloat16)], [weight])
    return float(np.abs(np.asarray(weight.numpy(), "float32")).max())


default = moved(keras.optimizers.Adam(0.5))
other = moved(keras.optimizers.Adam(0.5, beta_2=0.9))
plain = moved(keras.optimizers.SGD(0.5))
print("moved in 100 steps: Adam", default, "Adam(beta_2=0.9)", other, "SGD", plain)
assert default == 0
assert other > 1 and plain > 1
PYTHON
