"""Before and after the fix: one model, two runs, side by side."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


def test_a_second_run_is_put_beside_the_first_and_taken_away(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".head")).to_have_count(1)
    tab.find("[data-run='healthy'] .run-compare").click()
    expect(tab.find(".head .run-name")).to_have_text(["sick", "healthy"])
    expect(tab.find(".difference")).to_have_text("6 findings not in the second run.")
    expect(tab.find(".flag-elsewhere").first).to_have_text("Not in healthy")
    assert tab.link()["compare"] == "healthy"

    tab.find("button", has_text="End comparison").click()
    expect(tab.find(".head")).to_have_count(1)
    expect(tab.find(".flag-elsewhere")).to_have_count(0)
    tab.wait_until(lambda: "compare" not in tab.link())


def test_what_only_the_second_run_has_is_one_click_away(tab: Any) -> None:
    tab.open(run="healthy", compare="sick")
    expect(tab.find(".difference")).to_have_text("6 findings only in the second run.")
    news = tab.find(".only-other .flag-chip")
    expect(news).to_have_count(6)
    news.filter(has_text="Dead units").click()
    expect(tab.find(".head .run-name")).to_have_text(["sick", "healthy"])
    expect(tab.find(".flag[data-open] .flag-rule")).to_have_text("Dead units")
    wanted = {"run": "sick", "compare": "healthy", "variable": "head/dense/kernel"}
    tab.wait_until(lambda: wanted.items() <= tab.link().items())


def test_the_address_restores_the_comparison(tab: Any) -> None:
    view = {
        "run": "sick",
        "compare": "healthy",
        "variable": "head/dense/kernel",
        "statistic": "update_ratio",
        "encoding": "difference",
        "zoom": "500-1500",
        "step": "1000",
        "rows": "head",
        "axis": "frames",
    }
    tab.open(**view)
    expect(tab.find(".head .run-name")).to_have_text(["sick", "healthy"])
    expect(tab.find(".statistic")).to_have_value("update_ratio")
    expect(tab.find("[aria-label='Colours'] [aria-pressed='true']")).to_have_text("Difference")
    expect(tab.find(".zoom")).to_contain_text("Steps 500–1,500")
    expect(tab.find(".frame-count").first).to_contain_text("71 of 271 frames shown")
    expect(tab.find(".exact-step").first).to_have_value("1000")
    expect(tab.find(".row-filter")).to_have_value("head")
    expect(tab.find(".inspector h2")).to_have_text("head/dense/kernel")
    assert tab.link() == view

    tab.find(".zoom").click()
    expect(tab.find(".frame-count").first).to_contain_text("271 frames")


def test_habits_survive_a_new_visit_and_the_selection_does_not(tab: Any) -> None:
    tab.open(run="healthy")
    expect(tab.find(".head .run-name")).to_have_text("healthy")
    tab.find(".options .popup-button").click()
    tab.find("[aria-label='Step axis'] button", has_text="Frame").click()
    tab.page.goto("about:blank")
    tab.open()
    expect(tab.find(".head .run-name")).to_have_text("sick")
    tab.find(".options .popup-button").click()
    expect(tab.find("[aria-label='Step axis'] [aria-pressed='true']")).to_have_text("Frame")
