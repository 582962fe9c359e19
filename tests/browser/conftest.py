"""A real TensorBoard on a log folder of its own, and a real Chromium looking at it.

Set CHROMIUM to the path of a browser to use another one than the first found. Without any
the browser tests are skipped, and say so.
"""

from __future__ import annotations

import contextlib
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
from urllib.parse import quote, unquote

import made_up_runs
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

KNOWN_MESSAGES = ("Multiple instances of Three.js being imported",)
"""TensorBoard's own; everything else on the console fails a test."""

AXE = pathlib.Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"

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
            if all(runs.get(name, -1) >= frames for name in names):
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


@contextlib.contextmanager
def tensorboard(logdir: pathlib.Path, *options: str) -> Iterator[Server]:
    """A TensorBoard on a folder, until the block ends. Reloads its data every second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (logdir.parent / f"{logdir.name}-tensorboard.log").open("w+")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir),
            "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1", *options,
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


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of runs that most tests look at, and none changes."""
    folder = tmp_path_factory.mktemp("gallery")
    made_up_runs.write_healthy(folder / "healthy")
    made_up_runs.write_faulty(folder / "sick")
    return folder


@pytest.fixture(scope="session")
def server(gallery: pathlib.Path) -> Iterator[Server]:
    """One TensorBoard for all of them; a module with runs of its own has a server of its own."""
    with tensorboard(gallery) as running:
        running.wait_for_runs("healthy", "sick", frames=271)
        yield running


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

    def open(self, *, dark: bool = False, **view: str) -> Tab:
        """At an address that holds all of ``view``, in the words of the tab itself."""
        query = "?darkMode=true" if dark else ""
        link = "".join(f"&p.gradient_health.{key}={quote(text)}" for key, text in view.items())
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


def violations(tab: Any) -> list[str]:
    """What axe-core objects to in our frame, a line each."""
    return objections(tab.run)


def objections(run: Callable[[str], Any]) -> list[str]:
    """What axe-core objects to in the document that a function runs scripts in."""
    if not AXE.exists():
        pytest.skip("no axe-core: run `npm ci` in frontend/")
    run(f"() => {{ {AXE.read_text()} }}")
    found: list[str] = run(
        """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
             .map(({help, nodes}) => help + ': ' + nodes.map(({html}) => html).join(' | '))"""
    )
    return found


@pytest.fixture(scope="session")
def window(browser: Any) -> Iterator[Any]:
    """What all pages share: TensorBoard's own scripts are fetched and compiled only once."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def tab(window: Any, server: Server) -> Iterator[Tab]:
    """A fresh page; at the end of the test nothing may have complained."""
    tab = Tab(window.new_page(), server.address)
    tab.page.set_viewport_size({"width": 1300, "height": 720})
    yield tab
    # What TensorBoard and the tab keep for the next visit is not for the next test.
    tab.page.evaluate("localStorage.clear()")
    tab.page.close()
    assert tab.complaints == []
