"""What the tab says of a run of which too little was seen, and of each rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import made_up_runs
import numpy as np
import pytest
import recordings
from conftest import Server, tensorboard, violations

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A run at step 43, the same one 3,000 steps later, and one that hands no loss over."""
    folder = tmp_path_factory.mktemp("states")
    made_up_runs.write_healthy(folder / "early", last=43)
    made_up_runs.write_healthy(folder / "long")
    table = made_up_runs.network()
    frames = made_up_runs.healthy_frames(table, made_up_runs.schedule())
    for frame in frames:
        for name in ("loss", "loss_mean", "loss_min", "loss_max", "loss_nonfinite_age"):
            frame.context[table.context.index(name)] = np.nan
    recordings.write_run(
        folder / "no_loss", table, frames, verdict=made_up_runs.judged(table, frames)
    )
    with tensorboard(folder) as running:
        running.wait_for_runs("early", "long", "no_loss")
        yield running


def listed(tab: Any, state: str) -> Any:
    return tab.find(f".rule-states ul[data-state='{state}']")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_open_at_step_43_does_not_say_that_the_loss_falls(tab: Any, dark: bool) -> None:
    tab.open(dark=dark, run="early")

    expect(tab.find(".verdict")).to_contain_text("Undecided: too early to tell: 44 steps;")
    expect(tab.find(".verdict")).to_have_attribute("data-verdict", "undecided")
    expect(tab.find("[data-run='early'] .badge")).to_have_text("undecided")
    expect(tab.find(".run-note")).to_contain_text("Undecided. Too early to tell")
    expect(tab.find(".flags-body")).not_to_contain_text("Nothing found")
    not_yet = listed(tab, "not_yet").locator("li", has_text="The loss does not fall")
    expect(not_yet).to_contain_text("Needs 100 losses; 44 were seen")
    tab.find(".passed > summary").click()
    expect(listed(tab, "passed")).to_contain_text("NaN or Inf in the gradient")
    expect(listed(tab, "passed")).not_to_contain_text("The loss does not fall")
    assert violations(tab) == []


def test_what_has_passed_is_folded_and_names_its_rules(tab: Any) -> None:
    tab.open(run="long")

    expect(tab.find(".verdict")).to_contain_text("Healthy:")
    expect(tab.find(".run-note")).to_contain_text("Nothing found.")
    expect(listed(tab, "passed")).to_be_hidden()
    expect(tab.find(".rule-states > h3 .count")).to_contain_text("passed")
    tab.find(".passed > summary").click()
    tab.find(".passed").get_by_role("button", name="The loss does not fall").click()
    expect(tab.find(".rule-card h2")).to_have_text("The loss does not fall")
    expect(tab.find(".rule-card h3")).to_contain_text(["No finding when"])
    expect(tab.find(".rule-card")).not_to_contain_text("When it is wrong")


def test_what_was_not_seen_says_how_to_give_it(tab: Any) -> None:
    tab.open(run="no_loss")

    not_seen = listed(tab, "not_seen").locator("li", has_text="The loss does not fall")
    expect(not_seen).to_contain_text("Needs the loss: pass loss= to monitor.step()")
    expect(tab.find(".run-note")).to_contain_text("The rules that could judge")


def test_undecided_runs_stand_between_the_faulty_and_the_healthy(tab: Any) -> None:
    tab.open()  # of these three, the undecided one is the one to look at
    expect(tab.find(".head .run-name")).to_have_text("early")
