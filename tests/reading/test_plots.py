"""Pictures of a run: what is drawn where, zeros and NaN included."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import recordings as made

from tb_gradients.frames import Variable, VariableTable
from tb_gradients.reading.report import RunReport, load

TABLE = made.make_table(2)


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(name="run")
def _run(tmp_path: pathlib.Path) -> RunReport:
    """Twenty frames: the first bias has no gradient from step 10 on, all is NaN from 18 on."""
    frames = made.turn_zero(made.make_frames(TABLE, range(20)), TABLE, [1], since=10)
    made.write_run(tmp_path, TABLE, made.turn_nonfinite(frames, TABLE, 18))
    return load(tmp_path).runs[0]


def test_the_heat_map_has_a_row_for_each_variable_and_marks_what_is_not_finite(
    run: RunReport,
) -> None:
    axes = run.plot()
    (image,) = axes.get_images()
    assert image.get_array().shape == (4, 20)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TABLE.paths)
    (crosses,) = axes.get_lines()
    marked = set(zip(crosses.get_xdata().tolist(), crosses.get_ydata().tolist(), strict=True))
    assert marked == {(17, 0), *((step, row) for step in (18, 19) for row in range(4))}
    axes.figure.canvas.draw()


def test_zero_is_darker_than_the_smallest_norm_and_not_a_gap(run: RunReport) -> None:
    (image,) = run.plot().get_images()
    shown = image.get_array()
    assert not np.ma.getmaskarray(shown).any()
    assert (shown[1, 10:17] < image.norm.vmin).all()
    assert (shown[0, :17] >= image.norm.vmin * (1 - 1e-6)).all()


def test_one_variable_is_a_line_over_the_steps(run: RunReport) -> None:
    line, zeros, _ = run.plot("gradient_norm", variable="dense/bias").get_lines()
    assert line.get_xdata().tolist() == list(range(20))
    assert np.isnan(line.get_ydata()[10:]).all()
    assert zeros.get_label() == "zero"


def test_one_step_is_a_dot_for_each_variable_in_network_order(run: RunReport) -> None:
    axes = run.plot("weight_norm", step=7)
    assert axes.get_lines()[0].get_ydata() == pytest.approx(run["weight_norm"][7])
    assert [label.get_text() for label in axes.get_xticklabels()] == list(TABLE.paths)
    assert axes.get_yscale() == "log"


def test_it_draws_on_axes_that_are_passed(run: RunReport) -> None:
    import matplotlib.pyplot as plt

    axes = plt.subplots()[1]
    assert run.plot(step=3, axes=axes) is axes


def test_names_are_not_taken_for_mathematics(tmp_path: pathlib.Path) -> None:
    odd = VariableTable((Variable(r"$\broken{$/kernel", (2, 2)), Variable("\x1b[31m", (2,))))
    made.write_run(tmp_path, odd, made.make_frames(odd, range(3)))
    axes = load(tmp_path).runs[0].plot()
    axes.figure.canvas.draw()
    assert axes.get_yticklabels()[0].get_text() == r"\$\broken{\$/kernel"


def test_wrong_arguments_name_what_is_right(run: RunReport) -> None:
    with pytest.raises(ValueError, match="step 50 is no frame; the nearest are at 17, 18, 19"):
        run.plot(step=50)
    with pytest.raises(ValueError, match="not both"):
        run.plot(step=5, variable="dense/bias")
    with pytest.raises(KeyError, match="did you mean 'dense/bias'"):
        run.plot(variable="dense/bais")


def test_without_matplotlib_the_remedy_is_named(
    run: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        run.plot()
