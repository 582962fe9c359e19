"""The wheel and the source archive, as a user meets them: built, opened, installed, started.

Everything here runs in fresh environments in which there is neither TensorFlow nor
Node. A network is needed.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Any

import bundle
import pytest

pytestmark = [
    pytest.mark.smoke,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="a PATH without Node is made of symbolic links"),
]

ROOT = Path(__file__).resolve().parents[2]
ROUTES = "data/plugin/gradient_health"
NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    "__pycache__",
    "node_modules",
    "build",
    "dist",
    "*.egg-info",
    "logs",
)


@dataclass(frozen=True)
class Machine:
    """A clean virtual environment on a machine that has a shell and no Node."""

    home: Path
    path: str

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; its two outputs come as one."""
        return subprocess.run(
            [str(self.home / "bin" / command[0]), *command[1:]],
            cwd=cwd or self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    def install(self, *requirements: str) -> None:
        done = self.run("python", "-m", "pip", "install", *requirements)
        assert done.returncode == 0, done.stdout

    @property
    def environment(self) -> Mapping[str, str]:
        foreign = {"PATH", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV"}
        kept = {name: value for name, value in os.environ.items() if name not in foreign}
        return {**kept, "PATH": self.path}


class Machines:
    """Makes clean machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("sh", "env", "git"):  # what npm's scripts and pip may call
            program = shutil.which(name)
            if program is not None:
                (self.programs / name).symlink_to(program)

    def new(self, name: str) -> Machine:
        home = self.folder / name
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        machine = Machine(home, f"{home / 'bin'}{os.pathsep}{self.programs}")
        assert shutil.which("node", path=machine.path) is None
        return machine


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    return Machines(tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def source_archive(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m build --sdist` makes of this checkout."""
    bundle.ensure()
    checkout = copy_of_checkout(tmp_path_factory.mktemp("with-bundle"))
    machine = machines.new("packager")
    machine.install("build")
    done = machine.run("python", "-m", "build", "--sdist", str(checkout))
    assert done.returncode == 0, done.stdout
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(machines: Machines, source_archive: Path) -> Path:
    """The wheel that pip makes of the source archive."""
    target = machines.folder / "wheel"
    built = build_wheel(machines.new("builder"), source_archive, target)
    assert built.returncode == 0, built.stdout
    assert "npm" not in built.stdout, "a source archive must install without Node"
    assert "nodejs" not in built.stdout, "a source archive must not download Node"
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_every_module_of_the_package(wheel_files: dict[str, bytes]) -> None:
    package = ROOT / "tb_gradients"
    modules = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    assert modules <= set(wheel_files)


def test_the_wheel_holds_the_bundle_as_it_was_built(wheel_files: dict[str, bytes]) -> None:
    content = wheel_files["tb_gradients/plugin/static/index.js"]
    assert content == bundle.BUNDLE.read_bytes()
    assert b"render" in content


@pytest.mark.parametrize(
    "name",
    [
        "tb_gradients/py.typed",
        "tb_gradients/proto/gradient_health.proto",
        "tb_gradients/proto/gradient_health_pb2.pyi",
    ],
)
def test_the_wheel_holds_what_is_not_a_module(name: str, wheel_files: dict[str, bytes]) -> None:
    assert name in wheel_files


def test_the_wheel_holds_the_license(wheel_files: dict[str, bytes]) -> None:
    (name,) = (name for name in wheel_files if name.endswith("LICENSE"))
    assert wheel_files[name] == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_holds_nothing_else(wheel_files: dict[str, bytes]) -> None:
    folders = {name.split("/")[0] for name in wheel_files}
    assert {folder.partition("-")[2].partition(".")[0] for folder in folders} <= {"", "0"}
    assert {folder.partition("-")[0] for folder in folders} == {"tb_gradients"}


def test_the_wheel_is_for_every_python_and_platform(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_entry_points_name_modules_of_the_wheel(wheel_files: dict[str, bytes]) -> None:
    (name,) = (name for name in wheel_files if name.endswith("entry_points.txt"))
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel_files[name].decode())
    targets = {
        entry_points["console_scripts"]["tb-gradients"],
        entry_points["tensorboard_plugins"]["gradient_health"],
    }
    for target in targets:
        assert target.partition(":")[0].replace(".", "/") + ".py" in wheel_files


def test_tensorflow_is_not_required(wheel_files: dict[str, bytes]) -> None:
    (name,) = (name for name in wheel_files if name.endswith("METADATA"))
    metadata = Parser().parsestr(wheel_files[name].decode())
    required = [
        requirement
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    ]
    assert {re.split(r"[^\w-]", name)[0] for name in required} == {
        "numpy",
        "protobuf",
        "tensorboard",
    }
    assert not [requirement for requirement in required if "<" in requirement], "an upper bound"


def test_the_source_archive_holds_the_bundle_and_all_that_it_was_built_from(
    source_archive: Path,
) -> None:
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = [bundle.BUNDLE, bundle.FINGERPRINT, *bundle.sources()]
    assert {path.relative_to(ROOT).as_posix() for path in needed} <= names
    assert {"setup.py", "build_backend/bundle.py", "LICENSE", "CHANGELOG.md"} <= names
    assert not [name for name in names if "node_modules" in name]


@pytest.mark.long
def test_a_checkout_without_bundle_installs_where_there_is_no_node(
    machines: Machines, tmp_path: Path
) -> None:
    checkout = copy_of_checkout(tmp_path, without_bundle=True)
    built = build_wheel(machines.new("git-user"), checkout, tmp_path)
    assert built.returncode == 0, built.stdout
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("tb_gradients/plugin/static/index.js") == bundle.BUNDLE.read_bytes()


def test_no_wheel_is_built_without_a_bundle(machines: Machines, tmp_path: Path) -> None:
    checkout = copy_of_checkout(tmp_path, without_bundle=True)
    machine = machines.new("without-node")
    machine.install("setuptools>=77")
    # Without isolation pip installs no build requirement, so there is no Node either.
    built = build_wheel(machine, checkout, tmp_path, "--no-build-isolation")
    assert built.returncode != 0
    (line,) = (line for line in built.stdout.splitlines() if "there is no Node" in line)
    assert "static/index.js is missing" in line
    assert "install Node" in line
    assert "Traceback" not in built.stdout
    assert not list(tmp_path.glob("*.whl"))


@dataclass(frozen=True)
class Host:
    """A TensorBoard with the plugin, and what goes with it."""

    name: str
    requirements: tuple[str, ...]


NEWEST = Host("newest", ())
# The oldest TensorBoard that is supported, with what it was released with; later
# setuptools have no pkg_resources, which it imports.
OLDEST = Host("oldest", ("tensorboard==2.16.2", "protobuf<5", "numpy<2", "setuptools<81"))


@pytest.fixture(
    scope="module",
    params=[
        NEWEST,
        pytest.param(
            OLDEST,
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 13), reason="NumPy 1 has no wheels for this Python"
            ),
        ),
    ],
    ids=lambda host: host.name,
)
def user(request: pytest.FixtureRequest, machines: Machines, wheel: Path) -> Machine:
    """A machine on which the wheel was installed, and nothing but what it requires."""
    machine = machines.new(request.param.name)
    machine.install(str(wheel), *request.param.requirements)
    return machine


def test_the_viewer_comes_without_tensorflow(user: Machine) -> None:
    done = user.run("python", "-c", "import tensorflow")
    assert "No module named 'tensorflow'" in done.stdout


def test_the_generated_messages_import(user: Machine) -> None:
    done = user.run("python", "-W", "error", "-c", "import tb_gradients.proto.gradient_health_pb2")
    assert done.returncode == 0, done.stdout


def test_the_rule_book_is_printed(user: Machine) -> None:
    done = user.run("tb-gradients", "rules")
    assert done.returncode == 0, done.stdout
    assert "vanishing_gradient" in done.stdout


def test_a_recorded_run_is_judged(user: Machine, recorded_run: Path) -> None:
    done = user.run("tb-gradients", "check", str(recorded_run), "--format", "json")
    assert done.returncode == 1, done.stdout
    report = json.loads(done.stdout)
    assert {flag["rule"] for run in report["runs"] for flag in run["flags"]}


def test_tensorboard_lists_the_tab_and_serves_the_bundle(user: Machine, recorded_run: Path) -> None:
    with tensorboard(user, recorded_run) as server:
        listing = server.when("data/plugins_listing", lambda answer: "gradient_health" in answer)
        assert listing["gradient_health"]["tab_name"] == "Gradient Health"
        # Active once the event file is read, which happens in the background.
        server.when("data/plugins_listing", lambda answer: answer["gradient_health"]["enabled"])
        assert server.fetch(f"{ROUTES}/index.js") == bundle.BUNDLE.read_bytes()
        answer = server.when(f"{ROUTES}/runs", lambda answer: answer["runs"])
        assert [run["verdict"] for run in answer["runs"]] == ["critical"]


RECORD_A_FAULTY_RUN = """
import sys
import keras, numpy as np
import tb_gradients as tbg

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x, y = np.ones((64, 4), "float32"), np.ones((64, 1), "float32")
x[-1] = np.nan
model.fit(
    x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[tbg.GradientHealth(sys.argv[1])]
)
"""


@pytest.fixture(scope="module")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log folder with one run, written where there is TensorFlow: its gradient becomes NaN."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("logs")
    subprocess.run(
        [sys.executable, "-c", RECORD_A_FAULTY_RUN, str(folder / "faulty")],
        check=True,
        timeout=300,
    )
    return folder


def copy_of_checkout(target: Path, *, without_bundle: bool = False) -> Path:
    checkout = target / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_COPIED)
    if without_bundle:
        shutil.rmtree(checkout / bundle.STATIC.relative_to(ROOT))
    return checkout


def build_wheel(
    machine: Machine, source: Path, target: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = ("python", "-m", "pip", "wheel", "--no-deps", "--verbose", *options)
    return machine.run(*command, "--wheel-dir", str(target), str(source))


@dataclass(frozen=True)
class Server:
    """A TensorBoard that is starting, or running."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def fetch(self, route: str) -> bytes:
        # A proxy that the environment names is not for this machine.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.address}/{route}", timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def when(self, route: str, ready: Callable[[Any], object]) -> Any:
        """The JSON of a route as soon as it is there and `ready` likes it."""
        deadline = time.monotonic() + 60
        answer = None
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                answer = json.loads(self.fetch(route))
                if ready(answer):
                    return answer
            time.sleep(0.2)
        pytest.fail(f"/{route} gave {answer}; TensorBoard said:\n{self.log.read_text()}")


@contextlib.contextmanager
def tensorboard(user: Machine, logdir: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(user.home / "bin" / "tensorboard"), "--logdir", str(logdir)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = user.home / "tensorboard.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=user.environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Server(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(timeout=30)
