"""What a poll of the tab costs TensorBoard: bytes and processor time, without news.

    python benchmarks/poll.py                     # one run of 1,000 frames, then 200 of 300
    python benchmarks/poll.py --runs 50 --frames 600

The plugin is asked in this process, through TensorBoard's own application. Aims: at most 300 bytes
and 2 ms. Of many runs, most polls are about the shown ones alone; both are measured.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug import test as werkzeug_test

from tb_gradients import schema
from tb_gradients.plugin.plugin import GradientHealthPlugin

sys.path.append(str(pathlib.Path(__file__).parent.parent / "tests"))
import recordings

ROUTE = f"/data/plugin/{schema.PLUGIN_NAME}/runs"
POLLS = 50


def browse(folder: pathlib.Path) -> werkzeug_test.Client:
    multiplexer = plugin_event_multiplexer.EventMultiplexer(
        tensor_size_guidance={schema.PLUGIN_NAME: 0}
    )
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = base_plugin.TBContext(data_provider=provider, sampling_hints={schema.PLUGIN_NAME: 0})
    host = application.TensorBoardWSGI([GradientHealthPlugin(context)], data_provider=provider)
    return werkzeug_test.Client(host)


def measure(runs: int, frames: int) -> None:
    table = recordings.make_table(3)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(runs):
            written = recordings.make_frames(table, range(frames))
            recordings.write_run(pathlib.Path(folder) / f"run_{i}", table, written, flags=[])
        client = browse(pathlib.Path(folder))
    for which, query in (("all", {}), ("one", {"run": "run_0"})):
        state = client.get(ROUTE, query_string=query).headers["ETag"]
        seconds = []
        for _ in range(POLLS):
            begin = time.process_time()
            answer = client.get(ROUTE, query_string=query, headers={"If-None-Match": state})
            seconds.append(time.process_time() - begin)
        assert answer.status_code == 304
        size = len(answer.data) + len(str(answer.headers))
        print(
            f"{runs} runs of {frames} frames, asked for {which}: {size} bytes, "
            f"{1e3 * np.median(seconds):.2f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int)
    parser.add_argument("--frames", type=int, default=300)
    arguments = parser.parse_args()
    sizes = [(arguments.runs, arguments.frames)] if arguments.runs else [(1, 1000), (200, 300)]
    for runs, frames in sizes:
        measure(runs, frames)


if __name__ == "__main__":
    main()
