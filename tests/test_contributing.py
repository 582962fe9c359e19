"""The worked examples of CONTRIBUTING.md work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tb_gradients import schema
from tb_gradients.frames import Frame, Recording, Variable, VariableTable
from tb_gradients.judging import judge
from tb_gradients.judging.base import Rule

GUIDE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def example_rule() -> Rule:
    (source,) = re.findall(r"```python\n(# tb_gradients/rules/.*?)```", GUIDE.read_text(), re.S)
    module: dict[str, object] = {"__name__": "mostly_zero"}
    exec(compile(source, str(GUIDE), "exec"), module)
    rule = module["MostlyZero"]
    assert isinstance(rule, type)
    assert issubclass(rule, Rule)
    return rule()


def recording(zero_share: float) -> Recording:
    table = VariableTable((Variable("dense/kernel", (8, 8), role="kernel", units=8),))
    values = np.full((1, len(table.statistics)), np.nan, np.float32)
    values[0, table.statistics.index("gradient_zero_share")] = zero_share
    context = np.full(len(table.context), np.nan, np.float32)
    context[table.context.index("window_steps")] = 1
    return Recording.from_frames(table, [Frame(step, 0.0, values, context) for step in range(40)])


def test_the_example_rule_finds_what_it_describes() -> None:
    verdict = judge([recording(1.0)], [example_rule()])
    assert verdict.errors == ()
    (flag,) = verdict.flags
    assert flag.rule == "mostly_zero"
    assert flag.variables == ("dense/kernel",)
    assert flag.summary == "100.0% of the gradient is exactly zero since step 0."


def test_the_example_rule_is_silent_otherwise() -> None:
    verdict = judge([recording(0.5)], [example_rule()])
    assert verdict.errors == ()
    assert verdict.flags == ()


def test_the_example_rule_has_a_page_in_the_manual() -> None:
    assert example_rule().page().summary.startswith("Nearly all elements")


def test_the_example_column_is_declared_as_the_schema_declares_its_own() -> None:
    (source,) = re.findall(r"```python\n(Column\(.*?\n\)),\n```", GUIDE.read_text(), re.S)
    column = eval(source, {"Column": schema.Column})
    assert column.name not in schema.statistic_names()
