"""Features of images: every image decoded once and encoded clean and, where there is a trigger, triggered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.data.bad import BadRows
from clipdefend.data.workers import batches_of, leave_to_parent
from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel

Report = Callable[[int], None]


class Images(Protocol):
    """Labelled images, or pairs."""

    def __len__(self) -> int: ...

    def image(self, row: int) -> Image.Image: ...


class Encoded(NamedTuple):
    """Image-tower outputs of some images, not normalised.

    Attributes:
        rows: of the images, int64, shape (n,); bad ones are left out.
        clean: shape (n, d).
        triggered: shape (n, d), or None without a trigger.
    """

    rows: NDArray[np.int64]
    clean: Tensor
    triggered: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read for a model.

    Attributes:
        canvas: geometry of the images, and of the trigger.
        trigger: None for clean features alone.
        batch_size: images of a step; each is encoded twice where there is a trigger.
        workers: processes that read images.
    """

    canvas: Canvas
    trigger: Trigger | None = None
    batch_size: int = 256
    workers: int = 0


@torch.no_grad()
def encode(
    model: ClipModel,
    images: Images,
    rows: NDArray[np.int64],
    reading: Reading,
    bad: BadRows,
    report: Report | None = None,
) -> Iterator[Encoded]:
    """Yield the features of rows of images, batch by batch.

    Args:
        model: in evaluation mode.
        images: what the rows are of; a row's number is also its id for the trigger.
        rows: which, in this order.
        reading: how.
        bad: counts what cannot be read.
        report: called with the number of images done.
    """
    loader = DataLoader(
        _Canvases(images, rows, reading.canvas),
        batch_size=reading.batch_size,
        num_workers=reading.workers,
        collate_fn=_usable,
        worker_init_fn=leave_to_parent,
    )
    for batch_rows, pixels, failed in batches_of(loader):
        bad.update(failed)
        if pixels is None:
            continue
        views = [pixels.float() / 255]
        if reading.trigger is not None:  # on the CPU, as in poisoning: equal to the last bit
            views.append(reading.trigger(views[0], batch_rows))
        features = model.image_features(torch.cat(views).to(model.device))
        clean, triggered = features[: len(pixels)], features[len(pixels) :]
        yield Encoded(np.array(batch_rows), clean, triggered if reading.trigger is not None else None)
        if report:
            report(len(pixels))


def collected(parts: Iterable[Encoded]) -> Encoded | None:
    """All parts as one, float32 on the CPU; None where there is none."""
    rows, clean, triggered = [], [], []
    for part in parts:
        rows.append(part.rows)
        clean.append(part.clean.float().cpu())
        if part.triggered is not None:
            triggered.append(part.triggered.float().cpu())
    if not rows:
        return None
    return Encoded(np.concatenate(rows), torch.cat(clean), torch.cat(triggered) if triggered else None)


def quick_rows(total: int, count: int | None) -> NDArray[np.int64]:
    """A fixed subset of ``total`` rows in ascending order, or all of them for None.

    It depends on the two numbers alone, so that runs with other seeds are measured on the same images.
    """
    if count is None or count >= total:
        return np.arange(total)
    return np.sort(permutation(total, 0, "quick")[:count])


@dataclass
class _Canvases(Dataset[tuple[int, Tensor | None, str]]):
    """Images on their canvas; a bad one is None with its reason."""

    images: Images
    rows: NDArray[np.int64]
    canvas: Canvas

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, str]:
        row = int(self.rows[index])
        try:
            return row, self.canvas(self.images.image(row)), ""
        except DataError as error:
            return row, None, str(error)


def _usable(
    samples: Sequence[tuple[int, Tensor | None, str]],
) -> tuple[list[int], Tensor | None, list[tuple[int, str]]]:
    pixels: list[Any] = [x for _, x, _ in samples if x is not None]
    rows = [row for row, x, _ in samples if x is not None]
    bad = [(row, reason) for row, x, reason in samples if x is None]
    return rows, torch.stack(pixels) if pixels else None, bad
