#!/usr/bin/env bash
# The slope of selu at exactly 0 is 1.0507 in a graph and 1.7581 under XLA.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: One of the two one-sided slopes, the same in each mode.
# Seen: The right one (the scale) in eager and graph mode, the left one (scale x alpha) under XLA.
# Matters: Padded inputs and zero biases start at exactly 0, so the first gradients of a self-
#   normalizing network differ by 67 % between modes.
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


def slope(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = keras.activations.selu(x)
        return tape.gradient(y, x)

    return float(run(tf.zeros(1))[0])


print("graph:", slope(False), "XLA:", slope(True))
assert abs(slope(False) - 1.0507) < 1e-3
assert abs(slope(True) - 1.7581) < 1e-3
PYTHON
