"""Clean images for learning, read in the background in a given order."""

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
from clipdefend.learning.task import Augment, Task
from clipdefend.models.clip import ClipModel

BATCH = 128


class Item(NamedTuple):
    """A row that is read: in which epoch, and the seed of its augmentation or None for none."""

    row: int
    epoch: int = 0
    seed: int | None = None


def read(task: Task, batches: Iterable[Sequence[Item]]) -> Iterator[tuple[list[Item], Tensor]]:
    """Read batches of rows; bad rows are counted and left out.

    Yields:
        The items, and their canvases in [0, 1], float32, shape (n, 3, size, size), on the task's device.

    Raises:
        DataError: more bad rows than the task allows.
    """
    reading = read_batches(
        task.pairs,
        batches,
        task.canvas,
        bad=task.bad,
        workers=task.workers,
        row_of=attrgetter("row"),
        view=partial(_view, task.augment),
    )
    for batch in reading:
        task.bad.check(len(task.pairs))
        if batch.keys:
            yield batch.keys, batch.values.to(task.device).float() / 255


def _view(augment: Augment, picture: Image.Image, item: Item) -> Tensor:
    """The canvas as uint8, shape (3, size, size), augmented where the item says so."""
    return to_tensor(picture) if item.seed is None else augment(picture, item.seed)


def in_batches(rows: NDArray[np.int64], size: int = BATCH) -> Iterator[list[Item]]:
    """Rows in their order, without augmentation."""
    for start in range(0, len(rows), size):
        yield [Item(int(row)) for row in rows[start : start + size]]


def in_epochs(
    rows: NDArray[np.int64], size: int, epochs: int, seed: int, augmented: float = 0.0
) -> Iterator[list[Item]]:
    """Shuffled batches of all epochs, a share of the images augmented; a last batch of one row is left out."""
    for epoch in range(epochs):
        order = rows[permutation(len(rows), seed, "learn-order", epoch)]
        for start in range(0, len(order), size):
            batch = order[start : start + size].tolist()
            if len(batch) > 1 or len(rows) == 1:
                yield [Item(row, epoch, _augmentation(seed, augmented, epoch, row)) for row in batch]


def steps(rows: int, size: int, epochs: int) -> int:
    """How many batches `in_epochs` gives."""
    return epochs * (rows // size + (rows % size > 1 or rows == 1))


@torch.no_grad()
def embed(task: Task, model: ClipModel, rows: NDArray[np.int64]) -> tuple[list[int], Tensor]:
    """Unit vectors of clean images, shape (n, d), and the rows of which they are; bad rows are left out."""
    found: list[int] = []
    vectors = []
    for batch, images in read(task, in_batches(rows)):
        found += [item.row for item in batch]
        vectors.append(model.encode_image(images))
    if not vectors:
        raise DataError(f"None of {len(rows)} images can be used. The first: {task.bad.examples[0]}.")
    return found, torch.cat(vectors)


def _augmentation(seed: int, share: float, epoch: int, row: int) -> int | None:
    if not share or generator(seed, "learn-augment", epoch, row).random() >= share:
        return None
    return draw_seed(seed, "learn-view", epoch, row)
