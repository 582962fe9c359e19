"""Escape names of runs, variables and files, so that no terminal or browser obeys them.

In:  a text from an untrusted file.
Out: the same text, with escapes for all that a terminal or a browser would act on.
Does not know where the text is shown.
"""

from __future__ import annotations


def inert(text: str) -> str:
    r"""The text with every character that is not printable as its escape.

    Control characters paint a terminal, move its cursor and set its title: ESC becomes ``\x1b``, a
    newline ``\n``. Formatting characters turn the direction of reading or are not seen at all:
    U+202E becomes ``\u202e``. They are those that Python's ``repr`` escapes; letters of all
    languages, accents and emoji stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def inert_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(inert, text.split("\n")))
