#!/usr/bin/env bash
# Keras clips the gradient of an embedding before the rows of repeated indices are added up.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: `clipvalue=1` bounds each element of the gradient by 1, and `global_clipnorm=1` its
#   norm by 1, so a step of SGD at rate 1 moves the table by at most 1.
# Seen: A token that occurs 100 times in the batch moves its row by 100 with `clipvalue=1`, and by
#   10 in norm with `global_clipnorm=1`. The same gradient as a dense tensor is clipped as
#   expected.
# Matters: Clipping does not bound the step of frequent tokens, such as padding or the unknown
#   word.
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

sparse = tf.IndexedSlices(tf.ones((100, 2)), tf.zeros(100, tf.int32), tf.constant([3, 2]))
seen = {}
for limit in ("clipvalue", "clipnorm", "global_clipnorm"):
    for kind, gradient in (("sparse", sparse), ("dense", tf.convert_to_tensor(sparse))):
        optimizer = keras.optimizers.SGD(1.0, **{limit: 1.0})
        table = keras.Variable(np.zeros((3, 2), "float32"))
        optimizer.build([table])
        optimizer.apply([gradient], [table])
        seen[limit, kind] = np.abs(table.numpy()).max(), float(np.linalg.norm(table.numpy()))
        print(limit, kind, "largest element, norm:", seen[limit, kind])
np.testing.assert_allclose(seen["clipvalue", "sparse"][0], 100, rtol=1e-5)
np.testing.assert_allclose(seen["clipvalue", "dense"][0], 1, rtol=1e-5)
for limit in ("clipnorm", "global_clipnorm"):
    np.testing.assert_allclose(seen[limit, "sparse"][1], 10, rtol=1e-5)
    np.testing.assert_allclose(seen[limit, "dense"][1], 1, rtol=1e-5)
PYTHON
