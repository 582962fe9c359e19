#!/usr/bin/env bash
# The gradient of the approximate GELU in float16 is NaN for inputs of 256 and more; its value is right.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: 0 far below zero and 1 far above it, as the exact GELU gives, and as its own value suggests.
# Seen: NaN from |x| = 256 on, in tf.nn.gelu and in Keras, in a graph and under XLA: the derivative of
#   x**3 overflows there and is multiplied by a slope of tanh that is exactly 0. (The value needs
#   x**3 too, which is infinite from 41 on, but tanh of that is 1.) At 255 it is right; the exact GELU
#   is right everywhere; bfloat16 is right up to 1e18.
# Matters: With mixed_float16 a single large activation before a GELU makes the gradients NaN in every
#   step, while the loss stays finite. A lower loss scale does not help: nothing is scaled there.
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


def value_and_slope(function, dtype, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return y, tape.gradient(y, x)

    x = tf.constant([-256.0, -255.0, 255.0, 256.0], dtype)
    return [part.numpy().astype("float32") for part in run(x)]


approximate = {
    "tf.nn.gelu": lambda x: tf.nn.gelu(x, approximate=True),
    "keras": lambda x: keras.activations.gelu(x, approximate=True),
}
for jit_compile in (False, True):
    for name, function in approximate.items():
        value, slope = value_and_slope(function, "float16", jit_compile)
        print(name, "XLA" if jit_compile else "graph", "value", value, "slope", slope)
        np.testing.assert_array_equal(value, [0, 0, 255, 256])
        np.testing.assert_array_equal(slope, [np.nan, 0, 1, np.nan])
        np.testing.assert_array_equal(
            value_and_slope(function, "bfloat16", jit_compile)[1], [0, 0, 1, 1]
        )
    exact = value_and_slope(keras.activations.gelu, "float16", jit_compile)
    np.testing.assert_array_equal(exact[1], [0, 0, 1, 1])
PYTHON
