"""Runs of one series: long names that differ in a few characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import recordings
from conftest import tensorboard

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

SERIES = "experiment_resnet50_imagenet_batch256_warmup5_cosine/"
NAMES = [
    f"{SERIES}{what}" for what in ("lr=0.1_seed=1", "lr=0.1_seed=2", f"{'very_' * 40}long_seed=3")
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    logs = tmp_path_factory.mktemp("series")
    table = recordings.make_table()
    for name in NAMES:
        recordings.write_run(logs / name, table, recordings.make_frames(table, range(9)), flags=[])
    with tensorboard(logs) as running:
        running.wait_for_runs(*NAMES, frames=9)
        yield running


def test_no_name_is_cut_in_the_list(tab: Any) -> None:
    tab.open(run=NAMES[0])
    rows = tab.find(".run-row")
    expect(rows.locator(".run-name")).to_have_text(NAMES)
    for row in rows.all():
        cut = "(name) => name.scrollWidth > name.clientWidth + 1"
        assert not row.locator(".run-name").evaluate(cut)


def test_a_name_that_is_longer_than_the_window_pushes_nothing_out_of_it(tab: Any) -> None:
    tab.open(run=NAMES[2], compare=NAMES[0])
    expect(tab.find(".head .run-name")).to_have_text([NAMES[2], NAMES[0]])
    expect(tab.find(".export .popup-button")).to_be_in_viewport(ratio=1)
    # In one piece: it can be copied.
    assert tab.find(".head .run-name").all_inner_texts() == [NAMES[2], NAMES[0]]
    assert tab.run("() => document.documentElement.scrollWidth <= window.innerWidth")
