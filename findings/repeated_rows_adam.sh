#!/usr/bin/env bash
# Adam takes a larger step on an embedding row that occurs several times than on the equal dense
# gradient.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: A sparse gradient and the dense tensor it stands for give the same step.
# Seen: For a row that occurs three times, the third step of Adam has gone 1.73 times as far, and
#   RMSprop and Adagrad as well: their second moment adds the squares of the parts instead of
#   squaring the sum. SGD agrees.
# Matters: Frequent tokens train at a rate that grows with the square root of how often they occur
#   in a batch.
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

sparse = tf.IndexedSlices(tf.ones((4, 2)), tf.constant([0, 0, 0, 1]), tf.constant([3, 2]))
ratios = {}
for kind in (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.RMSprop):
    moved = []
    for gradient in (sparse, tf.convert_to_tensor(sparse)):
        optimizer = kind(0.1)
        table = keras.Variable(np.zeros((3, 2), "float32"))
        optimizer.build([table])
        for _ in range(3):
            optimizer.apply([gradient], [table])
        moved.append(table.numpy()[:, 0])
    ratios[kind.__name__] = float(moved[0][0] / moved[1][0])
    print(kind.__name__, "row that occurs three times: sparse / dense =", ratios[kind.__name__])
    np.testing.assert_allclose(moved[0][1], moved[1][1], rtol=1e-4)  # the row that occurs once
np.testing.assert_allclose(ratios["SGD"], 1, rtol=1e-4)
np.testing.assert_allclose(ratios["Adam"], 3**0.5, rtol=1e-3)
np.testing.assert_allclose(ratios["RMSprop"], 3**0.5, rtol=1e-3)
PYTHON
