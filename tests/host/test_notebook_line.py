"""The line of a notebook that follows the training, with a stand-in for IPython."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from tb_gradients.host import notebook
from tb_gradients.host.notebook import NotebookLine, in_notebook
from tb_gradients.host.summary import summary_of


class Output:
    """An output of a cell: what it has shown, one after the other."""

    def __init__(self, content: str) -> None:
        self.shown = [content]

    def update(self, content: str) -> None:
        self.shown.append(content)


@pytest.fixture(name="outputs")
def _outputs(monkeypatch: pytest.MonkeyPatch) -> list[Output]:
    outputs: list[Output] = []

    def display(content: str, display_id: bool) -> Output:
        assert display_id
        outputs.append(Output(content))
        return outputs[-1]

    ipython: Any = types.ModuleType("IPython")
    shown: Any = types.ModuleType("IPython.display")
    shown.HTML, shown.display = str, display
    ipython.display = shown
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return outputs


def test_a_kernel_is_a_notebook_and_a_terminal_is_none(
    outputs: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_notebook()
    terminal = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_one_output_is_replaced_at_most_once_a_second(
    outputs: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])
    line = NotebookLine()
    for step in range(100):
        line.show(step)
        now[0] += 0.05
    (output,) = outputs
    assert len(output.shown) == 5
    assert output.shown[0] == "<div>tb_gradients: step 0: no warning so far</div>"
    line.show(99, at_once=True)
    line.show(99, at_once=True)
    assert len(output.shown) == 6


def test_it_says_the_newest_finding_and_how_many_there_are(outputs: list[Output]) -> None:
    line = NotebookLine()
    line.add("tb_gradients: warning: dead_units (since step 0): <b>dense</b>.\x1b[31m")
    line.show(7)
    line.add("tb_gradients: critical: NaN.")
    line.show(8, at_once=True)
    first, second = outputs[0].shown
    assert "step 7: warning: dead_units (since step 0): &lt;b&gt;dense&lt;/b&gt;.\\x1b[31m" in first
    assert second == "<div>tb_gradients: step 8: critical: NaN. (and 1 more)</div>"


def test_the_summary_names_the_commands_of_a_cell() -> None:
    known: Any = {"frames": 9, "undecided": "", "stopped": False, "log_dir": "my logs"}
    text = summary_of((), (), notebook=True, **known)
    assert "%load_ext tensorboard, then %tensorboard --logdir 'my logs'" in text
    assert "%" not in summary_of((), (), **known)
