#!/usr/bin/env bash
# The gradient of sqrt at 0 is 0 in a graph and NaN under XLA if the upstream gradient is 0.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The same function has the same gradient with and without `jit_compile=True`.
# Seen: `tf.sqrt`, `tf.math.rsqrt` and `tf.math.reciprocal` at 0 with an upstream gradient of
#   exactly 0: 0 in eager and graph mode, NaN under XLA. The operator `x ** 0.5` is NaN in all
#   three. So the trap of `tf.where(x > 0, tf.sqrt(x), 0.)` exists under XLA only.
# Matters: A model that trains on a CPU becomes NaN on a GPU, where Keras compiles by default.
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


def gradient(function, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(0.0 * function(x))
        return tape.gradient(y, x)

    return float(run(tf.zeros(1))[0])


for function in (tf.sqrt, tf.math.rsqrt, tf.math.reciprocal):
    graph, xla = gradient(function, False), gradient(function, True)
    print(function.__name__, "graph:", graph, "XLA:", xla)
    assert graph == 0 and np.isnan(xla)


def power(x):
    return x**0.5


print("power 0.5 graph:", gradient(power, False), "XLA:", gradient(power, True))
assert np.isnan(gradient(power, False)) and np.isnan(gradient(power, True))


def chosen(x):
    return tf.where(x > 0, tf.sqrt(x), 0.0) * 1.0


assert np.isnan(gradient(chosen, True)) and gradient(chosen, False) == 0
PYTHON
