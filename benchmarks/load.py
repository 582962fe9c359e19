"""Ask TensorBoard for growing runs from many clients at once, and say how long answers take.

    python benchmarks/load.py --clients 32 --seconds 60
    python benchmarks/load.py                          # 64 clients for five minutes

Four runs of 20 variables get a frame every 50 ms while the clients ask for the list of runs, for
one run, a matrix and a variable, one after the other, as the tab does. An answer is an error if its
status is not 200, or 409 (the run has grown between two requests). One more client asks
TensorBoard itself for its plugins. Prints a table, and the memory of TensorBoard over the time.
Exit status 1 if there was an error. Needs Linux.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
import recordings

RUNS = 4
FRAME_SECONDS = 0.05
PATIENCE = 300.0
"""Seconds. An answer that is late is in the table; a machine may have other things to do."""
MEMORY_POINTS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _measured(pathlib.Path(folder), arguments.clients, arguments.seconds)


def _measured(folder: pathlib.Path, clients: int, seconds: float) -> int:
    over = threading.Event()
    writer = threading.Thread(target=_grow, args=(folder, over))
    writer.start()
    time.sleep(1)
    port = _free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--port", str(port), "--reload_interval", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}/data/plugin/gradient_health/"
            _wait_for_runs(address)
            took: dict[str, list[float]] = collections.defaultdict(list)
            errors: list[str] = []
            end = time.monotonic() + seconds
            threads = [
                threading.Thread(target=_client, args=(address, number, end, took, errors))
                for number in range(clients)
            ]
            threads.append(threading.Thread(target=_host_client, args=(port, end, took, errors)))
            for thread in threads:
                thread.start()
            memory = [_memory(process.pid)]
            for _ in range(MEMORY_POINTS):
                time.sleep(seconds / MEMORY_POINTS)
                memory.append(_memory(process.pid))
            for thread in threads:
                thread.join()
        finally:
            over.set()
            writer.join()
            process.terminate()
    print("| request | answers | median | 99 % within |\n|---|---|---|---|")
    for route, times in took.items():
        median, late = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(f"| {route} | {len(times):,} | {median * 1e3:.0f} ms | {late * 1e3:.0f} ms |")
    print(f"\n{clients} clients, {seconds:.0f} s, {len(errors)} errors.")
    print(f"Memory of TensorBoard, from the start to the end: {', '.join(map(str, memory))} MiB.")
    print(f"Load of the machine: {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores.")
    for error in errors[:5]:
        print(error, file=sys.stderr)
    return 1 if errors else 0


def _grow(folder: pathlib.Path, over: threading.Event) -> None:
    table = recordings.make_table(10)
    for run in range(RUNS):
        recordings.write_run(folder / f"run_{run}", table, recordings.make_frames(table, range(50)))
    step = 50
    while not over.wait(FRAME_SECONDS):
        for run in range(RUNS):
            event = recordings.frame_event(recordings.make_frame(table, step), table)
            recordings.write_events(folder / f"run_{run}", [event])
        step += 1


def _client(
    address: str, number: int, end: float, took: dict[str, list[float]], errors: list[str]
) -> None:
    run = f"run_{number % RUNS}"
    while time.monotonic() < end:
        answer = _ask(address, "runs", {}, took, errors)
        answer = _ask(address, "run", {"run": run}, took, errors)
        if not answer:
            continue
        same = {"run": run, "revision": json.loads(answer)["revision"]}
        _ask(address, "matrix", {**same, "statistic": "gradient_norm"}, took, errors)
        _ask(address, "series", {**same, "variable": "dense/kernel"}, took, errors)


def _host_client(port: int, end: float, took: dict[str, list[float]], errors: list[str]) -> None:
    """Asks TensorBoard itself now and then."""
    while time.monotonic() < end:
        _ask(f"http://127.0.0.1:{port}/data/", "plugins_listing", {}, took, errors)
        time.sleep(0.5)


def _ask(
    address: str,
    route: str,
    arguments: dict[str, str],
    took: dict[str, list[float]],
    errors: list[str],
) -> bytes:
    start = time.perf_counter()
    try:
        url = f"{address}{route}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            errors.append(f"{route}: {error.code} {error.read()[:200]!r}")
        return b""
    except OSError as error:
        errors.append(f"{route}: {error}")
        return b""
    took[route].append(time.perf_counter() - start)
    return content


def _wait_for_runs(address: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}runs", timeout=30) as answer:
                runs = json.load(answer)["runs"]
                if len(runs) == RUNS and all(run["frames"] for run in runs):
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError("TensorBoard never showed the runs")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _memory(process: int) -> int:
    """MiB that are resident."""
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) >> 10
    return 0


if __name__ == "__main__":
    sys.exit(main())
