"""Whether the monitor takes real models: every variable is measured, and nothing is left out.

Trains each architecture of ``keras.applications`` for three steps, with weights=None, at its
smallest input, and text models with vocabularies from 1,000 to 250,000. Then every variable must
have a gradient norm, a weight norm that is NumPy's, and an update norm, in every frame.

    python benchmarks/architectures.py                        # all: about 40 minutes on one core
    python benchmarks/architectures.py "EfficientNet*" text-* # some
    python benchmarks/architectures.py --list

Exit status 1: something was left out, or is not measured. The tests run a few of them (-m slow).
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import gc
import inspect
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tb_gradients as tbg
from tb_gradients.reading.event_files import EventFileSource

STEPS, BATCH, CLASSES = 3, 2, 10
VOCABULARIES = (1_000, 8_000, 30_522, 50_257, 128_256, 250_000)

layers = keras.layers


def application(name: str) -> keras.Model:
    """An architecture of ``keras.applications``, as small as it can be."""
    make = getattr(keras.applications, name)
    known = inspect.signature(make).parameters
    options: dict[str, Any] = {"weights": None, "classes": CLASSES}
    if "classifier_activation" in known:
        options["classifier_activation"] = None
    # NASNet takes its input size from the weights; the others say themselves what is too small.
    for size in (32, 71, 75, 96, 224, 331):
        try:
            return make(input_shape=(size, size, 3), **options)
        except ValueError:
            continue
    raise ValueError(f"{name} takes none of the input sizes")


def text(vocabulary: int, kind: str) -> keras.Model:
    """Tokens, 16 numbers each, and one of the usual models behind them."""
    tokens = keras.Input((12,), dtype="int32")
    embedding = layers.Embedding(vocabulary, 16, name="tokens")
    x = embedding(tokens)
    if kind == "lstm":
        x = layers.LSTM(16)(x)
    elif kind == "mean":
        x = layers.GlobalAveragePooling1D()(x)
    elif kind == "tied":  # the same table makes the logits: its gradient is dense
        x = layers.MultiHeadAttention(2, 8)(x, x)[:, -1]
        return keras.Model(tokens, _Logits(embedding, name="logits")(x))
    return keras.Model(tokens, layers.Dense(CLASSES, name="head")(x))


class _Logits(layers.Layer):
    def __init__(self, embedding: Any, **options: Any) -> None:
        super().__init__(**options)
        self.embedding = embedding

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, keras.ops.transpose(self.embedding.embeddings))


def models() -> dict[str, Callable[[], keras.Model]]:
    """Name -> what makes the model."""
    names = [
        name
        for name, value in sorted(vars(keras.applications).items())
        if name[0].isupper() and callable(value)
    ]
    found = {name: functools.partial(application, name) for name in names}
    for vocabulary in VOCABULARIES:
        for kind in ("lstm", "mean", "tied"):
            found[f"text-{kind}-{vocabulary}"] = functools.partial(text, vocabulary, kind)
    return found


def problems(make: Callable[[], keras.Model], folder: str, **compiled: Any) -> list[str]:
    """What is wrong with what the monitor wrote of a short training; empty: nothing."""
    keras.utils.set_random_seed(0)
    model = make()
    generator = np.random.default_rng(0)
    shape = (STEPS * BATCH, *model.input_shape[1:])
    tokens = "int" in str(model.inputs[0].dtype)
    x: Any = generator.normal(size=shape).astype("float32")
    if tokens:
        x = generator.integers(0, model.get_layer("tokens").input_dim, shape)
    y = generator.integers(0, CLASSES, len(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, **{"jit_compile": False, **compiled})
    health = tbg.GradientHealth(folder, every=1, verbose=0)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[health])

    found = [str(error) for error in health.errors]
    (run,) = tbg.load(folder).runs
    found += [str(error) for error in run.errors if str(error) not in found]
    if run.frames != STEPS:
        return [*found, f"{run.frames} frames of {STEPS} steps"]
    (recording,) = EventFileSource(folder).read(".").recordings
    weights = {v.path: v.numpy() for v in model.trainable_variables}
    if list(weights) != list(recording.table.paths):
        found.append(f"{len(recording.table.paths)} of {len(weights)} variables")
    column = recording.table.statistics.index
    for name in ("gradient_norm", "weight_norm", "update_norm"):
        unknown = np.isnan(recording.values[:, :, column(name)]).any(axis=0)
        lost = [
            path for path, is_lost in zip(recording.table.paths, unknown, strict=True) if is_lost
        ]
        if lost:
            found.append(f"{name} is not measured of {', '.join(lost[:3])} ({len(lost)})")
    norms = recording.values[-1, :, column("weight_norm")]
    for path, norm in zip(recording.table.paths, norms, strict=True):
        exact = float(np.linalg.norm(weights[path].astype(np.float64).ravel()))
        sampled = weights[path].size > 2**20  # of a larger one some rows are looked at
        if not np.isclose(norm, exact, rtol=1e-2 if sampled else 1e-4, atol=1e-12):
            found.append(f"the norm of {path} is {norm:.6g}, not {exact:.6g}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", default=["*"], help="names, such as 'ResNet*'")
    parser.add_argument("--list", action="store_true", help="only list the names")
    options = parser.parse_args(arguments)
    chosen = {
        name: make
        for name, make in models().items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in options.patterns)
    }
    if options.list:
        print(*chosen, sep="\n")
        return 0
    failed = 0
    for name, make in chosen.items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = problems(make, folder)
            except Exception as error:
                found = [f"{type(error).__name__}: {error}"]
        failed += bool(found)
        keras.backend.clear_session()
        gc.collect()
        seconds = time.perf_counter() - start
        print(f"{name:24} {seconds:6.1f} s  {'; '.join(found) or 'all measured'}", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} models are measured whole")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
