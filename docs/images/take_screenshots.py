"""Take the README's picture of the tab, from real runs in a real TensorBoard.

    tb-gradients demo --logdir logs/tb_gradients_demo
    python docs/images/take_screenshots.py logs/tb_gradients_demo          # light, for the README
    python docs/images/take_screenshots.py LOGDIR --theme dark --to /tmp   # to look at

Needs Playwright and Chromium, like the browser tests; the variable CHROMIUM names another one.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from playwright.sync_api import sync_playwright

RUN = "deep_sigmoid"
SIZE = {"width": 1280, "height": 800}
PATIENCE = 60_000
"""Milliseconds to wait for the server and for anything on the page."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logdir", help="the folder that `tb-gradients demo` wrote to")
    parser.add_argument("--run", default=RUN, help="the run to show (default: %(default)s)")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()

    name = "gradient-health.png" if arguments.theme == "light" else "gradient-health-dark.png"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable, "-m", "tensorboard.main", "--logdir", arguments.logdir,
            "--host", "127.0.0.1", "--port", str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}/"
        wait_for_runs(address)
        take(address, arguments.run, arguments.theme, arguments.to / name)
    finally:
        server.terminate()
        server.wait(timeout=30)
    print(f"{arguments.to / name} is written.")
    return 0


def wait_for_runs(address: str) -> None:
    """Until the back end lists runs."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}data/plugin/gradient_health/runs") as answer:
                if b'"run":' in answer.read():
                    return
        except urllib.error.URLError:
            pass
        time.sleep(0.3)
    raise TimeoutError("TensorBoard lists no runs; was `tb-gradients demo` run on that folder?")


def take(address: str, run: str, theme: str, path: pathlib.Path) -> None:
    """Open the tab on a run and its worst flag, and save what is seen."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme=theme)
        page.set_default_timeout(PATIENCE)
        dark = "?darkMode=true" if theme == "dark" else ""
        page.goto(f"{address}{dark}#gradient_health&p.gradient_health.run={run}")
        tab = page.frame_locator("iframe").first
        tab.locator(".flag").first.wait_for()
        tab.locator(".flag").first.click()
        tab.locator("canvas").first.wait_for()
        page.wait_for_timeout(2000)  # TensorBoard's fonts, and the last drawing
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
