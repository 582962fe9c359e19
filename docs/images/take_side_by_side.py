"""Take the pictures of docs/side_by_side.md: one run in four pages of TensorBoard.

    python docs/images/take_side_by_side.py                              # trains, then takes all
    python docs/images/take_side_by_side.py --logdir DIR --to /tmp       # keeps the run in DIR

A small classifier divides images by their length; one of them is blank. One training writes what
each page shows: scalars and histograms of the gradients, the dump of Debugger V2, and the frames of
tb-gradients. Needs what ``take_screenshots.py`` needs.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import take_screenshots
from take_screenshots import PATIENCE, WIDE

RUN = "health"
BLANK = 700
"""Number of the image without a stroke: with batches of 32 it comes in step 21."""


def train(folder: pathlib.Path) -> None:
    """Two epochs on handwritten digits, with everything that any of the pages shows."""
    import keras
    import tensorflow as tf
    from sklearn.datasets import load_digits

    import tb_gradients as tbg

    # Debugger V2 finds its files in the log folder itself only.
    debugger = tf.debugging.experimental.enable_dump_debug_info(str(folder), "FULL_HEALTH", -1)
    keras.utils.set_random_seed(0)

    class UnitLength(keras.layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images / tf.norm(images, axis=-1, keepdims=True)

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    x[BLANK] = 0.0
    model = keras.Sequential(
        [
            keras.Input((64,)),
            UnitLength(name="unit_length"),
            keras.layers.Dense(64, activation="relu", name="hidden_1"),
            keras.layers.Dense(32, activation="relu", name="hidden_2"),
            keras.layers.Dense(10, name="output"),
        ],
        name="digits",
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    write_summaries(model, str(folder / "summaries"))
    health = tbg.GradientHealth(folder / RUN, every=1, verbose=0)
    model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0, callbacks=[health])
    debugger.FlushNonExecutionFiles()
    debugger.FlushExecutionFiles()


def write_summaries(model: Any, folder: str) -> None:
    """The loss, and a norm and a histogram of each gradient, as people write them by hand."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(folder)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    apply, compute_loss = model.optimizer.apply, model.compute_loss

    def losing(*arguments: Any, **named: Any) -> Any:
        loss = compute_loss(*arguments, **named)
        with writer.as_default():
            tf.summary.scalar("loss", loss, step)
        return loss

    def summarising(gradients: Any, variables: Any = None) -> Any:
        with writer.as_default():
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                tf.summary.histogram(f"gradients/{variable.path}", gradient, step)
                tf.summary.scalar(f"norm/{variable.path}", tf.norm(gradient), step)
        step.assign_add(1)
        return apply(gradients, variables)

    model.compute_loss, model.optimizer.apply = losing, summarising


def show_scalars(page: Any) -> None:
    page.locator("metrics-main-view").first.wait_for()


def show_histograms(page: Any) -> None:
    page.locator("vz-histogram-timeseries svg path").first.wait_for(state="attached")


def show_first_alert(page: Any) -> None:
    """What one clicks there: the kind of alert, then the operation whose result has NaN."""
    page.locator(".alerts-breakdown-type").first.click()
    page.locator("button.tensor-name", has_text="truediv:0").first.click()


def show_finding(page: Any) -> None:
    tab = page.frame_locator("iframe").first
    tab.locator(".flag-head").first.click()
    tab.locator(".flag[data-open]").first.wait_for()


PAGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "beside-time-series": ("?tagFilter=loss%7Cnorm#timeseries", show_scalars),
    "beside-histograms": ("#histograms", show_histograms),
    "beside-debugger": ("#debugger-v2", show_first_alert),
    "beside-tab": (f"#gradient_health&p.gradient_health.run={RUN}", show_finding),
}
"""Name of a picture -> the address in TensorBoard, and what is waited for or clicked there."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--logdir", help="where the run is, or is to be written")
    parser.add_argument("--only", choices=PAGES)
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.logdir or temporary)
        if not (folder / RUN).exists():
            train(folder)
        with take_screenshots.tensorboard(str(folder)) as address:
            take_screenshots.wait_for_runs(address, RUN)
            take(address, [name for name in PAGES if arguments.only in (None, name)], arguments.to)
    return 0


def take(address: str, names: list[str], folder: pathlib.Path) -> None:
    with take_screenshots.chromium() as browser:
        for name in names:
            place, prepare = PAGES[name]
            page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
            page.set_default_timeout(PATIENCE)
            page.goto(f"{address}{place}")
            prepare(page)
            page.wait_for_timeout(6000)  # animations, and what is drawn when it comes into view
            path = folder / f"{name}.png"
            take_screenshots.save(page.screenshot(), path)
            print(f"{path} is written.", flush=True)
            page.close()


if __name__ == "__main__":
    sys.exit(main())
