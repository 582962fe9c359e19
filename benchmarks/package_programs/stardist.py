"""stardist: cells as star-convex polygons, by ``train`` of its model, which is one of csbdeep.

Its callbacks are in ``model.callbacks`` after ``prepare_for_training()``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from stardist.models import Config2D, StarDist2D, StarDistData2D

from package_programs.keras_training import gradients_of
from package_programs.program import Attach, Program, Training

SIZE, IMAGES, BATCH, EPOCHS, STEPS = 64, 8, 4, 4, 15


def cells() -> tuple[list[Any], list[Any]]:
    """Images of bright discs between 0 and 1, and the number of the disc at each pixel."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, labels = [], []
    for _ in range(IMAGES):
        label = np.zeros((SIZE, SIZE), "int32")
        for number in range(1, 6):
            centre, radius = generator.integers(8, SIZE - 8, 2), generator.integers(5, 9)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
            label[disc] = number
        image = (label > 0) * 0.8 + 0.1 * generator.uniform(size=label.shape)
        images.append(image.astype("float32"))
        labels.append(label)
    return images, labels


def build(faulty: bool) -> Training:
    images, labels = cells()
    if faulty:  # as the camera gives them, without csbdeep.utils.normalize
        images = [65535 * image for image in images]
    config = Config2D(
        n_rays=8,
        grid=(2, 2),
        unet_n_depth=1,
        unet_n_filter_base=8,
        net_conv_after_unet=16,
        train_patch_size=(48, 48),
        train_batch_size=BATCH,
        train_epochs=EPOCHS,
        train_steps_per_epoch=STEPS,
        train_learning_rate=1e-3,
        train_tensorboard=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model = StarDist2D(config, basedir=None)
        model.prepare_for_training()
    keras_model = model.keras_model

    def batches(images: list[Any], labels: list[Any], size: int) -> Any:
        return StarDistData2D(
            images,
            labels,
            batch_size=size,
            length=1,
            n_rays=config.n_rays,
            patch_size=config.train_patch_size,
            grid=config.grid,
            foreground_prob=config.train_foreground_only,
        )

    def tape() -> Sequence[Any]:
        np.random.seed(0)  # noqa: NPY002 - what the package draws its patches with
        _ = batches(images[:1], labels[:1], 1)[0]  # it draws those of the validation first
        x, y = batches(images, labels, BATCH)[0]
        return gradients_of(
            keras_model,
            lambda: keras_model.compute_loss(x, y, keras_model(x, training=True)),
        )

    def train(attach: Attach) -> Sequence[float]:
        model.callbacks.extend(attach.callbacks())
        with contextlib.redirect_stdout(io.StringIO()):
            done = model.train(images, labels, validation_data=(images[:1], labels[:1]), seed=0)
        return list(done.history["loss"])

    return Training(keras_model.trainable_variables, EPOCHS * STEPS, tape, train)


PROGRAM = Program(
    build,
    fault="16-bit images without `normalize`",
    rule="bad_data",
    cause="unscaled_inputs",
)
