#!/usr/bin/env bash
# The gradient of cumprod is silently wrong behind a factor of exactly 0.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: For [2, 0, 3] and a sum over the results the gradient is [1, 8, 0]: 1 + 0 + 0 by the
#   first factor, 2 + 2 x 3 by the second, 2 x 0 by the third.
# Seen: [1, 0, 0]: the gradient divides by the factors and drops what is not finite.
# Matters: Transmittance in volume rendering and products of gates never recover from a factor of
#   0.
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


def gradient(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.math.cumprod(x))
        return tape.gradient(y, x)

    return run(tf.constant([2.0, 0.0, 3.0])).numpy().tolist()


x, small = np.array([2.0, 0.0, 3.0]), 1e-6
numeric = [
    float((np.cumprod(x + small * row).sum() - np.cumprod(x - small * row).sum()) / (2 * small))
    for row in np.eye(3)
]
print("by differences:", numeric, "graph:", gradient(False), "XLA:", gradient(True))
np.testing.assert_allclose(numeric, [1, 8, 0], atol=1e-4)
assert gradient(False) == [1, 0, 0] and gradient(True) == [1, 0, 0]
PYTHON
