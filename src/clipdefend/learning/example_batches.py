"""Batches of clean images to learn a trigger from, read in the background in a given order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipdefend.canvas import to_tensor
from clipdefend.data.image_reader import read_batches
from clipdefend.draws import draw_seed, generator, permutation
from clipdefend.errors import DataError
from clipdefend.learning.learning_inputs import Augment, LearningInputs
from clipdefend.models.clip import ClipModel

BATCH = 128


class ImageRequest(NamedTuple):
    """A row to read, in which epoch, and the seed of its augmentation; None leaves the image unaugmented."""

    row: int
    epoch: int = 0
    seed: int | None = None


def read_images(
    inputs: LearningInputs, batches: Iterable[Sequence[ImageRequest]]
) -> Iterator[tuple[list[ImageRequest], Tensor]]:
    """Read batches of images; bad rows are counted and left out.

    Args:
        inputs: pairs, canvas, device and counter of bad rows.
        batches: rows of each batch.

    Yields:
        The usable requests, and their canvases in [0, 1], float32, shape (n, 3, size, size), on ``inputs.device``.

    Raises:
        DataError: more bad rows than ``inputs.bad`` allows.
    """
    reading = read_batches(
        inputs.pairs,
        batches,
        inputs.canvas,
        bad=inputs.bad,
        workers=inputs.workers,
        row_of=attrgetter("row"),
        view=partial(_view, inputs.augment),
    )
    for batch in reading:
        inputs.bad.check(len(inputs.pairs))
        if batch.keys:
            yield batch.keys, batch.values.to(inputs.device).float() / 255


def _view(augment: Augment, picture: Image.Image, item: ImageRequest) -> Tensor:
    """Return the canvas as uint8, shape (3, size, size), augmented if the request has a seed."""
    return to_tensor(picture) if item.seed is None else augment(picture, item.seed)


def in_batches(rows: NDArray[np.int64], size: int = BATCH) -> Iterator[list[ImageRequest]]:
    """Yield batches of at most ``size`` rows in the given order, without augmentation."""
    for start in range(0, len(rows), size):
        yield [ImageRequest(int(row)) for row in rows[start : start + size]]


def in_epochs(
    rows: NDArray[np.int64], size: int, epochs: int, seed: int, augmented: float = 0.0
) -> Iterator[list[ImageRequest]]:
    """Yield the shuffled batches of all epochs; a last batch of a single row is dropped.

    Args:
        rows: rows to learn from.
        size: maximum number of rows of a batch.
        epochs: number of passes over the rows.
        seed: seed of the orders and of the augmentations.
        augmented: share of the images to augment, 0 to 1.
    """
    for epoch in range(epochs):
        order = rows[permutation(len(rows), seed, "learn-order", epoch)]
        for start in range(0, len(order), size):
            batch = order[start : start + size].tolist()
            if len(batch) > 1 or len(rows) == 1:
                yield [ImageRequest(row, epoch, _augmentation(seed, augmented, epoch, row)) for row in batch]


def count_steps(rows: int, size: int, epochs: int) -> int:
    """Return the number of batches that `in_epochs` yields."""
    return epochs * (rows // size + (rows % size > 1 or rows == 1))


@torch.no_grad()
def embed_images(
    inputs: LearningInputs, model: ClipModel, rows: NDArray[np.int64]
) -> tuple[list[int], Tensor]:
    """Embed clean images.

    Returns:
        The n usable rows, and their unit vectors, shape (n, d).

    Raises:
        DataError: none of the images can be used.
    """
    found: list[int] = []
    vectors = []
    for batch, images in read_images(inputs, in_batches(rows)):
        found += [item.row for item in batch]
        vectors.append(model.encode_image(images))
    if not vectors:
        raise DataError(f"None of {len(rows)} images can be used. The first: {inputs.bad.examples[0]}.")
    return found, torch.cat(vectors)


def _augmentation(seed: int, share: float, epoch: int, row: int) -> int | None:
    if not share or generator(seed, "learn-augment", epoch, row).random() >= share:
        return None
    return draw_seed(seed, "learn-view", epoch, row)
