#!/usr/bin/env bash
# Under mixed_bfloat16 on a CPU the gradient of a bias stops growing after about 256 terms.
#
# Version: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6; Linux, CPU.
# Expected: The gradient of the bias of a Dense layer is the sum of the upstream gradient over all
#   rows of the batch: 0.5 x 8192 = 4096.
# Seen: 128. `BiasAddGrad` adds in bfloat16, and 128 + 0.5 is 128 there. Eager, graph and XLA
#   agree. The kernel's gradient, a matrix product, is right to 1 %. The same holds for Conv2D,
#   DepthwiseConv2D and EinsumDense.
# Matters: Biases of models with long sequences or large images train with gradients that are 10
#   to 30 times too small, and nothing says so.
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

keras.utils.set_random_seed(0)
rows = np.random.default_rng(0).normal(size=(8192, 4)).astype("float32")


def gradients(policy, jit_compile):
    layer = keras.layers.Dense(3, kernel_initializer="ones", dtype=policy)
    layer.build(rows.shape)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            outputs = tf.cast(layer(x), tf.float32)
            loss = tf.reduce_sum(outputs * [0.5, 0.25, 0.125])
        return tape.gradient(loss, layer.trainable_variables)

    kernel, bias = step(tf.constant(rows))
    return kernel.numpy(), float(bias[0])


right_kernel, right = gradients("float32", False)
assert right == 4096, right
for jit_compile in (False, True):
    kernel, bias = gradients("mixed_bfloat16", jit_compile)
    print(f"jit_compile={jit_compile}: bias gradient {bias}, in float32 {right}")
    assert bias == 128, bias
    assert np.linalg.norm(kernel - right_kernel) < 0.01 * np.linalg.norm(right_kernel)
PYTHON
