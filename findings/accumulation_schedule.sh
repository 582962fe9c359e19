#!/usr/bin/env bash
# With gradient_accumulation_steps=4 a learning rate schedule runs four times as fast as
# `optimizer.iterations`.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: After four calls of `apply` the optimizer has made one update, `iterations` is 1, and
#   the rate of that update is that of step 0.
# Seen: `iterations` is 1, but the schedule was asked with the number of calls: the first update
#   uses the rate of step 3.
# Matters: A warm-up or a decay that was planned in updates ends after a quarter of the training.
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

schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)
optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=4)
weight = keras.Variable(np.zeros(1, "float32"))
optimizer.build([weight])
for _ in range(4):
    optimizer.apply([tf.ones(1)], [weight])
used = -float(weight.numpy()[0])
print("updates:", int(optimizer.iterations), "rate of the first update:", used)
assert int(optimizer.iterations) == 1
assert abs(used - 0.1 * 0.5**3) < 1e-6, used
PYTHON
