#!/usr/bin/env bash
# In a graph a convolution followed by relu turns a NaN into 0; eager mode and XLA do not.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: relu(NaN) is NaN, as `tf.nn.relu` gives in each mode by itself.
# Seen: The graph optimizer fuses Conv2D, BiasAdd and Relu into one kernel of oneDNN (the default
#   on Linux), and that kernel returns 0 for a NaN. The kernel's gradient is NaN all the same.
# Matters: A NaN pixel does not show in the loss, only in the weights one step later.
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

kernel, bias = tf.ones((1, 1, 1, 1)), tf.zeros(1)
image = tf.fill((1, 2, 2, 1), np.float32(np.nan))


def forward(x):
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))


eager = forward(image).numpy()
graph = tf.function(forward)(image).numpy()
xla = tf.function(forward, jit_compile=True)(image).numpy()
print("eager:", eager.ravel(), "graph:", graph.ravel(), "XLA:", xla.ravel())
assert np.isnan(eager).all() and np.isnan(xla).all()
assert (graph == 0).all()
PYTHON
