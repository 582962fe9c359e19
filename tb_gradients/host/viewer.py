"""Check whether the installed TensorBoard can start, before a message refers to it.

In:  what is installed, by name and version.
Out: the command that makes it start; empty if it can.
Does not import TensorBoard.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re


def remedy() -> str:
    """The command to run before ``tensorboard``; usually none, and then empty.

    TensorBoard up to 2.20 imports ``pkg_resources``, which setuptools 82 no longer has; TensorBoard
    2.16 needs a NumPy before 2. Its own requirements say neither.
    """
    wanted = []
    version = version_of("tensorboard")
    if version and version < (2, 21) and importlib.util.find_spec("pkg_resources") is None:
        wanted.append('"setuptools<82"')
    if version and version < (2, 17) and version_of("numpy") >= (2,):
        wanted.append('"numpy<2"')
    return f"pip install {' '.join(wanted)}" if wanted else ""


def version_of(package: str) -> tuple[int, ...]:
    """The first two numbers of a package's version; empty if it is not installed."""
    try:
        text = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
