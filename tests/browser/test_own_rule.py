"""A rule of the user's own is shown like a built-in one, where TensorBoard does not know it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import recordings as made
from conftest import Server, tensorboard

from tb_gradients.host.journal import Journal
from tb_gradients.host.records import LocalRecords
from tb_gradients.own_rules import rules_in

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples" / "mostly_zero.py"
TABLE = made.make_table(2)
TITLE = "Nearly all of a gradient is zero"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    logdir = tmp_path_factory.mktemp("logs")
    (logdir / "own").mkdir()
    journal = Journal(str(logdir / "own"), LocalRecords, rules_in(str(EXAMPLE)))
    journal.set_table(TABLE)
    for frame in made.make_frames(TABLE, range(60)):
        journal.add(made.with_value(frame, TABLE, "gradient_zero_share", 0.995, 0))
    journal.close()
    with tensorboard(logdir) as running:
        running.wait_for_runs("own", frames=60)
        yield running


def test_its_finding_has_its_title_and_opens_its_page(tab: Any) -> None:
    tab.open(run="own")
    finding = tab.find(".flag").filter(has_text=TITLE)
    expect(finding.locator(".flag-rule")).to_have_text(TITLE)
    finding.click()
    tab.find("button", has_text="About this rule").click()
    card = tab.find("dialog.rule-card")
    expect(card.locator("h2")).to_have_text(TITLE)
    expect(card.locator(".rule-id")).to_have_text("mostly_zero · warning")
    expect(card.locator(".rule-summary")).to_contain_text("exactly zero")
    for part in ("Why it matters", "When it fires", "What to try", "No finding when"):
        expect(card).to_contain_text(part)
