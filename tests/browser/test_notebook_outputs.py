"""In the frames of JupyterLab and Colab nothing of the outputs of cells is cut.

A page stands in for the notebook: it has a frame of the same size and theme. What a kernel really
sends is in ``tests/training/test_notebook.py``.
"""

from __future__ import annotations

import dataclasses
import html
import pathlib
from typing import Any

import pytest
import recordings as made
from conftest import AXE

from tb_gradients.flags import Cause, Origin
from tb_gradients.html_outputs import of_flag, of_report
from tb_gradients.reading.report import Report, load

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@dataclasses.dataclass(frozen=True)
class Notebook:
    """Where a cell shows its output.

    Attributes:
        width, height: of the frame, in pixels.
        light, dark: what the page says of its theme: attributes of its root, and colours.
    """

    width: int
    light: str
    dark: str
    height: int = 800


JUPYTER_LIGHT = 'data-jp-theme-light="true" style="background: #fff; color: #212121"'
JUPYTER_DARK = 'data-jp-theme-light="false" style="background: #111; color: #fff"'
NOTEBOOKS = {
    "Colab": Notebook(
        980,
        'style="background: #fff; color: #212121"',
        'theme="dark" style="background: #383838; color: #d5d5d5"',
    ),
    "JupyterLab": Notebook(900, JUPYTER_LIGHT, JUPYTER_DARK),
    "JupyterLab beside its file browser, on a small screen": Notebook(
        600, JUPYTER_LIGHT, JUPYTER_DARK
    ),
}
THEMES = ("light", "dark")

LONG = "encoder/" + "block_of_a_very_long_name/" * 8 + "kernel"


def outputs(logdir: pathlib.Path) -> dict[str, str]:
    """What cells show: all runs, one run, one flag with the longest of names, paths and lines."""
    report = load(logdir)
    flag = dataclasses.replace(
        made.make_flag(variables=(LONG, "<img src=x onerror=alert(1)>"), last_step=9),
        summary=f"The gradient of {LONG} was zero.",
        causes=(Cause("dying_relu", 0.9, f"{LONG} has activation relu."),),
        fixes=(f"In {LONG} use `activation='leaky_relu', kernel_initializer='he_normal'`.",),
        origin=Origin(
            operation="MatMul",
            layer=LONG,
            phase="forward",
            file="/home/user/" + "a_folder/" * 20 + "model.py",
            line=42,
            code="return " + " + ".join(["self.layer(inputs)"] * 20),
            summary="one sentence",
        ),
    )
    return {
        "report": of_report(Report(report.runs)),
        "run": next(run for run in report.runs if run.flags)._repr_html_(),
        "flag": of_flag(flag),
    }


OVERFLOWING = """() => {
  for (const details of document.querySelectorAll('details')) details.open = true;
  const root = document.documentElement;
  const wide = [...document.querySelectorAll('body *')].filter((one) => {
    const { left, right } = one.getBoundingClientRect();
    const cut = getComputedStyle(one).overflowX !== 'visible' && one.scrollWidth > one.clientWidth;
    return left < -1 || right > root.clientWidth + 1 || cut;
  });
  return [
    ...(root.scrollWidth > root.clientWidth ? ['the page scrolls'] : []),
    ...wide.map((one) => one.outerHTML.slice(0, 120)),
  ];
}"""
"""What does not fit into the width of its document, everything unfolded."""

CONTRAST = """async () => (await axe.run(document, {runOnly: ['color-contrast']})).violations
    .flatMap(({nodes}) => nodes.map(({html}) => html))"""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_of_cells_fit_and_can_be_read(
    browser: Any, gallery: pathlib.Path, name: str, theme: str
) -> None:
    notebook = NOTEBOOKS[name]
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    shown = outputs(gallery)
    body = "".join(f'<div class="output" id="{kind}">{text}</div>' for kind, text in shown.items())
    document = f"<!doctype html><html {getattr(notebook, theme)}><body>{body}</body></html>"
    page.set_content(
        f'<iframe width="{notebook.width}" height="{notebook.height}" '
        f'srcdoc="{html.escape(document)}"></iframe>'
    )
    frame = page.frames[1]
    frame.wait_for_selector("#flag details")
    assert frame.evaluate(OVERFLOWING) == []
    assert frame.evaluate("document.images.length") == 0
    if AXE.exists():
        frame.evaluate(f"() => {{ {AXE.read_text()} }}")
        assert frame.evaluate(CONTRAST) == []
    page.close()


def test_what_does_not_fit_is_found(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 600, "height": 400})
    page.set_content("<details><p id='wide' style='width: 700px'>wide</p></details>")
    found = page.evaluate(OVERFLOWING)
    assert found[0] == "the page scrolls"
    assert any("wide" in one for one in found[1:])
    page.close()
