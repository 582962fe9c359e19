"""What is shown, as files."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any
from xml.etree import ElementTree

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

KERNEL = "encoder/block_1/conv/kernel"


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


def test_pictures_hold_the_canvas_and_the_names_beside_it(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".label-text", has_text="conv/kernel").first).to_be_visible()
    expect(tab.find(".progress")).to_be_hidden()
    assert export(tab, "PNG of Heat-map").read_bytes().startswith(b"\x89PNG")

    picture = ElementTree.fromstring(export(tab, "SVG of Heat-map").read_text())
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "Heat-map · sick · Gradient RMS" in texts
    assert "conv/kernel" in texts
    images = [element.get("href") for element in picture.iter("{http://www.w3.org/2000/svg}image")]
    assert all(str(address).startswith("data:image/png;base64,") for address in images)
    assert len(images) >= 2, "legend and cells"
