"""Read images on their canvas, one by one or in batches; unusable ones are counted and left out.

Every part that reads rows of images, except the training loader with its substitutes and views, reads them here.
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
        keys: which they are, in the order that was asked for.
        values: what was made of them: canvases, uint8, shape (n, 3, size, size), unless a ``collate`` of the
            caller's says otherwise.
    """

    keys: list[Key]
    values: Any


def read_canvases(
    images: Images, rows: Iterable[int], canvas: Canvas, bad: BadRows | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Read usable images lazily, in this process.

    Args:
        images: the source.
        rows: which rows, in this order.
        canvas: geometry of the images.
        bad: counts unusable rows; None: they are passed over, since somebody else counts them.

    Yields:
        The row, and its canvas, uint8, shape (3, size, size).

    Raises:
        DataError: more unusable rows than ``bad`` allows.
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
    """The default view: the canvas as uint8, shape (3, size, size)."""
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
    """Read batches of images in order, in worker processes where there are some.

    Args:
        images: the source.
        batches: keys of each batch: rows, or objects that ``row_of`` and ``view`` understand.
        canvas: geometry of the images.
        bad: counts unusable rows. The limit is not checked here: of several processes all must meet it together.
        workers: number of processes that read and decode; 0: this one.
        row_of: row of a key.
        view: makes a value of an image on its canvas, an RGB picture, and of its key; runs in the workers, so that it
            must be picklable, like ``row_of`` and ``collate``.
        collate: joins the values of a batch, in the workers, so that one tensor is passed on and not hundreds.

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
    """A key with its row and its value, or with the reason why it has none."""

    key: Any
    row: int
    value: Any
    reason: str | None = None


@dataclass
class _Views(Dataset[_Read]):
    """What a worker reads: the view of one key."""

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
    """Part the usable values of a batch from the unusable rows; an object, so that it can be sent to a worker."""

    join: Callable[[list[Any]], Any]

    def __call__(self, read: Sequence[_Read]) -> tuple[list[Any], Any, list[tuple[int, str]]]:
        usable = [each for each in read if each.reason is None]
        failed = [(each.row, each.reason) for each in read if each.reason is not None]
        values = self.join([each.value for each in usable]) if usable else None
        return [each.key for each in usable], values, failed
