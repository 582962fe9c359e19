"""Event files that older versions have written are read as they were then.

``golden/format_N.tfevents`` was written by the first version of format N: a training of 24 steps
that every version of it must show alike. A file is added with a new format, and none is replaced.
"""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from tb_gradients import schema
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.report import load

GOLDEN = sorted((pathlib.Path(__file__).parent / "golden").glob("format_*.tfevents"))


def test_every_format_has_its_file() -> None:
    numbers = [int(path.stem.rpartition("_")[2]) for path in GOLDEN]
    assert numbers == list(range(1, schema.FORMAT_VERSION + 1))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_file_of_a_released_format_is_read(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copy(path, tmp_path / f"events.out.{path.name}")
    source = EventFileSource(tmp_path)
    data = source.read(".")
    assert data.errors == ()
    assert data.steps.tolist() == list(range(24))
    kernel, bias, *_ = data.recordings[0].table.variables
    assert (kernel.shape, kernel.role, kernel.layer_class) == ((4, 5), "kernel", "Dense")
    assert (bias.shape, bias.role) == ((5,), "bias")
    norms = data.recordings[0].statistic("gradient_norm")
    assert norms.shape == (24, 4) and np.isfinite(norms).all()
    assert data.lane is not None
    assert data.lane.steps.tolist() == list(range(24))
    np.testing.assert_allclose(data.lane.norms, norms, rtol=2e-3)
    assert data.covering_verdict() is not None
    frames = source.histograms(".")
    assert len(frames) == 24
    assert frames[0].unpack()[1].shape == (4, schema.HISTOGRAM_BINS)
    (run,) = load(tmp_path).runs
    assert run.state == "judged" and not run.errors
