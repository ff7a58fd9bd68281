"""Clean images that the seed draws: some to make perturbations on, others to measure them on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.data.bad import BadRows
from clipdefend.data.image_reader import read_batches
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation

FEWEST = 16
"""Images that a search, and that a measurement on held-out images, needs at least."""
BATCH = 64
"""Images that are read at a time."""


def draw_images(
    pairs: Pairs, canvas: Canvas, bad: BadRows, *, count: int, seed: int, purpose: str, workers: int
) -> tuple[Tensor, list[int]]:
    """Draw pairs and read their images.

    Args:
        pairs: clean ones.
        canvas: geometry of the images.
        bad: counter of unusable rows.
        count: number of images wanted.
        seed, purpose: keys of the draw.
        workers: processes that decode images.

    Returns:
        Pixels, uint8, shape (n, 3, size, size), with n at most ``count``, and their rows.
    """
    rows = permutation(len(pairs), seed, purpose)[: count + count // 10 + 1]  # some may be unusable
    batches = [part.tolist() for part in np.array_split(rows, max(1, -(-len(rows) // BATCH)))]
    read = [batch for batch in read_batches(pairs, batches, canvas, bad=bad, workers=workers) if batch.keys]
    bad.check(len(pairs))
    pixels = torch.cat([batch.values for batch in read])[:count] if read else torch.empty(0)
    return pixels, [row for batch in read for row in batch.keys][:count]


def split_images(usable: int, images: int, held_out: int) -> int:
    """Return how many of the usable images go to the search; if there are too few, both sets get their shares.

    Args:
        usable: at least 2 * `FEWEST`; each set gets at least `FEWEST`.
        images, held_out: wanted for the search and for the measurement.
    """
    return min(max(FEWEST, min(images, usable * images // (images + held_out))), usable - FEWEST)
