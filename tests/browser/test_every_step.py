"""Charts draw every step where the run has a dense lane, however far apart its frames are."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import recordings
from conftest import Server, tensorboard

from tb_gradients.lane import Lane, codes_of

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

TABLE = recordings.make_table(3)
LAST = 400
FRAMES = range(0, LAST + 1, 100)
HOSTILE = "<img src=x onerror=document.title='harm'> of a very long name"


def lane() -> Lane:
    """Norms of 1, but for step 150; every other step changes weights."""
    steps = np.arange(LAST + 1)
    squares = np.ones((LAST + 1, len(TABLE.variables)), np.float32)
    squares[150] = 1e6
    losses = np.where(steps == 250, np.nan, 2 - steps / LAST).astype(np.float32)
    lane = Lane.of_steps(0, codes_of(squares), steps % 2, losses)
    kl = np.where(steps == 200, np.nan, 1 + steps)
    return lane.with_named_losses({"kl": [*enumerate(kl)], HOSTILE: [*enumerate(steps)]})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    logdir = tmp_path_factory.mktemp("logs")
    events = [recordings.file_version(), recordings.table_event(TABLE, 0)]
    events += [recordings.frame_event(f, TABLE) for f in recordings.make_frames(TABLE, FRAMES)]
    recordings.write_events(logdir / "sparse", [*events, recordings.lane_event(lane(), TABLE)])
    with tensorboard(logdir) as running:
        running.wait_for_runs("sparse", frames=len(FRAMES))
        yield running


def longest_line(tab: Any, title: str) -> int:
    """In how many points the line of a chart turns, in the picture of all charts."""
    expect(tab.find(f".panel[data-title='{title}'] canvas")).to_be_visible()
    if tab.find(".export").get_attribute("open") is None:
        tab.find(".export .popup-button").click()
    with tab.page.expect_download() as download:
        tab.frame.get_by_role("button", name="SVG of Variable over steps", exact=True).click()
    text = pathlib.Path(download.value.path()).read_text(encoding="utf-8")
    paths = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}path")
    return max(path.get("d", "").count("L") for path in paths if path.get("fill") == "none")


def test_a_run_of_five_frames_has_a_line_of_all_its_steps(tab: Any) -> None:
    with tab.page.expect_response(lambda answer: "/lane?" in answer.url) as asked:
        tab.open(run="sparse", variable="dense/kernel")
    assert asked.value.status == 200
    expect(tab.find(".progress")).to_be_hidden()
    assert longest_line(tab, "Gradient RMS") > 20 * len(FRAMES)
    expect(tab.find(".panel[data-title='Weights moved'] canvas")).to_be_visible()


def test_each_loss_with_a_name_has_a_line_below_the_loss(tab: Any) -> None:
    tab.open(run="sparse", variable="dense/kernel", step="200")
    expect(tab.find(".progress")).to_be_hidden()
    for name in ("kl", HOSTILE):
        panel = tab.frame.locator(".panel").filter(has=tab.frame.get_by_text(name, exact=True))
        expect(panel.locator("canvas")).to_be_visible()
    titles = tab.find(".panel").evaluate_all("all => all.map(one => one.dataset.title)")
    at = titles.index("Loss")
    assert titles[at : at + 4] == ["Loss", "kl", HOSTILE, "Learning rate"]
    assert tab.page.title() != "harm"
    expect(tab.find(".panel[data-title='kl'] dd")).to_have_text("NaN or Inf")
    label = tab.find(".panel-label").filter(has_text="onerror")
    assert label.evaluate("one => one.scrollWidth <= one.clientWidth")
    assert longest_line(tab, "kl") > 20 * len(FRAMES)


def is_zoomed(answer: Any) -> bool:
    return "/lane?" in answer.url and "from=100" in answer.url


def test_zooming_asks_for_the_steps_that_are_seen(tab: Any) -> None:
    with tab.page.expect_response(
        lambda answer: "/lane?" in answer.url and "from=100" in answer.url
    ):
        tab.open(run="sparse", variable="dense/kernel", zoom="100-200")
    expect(tab.find(".panel[data-title='Loss'] canvas")).to_be_visible()
