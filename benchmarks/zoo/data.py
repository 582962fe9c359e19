"""Small data sets: those that come with scikit-learn, and synthetic ones.

In:  a name.
Out: ``Data``: inputs, targets and what kind of task they are, always the same.
Does not know about models or TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Task = Literal["classes", "binary", "regression", "steps"]

SAMPLES = 768
"""Enough to learn from within a few hundred steps."""


@dataclasses.dataclass(frozen=True)
class Data:
    """One supervised task.

    Attributes:
        x: [samples, ...], float32, or int32 tokens.
        y: int32 [samples] for "classes", int32 [samples, positions] for "steps" (a class per
            position), float32 [samples, 1] of 0 and 1 for "binary", float32 for "regression".
        classes: of "classes" and "steps"; of the last axis of y for "regression".
        vocabulary: number of tokens, where x holds tokens.
    """

    x: Array
    y: Array
    task: Task
    classes: int = 1
    vocabulary: int = 0


DATA: dict[str, Callable[[], Data]] = {}


def _data(make: Callable[[], Data]) -> Callable[[], Data]:
    cached = functools.cache(make)
    DATA[make.__name__] = cached
    return cached


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _f32(values: Array) -> Array:
    return np.asarray(values, np.float32)


def _standard(x: Array) -> Array:
    return _f32((x - x.mean(0)) / (x.std(0) + 1e-9))


def _column(y: Array) -> Array:
    return _f32(y).reshape(-1, 1)


# --- real data, from scikit-learn -----------------------------------------------------------


@_data
def digits() -> Data:
    """8 x 8 images of handwritten digits, flat, 0..1."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Data(
        _f32(bunch.data[:SAMPLES] / 16), bunch.target[:SAMPLES].astype(np.int32), "classes", 10
    )


@_data
def digit_images() -> Data:
    """The same as images [8, 8, 1]."""
    flat = digits()
    return dataclasses.replace(flat, x=flat.x.reshape(-1, 8, 8, 1))


@_data
def digit_rows() -> Data:
    """The same as sequences of 8 rows of 8 pixels."""
    flat = digits()
    return dataclasses.replace(flat, x=flat.x.reshape(-1, 8, 8))


@_data
def digit_pixels() -> Data:
    """To be reconstructed: the target is the image."""
    flat = digits()
    return Data(flat.x, flat.x, "regression", 64)


@_data
def digits_raw() -> Data:
    """Digits in 0..255, as they come out of an image file."""
    flat = digits()
    return dataclasses.replace(flat, x=flat.x * 255)


@_data
def zero_or_not() -> Data:
    """Is the digit a zero? 10 % positives."""
    flat = digits()
    return Data(flat.x, _column(flat.y == 0), "binary")


@_data
def wine() -> Data:
    """13 standardised columns, 3 cultivars."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return Data(_standard(x), y.astype(np.int32), "classes", 3)


@_data
def wine_raw() -> Data:
    """The columns as measured: proline is in the hundreds, hue around one."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return Data(_f32(x), y.astype(np.int32), "classes", 3)


@_data
def iris() -> Data:
    """4 columns in centimetres, 3 species."""
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return Data(_f32(x), y.astype(np.int32), "classes", 3)


@_data
def cancer() -> Data:
    """30 standardised columns, malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return Data(_standard(x), _column(y), "binary")


@_data
def cancer_raw() -> Data:
    """The columns as measured: areas in the thousands, fractal dimensions in the hundredths."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return Data(_f32(x), _column(y), "binary")


@_data
def diabetes() -> Data:
    """10 standardised columns, standardised progression."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return Data(_standard(x), _standard(_column(y)), "regression")


@_data
def diabetes_unscaled() -> Data:
    """The progression as it is: 25 to 346."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return Data(_standard(x), _column(y), "regression")


# --- synthetic tables -----------------------------------------------------------------------


@_data
def friedman() -> Data:
    """Friedman's first regression problem, standardised."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(SAMPLES, noise=0.5, random_state=0)
    return Data(_standard(x), _standard(_column(y)), "regression")


@_data
def prices() -> Data:
    """Friedman's problem with targets like house prices: mean 300,000."""
    base = friedman()
    return dataclasses.replace(base, y=_f32(base.y * 100 + 300))


@_data
def line() -> Data:
    """A linear function of 8 features, and noise."""
    random = _random(1)
    x = random.standard_normal((SAMPLES, 8))
    y = x @ random.standard_normal((8, 1)) + 0.3 * random.standard_normal((SAMPLES, 1))
    return Data(_f32(x), _f32(y), "regression")


@_data
def blobs() -> Data:
    from sklearn.datasets import make_blobs

    x, y = make_blobs(SAMPLES, 6, centers=5, cluster_std=2.5, random_state=3)
    return Data(_standard(x), y.astype(np.int32), "classes", 5)


@_data
def circles() -> Data:
    from sklearn.datasets import make_circles

    x, y = make_circles(SAMPLES, noise=0.08, factor=0.5, random_state=0)
    return Data(_f32(x), _column(y), "binary")


@_data
def moons() -> Data:
    from sklearn.datasets import make_moons

    x, y = make_moons(SAMPLES, noise=0.15, random_state=0)
    return Data(_f32(x), _column(y), "binary")


@_data
def rare() -> Data:
    """1 % positives, separable."""
    random = _random(2)
    x = random.standard_normal((3000, 10))
    score = x[:, 0] + x[:, 1]
    return Data(_f32(x), _column(score > np.quantile(score, 0.99)), "binary")


@_data
def hidden_rare() -> Data:
    """2 % positives that overlap with the others: guessing "no" is hard to beat."""
    random = _random(3)
    x = random.standard_normal((2000, 10))
    y = np.zeros(2000)
    y[:40] = 1
    x[:40] += 0.9
    order = random.permutation(2000)
    return Data(_f32(x[order]), _column(y[order]), "binary")


@_data
def xor() -> Data:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return Data(_f32(x), _column(np.array([0, 1, 1, 0])), "binary")


@_data
def noisy_labels() -> Data:
    """Blobs of which every fifth label is random."""
    base, random = blobs(), _random(4)
    y = base.y.copy()
    wrong = random.random(len(y)) < 0.2
    y[wrong] = random.integers(0, 5, int(wrong.sum()))
    return dataclasses.replace(base, y=y)


@_data
def one_batch() -> Data:
    """32 digits, to be learnt by heart."""
    base = digits()
    return dataclasses.replace(base, x=base.x[:32], y=base.y[:32])


@_data
def one_hot_columns() -> Data:
    """Categories as one-hot columns: 120 inputs of which 4 are not zero."""
    random = _random(5)
    picks = random.integers(0, 30, (SAMPLES, 4))
    x = np.zeros((SAMPLES, 120))
    for group in range(4):
        x[np.arange(SAMPLES), 30 * group + picks[:, group]] = 1
    y = (picks[:, 0] % 3 == 0) | (picks[:, 1] > 24)
    return Data(_f32(x), _column(y), "binary")


# --- synthetic images -----------------------------------------------------------------------


@_data
def stripes() -> Data:
    """12 x 12 images of stripes in one of 4 directions."""
    random = _random(6)
    y = random.integers(0, 4, SAMPLES)
    angle = y * np.pi / 4
    u, v = np.meshgrid(np.arange(12), np.arange(12))
    phase = random.uniform(0, 6.28, SAMPLES)
    wave = (u * np.cos(angle)[:, None, None] + v * np.sin(angle)[:, None, None]) * 1.6 + phase[
        :, None, None
    ]
    x = np.sin(wave) + 0.5 * random.standard_normal((SAMPLES, 12, 12))
    return Data(_f32(x)[..., np.newaxis], y.astype(np.int32), "classes", 4)


@_data
def stripes_raw() -> Data:
    """The same as bytes, 0..255."""
    base = stripes()
    return dataclasses.replace(base, x=np.clip(np.round(base.x * 50 + 128), 0, 255))


@_data
def boxes() -> Data:
    """12 x 12 images of one bright box; the targets are its centre."""
    random = _random(7)
    x = 0.1 * random.standard_normal((SAMPLES, 12, 12, 1))
    corner = random.integers(0, 8, (SAMPLES, 2))
    for image, (row, column) in zip(x, corner, strict=True):
        image[row : row + 4, column : column + 4] += 1
    return Data(_f32(x), _f32(corner / 4 - 1), "regression", 2)


@_data
def moving_images() -> Data:
    """The stripes, to be reconstructed."""
    base = stripes()
    return Data(base.x, base.x, "regression", 1)


@_data
def disc_or_ring() -> Data:
    """28 x 28 images of a disc, or of a ring, somewhere."""
    random = _random(15)
    y = random.integers(0, 2, SAMPLES)
    centre = random.uniform(9, 19, (SAMPLES, 2, 1, 1))
    rows, columns = np.mgrid[:28, :28]
    distance = np.hypot(rows - centre[:, 0], columns - centre[:, 1])
    shape = (distance < 7) & ((distance > 4) | (y[:, None, None] == 0))
    x = shape + 0.2 * random.standard_normal(shape.shape)
    return Data(_f32(x[..., np.newaxis]), _column(y), "binary")


# --- synthetic sequences --------------------------------------------------------------------


@_data
def sums() -> Data:
    """12 steps of 4 features; the target is the sum of the first one."""
    x = _random(8).standard_normal((SAMPLES, 12, 4))
    return Data(_f32(x), _f32(x[:, :, 0].sum(1, keepdims=True) / 3), "regression")


@_data
def recall() -> Data:
    """10 steps; the class is that of the first step, the others are noise."""
    random = _random(9)
    y = random.integers(0, 4, SAMPLES)
    x = 0.5 * random.standard_normal((SAMPLES, 10, 6))
    x[np.arange(SAMPLES), 0, y] += 2
    return Data(_f32(x), y.astype(np.int32), "classes", 4)


@_data
def long_recall() -> Data:
    """40 steps; the class is marked at the first two only."""
    random = _random(10)
    y = random.integers(0, 4, SAMPLES)
    x = 0.2 * random.standard_normal((SAMPLES, 40, 5))
    x[np.arange(SAMPLES), 0, y] += 3
    x[np.arange(SAMPLES), 1, y] += 3
    return Data(_f32(x), y.astype(np.int32), "classes", 4)


@_data
def sine() -> Data:
    """16 values of a sine of random frequency; the target is the next one."""
    random = _random(11)
    time = np.arange(17) * random.uniform(0.2, 0.9, (SAMPLES, 1)) + random.uniform(
        0, 6, (SAMPLES, 1)
    )
    wave = np.sin(time)
    return Data(_f32(wave[:, :16, np.newaxis]), _f32(wave[:, 16:]), "regression")


@_data
def zipf() -> Data:
    """12 tokens drawn by Zipf's law; does a rare one occur?"""
    x = np.minimum(_random(12).zipf(1.4, (SAMPLES, 12)), 299)
    return Data(x.astype(np.int32), _column((x > 20).sum(1) > 1), "binary", vocabulary=300)


@_data
def topics() -> Data:
    """16 Zipf tokens; each of 4 topics has favourite words of its own."""
    random = _random(13)
    y = random.integers(0, 4, SAMPLES)
    x = np.minimum(random.zipf(1.5, (SAMPLES, 16)), 99) + 40
    own = random.random((SAMPLES, 16)) < 0.3
    favourite = 10 * y[:, None] + random.integers(0, 10, (SAMPLES, 16))
    return Data(np.where(own, favourite, x).astype(np.int32), y.astype(np.int32), "classes", 4, 160)


def _library(vocabulary: int, seed: int) -> Data:
    """24 Zipf tokens; each of 4 topics has 25 favourite words, somewhere in the vocabulary."""
    random = _random(seed)
    y = random.integers(0, 4, SAMPLES)
    x = np.minimum(random.zipf(1.3, (SAMPLES, 24)), vocabulary) - 1
    words = random.choice(vocabulary, (4, 25), replace=False)
    own = random.random((SAMPLES, 24)) < 0.3
    favourite = words[y[:, None], random.integers(0, 25, (SAMPLES, 24))]
    tokens = np.where(own, favourite, x).astype(np.int32)
    return Data(tokens, y.astype(np.int32), "classes", 4, vocabulary)


@_data
def library() -> Data:
    return _library(8_000, 16)


@_data
def large_library() -> Data:
    return _library(50_257, 17)


@_data
def next_token() -> Data:
    """Sequences that count up in steps of their own; each next token is to be predicted."""
    random = _random(14)
    start, stride = random.integers(0, 24, (SAMPLES, 1)), random.integers(1, 4, (SAMPLES, 1))
    tokens = (start + stride * np.arange(13)) % 24
    return Data(tokens[:, :12].astype(np.int32), tokens[:, 1:].astype(np.int32), "steps", 24, 24)
