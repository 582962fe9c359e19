"""A rule of the user's own is applied beside the built-in ones, and shown wherever they are."""

from __future__ import annotations

import importlib.metadata
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import recordings as made

from tb_gradients import cli
from tb_gradients.documents import html_document
from tb_gradients.host.journal import Journal
from tb_gradients.host.records import LocalRecords
from tb_gradients.judging import Rule, Severity, all_rules, judge, make_rules
from tb_gradients.own_rules import rules_in
from tb_gradients.plugin import payloads
from tb_gradients.plugin.judging import RunJudge
from tb_gradients.plugin.store import LoadedRun
from tb_gradients.proto import gradient_health_pb2 as pb
from tb_gradients.reading.event_files import EventFileSource
from tb_gradients.reading.report import load
from tb_gradients.reading.source import StoredVerdict

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples" / "mostly_zero.py"
TABLE = made.make_table(2)


@pytest.fixture(name="rule")
def _rule() -> type[Rule]:
    (rule,) = rules_in(str(EXAMPLE))
    return rule


@pytest.fixture(name="logs")
def _logs(tmp_path: pathlib.Path) -> pathlib.Path:
    """A run in which 99.5 % of a kernel's gradient is zero."""
    frames = [
        made.with_value(frame, TABLE, "gradient_zero_share", 0.995, 0)
        for frame in made.make_frames(TABLE, range(120))
    ]
    made.write_run(tmp_path, TABLE, frames)
    return tmp_path


def test_the_example_is_applied_beside_the_built_in_rules(
    logs: pathlib.Path, rule: type[Rule]
) -> None:
    (run,) = load(logs, rules=[rule]).runs
    (flag,) = run.flags
    assert (flag.rule, flag.severity, flag.first_step) == ("mostly_zero", "warning", 0)
    assert flag.variables == ("dense/kernel",)
    assert {state.rule for state in run.rules} == {one.id for one in all_rules()} | {rule.id}
    assert load(logs).runs[0].flags == ()


def test_a_healthy_run_gets_no_flag_from_the_example(
    tmp_path: pathlib.Path, rule: type[Rule]
) -> None:
    made.write_run(tmp_path, TABLE, made.make_frames(TABLE, range(120)))
    assert load(tmp_path, rules=[rule]).runs[0].flags == ()


def test_its_thresholds_are_set_like_those_of_others(rule: type[Rule], logs: pathlib.Path) -> None:
    assert load(logs, rules=[rule, {"mostly_zero": {"share": 0.999}}]).runs[0].flags == ()
    ids = {one.id for one in make_rules([rule, {"dead_units": False}])}
    assert ids == {one.id for one in all_rules()} - {"dead_units"} | {rule.id}


def test_the_command_line_applies_the_rules_of_a_file(
    logs: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["check", str(logs), "--fail-on", "warning"]
    assert cli.main([*options, "--rules", str(EXAMPLE)]) == 1
    assert "warning: mostly_zero, since step 0" in capsys.readouterr().out
    assert cli.main(options) == 0


def stored(logs: pathlib.Path, rule: type[Rule]) -> pathlib.Path:
    """The same run as its writer would have left it, having applied the rule."""
    data = EventFileSource(logs).read(".")
    verdict = judge(list(data.recordings), [rule])
    made.write_run(logs / "live", TABLE, made.make_frames(TABLE, range(120)), flags=verdict.flags)
    return logs / "live"


def test_what_it_found_while_training_is_shown_where_the_rule_is_not_known(
    logs: pathlib.Path, rule: type[Rule]
) -> None:
    folder = stored(logs, rule)
    report = load(folder)
    assert [flag.rule for flag in report.runs[0].flags] == ["mostly_zero"]
    assert "mostly_zero" in html_document(report, "logs")
    assert load(folder, rules=[rule]).runs[0].flags == ()  # here it is known, and finds nothing


def test_the_tab_shows_it_also_where_it_judges_the_run_again(
    logs: pathlib.Path, rule: type[Rule]
) -> None:
    folder = stored(logs, rule)
    later = made.make_frame(TABLE, 120)
    made.write_events(folder, [made.frame_event(later, TABLE)])
    judgement = RunJudge().judgement(EventFileSource(folder).read("."))
    assert judgement is not None
    assert [flag.rule for flag in judgement.flags] == ["mostly_zero"]


def trained(folder: pathlib.Path, rules: Any) -> pathlib.Path:
    """The same run, judged and written as a training does it."""
    journal = Journal(str(folder), LocalRecords, rules)
    journal.set_table(TABLE)
    for frame in made.make_frames(TABLE, range(60)):
        journal.add(made.with_value(frame, TABLE, "gradient_zero_share", 0.995, 0))
    journal.close()
    return folder


def run_payload(folder: pathlib.Path) -> Any:
    """What the route ``run`` answers."""
    loaded = LoadedRun((), EventFileSource(str(folder)).read("."))
    return payloads.run(loaded, loaded.judgement(), [])


def test_the_log_has_its_page_for_the_tab(tmp_path: pathlib.Path, rule: type[Rule]) -> None:
    answer = run_payload(trained(tmp_path, [rule]))
    assert [flag["rule"] for flag in answer["flags"]] == ["mostly_zero"]
    assert answer["own_rules"] == [rule.page().to_json()]


def test_of_built_in_rules_the_log_has_no_page(tmp_path: pathlib.Path) -> None:
    assert run_payload(trained(tmp_path, None))["own_rules"] == []


def test_a_rule_with_a_short_docstring_has_its_title(tmp_path: pathlib.Path) -> None:
    class Short(Unfinished):
        """Says little."""

        title = "Says <b>little</b>"
        needs = ("gradient_norm",)

        def detect(self, window: Any) -> None:
            return None

        def explain(self, window: Any, rows: Any, since: int) -> Any:
            raise AssertionError

    page = {"id": "unfinished", "title": "Says <b>little</b>", "severity": "info"}
    assert run_payload(trained(tmp_path, [Short]))["own_rules"] == [page]


@pytest.mark.parametrize(
    "text", ["", "{", "7", '{"id": "a"}', '[7, null, {"title": "no id"}, []]', "[" * 10_000]
)
def test_pages_that_are_none_are_left_out(text: str) -> None:
    data = pb.FlagList(format_version=1, last_step=5, own_rules=text).SerializeToString()
    assert StoredVerdict.from_bytes(data).own_rules == ()
    assert StoredVerdict.from_bytes(data).last_step == 5


class EntryPoint:
    """What `importlib.metadata` gives for a rule of an installed package."""

    def __init__(self, rule: Any) -> None:
        self.value = "package.module:Name"
        self._rule = rule

    def load(self) -> Any:
        if isinstance(self._rule, Exception):
            raise self._rule
        return self._rule


@pytest.fixture(name="install")
def _install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def install(*rules: Any) -> None:
        points = [EntryPoint(rule) for rule in rules]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        all_rules.cache_clear()

    yield install
    monkeypatch.undo()
    all_rules.cache_clear()


def test_an_installed_rule_is_in_the_rule_book_and_in_every_verdict(
    install: Any, logs: pathlib.Path, rule: type[Rule], capsys: pytest.CaptureFixture[str]
) -> None:
    install(rule)
    assert [flag.rule for flag in load(logs).runs[0].flags] == ["mostly_zero"]
    assert cli.main(["rules", "mostly_zero"]) == 0
    assert "Nearly all elements of a kernel's gradient" in capsys.readouterr().out


def test_an_installed_rule_that_cannot_be_used_takes_down_no_other(
    install: Any, rule: type[Rule], caplog: pytest.LogCaptureFixture
) -> None:
    before = all_rules()
    with caplog.at_level(logging.WARNING, "tb_gradients"):
        install(ImportError("no module named package"), before[0], 7, rule)
        assert set(all_rules()) == {*before, rule}
    assert len(caplog.records) == 3
    assert "package.module:Name is left out: ImportError" in caplog.text


class Unfinished(Rule):
    """A rule without most of what one needs."""

    id = "unfinished"
    severity = Severity.INFO


def test_a_class_that_is_no_rule_is_refused_with_what_it_lacks(rule: type[Rule]) -> None:
    with pytest.raises(ValueError, match="Unfinished lacks title, needs, detect, explain"):
        make_rules([Unfinished])
    with pytest.raises(ValueError, match=r"is no rule: .* tb_gradients\.judging\.Rule"):
        make_rules([int])  # type: ignore[list-item]
    blind = type("Blind", (rule,), {"id": "blind", "needs": ("gradient_zero_shore",)})
    with pytest.raises(ValueError, match="did you mean 'gradient_zero_share'"):
        make_rules([blind])
    with pytest.raises(ValueError, match="there is a rule 'dead_units' already"):
        make_rules([type("Copy", (rule,), {"id": "dead_units"})])


@pytest.mark.parametrize(
    ("text", "reported"),
    [("x = 1\n", "defines no class"), ("1 / 0\n", "cannot be run .ZeroDivisionError")],
)
def test_a_file_without_rules_is_refused(
    tmp_path: pathlib.Path, text: str, reported: str, logs: pathlib.Path
) -> None:
    file = tmp_path / "rules.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=reported):
        rules_in(str(file))
    assert cli.main(["check", str(logs), "--rules", str(file)]) == 2
    assert cli.main(["check", str(logs), "--rules", str(tmp_path / "none.py")]) == 2
