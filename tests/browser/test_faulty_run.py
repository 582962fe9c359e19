"""A faulty run beside a healthy one: from the verdict to the numbers."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

KERNEL = "encoder/block_1/conv/kernel"


# The pixels of a canvas once it was drawn. They are read from a copy: reading from the canvas
# itself makes Chromium warn about the canvas.
PIXELS = """
  const canvas = document.querySelector(selector);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const copy = new OffscreenCanvas(canvas.width, canvas.height)
    .getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
"""


def colours(tab: Any, selector: str) -> int:
    """How many different colours a canvas shows: 1 or less is an empty one."""
    tab.find(selector).first.wait_for()
    return int(
        tab.run(
            f"""async (selector) => {{ {PIXELS}
              return new Set(new Uint32Array(data.buffer)).size;
            }}""",
            selector,
        )
    )


def outlined_pixels(tab: Any) -> int:
    """Pixels of the heat-map in the colour that only the outline of a flag has."""
    return int(
        tab.run(
            f"""async (selector) => {{ {PIXELS}
              const wanted = getComputedStyle(document.documentElement)
                .getPropertyValue('--outline').trim();
              const [r, g, b] = [1, 3, 5].map((i) => parseInt(wanted.slice(i, i + 2), 16));
              let count = 0;
              for (let i = 0; i < data.length; i += 4)
                if (data[i] === r && data[i + 1] === g && data[i + 2] === b) count += 1;
              return count;
            }}""",
            "canvas.cells",
        )
    )


def test_the_worst_run_is_shown_first_with_its_verdict(tab: Any) -> None:
    tab.open()
    expect(tab.find(".head .run-name")).to_have_text("sick")
    expect(tab.find(".verdict")).to_contain_text("2 critical, 3 warnings, 1 info")


def test_causes_are_ranked_by_their_worst_flag_and_ended_flags_stand_apart(tab: Any) -> None:
    tab.open(run="sick")
    severities = tab.find(".flag-severity")
    expect(severities).to_have_text(
        ["critical", "warning", "critical", "warning", "info", "warning"]
    )
    expect(tab.find(".flag[data-ended]")).to_have_count(1)
    expect(tab.find(".ended h3")).to_have_text("Ended (1)")
    tab.find(".ended > summary").click()
    expect(tab.find(".flag[data-ended]")).to_be_hidden()


def test_flags_of_one_cause_stand_under_its_name(tab: Any) -> None:
    tab.open(run="sick")
    group = tab.find(".flag-group")
    expect(group.locator("h3")).to_have_text("Likely one cause: The learning rate is too large")
    expect(group.locator(".flag-rule")).to_have_text(["NaN or Inf in the gradient", "Dead units"])


def test_flags_are_filtered_by_severity_rule_and_variable(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".flag")).to_have_count(6)
    tab.find(".severity-chip[data-severity='critical']").click()
    expect(tab.find(".flag")).to_have_count(4)
    tab.find(".flag-filter input").fill("^head/")
    expect(tab.find(".flag .flag-rule")).to_have_text(["Dead units"])
    tab.find(".flag-filter select").select_option("gradient_spike")
    expect(tab.find(".flags .nothing")).to_have_text("No finding matches the filter.")
    wanted = {"hide": "critical", "rule": "gradient_spike", "flags": "^head/"}
    tab.wait_until(lambda: wanted.items() <= tab.link().items())
    tab.find("button", has_text="Reset view").click()
    expect(tab.find(".flag")).to_have_count(6)


def test_the_heading_of_the_list_stays_when_a_flag_opens(tab: Any) -> None:
    tab.open(run="sick")
    for number in (4, 1, 5):
        tab.find(".flag-head").nth(number).click()
        expect(tab.find(".flag[data-open] .flag-head")).to_be_in_viewport()
        expect(tab.find("#findings")).to_be_in_viewport()
        expect(tab.find("#runs")).to_be_in_viewport()


def test_a_number_of_the_evidence_switches_the_heat_map(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text=KERNEL).click()
    expect(tab.find(".statistic")).to_have_value("gradient_rms")
    tab.find(".evidence-link", has_text="Update ratio").click()
    expect(tab.find(".statistic")).to_have_value("update_ratio")


def test_every_row_in_view_has_its_name(tab: Any) -> None:
    tab.open(run="sick")
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)
    expect(tab.find(".panel[data-title='Loss'] canvas")).to_be_visible()
    rows = tab.run("document.querySelector('.scroller').clientHeight") // 20 - 2
    assert rows > 8
    tab.wait_until(lambda: tab.find(".label").count() >= rows)


def test_a_flag_leads_to_its_cells_and_to_its_variable(tab: Any) -> None:
    tab.open(run="sick")
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)
    assert outlined_pixels(tab) == 0

    flag = tab.find(".flag[data-severity='critical']", has_text=KERNEL)
    flag.locator(".flag-head").click()

    expect(flag.locator(".evidence tbody tr")).to_have_text(
        ["Gradient RMS ratio2.5e-101e-6", "Update ratio4e-91e-6"]
    )
    expect(flag.locator(".cause-confidence").first).to_have_text("90 %")
    expect(flag.locator(".fixes pre")).to_contain_text('activation="relu"')
    # Its rule names the picture that shows it best.
    expect(tab.find("[aria-label='View'] [aria-pressed='true']")).to_have_text("By depth")
    tab.find("button", has_text="Over steps").click()
    tab.wait_until(lambda: outlined_pixels(tab) > 500)
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    expect(tab.find(".step-bar h3")).to_have_text("At step 10")
    expect(tab.find(".bars-figure figcaption")).to_contain_text("exactly zero")
    tab.wait_until(lambda: colours(tab, ".panel-histogram canvas") > 5)
    tab.wait_until(lambda: colours(tab, ".bars") > 2)
    # The numbers that decide are judged by the limits of the rules; the rest is folded.
    ratio = tab.find(".judged li", has_text="Update ratio")
    expect(ratio).to_contain_text("low (healthy: 1e-4 to 0.01)")
    expect(tab.find(".judged li")).to_have_count(5)
    expect(tab.find(".value-table").first).to_be_hidden()
    expect(tab.find(".facts", has_text="GlorotUniform")).to_be_visible()


def test_a_link_to_a_variable_that_is_gone_waits_for_nothing(tab: Any) -> None:
    tab.open(run="sick", variable="renamed/kernel")
    expect(tab.find(".label-text", has_text="conv/kernel").first).to_be_visible()
    expect(tab.find(".progress")).to_be_hidden()
    expect(tab.find(".charts .overlay-message")).to_be_hidden()
    tab.open(run="renamed")
    expect(tab.find(".missing-run")).to_contain_text("There is no run “renamed”. This is “sick”")
    # The run that the address names is asked for at once, and the browser reports the 404.
    tab.complaints = [text for text in tab.complaints if "404" not in text]


def test_a_flag_far_down_is_scrolled_into_view(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text="auxiliary/kernel").click()
    # Of a gradient that is None there is no picture of values, and no empty one.
    expect(tab.find(".not-measured")).to_contain_text("Gradient RMS, Gradient values")
    expect(tab.find(".panel[data-title='Gradient RMS']")).to_be_hidden()
    expect(tab.find(".label[aria-selected='true']")).to_be_in_viewport()
    expect(tab.find(".label[aria-selected='true']")).to_have_attribute("title", "auxiliary/kernel")


def test_the_rule_card_explains_the_rule(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text=KERNEL).click()
    tab.find(".flag[data-open] .link").click()
    card = tab.find("dialog.rule-card")
    expect(card).to_contain_text("vanishing_gradient")
    expect(card).to_contain_text("Why it matters")
    expect(card).to_contain_text("No finding when")
    tab.page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    # A finding that is known can be put away, and comes back.
    tab.find(".flag[data-open] button", has_text="Mute").click()
    expect(tab.find(".muted > summary")).to_have_text("Muted (1)")
    expect(tab.find(".verdict")).to_contain_text("1 critical, 3 warnings, 1 info")
    expect(tab.find(".verdict")).to_contain_text("1 muted")
    expect(tab.find("[data-run='sick'] .badge")).to_contain_text("1 muted")
    expect(tab.find(".flags-body > .flag", has_text=KERNEL)).to_have_count(0)
    tab.find(".muted > summary").click()
    tab.find(".muted .flag-head").click()
    tab.find(".muted button", has_text="Unmute").click()
    expect(tab.find(".muted")).to_have_count(0)
    expect(tab.find(".verdict")).to_contain_text("2 critical")


def test_a_healthy_run_says_so(tab: Any) -> None:
    tab.open(run="healthy")
    expect(tab.find(".verdict")).to_have_text(
        "Healthy: 23 variables, 271 frames over 3,001 steps, nothing found"
    )
    note = tab.find(".run-note")
    expect(note).to_contain_text("The loss fell from")
    expect(note).to_contain_text("A gradient reaches all weights: its RMS lies between")
    expect(note).to_contain_text("No NaN or Inf in any gradient or weight in 3,001 steps.")


def test_the_run_is_chosen_by_keyboard_alone(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find(".run-row")).to_have_count(2)
    tab.find(".run-row[aria-current]").focus()
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("Enter")
    expect(tab.find(".verdict")).to_contain_text("Healthy")
    # All runs as a table: the same choice, with what distinguishes them.
    tab.find("button", has_text="Table").press("Enter")
    rows = tab.find(".run-table tbody tr")
    expect(rows.first).to_contain_text("NaN or Inf in the gradient2,600NaN or Inf")
    expect(rows.first.locator(".rule-cell[data-severity='critical']")).to_have_count(2)
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("ArrowUp")
    tab.page.keyboard.press("Enter")
    expect(tab.find(".verdict")).to_contain_text("2 critical")


def test_rows_and_steps_are_walked_by_keyboard(tab: Any) -> None:
    tab.open(run="sick", variable=KERNEL)
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    expect(tab.find(".step-bar h3")).to_have_text("At step 3,000")
    tab.find(".scroller").focus()
    tab.page.keyboard.press("ArrowDown")
    expect(tab.find(".inspector h2")).to_have_text("encoder/block_1/conv/bias")
    tab.page.keyboard.press("ArrowLeft")
    expect(tab.find(".step-bar h3")).to_have_text("At step 2,975")
    tab.page.keyboard.press("Escape")
    expect(tab.find(".inspector")).to_be_hidden()


def test_a_cell_shows_its_number_and_chooses_its_step(tab: Any) -> None:
    tab.open(run="sick")
    cells = tab.find("canvas.cells").first
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)
    cells.hover(position={"x": 300, "y": 76})
    expect(tab.find(".heatmap .tooltip")).to_contain_text(KERNEL)
    expect(tab.find(".heatmap .tooltip")).to_contain_text("Gradient RMS")
    expect(tab.find(".heatmap .tooltip")).to_contain_text("loss per unit of weight")
    cells.click(position={"x": 300, "y": 76})
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    expect(tab.find(".step-bar h3")).not_to_have_text("At step 3,000")


def test_nan_is_marked_in_its_row_and_in_words(tab: Any) -> None:
    tab.open(run="sick", variable="head/logits/kernel")
    expect(tab.find(".value-table tr", has_text="Gradient NaN count")).to_contain_text("40")
    expect(tab.find(".bars-figure figcaption")).to_contain_text("100 % NaN")


def test_modules_close_and_open(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".label-module", has_text="block_1").click()
    module = tab.find(".label-module", has_text="block_1")
    expect(module).to_have_attribute("aria-expanded", "false")
    expect(tab.find(f".label[title='{KERNEL}']")).to_have_count(0)
    tab.page.reload()
    expect(module).to_have_attribute("aria-expanded", "false")
    tab.find(".flag-head", has_text=KERNEL).click()
    tab.find("button", has_text="Over steps").click()
    expect(tab.find(f".label[title='{KERNEL}']")).to_be_visible()


def test_the_filter_takes_a_regular_expression(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".row-filter").fill("^head/.*bias$")
    names = tab.find(".label-variable .label-text")
    expect(names).to_have_text(["dense/bias", "logits/bias"])


def test_the_address_restores_what_was_seen(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text="Dead units").click()
    expect(tab.find(".statistic")).to_have_value("dead_unit_share")
    wanted = {"run": "sick", "variable": "head/dense/kernel", "statistic": "dead_unit_share"}
    link = tab.link()
    assert wanted.items() <= link.items()
    assert link["flag"]

    tab.page.reload()

    expect(tab.find(".flag[data-open] .flag-rule")).to_have_text("Dead units")
    expect(tab.find(".inspector h2")).to_have_text("head/dense/kernel")
    expect(tab.find(".statistic")).to_have_value("dead_unit_share")
    assert tab.link() == link


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_tab_wears_tensorboards_theme(tab: Any, dark: bool) -> None:
    tab.open(run="sick", dark=dark)
    expect(tab.find("html")).to_have_attribute("data-theme", "dark" if dark else "light")
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)


def test_switching_the_theme_is_followed_at_once(tab: Any) -> None:
    tab.open(run="sick")
    expect(tab.find("html")).to_have_attribute("data-theme", "light")
    before = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.page.locator("app-header-dark-mode-toggle button").click()
    tab.page.locator('button[title="Force dark TensorBoard theme."]').click()
    expect(tab.find("html")).to_have_attribute("data-theme", "dark")
    assert tab.run("getComputedStyle(document.body).backgroundColor") != before


def test_a_hidden_tab_comes_back_drawn(tab: Any) -> None:
    tab.open(run="sick")
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)
    tab.find(".flag-head", has_text="Dead units").click()
    tab.run("document.querySelector('.scroller').scrollTop = 77")
    tab.page.evaluate("location.hash = '#timeseries'")
    expect(tab.page.locator("metrics-dashboard")).to_be_visible()
    tab.page.locator("app-header-reload button").click()
    tab.page.go_back()
    expect(tab.find(".verdict")).to_contain_text("2 critical")
    expect(tab.find(".flag[data-open] .flag-rule")).to_have_text("Dead units")
    assert tab.run("document.querySelector('.scroller').scrollTop") == 77
    tab.wait_until(lambda: colours(tab, "canvas.cells") > 50)


def test_no_element_sticks_out_of_a_small_screen(tab: Any) -> None:
    tab.open(run="sick")
    tab.find(".flag-head", has_text=KERNEL).click()
    expect(tab.find(".inspector h2")).to_have_text(KERNEL)
    wide = tab.run(
        """[...document.querySelectorAll('.pane, .header, .controls, .timebar, .flag, .fixes li')]
             .filter((element) => element.scrollWidth > element.clientWidth + 1)
             .map((element) => element.className)"""
    )
    assert wide == []
