"""NaN in the value of the loss alone, and how to find an operation that gives NaN under XLA."""

from __future__ import annotations

from test_symptoms import Run, nan_at, table

from tb_gradients.flags import Severity


def test_a_loss_of_nan_whose_gradients_are_finite_is_a_warning_about_metrics() -> None:
    run = Run().say(loss_nonfinite_age=0).loss(float("nan"))

    flags = run.flags()

    assert set(flags) == {"nonfinite_loss"}
    flag = flags["nonfinite_loss"]
    assert flag.severity == Severity.WARNING
    assert "EarlyStopping" in flag.summary
    assert "masked" in flag.causes[0].summary
    assert not any("keep = " in fix for fix in flag.fixes)  # no rows are to be dropped


def test_with_gradients_of_nan_it_is_critical() -> None:
    run = Run().say(40, loss_nonfinite_age=0).loss(float("nan"), since=40)
    run.set(since=40, gradient_nan_count=3, nonfinite_age=0)

    assert run.flags()["nonfinite_gradient"].severity == Severity.CRITICAL


def test_checks_that_do_not_compile_are_not_advised_under_xla() -> None:
    run = nan_at(30)
    assert "enable_check_numerics()` names" in run.flags()["nonfinite_gradient"].fixes[0]

    run.table = table(jit_compile=True)
    fix = run.flags()["nonfinite_gradient"].fixes[0]
    assert fix.index("jit_compile=False") < fix.index("enable_check_numerics")
    assert "under XLA alone" in fix
