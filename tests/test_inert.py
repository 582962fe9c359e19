"""Names from files are escaped in texts for people, so that no terminal obeys them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_gradients.inert import inert, inert_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dense/kernel:0", "dense/kernel:0"),
        ("größe/层/слой 🙂", "größe/层/слой 🙂"),
        ("C:\\logs", "C:\\logs"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("gnp.\u202ereversed", r"gnp.\u202ereversed"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("latin-1 \udcfc", r"latin-1 \udcfc"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_what_would_be_obeyed_is_an_escape(text: str, shown: str) -> None:
    assert inert(text) == shown


@given(st.text())
def test_everything_can_be_printed_and_what_is_printable_stays(text: str) -> None:
    shown = inert(text)
    assert shown.isprintable()
    assert inert(shown) == shown
    assert [c for c in text if c.isprintable()] == [
        c for c in text if c in shown and c.isprintable()
    ]


def test_lines_stay_lines() -> None:
    assert inert_lines("a\x1b\nb") == "a\\x1b\nb"
