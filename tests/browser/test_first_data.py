"""From an empty log folder to the first data, without touching the page."""

from __future__ import annotations

from typing import Any

import made_up_runs
import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


def test_an_empty_folder_says_what_to_add_and_fills_by_itself(tab: Any, server: Any) -> None:
    tab.open()
    expect(tab.find("h1")).to_have_text("No gradient data yet")
    expect(tab.find(".empty pre").first).to_contain_text("tbg.GradientHealth(")

    made_up_runs.write_healthy(server.logdir / "first", last=200)

    expect(tab.find(".verdict")).to_contain_text("Healthy: 23 variables")
    expect(tab.find(".empty")).to_be_hidden()


def test_the_reload_button_brings_new_frames_and_keeps_the_selection(tab: Any, server: Any) -> None:
    made_up_runs.write_sick(server.logdir / "grows", last=300)
    server.wait_for_runs("grows", frames=120)
    tab.open(link="&p.gradient_health.run=grows&p.gradient_health.statistic=update_ratio")
    expect(tab.find(".verdict")).to_contain_text("121 frames over 301 steps")
    tab.find(".label-text", has_text="conv/kernel").first.click()
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")

    made_up_runs.write_more(server.logdir / "grows", after=300, last=600)
    server.wait_for_runs("grows", frames=151)
    tab.page.locator("app-header-reload button").click()

    expect(tab.find(".verdict")).to_contain_text("151 frames over 601 steps")
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")
    expect(tab.find(".statistic")).to_have_value("update_ratio")
