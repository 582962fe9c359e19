#!/usr/bin/env bash
# Cross-entropy of logits that are masked with -inf is NaN in a graph and finite under XLA.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: 0 x -inf is NaN, or the masked class counts as 0: in each mode the same.
# Seen: `tf.nn.softmax_cross_entropy_with_logits` with a logit of -inf whose label is 0: NaN in
#   eager and graph mode, the finite loss under XLA.
# Matters: A NaN loss that goes away with `jit_compile=True` looks like a random fault. Mask with
#   a large negative number instead.
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

logits, labels = tf.constant([[0.0, 1.0, -np.inf]]), tf.constant([[0.0, 1.0, 0.0]])


def loss(jit_compile):
    run = tf.function(tf.nn.softmax_cross_entropy_with_logits, jit_compile=jit_compile)
    return float(run(labels, logits)[0])


print("graph:", loss(False), "XLA:", loss(True))
assert np.isnan(loss(False))
np.testing.assert_allclose(loss(True), np.log(1 + np.exp(-1.0)), rtol=1e-5)
PYTHON
