"""Several replicas: the frames are those of one device that sees the whole batch, once.

The trainings run in processes of their own (see replicated.py): a process has its devices,
and its place in a cluster, for good.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from replicated import OPTIMIZERS, STEPS, fit, make_model

import tb_gradients as tbg
from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.training.optimizers import replicas

SCRIPT = pathlib.Path(__file__).with_name("replicated.py")
TIMEOUT = 300


def require_keras_that_can() -> None:
    if tuple(int(part) for part in keras.__version__.split(".")[:2]) < replicas.OLDEST_KERAS:
        pytest.skip("this Keras is too old for several replicas")


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    require_keras_that_can()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors.decode()[-3000:]


def start_workers(folder: pathlib.Path, *last: str) -> list[subprocess.Popen[bytes]]:
    """Two workers; ``last`` are further arguments of the second one."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("localhost", 0))
        second.bind(("localhost", 0))
        ports = [first.getsockname()[1], second.getsockname()[1]]
    return [start("worker", i, *ports, folder, *(last if i else ())) for i in range(2)]


def recording(folder: pathlib.Path) -> Recording:
    (result,) = EventFileSource(str(folder)).read(".").recordings
    return result


def assert_bit_identical(saved: pathlib.Path) -> None:
    arrays = np.load(saved)
    for i in range(len(arrays.files) // 2):
        np.testing.assert_array_equal(arrays[f"bare{i}"], arrays[f"watched{i}"])


def assert_same_frames(got: Recording, expected: Recording) -> None:
    assert list(got.steps) == list(expected.steps) == list(range(STEPS))
    np.testing.assert_allclose(got.values, expected.values, rtol=2e-4, atol=1e-6)
    for name in ("loss", "loss_mean", "global_norm", "learning_rate", "window_steps"):
        column = schema.context_names().index(name)
        np.testing.assert_allclose(
            got.context[:, column], expected.context[:, column], rtol=1e-4, err_msg=name
        )


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("mirrored")
    finish(start("mirrored", folder))
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("broken")
    finish(start("broken", folder))
    return folder


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_mirrored_replicas_end_with_the_same_bits(mirrored: pathlib.Path, optimizer: str) -> None:
    assert_bit_identical(mirrored / f"{optimizer}.npz")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "clipped"])
def test_frames_of_mirrored_replicas_are_those_of_the_global_batch(
    mirrored: pathlib.Path, tmp_path: pathlib.Path, optimizer: str
) -> None:
    fit(make_model(**OPTIMIZERS[optimizer]), tmp_path)
    got = recording(mirrored / optimizer)
    assert (got.table.run.strategy, got.table.run.replicas) == ("MirroredStrategy", 2)
    assert_same_frames(got, recording(tmp_path))


@pytest.mark.parametrize("how", ["a flag of fit", "asked of a loop"])
def test_the_line_that_breaks_on_a_replica_that_does_not_observe_is_named(
    broken: pathlib.Path, how: str
) -> None:
    if how == "a flag of fit":
        flags = tbg.load(broken / "fit").runs[0].flags
        [origin] = [f.origin.to_json() for f in flags if f.origin is not None]
    else:
        explained = json.loads((broken / "explained.json").read_text())
        assert len(explained) == 3
        origin = explained["sequential/first/kernel"]
    assert origin["operation"] == "RealDiv"
    assert pathlib.Path(origin["file"]) == SCRIPT
    assert "tf.norm" in origin["code"]


def test_the_norm_is_that_before_each_replica_clips_its_share(
    mirrored: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    fit(make_model(**OPTIMIZERS["clipped"]), tmp_path)
    got, expected = recording(mirrored / "clipped"), recording(tmp_path)
    norm, applied = (schema.statistic_names().index(n) for n in ("gradient_norm", "applied_norm"))
    # The first step only: Keras clips before it sums, so the two trainings part.
    np.testing.assert_allclose(got.values[0, :, norm], expected.values[0, :, norm], rtol=1e-5)
    assert np.isnan(got.values[:, :, applied]).all()


def test_of_two_workers_the_chief_writes_what_one_device_would(
    tmp_path: pathlib.Path,
) -> None:
    for process in start_workers(tmp_path):
        finish(process)
    assert_bit_identical(tmp_path / "worker0.npz")
    assert_bit_identical(tmp_path / "worker1.npz")
    assert len(list((tmp_path / "log").iterdir())) == 1
    fit(make_model(), tmp_path / "single")
    assert_same_frames(recording(tmp_path / "log"), recording(tmp_path / "single"))


@pytest.mark.long
def test_a_worker_that_dies_leaves_a_readable_log(tmp_path: pathlib.Path) -> None:
    chief, other = start_workers(tmp_path, "die")
    try:
        other.communicate(timeout=TIMEOUT)
        chief.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        pass  # TensorFlow's collectives may wait for the dead worker: not ours to end
    finally:
        chief.kill()
        chief.communicate()
    steps = list(recording(tmp_path / "log").steps)
    assert steps == list(range(len(steps)))
    assert len(steps) >= STEPS // 2


class MirroredStrategy:
    """By its name one that can be watched."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize(
    ("version", "reported"), [("3.4.1", True), ("3.5.0", False), ("3.15.1", False)]
)
def test_a_keras_that_is_too_old_for_several_replicas_is_reported_with_the_remedy(
    version: str, reported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras, "__version__", version)
    reason = replicas.why_unsupported(MirroredStrategy())
    assert ("install Keras 3.5 or newer" in reason) == reported


class ParameterServerStrategyV2:
    """Stands for TensorFlow's, which needs a cluster to be made."""


def test_an_unsupported_strategy_is_named_and_training_goes_on(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.__dict__["_distribution_strategy"] = ParameterServerStrategyV2()
    monitor = tbg.watch(optimizer, tmp_path, verbose=0)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "ParameterServerStrategyV2 cannot be monitored" in message
    assert "MirroredStrategy" in message
    variable = tf.Variable(1.0)
    optimizer.__dict__["_distribution_strategy"] = tf.distribute.get_strategy()
    optimizer.apply([tf.constant(1.0)], [variable])
    monitor.step()
    monitor.close()
    assert float(variable) == pytest.approx(0.9)


def test_strategies_of_one_process_are_supported() -> None:
    for strategy in (
        tf.distribute.get_strategy(),
        tf.distribute.OneDeviceStrategy("CPU:0"),
        tf.distribute.MirroredStrategy(["CPU:0"]),
    ):
        assert not replicas.why_unsupported(strategy)
        assert replicas.is_chief(strategy)
        assert not replicas.several_workers(strategy)


def test_a_mirrored_strategy_of_one_device_is_watched(tmp_path: pathlib.Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = make_model()
    fit(model, tmp_path / "mirrored")
    fit(make_model(), tmp_path / "plain")
    assert_same_frames(recording(tmp_path / "mirrored"), recording(tmp_path / "plain"))
