"""Ways from the list of runs, and from a long list of variables, to what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


def test_the_table_of_runs_says_what_is_wrong_with_each_and_opens_it(tab: Any) -> None:
    tab.open(run="healthy")
    tab.frame.get_by_role("button", name="Table", exact=True).click()
    rows = tab.find(".run-table tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_have_attribute("data-run", "sick")  # the worst one
    expect(rows.first).to_contain_text("NaN or Inf in the gradient")
    expect(rows.first.locator(".rule-cell[data-severity='critical']")).to_have_count(2)
    expect(rows.last.locator(".rule-cell[data-severity]")).to_have_count(0)
    rows.first.get_by_role("button").click()
    expect(tab.find(".run-table")).to_be_hidden()
    expect(tab.find(".head .run-name")).to_have_text("sick")


def test_the_strip_leads_to_a_variable_with_a_finding(tab: Any) -> None:
    tab.open(run="sick")
    marks = tab.find(".strip button")
    expect(marks.first).to_be_visible()
    name = marks.last.get_attribute("data-focus")
    row = tab.find(f".label[data-key='{name}']")
    marks.last.click()
    expect(row).to_be_in_viewport()


def test_only_the_variables_with_a_finding_are_listed_if_wanted(tab: Any) -> None:
    tab.open(run="sick")
    labels = tab.find(".label")
    expect(labels.first).to_be_visible()
    tab.frame.get_by_role("button", name="With findings", exact=True).click()
    tab.wait_until(lambda: tab.link().get("only") == "findings")
    expect(tab.find(".label[data-key='encoder/block_3/norm/gamma']")).to_have_count(0)
    expect(tab.find(".strip button").first).to_be_visible()
