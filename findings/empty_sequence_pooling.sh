#!/usr/bin/env bash
# GlobalAveragePooling1D gives NaN for a sequence in which every step is masked.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: Zeros, as for a sequence of zeros, or an error.
# Seen: 0 / 0: the layer divides by the number of steps that are not masked.
#   Embedding(mask_zero=True) before it makes such a mask from an empty text.
# Matters: One empty text in a batch turns all weights to NaN.
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

model = keras.Sequential(
    [
        keras.Input((4,), dtype="int32"),
        keras.layers.Embedding(10, 3, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
    ]
)
output = model(np.array([[0, 0, 0, 0], [1, 2, 0, 0]])).numpy()
print(output)
assert np.isnan(output[0]).all() and np.isfinite(output[1]).all()
PYTHON
