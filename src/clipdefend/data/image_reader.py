"""Reads images onto their canvas, one by one or in batches; unusable images are counted and left out.

All code that reads rows of images uses this module, except for the training loader, which substitutes bad rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clipdefend.canvas import Canvas, to_tensor
from clipdefend.data.bad import BadRows
from clipdefend.data.workers import batches_of, leave_to_parent
from clipdefend.errors import DataError

Key = TypeVar("Key")
Value = TypeVar("Value")


class Images(Protocol):
    """A source of images by row: pairs, or labelled images."""

    def __len__(self) -> int: ...

    def image(self, row: int) -> Image.Image: ...


class Batch(NamedTuple, Generic[Key]):
    """The usable images of a batch.

    Attributes:
        keys: their keys, in the order requested.
        values: their canvases, uint8, shape (n, 3, size, size), or what the caller's ``collate`` returned.
    """

    keys: list[Key]
    values: Any


def read_canvases(
    images: Images, rows: Iterable[int], canvas: Canvas, bad: BadRows | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Read usable images lazily, in this process.

    Args:
        images: the source.
        rows: the rows to read, in this order.
        canvas: geometry of the images.
        bad: counter of unusable rows; None ignores them, if the caller counts them elsewhere.

    Yields:
        The row, and its canvas, uint8, shape (3, size, size).

    Raises:
        DataError: there are more unusable rows than ``bad`` allows.
    """
    for row in map(int, rows):
        try:
            pixels = canvas(images.image(row))
        except DataError as error:
            if bad is not None:
                bad.add(row, error)
                bad.check(len(images))
            continue
        yield row, pixels


def to_canvas(picture: Image.Image, key: object) -> Tensor:
    """Return the canvas as uint8, shape (3, size, size); the default view."""
    return to_tensor(picture)


def read_batches(
    images: Images,
    batches: Iterable[Sequence[Key]],
    canvas: Canvas,
    *,
    bad: BadRows,
    workers: int = 0,
    row_of: Callable[[Key], int] = int,  # type: ignore[assignment]  # keys are rows unless they say otherwise
    view: Callable[[Image.Image, Key], Value] = to_canvas,  # type: ignore[assignment]
    collate: Callable[[list[Value]], Any] = torch.stack,  # type: ignore[assignment]
) -> Iterator[Batch[Key]]:
    """Read batches of images in order, in worker processes if there are any.

    Args:
        images: the source.
        batches: keys of each batch: rows, or objects that ``row_of`` and ``view`` accept.
        canvas: geometry of the images.
        bad: counter of unusable rows. The caller checks its limit, because all processes must do so together.
        workers: number of processes that read and decode; 0 uses this one.
        row_of: row of a key.
        view: (RGB picture on its canvas, key) -> value; runs in the workers and so must be picklable, as must
            ``row_of`` and ``collate``.
        collate: joins the values of a batch, in the workers, so that they pass on one tensor instead of hundreds.

    Yields:
        The batches; those without any usable image are empty, with ``values`` None.

    Raises:
        WorkerLost: a worker was killed.
    """
    loader: DataLoader[Any] = DataLoader(
        _Views(images, canvas, row_of, view),
        batch_sampler=batches,  # type: ignore[arg-type]  # only iterated, so that any iterable will do
        num_workers=workers,
        collate_fn=_Collate(collate),
        worker_init_fn=leave_to_parent,
    )
    for keys, values, failed in batches_of(loader):
        bad.update(failed)
        yield Batch(keys, values)


class _Read(NamedTuple):
    """A key with its row and its value, or with the reason for not having one."""

    key: Any
    row: int
    value: Any
    reason: str | None = None


@dataclass
class _Views(Dataset[_Read]):
    """Data set of the workers: key -> the view of its image."""

    images: Images
    canvas: Canvas
    row_of: Callable[[Any], int]
    view: Callable[[Image.Image, Any], Any]

    def __getitem__(self, key: Any) -> _Read:
        row = self.row_of(key)
        try:
            picture = self.canvas.picture(self.images.image(row))
        except DataError as error:
            return _Read(key, row, None, str(error))
        return _Read(key, row, self.view(picture, key))


@dataclass
class _Collate:
    """Separates the usable values of a batch from the unusable rows; a class, so that it can be pickled."""

    join: Callable[[list[Any]], Any]

    def __call__(self, read: Sequence[_Read]) -> tuple[list[Any], Any, list[tuple[int, str]]]:
        usable = [each for each in read if each.reason is None]
        failed = [(each.row, each.reason) for each in read if each.reason is not None]
        values = self.join([each.value for each in usable]) if usable else None
        return [each.key for each in usable], values, failed
