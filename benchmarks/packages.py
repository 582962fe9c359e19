"""Whether the monitor works with the packages that people train with on top of Keras or TensorFlow.

    python benchmarks/packages.py                       # all
    python benchmarks/packages.py --only keras-hub      # one; may be repeated
    python benchmarks/packages.py --environments DIR    # keep the installed packages there
    python benchmarks/packages.py --list                # what is installed for each

Each package trains the small program of ``package_programs/``, in a process and in an environment
of its own. The environment stands on that of this Python: what is installed here (TensorFlow,
Keras) is installed there, unless the package needs another version. Printed is a table:

* loss: of the first and of the last epoch (or step) of the healthy training;
* frames: of how many steps;
* variables: of how many the gradient norm was measured in every frame; those whose gradient is
  None by a tape do not count;
* tape: the largest relative difference between the norms of the first frame and those of a tape;
* identical: whether the weights are, bit by bit, those of a training without the monitor;
* healthy: rules that flag the healthy training as a warning or worse;
* fault: what is planted, and whether the right rule, the right cause and the right variables
  are reported.

Exit status 1: something is not as it should be. A package that does not install is listed, and is
no failure of the monitor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOUD = ("warning", "critical")
TOLERANCE = 1e-3
"""Of the norm of a gradient: a compiled step rounds otherwise than a tape."""
SECONDS = 900
"""That a package may take: a busy machine imports some of them in two minutes."""


@dataclasses.dataclass(frozen=True)
class Package:
    """How a package is installed.

    Attributes:
        requirements: of pip, with what they need.
        alone: of pip, without what they need: packages that would bring another TensorFlow.
        keras_2: it trains with ``tf_keras``.
        environment: other variables that it wants.
    """

    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    keras_2: bool = False
    environment: tuple[tuple[str, str], ...] = ()


TF_KERAS = "tf_keras==2.21.0"
PROBABILITY = ("decorator==5.3.1", "dm-tree==0.1.10")
"""What TensorFlow Probability needs, without TensorFlow."""

PACKAGES = {
    "keras-hub": Package(
        requirements=(
            "regex==2026.11.19",
            "kagglehub==1.0.3",
            "sentencepiece==0.2.3",
            "tokenizers==0.23.3",
        ),
        alone=("keras-hub==0.32.0",),
    ),
    "tensorflow-probability": Package(
        requirements=PROBABILITY,
        alone=(TF_KERAS, "tensorflow-probability==0.25.0"),
        keras_2=True,
    ),
    "tensorflow-recommenders": Package(
        alone=(TF_KERAS, "tensorflow-recommenders==0.7.7"), keras_2=True
    ),
    "keras-tuner": Package(requirements=("keras-tuner==1.4.8",)),
    "tensorflow-model-optimization": Package(
        requirements=("dm-tree==0.1.10",),
        alone=(TF_KERAS, "tensorflow-model-optimization==0.8.1"),
        keras_2=True,
    ),
    "gpflow": Package(
        requirements=(
            *PROBABILITY,
            "check-shapes==1.1.1",
            "deprecated==1.3.1",
            "multipledispatch==1.0.0",
            "tabulate==0.10.0",
        ),
        alone=(TF_KERAS, "tensorflow-probability==0.25.0", "gpflow==2.11.2"),
        keras_2=True,
    ),
    "keras-rs": Package(requirements=("keras-rs==0.4.0",)),
    "bayesflow": Package(requirements=("bayesflow==2.0.12",)),
    "stardist": Package(
        requirements=(
            "imageio==2.38.2",
            "numba==0.68.1",
            "scikit-image==0.26.0",
            "tifffile==2026.3.3",
            "tqdm==4.70.1",
        ),
        alone=(TF_KERAS, "csbdeep==0.8.2", "stardist==0.9.2"),
        keras_2=True,
    ),
    "deepxde": Package(
        requirements=("deepxde==1.15.0",), environment=(("DDE_BACKEND", "tensorflow"),)
    ),
    "larq": Package(
        requirements=("terminaltables==3.1.10",), alone=(TF_KERAS, "larq==0.14.0"), keras_2=True
    ),
    "hgq2": Package(requirements=("hgq2==0.2.0",)),
    "qkeras": Package(
        requirements=("networkx==3.6.1", "tqdm==4.70.1", "dm-tree==0.1.10", "pyparser==1.0"),
        alone=(TF_KERAS, "tensorflow-model-optimization==0.8.1", "qkeras==0.9.0"),
        keras_2=True,
    ),
    "tensorflow-lattice": Package(
        requirements=("graphviz==0.21",),
        alone=(TF_KERAS, "tensorflow-lattice==2.1.1"),
        keras_2=True,
    ),
    "kgcnn": Package(requirements=("networkx==3.6.1", "sympy==1.14.0"), alone=("kgcnn==4.0.2",)),
}


class NotInstalledError(Exception):
    """Pip could not install a package; the message is its last line."""


def module_of(name: str) -> str:
    """The module of ``package_programs`` that trains a package."""
    return name.replace("-", "_")


def install(name: str, home: Path) -> Path:
    """The Python of the package's environment, which is made if it is not there yet.

    Raises:
        NotInstalledError: pip could not.
    """
    package, folder = PACKAGES[name], home / name
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    wanted = json.dumps([package.requirements, package.alone])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    venv.create(folder, clear=True)
    _stand_on_this_python(folder)
    for options, names in ([], package.requirements), (["--no-deps"], package.alone):
        if not names:
            continue
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        done = subprocess.run([*pip, *options, *names], capture_output=True, text=True)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise NotInstalledError(lines[-1] if lines else f"pip ends with {done.returncode}")
    stamp.write_text(wanted)
    return python


def _stand_on_this_python(folder: Path) -> None:
    """Let the environment find what is installed here, behind what is installed there."""
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "standing_on.pth").write_text(sysconfig.get_path("purelib") + "\n")


def train(name: str, python: Path) -> dict[str, Any]:
    """What ``package_programs.running`` saw, or {"error": its last line}."""
    package = PACKAGES[name]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **({"TF_USE_LEGACY_KERAS": "1"} if package.keras_2 else {}),
        **dict(package.environment),
    }
    command = [str(python), "-m", "package_programs.running", module_of(name)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {SECONDS} s"}
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip().splitlines() or [f"ends with {done.returncode}"]
        return {"error": said[-1], "details": done.stderr[-4000:]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def version_of(name: str) -> str:
    package = PACKAGES[name]
    [pinned] = [p for p in (*package.requirements, *package.alone) if p.startswith(f"{name}==")]
    return pinned.partition("==")[2]


def is_told(flag: dict[str, Any], rule: str, cause: str, variable: str) -> bool:
    """Whether a flag is loud, and names this rule, this cause first, and such a variable."""
    first = flag["causes"][0][0] if flag["causes"] else ""
    named = not variable or any(variable in path for path in flag["variables"])
    return flag["severity"] in LOUD and flag["rule"] == rule and first == cause and named


def problems(seen: dict[str, Any]) -> Iterator[str]:
    """Sentences on what is not as it should be."""
    if "error" in seen:
        yield seen["error"]
        return
    first, last = seen["losses"]
    if not last < first:
        yield f"the healthy training does not learn: {first:.4g} to {last:.4g}"
    if seen["frames"] != seen["steps"]:
        yield f"{seen['frames']} frames of {seen['steps']} steps"
    if len(seen["paths"]) != seen["variables"]:
        yield f"{len(seen['paths'])} of {seen['variables']} variables are in the table"
    if seen["measured"] != seen["with_gradient"]:
        yield f"{seen['measured']} of {seen['with_gradient']} gradients are measured"
    if seen["difference"] is None:
        yield "the first frame has other gradients than a tape"
    elif seen["difference"] > TOLERANCE:
        yield f"a norm differs from that of a tape by {seen['difference']:.2g}"
    if seen["identical"] is False:
        yield "the weights differ from those of a training without the monitor"
    yield from seen["errors"]
    for flag in seen["healthy"]:
        if flag["severity"] in LOUD:
            yield f"the healthy training has {described(flag)}"
    fault, *expected = seen["planted"]
    if not any(is_told(flag, *expected) for flag in seen["faulty"]):
        flags = "; ".join(map(described, seen["faulty"])) or "no flag"
        yield f"the fault is not told ({fault}: {', '.join(filter(None, expected))}): {flags}"


def described(flag: dict[str, Any]) -> str:
    causes = ", ".join(f"{cause} {confidence:.0%}" for cause, confidence, _ in flag["causes"])
    some = ", ".join(flag["variables"][:3])
    return f"{flag['severity']} {flag['rule']} of {some} since {flag['first_step']} ({causes})"


HEADS = (
    "package",
    "version",
    "loss",
    "frames",
    "variables",
    "tape",
    "identical",
    "healthy",
    "fault",
    "told",
)


def row_of(name: str, seen: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a package."""
    if "error" in seen:
        return (name, version_of(name), seen["error"], *[""] * (len(HEADS) - 3))
    first, last = seen["losses"]
    fault, *expected = seen["planted"]
    loud = sorted({flag["rule"] for flag in seen["healthy"] if flag["severity"] in LOUD})
    told = any(is_told(flag, *expected) for flag in seen["faulty"])
    difference = seen["difference"]
    return (
        name,
        version_of(name),
        f"{first:.3g} → {last:.3g}",
        f"{seen['frames']} of {seen['steps']}",
        f"{seen['measured']} of {seen['with_gradient']}",
        "other" if difference is None else f"{difference:.0e}",
        {True: "yes", False: "no", None: "random"}[seen["identical"]],
        ", ".join(loud) or "silent",
        fault,
        f"{expected[0]}, {expected[1]}" if told else "no",
    )


def table_of(rows: Sequence[tuple[str, ...]]) -> str:
    """As Markdown."""
    lines = [HEADS, tuple("---" for _ in HEADS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PACKAGES, metavar="NAME")
    parser.add_argument(
        "--environments",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "tb_gradients_packages",
        help="where the environments are, and stay (%(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="print what is installed, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was seen")
    options = parser.parse_args()
    if options.list:
        for name, package in PACKAGES.items():
            print(name, *package.requirements, *package.alone)
        return 0
    results: dict[str, dict[str, Any]] = {}
    failed = False
    for name in options.only or PACKAGES:
        try:
            seen = train(name, install(name, options.environments.absolute()))
        except NotInstalledError as error:
            results[name] = {"error": f"does not install: {error}"}
            print(f"{name}: does not install: {error}", flush=True)
            continue
        results[name] = seen
        found = list(problems(seen))
        failed = failed or bool(found)
        for problem in found:
            print(f"{name}: {problem}", flush=True)
        if not found:
            print(f"{name}: as it should be ({seen['seconds']:.0f} s)", flush=True)
    print()
    print(table_of([row_of(name, seen) for name, seen in results.items()]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
