"""5,000 variables, four runs at once, and the other one of TensorBoard's two loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import made_up_runs
import pytest
from conftest import Server, tensorboard

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With TensorBoard's Python loader; in all other tests it takes the other, if it has one."""
    logdir = tmp_path_factory.mktemp("logs")
    made_up_runs.write_large(logdir / "large", frames=64)
    made_up_runs.write_faulty(logdir / "sick")
    for name in ("healthy", "fixed", "again"):
        made_up_runs.write_healthy(logdir / name, last=300)
    with tensorboard(logdir, "--load_fast=false") as running:
        running.wait_for_runs("large", frames=64)
        running.wait_for_runs("sick", frames=271)
        running.wait_for_runs("healthy", "fixed", "again", frames=121)
        yield running


def test_the_python_loader_shows_the_same_frames(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".verdict")).to_have_text(
        "2 critical, 3 warnings, 1 info in 23 variables, 271 frames over 3,001 steps"
    )
    expect(tab.find(".head .note")).to_have_count(0)


def test_a_large_run_is_seen_before_all_of_it_is_read(tab: Any) -> None:
    # Before any other test: once TensorBoard has read the run, all of it comes at once.
    held: list[Any] = []
    tab.page.route(
        lambda url: "/run?" in url and "run=large" in url and "glance" not in url,
        lambda route: held.append(route),
    )
    tab.open(run="large")
    expect(tab.find(".timebar")).to_contain_text("reading the rest …")
    expect(tab.find(".verdict")).to_contain_text("1 warning in 5,000 variables, reading all frames")
    expect(tab.find("canvas.cells:visible")).to_have_count(1)
    tab.wait_until(lambda: len(held) > 0)
    for route in held:
        route.continue_()
    expect(tab.find(".timebar")).to_contain_text("64 frames · 64 steps trained")
    expect(tab.find(".verdict")).to_contain_text("64 frames over 64 steps")


def test_of_5000_variables_only_the_rows_in_view_exist(tab: Any) -> None:
    tab.open(run="large")
    expect(tab.find(".verdict")).to_contain_text("1 warning in 5,000 variables")
    expect(tab.find(".label").first).to_be_visible()
    tab.find(".options .popup-button").click()
    tab.find("button", has_text="Open all").click()
    tab.wait_until(lambda: tab.run("document.querySelector('.rows').clientHeight") > 5000 * 20)
    assert tab.find(".label").count() < 100
    tab.run("document.querySelector('.scroller').scrollTop = 1e9")
    expect(tab.find(".label[title$='dense_2499/bias']")).to_be_in_viewport()
    assert tab.find(".label").count() < 100


def test_a_picture_of_5000_rows_has_those_in_view_and_says_so(tab: Any) -> None:
    tab.open(run="large")
    expect(tab.find(".label").first).to_be_visible()
    tab.find(".options .popup-button").click()
    tab.find("button", has_text="Open all").click()
    tab.wait_until(lambda: tab.run("document.querySelector('.rows').clientHeight") > 5000 * 20)
    tab.find(".export .popup-button").click()
    with tab.page.expect_download():
        tab.frame.get_by_role("button", name="PNG of Heat-map", exact=True).click()
    expect(tab.find(".export .note")).to_contain_text("It shows the rows in view")


def test_one_of_5000_variables_is_found_by_its_flag_and_by_a_pattern(tab: Any) -> None:
    tab.open(run="large")
    # It opens at the finding, far down, and the strip beside the rows leads back to it.
    expect(tab.find(".label[title$='dense_2498/kernel']")).to_be_in_viewport()
    tab.run("document.querySelector('.scroller').scrollTop = 0")
    tab.find(".strip button").press("Enter")
    expect(tab.find(".label[title$='dense_2498/kernel']")).to_be_in_viewport()
    tab.find(".only-flagged").click()
    expect(tab.find(".label-text")).to_have_text(["block_249", "dense_2498/kernel"])
    tab.find(".only-flagged").click()
    tab.find(".flag-head").click()
    expect(tab.find(".label[aria-selected='true']")).to_be_in_viewport()
    expect(tab.find(".inspector h2")).to_have_text("tower/block_249/dense_2498/kernel")
    tab.find(".row-filter").fill("dense_77/k")
    expect(tab.find(".label-module .label-text")).to_have_text("block_7")


def test_four_runs_stand_side_by_side_with_the_same_rows(tab: Any) -> None:
    tab.open(run="sick", compare="healthy,fixed,again", variable="head/dense/kernel")
    expect(tab.find(".pane-heads .run-name")).to_have_text(["sick", "healthy", "fixed", "again"])
    expect(tab.find("canvas.cells:visible")).to_have_count(4)
    expect(tab.find(".difference")).to_contain_text("6 findings not in fixed.")
    expect(tab.find(".flag").first.locator(".flag-elsewhere > span")).to_have_text(
        ["Not in healthy", "Not in fixed", "Not in again"]
    )
    lines = tab.find(".panel[data-title='Loss'] dt")
    expect(lines).to_have_text(["sick", "healthy", "fixed", "again"])
    expect(tab.find(".bars-figure figcaption")).to_contain_text("outline: again at step")
    tab.find("[data-run='healthy'] .run-compare").click()
    expect(tab.find("canvas.cells:visible")).to_have_count(3)
    tab.wait_until(lambda: tab.link()["compare"] == "fixed,again")
    tab.find("[aria-label='Colours'] button", has_text="Difference").click()
    expect(tab.find("canvas.cells:visible")).to_have_count(2)
