"""What a notebook shows of flags, runs and reports: small, self-contained, inert; a short repr."""

from __future__ import annotations

import dataclasses
import html.parser
import pathlib
import re

import pytest
import recordings as made

from tb_gradients.flags import Origin, Severity
from tb_gradients.html_outputs import MOST
from tb_gradients.reading.report import Report, RunReport, load

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m`code`\"'"
TABLE = made.make_table(2)


def run_of(name: str = "run1", flags: int = 1) -> RunReport:
    rules = ("zero_gradient", "dead_units", "nonfinite_loss")
    made_flags = [made.make_flag(rules[i % 3], first_step=i) for i in range(flags)]
    return RunReport(name, 0, 99, 100, flags=tuple(made_flags))


class Reader(html.parser.HTMLParser):
    """Elements and attributes of a piece of HTML; fails if it is not well-nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_flag_says_what_it_says_elsewhere() -> None:
    flag = made.make_flag()
    read = Reader(flag._repr_html_())
    for text in (flag.summary, flag.causes[0].summary, flag.fixes[0], "since step 10", "0.99"):
        assert text in read.text


@pytest.mark.parametrize("shown", ["flag", "run", "report"])
def test_a_hostile_name_stays_text(shown: str) -> None:
    origin = Origin(HOSTILE, HOSTILE, file=HOSTILE, line=3, code=HOSTILE, summary=HOSTILE)
    flag = dataclasses.replace(
        made.make_flag(HOSTILE, variables=[HOSTILE]),
        summary=HOSTILE,
        fixes=(HOSTILE,),
        follow_ups=(HOSTILE,),
        origin=origin,
    )
    run = dataclasses.replace(run_of(HOSTILE), flags=(flag,))
    item = {"flag": flag, "run": run, "report": Report((run,))}[shown]
    text = item._repr_html_()
    read = Reader(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name == "src"]
    assert text.isprintable()
    assert repr(item).isprintable()


def test_nothing_is_loaded_from_elsewhere_and_dark_pages_have_colours_of_their_own() -> None:
    text = Report((run_of(),))._repr_html_()
    assert not re.search(r"https?:|url\(|@import|<link", text)
    assert "prefers-color-scheme:dark" in text
    assert "data-jp-theme-light=false" in text


def test_it_stays_small() -> None:
    runs = [run_of(f"run{i}", flags=3) for i in range(200)]
    report = Report(tuple(runs))._repr_html_()
    assert len(report) < 120_000
    assert f"and {200 - MOST} more runs" in report
    assert f"and {40 - MOST} more findings" in run_of(flags=40)._repr_html_()


def test_the_worst_run_comes_first_and_is_unfolded() -> None:
    healthy, faulty = RunReport("a", 0, 99, 100), run_of("b")
    text = Report((healthy, faulty))._repr_html_()
    assert text.index(">b (") if ">b (" in text else text.index(" b (") < text.index(" a (")
    assert text.count("<details open>") == 2  # the run, and its flag


def test_reprs_are_one_short_line(tmp_path: pathlib.Path) -> None:
    made.write_run(tmp_path / "run1", TABLE, made.make_frames(TABLE, range(120)))
    report = load(tmp_path)
    assert repr(report) == "<Report on 1 run: 1 healthy>"
    assert repr(report.runs[0]) == ("<RunReport 'run1': healthy, 0 flags, 120 frames, 4 variables>")
    flag = made.make_flag(severity=Severity.WARNING)
    assert repr(flag) == "<Flag warning: zero_gradient (since step 10), 1 variable>"
