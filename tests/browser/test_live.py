"""The tab follows a training by itself: nobody touches the page or presses TensorBoard's reload."""

from __future__ import annotations

import dataclasses
import http.client
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import made_up_runs
import numpy as np
import pytest
import recordings
from conftest import Server, tensorboard, violations

from tb_gradients.frames import Frame, VariableTable

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

TABLE = made_up_runs.network()
EXPLODES = 120
SHOWN_WITHIN = 10
"""Seconds from the writing of a finding to its announcement."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tensorboard(tmp_path_factory.mktemp("live")) as running:
        yield running


class Training:
    """A run that is written while the test looks on: healthy at first, then it explodes."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.frames: list[Frame] = []
        recordings.write_events(folder, [recordings.table_event(TABLE)])

    def train(self, until: int) -> None:
        begin = len(self.frames)
        steps = range(begin, until)
        new = [
            dataclasses.replace(frame, wall_time=time.time())
            for frame in explode(TABLE, made_up_runs.healthy_frames(TABLE, steps))
        ]
        self.frames += new
        verdict = made_up_runs.judged(TABLE, self.frames)
        recordings.write_events(
            self.folder,
            [
                *(recordings.frame_event(frame, TABLE) for frame in new),
                recordings.verdict_event(verdict, until - 1),
            ],
        )


def explode(table: VariableTable, frames: Sequence[Frame]) -> list[Frame]:
    """Every gradient is NaN from a step on."""
    found = []
    for frame in frames:
        if frame.step >= EXPLODES:
            for name, value in (("gradient_nan_count", 9), ("gradient_norm", np.nan)):
                frame = recordings.with_value(frame, table, name, value)
            age = frame.step - EXPLODES
            frame = recordings.with_value(frame, table, "nonfinite_age", age)
        found.append(frame)
    return found


def test_a_run_that_explodes_while_the_page_is_open_is_announced(tab: Any, server: Server) -> None:
    training = Training(server.logdir / "watched")
    training.train(until=110)
    server.wait_for_runs("watched", frames=110)
    tab.open(run="watched")
    expect(tab.find(".verdict")).to_contain_text("Healthy: 23 variables, 110 frames")
    expect(tab.find(".live")).to_contain_text("live · step 109 · ")
    tab.find(".about-run > summary").click()
    tab.find(".label-text", has_text="conv/kernel").first.click()
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")
    tab.run("document.querySelector('.scroller').scrollTop = 40")
    place = "document.querySelector('.flags-body').scrollTop"
    tab.run(f"{place} = 30")
    assert violations(tab) == []

    training.train(until=140)
    written = time.monotonic()
    expect(tab.find(".news")).to_be_visible()
    assert time.monotonic() - written < SHOWN_WITHIN

    expect(tab.find(".news")).to_contain_text("New: NaN or Inf in the gradient since step 120")
    expect(tab.find("[role='status'].visually-hidden")).to_contain_text("New critical in watched")
    expect(tab.find(".verdict")).to_have_attribute("data-verdict", "critical")
    expect(tab.find("[data-run='watched'] .badge")).to_contain_text("1 critical")
    expect(tab.find(".live")).to_contain_text("live · step 139 · ")
    # Nothing has jumped, and what was unfolded still is.
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/kernel")
    assert tab.run("document.querySelector('.scroller').scrollTop") == 40
    assert tab.run(place) == 30
    expect(tab.find(".about-run .facts")).to_be_visible()
    assert violations(tab) == []

    tab.find(".news-open").click()
    expect(tab.find(".news")).to_be_hidden()
    expect(tab.find(".flag[data-open] .flag-rule")).to_have_text("NaN or Inf in the gradient")


def test_a_run_that_was_written_long_ago_has_stopped(tab: Any, server: Server) -> None:
    frames = [
        dataclasses.replace(frame, wall_time=time.time() - 2.5 * 3600 + frame.step)
        for frame in made_up_runs.healthy_frames(TABLE, range(20))
    ]
    recordings.write_run(server.logdir / "old", TABLE, frames, flags=[])
    server.wait_for_runs("old", frames=20)
    tab.open(run="old")
    expect(tab.find(".live")).to_have_text("stopped 2 h ago")
    expect(tab.find(".live")).to_have_attribute("data-live", "stopped")


def test_a_poll_without_news_is_a_few_bytes(server: Server) -> None:
    training = Training(server.logdir / "polled")
    training.train(until=60)
    server.wait_for_runs("polled", frames=60)
    address = urlsplit(server.address)
    path = "/data/plugin/gradient_health/runs?run=polled"

    def ask(known: str = "") -> tuple[int, str, int]:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.request("GET", path, headers={"If-None-Match": known})
        answer = connection.getresponse()
        body = answer.read()
        head = sum(len(f"{name}: {value}\r\n") for name, value in answer.getheaders())
        return answer.status, answer.getheader("ETag", ""), len(body) + head

    status, state, _ = ask()
    assert status == 200
    status, _, size = ask(state)
    assert status == 304
    assert size <= 300
