"""Run the programs of the guide's questions, and write what was printed below each of them.

    python scripts/guide_programs.py [PAGE ...]

In:  pages of ``docs/guide/``. The first block of Python begins every program of its page. Each
     further one is a program; behind it come what it prints, a repair as a diff of its lines, and
     what the repaired program prints.
Out: the same pages, with what is printed now.
Does not know what a program should print: ``tests/test_guide_programs.py`` compares.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "guide"
ONCE = "set_logical_device_configuration"
"""A process does this once, so a program with it gets a process of its own."""
_BLOCK = re.compile(r"^```(python|text|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program of a page, and its repair.

    Attributes:
        page, title: where it stands.
        program, repaired: the source, with what begins all programs of the page.
        printed, printed_then: the text below each.
        places: where these two texts are in the page.
    """

    page: str
    title: str
    program: str
    repaired: str
    printed: str
    printed_then: str
    places: tuple[tuple[int, int], tuple[int, int]]


def pages() -> list[pathlib.Path]:
    """The pages with programs."""
    found = sorted(FOLDER.glob("*.md"))
    return [page for page in found if "```diff" in page.read_text(encoding="utf-8")]


def cases(page: pathlib.Path) -> Iterator[Case]:
    """The programs of a page, in order.

    Raises:
        ValueError: its blocks are not in the order that is described above.
    """
    text = page.read_text(encoding="utf-8")
    first, *blocks = _BLOCK.finditer(text)
    for at in range(0, len(blocks), 4):
        group = blocks[at : at + 4]
        title = [found.group(1) for found in _HEADING.finditer(text, 0, group[0].start())][-1]
        if [block.group(1) for block in group] != ["python", "text", "diff", "text"]:
            raise ValueError(f"{page.name}: {title}: expected python, text, diff, text")
        program, printed, diff, then = group
        yield Case(
            page.name,
            title,
            f"{first.group(2)}\n{program.group(2)}",
            f"{first.group(2)}\n{repaired(program.group(2), diff.group(2))}",
            printed.group(2),
            then.group(2),
            (printed.span(2), then.span(2)),
        )


def repaired(program: str, diff: str) -> str:
    """The program with its lines changed.

    Raises:
        ValueError: a line that is to go is not in it.
    """
    for hunk in re.findall(r"(?:^-.*\n)+(?:^\+.*\n)*", diff, re.MULTILINE):
        lines = hunk.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] == "-")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] == "+")
        if program.count(old) != 1:
            raise ValueError(f"{old!r} is in the program {program.count(old)} times")
        program = program.replace(old, new)
    return program


def output_of(program: str, folder: str) -> str:
    """What a program prints that runs in a folder."""
    if ONCE in program:
        file = pathlib.Path(folder, "program.py")
        file.write_text(program, encoding="utf-8")
        command = [sys.executable, file.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return ran.stdout
    import keras

    keras.utils.clear_session()  # names of layers are counted from the start, as in a new process
    output, before = io.StringIO(), pathlib.Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
    finally:
        os.chdir(before)
    return output.getvalue()


def printed_by(program: str) -> str:
    """What the summary at the end of the training says, without where to see more."""
    with tempfile.TemporaryDirectory() as folder:
        lines = output_of(program, folder).splitlines()
    start = max(i for i, line in enumerate(lines) if re.match(r"tb_gradients: \S+.*frame", line))
    kept = []
    for line in lines[start:]:
        if line.startswith(("All causes", "  or ", "  (this")):
            break
        kept.append(line.partition(" Details: ")[0])
    return "".join(f"{line}\n" for line in kept)


def main(names: list[str]) -> None:
    """Write the pages anew; all of them without names."""
    chosen = [FOLDER / name for name in names] or pages()
    for page in chosen:
        text = page.read_text(encoding="utf-8")
        for case in reversed(list(cases(page))):
            texts = printed_by(case.program), printed_by(case.repaired)
            for (begin, end), new in zip(reversed(case.places), reversed(texts), strict=True):
                text = text[:begin] + new + text[end:]
            print(f"{page.name}: {case.title}\n{texts[0]}  then\n{texts[1]}", flush=True)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
