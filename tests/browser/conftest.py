"""A real TensorBoard on a log folder of its own, and a real Chromium looking at it.

Set CHROMIUM to the path of a browser to use another one than the first found. Without any
the browser tests are skipped, and say so.
"""

from __future__ import annotations

import dataclasses
import json
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

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

KNOWN_MESSAGES = ("Multiple instances of Three.js being imported",)
"""TensorBoard's own; everything else on the console fails a test."""

PATIENCE = 60_000
"""Milliseconds to wait for anything: a busy machine is slow, a broken tab waits forever."""


def chromium() -> str | None:
    """Path of the browser to test with."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


@dataclasses.dataclass(frozen=True)
class Server:
    """A TensorBoard that runs."""

    address: str
    logdir: pathlib.Path

    def get(self, route: str) -> Any:
        with urllib.request.urlopen(
            f"{self.address}data/plugin/gradient_health/{route}", timeout=60
        ) as answer:
            return json.load(answer)

    def wait_for_runs(self, *names: str, frames: int = 1) -> None:
        """Until the back end has read that many frames of those runs."""
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            runs = {run["run"]: run["frames"] for run in self.get("runs")["runs"]}
            if all(runs.get(name, 0) >= frames for name in names):
                return
            time.sleep(0.2)
        raise TimeoutError(f"TensorBoard never showed {names} with {frames} frames")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}, or set CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        instance = playwright.chromium.launch(
            executable_path=path,
            # Containers run as root and have a small /dev/shm.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield instance
        instance.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One TensorBoard per test module, on an empty folder. Reloads its data every second."""
    logdir = tmp_path_factory.mktemp("logs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (logdir.parent / f"{logdir.name}-tensorboard.log").open("w+")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir),
            "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    running = Server(f"http://127.0.0.1:{port}/", logdir)
    try:
        wait_until_it_answers(running, process, pathlib.Path(log.name))
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def wait_until_it_answers(
    server: Server, process: subprocess.Popen[bytes], log: pathlib.Path
) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.get("runs")
            return
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"TensorBoard did not come up:\n{log.read_text()}")


class Tab:
    """The Gradient Health tab in a page of TensorBoard."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        # Listens in every frame before its first script: the policy's own words.
        page.add_init_script(
            """document.addEventListener('securitypolicyviolation', (event) =>
                 console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))"""
        )

    def open(self, *, link: str = "", dark: bool = False) -> Tab:
        query = "?darkMode=true" if dark else ""
        self.page.goto(f"{self.address}{query}#gradient_health{link}")
        return self

    @property
    def frame(self) -> Any:
        """Ours, inside TensorBoard's page."""
        return self.page.frame_locator("iframe[src*='plugin_entry']")

    def find(self, selector: str, **options: Any) -> Any:
        return self.frame.locator(selector, **options)

    def run(self, script: str, argument: Any = None) -> Any:
        """What a script inside our frame returns."""
        self.find("body").wait_for()
        frame = next(frame for frame in self.page.frames if "plugin_entry" in frame.url)
        return frame.evaluate(script, argument)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """For what no selector can see, such as the pixels of a canvas."""
        for _ in range(PATIENCE // 100):
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("waited in vain")

    def link(self) -> dict[str, str]:
        """What the address of TensorBoard's page keeps for us."""
        from urllib.parse import unquote

        prefix = "p.gradient_health."
        parts = [part.partition("=") for part in self.page.url.partition("#")[2].split("&")]
        return {
            unquote(key)[len(prefix) :]: unquote(value)
            for key, _, value in parts
            if unquote(key).startswith(prefix)
        }

    def _on_console(self, message: Any) -> None:
        known = any(text in message.text for text in KNOWN_MESSAGES)
        if message.type in ("error", "warning") and not known:
            self.complaints.append(f"{message.type}: {message.text}")


@pytest.fixture
def tab(browser: Any, server: Server) -> Iterator[Tab]:
    """A fresh page; at the end of the test nothing may have complained."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    tab = Tab(context.new_page(), server.address)
    yield tab
    context.close()
    assert tab.complaints == []
