"""Take the pictures of the tab for README and manual, from real runs in a real TensorBoard.

    tb-gradients demo --logdir logs/tb_gradients_demo
    python docs/images/take_screenshots.py logs/tb_gradients_demo               # all of them
    python docs/images/take_screenshots.py LOGDIR --only compare --to /tmp      # one, to look at

Needs Pillow, and like the browser tests Playwright and Chromium; the variable CHROMIUM names
another one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = (1280, 800)
WIDE = (1440, 900)
"""With room for the numbers of a variable, which fold away in a smaller window."""
NOTEBOOK = (700, 900)
PATIENCE = 60_000
"""Milliseconds to wait for the server and for anything on the page."""
FAULTY, FIXED, HEALTHY = "deep_sigmoid", "deep_sigmoid_repaired", "healthy"
VARIABLE = "digits/hidden_1/kernel"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A view of the tab.

    Attributes:
        name: of the file, without theme and extension.
        view: what the address says, in the tab's own words.
        prepare: clicks before the picture is taken, on the tab's frame.
        themes: in which ones it is taken.
        size: of the window.
    """

    name: str
    view: dict[str, str]
    prepare: Callable[[Any], None] = lambda tab: None
    themes: tuple[str, ...] = ("light", "dark")
    size: tuple[int, int] = SIZE


def open_worst_flag(tab: Any) -> None:
    tab.locator(".flag-head").first.click()
    tab.locator(".flag[data-open]").first.wait_for()


def open_table(tab: Any) -> None:
    tab.get_by_role("button", name="Table").click()
    tab.locator(".run-table tbody tr").first.wait_for()


def open_rule(tab: Any) -> None:
    open_worst_flag(tab)
    tab.get_by_role("button", name="About this rule").click()
    tab.locator("dialog.rule-card").wait_for()


def scroll_to_histograms(tab: Any) -> None:
    tab.locator(".panel-histogram canvas").first.wait_for()
    tab.locator(".panel-histogram").first.scroll_into_view_if_needed()


PICTURES = (
    Picture("overview", {"run": FAULTY}),
    Picture("gradient-health", {"run": FAULTY}, open_worst_flag, size=WIDE),
    Picture("finding", {"run": "missing_values"}, open_worst_flag, size=WIDE),
    Picture("runs", {"run": FAULTY}, open_table, themes=("light",)),
    Picture("healthy", {"run": HEALTHY}),
    Picture("compare", {"run": FAULTY, "compare": FIXED}),
    Picture("profile", {"run": FAULTY, "compare": FIXED, "view": "profile"}),
    Picture("variable", {"run": FAULTY, "variable": VARIABLE}, scroll_to_histograms, size=WIDE),
    Picture(
        "ridges",
        {"run": FAULTY, "variable": VARIABLE, "histograms": "ridges", "compareStep": "0"},
        scroll_to_histograms,
        themes=("light",),
        size=WIDE,
    ),
    Picture("change", {"run": "missing_values", "encoding": "relative"}, themes=("light",)),
    Picture(
        "difference",
        {"run": FAULTY, "compare": FIXED, "encoding": "difference"},
        themes=("light",),
    ),
    Picture("narrow", {"run": "missing_values"}, themes=("light",), size=NOTEBOOK),
    Picture("rule", {"run": FAULTY}, open_rule, themes=("light",)),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logdir", help="the folder that `tb-gradients demo` wrote to")
    parser.add_argument("--only", choices=[picture.name for picture in PICTURES])
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()

    with tensorboard(arguments.logdir) as address:
        wait_for_runs(address, FAULTY, FIXED, HEALTHY)
        pictures = [p for p in PICTURES if arguments.only in (None, p.name)]
        take(address, pictures, arguments.to)
    return 0


@contextlib.contextmanager
def tensorboard(logdir: str) -> Iterator[str]:
    """The address of a TensorBoard on a folder, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable, "-m", "tensorboard.main", "--logdir", logdir,
            "--host", "127.0.0.1", "--port", str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser, until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


def wait_for_runs(address: str, *names: str) -> None:
    """Until the back end lists these runs."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}data/plugin/gradient_health/runs") as answer:
                content = answer.read().decode()
                if all(f'"run":"{name}"' in content for name in names):
                    return
        except urllib.error.URLError:
            pass
        time.sleep(0.3)
    raise TimeoutError("TensorBoard lists no runs; was `tb-gradients demo` run on that folder?")


def take(address: str, pictures: list[Picture], folder: pathlib.Path) -> None:
    """Open each view in each theme, and save what is seen."""
    with chromium() as browser:
        for picture in pictures:
            for theme in picture.themes:
                width, height = picture.size
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=theme
                )
                page.set_default_timeout(PATIENCE)
                dark = "?darkMode=true" if theme == "dark" else ""
                keys = "".join(
                    f"&p.gradient_health.{key}={quote(text)}" for key, text in picture.view.items()
                )
                page.goto(f"{address}{dark}#gradient_health{keys}")
                tab = page.frame_locator("iframe").first
                tab.locator(".verdict").first.wait_for()
                tab.locator(".pane-middle canvas:visible").first.wait_for()
                picture.prepare(tab)
                page.wait_for_timeout(2500)  # TensorBoard's fonts, and the last drawing
                path = folder / f"{picture.name}{'' if theme == 'light' else '-dark'}.png"
                save(page.screenshot(), path)
                print(f"{path} is written.", flush=True)
                page.close()


def save(screenshot: bytes, path: pathlib.Path) -> None:
    """With 256 colours, none of them far from its own: a third of the size."""
    with Image.open(io.BytesIO(screenshot)) as picture:
        few = picture.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        few.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
