"""Answers without HTTP."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import recordings as made

from tb_gradients.flags import Severity
from tb_gradients.frames import Recording
from tb_gradients.plugin import payloads
from tb_gradients.plugin.store import Judgement, LoadedRun, RunSummary
from tb_gradients.reading.report import Problem
from tb_gradients.reading.source import HistogramFrame, RunData

TABLE = made.make_table(2, optimizer_config={"learning_rate": "0.001"})
FRAMES = made.turn_nonfinite(made.make_frames(TABLE, range(10)), TABLE, since=5)


def loaded_run() -> LoadedRun:
    times = np.array([frame.wall_time for frame in FRAMES])
    recording = Recording.from_frames(TABLE, FRAMES)
    return LoadedRun((), RunData("r", (recording,), times, errors=("A file is damaged.",)))


def test_a_run_answers_everything_the_tab_needs_as_strict_json() -> None:
    flag = made.make_flag(last_step=9)
    judgement = Judgement((flag,), (Problem("failed", "dead_units", 3),), live=True)
    answer = payloads.run(loaded_run(), judgement, [HistogramFrame(5, 0.0, b"")])
    answer = json.loads(json.dumps(answer, allow_nan=False))
    assert answer["steps"] == list(range(10))
    assert answer["wall_times"] == [frame.wall_time for frame in FRAMES]
    assert [v["path"] for v in answer["variables"]] == list(TABLE.paths)
    assert answer["variables"][0]["elements"] == 256
    assert answer["context"]["optimizer_config"] == {"learning_rate": "0.001"}
    assert answer["histogram_steps"] == [5]
    assert answer["judged"] == "live"
    assert answer["sampled"] is False
    assert answer["errors"] == [
        {"message": "A file is damaged.", "rule": None, "step": None},
        {"message": "failed", "rule": "dead_units", "step": 3},
    ]
    (sent,) = answer["flags"]
    assert sent.pop("id") == payloads.flag_id(flag)
    assert sent == flag.to_json()


def test_a_variable_with_a_nonfinite_fact_is_still_strict_json() -> None:
    table = dataclasses.replace(
        TABLE, variables=(dataclasses.replace(TABLE.variables[0], initial_rms=math.nan),)
    )
    recording = Recording.from_frames(table, [made.make_frame(table, 0)])
    loaded = LoadedRun((), RunData("r", (recording,), np.zeros(1)))
    answer = payloads.run(loaded, Judgement((), (), live=False), [])
    assert answer["variables"][0]["initial_rms"] == "NaN"
    json.dumps(answer, allow_nan=False)


def test_a_flag_keeps_its_id_while_it_goes_on() -> None:
    flag = made.make_flag()
    later = dataclasses.replace(
        flag, last_step=500, open=False, summary="over", variables=(*flag.variables, "another")
    )
    assert payloads.flag_id(later) == payloads.flag_id(flag)


def test_flags_that_differ_in_rule_onset_or_variable_differ_in_id() -> None:
    flags = [
        made.make_flag(),
        made.make_flag("dead_units"),
        made.make_flag(first_step=11),
        made.make_flag(variables=["dense/bias"]),
    ]
    assert len({payloads.flag_id(flag) for flag in flags}) == 4


def test_ids_are_unique_even_among_twins() -> None:
    ids = [flag["id"] for flag in payloads.flags([made.make_flag(), made.make_flag()])]
    assert len(set(ids)) == 2


def test_binary_answers_are_little_endian_float32_with_their_nan() -> None:
    view = loaded_run().view
    sent = np.frombuffer(payloads.matrix(view, "gradient_mean"), "<f4").reshape(10, 4)
    np.testing.assert_array_equal(sent, view.matrix("gradient_mean"))
    assert np.isnan(sent[5:]).all()
    assert np.frombuffer(payloads.series(view, "dense/bias"), "<f4").size == 10 * len(
        view.statistics
    )
    assert len(payloads.context(view)) == 4 * 10 * len(view.context_columns)


def test_a_summary_counts_flags_and_names_the_worst_or_why_there_is_none() -> None:
    flags = (made.make_flag(severity=Severity.WARNING), made.make_flag(severity=Severity.INFO))
    answer = payloads.runs(
        [
            RunSummary("a", (3, 4), 2, flags, loss=0.5, settings={"optimizer": "Adam"}),
            RunSummary("b", (), 2, ()),
            RunSummary("c", (0,), 2, None),
            RunSummary("d", (0,), 0, None, "It cannot be read."),
        ]
    )
    assert answer == {
        "schema": 1,
        "runs": [
            {
                "run": "a", "first_step": 3, "last_step": 4, "frames": 2, "variables": 2,
                "state": "judged", "error": None, "verdict": "warning", "undecided": False,
                "counts": {"critical": 0, "warning": 1, "info": 1}, "mark": "", "newest": "NaN",
                "loss": 0.5, "settings": {"optimizer": "Adam"},
                "flagged": {flags[0].rule: "warning"},
                "leading": {
                    "rule": flags[0].rule, "severity": "warning",
                    "first_step": flags[0].first_step, "open": True,
                },
                "findings": [
                    {
                        "rule": flag.rule, "severity": flag.severity.label,
                        "variable": flag.variables[0], "first_step": flag.first_step, "open": True,
                    }
                    for flag in flags
                ],
            },
            {
                "run": "b", "first_step": None, "last_step": None, "frames": 0, "variables": 2,
                "state": "empty", "error": None, "verdict": None,
                "undecided": False, "findings": [],
                "counts": {"critical": 0, "warning": 0, "info": 0}, "mark": "", "newest": "NaN",
                "loss": "NaN", "settings": {}, "leading": None, "flagged": {},
            },
            {
                "run": "c", "first_step": 0, "last_step": 0, "frames": 1, "variables": 2,
                "state": "judging", "error": None, "verdict": None,
                "undecided": False, "findings": [],
                "counts": {"critical": 0, "warning": 0, "info": 0}, "mark": "", "newest": "NaN",
                "loss": "NaN", "settings": {}, "leading": None, "flagged": {},
            },
            {
                "run": "d", "first_step": 0, "last_step": 0, "frames": 1, "variables": 0,
                "state": "unreadable", "error": "It cannot be read.", "verdict": None,
                "undecided": False, "findings": [],
                "counts": {"critical": 0, "warning": 0, "info": 0}, "mark": "", "newest": "NaN",
                "loss": "NaN", "settings": {}, "leading": None, "flagged": {},
            },
        ],
    }  # fmt: skip
