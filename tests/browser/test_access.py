"""For everybody: axe-core finds nothing to complain of, and nothing needs a large screen."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import violations

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

KERNEL = "encoder/block_1/conv/kernel"
THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@THEMES
def test_the_first_look_at_a_faulty_run_is_accessible(tab: Any, dark: bool) -> None:
    tab.open(run="sick", dark=dark)
    expect(tab.find(".flag")).to_have_count(6)
    expect(tab.find(".progress")).to_be_hidden()
    assert violations(tab) == []


@THEMES
def test_everything_open_at_once_is_accessible(tab: Any, dark: bool) -> None:
    tab.open(run="sick", compare="healthy", zoom="0-500", compareStep="100", dark=dark)
    tab.find(".flag-head", has_text=KERNEL).click()
    tab.find(".all-numbers summary").click()
    expect(tab.find(".value-table tr", has_text="Update ratio")).to_be_visible()
    expect(tab.find(".progress")).to_be_hidden()
    tab.find(".options .popup-button").click()
    assert violations(tab) == []
    tab.find(".export .popup-button").click()
    assert violations(tab) == []
    tab.find("button", has_text="About this rule").click()
    expect(tab.find("dialog.rule-card")).to_be_visible()
    assert violations(tab) == []


@THEMES
def test_the_layer_profile_is_accessible(tab: Any, dark: bool) -> None:
    tab.open(run="sick", view="profile", dark=dark)
    expect(tab.find("[aria-label='View'] [aria-pressed='true']")).to_have_text("By depth")
    expect(tab.find(".progress")).to_be_hidden()
    assert violations(tab) == []


def test_a_healthy_run_is_accessible_and_says_what_was_looked_for(tab: Any) -> None:
    tab.open(run="healthy")
    tab.find(".passed > summary").click()
    expect(tab.find(".passed li", has_text="Dead units")).to_be_visible()
    assert violations(tab) == []
    tab.find("button[aria-label='Words and keys']").click()
    expect(tab.find("dialog.glossary")).to_contain_text("Update ratio")
    assert violations(tab) == []
    tab.page.keyboard.press("Escape")
    tab.find(".passed button", has_text="Dead units").click()
    expect(tab.find("dialog.rule-card")).to_contain_text("Why it matters")


def test_a_tab_that_waits_for_its_data_is_accessible_and_says_so(tab: Any) -> None:
    held: list[Any] = []
    tab.page.route("**/gradient_health/run?**", lambda route: held.append(route))
    tab.open(run="sick")
    expect(tab.find(".run-state .reading")).to_have_text("Reading sick …")
    expect(tab.find(".progress")).to_be_visible()
    assert violations(tab) == []
    for route in held:
        route.continue_()
    expect(tab.find(".verdict")).to_contain_text("2 critical")


def test_every_control_has_a_visible_focus(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".flag")).to_have_count(6)
    tab.find(".run-row").first.focus()
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        style = tab.run(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", 2], tab.run("document.activeElement.outerHTML")


@pytest.mark.parametrize("width", [1280, 1024])
@pytest.mark.parametrize("compare", ["", "healthy"], ids=["one", "two"])
def test_nothing_sticks_out_of_a_notebooks_screen(tab: Any, width: int, compare: str) -> None:
    tab.page.set_viewport_size({"width": width, "height": 700})
    tab.open(run="sick", compare=compare)
    tab.find(".flag-head", has_text=KERNEL).click()
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    tab.find("button", has_text="Over steps").click()
    # The numbers are folded away: the picture has the room. They are one click away.
    assert tab.run("document.querySelector('.scroller').clientWidth") > width / 2
    tab.find(".fold").click()
    expect(tab.find(".judged li", has_text="Update ratio")).to_be_visible()
    cut = tab.run(
        """[...document.querySelectorAll(
             `.pane, .header, .controls, .meaning, .timebar, .legend-bar, .legend-key,
              .flag, .fixes li, .value-table`)]
             .filter((element) => element.scrollWidth > element.clientWidth + 1)
             .map((element) => element.className)"""
    )
    assert cut == []
    map_height = tab.run("document.querySelector('.scroller').clientHeight")
    assert map_height > 120, "the heat-map has room for a few rows"
