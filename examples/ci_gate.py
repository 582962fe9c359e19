"""Let a CI job fail if a training is not healthy.

    python examples/ci_gate.py [LOGDIR]

The job trains a little, then asks `tb-gradients check`. Its exit status is 0 for a healthy run, 1
for a finding or for too few steps, 2 if there is nothing to read. `--format github` and `--format
junit` write the findings for the CI system.
"""

import subprocess
import sys

import keras
import numpy as np

import tb_gradients as tbg

LOGDIR = sys.argv[1] if len(sys.argv) > 1 else "logs/ci_gate"

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(1024, 8)).astype("float32")
y = x[:, :1] - x[:, 1:2]
model = keras.Sequential(
    [keras.Input((8,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.Adam(0.01), "mse")
model.fit(x, y, epochs=5, verbose=0, callbacks=[tbg.GradientHealth(LOGDIR, verbose=0)])

# In a shell: tb-gradients check LOGDIR --fail-on warning --min-steps 100
check = [sys.executable, "-m", "tb_gradients.cli", "check", LOGDIR]
status = subprocess.run([*check, "--fail-on", "warning", "--min-steps", "100"]).returncode
sys.exit(status)
