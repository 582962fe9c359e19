"""Reading through a data provider, with one that does what real ones were seen to do."""

from __future__ import annotations

import collections
import pathlib
import types
from collections.abc import Iterable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
import recordings as made
from tensorboard.data import provider as tb_provider
from tensorboard.util import tensor_util

from tb_gradients import schema
from tb_gradients.frames import Frame
from tb_gradients.lane import Lane
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.data_provider import DataProviderSource
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.source import ReadError, StoredVerdict

TABLE = made.make_table(2)


class TooLargeError(Exception):
    """Looks like the error of a gRPC call whose answer exceeds the limit."""

    def code(self) -> Any:
        return types.SimpleNamespace(name="RESOURCE_EXHAUSTED")


class FakeProvider:
    """Tensors of some runs; refuses answers of more than ``most_bytes``."""

    def __init__(self, **runs: Iterable[Any]) -> None:
        self.series: dict[str, dict[str, list[tb_provider.TensorDatum]]] = {}
        self.content = pb.PluginData(format_version=schema.FORMAT_VERSION).SerializeToString()
        self.most_bytes = 256 << 20
        for run, events in runs.items():
            self.add(run, events)

    def add(self, run: str, events: Iterable[Any]) -> None:
        tags = self.series.setdefault(run, collections.defaultdict(list))
        for event in events:
            for value in event.summary.value:
                array = tensor_util.make_ndarray(value.tensor)
                datum = tb_provider.TensorDatum(event.step, event.wall_time, array)
                tags[value.tag].append(datum)

    def mock(self) -> Any:
        """A mock with the interface of a data provider: unknown calls fail."""
        double = mock.create_autospec(tb_provider.DataProvider, instance=True)
        double.list_tensors.side_effect = self._list
        double.read_tensors.side_effect = self._read
        return double

    def _list(self, ctx: Any, *, experiment_id: str, plugin_name: str, run_tag_filter: Any) -> Any:
        return {
            run: {
                tag: tb_provider.TensorTimeSeries(
                    max_step=max(d.step for d in data),
                    max_wall_time=max(d.wall_time for d in data),
                    plugin_content=self.content,
                    description="",
                    display_name="",
                )
                for tag, data in tags.items()
            }
            for run, tags in self._chosen(run_tag_filter).items()
        }

    def _read(
        self,
        ctx: Any,
        *,
        experiment_id: str,
        plugin_name: str,
        downsample: int,
        run_tag_filter: Any,
    ) -> Any:
        assert plugin_name == schema.PLUGIN_NAME
        assert downsample > 0, "0 means nothing at all"
        chosen = self._chosen(run_tag_filter)
        found = {
            run: {tag: _thinned(data, downsample) for tag, data in tags.items()}
            for run, tags in chosen.items()
        }
        points = [d for tags in found.values() for data in tags.values() for d in data]
        if sum(point.numpy.nbytes for point in points) > self.most_bytes:
            raise TooLargeError
        return found

    def _chosen(self, only: Any) -> dict[str, dict[str, list[Any]]]:
        runs = only.runs if only is not None else None
        tags = only.tags if only is not None else None
        return {
            run: {tag: data for tag, data in series.items() if tags is None or tag in tags}
            for run, series in self.series.items()
            if runs is None or run in runs
        }


def _thinned(data: Sequence[Any], most: int) -> list[Any]:
    stride = -(-len(data) // most)
    return [*data][::-1][::stride][::-1]  # the last one always stays


def events_of(frames: Sequence[Frame], *, verdict: StoredVerdict | None = None) -> list[Any]:
    events = [made.table_event(TABLE), *(made.frame_event(f, TABLE) for f in frames)]
    return [*events, made.verdict_event(verdict, verdict.last_step)] if verdict else events


def source_of(provider: FakeProvider, **options: Any) -> DataProviderSource:
    return DataProviderSource(provider.mock(), object(), "", **options)


def test_a_run_comes_back_whole(tmp_path: pathlib.Path) -> None:
    frames = made.make_frames(TABLE, range(100), histograms_every=50)
    verdict = StoredVerdict((made.make_flag(),), (), 99, 100)
    source = source_of(FakeProvider(run=events_of(frames, verdict=verdict)))
    data = source.read("run")
    made.write_run(tmp_path / "run", TABLE, frames, verdict=verdict)
    expected = EventFileSource(tmp_path).read("run")
    (recording,), (same,) = data.recordings, expected.recordings
    np.testing.assert_array_equal(recording.values, same.values)
    np.testing.assert_array_equal(recording.context, same.context)
    assert recording.table == same.table
    assert data.verdict == expected.verdict == verdict
    assert not data.sampled
    assert [h.step for h in source.histograms("run")] == [0, 50]


def test_the_dense_lane_comes_back_whole() -> None:
    codes = np.full((5, len(TABLE.variables)), 1000, np.uint16)
    lanes = [Lane.of_steps(first, codes, [1] * 5) for first in (0, 5)]
    events = [made.lane_event(lane, TABLE) for lane in lanes]
    run = [*events_of(made.make_frames(TABLE, range(8))), *events]
    lane = source_of(FakeProvider(run=run)).read("run").lane
    assert lane is not None
    assert lane.steps.tolist() == list(range(10))
    assert (lane.high == 1000).all()


def test_runs_of_others_are_not_listed() -> None:
    provider = FakeProvider(
        ours=events_of(made.make_frames(TABLE, range(2))),
        theirs=[made.scalar_event("loss", 0, 1.0)],
    )
    assert source_of(provider).runs() == ["ours"]


def test_steps_handed_out_twice_after_a_restart_count_once() -> None:
    # The Python loader keeps both; the Rust loader has dropped the first ones by itself.
    first, second = made.make_frames(TABLE, range(6)), made.make_frames(TABLE, [3, 4], salt=1)
    both = source_of(FakeProvider(run=events_of([*first, *second]))).read("run")
    rust = source_of(FakeProvider(run=events_of([*first[:3], *second]))).read("run")
    assert both.steps.tolist() == rust.steps.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(both.recordings[0].values, rust.recordings[0].values)


def test_frames_too_large_together_are_read_thinned_and_labelled() -> None:
    provider = FakeProvider(run=events_of(made.make_frames(TABLE, range(100))))
    frame_bytes = 4 * len(TABLE.variables) * len(TABLE.statistics)
    data = source_of(provider, keeps_all=True, most_bytes=20 * frame_bytes).read("run")
    assert data.frames == 20
    assert data.steps[-1] == 99
    assert data.sampled
    assert not data.errors


def test_an_answer_refused_as_too_large_is_asked_for_thinned() -> None:
    provider = FakeProvider(run=events_of(made.make_frames(TABLE, range(3000))))
    provider.most_bytes = 1100 * 4 * len(TABLE.variables) * len(TABLE.statistics)
    data = source_of(provider, keeps_all=True).read("run")
    assert 500 < data.frames <= 1100
    assert data.steps[-1] == 2999
    assert data.sampled


def test_other_errors_are_passed_on() -> None:
    provider = mock.create_autospec(tb_provider.DataProvider, instance=True)
    provider.list_tensors.side_effect = RuntimeError("no connection")
    with pytest.raises(RuntimeError, match="no connection"):
        DataProviderSource(provider, object(), "").read("run")


def test_steps_that_tensorboard_dropped_are_noticed() -> None:
    frames = made.make_frames(TABLE, range(1000))[::97]
    provider = FakeProvider(run=events_of(frames))
    assert source_of(provider).read("run").sampled
    assert not source_of(provider, keeps_all=True).read("run").sampled


def test_frames_that_arrive_between_two_reads_are_no_error() -> None:
    frames = made.make_frames(TABLE, range(10))
    provider = FakeProvider(run=events_of(frames))
    double = provider.mock()

    def grow(*arguments: Any, **options: Any) -> Any:
        found = provider._read(*arguments, **options)
        next_step = len(provider.series["run"][schema.TAG_FRAMES])
        provider.add("run", [made.frame_event(made.make_frame(TABLE, next_step), TABLE)])
        return found

    double.read_tensors.side_effect = grow
    data = DataProviderSource(double, object(), "", keeps_all=True).read("run")
    assert data.frames >= 10
    assert not data.errors
    assert not data.sampled


def test_an_unknown_run_may_still_be_loading() -> None:
    with pytest.raises(ReadError, match="may still be loading"):
        source_of(FakeProvider()).read("run")


def test_a_newer_format_is_refused_for_its_run_and_listed_all_the_same() -> None:
    provider = FakeProvider(run=events_of(made.make_frames(TABLE, range(2))))
    provider.content = pb.PluginData(format_version=99).SerializeToString()
    source = source_of(provider)
    assert source.runs() == ["run"]
    with pytest.raises(ReadError, match="pip install -U"):
        source.read("run")


# --- Glances --------------------------------------------------------------------------------

FRAME_BYTES = 4 * len(TABLE.variables) * len(TABLE.statistics)


def test_a_glance_has_some_frames_the_last_one_and_the_verdict_on_all() -> None:
    verdict = StoredVerdict((made.make_flag(),), (), 99, 100)
    frames = made.make_frames(TABLE, range(100))
    source = source_of(FakeProvider(run=events_of(frames, verdict=verdict)))
    data = source.glance("run", 10 * FRAME_BYTES)
    assert data is not None
    assert data.frames == 10
    assert data.steps[-1] == 99
    assert data.verdict == verdict
    assert not data.errors


def test_a_glance_has_no_verdict_that_judged_only_a_part() -> None:
    # Held against ten frames alone, a verdict on fifty would do.
    verdict = StoredVerdict((), (), 99, 50)
    frames = made.make_frames(TABLE, range(100))
    data = source_of(FakeProvider(run=events_of(frames, verdict=verdict))).glance(
        "run", 10 * FRAME_BYTES
    )
    assert data is not None
    assert data.verdict is None


def test_a_run_that_is_read_soon_is_not_glanced_at() -> None:
    source = source_of(FakeProvider(run=events_of(made.make_frames(TABLE, range(40)))))
    assert source.glance("run", 10 * FRAME_BYTES) is None


# --- Outlines -------------------------------------------------------------------------------


def test_an_outline_shows_steps_variables_and_the_stored_verdict() -> None:
    verdict = StoredVerdict((made.make_flag(),), (), 9, 10)
    frames = made.make_frames(TABLE, range(10))
    outline = source_of(FakeProvider(run=events_of(frames, verdict=verdict))).outlines(["run"])
    assert outline["run"].steps == tuple(range(10))
    assert outline["run"].variables == len(TABLE.variables)
    assert outline["run"].verdict == verdict


def test_outlines_never_read_frames() -> None:
    provider = FakeProvider(run=events_of(made.make_frames(TABLE, range(10))))
    double = provider.mock()
    DataProviderSource(double, object(), "").outlines(["run"])
    read = {
        tag
        for call in double.read_tensors.call_args_list
        for tag in call.kwargs["run_tag_filter"].tags
    }
    assert schema.TAG_FRAMES not in read
    assert schema.TAG_HISTOGRAMS not in read


@pytest.mark.parametrize("frames_judged", [None, 3])
def test_an_outline_has_no_verdict_where_none_covers_the_run(frames_judged: int | None) -> None:
    verdict = None if frames_judged is None else StoredVerdict((), (), 9, frames_judged)
    frames = made.make_frames(TABLE, range(10))
    outline = source_of(FakeProvider(run=events_of(frames, verdict=verdict))).outlines(["run"])
    assert outline["run"].verdict is None


def test_outlines_of_no_runs_ask_nothing() -> None:
    double = FakeProvider().mock()
    assert DataProviderSource(double, object(), "").outlines([]) == {}
    double.read_tensors.assert_not_called()


def test_the_stamp_changes_when_the_run_grows_and_not_otherwise() -> None:
    provider = FakeProvider(run=events_of(made.make_frames(TABLE, range(10))))
    source = source_of(provider)
    before = source.stamps()
    assert source.stamps() == before
    provider.add("run", [made.frame_event(made.make_frame(TABLE, 10), TABLE)])
    assert source.stamps() != before
