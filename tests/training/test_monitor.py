"""Custom training loops: attach once, step once per step; hand-written updates; soft failure."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients import schema
from tb_gradients.frames import Recording
from tb_gradients.reading.event_files import EventFileSource

loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
generator = np.random.default_rng(0)
X = tf.constant(generator.normal(size=(16, 6)), tf.float32)
Y = tf.constant(generator.integers(0, 3, 16))


def make_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )


def make_step(model: keras.Model, optimizer: Any, jit: bool = False) -> Callable[[], Any]:
    @tf.function(jit_compile=jit)
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(Y, model(X))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def recording(folder: pathlib.Path) -> Recording:
    (result,) = EventFileSource(str(folder)).read(".").recordings
    return result


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_the_dense_lane_has_every_step_however_sparse_the_frames(
    tmp_path: pathlib.Path, jit: bool
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    losses = []
    with tbg.watch(optimizer, tmp_path, model=model, every=40, verbose=0) as monitor:
        step = make_step(model, optimizer, jit)
        for _ in range(100):
            losses.append(step())
            monitor.step(loss=losses[-1])
    (run,) = tbg.load(tmp_path).runs
    lane, frames = run.lane, recording(tmp_path)
    assert lane is not None
    assert lane.steps.tolist() == list(range(100))
    np.testing.assert_allclose(lane.loss, losses, rtol=1e-6)
    assert (lane.moved == 1).all()
    np.testing.assert_allclose(
        lane.norms[frames.steps], frames.statistic("gradient_norm"), rtol=1e-3
    )


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_loop_with_a_compiled_step(tmp_path: pathlib.Path, jit: bool) -> None:
    model, optimizer = make_model(), keras.optimizers.Adam(1e-2)
    with tbg.watch(optimizer, tmp_path, model=model, every=3, verbose=0) as monitor:
        step = make_step(model, optimizer, jit)
        losses = [float(step()) for _ in range(1)]
        monitor.step(loss=losses[0])
        for _ in range(9):
            loss = step()
            losses.append(float(loss))
            assert monitor.step(loss=loss) is False
    run = recording(tmp_path)
    assert list(run.steps) == [0, 3, 6, 9]
    assert run.context_value("loss")[-1] == pytest.approx(losses[9])
    assert run.context_value("loss_mean")[-1] == pytest.approx(np.mean(losses[7:10]))
    assert run.context_value("learning_rate")[-1] == pytest.approx(1e-2)
    assert np.all(run.statistic("update_ratio") > 0)
    assert monitor.report == ()


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_nan_between_two_frames_asks_for_a_frame(
    tmp_path: pathlib.Path, jit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled step that was not to be sampled cannot be it: the next one is."""
    monkeypatch.setattr("tb_gradients.training.collector.POLL_SECONDS", 0.0)
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=100, verbose=0) as monitor:
        step = make_step(model, optimizer, jit)
        for number in range(8):
            if number == 4:
                model.trainable_variables[-1].assign_add([np.nan, 0.0, 0.0])
            monitor.step(loss=step())
    run = recording(tmp_path)
    assert list(run.steps) == ([0, 5] if jit else [0, 4])
    assert run.statistic("nonfinite_age")[1].max() == (1 if jit else 0)
    assert run.context_value("loss_nonfinite_age")[1] == (1 if jit else 0)
    flag = next(f for f in monitor.report if f.rule.startswith("nonfinite"))
    assert flag.first_step == 4


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("first", [3, 5])
def test_a_nan_that_no_frame_follows_is_reported(
    tmp_path: pathlib.Path, jit: bool, first: int
) -> None:
    """It comes in the last step, or shortly before it."""
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=100, verbose=0) as monitor:
        step = make_step(model, optimizer, jit)
        for number in range(6):
            if number == first:
                model.trainable_variables[-1].assign_add([np.nan, 0.0, 0.0])
            step()
            monitor.step()
    (flag,) = (f for f in monitor.report if f.rule == "nonfinite_gradient")
    assert flag.first_step == first
    (run,) = tbg.load(tmp_path).runs
    assert run.verdict == "critical"


def test_a_loop_that_hands_over_its_batches(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=2, verbose=0) as monitor:
        step = make_step(model, optimizer)
        for number in range(5):
            step()
            monitor.step(inputs=X + number, targets={"y": Y.numpy()}, predictions=model(X))
    run = recording(tmp_path)
    mean = np.mean(X) + np.array([0, 2, 4])
    np.testing.assert_allclose(run.context_value("inputs_mean"), mean, rtol=1e-4)
    np.testing.assert_array_equal(run.context_value("targets_max"), Y.numpy().max())
    np.testing.assert_array_equal(run.context_value("targets_classes"), 3)
    assert (run.context_value("predictions_spread") > 0.1).all()


def test_missing_values_in_a_loop_are_named_as_the_cause(tmp_path: pathlib.Path) -> None:
    """At a step that is not due: the gradient's NaN asks for the frame, and it is found later."""
    w = tf.Variable(tf.ones([6, 1]), name="w")
    monitor = tbg.GradientMonitor(tmp_path, variables=[w], every=100, verbose=0)
    for number in range(20):
        x = X.numpy()
        if number == 7:
            x[3, 2] = np.nan
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(x @ w))
        gradients = tape.gradient(loss, [w])
        with monitor.observe(gradients, [w]):
            w.assign_sub(0.01 * gradients[0])
        monitor.step(loss=loss, inputs=x, targets=np.zeros(16))
    monitor.close()
    flag = next(flag for flag in monitor.report if flag.rule == "nonfinite_gradient")
    assert flag.first_step == 7
    assert flag.causes[0].id == "nonfinite_inputs"


def test_odd_things_handed_over_do_not_end_the_monitoring(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        for odd in ("text", object(), [object()], tf.ragged.constant([[1.0], []]), 3, {}, [[]]):
            step()
            monitor.step(inputs=odd, targets=odd, predictions=odd)
    assert len(recording(tmp_path)) == 7


@pytest.mark.parametrize("odd", [{"loss": 1.0}, [1.0, 0.5], "text"], ids=str)
def test_a_loss_that_is_no_number_is_reported(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, odd: Any
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        make_step(model, optimizer)()
        monitor.step(loss=odd)
    (reported,) = [one.getMessage() for one in caplog.records if one.name == "tb_gradients"]
    assert f"takes a scalar tensor or a number, not {type(odd).__name__}" in reported


def test_a_step_inside_of_a_function_is_reported_with_the_remedy(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    monitor = tbg.watch(optimizer, tmp_path, model=model, verbose=0)
    step = make_step(model, optimizer)

    @tf.function
    def step_and_report() -> None:
        monitor.step(loss=step())

    step_and_report()
    monitor.close()
    (reported,) = [one.getMessage() for one in caplog.records if one.name == "tb_gradients"]
    assert "call it on the host" in reported


def test_many_monitors_in_one_process_trace_no_function_too_often(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6):
        model, optimizer = make_model(), keras.optimizers.SGD(0.1)
        with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
            for _ in range(2):
                monitor.step(inputs=X)
            make_step(model, optimizer)()
            monitor.step(inputs=X)
        assert monitor.frames == 1
    reported = [record.getMessage() for record in caplog.records]
    assert not [one for one in reported if "retracing" in one and "make_step" not in one]


def test_without_a_model_the_variables_of_the_first_update_are_watched(
    tmp_path: pathlib.Path,
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        step()
        monitor.step()
    run = recording(tmp_path)
    assert run.table.paths == tuple(v.path for v in model.trainable_variables)
    assert np.isnan(run.context_value("loss")).all()


def test_weights_that_another_optimizer_trains_are_weighed_too(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    base, head = model.trainable_variables[:2], model.trainable_variables[2:]
    base[0].assign(np.full(base[0].shape, 0.5))
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        for scale in (1.0, 2.0):
            base[1].assign(np.full(base[1].shape, scale))
            optimizer.apply([tf.ones(v.shape) for v in head], head)
            monitor.step()
    weights = recording(tmp_path).statistic("weight_norm")
    np.testing.assert_allclose(weights[:, 0], 0.5 * np.sqrt(base[0].numpy().size), rtol=1e-6)
    np.testing.assert_allclose(weights[:, 1], np.sqrt(8) * np.array([1.0, 2.0]), rtol=1e-6)


def test_a_branch_of_a_step_stays_one_operation_on_one_device(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, verbose=0):
        graph = make_step(model, optimizer).get_concrete_function().graph
    branches = [o for o in graph.get_operations() if o.type in ("If", "StatelessIf")]
    alone = len(tf.config.list_logical_devices()) == 1
    assert [b.get_attr("_lower_using_switch_merge") for b in branches] == 2 * [not alone]


def test_steps_can_be_numbered_by_the_caller(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=2, verbose=0) as monitor:
        step = make_step(model, optimizer)
        for number in range(1000, 1004):
            step()
            monitor.step(step=number)
    assert list(recording(tmp_path).steps) == [1000, 1002]


def test_a_resumed_optimizer_goes_on_counting(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    step = make_step(model, optimizer)
    for _ in range(5):
        step()
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        step()
        monitor.step()
    assert list(recording(tmp_path).steps) == [5]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_hand_written_updates_are_observed(tmp_path: pathlib.Path, compiled: bool) -> None:
    w, b = tf.Variable(tf.ones([6, 3]), name="w"), tf.Variable(tf.zeros([3]), name="b")
    unused = tf.Variable(1.0, name="unused")
    monitor = tbg.GradientMonitor(tmp_path, variables=[w, b, unused], every=1, verbose=0)

    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(Y, X @ w + b)
        gradients = tape.gradient(loss, [w, b, unused])
        with monitor.observe(gradients, [w, b, unused]):
            w.assign_sub(0.5 * gradients[0])
            b.assign_sub(0.5 * gradients[1])
        return loss

    function = tf.function(step) if compiled else step
    for _ in range(3):
        monitor.step(loss=function())
    monitor.close()
    run = recording(tmp_path)
    ratio = run.statistic("update_norm") / run.statistic("gradient_norm")
    np.testing.assert_allclose(ratio[:, :2], 0.5, rtol=1e-4)
    np.testing.assert_array_equal(run.statistic("none_step_share")[:, 2], 1)


def test_a_monitor_attached_too_late_says_so_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    step = make_step(model, optimizer)
    step()
    with tbg.watch(optimizer, tmp_path, verbose=0) as monitor:
        for _ in range(6):
            step()
            monitor.step()
    reported = [r for r in caplog.records if "before the first call" in r.getMessage()]
    assert len(reported) == 1


def test_a_monitor_whose_optimizer_another_one_has_taken_says_so(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    first = tbg.watch(optimizer, tmp_path / "first", model=model, verbose=0)
    second = tbg.watch(optimizer, tmp_path / "second", model=model, every=1, verbose=0)
    step = make_step(model, optimizer)
    for _ in range(6):
        step()
        first.step()
        second.step()
    assert (first.frames, second.frames) == (0, 6)
    assert [r for r in caplog.records if "another monitor" in r.getMessage()]


def test_a_model_of_which_nothing_is_trainable_is_reported(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    model.trainable = False
    with tbg.watch(optimizer, tmp_path, model=model, verbose=0) as monitor:
        for _ in range(4):
            monitor.step()
    assert [
        one for one in caplog.records if "the model has no trainable variable" in one.getMessage()
    ]


@pytest.mark.parametrize("how", ["eager", "graph"])
def test_what_checks_the_training_for_nan_does_not_find_ours(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=3, verbose=0) as monitor:
        step = make_step(model, optimizer)
        tf.debugging.enable_check_numerics()
        try:
            for _ in range(6):
                loss = step.python_function() if how == "eager" else step()  # type: ignore[attr-defined]
                # Of constant integers most columns of a batch are not measured.
                monitor.step(loss=loss, inputs=tf.zeros([0, 6]), targets=Y)
            with pytest.raises(tf.errors.InvalidArgumentError):
                tf.math.log(-tf.ones([]))
        finally:
            tf.debugging.disable_check_numerics()
    assert monitor.frames == 2
    assert not caplog.records


def test_a_failure_of_the_monitor_is_reported_once_and_training_goes_on(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tb_gradients.training.probe.probe import Probe

    def fail(*arguments: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Probe, "after", fail)
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        losses = []
        for _ in range(4):
            losses.append(float(step()))
            monitor.step()
    assert losses == sorted(losses, reverse=True)
    reported = [r.getMessage() for r in caplog.records if "stopped monitoring" in r.getMessage()]
    assert len(reported) == 1
    assert "broken on purpose" in reported[0]


def test_a_full_disk_does_not_reach_the_training(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tb_gradients.host.writer import EventWriter

    def fail(*arguments: object, **named: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(EventWriter, "_record", fail)
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        for _ in range(5):
            step()
            monitor.step()
    assert sum("stopped monitoring" in r.getMessage() for r in caplog.records) == 1


def test_a_removed_folder_is_reported_and_training_goes_on(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    monitor = tbg.watch(optimizer, tmp_path / "run", model=model, every=1, verbose=0)
    step = make_step(model, optimizer)
    for number in range(5):
        step()
        monitor.step()
        if number == 2:
            shutil.rmtree(tmp_path / "run")
    monitor.close()
    assert int(optimizer.iterations.numpy()) == 5
    assert sum("was removed" in record.getMessage() for record in caplog.records) == 1


def zero_loss_loop(monitor: tbg.GradientMonitor, model: Any, optimizer: Any) -> int:
    """Trains on a loss of zero until the monitor says stop, at most 60 steps; returns how many."""

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = 0.0 * loss_of(Y, model(X))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for number in range(60):
        if monitor.step(loss=step()):
            return number + 1
    return 60


def test_stop_on_and_on_flag(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    reported: list[tbg.Flag] = []
    monitor = tbg.watch(
        optimizer, tmp_path, model=model, every=1, stop_on="critical", on_flag=reported.append
    )
    steps = zero_loss_loop(monitor, model, optimizer)
    monitor.close()
    assert steps < 60
    assert "zero_gradient" in [flag.rule for flag in reported]
    assert len({(flag.rule, flag.first_step) for flag in reported}) == len(reported)
    printed = capsys.readouterr().out
    assert "zero_gradient" in printed
    assert f"tensorboard --logdir {tmp_path}" in printed


def test_names_of_variables_are_inert_in_all_that_is_printed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = [
        keras.Variable(np.ones((8, 8), "float32"), name=name)
        for name in ("\x1b[31mred\x1b]0;title\x07\u202e", "ordinary")
    ]
    monitor = tbg.GradientMonitor(tmp_path / "a \x1b[2J", variables=variables, every=1)
    for _ in range(25):
        with monitor.observe([tf.ones((8, 8)), tf.zeros((8, 8))], variables):
            pass
        monitor.step(loss=1.0)
    monitor.close()
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert printed.count(r"\x1b[31mred\x1b]0;title\x07\u202e") >= 2, "as it opens, and at the end"
    assert r"a \x1b[2J" in printed


def test_the_summary_says_what_keeps_tensorboard_from_starting(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tb_gradients.host import summary as module

    for found, folder in (("", "a"), ('pip install "setuptools<82"', "b")):
        monkeypatch.setattr(module, "remedy", lambda found=found: found)
        variable = tf.Variable(tf.ones([3, 3]))
        with tbg.GradientMonitor(tmp_path / folder, variables=[variable]) as monitor:
            with monitor.observe([tf.ones([3, 3])], [variable]):
                variable.assign_sub(tf.fill([3, 3], 1e-3))
            monitor.step()
        printed = capsys.readouterr().out
        assert "tensorboard --logdir" in printed
        assert ("starts after" in printed) is bool(found)
        assert found in printed


def test_an_on_flag_may_close_the_monitor(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    variable = tf.Variable(tf.ones([3, 3]))
    monitor = tbg.GradientMonitor(
        tmp_path, variables=[variable], every=1, verbose=0, on_flag=lambda flag: monitor.close()
    )
    with monitor.observe([tf.fill([3, 3], np.nan)], [variable]):
        pass
    monitor.step()
    verdict = EventFileSource(str(tmp_path)).read(".").covering_verdict()
    assert verdict is not None
    assert [flag.rule for flag in verdict.flags] == ["nonfinite_gradient"]
    assert not caplog.records


def test_an_on_flag_that_raises_is_reported_and_forgiven(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_flag(flag: tbg.Flag) -> None:
        raise ValueError("a mistake in the user's code")

    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    monitor = tbg.watch(optimizer, tmp_path, model=model, every=1, on_flag=on_flag, verbose=0)
    assert zero_loss_loop(monitor, model, optimizer) == 60
    monitor.close()
    assert any("on_flag raised" in record.getMessage() for record in caplog.records)
    assert monitor.report


def test_the_flags_of_the_live_engine_are_those_of_the_file(tmp_path: pathlib.Path) -> None:
    from tb_gradients.judging.engine import judge

    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    monitor = tbg.watch(optimizer, tmp_path, model=model, every=2, verbose=0)
    zero_loss_loop(monitor, model, optimizer)
    monitor.close()
    assert monitor.report
    assert tuple(judge([recording(tmp_path)]).flags) == monitor.report
    (run,) = tbg.load(tmp_path).runs
    assert tuple(run.flags) == monitor.report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be"),
        ({"stop_on": "never"}, "known: info, warning, critical"),
        ({"rules": {"no_such_rule": False}}, "no_such_rule"),
    ],
)
def test_mistakes_are_reported_before_training(
    tmp_path: pathlib.Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tbg.GradientMonitor(tmp_path, **options)


def test_something_that_is_no_keras_optimizer_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match="observe"):
        tbg.watch(object(), tmp_path)


def test_histograms_count_the_elements(tmp_path: pathlib.Path) -> None:
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, model=model, every=1, verbose=0) as monitor:
        step = make_step(model, optimizer)
        step()
        monitor.step()
    (pack,) = EventFileSource(str(tmp_path)).histograms(".")
    _, counts = pack.unpack()
    assert counts.shape == (4, schema.HISTOGRAM_BINS)
    assert list(counts.sum(axis=1)) == [48, 8, 24, 3]


def test_without_histograms_the_frames_are_the_same(tmp_path: pathlib.Path) -> None:
    for histograms in (True, False):
        folder, model = tmp_path / str(histograms), make_model()
        optimizer = keras.optimizers.SGD(0.1)
        watched = tbg.watch(
            optimizer, folder, model=model, every=1, histograms=histograms, verbose=0
        )
        with watched as monitor:
            step = make_step(model, optimizer)
            for _ in range(3):
                step()
                monitor.step()
    with_them, without = (recording(tmp_path / str(h)) for h in (True, False))
    np.testing.assert_equal(without.values, with_them.values)
    assert len(EventFileSource(str(tmp_path / "True")).histograms(".")) == 3
    assert not EventFileSource(str(tmp_path / "False")).histograms(".")


def test_a_step_traced_before_the_probe_is_reported_too(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a built model the probe exists at once, but the traced step does not contain it."""
    model, optimizer = make_model(), keras.optimizers.SGD(0.1)
    step = make_step(model, optimizer)
    step()
    with tbg.watch(optimizer, tmp_path, model=model, every=1) as monitor:
        for _ in range(6):
            step()
            monitor.step()
    assert sum("before the first call" in r.getMessage() for r in caplog.records) == 1
    printed = capsys.readouterr().out
    assert "no update was seen" in printed
    assert "healthy" not in printed
