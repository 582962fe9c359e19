"""From an empty log folder to the first data, without touching the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import made_up_runs
import pytest
import recordings
from conftest import Server, tensorboard, violations

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On a folder that is empty at first."""
    with tensorboard(tmp_path_factory.mktemp("logs")) as running:
        yield running


def test_an_empty_folder_says_what_to_add_and_fills_by_itself(tab: Any, server: Any) -> None:
    tab.open()
    expect(tab.find(".empty h1")).to_have_text("No gradient data yet")
    expect(tab.find(".empty pre").first).to_contain_text("tbg.GradientHealth(")
    assert violations(tab) == []

    made_up_runs.write_healthy(server.logdir / "first", last=200)

    expect(tab.find(".verdict")).to_contain_text("Healthy: 23 variables")
    expect(tab.find(".empty")).to_be_hidden()


def test_a_run_that_grows_is_appended_to_and_nothing_jumps(tab: Any, server: Any) -> None:
    made_up_runs.write_faulty(server.logdir / "grows", last=300)
    server.wait_for_runs("grows", frames=120)
    tab.open(run="grows", statistic="update_ratio", step="50", rows="conv")
    expect(tab.find(".verdict")).to_contain_text("121 frames over 301 steps")
    tab.find(".flag-head", has_text="None").focus()
    tab.find(".label-text", has_text="conv/kernel").first.click()
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")
    tab.run("document.querySelector('.scroller').scrollTop = 40")
    tab.run("document.querySelector('.charts').scrollTop = 60")

    made_up_runs.write_more(server.logdir / "grows", after=300, last=600)
    server.wait_for_runs("grows", frames=151)
    tab.page.locator("app-header-reload button").click()

    expect(tab.find(".verdict")).to_contain_text("151 frames over 601 steps")
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")
    expect(tab.find(".statistic")).to_have_value("update_ratio")
    expect(tab.find(".row-filter")).to_have_value("conv")
    expect(tab.find(".exact-step").first).to_have_value("50")
    assert tab.run("document.querySelector('.scroller').scrollTop") == 40
    assert tab.run("document.querySelector('.charts').scrollTop") == 60


def test_the_last_step_is_followed_while_the_run_grows(tab: Any, server: Any) -> None:
    made_up_runs.write_healthy(server.logdir / "follows", last=300)
    server.wait_for_runs("follows", frames=120)
    tab.open(run="follows")
    expect(tab.find(".exact-step").first).to_have_value("300")
    made_up_runs.write_more(server.logdir / "follows", after=300, last=400)
    server.wait_for_runs("follows", frames=131)
    tab.page.locator("app-header-reload button").click()
    expect(tab.find(".exact-step").first).to_have_value("400")


def test_a_run_that_nobody_has_judged_shows_its_numbers_before_its_verdict(
    tab: Any, server: Any
) -> None:
    table = made_up_runs.network()
    frames = made_up_runs.faulty_frames(table, made_up_runs.schedule(300))
    recordings.write_run(server.logdir / "crashed", table, frames)
    server.wait_for_runs("crashed", frames=len(frames))
    held: list[Any] = []
    tab.page.route("**/gradient_health/verdict?**", lambda route: held.append(route))
    tab.page.route("**/gradient_health/run?**", lambda route: route.fulfill(json=unjudged(route)))
    tab.open(run="crashed")
    expect(tab.find(".verdict")).to_have_text("Judging 121 frames …")
    expect(tab.find(".judging")).to_be_visible()
    expect(tab.find("canvas.cells:visible")).to_be_visible()
    assert violations(tab) == []
    tab.wait_until(lambda: held != [])
    held[0].continue_()
    expect(tab.find(".flag").first).to_be_visible()
    expect(tab.find(".judging")).to_have_count(0)


def unjudged(route: Any) -> Any:
    """The run as a slow machine would answer it: a fast one has judged it by then."""
    return {**route.fetch().json(), "judged": None, "flags": []}


def test_a_run_without_frames_says_what_is_missing(tab: Any, server: Any) -> None:
    recordings.write_run(server.logdir / "attached", made_up_runs.network(), [])
    server.wait_for_runs("attached", frames=0)
    tab.open(run="attached")
    expect(tab.find(".run-state h2")).to_have_text("attached has no frames yet")
    expect(tab.find(".run-state")).to_contain_text("monitor.step()")
    expect(tab.find("[data-run='attached'] .badge")).to_have_text("no frames yet")
    assert violations(tab) == []
    expect(tab.find(".verdict")).to_contain_text("nothing could be judged")
    expect(tab.find(".run-note")).to_have_count(0)


def test_a_run_of_a_newer_format_says_how_to_read_it(tab: Any, server: Any) -> None:
    event = recordings.table_event(made_up_runs.network(), format_version=99)
    recordings.write_events(server.logdir / "future", [event])
    server.wait_for_runs("future", frames=0)
    tab.open(run="future")
    expect(tab.find(".run-state h2")).to_have_text("future could not be read")
    expect(tab.find(".run-state")).to_contain_text("pip install -U tb-gradients")
    expect(tab.find(".run-state button")).to_have_text("Try again")
    expect(tab.find("[data-run='future'] .badge")).to_have_text("cannot be read")
    assert violations(tab) == []
    # The browser itself reports the answer's status.
    assert all("404" in complaint for complaint in tab.complaints)
    tab.complaints.clear()
