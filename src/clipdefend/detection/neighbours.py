"""The k nearest references of images, exactly, in blocks of bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1 << 21
"""Number of distances held at once: 16 MB in float64."""
MARGIN = 8
"""Number of further candidates whose distances are recomputed, so that rounding decides nothing."""


class Neighbours(NamedTuple):
    """The k nearest of each of n images, the nearest first.

    Attributes:
        distance: Euclidean, float64, shape (n, k).
        place: positions among the references, int64, shape (n, k).
    """

    distance: Tensor
    place: Tensor


def nearest_among(images: Tensor, references: Tensor, k: int, own: Tensor) -> Neighbours:
    """Find the k nearest references of each image.

    Candidates come from one matrix product in float64; their distances are then computed from differences, so that
    copies are at a distance of exactly 0. Equal distances are ordered by position. Each image is treated independently:
    neither the other images nor their order matter.

    Args:
        images: shape (n, d).
        references: shape (r, d), r larger than k.
        k: number of neighbours.
        own: position of each image among the references, or -1, so that it is not its own neighbour; shape (n,).
    """
    references = references.double()
    squares = references.square().sum(dim=1)
    rows = max(1, BLOCK // max(len(references), (k + MARGIN) * references.shape[1]))
    parts = [
        _nearest(block.double(), references, squares, k, places)
        for block, places in zip(images.split(rows), own.split(rows), strict=True)
    ]
    return Neighbours(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _nearest(
    block: Tensor, references: Tensor, squares: Tensor, k: int, own: Tensor
) -> tuple[Tensor, Tensor]:
    # Without the image's own square, which shifts all of its distances alike.
    shifted = squares - 2 * (block @ references.T)
    known = own >= 0
    shifted[known.nonzero().squeeze(1), own[known]] = torch.inf
    count = min(k + MARGIN, len(references) - 1)
    candidates = shifted.topk(count, largest=False).indices.sort(dim=1).values
    distances = (references[candidates] - block[:, None]).square().sum(dim=2).sqrt()
    distances[candidates == own[:, None]] = torch.inf
    nearest = distances.sort(dim=1, stable=True)
    return nearest.values[:, :k], candidates.gather(1, nearest.indices[:, :k])
