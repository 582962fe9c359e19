"""The page of ``tb-gradients check --format html``, in a browser."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import recordings
from conftest import objections

from tb_gradients.documents import html_document
from tb_gradients.reading.report import load

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(
    browser: Any, tmp_path: pathlib.Path, scheme: str
) -> None:
    table = recordings.make_table()
    frames = recordings.make_frames(table, range(60))
    faulty = recordings.turn_nonfinite(frames, table, 30)
    recordings.write_run(tmp_path / "good", table, frames)
    recordings.write_run(tmp_path / ("a_long_name_of_a_series_" * 4), table, faulty)
    page = browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 640})

    page.set_content(html_document(load(tmp_path), "logs"))

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert objections(page.evaluate) == []
    page.close()
