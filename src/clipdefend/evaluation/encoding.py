"""Encodes images: each is decoded once, and encoded clean and, if there is a trigger, triggered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.data.bad import BadRows
from clipdefend.data.image_reader import Images, read_batches
from clipdefend.draws import permutation
from clipdefend.models.clip import ClipModel

Report = Callable[[int], None]


class Encoded(NamedTuple):
    """Image-tower outputs of some images, not normalised.

    Attributes:
        rows: rows of the images without bad ones, int64, shape (n,).
        clean: shape (n, d).
        triggered: shape (n, d), or None without a trigger.
    """

    rows: NDArray[np.int64]
    clean: Tensor
    triggered: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read images for a model.

    Attributes:
        canvas: geometry of the images, and of the trigger.
        trigger: the trigger; None for clean features only.
        batch_size: images per batch; with a trigger each is encoded twice.
        workers: number of processes that read images.
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
        images: the source; a row's number is also its id for the trigger.
        rows: the rows to encode, in this order.
        reading: how to read them.
        bad: counter of unusable rows.
        report: called with the number of images of each batch.
    """
    size = reading.batch_size
    batches = [rows[start : start + size].tolist() for start in range(0, len(rows), size)]
    for batch in read_batches(images, batches, reading.canvas, bad=bad, workers=reading.workers):
        if not batch.keys:
            continue
        pixels = batch.values.float() / 255
        views = [pixels]
        if reading.trigger is not None:  # on the CPU, as in poisoning: bit-identical
            views.append(reading.trigger(pixels, batch.keys))
        # One after the other: of 512 images at once, a processor takes twice as long for each.
        features = [model.image_features(view.to(model.device)) for view in views]
        yield Encoded(np.array(batch.keys), features[0], features[1] if len(features) > 1 else None)
        if report:
            report(len(pixels))


def concatenate(parts: Iterable[Encoded]) -> Encoded | None:
    """Concatenate features, as float32 on the CPU; return None if there are none."""
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
    """Return a fixed subset of ``count`` out of ``total`` rows, ascending, or all rows if ``count`` is None.

    It depends on the two numbers only, so that runs with other seeds are measured on the same images.
    """
    if count is None or count >= total:
        return np.arange(total)
    return np.sort(permutation(total, 0, "quick")[:count])
