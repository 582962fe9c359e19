"""With NumPy's behaviour of tensors, which stays on once it is, the numbers are the same."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROGRAM = """
import sys
import keras
import numpy as np
import tensorflow as tf
import tb_gradients as tbg
from tb_gradients.reading.event_files import EventFileSource

x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")

def frames(name, **options):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(300, activation="relu")
    model = keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, clipnorm=0.5), "mse", **options)
    folder = f"{sys.argv[1]}/{name}"
    health = tbg.GradientHealth(folder, every=1, activations=True, verbose=0)
    model.fit(x, x[:, :1], batch_size=8, verbose=0, shuffle=False, callbacks=[health])
    (recording,) = EventFileSource(folder).read(".").recordings
    assert len(recording) == 4
    return recording

modes = {"graph": {}, "xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}
plain = {mode: frames(mode, **options) for mode, options in modes.items()}
tf.experimental.numpy.experimental_enable_numpy_behavior()
for mode, options in modes.items():
    recording = frames(f"{mode}_numpy", **options)
    np.testing.assert_equal(recording.values, plain[mode].values)
    np.testing.assert_equal(recording.context, plain[mode].context)
print("the same")
"""


def test_frames_do_not_depend_on_it(tmp_path: pathlib.Path) -> None:
    program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[-1:] == ["the same"], done.stderr
