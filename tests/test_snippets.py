"""What can be copied out of an advice is a complete statement."""

from __future__ import annotations

import pytest

from tb_gradients.judging import all_rules
from tb_gradients.snippets import LONGEST, snippets


@pytest.mark.parametrize(
    ("fix", "found"),
    [
        ("Softmax for `argmax`, an estimator for `round`; remove `stop_gradient`.", []),
        ('In a: `kernel_initializer="he_normal"`; in b: `activation="relu"`.', []),
        ("Use `keras.losses.MeanSquaredError()`.", ["keras.losses.MeanSquaredError()"]),
        ("Use `monitor.step(inputs=..., targets=...)`.", []),
        (
            "`x = x / 255`, or `keras.layers.Rescaling(1 / 255)`.",
            ["x = x / 255", "keras.layers.Rescaling(1 / 255)"],
        ),
        ("Set it: `layer.trainable = False`.", ["layer.trainable = False"]),
        ("`mean = y.mean(); y = y - mean`", ["mean = y.mean(); y = y - mean"]),
        ("Look: `for x in data: print(x)`", ["for x in data: print(x)"]),
        ("Call it in `call()`.", []),
        ("`1 +`, `a b`, `lambda`, ``", []),
        ("no code", []),
    ],
)
def test_only_complete_statements_are_code_to_paste(fix: str, found: list[str]) -> None:
    assert snippets(fix) == found


@pytest.mark.parametrize(
    "code", ["(" * 5000, "-" * 900 + "1", "f(" * 400, "a\0b", "x" * LONGEST * 2]
)
def test_advice_of_a_damaged_file_is_no_code(code: str) -> None:
    assert snippets(f"Try `{code}`.") == []


def test_the_rule_book_says_what_of_its_advice_can_be_pasted() -> None:
    pages = {rule.id: rule.page().to_json() for rule in all_rules()}

    assert all(len(page["snippets"]) == len(page["fixes"]) for page in pages.values())
    assert ["keras.callbacks.TerminateOnNaN()"] in pages["nonfinite_weight"]["snippets"]
