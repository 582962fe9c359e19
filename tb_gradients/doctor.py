"""What of this environment keeps recording, TensorBoard or the tab from working, and the remedy.

In:  which distributions are installed, by name and version, and where the programs are.
Out: ``Finding``s, one for each thing that was looked at.
Does not import TensorFlow or TensorBoard, both of which take seconds and may be what is broken.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

from tb_gradients import __version__
from tb_gradients.host.viewer import remedy, version_of

_LOADER = "tb_gradients.plugin.loader:Loader"
_TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "tf-nightly-cpu")
"""They install the same files: the one installed last has overwritten parts of the other."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: its name, and its version or place.
        problem: what is wrong with it, a sentence; empty if nothing is.
        remedy: what to do about it, mostly a command.
    """

    what: str
    problem: str = ""
    remedy: str = ""


def examine() -> list[Finding]:
    """Everything, in the order in which it matters."""
    return [*_ours(), *_tensorboard(), *_protobuf(), *_tensorflow()]


def _ours() -> Iterator[Finding]:
    place = pathlib.Path(__file__).parent
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(f"tb-gradients {__version__}, Python {python}, in {place}")
    if (place / "plugin" / "static" / "index.js").is_file():
        yield Finding("the tab's files")
    else:
        yield Finding(
            "the tab's files",
            "They are not built: the tab will be empty.",
            "install a released wheel (pip install tb-gradients), or in a checkout: "
            "npm --prefix frontend ci && npm --prefix frontend run build",
        )


def _tensorboard() -> Iterator[Finding]:
    version = _version("tensorboard")
    if not version:
        yield Finding("TensorBoard", "It is not installed.", "pip install 'tensorboard>=2.16'")
        return
    what = f"TensorBoard {version}"
    command = remedy()
    if version_of("tensorboard") < (2, 16):
        yield Finding(what, "It is older than 2.16.", "pip install -U 'tensorboard>=2.16'")
    elif command:
        wanted = ("numpy<2" in command and "a NumPy before 2") or "pkg_resources, of setuptools"
        yield Finding(what, f"It does not start: it needs {wanted}.", command)
    else:
        yield Finding(f"{what}, NumPy {_version('numpy')}")
    yield from _plugin()
    program = shutil.which("tensorboard")
    if program is not None and not _is_here(program):
        yield Finding(
            f"`tensorboard` is {program}",
            "It belongs to another environment, which may not have the plugin.",
            f"{sys.executable} -m tensorboard.main --logdir ...",
        )


def _plugin() -> Iterator[Finding]:
    found = [
        point
        for point in importlib.metadata.entry_points(group="tensorboard_plugins")
        if point.name == "gradient_health" or point.value == _LOADER
    ]
    places = {point.value for point in found}
    if not found:
        yield Finding(
            "the plugin's entry point",
            "TensorBoard does not find the plugin: the package is on the path, not installed.",
            "pip install tb-gradients (in a checkout: pip install -e .)",
        )
    elif len(found) > 1 and len(places) > 1:
        names = ", ".join(sorted(point.dist.name if point.dist else "?" for point in found))
        yield Finding(
            "the plugin's entry point",
            f"Several distributions have a plugin of this name ({names}): TensorBoard stops.",
            "pip uninstall all but one of them",
        )
    else:
        yield Finding("the plugin's entry point")


def _protobuf() -> Iterator[Finding]:
    version = _version("protobuf")
    what = f"protobuf {version or 'is missing'}"
    bounds = _requirement("tensorboard", "protobuf")
    lowest = re.search(r">=\s*([\d.]+)", bounds)
    refused = re.search(r"<\s*([\d.]+)", bounds)
    if not version or version_of("protobuf") < (3, 20):
        yield Finding(what, "It is too old.", "pip install -U 'protobuf>=3.20.3'")
    elif lowest and _numbers(version) < _numbers(lowest[1]):
        yield Finding(
            what,
            f"TensorBoard asks for {bounds}: it cannot read any event file.",
            f"pip install -U 'protobuf{bounds}'",
        )
    elif refused and _numbers(version) >= _numbers(refused[1]):
        yield Finding(what, f"TensorBoard asks for {bounds}.", f"pip install 'protobuf{bounds}'")
    else:
        yield Finding(what)


def _tensorflow() -> Iterator[Finding]:
    found = {name: version for name in _TENSORFLOWS if (version := _version(name))}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        keep = next(iter(found))
        yield Finding(
            f"TensorFlow: {listed}",
            "They install the same files, and one has overwritten parts of the other.",
            f"pip uninstall -y {' '.join(found)} && pip install {keep}",
        )
    elif not found:
        if importlib.util.find_spec("tensorflow") is None:
            yield Finding("TensorFlow is not installed; it is needed where a model trains only")
        return
    elif any(_numbers(version)[:2] < (2, 16) for version in found.values()):
        yield Finding(
            listed, "It is older than 2.16.", f"pip install -U '{next(iter(found))}>=2.16'"
        )
    else:
        yield Finding(listed)
    keras = _version("keras")
    if keras and _numbers(keras)[:1] < (3,):
        yield Finding(f"Keras {keras}", "It is older than 3.", "pip install -U 'keras>=3'")
    elif keras:
        yield Finding(f"Keras {keras}")
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "True", "true") and not _version("tf_keras"):
        yield Finding(
            "TF_USE_LEGACY_KERAS is set",
            "tf_keras is not installed: `tf.keras` fails.",
            "pip install tf_keras, or unset TF_USE_LEGACY_KERAS",
        )


def _is_here(program: str) -> bool:
    """Whether a program is one of the environment of this Python."""
    folder = pathlib.Path(program).parent
    ours = {pathlib.Path(sys.executable).parent, pathlib.Path(sys.prefix) / "bin"}
    if folder in ours or folder.resolve() in {path.resolve() for path in ours}:
        return True
    try:  # a script of `pip install --user` begins with the Python that it is for
        with open(program, "rb") as file:
            return os.fsencode(sys.executable) in file.readline(1000)
    except OSError:
        return False


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _requirement(distribution: str, wanted: str) -> str:
    """What a distribution asks of another one, such as ">=3.19.6,<8"; empty if nothing."""
    try:
        required = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for line in required:
        name, rest = re.match(r"([\w.-]+)\s*(.*)", line).groups()  # type: ignore[union-attr]
        if name.lower() == wanted and "extra ==" not in rest:
            return str(rest.partition(";")[0].strip(" ()"))
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
