"""Zoom, layer profile and forms of the histograms, by pointer and by keyboard."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

KERNEL = "encoder/block_1/conv/kernel"
CELLS = "canvas.cells"
LINES = ".panel[data-title='Gradient RMS'] canvas"


def pixels(tab: Any, selector: str) -> str:
    """What a canvas shows, once it was drawn."""
    return str(
        tab.run(
            """async (selector) => {
              await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
              return document.querySelector(selector).toDataURL();
            }""",
            selector,
        )
    )


def test_dragging_over_the_cells_zooms_and_pressing_twice_shows_all(tab: Any) -> None:
    tab.open(run="sick")
    cells = tab.find("canvas.cells:visible")
    expect(tab.find(".verdict")).to_contain_text("critical")
    box = cells.bounding_box()
    y = box["y"] + 120
    tab.page.mouse.move(box["x"] + 100, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 250, y, steps=5)
    expect(tab.find(".brush")).to_be_visible()
    tab.page.mouse.up()
    expect(tab.find("button.zoom")).to_be_visible()
    first, last = map(int, tab.link()["zoom"].split("-"))
    assert 0 < first < last < 3000

    cells.dblclick(position={"x": 200, "y": 120})
    expect(tab.find("button.zoom")).to_be_hidden()


def test_options_set_axis_smoothing_and_colours_and_are_kept(tab: Any) -> None:
    tab.open(run="sick", encoding="absolute", variable=KERNEL)
    tab.find(LINES).wait_for()
    tab.find(".options > summary").click()

    def press(name: str, selector: str) -> None:
        before = pixels(tab, selector)
        tab.frame.get_by_role("button", name=name, exact=True).click()
        tab.wait_until(lambda: pixels(tab, selector) != before)

    press("Time", CELLS)
    press("Fit to run", CELLS)
    cells, lines = pixels(tab, CELLS), pixels(tab, LINES)
    tab.frame.get_by_label("Smoothing of the charts").fill("0.9")
    tab.wait_until(lambda: pixels(tab, LINES) != lines)
    assert pixels(tab, CELLS) == cells
    wanted = {"axis": "relative", "colours": "run", "smoothing": "0.9"}
    tab.wait_until(lambda: wanted.items() <= tab.link().items())

    tab.page.goto("about:blank")
    tab.open()
    tab.find(".options > summary").click()
    pressed = tab.find(".options [aria-pressed=true]")
    expect(pressed).to_have_text(["Time", "Log", "Fit to run"])
    expect(tab.find(".options output")).to_have_text("0.90")


def test_zoom_is_reached_by_keyboard(tab: Any) -> None:
    tab.open(run="sick", step="300")
    tab.find("canvas.cells:visible").wait_for()
    tab.find(".scroller").focus()
    tab.page.keyboard.press("+")
    expect(tab.find("button.zoom")).to_be_visible()
    tab.page.keyboard.press("0")
    expect(tab.find("button.zoom")).to_be_hidden()


def test_the_profile_shows_the_slope_and_is_walked_by_keyboard(tab: Any) -> None:
    tab.open(run="sick", view="profile", step="1000")
    expect(tab.find(".profile-slope")).to_contain_text("From layer to layer towards the input: ÷")
    tab.find(".profile-canvas").focus()
    tab.page.keyboard.press("Home")
    expect(tab.find(".profile [aria-live]")).to_contain_text(KERNEL)
    expect(tab.find(".profile [aria-live]")).to_contain_text("step 1,000")
    tab.page.keyboard.press("Enter")
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)


def test_a_finding_about_depth_has_its_limit_as_a_line(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text="vanish").click()
    expect(tab.find(".profile-key")).to_contain_text("limit")


def test_histograms_stand_behind_each_other_and_choose_their_step(tab: Any) -> None:
    tab.open(run="sick", variable=KERNEL)
    tab.find(".panel-histogram").get_by_role("button", name="Ridges").click()
    ridges = tab.find(".panel-histogram[data-form='ridges'] canvas")
    ridges.click(position={"x": 200, "y": 41})
    expect(tab.find(".step-bar h3")).to_have_text("At step 0")
