"""What is shown, as files."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import made_up_runs
import pytest
from conftest import Tab, tensorboard

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

KERNEL = "encoder/block_1/conv/kernel"
SVG = "{http://www.w3.org/2000/svg}"


def export(tab: Any, name: str) -> pathlib.Path:
    """Press a button of the export menu; the file that the browser then downloads."""
    if tab.find(".export").get_attribute("open") is None:
        tab.find(".export .popup-button").click()
    with tab.page.expect_download() as download:
        tab.frame.get_by_role("button", name=name, exact=True).click()
    return pathlib.Path(download.value.path())


def test_numbers_and_report_are_those_of_the_back_end(tab: Any, server: Any) -> None:
    tab.open(run="sick", variable=KERNEL, rows="block_1.*kernel", zoom="100-120")
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)

    with export(tab, "CSV of the statistic shown").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["run", "step", KERNEL]
    assert [row[:2] for row in rows] == [["sick", "100"], ["sick", "110"], ["sick", "120"]]
    assert 0 < float(rows[0][2]) < 1e-9

    with export(tab, "CSV of the selected variable").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert "update_ratio" in header
    assert len(rows) == 3

    report = json.loads(export(tab, "JSON report of what is shown").read_text())
    assert report == server.get("report?run=sick")
    assert report["runs"][0]["verdict"] == "critical"


def vectors(tab: Any, name: str) -> Element:
    """The SVG of a picture, read as the XML it has to be."""
    return ElementTree.fromstring(export(tab, f"SVG of {name}").read_text(encoding="utf-8"))


def texts(picture: Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def images(picture: Element) -> list[Element]:
    return list(picture.iter(f"{SVG}image"))


def points(picture: Element) -> list[int]:
    """Of every line, in how many points it turns."""
    return [
        path.get("d", "").count("L")
        for path in picture.iter(f"{SVG}path")
        if path.get("fill") == "none" and "NaN" not in path.get("d", "")
    ]


def test_cells_are_an_image_and_all_around_them_is_vectors(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".label-text", has_text="conv/kernel").first).to_be_visible()
    expect(tab.find(".progress")).to_be_hidden()
    assert export(tab, "PNG of Heat-map").read_bytes().startswith(b"\x89PNG")

    picture = vectors(tab, "Heat-map")
    assert {"Heat-map · sick · Gradient RMS", "conv/kernel", "1,000", "2,000", "healthy"} <= set(
        texts(picture)
    )
    (cells,) = images(picture)
    assert cells.get("href", "").startswith("data:image/png;base64,")
    colours = {path.get("fill") for path in picture.iter(f"{SVG}path")}
    assert {"#b3142c", "#8a5300", "#000000"} <= colours, "where findings begin, and NaN"


def test_a_picture_holds_what_is_scrolled_out_of_view_and_leaves_the_page_as_it_was(
    tab: Any,
) -> None:
    tab.open(run="sick", variable=KERNEL)
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    expect(tab.find(".panel[data-title='Loss'] canvas")).to_be_attached()
    expect(tab.find(".progress")).to_be_hidden()
    scrolled = """() => ['.scroller', '.charts'].map((name) => {
        const box = document.querySelector(name);
        return [box.scrollTop, box.clientHeight, box.style.cssText];
    })"""
    for name, top in ((".charts", 70), (".scroller", 40)):  # as soon as there is that much
        tab.find(name).evaluate(
            """(box, top) => new Promise((done) => {
                const scroll = () => {
                    box.scrollTop = top;
                    if (box.scrollTop === top) done();
                    else requestAnimationFrame(scroll);
                };
                scroll();
            })""",
            top,
        )
    before = tab.run(scrolled)

    heatmap = vectors(tab, "Heat-map")
    names = texts(heatmap)
    assert {"encoder", "block_1", "block_6", "auxiliary"} <= set(names)
    assert names.count("conv/kernel") == made_up_runs.BLOCKS
    (cells,) = images(heatmap)
    rows = 23 + 9  # variables and their modules
    assert float(cells.get("height", "0")) > 20 * (rows - 1)
    assert "Learning rate" in texts(vectors(tab, "Variable over steps"))
    assert tab.run(scrolled) == before
    expect(tab.find(".label-text", has_text="auxiliary")).to_have_count(0)


def test_lines_profile_and_histograms_are_vectors(tab: Any) -> None:
    tab.page.set_viewport_size({"width": 1300, "height": 1600})
    tab.open(run="sick", variable=KERNEL, zoom="0-1000")
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    expect(tab.find(".panel[data-title='Loss'] canvas")).to_be_visible()
    charts = vectors(tab, "Variable over steps")
    assert images(charts) == []
    assert {
        f"Variable over steps · sick · {KERNEL} · steps 0 to 1,000",
        "Update ratio",
    } <= set(texts(charts))
    assert any(text.startswith("−1e-") for text in texts(charts)), "the axis of the histograms"
    # The lines of gradient, update ratio, zeros, NaN, loss and learning rate.
    assert len([count for count in points(charts) if count > 100]) >= 5

    tab.find(".panel-histogram").get_by_role("button", name="Ridges").click()
    expect(tab.find(".panel-histogram[data-form='ridges']")).to_be_visible()
    ridges = vectors(tab, "Variable over steps")
    assert images(ridges) == []
    filled = [path for path in ridges.iter(f"{SVG}path") if path.get("fill-opacity") == "0.85"]
    assert len(filled) > 20, "two ridges, one of each sign, for each of some steps"

    bars = vectors(tab, "Gradient values")
    assert images(bars) == []
    assert any(path.get("d", "").count("M") > 10 for path in bars.iter(f"{SVG}path"))


def test_a_profile_is_vectors(tab: Any) -> None:
    tab.open(run="sick", view="profile", step="1000")
    expect(tab.find(".profile-slope")).to_contain_text("From layer to layer")
    profile = vectors(tab, "Layer profile")
    assert images(profile) == []
    circles = [path for path in profile.iter(f"{SVG}path") if path.get("d", "").count("A") == 2]
    assert len(circles) >= 20, "a dot for each of 23 variables, but for those not measured"
    assert "head" in texts(profile)


def test_names_of_runs_are_escaped_and_keep_their_ends(window: Any, tmp_path: pathlib.Path) -> None:
    names = ["a <b> & 'c' of a long series-1", "a <b> & 'c' of a long series-2"]
    for name in names:
        made_up_runs.write_healthy(tmp_path / "logs" / name, last=300)
    with tensorboard(tmp_path / "logs") as server:
        server.wait_for_runs(*names, frames=121)
        tab = Tab(window.new_page(), server.address)
        tab.page.set_viewport_size({"width": 1300, "height": 1600})
        tab.open(run=names[0], compare=names[1], variable=KERNEL)
        keys = tab.find(".panel[data-title='Loss'] dt")
        expect(keys).to_have_text(names)
        for i, name in enumerate(names):
            end = keys.nth(i).locator("span").last
            expect(end).to_have_text(name[-4:])
            end.scroll_into_view_if_needed()
            expect(end).to_be_in_viewport(ratio=0.95)

        picture = vectors(tab, "Variable over steps")
        assert images(picture) == []
        written = texts(picture)
        assert f"Variable over steps · {names[0]} and {names[1]} · {KERNEL}" in " ".join(written)
        assert any(text.startswith("a <") and text.endswith("…") for text in written)
        assert {name[-4:] for name in names} <= set(written)
        tab.page.close()
    assert tab.complaints == []
