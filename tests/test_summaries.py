"""Standard summaries: what any viewer of event files shows of a run, without the plugin.

Guards that the values are those of the frames, that NaN is not dropped, that the budget holds, and
that readers which know nothing of this package find scalars, histograms and the findings.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import make_frame, make_table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.data_compat import migrate_value
from tensorboard.util import tensor_util

import tb_gradients as tbg
from tb_gradients import schema
from tb_gradients.flags import Cause, Flag, Severity
from tb_gradients.frames import Frame
from tb_gradients.host.journal import Journal
from tb_gradients.host.statistics import bins_of
from tb_gradients.summaries import Summaries, Summarizer, findings_of, markdown, values_of
from tb_gradients.training.files import open_records

TABLE = make_table(3)
NAMES = schema.statistic_names()


def frame_of(step: int, gradient: np.ndarray | None = None, **columns: float) -> Frame:
    """A healthy frame, of which all variables have this gradient, and these statistics."""
    frame = make_frame(TABLE, step)
    values = frame.values.copy()
    if gradient is not None:
        finite = gradient[np.isfinite(gradient)]
        columns |= {
            "gradient_nan_count": float(np.isnan(gradient).sum()),
            "gradient_inf_count": float(np.isinf(gradient).sum()),
            "gradient_norm": float(np.linalg.norm(finite)),
            "gradient_mean": float(finite.mean()) if finite.size else np.nan,
            "gradient_min": float(finite.min()) if finite.size else np.nan,
            "gradient_max": float(finite.max()) if finite.size else np.nan,
        }
        counts = np.bincount(bins_of(gradient.ravel()), minlength=schema.HISTOGRAM_BINS)
        frame = dataclasses.replace(
            frame, histograms=np.tile(counts, (len(TABLE.paths), 1)).astype(np.uint16)
        )
    for name, value in columns.items():
        values[:, TABLE.statistics.index(name)] = value
    return dataclasses.replace(frame, values=values)


def summarized(frame: Frame, **wanted: Any) -> dict[str, Any]:
    """Tag -> number or histogram."""
    return {
        value.tag: value.histo if value.HasField("histo") else value.simple_value
        for value in values_of(TABLE, frame, Summaries(**wanted))
    }


def test_each_variable_has_the_scalars_of_its_row() -> None:
    frame = frame_of(150)
    path, row = TABLE.paths[1], frame.values[1]
    found = summarized(frame)
    assert found[f"gradient_norm/{path}"] == row[NAMES.index("gradient_norm")]
    assert found[f"zero_fraction/{path}"] == row[NAMES.index("gradient_zero_share")]
    weights = row[NAMES.index("weight_norm")]
    assert found[f"update_ratio/{path}"] == pytest.approx(
        row[NAMES.index("update_norm")] / max(weights, TABLE.weight_floor[1])
    )
    assert len(found) == 3 * len(TABLE.paths)


def test_what_was_not_measured_has_no_scalar() -> None:
    found = summarized(frame_of(150, update_norm=np.nan))
    assert not any(tag.startswith("update_ratio/") for tag in found)


@pytest.mark.parametrize(
    ("bad", "shown"), [([np.nan], np.nan), ([np.inf], np.inf), ([np.nan, -np.inf], np.nan)]
)
def test_the_norm_of_a_gradient_that_is_not_finite_is_not_finite(
    bad: list[float], shown: float
) -> None:
    found = summarized(frame_of(5, np.array([1.0, 2.0, *bad], np.float32)))
    np.testing.assert_equal(found[f"gradient_norm/{TABLE.paths[0]}"], shown)


def test_any_statistic_and_any_part_of_the_variables_can_be_chosen() -> None:
    found = summarized(
        frame_of(150), statistics=["dead_unit_share", "gradient_rms"], variables=TABLE.paths[2]
    )
    assert set(found) == {f"dead_unit_share/{TABLE.paths[2]}", f"gradient_rms/{TABLE.paths[2]}"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(-(2.0**20), 2.0**20, width=32) | st.sampled_from([0.0, np.nan, np.inf]),
        min_size=1,
        max_size=60,
    )
)
def test_a_histogram_has_every_finite_element_in_its_bucket(elements: list[float]) -> None:
    gradient = np.array(elements, np.float32)
    finite = np.sort(gradient[np.isfinite(gradient)].astype(np.float64))
    histogram = summarized(frame_of(5, gradient)).get(f"gradients/{TABLE.paths[0]}")
    if not finite.size:
        assert histogram is None
        return
    assert histogram is not None
    assert sum(histogram.bucket) == histogram.num == finite.size
    assert (np.diff(histogram.bucket_limit) > 0).all()
    edges = np.array([-np.inf, *histogram.bucket_limit])
    for count, low, high in zip(histogram.bucket, edges[:-1], edges[1:], strict=True):
        # The edges are powers of two: where an element on an edge is counted differs with its sign.
        assert ((finite > low) & (finite < high)).sum() <= count
        assert count <= ((finite >= low) & (finite <= high)).sum()
    assert (histogram.min, histogram.max) == (finite[0], finite[-1])
    assert histogram.sum == pytest.approx(finite.sum(), rel=1e-4, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40_000), st.integers(1, 300))
def test_the_budget_is_never_exceeded_and_used_to_more_than_half(budget: int, frames: int) -> None:
    summarizer = Summarizer(Summaries(budget=budget))
    sizes = [summarizer.of_frame(TABLE, frame_of(step)).ByteSize() for step in range(frames)]
    whole = max(sizes, default=0) * frames
    assert sum(sizes) <= budget
    if budget > 10 * max(sizes) > 0:
        assert sum(sizes) > 0.45 * min(budget, whole)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("gradient_norm", "True, False, a list"),
        (3, "True, False, a list"),
        (["gradient_normal"], "no statistic 'gradient_normal'"),
        ([1], "list of names"),
    ],
)
def test_anything_else_is_refused_with_what_would_do(wanted: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Summaries.of(wanted)


@pytest.mark.parametrize("settings", [{"variables": "("}, {"variables": 3}, {"budget": -1}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        tbg.Summaries(**settings)


# --- What others read -----------------------------------------------------------------------


def journal_with_summaries(folder: pathlib.Path, frames: int = 60) -> None:
    journal = Journal(str(folder), open_records, summaries=Summaries())
    journal.set_table(TABLE)
    gradient = np.random.default_rng(0).normal(size=64).astype(np.float32)
    for step in range(frames):
        zero = step >= 10
        shares = {"gradient_zero_share": float(zero), "zero_step_share": float(zero)}
        journal.add(frame_of(step, gradient * (not zero), **shares))
    journal.close()


def test_an_event_accumulator_finds_scalars_histograms_and_findings(tmp_path: pathlib.Path) -> None:
    journal_with_summaries(tmp_path)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    path = TABLE.paths[0]
    scalars = events.Scalars(f"zero_fraction/{path}")
    assert [event.step for event in scalars] == list(range(60))
    assert scalars[20].value == 1
    histogram = events.Histograms(f"gradients/{path}")[0].histogram_value
    assert histogram.num == 64
    last = events.Tensors("findings")[-1].tensor_proto
    assert b"zero_gradient" in tensor_util.make_ndarray(last).item()


def test_our_own_reader_sees_the_run_as_without_summaries(tmp_path: pathlib.Path) -> None:
    journal_with_summaries(tmp_path)
    (run,) = tbg.load(tmp_path).runs
    assert (run.frames, run.errors) == (60, ())


def test_tensorboard_makes_a_histogram_of_ours_with_all_elements() -> None:
    from tensorboard.compat.proto import summary_pb2

    gradient = np.array([-3.0, -0.5, 0.0, 0.0, 1e-30, 0.25, 2.0], np.float32)
    for value in values_of(TABLE, frame_of(0, gradient), Summaries(["gradients"])):
        theirs = summary_pb2.Summary.Value.FromString(value.SerializeToString())
        migrated = migrate_value(theirs)
        assert migrated.metadata.plugin_data.plugin_name == "histograms"
        buckets = tensor_util.make_ndarray(migrated.tensor)
        assert buckets[:, 2].sum() == 7
        assert (buckets[0, 0], buckets[-1, 1]) == (-3, 2)


# --- The findings as a text -----------------------------------------------------------------


FLAG = Flag(
    "zero_gradient",
    Severity.CRITICAL,
    ("__init__/kernel",),
    3,
    9,
    True,
    "The gradient of __init__/<b>kernel</b>\x1b[2J was zero.",
    causes=(Cause("zero_loss", 0.9, "the loss is * 0"),),
    fixes=("Write `loss = a_b_c`.",),
)


def test_the_findings_have_cause_and_fix_in_markdown() -> None:
    text = markdown([FLAG])
    assert text.startswith("**critical: zero_gradient** (since step 3)")
    assert "* Cause (90%): the loss is \\* 0" in text
    assert "* Try: Write `loss = a_b_c`." in text


def test_names_of_variables_are_no_markup_and_inert() -> None:
    text = markdown([FLAG])
    assert r"\_\_init\_\_/\<b\>kernel\</b\>" in text
    assert "\x1b" not in text


def test_a_run_without_findings_says_so_and_why() -> None:
    assert markdown([]) == "No findings."
    assert (
        markdown([], "9 steps; rules need 40") == "Too early for a verdict: 9 steps; rules need 40"
    )
    (value,) = findings_of([]).value
    assert value.metadata.plugin_data.plugin_name == "text"
