#!/usr/bin/env bash
# The mean of 70,000 ones in float16 is NaN in eager and graph mode and 1 under XLA.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The mean of ones is 1: it is far inside of the range of float16.
# Seen: NaN, because the sum and the count, 70,000, are both infinite in float16. Under XLA the
#   mean is 1.
# Matters: A loss that a custom loop averages in float16 over the pixels of a mask of 265 x 265 is
#   NaN from the first step.
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

ones = tf.ones(70_000, tf.float16)
eager = float(tf.reduce_mean(ones))
graph = float(tf.function(tf.reduce_mean)(ones))
xla = float(tf.function(tf.reduce_mean, jit_compile=True)(ones))
print("eager:", eager, "graph:", graph, "XLA:", xla)
assert np.isnan(eager) and np.isnan(graph) and xla == 1
assert abs(float(tf.reduce_mean(tf.ones(65_000, tf.float16))) - 1) < 1e-2
PYTHON
