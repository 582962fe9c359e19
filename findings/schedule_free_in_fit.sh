#!/usr/bin/env bash
# ScheduleFreeAdamW throws the initial weights away when `fit` builds it.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The first step changes each weight by about the learning rate, 0.0025.
# Seen: The kernel keeps 2 % of its norm after one step. The optimizer copies the weights while
#   the step is traced, where the copy stays zero, and interpolates towards that copy. After
#   `optimizer.build(model.trainable_variables)` before `fit`, the first step is small.
# Matters: A deep network loses its initialization and does not learn; the loss curve gives no
#   hint.
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


def kept(build_first):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32), keras.layers.Dense(1)])
    optimizer = keras.optimizers.ScheduleFreeAdamW()
    model.compile(optimizer=optimizer, loss="mse")
    if build_first:
        optimizer.build(model.trainable_variables)
    before = np.linalg.norm(model.layers[0].kernel.numpy())
    x = np.random.default_rng(0).normal(size=(32, 16)).astype("float32")
    model.fit(x, x[:, :1], batch_size=32, epochs=1, verbose=0)
    return float(np.linalg.norm(model.layers[0].kernel.numpy()) / before)


in_fit, built = kept(False), kept(True)
print("share of the kernel's norm after one step: built by fit", in_fit, "built before", built)
assert in_fit < 0.1, in_fit
assert built > 0.9, built
PYTHON
