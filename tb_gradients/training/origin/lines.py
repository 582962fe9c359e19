"""From an operation of a traced step to the line of the user's program that made it.

In:  an operation, with the stack that TensorFlow keeps of its making.
Out: ``Place``: file, line, text of the line.
Does not know what is wrong with the operation.

What Keras, TensorFlow, Python and this package do is not the user's; whatever else is installed is.
A layer of Keras' own that a Sequential or functional model calls has no line in the program: the
innermost one is that of ``fit``, which says nothing, and is not given.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

LIBRARIES = ("keras", "tf_keras", "tensorflow", "tb_gradients")
"""Packages whose lines are not the user's."""

PROGRAMS = ("tb_gradients/demo.py",)
"""Files of these packages that are programs of a user."""

DRIVERS = (
    "models/functional.py",
    "models/sequential.py",
    "ops/function.py",
    "trainers/trainer.py",
    "tensorflow/trainer.py",
    "trainers/compile_utils.py",
    "engine/training.py",
    "engine/functional.py",
    "engine/sequential.py",
    "engine/compile_utils.py",
)
"""Files of Keras that call what was handed to them: the line that called these made nothing."""

_WRAPPERS = frozenset(
    {"op_dispatch_handler", "error_handler", "wrapper", "wrapped", "binary_op_wrapper", "create_op"}
    | {"call"}
)


class Place(NamedTuple):
    """Where an operation was made.

    Attributes:
        file: as Python names it; "": no line of the user's stands for the operation.
        line: from 1; 0 without a file.
        code: the text of the line, without its indentation.
        function: the outermost function of a library that the line called.
    """

    file: str = ""
    line: int = 0
    code: str = ""
    function: str = ""


def place_of(operation: Any) -> Place:
    """The place of an operation."""
    function = ""
    for frame in reversed(list(_stack(operation))):
        if not is_library(frame.filename):
            code = linecache.getline(frame.filename, frame.lineno).strip()
            return Place(frame.filename, int(frame.lineno), code, function)
        if frame.filename.replace(os.sep, "/").endswith(DRIVERS):
            break
        if not frame.name.startswith("_") and frame.name not in _WRAPPERS:
            function = frame.name
    return Place(function=function)


def _stack(operation: Any) -> Iterable[Any]:
    try:
        return operation.traceback or ()
    except Exception:  # there is none of an operation that was read from a file
        return ()


def is_library(file: str) -> bool:
    """Whether a file is one of TensorFlow, Keras, this package, or Python itself."""
    if file.startswith("<"):
        return file.startswith("<frozen ")
    path = os.path.abspath(file)
    if path.replace(os.sep, "/").endswith(PROGRAMS):
        return False
    if path.startswith(_libraries()):
        return True
    return path.startswith(_STANDARD) and "-packages" + os.sep not in path


_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Their folders, with a separator at the end."""
    folders = set()
    for name in LIBRARIES:
        file = getattr(sys.modules.get(name), "__file__", None)
        folder = os.path.dirname(os.path.abspath(file)) if file else ""
        # Keras and TensorFlow are loaded from a folder of their public names further inside.
        while folder and os.path.basename(folder) != name and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        if os.path.basename(folder) == name:
            folders.add(folder + os.sep)
    return tuple(sorted(folders))
